"""Changes confined to a region: what is outside stays bit for bit, what is inside fades in."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.evaluation.known_reasons import LUNG_FIELDS
from gcd_core.method.region import (
    automatic_region,
    check_region,
    in_region,
    region_identity,
    region_weights,
)
from gcd_core.method.search import find_directions
from gcd_core.method.walk import walk, walk_many
from tests.evaluation.test_known_reasons import reading
from tests.fakes import LinearDomain, unit

W = unit(8)


@pytest.fixture
def domain():
    return LinearDomain(lambda z: 2 * z @ W)


def box(size=8, top=2, bottom=6, left=2, right=6):
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_region_fades_in_over_a_32nd_of_the_side_and_only_inside():
    mask = box(64, 10, 30, 0, 20)[None]
    weights = region_weights(mask)[0, 0]
    assert not weights[~mask[0]].any()
    third = torch.tensor([0, 1, 2, 3, 3]) / 3
    torch.testing.assert_close(weights[9:14, 8], third)  # from the upper border inward
    torch.testing.assert_close(weights[26:31, 8].flip(0), third)
    assert (weights[12:28, :18] == 1).all()  # no seam at the picture's own border
    assert region_weights(box(8)[None])[0, 0, 2, 3] == 0.5  # a small picture: one pixel


def test_what_is_pasted_is_the_source_outside_bit_for_bit():
    random = torch.Generator().manual_seed(0)
    images, source = (torch.rand(n, 3, 64, 64, generator=random) for n in (2, 1))
    masks = torch.stack([box(64, 3, 40, 5, 30), box(64, 20, 64, 20, 64)])
    pasted = in_region(images, source, masks)
    for one, mask in zip(pasted, masks, strict=True):
        assert torch.equal(one[:, ~mask], source[0][:, ~mask])
    assert torch.equal(
        pasted[1][:, 30:, 30:], source[0, :, 30:, 30:].lerp(images[1, :, 30:, 30:], 1.0)
    )
    assert in_region(images, source, None) is images


def test_a_walk_and_a_search_change_nothing_outside(domain):
    image, mask = domain.image(), box()
    shown = []
    found = find_directions(
        domain,
        image,
        "a",
        32,
        n_h=1,
        region=mask,
        boundary=True,
        progress=lambda p: shown.append(p.images) if p.images is not None else None,
    )
    asked = torch.cat(shown)
    assert len(asked) == 32
    path = walk(domain, image, found.directions["g"], "a", region=mask)
    (again,) = walk_many(domain, image, found.directions["g"], "a", regions=mask)
    for pictures in (asked, path.images, again.images):
        kept = pictures[:, :, ~mask].numpy().tobytes()
        assert (
            kept == image[:, :, ~mask].expand(len(pictures), -1, -1).contiguous().numpy().tobytes()
        )
        assert (pictures != image).any()
    torch.testing.assert_close(again.images, path.images)
    assert torch.equal(path.region, mask[None])
    assert found.directions.metadata["settings"]["region"] == region_identity(mask[None])


def test_samples_of_another_region_are_refused(domain):
    image = domain.image()
    found = find_directions(domain, image, "a", 32, n_h=0, region=box())
    asked = domain.classifier.queries
    with pytest.raises(GCDError, match="asked with region"):
        find_directions(domain, image, "a", 32, n_h=0, resume=found.samples)
    assert domain.classifier.queries == asked
    again = find_directions(domain, image, "a", 32, n_h=0, resume=found.samples, region=box())
    assert again.queries == 0


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (torch.zeros(8, 8), "empty"),
        (torch.ones(8, 8), "the whole picture"),
        (torch.full((8, 8), 0.5), "no mask"),
        (torch.zeros(4, 4), r"needs a mask of 8 x 8"),
        (torch.zeros(2, 8, 8), "for 1 images"),
        ("mask.png", "needs a mask"),
    ],
)
def test_bad_regions_are_refused_before_any_work(domain, region, message):
    for work in (
        lambda: walk(domain, domain.image(), W, "a", region=region),
        lambda: find_directions(domain, domain.image(), "a", 32, region=region),
    ):
        with pytest.raises(GCDError, match=message):
            work()
    assert domain.classifier.queries == 0
    assert check_region(domain, None) is None


def test_automatic_regions_are_the_cells_that_matter_most():
    heat = torch.zeros(8, 8)
    heat[0, 0], heat[5, 6], heat[3, 3] = 2.0, -3.0, 1.0
    marked = automatic_region(heat, quantile=1 - 2 / 16, cells=4)
    assert torch.equal(marked, box(8, 0, 2, 0, 2) | box(8, 4, 6, 6, 8))
    assert automatic_region(heat, quantile=0.999, cells=4).sum() == 4  # at least one cell
    assert automatic_region(heat, quantile=0.001, cells=4).sum() == 60  # and one is left
    for bad in ({"quantile": 0.0}, {"quantile": 1.0}, {"cells": 1}, {"cells": 9}):
        with pytest.raises(GCDError, match="take"):
            automatic_region(heat, **bad)


@pytest.mark.slow
@pytest.mark.parametrize("name", LUNG_FIELDS)
def test_only_the_region_that_a_classifier_reads_changes_its_mind(name):
    domain, images = reading([name])
    source = images[:1]
    size = source.shape[-1]
    probabilities = domain.classifier.probability(domain.classifier(images), "bright")
    others = images[(probabilities - 0.25).abs().argsort()[:40]]
    found = find_directions(
        domain, source, "bright", 512, n_h=0, region=LUNG_FIELDS[name].mask(size, size)
    )
    for field, region in LUNG_FIELDS.items():
        paths = walk_many(
            domain, others, found.directions["g"], "bright", regions=region.mask(size, size)
        )
        flips = sum(path.flipped for path in paths)
        assert flips >= 38 if field == name else flips == 0
