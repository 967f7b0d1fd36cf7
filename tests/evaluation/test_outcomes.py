"""Evaluation of directions and reconstructions, on a domain whose answers are known."""

from dataclasses import replace

import pytest
import torch

from gcd_core.classifiers.architectures import build_network
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.errors import GCDError
from gcd_core.evaluation import metrics
from gcd_core.evaluation.features import frechet_distance, oracle_features
from gcd_core.evaluation.markdown import markdown
from gcd_core.evaluation.outcomes import (
    best_of,
    counterfactuals_of,
    evaluate_reconstruction,
    summarise,
)
from gcd_core.evaluation.pairs import Comparison
from gcd_core.generators.sampling import Sampling
from gcd_core.method.directions import Direction
from gcd_core.method.walk import walk, walk_many
from tests.evaluation.domain import CODE, SIZE, WAY, linear_domain, source_image
from tests.evaluation.measured import evaluated
from tests.fakes import unit


@pytest.fixture
def domain():
    return linear_domain()


@pytest.fixture
def images(domain):
    return torch.cat([source_image(domain.generator, seed) for seed in range(5)])


G = Direction("g", WAY, "a")


def across() -> Direction:
    """A direction that the classifier does not see at all."""
    vector = unit(CODE, 2) - (unit(CODE, 2) @ WAY) * WAY
    return Direction("h1", vector / vector.norm(), "a")


def compared(directions, evaluation):
    comparison = Comparison.of(directions)
    comparison.add(evaluation.seen)
    return comparison


def test_walk_many_gives_the_paths_of_walk(domain, images):
    paths = walk_many(domain, images, G, "a", n=6)
    probabilities = [path.source_probability for path in paths]
    assert min(probabilities) < 0.5 < max(probabilities), "both ways should be walked"
    for index, path in enumerate(paths):
        alone = walk(domain, images[index : index + 1], G, "a", n=6)
        for name, value in vars(alone).items():
            if name == "composition":
                assert torch.equal(path.composition.pixels, value.pixels)
            elif isinstance(value, torch.Tensor):
                torch.testing.assert_close(getattr(path, name), value, msg=name)
            else:
                assert getattr(path, name) == pytest.approx(value), name


def test_walk_many_refuses_what_does_not_fit(domain, images):
    with pytest.raises(GCDError, match="nothing"):
        walk_many(domain, images, G, "nothing")
    with pytest.raises(GCDError, match="shape \\(3,\\)"):
        walk_many(domain, images, Direction("g", torch.ones(3), "a"), "a")


def test_evaluation_tells_a_direction_that_flips_from_one_that_does_not(domain, images):
    named = [(f"{i}.png", image[None]) for i, image in enumerate(images)]
    evaluation = evaluated(
        domain,
        iter(named),
        [G, across()],
        "a",
        batch_size=2,
        with_cout=True,
    )
    g, h = (summarise(evaluation.outcomes[n], evaluation.costs[n]) for n in ("g", "h1"))
    assert (g["n"], g["flip_rate"], h["flip_rate"]) == (5, 1.0, 0.0)
    assert h["oracle_flip_rate"] is None
    assert [o.file for o in evaluation.outcomes["g"]] == [name for name, _ in named]

    paths = walk_many(domain, images, G, "a")
    found = torch.cat([path.images[path.counterfactual][None] for path in paths])
    before = domain.oracle.probability(domain.oracle(images), "a")
    after = domain.oracle.probability(domain.oracle(found), "a")
    sources = torch.tensor([path.source_probability >= 0.5 for path in paths])
    agreed = (before >= 0.5) == sources
    flips = ((before >= 0.5) != (after >= 0.5))[agreed].float().mean().item()
    assert g["oracle_flip_rate"] == pytest.approx(flips)
    assert g["oracle_disagreed"] == pytest.approx((~agreed).float().mean().item())
    assert g["lpips"] == pytest.approx(domain.perceptual(found, images).mean().item(), abs=1e-6)
    assert g["l1"] == pytest.approx((found - images).abs().mean().item(), abs=1e-6)
    assert g["fid_oracle"] is None, "this oracle has no features"
    assert g["alpha"] == pytest.approx(
        sum(path.alphas[path.counterfactual].abs().item() for path in paths) / 5
    )
    # Encoding is exact and decoding adds 0.1 / 5**2 everywhere, to a counterfactual as to an image.
    assert g["reconstruction_lpips"] == pytest.approx(0.004, abs=1e-5)
    assert g["manifold_lpips"] == pytest.approx(0.004, abs=1e-5)
    assert g["manifold_ratio"] == pytest.approx(1, abs=1e-2)
    assert -1 <= g["cout"] <= 1 and g["cout"] > h["cout"]
    assert 0 < g["gini_difference"] < 1 and 0 < g["gini_bb_lig"] < 1
    comparison = compared([G, across()], evaluation)
    assert comparison.diversity > 0
    (pair,) = comparison.pairs()
    assert pair.directions == ("g", "h1") and pair.abs_cosine == pytest.approx(0, abs=1e-6)
    assert (pair.n, pair.lpips, pair.rank_correlation) == (0, None, None), "h1 flips nothing"


@pytest.mark.parametrize("batch_size", [2, 8])
def test_fid_is_of_all_images_however_they_are_batched(domain, images, batch_size):
    torch.manual_seed(0)
    network = build_network("resnet", 1, 2, {"width": 8, "blocks": [1, 1]})
    oracle = TorchClassifier(network, ("a", "b"), "sigmoid", "o", SIZE, 1)
    domain = replace(domain, oracle=oracle)
    named = [(f"{i}.png", image[None]) for i, image in enumerate(images)]
    evaluation = evaluated(domain, named, [G, across()], "a", batch_size=batch_size)
    features = oracle_features(oracle).of
    for direction in (G, across()):
        name = direction.name
        found = counterfactuals_of(walk_many(domain, images, direction, "a"))
        expected = frechet_distance(features(images), features(found))
        kept = evaluation.features[name]
        figures = summarise(evaluation.outcomes[name], evaluation.costs[name], kept)
        assert figures["fid_oracle"] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert expected > 0


@pytest.mark.parametrize("batch_size", [2, 8])
def test_pairs_are_of_the_counterfactuals_that_are_measured(domain, images, batch_size):
    aslant = Direction("w1", 0.8 * WAY + 0.6 * across().vector, "a")
    backward = Direction("h1", -aslant.vector, "a")
    named = [(f"{i}.png", image[None]) for i, image in enumerate(images)]
    directions = [G, aslant, backward]
    evaluation = evaluated(domain, named, directions, "a", batch_size=batch_size)
    pairs = compared(directions, evaluation).pairs()
    assert [pair.directions for pair in pairs] == [("g", "w1"), ("g", "h1"), ("w1", "h1")]
    assert [pair.abs_cosine for pair in pairs] == pytest.approx([0.8, 0.8, 1])
    one, other = (walk_many(domain, images, direction, "a") for direction in (G, aslant))
    assert all(path.flipped for path in [*one, *other]) and pairs[0].n == len(images)
    a, b = counterfactuals_of(one), counterfactuals_of(other)
    assert pairs[0].lpips == pytest.approx(domain.perceptual(a, b).mean().item(), abs=1e-6)
    changes = [(found - images).abs().mean(dim=(0, 1)) for found in (a, b)]
    expected = metrics.rank_correlation(*changes)
    assert pairs[0].rank_correlation == pytest.approx(expected, abs=1e-3)


def test_costs_are_those_of_encoding_walking_and_explaining_alone(domain, images):
    evaluation = evaluated(domain, [("a", images[:1]), ("b", images[1:2])], [G], "a")
    cost = evaluation.costs["g"]
    assert cost.evaluations == 2 * (5 + 5 * (domain.walk_points + 4))  # 4 halvings
    assert cost.queries == 2 * (1 + domain.walk_points + 4)
    paper = evaluated(
        domain, [("a", images[:1]), ("b", images[1:2])], [G], "a", choice="lowest-loss"
    )
    assert paper.costs["g"].evaluations == 2 * (5 + 5 * domain.walk_points)
    assert cost.seconds > 0
    assert evaluation.seen is None
    assert [o.direction for o in evaluation.outcomes["g"]] == ["g", "g"]


def test_both_choices_of_the_counterfactual_are_measured_on_the_same_paths(domain, images):
    """Each on top is beside the other one: the same figures, to the bit."""
    named = [(f"{i}.png", image[None]) for i, image in enumerate(images)]
    small, paper = (
        evaluated(domain, named, [G], "a", batch_size=2, choice=choice, margin=0.3)
        for choice in ("smallest", "lowest-loss")
    )
    assert (small.other, paper.other) == ("lowest-loss", "smallest")
    top, other = (summarise(e.outcomes["g"], e.costs["g"]) for e in (small, paper))
    names = {"flip_rate", "oracle_flip_rate", "oracle_disagreed", "alpha", "lpips", "l1"}
    assert set(top["lowest_loss"]) == set(other["smallest"]) == names
    for name in names:
        assert top["lowest_loss"][name] == pytest.approx(other[name], abs=1e-6), name
        assert other["smallest"][name] == pytest.approx(top[name], abs=1e-6), name
    assert top["lpips"] < other["lpips"] and top["alpha"] < other["alpha"]
    for outcome in small.outcomes["g"]:
        beyond = abs(outcome.counterfactual_probability - 0.5)
        assert 0.3 <= beyond < abs(outcome.other.counterfactual_probability - 0.5)


def test_a_bad_choice_is_refused_before_any_query(domain, images):
    for change in ({"choice": "nearest"}, {"margin": 0.7}):
        with pytest.raises(GCDError, match=r"nearest|margin 0\.7"):
            evaluated(domain, [("a", images[:1])], [G], "a", **change)
    assert domain.classifier.queries == domain.generator.evaluations == 0


def test_without_an_oracle_the_oracles_figures_are_none(domain, images):
    domain = replace(domain, oracle=None)
    evaluation = evaluated(domain, [("a", images[:1])], [G], "a")
    figures = summarise(evaluation.outcomes["g"], evaluation.costs["g"])
    assert figures["oracle_flip_rate"] is None and figures["flip_rate"] == 1


def test_the_best_of_a_kind_has_the_highest_flip_rate_then_the_lowest_lpips():
    figures = {
        "g": {"flip_rate": 1.0, "lpips": 0.1},
        "h1": {"flip_rate": 0.5, "lpips": 0.1},
        "h2": {"flip_rate": 0.9, "lpips": 0.3},
        "h3": {"flip_rate": 0.9, "lpips": 0.2},
        "w1": {"flip_rate": 0.95, "lpips": 0.3},
    }
    assert best_of(figures, "h") == "h3" and best_of(figures, "w") == "w1"
    assert best_of({"g": figures["g"], "w1": figures["w1"]}, "h") is None


def test_reconstruction_is_measured_for_each_sampling(domain, images):
    named = [(str(i), image[None]) for i, image in enumerate(images)]
    ways = [None, Sampling("ddim", 3, 2)]
    fast, slow = evaluate_reconstruction(domain, named, ways, batch_size=2)
    assert (fast["sampling"], slow["sampling"]) == ("default", "ddim:3/2")
    assert (fast["evaluations"], slow["evaluations"]) == (10, 5)
    assert fast["mae"] == pytest.approx(0.1 / 25, abs=1e-5)
    assert slow["mae"] == pytest.approx(0.1 / 4, abs=1e-5)
    assert fast["lpips"] == pytest.approx(0.1 / 25, abs=1e-5)
    assert fast["ssim"] == pytest.approx(metrics.ssim(images, images + 0.004).mean().item())
    assert fast["n"] == 5 and fast["agreement"] == {"a": 1.0, "b": 1.0}


def test_markdown_table():
    rows = [{"name": "g", "n": 245, "rate": 0.98765, "big": 12345.6}, {"name": "h1", "n": 3.0}]
    assert markdown(rows, ["name", "n", "rate", "big"]).splitlines() == [
        "| name | n   | rate  | big   |",
        "|------|-----|-------|-------|",
        "| g    | 245 | 0.988 | 12346 |",
        "| h1   | 3   | –     | –     |",
    ]


def flat(figures: dict) -> dict:
    """The figures of a summary without their tables, and without those that cannot be had."""
    parts = [figures, *(value for value in figures.values() if isinstance(value, dict))]
    return {
        (i, name): value
        for i, part in enumerate(parts)
        for name, value in part.items()
        if value is not None and not isinstance(value, dict)
    }


def test_images_that_lack_what_the_label_is_asked_of_count_in_no_figure(domain, images):
    """Of all images it gives the figures of those alone that show `a`."""
    domain.label_info["b"] = replace(domain.label_info["b"], given="a")
    named = [(f"{i}.png", image[None]) for i, image in enumerate(images)]
    shown = domain.classifier.probability(domain.classifier(images), "a") >= 0.5
    assert 2 <= shown.sum() < len(images)
    some = [one for one, is_shown in zip(named, shown, strict=True) if is_shown]
    whole, alone = (evaluated(domain, each, [G, across()], "b") for each in (named, some))
    for name in ("g", "h1"):
        figures, own = (
            summarise(e.outcomes[name], e.costs[name], e.features.get(name)) for e in (whole, alone)
        )
        assert figures.pop("premise_missing") == len(named) - len(some)
        assert own.pop("premise_missing") == 0
        for costs in (figures, own):
            for figure in ("evaluations", "queries", "seconds"):
                costs.pop(figure)
        assert flat(figures) == pytest.approx(flat(own))
    lacking = [one for one, is_shown in zip(named, shown, strict=True) if not is_shown]
    none = evaluated(domain, lacking, [G], "b").outcomes["g"]
    assert {o.premise_missing for o in none} == {"yes"} and not any(o.flipped for o in none)
    with pytest.raises(GCDError, match="No image shows yes, which the label is asked of"):
        summarise(none, whole.costs["g"])
