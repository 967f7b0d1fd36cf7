"""Tensors to pictures: PNG, heat maps, overlays, sweeps."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional

from gcd_core.images.limits import ImageError

TEXT = 12  # pixels, of captions
OUTLINE = torch.tensor([0.25, 0.85, 1.0])  # red, green, blue, of a region's border


class Palette(NamedTuple):
    """The colours of a signed map, RGB in [0, 1]: each (2, 3), of faint and of strong values."""

    negative: Tensor
    positive: Tensor


# Both are seen on grey radiographs and on cells that are stained blue, violet and pink.
EVIDENCE = Palette(  # of what speaks against a label, and for it: cyan and red
    torch.tensor([[0.50, 0.95, 1.0], [0.0, 0.75, 0.95]]),
    torch.tensor([[1.0, 0.60, 0.40], [1.0, 0.12, 0.10]]),
)
BRIGHTNESS = Palette(  # of what became darker, and brighter: green and yellow
    torch.tensor([[0.55, 0.90, 0.60], [0.0, 0.60, 0.25]]),
    torch.tensor([[1.0, 0.95, 0.55], [1.0, 0.85, 0.0]]),
)
AMOUNT = Palette(  # of how much changed, whichever way: magenta
    *[torch.tensor([[1.0, 0.75, 0.97], [1.0, 0.0, 0.80]])] * 2
)


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


def encode_png(image: Tensor) -> bytes:
    """A tensor (1, C, H, W) or (C, H, W) in [0, 1] as the bytes of a PNG file."""
    buffer = io.BytesIO()
    to_pil(image).save(buffer, format="PNG")
    return buffer.getvalue()


def at_most(image: Tensor, side: int) -> Tensor:
    """An image (1, C, H, W) brought down to `side` pixels at its longer side, if it is larger."""
    height, width = image.shape[-2:]
    share = side / max(height, width)
    if share >= 1:
        return image
    size = max(1, round(share * height)), max(1, round(share * width))
    small = functional.interpolate(image, size, mode="bicubic", antialias=True, align_corners=False)
    return small.clamp(0, 1)


def difference(a: Tensor, b: Tensor) -> Tensor:
    """The mean of a - b over channels: (H, W), signed; a and b are (1, C, H, W) or (C, H, W)."""
    if a.shape != b.shape:
        raise ImageError(f"Images of one shape were expected, not {(*a.shape,)} and {(*b.shape,)}.")
    return (a - b).reshape(-1, *a.shape[-2:]).mean(0)


def full_strength(heat: Tensor) -> float:
    """The |heat| of a map (H, W) that is drawn in full strength.

    Its 99th percentile, so that single pixels do not hide the rest; where that is 0, its maximum.
    """
    size = heat.detach().float().cpu().abs()
    return torch.quantile(size.flatten(), 0.99).item() or size.max().item()


def heat_colours(heat: Tensor, scale: float | None = None, palette: Palette = EVIDENCE) -> Tensor:
    """Colour a signed map: one hue below zero, another above, clear at zero.

    Parameters
    ----------
    heat : Tensor (H, W)
    scale : float, optional
        The |heat| of full strength. Default: `full_strength`.
    palette : Palette
        `EVIDENCE` for a classifier's, `BRIGHTNESS` for a difference of pictures, `AMOUNT` for the
        size of one.

    Returns
    -------
    Tensor (4, H, W)
        RGBA in [0, 1].
    """
    heat = heat.detach().float().cpu()
    scale = full_strength(heat) if scale is None else scale
    strength = (heat.abs() / max(scale, 1e-12)).clamp(0, 1)
    ends = torch.where((heat < 0)[..., None, None], palette.negative, palette.positive)
    colours = torch.lerp(ends[..., 0, :], ends[..., 1, :], strength[..., None])
    return torch.cat([colours.permute(2, 0, 1), strength[None]])


def overlay(
    image: Tensor, heat: Tensor, opacity: float = 0.7, palette: Palette = EVIDENCE
) -> Image.Image:
    """Lay a heat map over an image.

    Parameters
    ----------
    image : Tensor (1, C, H, W) or (C, H, W)
        In [0, 1].
    heat : Tensor (h, w)
        Signed; see `heat_colours`. A map of another size is brought to the image's, linearly.
    opacity : float
        Of the strongest heat, in [0, 1].
    palette : Palette
        As of `heat_colours`.
    """
    image = image.detach().float().cpu().reshape(-1, *image.shape[-2:])
    size = int(image.shape[-2]), int(image.shape[-1])
    strength = full_strength(heat)
    if tuple(heat.shape) != size:
        heat = functional.interpolate(heat.float().cpu()[None, None], size, mode="bilinear")[0, 0]
    colours = heat_colours(heat, strength, palette)
    return to_pil(image.expand(3, -1, -1).lerp(colours[:3], colours[3:] * opacity))


def outlined(image: Tensor, mask: Tensor) -> Tensor:
    """An image (1, C, H, W) with the border of a mask (h, w) drawn in, as (1, 3, H, W).

    Inside the mask, so that no pixel outside is other than it was; as wide as a pixel of the mask.
    """
    size = image.shape[-2:]
    inside = functional.interpolate(mask[None, None].float(), size, mode="nearest-exact")
    width = max(1, max(size) // max(mask.shape))
    shrunk = 1 - functional.max_pool2d(1 - inside, 2 * width + 1, stride=1, padding=width)
    border = (inside - shrunk)[0].bool()
    return torch.where(border, OUTLINE[:, None, None], image.expand(1, 3, -1, -1))


def captioned(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """Add lines of white on black below a picture; what is too long for its width is cut short."""
    width, height = picture.size
    pitch = TEXT + 4
    canvas = Image.new(picture.mode, (width, height + pitch * len(lines) + 4))
    canvas.paste(picture)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(TEXT)
    for i, line in enumerate(lines):
        whole = line = line.replace("\N{MINUS SIGN}", "-")  # the font lacks that sign
        while line and pen.textlength(line, font) > width - 8:
            whole = whole[:-1]
            line = f"{whole.rstrip()}\N{HORIZONTAL ELLIPSIS}" if whole else ""
        pen.text((4, height + 2 + i * pitch), line, "white", font)
    return canvas


def save_png(
    image: Tensor, target: str | Path | BinaryIO, about: Mapping[str, str], bits: int = 8
) -> None:
    """Write an image (1, C, H, W) in [0, 1] as PNG, and what it is as the file's own text.

    The pixels stay as they are, so that others can measure them; `about` are keywords and values
    that picture viewers show. With 16 bits a grey image keeps the range of a deep file.
    """
    info = PngInfo()
    for keyword, value in about.items():
        info.add_itxt(keyword, value)
    picture = to_pil(image) if bits == 8 or image.shape[-3] != 1 else _deep(image)
    picture.save(target, format="PNG", pnginfo=info)


def _deep(image: Tensor) -> Image.Image:
    """A grey tensor (1, 1, H, W) in [0, 1] as a picture of 16 bits."""
    levels = (image.detach().double().cpu().clamp(0, 1) * 65535).round()
    return Image.fromarray(levels.reshape(image.shape[-2:]).numpy().astype("uint16"))


def save_gif(
    images: Tensor | Sequence[Tensor],
    target: str | Path | BinaryIO,
    size: int | None = None,
    captions: Sequence[Sequence[str]] | None = None,
) -> None:
    """Write a sweep as an endless animation, 3 seconds forward and as long back.

    Parameters
    ----------
    images : Tensor (n, C, H, W), or sequence of Tensor (1, C, H, W)
        The frames, in [0, 1].
    target : str, Path or binary file
        Where to.
    size : int, optional
        Bring the longer side of the frames to so many pixels.
    captions : sequence of sequences of str, optional
        Lines to stand below each frame.
    """
    if len(images) < 1 or (isinstance(images, Tensor) and images.ndim != 4):
        found = tuple(images.shape) if isinstance(images, Tensor) else "none"
        raise ImageError(f"A sweep needs images (n, C, H, W), not {found}.")
    frames = [to_pil(image) for image in images]
    if size is not None:
        width, height = frames[0].size
        share = size / max(width, height)
        shape = max(1, round(width * share)), max(1, round(height * share))
        frames = [frame.resize(shape, Image.Resampling.BICUBIC) for frame in frames]
    if captions is not None:
        frames = [captioned(f, lines) for f, lines in zip(frames, captions, strict=True)]
    duration = max(20, round(300 / len(frames)) * 10)  # a GIF counts in 10 ms
    frames += frames[-2:0:-1]  # back, frame by frame
    frames[0].save(
        target,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=duration,
        loop=0,
    )
