"""The mean slope of a classifier's logit over a domain's codes, from few answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        cost = torch.eye(len(self.slope)) + weight * self.statistics.picture_change
        if elsewhere is not None:
            cost = cost + elsewhere
        step = self.statistics.factor @ torch.linalg.solve(cost, self.slope)
        return step / step.norm()

    def boundary(self, direction: Tensor) -> Tensor:
        """Where (1, D) the decision boundary is met from the mean code, along a direction (D,)."""
        along = self.gradient @ direction
        return (self.statistics.mean - self.intercept / along * direction)[None]


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
    size = codes.shape[1]
    prior = statistics.picture_change.double() + ALL_AXES * torch.eye(size, dtype=torch.float64)
    root = torch.linalg.cholesky(prior)
    w = statistics.whitened(codes).double()
    y = logits.double()
    inputs, answers = (w - w.mean(0)) @ root, y - y.mean()
    left, sizes, right = torch.linalg.svd(inputs, full_matrices=False)
    projected = left.T @ answers
    penalty = _likeliest(sizes, projected, float(answers.square().sum()), len(y))
    shrunk = sizes.square() / (sizes.square() + penalty)
    slope = root @ (right.T @ (sizes / (sizes.square() + penalty) * projected))
    if not slope.norm() > 0:
        raise GCDError(
            "No direction shows in the classifier's answers; ask more (--queries), or check that "
            "it is asked about the right kind of picture (check-domain)."
        )
    error = answers.square().sum() - ((2 * shrunk - shrunk.square()) * projected.square()).sum()
    freedom = (1 + shrunk.sum()).clamp(max=MOST_FREEDOM * len(y))
    unseen = error / (1 - freedom / len(y)).square()  # generalised cross-validation
    explained = float((1 - unseen / answers.square().sum()).clamp(0, 1))
    intercept = float(y.mean() - w.mean(0) @ slope)
    return MeanSlope(slope.float(), intercept, explained, statistics)


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

    g is learned from each half of the answers; mirrored codes stay together. With c the cosine
    between the two, 2c / (1 + c) is expected of all (Spearman and Brown, 1910).

    Returns
    -------
    float
        0 to 1; 0 where a half shows no direction.
    """
    first = torch.arange(len(logits)) // 2 % 2 == 0
    try:
        one, other = (
            fit_mean_slope(codes[rows], logits[rows], statistics).direction(picture_weight)
            for rows in (first, ~first)
        )
    except GCDError:
        return 0.0
    cosine = max(0.0, F.cosine_similarity(one, other, dim=0).item())
    return 2 * cosine / (1 + cosine)
