"""Pixels in, pixels out: files of every sort to tensors, tensors to pictures, heat maps, sweeps."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gcd_core.errors import GCDError

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
MAX_BYTES = 50 * 2**20
MAX_PIXELS = 64 * 10**6
MAX_SIDE = 20_000
BIT_DEPTHS = (8, 10, 12, 14, 16, 24, 32)
DICOM_GROUPS = (b"\x02\x00", b"\x08\x00")  # with which a file without preamble begins
NIFTI = {344: (b"n+1\0", b"ni1\0"), 4: (b"n+2\0", b"ni2\0")}  # where its header names the format
WHITE_IS_ZERO = (262, 0)  # TIFF: the tag PhotometricInterpretation, and the value that inverts
NOT_A_RADIOGRAPH = (
    "This looks like a colour photograph, not a radiograph, so the answers mean nothing for it."
)
NEGATIVE = torch.tensor([[0.45, 0.75, 1.0], [0.10, 0.45, 1.0]])  # faint to strong
POSITIVE = torch.tensor([[1.0, 0.60, 0.40], [1.0, 0.12, 0.10]])

Source = str | Path | bytes | Image.Image | BinaryIO


class ImageError(GCDError):
    """A picture cannot be used; the message says why, and what to do."""


def load_image(source: Source, size: int, channels: int) -> Tensor:
    """Open a picture and bring it to the form a domain expects.

    The first frame of an animation and the first page of a document are used; the orientation in
    the file's metadata is applied; transparent parts are black; colour becomes luminance (ITU-R
    601) where the domain is grey. Pictures of more than 8 bits keep their range: they are divided
    by the largest number of their bit depth (8, 10, 12, 14, 16, 24 or 32; the least that holds the
    brightest pixel), fractions in [0, 1] are left alone, and where there are negative numbers, the
    range is stretched from the least to the greatest. Of colour or transparency in 16 bits, 8 are
    kept. DICOM goes through its own look-up tables and windows (`gcd_core.dicom.read_dicom`). The
    whole frame is resized to a square, as the training images were.

    Parameters
    ----------
    source : str, Path, bytes, PIL image or binary file
        A PNG, JPEG, BMP, TIFF, WEBP, GIF or DICOM of at most 50 MB and 64 million pixels, no side
        longer than 20,000.
    size : int
        Side of the result.
    channels : {1, 3}
        Grey or RGB.

    Returns
    -------
    Tensor (1, channels, size, size)
        float32 in [0, 1].

    Raises
    ------
    ImageError
        If the picture cannot be opened whole, is too large, is of a colour mode without a
        conversion, or is one of several frames or slices (of DICOM and NIfTI).
    """
    with _opened(source) as image:
        deep = image.mode in ("I", "F") or image.mode.startswith("I;16")
        pixels = _deep_to_float(image) if deep else _flat(image, "L" if channels == 1 else "RGB")
        array = np.asarray(resize(pixels, size), dtype=np.float32)
    tensor = torch.from_numpy(array / (1 if deep else 255)).clamp(0, 1)
    if deep:
        return tensor.expand(1, channels, size, size).contiguous()
    return tensor.reshape(1, size, size, channels).permute(0, 3, 1, 2).contiguous()


def looks_like_photograph(source: Source) -> bool:
    """Whether a picture has colour that a person would notice, as a radiograph has not.

    That is: in more than 5 % of its pixels the channels differ by more than 12 % of the range, so
    that neither a coloured marker nor JPEG's noise counts.

    Raises
    ------
    ImageError
        As `load_image`.
    """
    with _opened(source) as image:
        if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16"):
            return False
        pixels = np.asarray(resize(_flat(image, "RGB"), 128), dtype=np.float32) / 255
    chroma = pixels.max(-1) - pixels.min(-1)
    return bool((chroma > 0.12).mean() > 0.05)


def shown_name(name: str, source: Source) -> str:
    """A file's name where others may see it; not of DICOM files, which often have the patient's."""
    data = _read(source) if not isinstance(source, Image.Image) else b""
    return "DICOM" if _is_dicom(data) else name


def resize(image: Image.Image, size: int) -> Image.Image:
    """Resize the whole frame to (size, size) with Lanczos's antialiasing filter.

    Training and exploring share this function, so that they see the same pixels.
    """
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.LANCZOS)


@contextmanager
def _opened(source: Source) -> Iterator[Image.Image]:
    """The picture's first frame, decoded within the limits and turned upright."""
    try:
        image = source if isinstance(source, Image.Image) else _open_file(_read(source))
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


def _read(source: str | Path | bytes | BinaryIO) -> bytes:
    """The file's bytes, within the limit."""
    if isinstance(source, str | Path):
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise ImageError(
                f"{source} cannot be read as a file; give the path of a picture."
            ) from error
    else:
        data = source if isinstance(source, bytes) else source.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ImageError(
            f"The file is larger than {MAX_BYTES // 2**20} MB; save the picture as JPEG or with "
            "fewer pixels."
        )
    return data


def _open_file(data: bytes) -> Image.Image:
    """Read the header only, of all but DICOM; decoding waits until the size has been checked."""
    if _is_dicom(data):
        from gcd_core.dicom import read_dicom  # pydicom takes half a second to import

        return read_dicom(data)
    if _is_nifti(data):
        raise ImageError(
            "NIfTI volumes are out of scope: they are stacks of slices; export one slice or a "
            "radiograph as DICOM or PNG."
        )
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"The picture has more than {MAX_PIXELS // 10**6} million pixels; shrink it to fewer, "
            "2,000 on the longer side are plenty, and open it again."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            "The file is not a picture that can be opened here; save it as PNG, JPEG, TIFF, WEBP, "
            "BMP, GIF or DICOM."
        ) from error


def _is_dicom(data: bytes) -> bool:
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


def check_size(width: int, height: int) -> None:
    """Refuse what would take too much memory, or has no pixels."""
    if width < 1 or height < 1:
        raise ImageError("The picture has no pixels; export it again.")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"The picture is {width:,} x {height:,} pixels, more than {MAX_SIDE:,} on a side or "
            f"{MAX_PIXELS // 10**6} million in all; shrink it, 2,000 on the longer side are "
            "plenty, and open it again."
        )


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """8 bits, opaque, in `mode` ("L" or "RGB"); transparent parts over black."""
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            black = Image.new("RGBA", image.size, (0, 0, 0, 255))
            image = Image.alpha_composite(black, image).convert("RGB")
        return image.convert(mode)
    except ValueError as error:
        raise ImageError(
            f"The picture's colour mode {image.mode} cannot be converted; save it as grey or RGB."
        ) from error


def _deep_to_float(image: Image.Image) -> Image.Image:
    """A grey picture of more than 8 bits, or of fractions, as mode "F" in [0, 1]."""
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ImageError("Some pixels of the picture are no numbers (NaN); export it again.")
    low, high = float(values.min()), float(values.max())
    if low < 0 or high >= 2 ** BIT_DEPTHS[-1]:
        values = (values.astype(np.float64) - low) / max(high - low, 1e-12)
    elif image.mode != "F" or high > 1:
        values = values / (2 ** next(bits for bits in BIT_DEPTHS if high < 2**bits) - 1)
    if image.info["white is zero"]:  # Pillow inverts these up to 8 bits, no deeper ones
        values = 1 - values
    return Image.fromarray(values.astype(np.float32))


def to_pil(image: Tensor) -> Image.Image:
    """A tensor (1, C, H, W) or (C, H, W) in [0, 1], C = 1 or 3, as a grey or RGB picture."""
    if image.ndim == 4 and len(image) == 1:
        image = image[0]
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ImageError(
            f"One image (C, H, W) of 1 or 3 channels was expected, not {tuple(image.shape)}."
        )
    levels = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).squeeze(-1).contiguous().numpy())


def from_pil(image: Image.Image) -> Tensor:
    """A grey or RGB picture as a tensor (1, C, H, W), float32 in [0, 1], size unchanged."""
    if image.mode not in ("L", "RGB"):
        raise ImageError(f"A picture of mode L or RGB was expected, not {image.mode}.")
    array = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(array).reshape(*array.shape[:2], -1).permute(2, 0, 1)[None].contiguous()


def encode_png(image: Tensor) -> bytes:
    """A tensor (1, C, H, W) or (C, H, W) in [0, 1] as the bytes of a PNG file."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    return buffer.getvalue()


def difference(a: Tensor, b: Tensor) -> Tensor:
    """a - b, averaged over channels: (H, W), signed; a and b are (1, C, H, W) or (C, H, W)."""
    if a.shape != b.shape:
        raise ImageError(f"Images of one shape were expected, not {(*a.shape,)} and {(*b.shape,)}.")
    return (a - b).reshape(-1, *a.shape[-2:]).mean(0)


def heat_colours(heat: Tensor, scale: float | None = None) -> Tensor:
    """Colour a signed map: blue below zero, red above, clear at zero.

    Parameters
    ----------
    heat : Tensor (H, W)
    scale : float, optional
        The |heat| of full strength. Default: its 99th percentile, so that single pixels do not
        hide the rest.

    Returns
    -------
    Tensor (4, H, W)
        RGBA in [0, 1].
    """
    heat = heat.detach().float().cpu()
    if scale is None:
        scale = torch.quantile(heat.abs().flatten(), 0.99).item() or heat.abs().max().item()
    strength = (heat.abs() / max(scale, 1e-12)).clamp(0, 1)
    ends = torch.where((heat < 0)[..., None, None], NEGATIVE, POSITIVE)
    colours = torch.lerp(ends[..., 0, :], ends[..., 1, :], strength[..., None])
    return torch.cat([colours.permute(2, 0, 1), strength[None]])


def overlay(image: Tensor, heat: Tensor, opacity: float = 0.7) -> Image.Image:
    """Lay a heat map over an image.

    Parameters
    ----------
    image : Tensor (1, C, H, W) or (C, H, W)
        In [0, 1].
    heat : Tensor (H, W)
        Signed; see `heat_colours`.
    opacity : float
        Of the strongest heat, in [0, 1].

    Raises
    ------
    ImageError
        If the two differ in size.
    """
    image = image.detach().float().cpu().reshape(-1, *image.shape[-2:])
    if heat.shape != image.shape[-2:]:
        raise ImageError(
            f"The heat map is {tuple(heat.shape)}, the image {tuple(image.shape[-2:])}; they must "
            "be of one size."
        )
    colours = heat_colours(heat)
    return to_pil(image.expand(3, -1, -1).lerp(colours[:3], colours[3:] * opacity))


def save_gif(
    images: Tensor,
    target: str | Path | BinaryIO,
    seconds: float = 3.0,
    ping_pong: bool = True,
    size: int | None = None,
) -> None:
    """Write a sweep as an endless animation.

    Parameters
    ----------
    images : Tensor (n, C, H, W)
        The frames, in [0, 1].
    target : str, Path or binary file
        Where to.
    seconds : float
        Duration of one pass through the images.
    ping_pong : bool
        Whether the animation also goes back, frame by frame, instead of jumping to its start.
    size : int, optional
        Enlarge the frames to this side.
    """
    if images.ndim != 4 or len(images) < 1:
        raise ImageError(f"A sweep needs images (n, C, H, W), not {tuple(images.shape)}.")
    frames = [to_pil(image) for image in images]
    if size is not None:
        frames = [frame.resize((size, size), Image.Resampling.BICUBIC) for frame in frames]
    duration = max(20, round(seconds * 100 / len(frames)) * 10)  # a GIF counts in 10 ms
    if ping_pong:
        frames += frames[-2:0:-1]
    frames[0].save(
        target,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=duration,
        loop=0,
    )
