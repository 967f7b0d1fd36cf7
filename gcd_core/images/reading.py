"""Pictures of every sort to tensors: files checked, decoded, turned upright, resized.

Torch is imported where a tensor is made: the process that decodes visitors' files has none.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from gcd_core.images.arrays import graded, image_of
from gcd_core.images.dicom import read_dicom
from gcd_core.images.limits import MAX_BYTES, MAX_PIXELS, ImageError, check_size
from gcd_core.images.notes import note
from gcd_core.images.tiff import is_tiff, read_tiff

if TYPE_CHECKING:
    from torch import Tensor

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
DICOM_GROUPS = (b"\x02\x00", b"\x08\x00")  # with which a file without preamble begins
NIFTI = {344: (b"n+1\0", b"ni1\0"), 4: (b"n+2\0", b"ni2\0")}  # where its header names the format
WHITE_IS_ZERO = (262, 0)  # TIFF: the tag PhotometricInterpretation, and the value that inverts
NOT_A_RADIOGRAPH = (
    "This looks like a colour photograph, not a radiograph, so the answers mean nothing for it."
)
MAX_SIDE = 1024  # pixels of the longest side that is kept, where nobody asks for another
LARGEST_SIDE = 4096  # and the most that may be asked for
FITS = ("stretch", "pad", "crop")  # how a picture that is no square becomes one
FIT_WORDS = {
    "stretch": "squeezed to a square",
    "pad": "padded to a square",
    "crop": "cropped to its middle square",
}
ImageSource = str | Path | bytes | Image.Image | np.ndarray | BinaryIO
HEAD_BYTES = 160  # of a file: enough to tell what it is
HEADS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


def load_image(source: ImageSource, size: int, channels: int, fit: str = "stretch") -> Tensor:
    """Open a picture and bring it to the form a domain expects: `read_picture` as a tensor.

    Returns
    -------
    Tensor (1, channels, size, size)
        float32 in [0, 1].

    Raises
    ------
    ImageError
        As `read_picture`.
    """
    import torch

    return torch.from_numpy(read_picture(source, size, channels, fit))[None]


def read_picture(source: ImageSource, size: int, channels: int, fit: str = "stretch") -> np.ndarray:
    """Open a picture and bring it to the form a domain expects.

    The first frame of an animation and the first page of a document are used; the orientation in
    the file's metadata is applied; transparent parts are black; colour becomes luminance (ITU-R
    601) where the domain is grey. Where every pixel is transparent, transparency says nothing and
    is left out. Pictures of more than 8 bits keep their range as `graded` says. Of colour or
    transparency in more than 8 bits, 8 are kept. DICOM goes through its own look-up tables and
    windows (`gcd_core.images.dicom`). Training reads its images by this function too, so that page
    and network see the same pixels. What a person has to know of the picture goes to
    `gcd_core.images.notes`.

    Parameters
    ----------
    source : str, Path, bytes, PIL image, NumPy array or binary file
        A PNG, JPEG, BMP, TIFF, WEBP, GIF or DICOM of at most 50 MB and 64 million pixels, no side
        longer than 20,000; or an array as `image_of` takes.
    size : int
        Side of the result.
    channels : {1, 3}
        Grey or RGB.
    fit : {"stretch", "pad", "crop"}
        How a picture that is no square becomes one: its whole frame resized, whatever that does to
        its shape; the frame whole and in shape, with black beside it; or its middle square.

    Returns
    -------
    ndarray (channels, size, size)
        float32 in [0, 1].

    Raises
    ------
    ImageError
        If the picture cannot be opened whole, is too large, is of a colour mode without a
        conversion, or is one of several frames or slices (of DICOM and NIfTI).
    """
    with opened(source) as image:
        _tell(image)
        return _levels(squared(_plain(image, channels), size, fit), channels)


def read_pixels(
    source: ImageSource, size: int, channels: int, fit: str = "stretch", max_side: int = MAX_SIDE
) -> tuple[np.ndarray, np.ndarray, int]:
    """Open a picture once, for the generator and at its own size.

    Parameters
    ----------
    source, size, channels, fit
        As of `read_picture`.
    max_side : int
        The longest side that is kept, in pixels, 1 to 4,096; a larger picture is brought down to
        it (Lanczos).

    Returns
    -------
    view : ndarray (channels, size, size)
        What `read_picture` returns.
    pixels : ndarray (channels, H, W)
        The picture at its own size: float32 in [0, 1]. With "pad" and "crop" it is a square.
    bits : int
        Of each value of the file: 8, or 16 where it had more than 8.

    Raises
    ------
    ImageError
        As `read_picture`; and if `max_side` is out of range.
    """
    if not 1 <= max_side <= LARGEST_SIDE:
        raise ImageError(f"The longest side to keep is 1 to {LARGEST_SIDE} pixels, not {max_side}.")
    with opened(source) as image:
        _tell(image)
        deep = is_deep(image)
        plain = _plain(image, channels)
        view = squared(plain, size, fit)
        longest = min(max(plain.size), max_side)
        if fit == "stretch":
            width, height = plain.size
            shape = _inner(width, height, longest)
            whole = plain if shape == plain.size else plain.resize(shape, Image.Resampling.LANCZOS)
        else:
            side = min(plain.size) if fit == "crop" else longest
            whole = squared(plain, min(side, max_side), fit)
    return _levels(view, channels), _levels(whole, channels), 16 if deep else 8


def _tell(image: Image.Image) -> None:
    if "note" in image.info:
        note(image.info["note"])


def is_deep(image: Image.Image) -> bool:
    """Whether a picture has more than 8 bits, or fractions."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _plain(image: Image.Image, channels: int) -> Image.Image:
    """A picture in mode "F", in [0, 1], where it is deep; otherwise in "L" or "RGB"."""
    if is_deep(image):
        return _deep_to_float(image)
    return _flat(image, "L" if channels == 1 else "RGB")


def _levels(image: Image.Image, channels: int) -> np.ndarray:
    """A picture of mode "F", "L" or "RGB" as (channels, H, W), float32 in [0, 1]."""
    array = np.asarray(image, dtype=np.float32)
    levels = (array / np.float32(1 if image.mode == "F" else 255)).clip(0, 1)
    if levels.ndim == 2:
        return np.repeat(levels[None], channels, axis=0)
    return np.ascontiguousarray(levels.transpose(2, 0, 1))


def _inner(width: int, height: int, longest: int) -> tuple[int, int]:
    """Width and height in the same shape, with the longer side as given."""
    most = max(width, height)
    return max(1, round(width * longest / most)), max(1, round(height * longest / most))


def looks_like_photograph(source: ImageSource) -> bool:
    """Whether a picture has colour that a person would notice, as a radiograph has not.

    That is: in more than 5 % of its pixels the channels differ by more than 12 % of the range, so
    that neither a coloured marker nor JPEG's noise counts.

    Raises
    ------
    ImageError
        As `load_image`.
    """
    with opened(source) as image:
        if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16"):
            return False
        pixels = np.asarray(resize(_flat(image, "RGB"), 128), dtype=np.float32) / 255
    chroma = pixels.max(-1) - pixels.min(-1)
    return bool((chroma > 0.12).mean() > 0.05)


def shown_name(name: str, source: ImageSource) -> str:
    """A file's name where others may see it; not of DICOM files, which often have the patient's."""
    data = b"" if isinstance(source, Image.Image | np.ndarray) else read_bytes(source)
    return "DICOM" if is_dicom(data) else name


def picture_size(source: ImageSource) -> tuple[int, int]:
    """Width and height of a picture, turned upright.

    Raises
    ------
    ImageError
        As `load_image`.
    """
    with opened(source) as image:
        return image.size


def resize(
    image: Image.Image, size: int, filter: Image.Resampling = Image.Resampling.LANCZOS
) -> Image.Image:
    """Resize the whole frame to (size, size), by default with Lanczos's antialiasing filter."""
    return image if image.size == (size, size) else image.resize((size, size), filter)


def squared(
    image: Image.Image,
    size: int,
    fit: str,
    filter: Image.Resampling = Image.Resampling.LANCZOS,
) -> Image.Image:
    """Bring a picture to (size, size) in one of the ways of `FITS`, of odd sizes the middle."""
    width, height = image.size
    if fit not in FITS:
        raise ImageError(f"There is no fit {fit!r}; choose one of {', '.join(FITS)}.")
    if fit == "stretch" or width == height:
        return resize(image, size, filter)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return resize(image.crop((left, top, left + side, top + side)), size, filter)
    # Shrunk before it is padded: the square around a long strip can be too large for the memory.
    inner = _inner(width, height, size)
    canvas = Image.new(image.mode, (size, size))
    place = (size - inner[0]) // 2, (size - inner[1]) // 2
    canvas.paste(image.resize(inner, filter), place)
    return canvas


def fit_words(picture: tuple[int, int], fit: str) -> str:
    """What was done to a picture (width, height) that is no square; nothing of one that is."""
    return "" if picture[0] == picture[1] else FIT_WORDS[fit]


def small_words(picture: tuple[int, int], size: int) -> str:
    """Warn of a picture (width, height) with fewer than half of a generator's pixels a side."""
    width, height = picture
    if 2 * min(width, height) >= size:
        return ""
    return (
        f"It is small: {width} \N{MULTIPLICATION SIGN} {height} pixels. It is enlarged to "
        f"{size} \N{MULTIPLICATION SIGN} {size}: finer details that are read are missing."
    )


@contextmanager
def opened(source: ImageSource) -> Iterator[Image.Image]:
    """The picture's first frame, decoded within the limits and turned upright."""
    try:
        if isinstance(source, np.ndarray):
            image = image_of(source)
        else:
            image = source if isinstance(source, Image.Image) else _open_file(read_bytes(source))
        check_size(*image.size)
        upright = ImageOps.exif_transpose(image)
        tag, inverted = WHITE_IS_ZERO
        upright.info["white is zero"] = getattr(image, "tag_v2", {}).get(tag) == inverted
    except ImageError:
        raise
    except Exception as error:  # what Pillow's decoders raise on broken files is of every type
        raise ImageError(
            "The picture is damaged or incomplete and cannot be decoded; export or download it "
            "again."
        ) from error
    yield upright


def read_bytes(source: Any) -> bytes:
    """The bytes of a path, of bytes or of a binary file, within the limit."""
    if isinstance(source, str | os.PathLike):
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{source} cannot be read as a file; give the path of a picture."
            ) from error
    elif isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    else:
        data = source.read(MAX_BYTES + 1) if hasattr(source, "read") else source
    if not isinstance(data, bytes):
        raise ImageError(
            f"A {type(source).__name__} is no picture; give a path, bytes, a binary file, "
            "a Pillow image or a NumPy array (height, width, 3)."
        )
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"The file is larger than {MAX_BYTES // 2**20} MB; save the picture as JPEG or with "
            "fewer pixels."
        )
    return data


def _open_file(data: bytes) -> Image.Image:
    """Read the header only, of all but DICOM; decoding waits until the size has been checked."""
    if is_dicom(data):
        return read_dicom(data)
    if _is_nifti(data):
        raise ImageError(
            "NIfTI volumes are out of scope: they are stacks of slices; export one slice or a "
            "radiograph as DICOM or PNG."
        )
    if data.startswith(HEADS[0]):
        data = _without_metadata(data)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"The picture has more than {MAX_PIXELS // 10**6} million pixels; shrink it to fewer, "
            "2,000 on the longer side are plenty, and open it again."
        ) from error
    except Image.UnidentifiedImageError as error:
        if is_tiff(data):
            return read_tiff(data)
        raise ImageError(
            "The file is not a picture that can be opened here; save it as PNG, JPEG, TIFF, WEBP, "
            "BMP, GIF or DICOM."
        ) from error
    return read_tiff(data) if _is_misread(image) else image


def _is_misread(image: Image.Image) -> bool:
    """Whether Pillow reads a TIFF's numbers wrongly, without an error.

    It takes signed bytes, and unsigned words of 32 bits, for the other; of more than 8 bits it
    mixes planes, and the bytes of compressed words whose higher ones come first.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return False
    bits, kind = tags.get(258, (1,)), tags.get(339, (1,))
    mixed = tags.get(284) == 2 and len(bits) > 1
    swapped = tags.prefix == b"MM" and tags.get(259, 1) != 1
    other = (bits, kind) in (((8,), (2,)), ((32,), (1,)))
    return other or (max(bits) > 8 and (mixed or swapped))


def _without_metadata(png: bytes) -> bytes:
    """A PNG without colour profile and packed text, of which Pillow unpacks no more than 1 MB."""
    kept, at = [png[:8]], 8
    while at + 8 <= len(png):
        end = at + 12 + int.from_bytes(png[at : at + 4])
        kind = png[at + 4 : at + 8]
        keyword, _, rest = png[at + 8 : end].partition(b"\0")
        orientation = keyword.startswith(b"Raw profile type")  # ImageMagick's EXIF is in such text
        packed = kind == b"zTXt" or (kind == b"iTXt" and rest[:1] == b"\1")
        if kind != b"iCCP" and (orientation or not packed):
            kept.append(png[at:end])
        at = end
    return b"".join([*kept, png[at:]])


def looks_like_picture(head: bytes) -> bool:
    """Whether a file's first `HEAD_BYTES` are those of a kind that is read here."""
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    bitmap = head[:2] == b"BM" and head[15:18] == bytes(3)  # 14: its header's size, 124 at most
    return head.startswith(HEADS) or webp or bitmap or is_tiff(head) or is_dicom(head)


def is_dicom(data: bytes) -> bool:
    """Whether a file says so after its preamble, or begins like one that lacks the preamble."""
    if data[128:132] == b"DICM":
        return True
    value_representation, length = data[4:6], int.from_bytes(data[4:8], "little")
    explicit = value_representation.isalpha() and value_representation.isupper()
    return data[:2] in DICOM_GROUPS and (explicit or 0 < length < len(data))


def _is_nifti(data: bytes) -> bool:
    """Whether a file, or what it is the gzip of, has NIfTI's header."""
    if data[:2] == b"\x1f\x8b":
        try:
            data = zlib.decompressobj(31).decompress(data, 352)  # 31: with gzip's own header
        except zlib.error:
            return False
    return any(data[at : at + 4] in names for at, names in NIFTI.items())


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """8 bits, opaque, in `mode` ("L" or "RGB"); transparent parts over black."""
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if not np.asarray(image)[..., 3].any():  # nothing would be seen, so it is not meant
                return image.convert("RGB").convert(mode)
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image).convert("RGB")
        return image.convert(mode)
    except ValueError as error:
        raise ImageError(
            f"The picture's colour mode {image.mode} cannot be converted; save it as grey or RGB."
        ) from error


def _deep_to_float(image: Image.Image) -> Image.Image:
    """A grey picture of more than 8 bits, or of fractions, as mode "F" in [0, 1]."""
    values = graded(np.asarray(image))
    if image.info["white is zero"]:  # Pillow inverts these up to 8 bits, no deeper ones
        values = 1 - values
    return Image.fromarray(values)
