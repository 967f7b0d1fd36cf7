"""Which of the changes along a path the classifier cared about.

BB-LIG, BB-IG and the difference follow the path; "cells" compares its two ends (`method.cells`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox
from gcd_core.errors import GCDError
from gcd_core.method.cells import at_size, explain_cells
from gcd_core.method.path import Path

METHODS = ("bb_lig", "bb_ig", "difference", "cells")
ASKING = ("bb_ig", "cells")  # the classifier
CHANNELS = ("logit", "probability")
INTEGRATION_STEPS = 128  # of the integration, the paper's
WHITE = 255  # the level of a file
SQUARES = 16  # a side, over which two maps are compared
DISAGREE = 0.3  # rank correlation below which two maps of one change point to different places
CONVINCED = 0.01  # the baseline's probability of the source's own class is to fall to this


@dataclass(frozen=True)
class Attribution:
    """A heat map over the pixels, and how far it is to be trusted.

    Attributes
    ----------
    map : Tensor (H, W)
        Signed. Of "difference": positive where the baseline is brighter; of the others: where the
        pixel's change on the way to the baseline took the label's logit (or probability) down.
    method : {"bb_lig", "bb_ig", "difference", "cells"}
    baseline_index : int
        The baseline's position in the path.
    baseline_probability : float
        The probability there of the class that the source is predicted to have.
    reached : bool
        Whether that probability fell to 0.01; otherwise the baseline is the point where it was
        lowest.
    completeness_error : float
        ``map.sum() - (f(x_0) - f(baseline))``; 0 for a map that explains the whole change of f.
    queries : int
        Images that the classifier was shown for it.
    """

    map: Tensor
    method: str
    baseline_index: int
    baseline_probability: float
    reached: bool
    completeness_error: float
    queries: int = 0


def map_agreement(first: Tensor, second: Tensor) -> float | None:
    """Spearman's correlation of two maps' absolute values, (H, W) each; None if one is constant.

    It is taken over squares of a 16th of the side: in finer ones a map that follows single pixels
    would differ from one of cells, wherever the two lie.
    """
    sizes = [
        F.adaptive_avg_pool2d(heat.detach().float().cpu().abs()[None], SQUARES)[0]
        for heat in (first, second)
    ]
    if any(bool((size == size.flatten()[0]).all()) for size in sizes):
        return None
    return float(spearmanr(*(size.flatten().numpy() for size in sizes)).statistic)


def bb_lig(path: Path) -> Tensor:
    """Return the Black-Box Latent Integrated Gradients of a path (Eq. 6), (H, W), signed.

    `explain_path` gives the same map with its baseline and its completeness error.

    Examples
    --------
    >>> heat = bb_lig(walk(domain, image, found.directions["g"], label="pneumonia"))
    """
    return explain_path(path).map


def explain_path(
    path: Path,
    method: str = "bb_lig",
    f: str = "logit",
    classifier: BlackBox | None = None,
    until: int | None = None,
) -> Attribution:
    """Attribute the classifier's change of mind to pixels (Eq. 6, Algorithm 4).

    The baseline is the first point from alpha 0 toward the flip whose probability of the source's
    own class is 0.01 or less, otherwise the point where it is lowest. "bb_lig" follows the path's
    images from alpha 0 to the baseline, filled in linearly, and needs no further query; "bb_ig"
    goes there in as many steps on the straight line through image space and asks the classifier;
    "difference" is the baseline minus the start.

    "cells" asks another question (`explain_cells`): not what moved while the classifier changed its
    mind, but which parts of the change from the source to the counterfactual, pasted alone and
    together, change it. It costs 512 queries and no network evaluation; its x_0 is the source
    itself, its baseline the path's counterfactual.

    Parameters
    ----------
    path : Path
        With two points or more from 0 toward the flip; points on the other side are left out.
    method : {"bb_lig", "bb_ig", "difference", "cells"}
    f : {"logit", "probability"}
        What is attributed.
    classifier : BlackBox, optional
        The one of the path's domain; "bb_ig" and "cells" ask it.
    until : int, optional
        Index of the path's point whose change is explained, on whichever side of 0 it lies, in the
        place of the baseline and, of "cells", of the counterfactual.

    Returns
    -------
    Attribution

    Raises
    ------
    GCDError
        If `method` or `f` is unknown, the path too short, there is no point `until`, or no
        classifier to ask; of "cells", if its budget is too small.
    """
    _check_request(method, f, classifier)
    if until is not None and not 0 <= until < len(path.alphas):
        raise GCDError(f"The path has no point {until}; it has {len(path.alphas)}, from 0 on.")
    if method == "cells":
        assert classifier is not None  # `_check_request` saw to it
        return _explain_ends(path, f, classifier, path.counterfactual if until is None else until)

    own = path.probabilities if path.sign < 0 else 1 - path.probabilities
    if until is None:
        order = _toward_flip(path)
        end, reached = _baseline(own[order])
    else:
        order = _as_far_as(path, until)
        end, reached = len(order) - 1, bool(own[until] <= CONVINCED)
    stretch = order[: end + 1]
    values = path.logits if f == "logit" else path.probabilities
    values, places = values[stretch], path.alphas[stretch]
    if method == "bb_ig":
        assert classifier is not None  # `_check_request` saw to it
        first, last = (quantise(path.asked(int(stretch[k]), classifier)) for k in (0, -1))
        weights = torch.linspace(0, 1, len(stretch))[:, None, None, None]
        images = torch.lerp(first, last, weights)
        places = torch.arange(len(images))
        values = _ask(classifier, quantise(images), path.label, f)
    else:
        images = quantise(path.images[stretch])

    if method == "difference":
        heat = (images[-1] - images[0]).sum(0)
    else:
        heat = integrate(images, values, places, INTEGRATION_STEPS).sum(0)
        heat = at_size(heat, path.source.shape[-2:])
    return Attribution(
        map=heat,
        method=method,
        baseline_index=int(order[end]),
        baseline_probability=float(own[order[end]]),
        reached=reached,
        completeness_error=float(heat.double().sum() - (values[0] - values[-1]).double()),
        queries=len(images) if method == "bb_ig" else 0,
    )


def _explain_ends(path: Path, f: str, classifier: BlackBox, end: int) -> Attribution:
    """The map of cells between the source and a point of a path."""
    before, after = path.source_for(classifier), path.asked(end, classifier)
    found = explain_cells(classifier, path.label, before, after, f=f)
    probability = float(path.probabilities[end])
    own = probability if path.sign < 0 else 1 - probability
    return Attribution(
        map=at_size(found.map, path.source.shape[-2:]),
        method="cells",
        baseline_index=end,
        baseline_probability=own,
        reached=own <= CONVINCED,
        completeness_error=found.completeness_error,
        queries=found.queries,
    )


def _check_request(method: str, f: str, classifier: BlackBox | None) -> None:
    """Refuse a method or an f that is unknown, and one that asks without a classifier to ask."""
    if method not in METHODS:
        raise GCDError(f"There is no attribution {method!r}; choose one of {METHODS}.")
    if f not in CHANNELS:
        raise GCDError(f"{f!r} cannot be attributed; choose one of {CHANNELS}.")
    if method in ASKING and classifier is None:
        name = {"bb_ig": "BB-IG", "cells": "A map of cells"}[method]
        raise GCDError(f"{name} asks the classifier; pass classifier=domain.classifier.")


def integrate(
    images: Tensor, values: Tensor, places: Tensor | None = None, steps: int = 1
) -> Tensor:
    """Return the discrete path integral of df/dx (Eq. 6), (C, H, W).

    The paper's map is (x_0 - baseline) times the mean over the steps of df / dx, 0 where dx is 0.
    That gives the whole of each step's df to every pixel that moved; here its pixels share it, in
    the same proportions, so that the map sums to f(x_0) - f(baseline) wherever each pixel moves
    one way only. Pixels that turn back leave a completeness error.

    The path is filled in as `refine` does, its pixels are rounded to 256 levels (`quantise`). How a
    pixel moves in the fine steps between two points then depends on no more than how many levels
    lie between them, and on whether the first is even. So pixels of the same change go together.

    Parameters
    ----------
    images : Tensor (n, C, H, W)
        From x_0 to the baseline, in [0, 1].
    values : Tensor (n,)
        f of each image.
    places, steps
        As of `refine`.
    """
    counts = _steps(len(images) - 1, places, steps)
    levels = images.flatten(1).clamp(0, 1).mul(WHITE).round_()
    total = levels[0] - levels[-1]
    odd, change = (levels[:-1] % 2).long(), levels.diff(dim=0).long()
    rows = odd * (2 * WHITE + 1) + change + WHITE  # of each gap's table
    tables = [_inverses(count) for count in counts]
    weights = [
        torch.bincount(row, total.abs().double(), len(table)) @ table.abs()
        for row, table in zip(rows, tables, strict=True)
    ]
    df = refine(values.double(), places, steps).diff()
    parts = _shared(df, torch.cat([df[:0], *weights])).split(counts)
    heat = torch.zeros_like(total)
    for row, table, part in zip(rows, tables, parts, strict=True):
        heat += (table @ part).to(heat)[row]
    return (total * heat).reshape(images[0].shape)


@lru_cache(maxsize=32)
def _inverses(count: int) -> Tensor:
    """Return 1 / dx of a gap's `count` fine steps, 0 where dx is 0.

    Returns
    -------
    Tensor (1022, count)
        By what lies between the gap's ends, -255 to 255 levels, first of pixels that begin at an
        even level; then the same of those that begin at an odd one, as a pixel halfway between two
        levels takes the even one. float64.
    """
    odd = torch.arange(2)[:, None, None]
    change = torch.arange(-WHITE, WHITE + 1)[:, None]
    at = odd * count + change * torch.arange(count + 1)  # levels, in parts of `count`
    below = at.div(count, rounding_mode="floor")
    twice = 2 * (at - below * count)
    level = below + ((twice > count) | ((twice == count) & (below % 2 == 1)))
    dx = level.flatten(0, 1).diff(dim=1).double()
    return dx / dx.square().clamp(min=1)


def _shared(df: Tensor, weights: Tensor) -> Tensor:
    """Return what each step's df gives to a unit of its pixels' weights, (m,) each.

    A step too fine to move any pixel goes with the next that does, at the end with the last.
    """
    parts, moving = torch.zeros_like(df), weights.nonzero()[:, 0]
    if len(moving):
        with_step = torch.searchsorted(moving, torch.arange(len(df))).clamp(max=len(moving) - 1)
        shared = torch.zeros(len(moving), dtype=df.dtype).index_add(0, with_step, df)
        parts[moving] = shared / weights[moving]
    return parts


def refine(points: Tensor, places: Tensor | None = None, steps: int = INTEGRATION_STEPS) -> Tensor:
    """Fill a path's points (n, ...) in linearly, to `steps` steps at least.

    In fine steps a quantised pixel moves as often as it changes, which is what makes the map
    favour large changes over small ones; the paper takes 128. The decoded points stay as they are.
    Where they lie, `places` (n,), tells how many steps each gap is worth, 1 at least, so that the
    steps are about alike; by default the points lie evenly.
    """
    filled = []
    for gap, count in enumerate(_steps(len(points) - 1, places, steps)):
        weight = torch.arange(count).view(-1, *[1] * (points.ndim - 1)) / count
        filled.append(torch.lerp(points[gap], points[gap + 1], weight.to(points)))
    return torch.cat([*filled, points[-1:]])


def _steps(last: int, places: Tensor | None, steps: int) -> list[int]:
    """Return in how many fine steps each of `last` gaps is filled in."""
    if last < 1 or last >= steps:
        return [1] * last
    gaps = torch.ones(last) if places is None else places.double().diff().abs()
    share = gaps / gaps.sum().clamp(min=1e-12)
    # Rounding is no step of its own.
    return (steps * share - 1e-4).ceil().clamp(min=1).long().tolist()


def quantise(images: Tensor) -> Tensor:
    """Round images to the 256 levels of a file, so that noise below one level moves nothing."""
    return images.clamp(0, 1).mul_(WHITE).round_().div_(WHITE)


def _toward_flip(path: Path) -> Tensor:
    """Indices of the points from alpha 0 toward the flip, nearest first.

    Where a path that goes both ways flips on the other side of 0 only, that is where the flip is.
    """
    toward = path.is_flipped & (path.alphas * path.sign > 0)
    ahead = path.alphas * (path.sign if toward.any() or not path.any_flip else -path.sign)
    order = ahead.argsort(stable=True)
    order = order[ahead[order] >= 0]
    if len(order) < 2:
        raise GCDError(
            f"The path has {len(order)} point(s) from 0 toward the flip; walk it with 2 or more."
        )
    return order


def _as_far_as(path: Path, end: int) -> Tensor:
    """Indices of the points from the one nearest to alpha 0 to `end`, on its side of 0."""
    ahead = path.alphas * (1.0 if path.alphas[end] >= 0 else -1.0)
    order = ahead.argsort(stable=True)
    return order[(ahead[order] >= 0) & (ahead[order] <= ahead[end])]


def _baseline(own: Tensor) -> tuple[int, bool]:
    """The first point convinced of the other class, otherwise the nearest to it; which it was."""
    convinced = own <= CONVINCED
    if convinced.any():
        return int(convinced.int().argmax()), True
    return int(own.argmin()), False


@torch.inference_mode()
def _ask(classifier: BlackBox, images: Tensor, label: str, f: str) -> Tensor:
    """What f gives for the label on each image (n,), on the CPU."""
    logits = classifier(images)
    answer = classifier.logit if f == "logit" else classifier.probability
    return answer(logits, label).float().cpu()
