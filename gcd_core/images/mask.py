"""Masks from files: which part of a picture is marked."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from gcd_core.images.limits import ImageError
from gcd_core.images.reading import FORMATS, ImageSource, is_deep, opened, read_bytes, squared

if TYPE_CHECKING:
    from torch import Tensor


def load_mask(
    source: ImageSource,
    size: int,
    picture: tuple[int, int] | None = None,
    fit: str = "stretch",
) -> Tensor:
    """Open a mask: `read_mask` as a tensor (size, size) of bool.

    Raises
    ------
    ImageError
        As `read_mask`.
    """
    import torch

    return torch.from_numpy(read_mask(source, size, picture, fit))


def read_mask(
    source: ImageSource,
    size: int,
    picture: tuple[int, int] | None = None,
    fit: str = "stretch",
) -> np.ndarray:
    """Open a mask: a picture of two values, the brighter of which marks.

    Where it has transparency, what is not transparent is marked, whatever its colour; unless all of
    it is as transparent, which says nothing, so that the colour counts. A mask of the
    picture's own size is brought to (size, size) as the picture is; a pixel is marked if half of
    what it covers is.

    Parameters
    ----------
    source : str, Path, bytes, PIL image, NumPy array or binary file
        Of the kinds and within the limits of `load_image`.
    size : int
        Side of the result.
    picture : (int, int), optional
        Width and height of the picture that it was drawn on, which the mask may have too.
    fit : {"stretch", "pad", "crop"}
        How that picture was brought to a square, as of `load_image`.

    Returns
    -------
    ndarray (size, size), bool
        True where it is marked. It may be empty or full.

    Raises
    ------
    ImageError
        If the file is no picture, is an animation, has another size, or has more than two values.
    """
    if not isinstance(source, Image.Image | np.ndarray):
        source = read_bytes(source)
    with opened(source) as image:
        if _frames(source) > 1:
            raise ImageError("The mask is an animation; save one frame of it as PNG.")
        sizes = [(size, size)] + ([picture] if picture else [])
        if image.size not in sizes:
            wanted = " or ".join(f"{width} x {height}" for width, height in dict.fromkeys(sizes))
            raise ImageError(
                f"The mask is {image.size[0]} x {image.size[1]} pixels; draw it on the picture, "
                f"{wanted}."
            )
        marked = _marked(image)
    covered = squared(Image.fromarray(marked.astype(np.float32)), size, fit, Image.Resampling.BOX)
    return np.asarray(covered) >= 0.5


def _frames(source: bytes | Image.Image | np.ndarray) -> int:
    """How many frames a picture has, that could be opened."""
    if not isinstance(source, bytes):
        return getattr(source, "n_frames", 1)
    try:
        with Image.open(io.BytesIO(source), formats=FORMATS) as image:
            return getattr(image, "n_frames", 1)
    except (OSError, ValueError, EOFError):  # DICOM, which Pillow does not know
        return 1


def _marked(image: Image.Image) -> np.ndarray:
    """Which pixels (height, width) are marked, bool."""
    if is_deep(image):
        values = np.asarray(image)
    else:
        layers = np.asarray(image.convert("RGBA"))
        alpha, colours = layers[..., 3], np.asarray(image.convert("RGBA").convert("L"))
        values = colours if alpha.min() == alpha.max() else alpha
        if not alpha.any() and colours.min() == colours.max():  # a sheet that nobody painted on
            values = alpha
    levels = np.unique(values)
    if len(levels) > 2:
        raise ImageError(
            f"The mask has {len(levels)} values; it needs two, black outside and white inside, "
            "without soft edges: save it as PNG, not as JPEG."
        )
    return np.asarray(values > 0) if len(levels) == 1 else np.asarray(values == levels[-1])
