"""Free-form masks, as an inpainting is trained and judged with: strokes, boxes, scattered cells."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_HIDDEN_SHARE, MAX_HIDDEN_SHARE = 0.02, 0.5  # of the picture


def free_form_masks(
    count: int,
    side: int,
    generator: torch.Generator,
    least: float = MIN_HIDDEN_SHARE,
    most: float = MAX_HIDDEN_SHARE,
) -> Tensor:
    """Draw masks at random, each of an area between two shares of the picture.

    Half of them are strokes and boxes, laid on until the area is reached (so that the last may go
    beyond it, never beyond `most` by more than its own size); the other half are cells of a grid
    of 4 to 32 a side, those where a smooth random field is highest, as an attribution marks them.

    Parameters
    ----------
    count, side : int
    generator : torch.Generator
        On the CPU.
    least, most : float
        Bounds of the share that is aimed at, which is spread evenly over its logarithm.

    Returns
    -------
    Tensor (count, side, side), bool
        True where the picture is hidden.
    """
    spread = math.log(most / least)
    shares = least * (spread * torch.rand(count, generator=generator)).exp()
    masks = []
    for i, share in enumerate(shares.tolist()):
        draw = _strokes if i % 2 == 0 else _cells
        masks.append(draw(share, side, generator))
    return torch.stack(masks)


def _strokes(share: float, side: int, generator: torch.Generator) -> Tensor:
    """Strokes of a brush and boxes (side, side), bool, until they cover a share."""
    at = torch.arange(side).float() + 0.5
    mask = torch.zeros(side, side, dtype=torch.bool)
    longest = side * min(0.6, 2 * math.sqrt(share))
    while mask.float().mean() < share:
        kind, x, y, a, b, width = torch.rand(6, generator=generator).tolist()
        if kind < 0.4:
            height, breadth = longest * (0.2 + 0.5 * a), longest * (0.2 + 0.5 * b)
            rows = (at - y * side).abs() <= height / 2
            columns = (at - x * side).abs() <= breadth / 2
            mask |= rows[:, None] & columns
            continue
        radius = side * min(0.06, 0.5 * math.sqrt(share)) * (0.3 + width)
        angle, x, y = 2 * math.pi * a, x * side, y * side
        for _ in range(1 + int(4 * b)):
            turn, length = torch.rand(2, generator=generator).tolist()
            angle += 2 * (turn - 0.5)
            length = longest * (0.2 + 0.5 * length)
            dx, dy = math.cos(angle), math.sin(angle)
            along = (at - x) * dx + (at[:, None] - y) * dy
            near_x = at - x - along.clamp(0, length) * dx
            near_y = at[:, None] - y - along.clamp(0, length) * dy
            mask |= near_x.square() + near_y.square() <= radius**2
            x, y = x + dx * length, y + dy * length
    return mask


def _cells(share: float, side: int, generator: torch.Generator) -> Tensor:
    """The cells (side, side), bool, of a grid where a smooth random field is highest."""
    fine = int(torch.randint(4, (1,), generator=generator))
    cells = min(side, 4 * 2**fine)
    rough = int(torch.randint(2, cells + 1, (1,), generator=generator))
    field = torch.randn(1, 1, rough, rough, generator=generator)
    field = F.interpolate(field, (cells, cells), mode="bicubic", align_corners=False)[0, 0]
    marked = torch.zeros(cells**2, dtype=torch.bool)
    marked[field.flatten().argsort(descending=True)[: max(1, round(share * cells**2))]] = True
    place = torch.arange(side) * cells // side
    return marked.view(cells, cells)[place[:, None], place]
