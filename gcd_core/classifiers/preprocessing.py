"""What is done to a picture before a classifier sees it, as its table in domain.toml says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError

Keys = dict[str, type | UnionType]  # what a table may hold, and of which type
SIZE_KEYS: Keys = {"size": int | list, "channels": int}
PICTURE_KEYS: Keys = SIZE_KEYS | {"crop": int | float, "resample": str}  # of a picture that is sent
NUMBER_KEYS: Keys = {
    "scale": str,
    "mean": int | float | list,
    "std": int | float | list,
    "channel_order": str,
    "layout": str,
}
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"
RESAMPLES = ("bilinear", "bicubic", "nearest-exact")
SCALES = {"0..1": (1.0, 0.0), "-1..1": (2.0, -1.0), "0..255": (255.0, 0.0)}  # factor and summand
ORDERS = ("rgb", "bgr")
CHANNELS_FIRST, CHANNELS_LAST = LAYOUTS = ("channels-first", "channels-last")


@dataclass(frozen=True)
class Preprocessing:
    """The chain from a picture to what a network is given, in this order.

    Attributes
    ----------
    channels : {1, 3} or None
        Grey is repeated to RGB, colour reduced to its luminance. None keeps the colour.
    size : (int, int) or None
        Height and width; the whole picture is resized to it, antialiased. None keeps the size.
    crop : float
        The share of each side that is kept, in the middle, above 0 and up to 1: pictures are
        resized to the size divided by it first.
    resample : {"bilinear", "bicubic", "nearest-exact"}
    channel_order : {"rgb", "bgr"}
    scale : {"0..1", "-1..1", "0..255"}
        What black and white become.
    mean, std : tuple of float
        Of values in that scale: (value - mean) / std; one number, or one for each channel in the
        order in which the network is given them.
    layout : {"channels-first", "channels-last"}
        (N, C, H, W) or (N, H, W, C).

    Raises
    ------
    GCDError
        If a value is none of these.
    """

    size: tuple[int, int] | None = None
    channels: int | None = None
    crop: float = 1.0
    resample: str = "bilinear"
    scale: str = "0..1"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channel_order: str = "rgb"
    layout: str = CHANNELS_FIRST

    def __post_init__(self) -> None:
        if self.channels not in (None, 1, 3):
            raise GCDError(f"A classifier's channels are 1 (grey) or 3 (RGB), not {self.channels}.")
        if not 0 < self.crop <= 1:
            raise GCDError(f"A classifier's crop is above 0 and up to 1, not {self.crop}.")
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise GCDError(
                    f"A classifier's {name} is one of {', '.join(known)}, not "
                    f"{getattr(self, name)!r}."
                )
        if self.channel_order == "bgr" and self.channels != 3:
            raise GCDError('A classifier with channel_order = "bgr" has channels = 3.')
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise GCDError(
                    f"A classifier's {name} is one number or {self.channels}, not {list(values)}."
                )
        if min(self.std) <= 0:
            raise GCDError(f"A classifier's std is positive, not {list(self.std)}.")

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Preprocessing:
        """Read the keys of a classifier's table; those of other things are not looked at.

        `size` is a side, or [height, width]. `mean` and `std` are 0.5 unless the table says more,
        or 0 and 1 where it has a `scale`.
        """
        usual = (0, 1) if "scale" in table else (0.5, 0.5)
        named = {key: table[key] for key in (*CHOICES, "channels", "crop") if key in table}
        size = table.get("size")
        return cls(
            size=None if size is None else sides_of(size),
            mean=_numbers("mean", table.get("mean", usual[0])),
            std=_numbers("std", table.get("std", usual[1])),
            **named,
        )

    @property
    def resized_to(self) -> tuple[int, int] | None:
        """Height and width of the whole picture, before the middle of it is kept."""
        if self.size is None:
            return None
        height, width = self.size
        return round(height / self.crop), round(width / self.crop)

    def resized(self, images: Tensor) -> Tensor:
        """The whole of images (N, C, H, W) at `resized_to`, in [0, 1]."""
        if self.resized_to in (None, tuple(images.shape[-2:])):
            return images
        plain = self.resample == "nearest-exact"
        how = {} if plain else {"antialias": True, "align_corners": False}
        images = F.interpolate(images, self.resized_to, mode=self.resample, **how)
        return images.clamp(0, 1) if self.resample == "bicubic" else images

    def picture(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] in the classifier's colour and size, still in [0, 1].

        Raises
        ------
        GCDError
            If the images' channels cannot become the classifier's.
        """
        found = images.shape[1]
        if found == 3 and self.channels == 1:
            images = (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
        elif found == 1 and self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif self.channels is not None and found != self.channels:
            raise GCDError(f"The classifier sees {self.channels} channels; the image has {found}.")
        images = self.resized(images)
        if self.size is None:
            return images
        height, width = self.size
        top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
        return images[..., top : top + height, left : left + width]

    def __call__(self, images: Tensor) -> Tensor:
        """What the network is given of images (N, C, H, W) in [0, 1]."""
        images = self.picture(images)
        if self.channel_order == "bgr":
            images = images.flip(1)
        if self.scale != "0..1":
            factor, summand = SCALES[self.scale]
            images = images * factor + summand
        mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        images = (images - mean) / std
        return images.permute(0, 2, 3, 1) if self.layout == CHANNELS_LAST else images

    def chain(self) -> str:
        """What is done, step after step, in words."""
        steps = [{None: "as it is", 1: "grey", 3: "RGB"}[self.channels]]
        if self.resized_to is not None:
            steps.append(f"{_by(self.resized_to)} pixels ({self.resample})")
        if self.size != self.resized_to and self.size is not None:
            steps.append(f"the middle {_by(self.size)}")
        if self.channel_order == "bgr":
            steps.append("BGR")
        steps.append(self.scale)
        if self.mean != (0.0,):
            steps.append(f"minus {_shown(self.mean)}")
        if self.std != (1.0,):
            steps.append(f"divided by {_shown(self.std)}")
        last = "(N, H, W, C)" if self.layout == CHANNELS_LAST else "(N, C, H, W)"
        return ", ".join([*steps, last])


CHOICES = {
    "resample": RESAMPLES,
    "scale": tuple(SCALES),
    "channel_order": ORDERS,
    "layout": LAYOUTS,
}


def sides_of(size: Any) -> tuple[int, int]:
    """Height and width of a side, or of [height, width]; a GCDError where it is neither."""
    sides = list(size) if isinstance(size, list | tuple) else [size, size]
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if len(sides) != 2 or not whole or min(sides) < 1:
        raise GCDError(
            f"A classifier's size is 1 pixel or more, or [height, width] of such, not {size}."
        )
    return sides[0], sides[1]


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not values or not number or not all(map(math.isfinite, values)):
        raise GCDError(f"A classifier's {name} is a number, or one for each channel, not {value}.")
    return tuple(float(v) for v in values)


def _by(sides: tuple[int, int]) -> str:
    return f"{sides[0]}x{sides[1]}"


def _shown(values: tuple[float, ...]) -> str:
    shown = ", ".join(f"{value:g}" for value in values)
    return f"({shown})" if len(values) > 1 else shown
