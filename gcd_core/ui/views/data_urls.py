"""Pictures as data addresses: a page shows them without a second request or a file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from gcd_core.images.drawing import encode_png

DRAWN = WeakIdKeyDictionary()  # addresses by what is drawn, of tensors that are kept elsewhere


def data_address(data: bytes, kind: str = "png") -> str:
    """An address that holds a picture's file; `kind` is its format."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def drawn(image: Tensor | Image.Image) -> str:
    """The address of a picture: (1, C, H, W) in [0, 1], which is not changed later, or PIL's."""
    if isinstance(image, Tensor):
        return _once(image, "", lambda: data_address(encode_png(image)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return data_address(buffer.getvalue())


def end_thumbnail(images: Tensor, end: int) -> str:
    """The address of a small version of the first (0) or last (-1) of pictures (n, C, H, W)."""
    return _once(images, f"end {end}", lambda: thumbnail(images[end][None]))


def _once(image: Tensor, name: str, make: Callable[[], str]) -> str:
    """Make an address of a tensor, once for as long as the tensor is kept."""
    addresses = DRAWN.setdefault(image, {})
    if name not in addresses:
        addresses[name] = make()
    return addresses[name]


def thumbnail(image: Tensor, size: int = 64) -> str:
    """The address of a small square version of a picture (1, C, H, W) in [0, 1]."""
    small = torch.nn.functional.interpolate(image, size=(size, size), mode="area")
    return data_address(encode_png(small))
