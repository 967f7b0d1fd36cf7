"""The mean slope of a classifier's logit over a domain's codes, from few answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.method.code_statistics import CodeStatistics

ALL_AXES = 0.03  # of the prior variance that does not hang on how much picture an axis makes
PICTURE_WEIGHT = 0.1  # of the picture's change beside the codes' distance, in a direction
SURE_PICTURE_WEIGHT = 0.3  # the same, where the answers say well enough what g then is
SURE = 0.95  # cosine expected with another search's g, from which on they do
PENALTIES = torch.logspace(-3, 5, 65, dtype=torch.float64)
MOST_FREEDOM = 0.98  # share of the answers that a fit may use up
SPLITS = 8  # ways to halve few answers, for the cosine that is expected; of many fewer are needed
PROMISED = 500  # by which the cosine that is expected is too high, see there
SURE_ANSWERS, UNSURE = 64, 0.89  # answers from which on a cosine above that one is promised
SURELY_MANY = 1024  # answers, of which one way is enough


@dataclass(frozen=True)
class MeanSlope:
    """A linear function of z_sem that says what a classifier's logit is on average.

    Attributes
    ----------
    slope : Tensor (D,)
        In the whitened numbers w of the statistics, in log-odds.
    intercept : float
        The logit at the mean code.
    explained : float
        The share of the logit's variance that it explains, of answers that it has not seen (by
        generalised cross-validation); 0 to 1.
    statistics : CodeStatistics
    picture_weight : float
        Of the picture's change, in a direction.
    """

    slope: Tensor
    intercept: float
    explained: float
    statistics: CodeStatistics
    picture_weight: float = PICTURE_WEIGHT

    @property
    def gradient(self) -> Tensor:
        """The slope (D,) in the codes' own numbers."""
        upper = self.statistics.factor.T
        return torch.linalg.solve_triangular(upper, self.slope[:, None], upper=True)[:, 0]

    def logit(self, codes: Tensor) -> Tensor:
        """What it says (N,) of codes (N, D)."""
        return self.intercept + self.statistics.whitened(codes) @ self.slope

    def direction(
        self, picture_weight: float | None = None, elsewhere: Tensor | None = None
    ) -> Tensor:
        """The unit direction (D,) that raises the logit most for what it costs.

        The cost of a step v is the squared distance v^T S^-1 v that the code moves from the data,
        and the mean squared change of the picture, times `picture_weight`. So the slope is carried
        by the covariance S (from filter to pattern: Haufe et al., NeuroImage 2014), and turned away
        from what changes much of the picture for little of the logit.

        Parameters
        ----------
        picture_weight : float, optional
            0 or more; by default the slope's own.
        elsewhere : Tensor (D, D), optional
            A further cost, in w, such as of changes outside a region.
        """
        weight = self.picture_weight if picture_weight is None else picture_weight
        step = _carried(self.slope[:, None], self.statistics, weight, elsewhere)[:, 0]
        return step / step.norm()

    def boundary(self, direction: Tensor) -> Tensor:
        """Where (1, D) the decision boundary is met from the mean code, along a direction (D,)."""
        along = self.gradient @ direction
        return (self.statistics.mean - self.intercept / along * direction)[None]


def _carried(
    slopes: Tensor, statistics: CodeStatistics, weight: float, elsewhere: Tensor | None = None
) -> Tensor:
    """The steps (D, k) that raise logits of these slopes (D, k) most for what they cost.

    `MeanSlope.direction` says what a step costs.
    """
    cost = torch.eye(len(slopes)) + weight * statistics.picture_change
    if elsewhere is not None:
        cost = cost + elsewhere
    return statistics.factor.to(slopes) @ torch.linalg.solve(cost.to(slopes), slopes)


def fit_mean_slope(codes: Tensor, logits: Tensor, statistics: CodeStatistics) -> MeanSlope:
    """Fit the mean slope by ridge regression, its penalty by the evidence.

    For codes z ~ N(m, S) the regression's slope is the mean gradient of the logit over the whole
    distribution (Stein's lemma: E[grad f] = S^-1 Cov(z, f)), where the paper takes the gradient at
    one image (Eq. 3). What makes few answers enough is the prior: a classifier sees nothing but the
    picture, so its logit can only hang on an axis as far as that axis changes the picture. The
    prior covariance of the slope is that change (`CodeStatistics.picture_change`), known without a
    query, and a little of the identity.

    Parameters
    ----------
    codes : Tensor (N, D)
        Drawn from the distribution of the statistics, or codes of real images.
    logits : Tensor (N,)
        The label's log-odds of what they decode to, or of the images.
    statistics : CodeStatistics

    Raises
    ------
    GCDError
        If there are fewer than 8 answers, one of them is no finite number, or all are the same.
    """
    if len(logits) < 8:
        raise GCDError(f"{len(logits)} answers are too few to find a direction; take 32 or more.")
    if not bool(logits.isfinite().all()):
        raise GCDError("The classifier gave an answer that is no finite number.")
    if logits.std() <= 1e-6 * (1 + logits.mean().abs()):
        raise GCDError(
            "The classifier answers the same for every picture, so there is no direction to find; "
            "check that it is asked about the right kind of picture (check-domain)."
        )
    fit = _ridge(codes, logits, statistics)
    slope = fit.back @ fit.projected
    if not slope.norm() > 0:
        raise GCDError(
            "No direction shows in the classifier's answers; ask more (--queries), or check that "
            "it is asked about the right kind of picture (check-domain)."
        )
    unseen = fit.error / (1 - fit.freedom / len(logits)) ** 2  # generalised cross-validation
    explained = min(max(1 - unseen / fit.total, 0.0), 1.0)
    intercept = float(logits.double().mean() - statistics.whitened(codes).double().mean(0) @ slope)
    return MeanSlope(slope.float(), intercept, explained, statistics)


class _Ridge(NamedTuple):
    """A ridge regression of logits, in the directions in which the codes vary.

    Attributes
    ----------
    projected : Tensor (k,)
        The answers along the left singular vectors of the inputs.
    back : Tensor (D, k)
        Makes the slope of `projected`.
    total, error : float
        Sums of the squares of the answers, less their mean, and of what the fit leaves of them.
    freedom : float
        How many of the answers the fit uses up.
    """

    projected: Tensor
    back: Tensor
    total: float
    error: float
    freedom: float


def _ridge(codes: Tensor, logits: Tensor, statistics: CodeStatistics) -> _Ridge:
    """Fit logits (N,) over codes (N, D), as `fit_mean_slope` says."""
    size = codes.shape[1]
    prior = statistics.picture_change.double() + ALL_AXES * torch.eye(size, dtype=torch.float64)
    root = torch.linalg.cholesky(prior)
    w, y = statistics.whitened(codes).double(), logits.double()
    inputs, answers = (w - w.mean(0)) @ root, y - y.mean()
    left, sizes, right = torch.linalg.svd(inputs, full_matrices=False)
    projected, total = left.T @ answers, float(answers.square().sum())
    penalty = _likeliest(sizes, projected, total, len(y))
    shrunk = sizes.square() / (sizes.square() + penalty)
    error = total - float(((2 * shrunk - shrunk.square()) * projected.square()).sum())
    freedom = min(float(1 + shrunk.sum()), MOST_FREEDOM * len(y))
    back = root @ right.T * (sizes / (sizes.square() + penalty))
    return _Ridge(projected, back, total, error, freedom)


def _likeliest(sizes: Tensor, projected: Tensor, total: float, n: int) -> float:
    """The penalty under which the answers are likeliest (the evidence of MacKay, 1992).

    Answers ~ N(0, s^2 (X X^T / penalty + I)), s at its likeliest.

    Parameters
    ----------
    sizes, projected : Tensor (k,)
        Singular values of the inputs X, and the answers along their left singular vectors.
    total : float
        Sum of the answers' squares.
    n : int
        How many answers.
    """
    penalties = PENALTIES[:, None]
    spread = 1 + sizes.square() / penalties
    rest = max(total - float(projected.square().sum()), 0.0)
    fit = (projected.square() / spread).sum(1) + rest
    evidence = -(n - 1) * fit.log() - spread.log().sum(1)
    return float(PENALTIES[evidence.argmax()])


def weighed_slope(
    codes: Tensor, logits: Tensor, statistics: CodeStatistics
) -> tuple[MeanSlope, float]:
    """The mean slope of some answers, and the cosine to be expected with another search's g.

    The more the picture's change weighs, the less a counterfactual changes, and the more answers it
    takes to know the direction. So the greater weight is taken where a cosine of 0.95 is expected
    with it. Parameters and errors are those of `fit_mean_slope`.
    """
    slope = fit_mean_slope(codes, logits, statistics)
    expected = expected_cosine(codes, logits, statistics, SURE_PICTURE_WEIGHT)
    if expected >= SURE:
        return replace(slope, picture_weight=SURE_PICTURE_WEIGHT), expected
    return slope, expected_cosine(codes, logits, statistics)


def expected_cosine(
    codes: Tensor,
    logits: Tensor,
    statistics: CodeStatistics,
    picture_weight: float = PICTURE_WEIGHT,
) -> float:
    """The cosine to be expected between g of these answers and g of as many others.

    The mean of two estimates, of which neither was off on the same side throughout: one from the
    answers' halves (`_from_halves`), one from the regression's own error (`_from_error`). Against
    g of seven searches each of four questions it is within 0.05 of what was found, from 32 to 256
    answers (see the lab notes). Of few answers both promise too much: of what is missing from 1 a
    share of 500 / N^2 is taken off again; fewer than 64 promise 0.89 at most, as two searches of 32
    that expect more may differ by more.

    Returns
    -------
    float
        0 to 1; 0 where the answers, or a half of them, show no direction.
    """
    n = len(logits)
    most = 1.0 if n >= SURE_ANSWERS else UNSURE
    try:
        halves = _from_halves(codes, logits, statistics, picture_weight)
        error = _from_error(codes, logits, statistics, picture_weight)
    except GCDError:
        return 0.0
    cosine = (halves + error) / 2
    return min(max(0.0, cosine - PROMISED * (1 - cosine) / n**2), most)


def _from_halves(
    codes: Tensor, logits: Tensor, statistics: CodeStatistics, picture_weight: float
) -> float:
    """The expected cosine from g of one half of the answers and of the other; mirrored codes stay.

    With c the mean cosine over several ways to halve them, 2c / (1 + c) is expected of all answers
    (Spearman and Brown, 1910).
    """
    pairs, drawn = (len(logits) + 1) // 2, torch.Generator().manual_seed(0)
    ways, cosines = max(1, min(SPLITS, SURELY_MANY // len(logits))), []
    for _ in range(ways):
        half = torch.randperm(pairs, generator=drawn) < pairs // 2
        first = half.repeat_interleave(2)[: len(logits)]
        one, other = (
            fit_mean_slope(codes[rows], logits[rows], statistics).direction(picture_weight)
            for rows in (first, ~first)
        )
        cosines.append(max(0.0, F.cosine_similarity(one, other, dim=0).item()))
    cosine = sum(cosines) / ways
    return 2 * cosine / (1 + cosine)


def _from_error(
    codes: Tensor, logits: Tensor, statistics: CodeStatistics, picture_weight: float
) -> float:
    """The expected cosine from the error of the answers that the regression does not explain.

    The step before it is made a unit vector is linear in the answers: its true part, and an error
    whose expected square t is known from the noise. Two searches share the true part alone, so
    their cosine is expected at (s - t) / s, with s the square of the step that was found.
    """
    fit = _ridge(codes, logits, statistics)
    noise = fit.error / (len(logits) - fit.freedom)
    back = _carried(fit.back, statistics, picture_weight)
    found = float((back @ fit.projected).square().sum())
    if not found > 0:
        return 0.0
    return max(0.0, 1 - noise * float(back.square().sum()) / found)
