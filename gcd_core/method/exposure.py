"""How much of a change is brightness and contrast of the whole picture, and the change without it.

A change of exposure maps every intensity to another one, wherever in the picture it lies. So the
curve that does this best is fitted, for each channel, by isotonic regression: what it explains of
the change is exposure, what it leaves is where the picture itself changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.errors import GCDError
from gcd_core.method.loss import crosses
from gcd_core.method.path import Path

LEVELS = 255  # intensities that are told apart, less one
# The share of a change from which on that is worth a warning. It is one of squares: at a quarter
# the curve alone changes the picture about half as strongly as the whole change does. Of 20
# radiographs and 20 cells, those from there on look flatter, or stained otherwise, all over.
MUCH = 0.25


@dataclass(frozen=True)
class ToneCurve:
    """One monotone curve a channel, from an intensity of the source to one of the changed image.

    Attributes
    ----------
    levels : tuple of Tensor (n_c,)
        For each channel the intensities of the source, rising, in [0, 1].
    offsets : tuple of Tensor (n_c,)
        How much brighter each of them became. ``levels + offsets`` does not fall.
    """

    levels: tuple[Tensor, ...]
    offsets: tuple[Tensor, ...]

    def offset(self, source: Tensor) -> Tensor:
        """How much brighter the curve makes each pixel of images (N, C, H, W).

        Linear between the levels; beyond the first and the last as there.
        """
        parts = [
            np.interp(source[:, c].double().cpu().numpy(), levels.numpy(), offsets.numpy())
            for c, (levels, offsets) in enumerate(zip(self.levels, self.offsets, strict=True))
        ]
        return torch.from_numpy(np.stack(parts, axis=1)).to(source)

    def without(self, source: Tensor, changed: Tensor) -> Tensor:
        """What is left of changed images (N, C, H, W) where the curve's part is taken out.

        ``clip(source + (changed - curve(source)))``, at any size of the two.
        """
        return (changed - self.offset(source)).clamp(0, 1)


def fit_tone_curve(source: Tensor, changed: Tensor) -> ToneCurve:
    """The monotone curve that explains most of the change from one image to another.

    Least squares: for each channel the isotonic regression of the changed intensities on the
    source's, which are taken to 256 levels.

    Parameters
    ----------
    source, changed : Tensor (1, C, H, W)
        In [0, 1].

    Raises
    ------
    GCDError
        If they are not two images of one shape.
    """
    if source.ndim != 4 or len(source) != 1 or source.shape != changed.shape:
        shapes = f"{tuple(source.shape)} and {tuple(changed.shape)}"
        raise GCDError(f"Two images (1, C, H, W) of one shape were expected, not {shapes}.")
    curves = [
        _fit(before.double().cpu().flatten(), after.double().cpu().flatten())
        for before, after in zip(source[0], changed[0], strict=True)
    ]
    return ToneCurve(tuple(levels for levels, _ in curves), tuple(offsets for _, offsets in curves))


def _fit(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Levels and offsets (n,) of a channel's pixels (P,)."""
    level = (before * LEVELS).round().long()
    pixels = level.bincount()
    there = pixels.nonzero()[:, 0]
    counts = pixels[there]

    def mean(values: Tensor) -> Tensor:
        return level.bincount(values)[there] / counts

    levels = mean(before)
    fitted = isotonic_regression(mean(after).numpy(), weights=counts.numpy())
    return levels, torch.from_numpy(fitted.x) - levels


def exposure_share(source: Tensor, changed: Tensor, curve: ToneCurve | None = None) -> float:
    """The share of a change that brightness and contrast of the whole picture explain.

    Parameters
    ----------
    source, changed : Tensor (1, C, H, W)
        In [0, 1].
    curve : ToneCurve, optional
        Theirs, where it has been fitted before.

    Returns
    -------
    float
        1 less the sum of squares that the fitted curve leaves over that of ``changed - source``:
        0 where one intensity's pixels move both ways alike, 1 where each intensity becomes another
        one everywhere; 0 where nothing changed.

    Examples
    --------
    >>> exposure_share(path.source, path.counterfactual_image)
    """
    curve = curve or fit_tone_curve(source, changed)
    change = (changed - source).double()
    whole = change.square().sum().item()
    left = (change - curve.offset(source).double()).square().sum().item()
    return min(max(1 - left / whole, 0.0), 1.0) if whole else 0.0


def is_doubtful(share: float, before: float, after: float, without: float | None) -> bool:
    """Whether brightness and contrast may be what made a flip.

    Parameters
    ----------
    share : float
        Of the change, as of `exposure_share`.
    before, after, without : float
        The label's probability of the source, of the changed image and of that without them; the
        last is None where the classifier was not asked.
    """
    lost = without is not None and crosses(before, after) and not crosses(before, without)
    return share >= MUCH or lost


def exposure_of(path: Path, point: int | None = None) -> float:
    """`exposure_share` of a path's point, by default of its counterfactual."""
    k = path.counterfactual if point is None else point
    return exposure_share(path.source, path.images[k][None])


def without_exposure_for(path: Path, classifier: BlackBox, point: int | None = None) -> Tensor:
    """The same as a classifier is asked about it: (1, C, h, w)."""
    k = path.counterfactual if point is None else point
    curve = fit_tone_curve(path.source, path.images[k][None])
    return curve.without(path.source_for(classifier), path.asked(k, classifier))


def without_exposure(path: Path, point: int | None = None) -> Tensor:
    """A path's point (1, C, H, W) at the source's own size, with the source's brightness kept.

    By default the counterfactual. The curve is fitted at the generator's size, as the distances
    are, and applied to all of the source's pixels.
    """
    k = path.counterfactual if point is None else point
    curve = fit_tone_curve(path.source, path.images[k][None])
    return curve.without(path.original, path.picture(k))
