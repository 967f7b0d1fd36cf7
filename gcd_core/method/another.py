"""Another counterfactual of a picture, that avoids directions, earlier changes or a region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox, BudgetExceeded
from gcd_core.errors import Cancel, GCDError
from gcd_core.generators.base import BatchProgress, Latent
from gcd_core.images.picture import Picture
from gcd_core.method.bisection import BISECTION_STEPS
from gcd_core.method.changes import LITTLE
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.composition import SOURCE, compose, resolve_detail, view_of
from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import flip_sign
from gcd_core.method.models import Models
from gcd_core.method.path import Path
from gcd_core.method.perturbation import ask_about, check_label, check_source
from gcd_core.method.region import check_region
from gcd_core.method.walk import walk

MAX_QUERIES = 64  # that one search asks; MAX_DIRECTIONS follows from it
POINTS = 9  # walked along a combination, its start included
WALK_QUERIES = 1 + POINTS + BISECTION_STEPS  # the source, the points, the halvings
MAX_DIRECTIONS = MAX_QUERIES // 2 - 1 - WALK_QUERIES  # that may change
STEP = 0.25  # of the walk's length, over which a slope is asked
NOTHING_OUTSIDE = "Outside of the region nothing moves the answer."
NOTHING_LEFT = "No other way is left: each that remains does nearly what is to be avoided."
MAX_LIKENESS = LITTLE  # absolute cosine with what is avoided, at most
PICTURE_WEIGHT = 0.3  # of the picture's change beside the codes' distance, in what a step costs
PENALTIES = torch.logspace(-4, 6, 201, dtype=torch.float64)  # of what resembles the avoided
FLAT = 1e-6  # share of the steepest slope, below which a combination leads nowhere


class NothingLeft(GCDError):
    """No direction is left that does something else than those to be avoided."""


@dataclass(frozen=True)
class Another:
    """A counterfactual that does without what was to be avoided, or the nearest to one.

    Attributes
    ----------
    path : Path
        Along the combination; ``path.counterfactual_flips`` says whether there is one.
    coefficients : dict of str to float
        What each direction has in a step of length 1 along it, by name.
    vector : Tensor (D,)
        That step, of length 1; +alpha is to raise the label's logit.
    avoided : tuple of str
        Names of the directions that were avoided.
    likeness : float
        The largest absolute cosine of the step with what was avoided; 0 where that was a region.
    queries : int
        Images that the classifier was asked about.
    """

    path: Path
    coefficients: dict[str, float]
    vector: Tensor
    avoided: tuple[str, ...]
    likeness: float
    queries: int

    @property
    def alphas(self) -> dict[str, float]:
        """How far along each direction the counterfactual lies, by name."""
        alpha = float(self.path.alphas[self.path.counterfactual])
        return {name: alpha * share for name, share in self.coefficients.items()}


@torch.inference_mode()
def another_counterfactual(
    domain: Models,
    image: Tensor | Picture,
    directions: DirectionSet,
    label: str,
    avoid: Sequence[str | Tensor] = (),
    avoid_region: Tensor | None = None,
    latent: Latent | None = None,
    margin: float | None = None,
    max_likeness: float = MAX_LIKENESS,
    solver: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    progress: BatchProgress | None = None,
    cancel: Cancel | None = None,
    detail: str | None = None,
) -> Another:
    """Find the smallest change that flips a picture without what is to be avoided.

    The change is a combination of the directions that are not avoided: of the steps that resemble
    nothing that is avoided the one that moves the logit most for what it costs
    (`best_combination`). The slopes of the logit along the directions are asked, one query a
    direction: a proxy knows them at the image that it was fitted around, or on average. The picture
    is walked along the combination (`walk`). Where no point convinces, the slopes are asked around
    the nearest point that it came to, and the combination for the mean of both is walked.

    Parameters
    ----------
    domain : Models
    image : Tensor (1, C, S, S) or Picture
        The source in [0, 1].
    directions : DirectionSet
        Of which the first 17 that are not avoided may change.
    label : str
        What to flip; the directions may have been found for another label.
    avoid : sequence of (str or Tensor (D,))
        Names of directions, which are held at 0, and changes of the code that were shown before.
    avoid_region : Tensor (S, S), optional
        A mask, True where the picture must not change. Something must be avoided.
    latent : Latent, optional
        The image's own, where it has been encoded before.
    margin : float, optional
        How far beyond the threshold the probability is to lie, 0 to 0.5; by default the domain's.
    max_likeness : float
        The largest absolute cosine of the change with each that is avoided, 0 to 1. At 0 it is
        orthogonal to all of them.
    progress : callable, optional
        Called with (queries so far, queries at most) after each batch.
    solver, steps, batch_size, cancel, detail : optional
        As of `walk`.

    Returns
    -------
    Another
        Of at most two combinations the one that convinces, or comes nearer. At most 64 queries.

    Raises
    ------
    GCDError
        If something does not fit, or nothing is left to change; before the classifier is asked,
        unless its own answers say so.
    BudgetExceeded
        If the classifier's budget does not allow `queries_at_most`; before it is asked.
    Cancelled
        If `cancel` is set.

    Examples
    --------
    >>> found = another_counterfactual(domain, image, directions, "pneumonia", avoid=["g"])
    >>> found.path.counterfactual_flips, found.alphas, found.queries
    """
    check_label(domain, label)
    check_source(domain, image)
    most = queries_at_most(directions, avoid)
    told = None if progress is None else lambda done: progress(done, most)
    search = _Search(domain, directions, label, avoid, avoid_region, max_likeness, told)
    check_budget(domain.classifier, most)
    how: dict[str, Any] = {"solver": solver, "steps": steps}
    latent = latent or domain.generator.encode(view_of(image), **how)
    search.begin(image, latent, resolve_detail(domain, detail), how)
    more: dict[str, Any] = {
        "margin": margin,
        "batch_size": batch_size,
        "cancel": cancel,
        "detail": detail,
    }
    slopes = search.first_slopes()
    first = search.walked(slopes, how | more)
    if first is None:
        if search.region is not None:
            raise GCDError(NOTHING_OUTSIDE)
        raise NothingLeft(NOTHING_LEFT)
    if bool(first.path.is_convincing.any()):
        return first
    second = search.walked((slopes + search.slopes_at(first)) / 2, how | more)
    best = max(filter(None, (first, second)), key=_nearness)
    return replace(best, queries=search.queries)


def queries_at_most(directions: DirectionSet, avoid: Sequence[str | Tensor] = ()) -> int:
    """How many images `another_counterfactual` asks the classifier about at most; 64 or fewer.

    `avoid` is as there.
    """
    return 1 + 1 + 2 * (len(_left(directions, avoid)) + WALK_QUERIES)


def check_budget(classifier: BlackBox, queries: int) -> None:
    """Refuse more queries than the classifier's budget leaves."""
    budget = classifier.budget
    if budget is not None and classifier.queries + queries > budget:
        raise BudgetExceeded(
            f"Another counterfactual asks the classifier about up to {queries} images; of its "
            f"budget of {budget} {max(budget - classifier.queries, 0)} are left."
        )


def _left(directions: DirectionSet, avoid: Sequence[str | Tensor]) -> list[str]:
    """The names of the directions that may change."""
    avoided = [one for one in avoid if isinstance(one, str)]
    return [name for name in directions.names if name not in avoided][:MAX_DIRECTIONS]


def best_combination(
    slopes: Tensor,
    vectors: Tensor,
    avoided: Tensor,
    cost: Tensor | None = None,
    max_likeness: float = MAX_LIKENESS,
) -> Tensor | None:
    """The combination of directions that raises the logit most for what it costs, unlike some.

    With s the slopes, K the cost and A the cosines with what is avoided it is the maximum of
    ``s c / sqrt(c K c)`` over coefficients c: ``(K + p A A^T)^-1 s``, p the smallest penalty with
    which no cosine of the step is above `max_likeness`. With K = V V^T and `max_likeness` = 0 that
    is the slope's own gradient, projected on what is orthogonal to the avoided.

    Parameters
    ----------
    slopes : Tensor (k,)
        Of the logit along each direction.
    vectors : Tensor (k, D)
        The directions, of length 1.
    avoided : Tensor (m, D)
        What is avoided, of length 1; m may be 0.
    cost : Tensor (k, k), optional
        The squared cost of a step c is ``c K c``; by default the squared length in z_sem.
    max_likeness : float
        As of `another_counterfactual`.

    Returns
    -------
    Tensor (k,) or None
        The coefficients of a step of length 1 in z_sem; None where nothing is left that raises the
        logit.
    """
    slopes, vectors, avoided = slopes.double(), vectors.double(), avoided.double()
    gram = vectors @ vectors.T
    metric = gram if cost is None else cost.double()
    metric = metric + 1e-9 * metric.diagonal().mean() * torch.eye(len(slopes)).double()
    if max_likeness > 0:
        penalties = torch.cat([torch.zeros(1).double(), PENALTIES * float(metric.trace())])
        along = vectors @ avoided.T  # (k, m)
        wanted = slopes.expand(len(penalties), -1)
        tried = torch.linalg.solve(metric + penalties[:, None, None] * (along @ along.T), wanted)
    else:
        free = _orthogonal(vectors, avoided)
        if not free.shape[1]:
            return None
        tried = (free @ torch.linalg.solve(free.T @ metric @ free, free.T @ slopes))[None]
    lengths = ((tried @ gram) * tried).sum(1).clamp(min=0).sqrt()
    units = tried / lengths.clamp(min=1e-30)[:, None]
    likeness = (units @ vectors @ avoided.T).abs()
    fits = (likeness <= max_likeness + 1e-6).all(1) & (units @ slopes > FLAT * slopes.abs().max())
    if not bool(fits.any()):
        return None
    return units[int(fits.int().argmax())].float()


def _orthogonal(vectors: Tensor, avoided: Tensor) -> Tensor:
    """A basis (k, q) of the coefficients whose steps are orthogonal to all that is avoided."""
    _, sizes, right = torch.linalg.svd(avoided @ vectors.T, full_matrices=True)
    return right[int((sizes > 1e-9).sum()) :].T


def step_cost(vectors: Tensor, statistics: CodeStatistics) -> Tensor:
    """What steps along directions (k, D) cost, (k, k): as of `MeanSlope.direction`.

    The squared distance that the code moves from the data, and the mean squared change of the
    picture, which stands for LPIPS, weighted.
    """
    w = torch.linalg.solve_triangular(statistics.factor, vectors.float().T, upper=False)
    weighted = torch.eye(len(w)) + PICTURE_WEIGHT * statistics.picture_change
    return w.T @ weighted @ w


def _nearness(found: Another) -> tuple[bool, float]:
    """Whether a path convinces, and how far it takes the logit toward the flip."""
    path = found.path
    return bool(path.is_convincing.any()), float((path.logits * path.sign).max())


class _Search:
    """One search for another counterfactual: what may change, and what was asked."""

    def __init__(
        self,
        domain: Models,
        directions: DirectionSet,
        label: str,
        avoid: Sequence[str | Tensor],
        avoid_region: Tensor | None,
        max_likeness: float,
        told: Callable[[int], None] | None,
    ) -> None:
        if not 0 <= max_likeness <= 1:
            raise GCDError(f"max_likeness is {max_likeness}; give a cosine from 0 to 1.")
        if not len(avoid) and avoid_region is None:
            raise GCDError("Nothing is to be avoided: name a direction, or give a region.")
        self.domain, self.directions, self.label = domain, directions, label
        self.max_likeness, self.queries, self._told = max_likeness, 0, told
        self.names = _left(directions, avoid)
        self.avoided = tuple(one for one in avoid if isinstance(one, str))
        size = domain.generator.z_sem_size
        given = [directions[one].vector if isinstance(one, str) else one for one in avoid]
        if any(tuple(one.shape) != (size,) or not float(one.norm()) > 0 for one in given):
            raise GCDError(f"What is avoided is a change of {size} numbers, not all of them 0.")
        self.unlike = F.normalize(torch.stack(given), dim=1) if given else torch.zeros(0, size)
        if not self.names:
            raise NothingLeft(NOTHING_LEFT)
        self.vectors = torch.stack([directions[name].vector for name in self.names])
        masks = check_region(domain, None if avoid_region is None else ~avoid_region.bool())
        self.region = None if masks is None else masks[0]

    def begin(
        self, image: Tensor | Picture, latent: Latent, detail: str, how: dict[str, Any]
    ) -> None:
        """Take the image that is changed, and how it is decoded."""
        self.image, self.latent, self.how = image, latent, how
        baseline = self.domain.generator.decode(latent, **how).float() if detail == SOURCE else None
        mask = None if self.region is None else self.region[None]
        self.composition = compose(image, baseline, mask)
        classifier = self.domain.classifier
        before = classifier(self.composition.source_for(classifier))
        self.queries += 1
        self.toward = flip_sign(float(classifier.probability(before, self.label)))

    def first_slopes(self) -> Tensor:
        """The slopes (k,) of the logit along the directions, at the image's code."""
        before = self._logits(torch.zeros(1, len(self.names)))
        return self._slopes(torch.zeros(len(self.names)), float(before))

    def slopes_at(self, found: Another) -> Tensor:
        """The slopes (k,) where a path came nearest to the flip."""
        nearest = int((found.path.logits * found.path.sign).argmax())
        shares = torch.tensor([found.coefficients[name] for name in self.names])
        at = float(found.path.alphas[nearest]) * shares
        return self._slopes(at, float(found.path.logits[nearest]))

    def _slopes(self, at: Tensor, logit: float) -> Tensor:
        """The slopes around coefficients (k,) whose picture has a logit, asked toward the flip."""
        step = self.toward * self.domain.alpha_max * STEP
        return (self._logits(at + step * torch.eye(len(at))) - logit) / step

    def _logits(self, coefficients: Tensor) -> Tensor:
        """Ask about the pictures at coefficients (n, k): their logits (n,)."""
        z_sem = self.latent.z_sem
        codes = z_sem + (coefficients @ self.vectors).to(z_sem)
        decoded = self.domain.generator.decode(self.latent.with_z_sem(codes), **self.how)
        self.queries += len(codes)
        parts = decoded.split(1)
        answers = [ask_about(self.domain, one, self.composition, self.label) for one in parts]
        self._tell(0)
        return torch.cat([answer.logits for answer in answers])

    def walked(self, slopes: Tensor, options: dict[str, Any]) -> Another | None:
        """Walk along the best combination for slopes (k,); None where nothing is left to change.

        No direction goes farther than the domain's `alpha_max`.
        """
        statistics = self.domain.code_statistics(self.label)
        cost = step_cost(self.vectors, statistics)
        shares = best_combination(slopes, self.vectors, self.unlike, cost, self.max_likeness)
        if shares is None:
            return None
        vector = shares @ self.vectors
        reach = self.domain.alpha_max / max(1.0, float(shares.abs().max()))
        alphas = self.toward * torch.linspace(0, reach, POINTS) + 0.0  # no -0.0
        path = walk(
            self.domain,
            self.image,
            vector,
            self.label,
            alphas,
            latent=self.latent,
            region=self.region,
            choice=SMALLEST,
            progress=lambda done, _: self._tell(done),
            **options,
        )
        self.queries += 1 + len(path.alphas)
        names = " + ".join(self.names)
        return Another(
            path=replace(path, direction_name=names),
            coefficients=dict(zip(self.names, shares.tolist(), strict=True)),
            vector=vector,
            avoided=self.avoided,
            likeness=float((self.unlike @ vector).abs().max()) if len(self.unlike) else 0.0,
            queries=self.queries,
        )

    def _tell(self, more: int) -> None:
        if self._told is not None:
            self._told(self.queries + more)
