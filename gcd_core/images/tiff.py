"""TIFFs of numbers that Pillow does not know: floats of every width, grey or RGB, signed bytes."""

import io
import logging

import numpy as np
from PIL import Image

from gcd_core.images.arrays import image_of
from gcd_core.images.limits import ImageError, check_size

HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
ORIENTATION = 274
GREY, RGB, ALPHA = (
    (0, 1),
    2,
    (1, 2),
)  # of PhotometricInterpretation (0: white is zero), ExtraSamples


def is_tiff(data: bytes) -> bool:
    """Whether a file begins as TIFFs do, or those of more than 4 GB."""
    return data.startswith(HEADS)


def read_tiff(data: bytes) -> Image.Image:
    """The first page of a TIFF, by tifffile.

    Returns
    -------
    PIL image
        As of `image_of`; its orientation is in its EXIF.

    Raises
    ------
    ImageError
        If the page is too large, is no picture, or is compressed in a way that tifffile alone does
        not undo. What it raises of damaged files is of every type.
    """
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)  # it quotes what a file holds
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        check_size(page.imagewidth, page.imagelength)
        kind = "numbers" if page.dtype is None else page.dtype.name
        if page.dtype is None or page.dtype.kind not in "buif" or page.imagedepth != 1:
            raise ImageError(
                f"The TIFF holds {kind} in a form that is no picture; save it with 8 or 16 bits."
            )
        extra = page.samplesperpixel - (3 if page.photometric == RGB else 1)
        if page.photometric not in (*GREY, RGB) or extra not in (0, 1):
            raise ImageError(
                f"The TIFF has {page.samplesperpixel} values of {kind} for each pixel, which are "
                "neither grey nor RGB; save it as one of these."
            )
        alpha = extra and page.extrasamples and page.extrasamples[0] in ALPHA
        try:
            values = page.asarray(squeeze=False)[:, 0]
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise ImageError(
                f"The TIFF of {kind} is compressed in a way that cannot be read here; save it "
                "without compression."
            ) from error
        orientation = page.tags.valueof(ORIENTATION, 1)
    apart = len(values) > 1  # each sample in a plane of its own
    values = np.moveaxis(values[..., 0], 0, -1) if apart else values[0]
    image = image_of(values[..., : page.samplesperpixel - (0 if alpha else extra)])
    if page.photometric == GREY[0] and image.mode == "F":
        image = Image.fromarray(1 - np.asarray(image))
    image.getexif()[ORIENTATION] = orientation
    return image
