"""Directions that need no search: what other methods make of codes and the answers to them.

Each is a unit vector (D,) of z_sem, oriented so that a positive alpha raises the label's logit.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from scipy.optimize import minimize
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.mean_slope import fit_mean_slope

PENALTY = 1.0  # of the linear classifier's errors, beside the width of its margin
AXES = 8  # first principal axes, of which one is chosen


def mean_difference(codes: Tensor, logits: Tensor) -> Tensor:
    """The mean code of what is predicted to be the label, less that of the rest.

    Of codes z ~ N(m, S) and a logit w^T z + b it points along S w.

    Raises
    ------
    GCDError
        If all answers lie on one side.
    """
    codes, positive = codes.double(), sides(logits)
    return _unit(codes[positive].mean(0) - codes[~positive].mean(0))


def linear_normal(codes: Tensor, logits: Tensor) -> Tensor:
    """The normal of a linear classifier of codes, as InterFaceGAN takes it.

    Shen et al., *Interpreting the Latent Space of GANs for Semantic Face Editing*, CVPR 2020: a
    linear support vector machine that tells the two predicted sides apart. Its loss is the squared
    hinge, sum max(0, 1 - y f)^2 + |w|^2 / (2 C) with C = 1, of codes divided by their common
    deviation; its constant is not held small.

    Raises
    ------
    GCDError
        If all answers lie on one side.
    """
    positive = sides(logits)
    centred = codes.double() - codes.double().mean(0)
    inputs, y = centred / centred.std(), positive.double() * 2 - 1

    def loss(point: object) -> tuple[float, object]:
        both = torch.tensor(point, dtype=torch.float64)
        weights, constant = both[:-1], both[-1]
        short = (1 - y * (inputs @ weights + constant)).clamp(min=0)
        value = weights.square().sum() / 2 + PENALTY * short.square().sum()
        pull = -2 * PENALTY * y * short
        slope = torch.cat([weights + inputs.T @ pull, pull.sum()[None]])
        return float(value), slope.numpy()

    start = torch.zeros(codes.shape[1] + 1, dtype=torch.float64).numpy()
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000})
    return _unit(torch.from_numpy(best.x[:-1]))


def ridge(codes: Tensor, logits: Tensor, statistics: CodeStatistics) -> Tensor:
    """The coefficients of a ridge regression of the log-odds on the codes.

    As `fit_mean_slope` fits them, in whitened codes and with its penalty by the evidence, but
    without what it knows of the picture, and taken as they are: a filter, where a search takes the
    pattern (Haufe et al., NeuroImage 2014).
    """
    plain = replace(statistics, drawing=None, kinds=())
    return _unit(fit_mean_slope(codes, logits, plain).gradient)


def principal_axis(codes: Tensor, logits: Tensor, statistics: CodeStatistics) -> Tensor:
    """Of the first 8 principal axes of the domain's codes, the one that goes best with the answers.

    The axes take no query. The one is chosen whose coordinate has the correlation of the largest
    size with the logits.
    """
    axes = torch.linalg.eigh(statistics.covariance.double()).eigenvectors.flip(1)[:, :AXES]
    centred = codes.double() - codes.double().mean(0)
    along = centred @ axes
    answers = logits.double() - logits.double().mean()
    scale = along.norm(dim=0).clamp(min=1e-12)
    chosen = int(((answers @ along) / scale).abs().argmax())
    return oriented(axes[:, chosen].float(), codes, logits)


def random_directions(size: int, n: int, seed: int) -> Tensor:
    """N random unit vectors (n, D), alike in all directions."""
    drawn = torch.randn(n, size, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


def oriented(vector: Tensor, codes: Tensor, logits: Tensor) -> Tensor:
    """A vector (D,) or its opposite, whichever the logits rise along."""
    along = (codes - codes.mean(0)) @ vector
    return vector if float(along @ (logits - logits.mean())) >= 0 else -vector


def sides(logits: Tensor) -> Tensor:
    """Which answers (N,) are of the label; a GCDError where all lie on one side."""
    positive = logits >= 0
    if positive.all() or not positive.any():
        raise GCDError(
            f"All {len(logits)} answers lie on one side, so no two kinds can be told apart; ask "
            "about more images (--queries), or about images of both kinds (--search-split)."
        )
    return positive


def _unit(vector: Tensor) -> Tensor:
    """The vector at length 1, in float32."""
    return (vector / vector.norm()).float()
