"""Directions held against each other, on pictures whose distances and changes are known."""

import pytest
import torch

from gcd_core.evaluation.pairs import Comparison, Pair, diversity_of_flips, see
from gcd_core.method.directions import Direction

# Three unit vectors: the second 60 degrees off the first and reversed, the third across both.
VECTORS = {"g": [1.0, 0.0, 0.0], "h1": [-0.5, 0.75**0.5, 0.0], "w1": [0.0, 0.0, 1.0]}
DIRECTIONS = [Direction(name, torch.tensor(vector), "a") for name, vector in VECTORS.items()]


def absolute_distance(a, b):
    return (a - b).abs().mean(dim=(1, 2, 3))


def compared(sources, counterfactuals, flipped, batch_size=8):
    """The comparison, and its pairs by their names."""
    comparison = Comparison.of(DIRECTIONS)
    parts = (x.split(batch_size) for x in (sources, counterfactuals, flipped))
    for batch in zip(*parts, strict=True):
        comparison.add(see(*batch, absolute_distance))
    return comparison, {pair.directions: pair for pair in comparison.pairs()}


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_distances_are_the_mean_over_the_images_that_both_flip(batch_size):
    # Even pictures: the distance of two is the difference of their grey levels.
    levels = torch.tensor([[0.0, 0.25, 1.0], [0.5, 0.75, 0.5], [0.125, 0.25, 0.0]])
    flipped = torch.tensor([[True, True, False], [True, True, False], [True, False, True]])
    counterfactuals = levels[:, :, None, None, None].expand(3, 3, 1, 2, 2)
    comparison, pairs = compared(torch.zeros(3, 1, 2, 2), counterfactuals, flipped, batch_size)
    assert {names: pair.n for names, pair in pairs.items()} == {
        ("g", "h1"): 2,
        ("g", "w1"): 1,
        ("h1", "w1"): 0,
    }
    assert pairs["g", "h1"].lpips == pytest.approx(0.25)
    assert pairs["g", "w1"].lpips == pytest.approx(0.125)
    assert pairs["h1", "w1"].lpips is None and pairs["h1", "w1"].rank_correlation is None
    assert pairs["g", "h1"].rank_correlation is None, "an even change has no order"
    # S2 counts each pair of flips once, not each pair of directions.
    assert diversity_of_flips(comparison.pairs()) == pytest.approx((2 * 0.25 + 0.125) / 3)
    # Flipped or not: the three pairs of each of the three images.
    everything = (0.25 + 1 + 0.75) + (0.25 + 0 + 0.25) + (0.125 + 0.125 + 0.25)
    assert comparison.diversity == pytest.approx(everything / 9)


def test_cosines_are_of_no_sign_and_of_no_length():
    comparison = Comparison.of([Direction(d.name, 3 * d.vector, "a") for d in DIRECTIONS])
    cosines = [pair.abs_cosine for pair in comparison.pairs()]
    assert cosines == pytest.approx([0.5, 0, 0], abs=1e-6)


def test_maps_are_of_absolute_changes_of_the_images_that_each_direction_flips():
    sources = torch.full((2, 2, 2, 2), 0.5)
    changes = torch.zeros(2, 3, 2, 2, 2)
    # In the first image, g and h1 change the pixels in one order, one upward and one downward,
    # and w1 in the reverse order. Two channels of opposite sign do not cancel.
    order = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    changes[0, 0, 0], changes[0, 0, 1] = order, -order
    changes[0, 1] = -(order**2)
    changes[0, 2] = 0.45 - order
    # The second image is flipped by w1 alone, and would turn the order of the others.
    changes[1, :2] = 0.5 - 1.1 * order
    changes[1, 2] = 0.1 * order
    flipped = torch.tensor([[True, True, True], [False, False, True]])
    _, pairs = compared(sources, sources[:, None] + changes, flipped)
    assert pairs["g", "h1"].rank_correlation == pytest.approx(1)
    assert pairs["g", "w1"].rank_correlation == pytest.approx(-1)
    # Once the second image changes as much the other way, w1's own mean map turns.
    changes[1, 2] = 1.2 * order
    _, pairs = compared(sources, sources[:, None] + changes, flipped)
    assert pairs["g", "w1"].rank_correlation == pytest.approx(1)
    assert pairs["g", "w1"].n == 1


def test_spearman_of_four_pixels_by_hand():
    # Ranks (1, 2, 3, 4) and (2, 1, 4, 3): 1 - 6 * 4 / (4 * 15) = 0.6.
    sources = torch.zeros(1, 1, 2, 2)
    found = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.9, 0.3], [0.0, 0.0, 0.0, 0.1]])
    _, pairs = compared(sources, found.view(1, 3, 1, 2, 2), torch.ones(1, 3, dtype=torch.bool))
    assert pairs["g", "h1"].rank_correlation == pytest.approx(0.6)


def test_without_an_image_or_a_second_direction_there_is_nothing_to_say():
    comparison = Comparison.of(DIRECTIONS)
    assert comparison.diversity is None and len(comparison.pairs()) == 3
    assert diversity_of_flips(comparison.pairs()) is None
    alone = Comparison.of(DIRECTIONS[:1])
    one = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 1, 2, 2), torch.tensor([[True]])
    alone.add(see(*one, absolute_distance))
    assert alone.diversity is None and alone.pairs() == []


def test_diversity_of_flips_weighs_pairs_by_their_images():
    first = Pair(("g", "w1"), 0.0, 3, 0.2, None)
    second = Pair(("g", "w2"), 0.0, 1, 0.4, None)
    third = Pair(("w1", "w2"), 0.0, 0, None, None)
    assert diversity_of_flips([first, second, third]) == pytest.approx(0.25)
    assert diversity_of_flips([third]) is None
