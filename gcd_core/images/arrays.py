"""Numbers to pictures: which of them is black and which is white, whatever their type."""

import numpy as np
from PIL import Image

from gcd_core.images.limits import ImageError, check_size

BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
OVERSHOOT = 0.25  # of the range: what a resize with a sharp filter may go beyond it
NOTHING = 1e-3  # what lies so little below zero is black, however dark the rest is
MOST_OF_A_FRACTION = 2.0  # as bytes, a picture of smaller numbers would be black


def graded(values: np.ndarray) -> np.ndarray:
    """Brightness of numbers of any type.

    Whole numbers are divided by the largest of their bit depth (8, 10, 12, 14, 16, 24 or 32; the
    least that holds the greatest number); where there are negative ones, the range is stretched
    from the least to the greatest. So are floating-point numbers, but where none exceeds 2, they
    are fractions of 1, and what goes beyond either end by up to a quarter of the range is clipped:
    resizing with a sharp filter does that.

    Parameters
    ----------
    values : ndarray
        bool, int, uint or float.

    Returns
    -------
    ndarray
        float32 in [0, 1], of the same shape.

    Raises
    ------
    ImageError
        If a number is NaN or infinite.
    """
    if values.dtype == bool:
        return values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ImageError("Some pixels of the picture are no numbers (NaN); export it again.")
    low, high = float(values.min()), float(values.max())
    beyond = OVERSHOOT if values.dtype.kind == "f" else 0.0
    tops = [1.0] if beyond and high <= MOST_OF_A_FRACTION else []
    tops += [2.0**bits - 1 for bits in BIT_DEPTHS if high < 2**bits * (1 + beyond)]
    if tops and low >= min(-beyond * high, -NOTHING * beyond):
        low, top = 0.0, tops[0]
    else:
        top = max(high - low, 1e-12)
    return ((values.astype(np.float64) - low) / top).clip(0, 1).astype(np.float32)


def image_of(array: np.ndarray) -> Image.Image:
    """A picture of an array, as Gradio, OpenCV (in RGB), Matplotlib and scikit-image hold it.

    Parameters
    ----------
    array : ndarray (H, W) or (H, W, S)
        bool, int, uint or float; S is 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA).

    Returns
    -------
    PIL image
        Of 8 bits, or of mode "F" in [0, 1] where it is grey and has more.

    Raises
    ------
    ImageError
        If the array has another shape or type.
    """
    if array.dtype.kind not in "buif":
        raise ImageError(
            f"An array of {array.dtype.name} is no picture; give numbers, such as uint8 or float32."
        )
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4:
        raise ImageError(
            f"An array of the shape {array.shape} is no picture; give (height, width), or (height, "
            "width, 3) of RGB."
        )
    height, width, samples = array.shape
    check_size(width, height)
    if samples == 1 and array.dtype not in (np.uint8, bool):
        return Image.fromarray(graded(array[..., 0]))
    if array.dtype != np.uint8:
        layers = np.split(array, [samples - 1], -1) if samples in (2, 4) else [array]
        levels = np.concatenate([graded(layer) for layer in layers], -1)
        array = (levels * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if samples == 1 else array))
