"""Pictures as data URLs, which the page shows without a second request or a file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from gcd_core.images.drawing import encode_png

DRAWN = WeakIdKeyDictionary()  # addresses by tensor; they go when the tensor is dropped


def data_address(data: bytes, kind: str = "png") -> str:
    """Return a data URL that holds a picture's file; `kind` is the file's format."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def drawn(image: Tensor | Image.Image) -> str:
    """Return the data URL of a PIL image or a tensor (1, C, H, W) in [0, 1] that never changes."""
    if isinstance(image, Tensor):
        return _once(image, "", lambda: data_address(encode_png(image)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return data_address(buffer.getvalue())


def end_thumbnail(image: Tensor) -> str:
    """Return the thumbnail of a picture (1, C, H, W) that never changes."""
    return _once(image, "end", lambda: thumbnail(image))


def _once(image: Tensor, name: str, make: Callable[[], str]) -> str:
    """Return what `make` makes; it is called once for each tensor and name."""
    addresses = DRAWN.setdefault(image, {})
    if name not in addresses:
        addresses[name] = make()
    return addresses[name]


def thumbnail(image: Tensor, size: int = 64) -> str:
    """Return the data URL of a small square version of a picture (1, C, H, W) in [0, 1]."""
    small = torch.nn.functional.interpolate(image, size=(size, size), mode="area")
    return data_address(encode_png(small))
