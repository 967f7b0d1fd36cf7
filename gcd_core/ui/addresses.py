"""Pictures as data addresses: a page shows them without a second request or a file."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image
from torch import Tensor

from gcd_core.images.drawing import encode_png


def data_address(data: bytes, kind: str = "png") -> str:
    """An address that holds a picture's file; `kind` is its format."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def drawn(image: Tensor | Image.Image) -> str:
    """The address of a picture: (1, C, H, W) in [0, 1], or PIL's."""
    if isinstance(image, Tensor):
        return data_address(encode_png(image))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return data_address(buffer.getvalue())


def thumbnail(image: Tensor, size: int = 64) -> str:
    """The address of a small square version of a picture (1, C, H, W) in [0, 1]."""
    small = torch.nn.functional.interpolate(image, size=(size, size), mode="area")
    return data_address(encode_png(small))
