"""RCSB on a domain: its path, its counterfactual, and what is refused before any work."""

from dataclasses import replace

import pytest
import torch

from gcd_core.bridge.paths import bridge_of, rcsb, rcsb_many
from gcd_core.bridge.rcsb import Steering, steer
from gcd_core.errors import GCDError
from gcd_core.evaluation.bridge_outcomes import BridgeOnBatches
from gcd_core.evaluation.known_reasons import Region, RegionReader
from gcd_core.evaluation.outcomes import summarise
from gcd_core.images.free_form import free_form_masks
from gcd_core.method.counterfactual import LOWEST_LOSS, SMALLEST
from gcd_core.method.directions import Direction
from gcd_core.method.region import AutomaticRegion, FreeFormRegion
from tests.bridge.fakes import known_bridge
from tests.evaluation.domain import SIZE, WAY, linear_domain, source_image
from tests.evaluation.measured import measured
from tests.fakes import unit

LEFT = Region(0, 1, 0, 0.5)


@pytest.fixture
def domain():
    """Whose classifier reads how bright the left half is, and whose bridge expects what it sees."""
    made = linear_domain()
    images = torch.cat([source_image(made.generator, seed) for seed in range(20)])
    reader = RegionReader.fitted_to(images, [LEFT], label="a")
    return replace(
        made,
        classifier=reader,
        oracle=reader,
        bridge=known_bridge(lambda x, t: x),
        steering=Steering(steps=8, tau=0.01, strength=0.03, seed=3),
        label_info={"a": made.label_info["a"]},
    )


@pytest.fixture
def images(domain):
    return torch.cat([source_image(domain.generator, seed) for seed in range(4)])


@pytest.fixture
def mask():
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[2:14, 1:7] = True
    return mask


def test_the_path_goes_from_the_source_to_what_the_bridge_made(domain, images, mask):
    paths = rcsb_many(domain, images, "a", mask, n=5)
    before = domain.classifier.probability(domain.classifier(images), "a")
    run = steer(
        domain.bridge, domain.classifier, images, mask[None], "a", before < 0.5, domain.steering
    )
    for i, path in enumerate(paths):
        sign = 1 if before[i] < 0.5 else -1
        walked = path.is_walked
        assert (path.alphas[walked] * sign).tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1])
        assert path.direction_name == "rcsb" and path.sign == sign
        assert torch.equal(path.images[0], images[i])
        torch.testing.assert_close(path.images[-1], run.images[i])
        assert path.counterfactual == len(path.alphas) - 1 and path.counterfactual_flips
        outside = path.images[:, :, ~mask]
        assert torch.equal(outside, images[i][:, ~mask].expand_as(outside))
        middle = (images[i] + run.images[i]) / 2
        at = int((path.alphas.abs() - 0.5).abs().argmin())
        torch.testing.assert_close(path.images[at], middle)
    alone = rcsb(domain, images[2:3], "a", mask, n=5)
    torch.testing.assert_close(alone.images, paths[2].images)


def test_the_smallest_is_on_the_same_path_and_just_convinces(domain, images, mask):
    whole = rcsb(domain, images[:1], "a", mask)
    smallest = rcsb(domain, images[:1], "a", mask, choice=SMALLEST, margin=0.3)
    own = rcsb(domain, images[:1], "a", mask, choice=LOWEST_LOSS)
    assert own.counterfactual == own.lowest_loss
    away = (smallest.probabilities[smallest.counterfactual] - 0.5).abs()
    assert smallest.counterfactual_flips and 0.3 <= away < 0.36
    at = smallest.alphas[smallest.counterfactual].abs()
    assert 0 < at < 1 and whole.alphas[whole.counterfactual].abs() == 1


def test_it_costs_the_steps_the_points_and_the_halvings(domain, images, mask):
    before = domain.classifier.queries
    rcsb(domain, images[:1], "a", mask, n=5)
    assert domain.classifier.queries - before == 1 + 8 + 5 + 4


def test_what_does_not_fit_is_refused_before_any_work(domain, images, mask):
    queries = domain.classifier.queries
    answers_only = linear_domain().classifier
    for changed, message in [
        ({"bridge": None}, "has no bridge"),
        ({"classifier": answers_only}, "no gradient to follow"),
    ]:
        with pytest.raises(GCDError, match=message):
            bridge_of(replace(domain, **changed))
        with pytest.raises(GCDError, match=message):
            rcsb(replace(domain, **changed), images[:1], "a", mask)
    for arguments, message in [
        ((images[:2], "a", mask), "expects one image"),
        ((images[:1], "b", mask), "no label 'b'"),
        ((images[:1], "a", None), "give a mask"),
        ((images[:1], "a", mask & False), "region is empty"),
        ((images[:1], "a", mask[:3]), "needs a mask of"),
    ]:
        with pytest.raises(GCDError, match=message):
            rcsb(domain, *arguments)
    with pytest.raises(GCDError, match="1 points"):
        rcsb(domain, images[:1], "a", mask, n=1)
    with pytest.raises(GCDError, match="margin"):
        rcsb(domain, images[:1], "a", mask, margin=0.7)
    assert domain.classifier.queries == queries and domain.generator.evaluations == 0


def test_many_images_are_evaluated_in_a_region_of_each_kind(domain, images, mask):
    named = [(f"{i}", image[None]) for i, image in enumerate(images)]
    outcomes = measured(BridgeOnBatches(domain, "a", mask, with_cout=True), named, 3)
    figures = summarise(outcomes.outcomes["rcsb"], outcomes.costs["rcsb"])
    assert figures["n"] == 4 and figures["flip_rate"] == figures["oracle_flip_rate"] == 1
    assert figures["region"] == pytest.approx(72 / 256) and figures["alpha"] == 1
    assert figures["smallest"]["flip_rate"] == 1 and figures["smallest"]["l1"] < figures["l1"]
    path = rcsb(domain, images[:1], "a", mask)
    first = outcomes.outcomes["rcsb"][0]
    assert first.l1 == pytest.approx((path.images[-1] - images[0]).abs().mean().item())

    free = measured(BridgeOnBatches(domain, "a", FreeFormRegion(0.2, 5)), named)
    shares = [o.region for o in free.outcomes["rcsb"]]
    drawn = [
        free_form_masks(2, SIZE, torch.Generator().manual_seed(5 + i), 0.2, 0.2)[i % 2]
        for i in range(4)
    ]
    assert shares == pytest.approx([m.double().mean().item() for m in drawn])

    direction = torch.nn.functional.normalize(WAY + 0.3 * unit(8, 3), dim=0)
    with pytest.raises(GCDError, match="give the direction"):
        BridgeOnBatches(domain, "a", AutomaticRegion(0.75, 4))
    way = Direction("g", direction, "a")
    automatic = measured(BridgeOnBatches(domain, "a", AutomaticRegion(0.75, 4), way), named)
    assert [o.region for o in automatic.outcomes["rcsb"]] == [0.25] * 4
    assert automatic.costs["rcsb"].queries >= 4 * 512
