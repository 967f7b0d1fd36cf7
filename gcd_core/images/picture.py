"""A picture at its own size, beside the generator's view of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcd_core.images.reading import MAX_SIDE, ImageSource, read_pixels


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with all its pixels, and what the generator sees of it.

    Attributes
    ----------
    pixels : Tensor (1, C, H, W)
        The picture after the domain's `fit`, at its own size up to a limit; float32, in [0, 1].
    view : Tensor (1, C, S, S)
        The same at the generator's size, as `load_image` returns it.
    bits : int
        Of each value of the file: 8, or 16 where it had more than 8.
    """

    pixels: Tensor
    view: Tensor
    bits: int = 8

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of `pixels`."""
        return int(self.pixels.shape[-2]), int(self.pixels.shape[-1])


def load_picture(
    source: ImageSource, size: int, channels: int, fit: str = "stretch", max_side: int = MAX_SIDE
) -> Picture:
    """Open a picture with all its pixels.

    Parameters
    ----------
    source, channels, fit
        As of `load_image`. With "stretch" the picture keeps its shape, and the generator's view
        alone is a square; with "pad" and "crop" both are squares.
    size : int
        Side of the generator's view.
    max_side : int
        The longest side that is kept, in pixels, 1 to 4,096; a larger picture is brought down to
        it (Lanczos).

    Returns
    -------
    Picture

    Raises
    ------
    ImageError
        As `load_image`; and if `max_side` is out of range.
    """
    view, pixels, bits = read_pixels(source, size, channels, fit, max_side)
    return Picture(torch.from_numpy(pixels)[None], torch.from_numpy(view)[None], bits)
