"""Many images' curves as one fan, and what their maps have alike (the paper's D.1 and D.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.method.attribution import explain_path
from gcd_core.method.walk import Path

QUARTILES = (0.25, 0.5, 0.75)
Points = Sequence[tuple[float, float]]


class Fan(NamedTuple):
    """The spread of many curves.

    Attributes
    ----------
    alphas : Tensor (n,)
        Distances from the image, from 0 on.
    quartiles : Tensor (3, n)
        Lower quartile, median and upper quartile of the probabilities there.
    """

    alphas: Tensor
    quartiles: Tensor


def fan_of(curves: Sequence[Points], points: int = 25) -> Fan:
    """Return the quartiles of curves, each filled in linearly between its own points.

    Parameters
    ----------
    curves : sequence of sequences of (float, float)
        Of each image: distances from it, 0 and more, and the probability there, folded to the side
        that the classifier first saw it on (D.2).
    points : int
        Even steps from 0 to where the shortest curve ends, 2 or more.

    Raises
    ------
    GCDError
        If there is no curve, or one has no length.
    """
    if not curves or points < 2:
        raise GCDError("A fan is of one curve at least, in two points or more.")
    ends = [max(x for x, _ in curve) for curve in curves]
    if min(ends) <= 0:
        raise GCDError("A curve that ends where it begins has no place in a fan.")
    grid = torch.linspace(0, min(ends), points, dtype=torch.float64)
    rows = torch.stack([_filled_in(curve, grid) for curve in curves])
    at = torch.tensor(QUARTILES, dtype=torch.float64)
    return Fan(grid, torch.quantile(rows, at, dim=0))


def _filled_in(curve: Points, grid: Tensor) -> Tensor:
    """A curve's values on a grid that lies within it."""
    x, y = torch.tensor(sorted(curve), dtype=torch.float64).T.contiguous()
    right = torch.searchsorted(x, grid, right=False).clamp(1, len(x) - 1)
    low, high = x[right - 1], x[right]
    share = ((grid - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return torch.lerp(y[right - 1], y[right], share)


def mean_map(maps: Sequence[Tensor]) -> Tensor:
    """Return the mean of maps (H, W), each scaled to a sum of absolute values of 1 (D.1).

    So a single image that changes much does not drown the others; a map of zeros counts as such.
    """
    if not maps:
        raise GCDError("A mean is of one map at least.")
    scaled = [heat / heat.abs().sum().clamp(min=1e-12) for heat in maps]
    return torch.stack(scaled).mean(0)


def mean_heat(paths: Sequence[Path]) -> Tensor:
    """Return the mean size of paths' BB-LIG maps (H, W), each up to its own counterfactual."""
    return mean_map([explain_path(path, until=path.counterfactual).map.abs() for path in paths])
