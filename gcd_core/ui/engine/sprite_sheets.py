"""Decoded paths as the browser plays them: all pictures and maps in two sheets, and the numbers.

While a slider moves along one direction, the page needs no server then: it blends the two pictures
next to where the slider stands. What is shown at rest is the server's own picture.
"""

from __future__ import annotations

import base64
import io
import json
import math
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gcd_core.images.drawing import difference, full_strength, heat_colours, to_pil
from gcd_core.method.attribution import explain_path
from gcd_core.method.walk import Path

PICTURE_QUALITY, MAP_QUALITY = 95, 85  # of WebP, of 100
LEVELS = 256  # of a map's colours, from the strongest below zero to the strongest above


def path_to_sprites(path: Path) -> str:
    """A path as JSON.

    Its fields: `direction`; `labels`; `size` and `columns`, the side of a picture in pixels, and
    how many of them stand side by side on a sheet; `pictures` and `maps`, the sheets as WebP in
    base64; and for each point `alphas`, `probabilities` (by label, in their order), `lpips`, and
    `differences`, what is full strength in a map of the difference to the source. A map's grey
    level k is the k-th of `heat_scale`'s colours.
    """
    count = len(path.alphas)
    columns = math.ceil(math.sqrt(count))
    levels = torch.stack([heat_levels(_explained(path, i)) for i in range(count)])[:, None]
    strengths = [full_strength(difference(image, path.source[0])) for image in path.images]
    film: dict[str, Any] = {
        "direction": path.direction_name,
        "labels": path.labels,
        "size": path.images.shape[-1],
        "columns": columns,
        "alphas": _short(path.alphas),
        "probabilities": [_short(row, 5) for row in path.all_probabilities],
        "lpips": _short(path.distances),
        "differences": [round(value, 5) for value in strengths],
        "pictures": _webp(sheet(path.images, columns), PICTURE_QUALITY),
        "maps": _webp(sheet(levels, columns), MAP_QUALITY),
    }
    return json.dumps(film, separators=(",", ":"))


def heat_scale() -> list[list[int]]:
    """The colours (r, g, b, opacity), 0 to 255, of a map's levels."""
    colours = heat_colours(torch.linspace(-1, 1, LEVELS)[None], scale=1.0)
    return (255 * colours[:, 0].T).round().int().tolist()


def heat_levels(heat: Tensor) -> Tensor:
    """A signed map (H, W) as grey levels in [0, 1]: the middle is zero, either end full strength.

    Full strength is as in `heat_colours`.
    """
    return 0.5 + 0.5 * (heat / max(full_strength(heat), 1e-12)).clamp(-1, 1)


def sheet(images: Tensor, columns: int) -> Tensor:
    """Images (n, C, H, W) side by side, in rows of so many: (C, rows * H, columns * W)."""
    n, c, h, w = images.shape
    rows = math.ceil(n / columns)
    empty = images.new_zeros(rows * columns - n, c, h, w)
    grid = torch.cat([images, empty]).reshape(rows, columns, c, h, w)
    return grid.permute(2, 0, 3, 1, 4).reshape(c, rows * h, columns * w)


def _explained(path: Path, index: int) -> Tensor:
    """The BB-LIG map (H, W) of one point; of the one at rest, an empty one."""
    if not float(path.alphas[index]):
        return torch.zeros(path.images.shape[-2:])
    return explain_path(path, until=index).map


def _short(values: Tensor, digits: int = 4) -> list[float]:
    return [round(value, digits) for value in values.tolist()]


def _webp(picture: Tensor, quality: int) -> str:
    image = to_pil(picture)
    if image.mode == "L":  # the format has no grey
        image = Image.merge("RGB", [image] * 3)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=2)
    return base64.b64encode(buffer.getvalue()).decode()
