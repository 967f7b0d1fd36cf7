"""The quartiles of many images' curves, and the mean of their maps (the paper's D.2 and D.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.method.attribution import explain_path
from gcd_core.method.path import Path

QUARTILES = (0.25, 0.5, 0.75)
Points = Sequence[tuple[float, float]]


class CurveQuantiles(NamedTuple):
    """The quartiles of many curves at the same distances."""

    alphas: Tensor  # (n,): distances from the image, from 0 on
    # (3, n): lower quartile, median and upper quartile of the probabilities there.
    quartiles: Tensor


def curve_quantiles(curves: Sequence[Points], points: int = 25) -> CurveQuantiles:
    """Return the quartiles of curves, each interpolated linearly between its own points.

    Raises a GCDError if there is no curve, or one has no length.

    Parameters
    ----------
    curves : sequence of sequences of (float, float)
        One curve for each image: pairs of the distance from the image (0 or more) and the
        probability there of the image's original prediction (D.2).
    points : int
        How many distances, evenly spaced from 0 to the end of the shortest curve; 2 or more.
    """
    if not curves or points < 2:
        raise GCDError("Quartiles need one curve at least, at two points or more.")
    ends = [max(x for x, _ in curve) for curve in curves]
    if min(ends) <= 0:
        raise GCDError("A curve that ends where it begins has no quartiles.")
    grid = torch.linspace(0, min(ends), points, dtype=torch.float64)
    rows = torch.stack([_interpolated(curve, grid) for curve in curves])
    at = torch.tensor(QUARTILES, dtype=torch.float64)
    return CurveQuantiles(grid, torch.quantile(rows, at, dim=0))


def _interpolated(curve: Points, grid: Tensor) -> Tensor:
    """Return a curve's values at a grid of distances that lies within the curve."""
    x, y = torch.tensor(sorted(curve), dtype=torch.float64).T.contiguous()
    right = torch.searchsorted(x, grid, right=False).clamp(1, len(x) - 1)
    low, high = x[right - 1], x[right]
    share = ((grid - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], share)


def mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean of maps (H, W), each first scaled to a sum of absolute values of 1 (D.1).

    The scaling gives every image the same weight. A map of zeros stays zero.
    """
    if not maps:
        raise GCDError("A mean is of one map at least.")
    scaled = [heat / heat.abs().sum().clamp(min=1e-12) for heat in maps]
    return torch.stack(scaled).mean(0)


def mean_heat(paths: Sequence[Path]) -> Tensor:
    """Return the mean absolute BB-LIG map (H, W) of paths, each up to its own counterfactual."""
    return mean_map([explain_path(path, until=path.counterfactual).map.abs() for path in paths])
