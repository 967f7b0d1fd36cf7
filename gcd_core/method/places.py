"""Places of a picture by name, and in which of them something lies, if in any."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError

GRID = 48  # squares along a side on which shares are reckoned; halves and thirds are whole ones
SURE = 0.6  # of the mass, from which on a place is named
DENSER = 1.5  # times as much of the mass as of the picture: a half is no place by being large
SOFT = 5  # squares over which a soft mask rises
NO_ARTICLE = ("both ", "all ", "the ")  # beginnings of a name that takes no "the"
MAX_PLACE_LENGTH = 60  # letters of a place's name


class Region(NamedTuple):
    """A box of the picture, its borders as shares of the frame: rows and columns in [0, 1]."""

    # The rows from `top` on, to before `bottom`.
    top: float
    bottom: float
    # The columns, likewise.
    left: float
    right: float

    def mask(self, height: int, width: int) -> Tensor:
        """The box (H, W), bool: its borders at the nearest pixels.

        Raises a GCDError if it holds no pixel of such a picture.
        """
        inside = torch.zeros(height, width, dtype=torch.bool)
        rows = slice(round(self.top * height), round(self.bottom * height))
        inside[rows, round(self.left * width) : round(self.right * width)] = True
        if not 0 <= min(self) <= max(self) <= 1 or not inside.any():
            raise GCDError(f"{self} holds no pixel of a picture of {height} x {width}.")
        return inside

    def brightness(self, images: Tensor) -> Tensor:
        """The mean (N,) over the box and all channels of images (N, C, H, W)."""
        return images[..., self.mask(*images.shape[-2:]).to(images.device)].mean(dim=(1, 2))


Atlas = Mapping[str, tuple[Region, ...]]  # places of one or more boxes, by their names

HALVES = {"upper": (0, 1 / 2), "lower": (1 / 2, 1)}
SIDES = {"left": (0, 1 / 2), "right": (1 / 2, 1)}
THIRDS = {"upper": (0, 1 / 3), "middle": (1 / 3, 2 / 3), "lower": (2 / 3, 1)}
SIDE_THIRDS = {"left": (0, 1 / 3), "right": (2 / 3, 1)}
EDGE = 1 / 8  # of the frame, which is its rim
# Of every picture, as it is seen.
FRAME: Atlas = {
    **{
        f"{row} {side} of the picture": (Region(*rows, *columns),)
        for row, rows in HALVES.items()
        for side, columns in SIDES.items()
    },
    **{f"{name} third of the picture": (Region(*rows, 0, 1),) for name, rows in THIRDS.items()},
    **{f"{name} third of the picture": (Region(0, 1, *at),) for name, at in SIDE_THIRDS.items()},
    **{f"{name} half of the picture": (Region(*rows, 0, 1),) for name, rows in HALVES.items()},
    **{f"{name} half of the picture": (Region(0, 1, *at),) for name, at in SIDES.items()},
    "centre of the picture": (Region(1 / 4, 3 / 4, 1 / 4, 3 / 4),),
    "rim of the picture": (
        Region(0, EDGE, 0, 1),
        Region(1 - EDGE, 1, 0, 1),
        Region(EDGE, 1 - EDGE, 0, EDGE),
        Region(EDGE, 1 - EDGE, 1 - EDGE, 1),
    ),
}


def on_grid(maps: Tensor) -> Tensor:
    """Means over 48 x 48 squares (N, 48, 48) of maps (N, H, W)."""
    return F.adaptive_avg_pool2d(maps[:, None].float(), GRID)[:, 0]


@lru_cache(maxsize=256)
def mask_of(boxes: tuple[Region, ...]) -> Tensor:
    """The squares (48, 48), bool, of a place."""
    return torch.stack([box.mask(GRID, GRID) for box in boxes]).any(0)


def soft_mask(boxes: tuple[Region, ...], size: tuple[int, int]) -> Tensor:
    """A place at a size (H, W), in [0, 1]: 1 inside, 0 outside, its edges soft over 5 squares."""
    mask = mask_of(boxes).float()[None, None]
    soft = F.avg_pool2d(F.pad(mask, [SOFT // 2] * 4, mode="replicate"), SOFT, stride=1)
    return F.interpolate(soft, size, mode="bilinear", align_corners=False)[0, 0]


def in_the(place: str) -> str:
    """A place's name after "in", with its article where it takes one."""
    return f"in {place}" if place.startswith(NO_ARTICLE) else f"in the {place}"


def share_in(mass: Tensor, boxes: tuple[Region, ...]) -> Tensor:
    """The share (N,) of masses (N, 48, 48), 0 or more, that lies in a place; 0 of no mass."""
    inside = mass[:, mask_of(boxes)].sum(1)
    return inside / mass.sum((1, 2)).clamp(min=torch.finfo(mass.dtype).tiny)


def is_there(share: float, boxes: tuple[Region, ...], least: float = SURE) -> bool:
    """Whether a share of the mass is enough to say that it lies in a place.

    `least` of it or more, and 1.5 times as much as of an even mass, or more.
    """
    return share >= max(least, DENSER * float(mask_of(boxes).float().mean()))


def sure_place(mass: Tensor, atlas: Atlas) -> str | None:
    """The smallest place in which a mass surely lies.

    Parameters
    ----------
    mass : Tensor (48, 48)
        0 or more; see `on_grid`.
    atlas : mapping of str to tuple of Region
        The domain's own places; those of every picture are tried beside them.

    Returns
    -------
    str or None
        Its name; None where no place holds 60 % of the mass and 1.5 times as much as of an even
        one.
    """
    places = {**FRAME, **atlas}
    there = [
        name
        for name, boxes in places.items()
        if is_there(float(share_in(mass[None], boxes)), boxes)
    ]
    sizes = {name: (int(mask_of(places[name]).sum()), name not in atlas) for name in there}
    return min(there, key=lambda name: sizes[name], default=None)


def read_atlas(table: Mapping[str, object]) -> dict[str, tuple[Region, ...]]:
    """Read places from what a file says: by name a box, or a list of boxes.

    A box is [top, bottom, left, right], in shares of the frame.

    Raises
    ------
    GCDError
        Naming the first that is none.
    """
    atlas = {}
    for name, value in table.items():
        boxes = value if isinstance(value, list) else []
        boxes = [boxes] if boxes and not isinstance(boxes[0], list) else boxes
        if not boxes or not all(_is_box(box) for box in boxes):
            raise GCDError(
                f"The place {name[:MAX_PLACE_LENGTH]!r} is a box [top, bottom, left, right] of "
                "shares of the frame from 0 to 1, or a list of boxes."
            )
        if not is_place_name(name):
            raise GCDError(f"A place has a name of 1 to {MAX_PLACE_LENGTH} letters in one line.")
        atlas[name] = tuple(Region(*map(float, box)) for box in boxes)
    return atlas


def is_place_name(name: object) -> bool:
    """Whether this is a name that a place may have."""
    return isinstance(name, str) and 0 < len(name) <= MAX_PLACE_LENGTH and name.isprintable()


def _is_box(box: object) -> bool:
    """Whether these are four shares that hold a square of the grid."""
    if not isinstance(box, list) or len(box) != 4:
        return False
    if not all(type(share) in (int, float) and 0 <= share <= 1 for share in box):
        return False
    top, bottom, left, right = (round(share * GRID) for share in box)
    return top < bottom and left < right
