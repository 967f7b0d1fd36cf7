"""Shapley values of cells: exact where cells add up, and as defined where they do not."""

from itertools import combinations
from math import comb

import pytest
import torch

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.cells import (
    draw_coalitions,
    explain_cells,
    lattice_of,
    quartered,
    ramps,
    shares_of,
)


class Reader:
    """A classifier whose logit is a given function of the pixels."""

    labels, budget = ("a",), None

    def __init__(self, function):
        self.function, self.queries = function, 0

    def index(self, label):
        if label not in self.labels:
            raise GCDError(f"no label {label}")
        return 0

    def __call__(self, images):
        self.queries += len(images)
        return self.function(images)[:, None]

    def logit(self, logits, label):
        return logits[:, 0]

    def probability(self, logits, label):
        return logits[:, 0].sigmoid()


def pictures(size=32, channels=1):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, 1, channels, size, size, generator=generator)


def exact(game, players):
    """Shapley's own formula, over all coalitions."""
    values = torch.zeros(players)
    for i in range(players):
        others = [p for p in range(players) if p != i]
        for size in range(players):
            weight = 1 / (players * comb(players - 1, size))
            for coalition in combinations(others, size):
                values[i] += weight * (game({*coalition, i}) - game({*coalition}))
    return values


@pytest.mark.parametrize(("grid", "size"), [(2, 8), (8, 128), (5, 33), (32, 32)])
def test_cells_are_a_partition_of_unity(grid, size):
    weights = ramps(grid, size)
    assert weights.shape == (grid, size)
    torch.testing.assert_close(weights.sum(0), torch.ones(size, dtype=torch.float64))
    assert weights.min() >= 0 and weights.max() <= 1


def test_the_largest_are_quartered_while_there_is_room():
    squares = [(0, 0, 2), (0, 2, 2), (2, 0, 2), (2, 2, 2)]
    shares, errors = torch.tensor([0.1, -3.0, 2.0, 1.0]), torch.tensor([0.0, 0.1, 2.5, 0.1])
    finer = quartered(squares, shares, errors, room=9)  # the third is within its error
    assert finer == [(0, 0, 2), (2, 0, 2), (2, 2, 2), (0, 2, 1), (0, 3, 1), (1, 2, 1), (1, 3, 1)]
    assert len(quartered(squares, shares, errors, room=10)) == 10
    assert quartered(squares, shares, errors, room=6) == squares
    assert lattice_of(finer, 4).tolist() == [[0, 0, 3, 4], [0, 0, 5, 6], [1, 1, 2, 2], [1, 1, 2, 2]]


def test_coalitions_come_with_their_opposites_and_in_the_kernels_sizes():
    players, count = 9, 40_000
    drawn = draw_coalitions(players, count, seed=0)
    assert torch.equal(drawn[::2] + drawn[1::2], torch.ones(count // 2, players).double())
    sizes = drawn.sum(1)
    expected = torch.tensor([1 / (s * (players - s)) for s in range(1, players)])
    found = torch.stack([(sizes == s).double().mean() for s in range(1, players)])
    torch.testing.assert_close(found.float(), expected / expected.sum(), atol=0.01, rtol=0)
    assert torch.equal(drawn, draw_coalitions(players, count, seed=0))


def asked_of(game, players, count):
    """What `shares_of` is given: the design, the answers and the total."""
    drawn = draw_coalitions(players, count, seed=0)
    values = torch.tensor([game({*row.nonzero().flatten().tolist()}) for row in drawn.int()])
    total = torch.tensor(game(set(range(players))))
    return 2 * drawn[::2] - 1, (values[::2] - values[1::2]).double(), total


def test_shares_of_a_game_in_which_players_need_each_other():
    def game(coalition):
        return float({0, 1, 3} <= coalition) + 2.0 * (2 in coalition) + 0.5 * ({1, 3} <= coalition)

    players = 5
    design, answers, total = asked_of(game, players, 60_000)
    shares, errors = shares_of(design, answers, total, torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0]))
    truth = exact(game, players).double()
    torch.testing.assert_close(shares, truth, atol=0.02, rtol=0)
    assert shares.sum().item() == pytest.approx(total.item())
    assert ((shares - truth).abs() <= 5 * errors + 1e-9).all()


def test_shares_that_add_up_are_exact_whatever_the_prior_and_errors_are_honest_where_not():
    players, random = 12, torch.Generator().manual_seed(3)
    truth = torch.randn(players, generator=random, dtype=torch.float64)
    weight = torch.rand(players, generator=random, dtype=torch.float64) + 0.1
    design, answers, total = asked_of(lambda c: float(truth[list(c)].sum()), players, 40)
    shares, errors = shares_of(design, answers, total, weight)
    torch.testing.assert_close(shares, truth, atol=1e-4, rtol=0)
    assert errors.max() < 1e-3
    noisy = answers + torch.randn(len(answers), generator=random, dtype=torch.float64)
    shares, errors = shares_of(design, noisy, total, weight)
    assert shares.sum().item() == pytest.approx(total.item())
    assert (shares - truth).abs().mean() < 3 * errors.mean() and errors.min() > 0.05


def test_nothing_but_noise_leaves_the_parts_of_the_change():
    random = torch.Generator().manual_seed(4)
    design = 2 * draw_coalitions(8, 60, seed=0)[::2] - 1
    weight = torch.tensor([1.0, 1, 1, 1, 2, 2, 4, 4], dtype=torch.float64)
    prior = 16 * weight / weight.sum()
    noise = 1e-3 * torch.randn(len(design), generator=random, dtype=torch.float64)
    shares, _ = shares_of(design, design @ prior + noise, torch.tensor(16.0), weight)
    torch.testing.assert_close(shares, prior, atol=0.01, rtol=0)


@pytest.mark.parametrize(("queries", "least"), [(256, 0.85), (512, 0.9)])
def test_a_reader_of_one_region_is_found(queries, least):
    """The logit is the mean of a box that no lattice fits; the rest has no share."""
    source, counterfactual = pictures(64)
    box = (slice(9, 36), slice(20, 50))
    reader = Reader(lambda images: 10 * images[:, 0, box[0], box[1]].mean((1, 2)))
    found = explain_cells(reader, "a", source, counterfactual, queries=queries)
    fall = reader.function(source)[0] - reader.function(counterfactual)[0]
    assert found.map.sum().item() == pytest.approx(fall.item(), abs=1e-4)
    assert abs(found.completeness_error) < 1e-4
    assert found.queries == reader.queries == queries
    strength = found.map.abs()
    assert strength[box].sum() / strength.sum() > least
    row, column = divmod(int(strength.argmax()), 64)
    assert 9 <= row < 36 and 20 <= column < 50


def test_quarters_that_need_each_other_have_their_shapley_values():
    source, counterfactual = pictures(32)
    weights = ramps(2, 32).float()

    def read(images):
        part = torch.einsum("ih,nhw,jw->nij", weights, images[:, 0], weights).flatten(1) / 256
        return 50 * part[:, 0] * part[:, 1] * part[:, 3] + 3 * part[:, 2] + part[:, 0].square()

    def game(coalition):
        places = torch.tensor([float(i in coalition) for i in range(4)]).view(2, 2)
        mask = weights.T @ places @ weights
        return read(torch.lerp(source, counterfactual, mask)).item()

    found = explain_cells(Reader(read), "a", source, counterfactual, queries=4000, grid=2)
    truth = -exact(game, 4)
    assert found.cells.sum().item() == pytest.approx(truth.sum().item(), abs=1e-4)
    torch.testing.assert_close(found.cells, truth, atol=0.03 * truth.abs().max().item(), rtol=0)


def test_cells_that_add_up_have_their_own_share():
    source, counterfactual = pictures(64)
    reader = Reader(lambda images: images.sum((1, 2, 3)))
    found = explain_cells(reader, "a", source, counterfactual, queries=200, grid=8)
    change = (source - counterfactual)[0, 0].double()
    weights = ramps(8, 64)
    each = (weights @ change @ weights.T).flatten()
    truth = torch.zeros(len(found.cells), dtype=torch.float64)
    truth.index_add_(0, found.lattice.flatten(), each)
    torch.testing.assert_close(found.cells.double(), truth, atol=2e-3, rtol=1e-3)
    assert found.cells.sum().item() == pytest.approx(change.sum().item(), abs=1e-3)


def test_probabilities_can_be_shared_too():
    source, counterfactual = pictures(32)
    reader = Reader(lambda images: 8 * (images.mean((1, 2, 3)) - 0.5))
    found = explain_cells(reader, "a", source, counterfactual, queries=100, grid=4, f="probability")
    fall = [reader.function(image).sigmoid() for image in (source, counterfactual)]
    assert found.map.sum().item() == pytest.approx((fall[0] - fall[1]).item(), abs=1e-5)


def test_progress_and_cancelling():
    source, counterfactual = pictures(32)
    reader, seen = Reader(lambda images: images.mean((1, 2, 3))), []

    class Wish:
        def is_set(self):
            return len(seen) > 1

    with pytest.raises(Cancelled):
        explain_cells(
            reader,
            "a",
            source,
            counterfactual,
            progress=lambda done, total: seen.append((done, total)),
            cancel=Wish(),
        )
    assert seen[0] == (2, 512) and seen[-1] == (reader.queries, 512) and reader.queries < 200


def test_a_budget_that_is_too_small_is_left_as_it_is():
    source, counterfactual = pictures(32)
    reader = Reader(lambda images: images.mean((1, 2, 3)))
    reader.budget, reader.queries = 600, 100
    with pytest.raises(BudgetExceeded, match="512 images; of its budget of 600 500 are left"):
        explain_cells(reader, "a", source, counterfactual)
    assert reader.queries == 100
    explain_cells(reader, "a", source, counterfactual, queries=500)


def test_what_did_not_change_has_no_part():
    source, counterfactual = pictures(32)
    counterfactual[..., 16:] = source[..., 16:]
    reader = Reader(lambda images: images.sum((1, 2, 3)).sin())
    found = explain_cells(reader, "a", source, counterfactual, queries=300, grid=4)
    assert not found.map[:, 16:].any()


def test_colour_and_a_picture_that_stays():
    source, _ = pictures(32, channels=3)
    reader = Reader(lambda images: images.mean((1, 2, 3)))
    found = explain_cells(reader, "a", source, source, grid=4)
    assert found.map.shape == (32, 32)
    assert not found.map.any() and found.queries == 2
    one = source.clone()
    one[..., :4, :4] = 0  # the middle of one cell
    found = explain_cells(reader, "a", source, one, grid=4)
    assert found.cells.nonzero().flatten().tolist() == [0]
    assert found.map.sum() == pytest.approx(float((source - one).mean()), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries": 33}, "33 queries are too few for 16 cells; take 34"),
        ({"grid": 1}, "2 to 32"),
        ({"grid": 64}, "2 to 32"),
        ({"grid": 6}, "power of 2"),
        ({"f": "loss"}, "'loss' cannot be attributed"),
        ({"label": "b"}, "no label b"),
        ({"counterfactual": torch.zeros(1, 1, 8, 8)}, r"\(1, 1, 8, 8\)"),
    ],
)
def test_refused_before_anything_is_asked(change, message):
    source, counterfactual = pictures(32)
    reader = Reader(lambda images: images.mean((1, 2, 3)))
    settings = {"source": source, "counterfactual": counterfactual, "grid": 4} | change
    with pytest.raises(GCDError, match=message):
        explain_cells(reader, **{"label": "a"} | settings)
    assert reader.queries == 0
