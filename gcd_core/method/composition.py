"""What is shown and asked about: the generator's change, put into the source's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox, preprocessing_of
from gcd_core.errors import GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.models import Models
from gcd_core.method.region import in_region

SOURCE, DECODED = "source", "decoded"
DETAILS = (SOURCE, DECODED)
WINDOWS = 14  # windows of local contrast along an image's side
ENOUGH = 0.7  # of the local contrast, from which on the source's details stay as they are
GRAIN = 0.01  # a deviation, of [0, 1], that is none: noise is not taken for contrast


def check_detail(detail: str) -> None:
    """Refuse a detail that does not exist."""
    if detail not in DETAILS:
        raise GCDError(f"The detail is {' or '.join(DETAILS)}, not {detail!r}.")


def resolve_detail(domain: Models, detail: str | None) -> str:
    """Return what images show, the domain's choice where it is None; refuse what does not exist."""
    detail = domain.detail if detail is None else detail
    check_detail(detail)
    return detail


def resample(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring images (N, C, h, w) to (N, C, H, W): bicubic (a = -0.5), antialiased where it shrinks.

    The values may leave [0, 1] by a little beside sharp edges.
    """
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def contrast_lost(decoded: Tensor, baseline: Tensor) -> Tensor:
    """How much of its local contrast an image lost: 1 - m, (N, 1, S, S), 0 where nothing changed.

    m is the ratio of the local deviations of `decoded` (N, C, S, S) and of `baseline` (1, C, S, S)
    divided by 0.7, 1 at most, averaged over a window; a window is about a 14th of the side. So a
    picture that keeps seven tenths of its contrast keeps all of the source's details.
    """
    side = max(3, decoded.shape[-1] // WINDOWS | 1)
    before = local_deviation(baseline.mean(1, keepdim=True), side) + GRAIN
    after = local_deviation(decoded.mean(1, keepdim=True), side) + GRAIN
    return _local_mean((1 - after / before / ENOUGH).clamp(min=0), side)


def _local_mean(images: Tensor, side: int) -> Tensor:
    """The mean of each pixel's window, whose side is odd; the image is mirrored at its border.

    Sums along the rows, then along the columns: a fifth of a pooling's time on a CPU, or less.
    """
    sums = F.pad(images, [side // 2] * 4, mode="reflect")
    for axis in (-1, -2):
        windows = sums.unfold(axis, side, 1)
        sums = windows[..., 0].clone()
        for k in range(1, side):
            sums += windows[..., k]
    return sums / side**2


def local_deviation(images: Tensor, side: int) -> Tensor:
    """The standard deviation (N, C, H, W) within each pixel's window, of an odd side."""
    squares = _local_mean(images.square(), side) - _local_mean(images, side).square()
    return squares.clamp(min=0).sqrt()


@dataclass(frozen=True, eq=False)
class Composition:
    """How decoded images of one source become what is shown.

    With `detail = "source"` the generator's *change* is put into the source::

        x(alpha) = clip(U(m) x + U(D(alpha) - m D(0)))

    x is the source at any size, D(alpha) decodes z_sem + alpha d with the source's z_T, and U
    resamples to x's size. Both terms are decoded with the same solver and steps, so that their
    common error cancels. m in [0, 1] says how much of its local contrast the decoded image keeps
    (1 - `contrast_lost`). Where it keeps all, x(alpha) = clip(x + U(D(alpha) - D(0))). Where the
    decoded lung is an even white, the source's ribs and vessels do not remain in it as etched
    lines. At alpha = 0 m is 1 and x(0) is x, bit for bit.

    With `detail = "decoded"` the decoded image itself is shown, as in the paper.

    Attributes
    ----------
    source : Tensor (1, C, S, S)
        The source as the generator sees it, in [0, 1].
    pixels : Tensor (1, C, H, W)
        The source at its own size, in [0, 1]; the same tensor where only that size is known.
    baseline : Tensor (1, C, S, S) or None
        D(z_sem, z_T); None where the decoded image itself is shown.
    mask : Tensor (1, S, S), bool, or None
        Where the picture may change; None where everywhere.
    """

    source: Tensor
    pixels: Tensor
    baseline: Tensor | None = None
    mask: Tensor | None = None

    @property
    def detail(self) -> str:
        """Which of `DETAILS` this is."""
        return DECODED if self.baseline is None else SOURCE

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the source at its own size."""
        return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])

    def shown(self, decoded: Tensor) -> Tensor:
        """What is shown of decoded images (N, C, S, S), at the generator's size, in [0, 1]."""
        return self._over(decoded, self.source)

    def picture(self, decoded: Tensor) -> Tensor:
        """What is shown of decoded images (N, C, S, S), at the source's own size: (N, C, H, W)."""
        return self._over(decoded, self.pixels)

    def asked(self, decoded: Tensor, classifier: BlackBox) -> Tensor:
        """What a classifier is asked about decoded images (N, C, S, S).

        That is what is shown: at the generator's size where the classifier sees that size or the
        source has no other, else at the classifier's own size, and where it takes any size, at the
        source's own. Composing at the classifier's size gives what composing at the source's and
        shrinking gives, but for pixels that are clipped.
        """
        return self._over(decoded, self.source_for(classifier))

    def shown_and_asked(self, decoded: Tensor, classifier: BlackBox) -> tuple[Tensor, Tensor]:
        """`shown` and `asked` of decoded images; one tensor where they are the same."""
        shown = self.shown(decoded)
        same = self.source_for(classifier) is self.source
        return shown, shown if same else self.asked(decoded, classifier)

    def source_for(self, classifier: BlackBox) -> Tensor:
        """The source (1, C, h, w) at the size at which a classifier is asked about it."""
        preprocessing = preprocessing_of(classifier)
        own = tuple(self.source.shape[-2:])
        if self.detail == DECODED or self.pixels is self.source or preprocessing.resized_to == own:
            return self.source
        return preprocessing.resized(self.pixels)

    def planes(self, decoded: Tensor) -> tuple[Tensor, Tensor]:
        """What is put over a source at any size, of decoded images (N, C, S, S).

        Returns
        -------
        lost : Tensor (N, 1, S, S)
            The share of the source that goes, in [0, 1]; all of it where the decoded image itself
            is shown.
        offset : Tensor (N, C, S, S)
            What is added, in [-1, 1].

        The picture is clip((1 - U(lost)) x + U(offset)).
        """
        if self.baseline is None:
            return torch.ones_like(decoded[:, :1]), decoded
        baseline = self.baseline.to(decoded)
        lost = contrast_lost(decoded, baseline)
        return lost, decoded - (1 - lost) * baseline

    def _over(self, decoded: Tensor, source: Tensor) -> Tensor:
        """Decoded images put over the source at any size (1, C, h, w)."""
        size = int(source.shape[-2]), int(source.shape[-1])
        if self.baseline is None:
            same = tuple(decoded.shape[-2:]) == size
            composed = decoded if same else resample(decoded, size).clamp(0, 1)
        else:
            lost, offset = self.planes(decoded)
            kept = 1 - resample(lost, size).clamp(0, 1)
            composed = (kept * source.to(decoded) + resample(offset, size)).clamp(0, 1)
        return in_region(composed, source, self._mask_at(size))

    def _mask_at(self, size: tuple[int, int]) -> Tensor | None:
        """The mask (1, h, w) at another size; each of its pixels covers the nearest ones."""
        if self.mask is None or tuple(self.mask.shape[-2:]) == size:
            return self.mask
        return F.interpolate(self.mask[None].float(), size, mode="nearest-exact")[0].bool()


def compose(
    source: Tensor | Picture, baseline: Tensor | None = None, mask: Tensor | None = None
) -> Composition:
    """The composition of a source: an image (1, C, S, S), or a picture with all its pixels.

    Parameters
    ----------
    source : Tensor (1, C, S, S) or Picture
    baseline, mask
        As of `Composition`.
    """
    if isinstance(source, Picture):
        return Composition(source.view.float(), source.pixels.float(), baseline, mask)
    source = source.float()
    return Composition(source, source, baseline, mask)


@torch.inference_mode()
def view_of(image: Tensor | Picture) -> Tensor:
    """The generator's view (1, C, S, S) of an image or a picture."""
    return image.view if isinstance(image, Picture) else image
