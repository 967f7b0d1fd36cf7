"""Decoded paths as the browser plays them: what is put over the source, maps, and the numbers.

While a slider moves along one direction, the page needs no server then: it blends what belongs to
the two points next to where the slider stands, and puts it over the opened picture, which it has
with all its pixels. What is shown at rest is the server's own picture.
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

from gcd_core.images.drawing import (
    EVIDENCE,
    Palette,
    difference,
    full_strength,
    heat_colours,
    to_pil,
)
from gcd_core.method.attribution import explain_path
from gcd_core.method.path import Path

# Of WebP, of 100: of the strongest component of what is put over a source, and of the others, which
# are weak and spread over all levels; likewise of decoded images, which have more in them.
CHANGE_QUALITY, DECODED_QUALITY = (98, 65), (93, 40)
LOST_QUALITY, MAP_QUALITY = 85, 85
LEVELS = 256  # of a map's colours, from the strongest below zero to the strongest above


def path_to_sprites(path: Path) -> str:
    """A path as JSON.

    Its fields: `direction`; `labels`; `size` and `columns`, the side of a point's cell in pixels,
    and how many cells stand side by side on a sheet; `offsets` (a list, one sheet a component),
    `lost` and `maps`, the sheets as grey WebP in base64; for each component `low` and `high`, what
    the levels 0 and 255 stand for, and `basis`, which makes channels of components; and for each
    point `alphas`, `probabilities` (by label, in their order), `lpips`, and `differences`, what is
    full strength in a map of the difference to the source.

    `lost` and `offsets` are the planes of `Composition`; `lost` is left out where it is 1
    everywhere: the decoded images are shown then. A map's grey level k is the k-th of the colours
    of `heat_scale`; the maps are BB-LIG up to each point.
    """
    count = len(path.alphas)
    columns = math.ceil(math.sqrt(count))
    levels = torch.stack([heat_levels(heat) for heat in _maps(path)])[:, None]
    strengths = [full_strength(difference(image, path.source[0])) for image in path.images]
    lost, offset = _planes(path)
    basis, components = _principal(offset)
    low, high = components.amin((0, 2, 3)), components.amax((0, 2, 3))
    parts = (components - low[:, None, None]) / (high - low).clamp(min=1e-6)[:, None, None]
    first, others = DECODED_QUALITY if lost is None else CHANGE_QUALITY
    film: dict[str, Any] = {
        "direction": path.direction_name,
        "labels": path.labels,
        "size": path.images.shape[-1],
        "columns": columns,
        "alphas": _short(path.alphas),
        "probabilities": [_short(row, 5) for row in path.all_probabilities],
        "lpips": _short(path.distances),
        "differences": [round(value, 5) for value in strengths],
        "basis": [_short(row, 6) for row in basis],
        "low": _short(low, 6),
        "high": _short(high, 6),
        "offsets": [
            _webp(sheet(part, columns), others if k else first)
            for k, part in enumerate(parts.split(1, dim=1))
        ],
        "maps": _webp(sheet(levels, columns), MAP_QUALITY),
    }
    if lost is not None:
        film["lost"] = _webp(sheet(lost, columns), LOST_QUALITY)
    return json.dumps(film, separators=(",", ":"))


def _planes(path: Path) -> tuple[Tensor | None, Tensor]:
    """What is put over the source at each point: `Composition.planes`, None for a `lost` of 1."""
    composition, decoded = path.composition, path.decoded
    if composition is None or composition.baseline is None or decoded is None:
        return None, path.images
    return composition.planes(decoded)


def _principal(images: Tensor) -> tuple[Tensor, Tensor]:
    """The channels of images (n, C, H, W) as principal components, the strongest first.

    Colours mostly change together, so that most components are weak and need few bytes.

    Returns
    -------
    basis : Tensor (C, C)
        One component a column: ``image[c] = (basis[c] * components).sum()``.
    components : Tensor (n, C, H, W)
    """
    channels = images.movedim(1, -1)
    flat = channels.reshape(-1, channels.shape[-1]).double()
    basis = torch.linalg.eigh(flat.T @ flat).eigenvectors.flip(1).float()
    return basis, (channels @ basis).movedim(-1, 1)


def heat_scale(palette: Palette = EVIDENCE) -> list[list[int]]:
    """The colours (r, g, b, opacity), 0 to 255, of a map's levels."""
    colours = heat_colours(torch.linspace(-1, 1, LEVELS)[None], 1.0, palette)
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


def _maps(path: Path) -> list[Tensor]:
    """BB-LIG (H, W) up to each point; of the one at rest it is empty."""
    rest = int(path.alphas.abs().argmin())
    empty = torch.zeros(path.images.shape[-2:])
    return [
        empty if i == rest else explain_path(path, until=i).map for i in range(len(path.alphas))
    ]


def _short(values: Tensor, digits: int = 4) -> list[float]:
    return [round(value, digits) for value in values.tolist()]


def _webp(picture: Tensor, quality: int) -> str:
    """A grey picture (1, H, W) in [0, 1] as WebP in base64."""
    image = Image.merge("RGB", [to_pil(picture)] * 3)  # the format has no grey
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return base64.b64encode(buffer.getvalue()).decode()
