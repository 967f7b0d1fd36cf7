"""Which parts of the change the classifier read: Shapley values of cells, black box.

A path moves all pixels together, so no integral along it can tell which of them the classifier
looked at. Here it is shown mixtures instead: some cells of the counterfactual pasted into the
source, and some of the source into the counterfactual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox, BudgetExceeded
from gcd_core.errors import Cancel, Cancelled, GCDError

QUERIES = 512
COARSEST_CELLS = 4  # cells a side to begin with
MIDDLE_CELLS = 8  # and of the lattice that is finer only where the shares are firm
FINEST_CELLS = 32  # and of the finest
BATCH = 64  # mixtures in memory at a time
MAX_CELLS_PER_PAIR = 0.8  # cells for each pair of mixtures, at most
MIN_STANDARD_ERRORS = 2.0  # standard errors that a cell's share must exceed
CHANNELS = ("logit", "probability")


@dataclass(frozen=True)
class CellAttribution:
    """Each cell's share of the classifier's change, and how far it is to be trusted."""

    # (H, W): the shares laid over the pixels that changed. Signed like BB-LIG's: positive where the
    # change took the label's logit (or probability) down.
    map: Tensor
    cells: Tensor  # (K,): the cells' shares of that fall; 0 where it is within noise
    standard_errors: Tensor  # (K,): of the shares, before those within noise were set to 0
    # (grid, grid), int64: which of the cells lies at each place of the finest lattice.
    lattice: Tensor
    completeness_error: float  # ``map.sum() - (f(source) - f(counterfactual))``
    queries: int  # images that the classifier was shown


Square = tuple[int, int, int]  # first row and column, and side, on the finest lattice


@dataclass(frozen=True)
class _Fit:
    """The shares (K,) of the cells of a lattice (grid, grid), and their standard errors."""

    shares: Tensor
    errors: Tensor
    lattice: Tensor


@torch.inference_mode()
def explain_cells(
    classifier: BlackBox,
    label: str,
    source: Tensor,
    counterfactual: Tensor,
    queries: int = QUERIES,
    grid: int | None = None,
    seed: int = 0,
    f: str = "logit",
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Cancel | None = None,
) -> CellAttribution:
    """Share the fall of f among the cells that were changed.

    The players of the game are square cells, its value is f of the source with the cells of a
    coalition pasted in from the counterfactual; borders between cells are soft, so that no seam is
    what the classifier sees. The shares are the cells' Shapley values, by the least squares problem
    of Lundberg & Lee (NeurIPS 2017, Theorem 2) under the constraint that they sum to the whole
    change, over coalitions drawn from its kernel, each with its complement (Covert & Lee, AISTATS
    2021). Where cells add up they are exact. What a few hundred queries ask for beside it:

    - The lattice is as fine as the answers allow. It begins with 4 x 4 cells; in each round those
      with the largest shares are quartered, beyond 8 x 8 only if a quarter of the share would still
      be twice the noise. Earlier answers go on to count, as coalitions in which the four act as
      one: where cells need each other, the shares lie between Shapley's and Owen's, whose players
      come in unions.
    - Where the answers leave a share open, it is drawn toward the cell's part of the change in
      pixels, as strongly as makes the answers most likely (`shares_of`).
    - Shares within noise are set to nothing, and the others fitted again.

    Parameters
    ----------
    classifier : BlackBox
        Asked `queries` images at most; the generator is not needed.
    label : str
    source, counterfactual : Tensor (1, C, H, W)
        In [0, 1].
    queries : int
        How many images to ask about, both ends included; at least 34 (10 for a grid of 2).
    grid : int, optional
        Cells a side of the finest lattice: 2, 4, 8, ...; by default 32, of a smaller picture as
        many as it has pixels for.
    seed : int
        Repeats the coalitions.
    f : {"logit", "probability"}
        What is attributed.
    batch_size : int, optional
        Images that the classifier is shown at a time; by default 64.
    progress : callable, optional
        Called with (done, queries) after each batch.
    cancel : optional
        Its `is_set()` is asked before each batch.

    Returns
    -------
    CellAttribution

    Raises
    ------
    GCDError
        If the images differ in shape, the label is unknown, there are too few queries for the
        cells, or the classifier's budget is too small; nothing is asked then.
    Cancelled
        If `cancel` is set.

    Examples
    --------
    >>> path = walk(domain, image, found.directions["g"], label="pneumonia")
    >>> end = path.counterfactual_image
    >>> explain_cells(domain.classifier, "pneumonia", path.source, end).map
    """
    if grid is None:
        grid = min(FINEST_CELLS, 1 << (min(source.shape[-2:]).bit_length() - 1))
    _check(source, counterfactual, queries, grid, f)
    classifier.index(label)
    check_budget(classifier, queries)
    mixtures = _Mixtures(classifier, label, f, source, counterfactual, grid)
    mixtures.batch_size, mixtures.progress, mixtures.cancel = batch_size or BATCH, progress, cancel
    change = mixtures.change_of_cells()
    start, end = mixtures.values(torch.tensor([[0.0], [1.0]]).expand(2, grid**2), queries)
    fit = _refined(mixtures, change, end - start, (queries - 2) // 2, seed)
    heat = mixtures.over_pixels(-fit.shares, fit.lattice, change)
    return CellAttribution(
        map=heat.float(),
        cells=-fit.shares.float(),
        standard_errors=fit.errors.float(),
        lattice=fit.lattice,
        completeness_error=float(heat.sum() - (start - end)),
        queries=mixtures.asked,
    )


def _refined(mixtures: _Mixtures, change: Tensor, total: Tensor, pairs: int, seed: int) -> _Fit:
    """Ask about `pairs` pairs of mixtures in rounds, the cells that matter quartered in between."""
    grid = len(change)
    side = grid // min(COARSEST_CELLS, grid)
    squares = [(row, col, side) for row in range(0, grid, side) for col in range(0, grid, side)]
    rounds = side.bit_length()
    asked, answers = torch.empty(0, grid**2), torch.empty(0, dtype=torch.float64)
    for i in range(1, rounds + 1):
        lattice = lattice_of(squares, grid)
        weight = torch.zeros(len(squares), dtype=torch.float64)
        weight.index_add_(0, lattice.flatten(), change.flatten())
        players = weight > 0  # a cell that did not change has no part in it
        until = pairs if i == rounds else max(pairs * i // (rounds + 1), len(squares))
        count = min(until, pairs) - len(answers)
        if count > 0 and players.sum() > 1:
            drawn = torch.zeros(2 * count, len(squares))
            drawn[:, players] = draw_coalitions(int(players.sum()), 2 * count, seed + i).float()
            shown = drawn[:, lattice.flatten()]
            values = mixtures.values(shown, 2 * pairs + 2)
            asked = torch.cat([asked, shown[::2]])
            answers = torch.cat([answers, values[::2] - values[1::2]])
        shares, errors = torch.zeros(2, len(squares), dtype=torch.float64)
        corners = torch.tensor([row * grid + column for row, column, _ in squares])
        design = 2 * asked[:, corners[players]].double() - 1
        shares[players], errors[players] = shares_of(design, answers, total, weight[players])
        room = int(MAX_CELLS_PER_PAIR * pairs * i / (rounds - 1)) if rounds > 1 else 0
        if i < rounds:
            squares = quartered(squares, shares, errors, room, grid // MIDDLE_CELLS)
    kept = players & (shares.abs() > MIN_STANDARD_ERRORS * errors)
    if kept.any():
        design = 2 * asked[:, corners[kept]].double() - 1
        shares = torch.zeros_like(shares)
        shares[kept], _ = shares_of(design, answers, total, weight[kept])
    return _Fit(shares, errors, lattice)


def lattice_of(squares: list[Square], grid: int) -> Tensor:
    """Which square lies at each place (grid, grid), int64."""
    lattice = torch.empty(grid, grid, dtype=torch.long)
    for i, (row, column, side) in enumerate(squares):
        lattice[row : row + side, column : column + side] = i
    return lattice


def quartered(
    squares: list[Square], shares: Tensor, errors: Tensor, room: int, whole: int = 1
) -> list[Square]:
    """The squares with those of the largest shares in quarters, `room` of them in the end at most.

    Left whole are squares of one place, those whose share is within its error, and, of a side of
    `whole` or less, those of whose share a quarter would be within twice the noise.
    """
    result = list(squares)
    for i in shares.abs().argsort(descending=True, stable=True).tolist():
        row, column, side = squares[i]
        if len(result) + 3 > room:
            break
        firm = 8 * MIN_STANDARD_ERRORS if side <= whole else 1
        if side == 1 or shares[i].abs() <= firm * errors[i]:
            continue
        result.remove(squares[i])
        half = side // 2
        result += [(row + a, column + b, half) for a in (0, half) for b in (0, half)]
    return result


def draw_coalitions(players: int, count: int, seed: int) -> Tensor:
    """Coalitions (count, players) of 0 and 1 from the Shapley kernel, each before its opposite.

    A size s from 1 to players - 1 has the probability proportional to 1 / (s (players - s)). Of
    fewer than two players there are none to draw.
    """
    if players < 2:
        return torch.empty(0, players, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(1, players, dtype=torch.float64)
    drawn = torch.multinomial(
        1 / (sizes * (players - sizes)), math.ceil(count / 2), replacement=True, generator=generator
    )
    order = torch.rand(len(drawn), players, generator=generator, dtype=torch.float64).argsort(1)
    one = torch.zeros(len(drawn), players, dtype=torch.float64)
    one.scatter_(1, order, (torch.arange(players) < (drawn + 1)[:, None]).double())
    return torch.stack([one, 1 - one], dim=1).flatten(0, 1)[:count]


def shares_of(
    design: Tensor, answers: Tensor, total: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Each player's share of a game's total, by ridge regression under that constraint.

    Only what a coalition and its complement differ by says anything of the shares. A priori they
    are the players' parts of `total` by weight, with a variance proportional to it. The ratio of
    that variance to the noise's is the one of the highest marginal likelihood (MacKay, Neural
    Computation 1992): it goes to infinity, and the prior out of sight, where the players add up.

    Parameters
    ----------
    design : Tensor (M, K)
        1 where the player is in the coalition, -1 where it is in its complement.
    answers : Tensor (M,)
        The coalition's value less its complement's.
    total : Tensor ()
        The value of all less that of nobody: what the shares sum to.
    weight : Tensor (K,)
        Positive.

    Returns
    -------
    shares, standard_errors : Tensor (K,)
        Mean and standard deviation of the posterior.
    """
    design, answers, weight = design.double(), answers.double(), weight.double()
    part = weight / weight.sum()
    prior = total.double() * part
    if not len(design) or len(part) < 2:
        return prior, torch.zeros_like(prior)
    root = part.sqrt()
    scaled = design * root
    scaled = scaled - torch.outer(scaled @ root, root)  # what stays within the constraint
    left = answers - design @ prior
    u, s, v = torch.linalg.svd(scaled, full_matrices=False)
    along, power = u.T @ left, s.square()
    beyond = (left.square().sum() - along.square().sum()).clamp(min=0)
    ridges = power.max() * torch.logspace(-12, 3, 61, dtype=torch.float64)
    gains = 1 + power / ridges[:, None]
    noise = ((along.square() / gains).sum(1) + beyond) / len(left) + torch.finfo(torch.float32).tiny
    best = (len(left) * noise.log() + gains.log().sum(1)).argmin()
    ridge = ridges[best]
    shares = prior + root * (v.T @ (s * along / (power + ridge)))
    known = (v.square() * (power / (power + ridge))[:, None]).sum(0)
    unsettled = (1 - part - known).clamp(min=0)  # of each player's variance, what is left of 1
    return shares, root * (noise[best] / ridge * unsettled).sqrt()


def at_size(heat: Tensor, size: Sequence[int]) -> Tensor:
    """A map (h, w) at another size (H, W), with the same sum."""
    height, width = size
    if heat.shape == (height, width):
        return heat
    resized = F.adaptive_avg_pool2d(heat[None], (height, width))[0]
    return resized * (heat.numel() / resized.numel())


def check_budget(classifier: BlackBox, queries: int) -> None:
    """Refuse more queries than the classifier's budget leaves."""
    budget = classifier.budget
    if budget is not None and classifier.queries + queries > budget:
        raise BudgetExceeded(
            f"A map of cells asks the classifier about {queries} images; of its budget of {budget} "
            f"{max(budget - classifier.queries, 0)} are left. To ask more, raise 'budget' in the "
            "classifier's table of domain.toml."
        )


def ramps(grid: int, size: int) -> Tensor:
    """Weights (grid, size) in [0, 1] of cells along a side; they sum to 1 at every pixel.

    Each is 1 in the middle of its cell and falls to 0 over half a cell on the way to the next.
    """
    place = (torch.arange(size, dtype=torch.float64) + 0.5) / size * grid - 0.5
    distance = (place - torch.arange(grid, dtype=torch.float64)[:, None]).abs()
    ramp = (1.5 - 2 * distance).clamp(0, 1)
    ramp[0, place < 0] = 1
    ramp[-1, place > grid - 1] = 1
    return ramp


class _Mixtures:
    """Source and counterfactual, mixed by cells of the finest lattice, and what f is of them."""

    def __init__(
        self,
        classifier: BlackBox,
        label: str,
        f: str,
        source: Tensor,
        counterfactual: Tensor,
        grid: int,
    ) -> None:
        self.classifier, self.label, self.grid = classifier, label, grid
        self.answer = classifier.logit if f == "logit" else classifier.probability
        self.source = source.float().cpu()
        self.change = counterfactual.float().cpu() - self.source
        self.rows, self.columns = (ramps(grid, size) for size in source.shape[-2:])
        self.batch_size, self.asked = BATCH, 0
        self.progress: Callable[[int, int], None] | None = None
        self.cancel: Cancel | None = None

    def change_of_cells(self) -> Tensor:
        """How much of the absolute change lies in each place of the lattice (grid, grid)."""
        return self.rows @ self.change.abs().mean((0, 1)).double() @ self.columns.T

    def values(self, coalitions: Tensor, queries: int) -> Tensor:
        """What f is (M,), float64, with the places (M, grid * grid) from the counterfactual."""
        found = []
        for part in coalitions.split(self.batch_size):
            if self.cancel is not None and self.cancel.is_set():
                raise Cancelled
            weights = part.double().view(-1, self.grid, self.grid)
            masks = (self.rows.T @ weights @ self.columns)[:, None].float()
            logits = self.classifier((self.source + masks * self.change).clamp(0, 1))
            found.append(self.answer(logits, self.label).double().cpu())
            self.asked += len(part)
            if self.progress is not None:
                self.progress(self.asked, queries)
        return torch.cat(found)

    def over_pixels(self, shares: Tensor, lattice: Tensor, change: Tensor) -> Tensor:
        """Lay shares (K,) over the cells' pixels by how much they changed: (H, W), of their sum."""
        weight = torch.zeros_like(shares).index_add_(0, lattice.flatten(), change.flatten())
        density = torch.where(weight > 0, shares / weight.clamp(min=1e-300), 0.0)[lattice]
        return (self.rows.T @ density @ self.columns) * self.change.abs().mean((0, 1)).double()


def _check(source: Tensor, counterfactual: Tensor, queries: int, grid: int, f: str) -> None:
    """Refuse what no cells can be explained with."""
    if source.shape != counterfactual.shape or source.ndim != 4 or len(source) != 1:
        raise GCDError(
            f"Source and counterfactual are one image (1, C, H, W) each and alike in shape, not "
            f"{tuple(source.shape)} and {tuple(counterfactual.shape)}."
        )
    if f not in CHANNELS:
        raise GCDError(f"{f!r} cannot be attributed; choose one of {CHANNELS}.")
    most = min(source.shape[-2:])
    if not 2 <= grid <= most or grid & (grid - 1):
        raise GCDError(
            f"A grid of {grid} cells a side is not possible; take a power of 2 from 2 to {most}."
        )
    coarse = min(COARSEST_CELLS, grid) ** 2
    if queries < 2 * coarse + 2:
        raise GCDError(
            f"{queries} queries are too few for {coarse} cells; take {2 * coarse + 2} or more."
        )
