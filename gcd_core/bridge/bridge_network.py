"""The bridge's network: a U-Net over pixels that knows the mask and the time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.errors import GCDError

GROUPS = 8  # of every normalisation; widths are multiples of it
FOLD = 2  # pixels a side that the first layer takes together: none convolves at full resolution
HEAD = 32  # channels of an attention head


class BridgeBlock(nn.Module):
    """Two 3x3 convolutions around a skip, the second's input scaled and shifted by the time."""

    def __init__(self, channels: int, width: int, time: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.time = nn.Linear(time, 2 * width)
        self.norm2 = nn.GroupNorm(GROUPS, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)
        _zero(self.conv2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(N, channels, H, W) to (N, width, H, W) under embedded times (N, T)."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.time(time)[..., None, None].chunk(2, dim=1)
        h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        return self.skip(x) + self.conv2(F.silu(h))


class Attention(nn.Module):
    """Self-attention over pixels, added to its input: one lung can tell how the other looks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = channels // HEAD
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        _zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        n, c, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).view(n, -1, 3, self.heads, HEAD).permute(2, 0, 3, 1, 4)
        h = ((q @ k.transpose(-1, -2)) * HEAD**-0.5).softmax(-1) @ v
        h = self.out(h.transpose(1, 2).reshape(n, height * width, c))
        return x + h.transpose(1, 2).reshape(n, c, height, width)


class BridgeNetwork(nn.Module):
    """Predicts (x_t - x_0) / sigma_t from x_t, the mask and the time (I2SB, Liu et al., 2023).

    Raises a GCDError if the three differ in length, or a width is no multiple of 8 (of 32 with
    attention).

    Parameters
    ----------
    channels : int
        Of the picture.
    widths : sequence of int
        Channels at each resolution, from half the picture's side down by halves.
    blocks : sequence of int
        Residual blocks at each, in either half of the U-Net.
    attention : sequence of bool
        Whether each resolution has self-attention, in either half.
    """

    def __init__(
        self,
        channels: int = 1,
        widths: Sequence[int] = (48, 96, 192, 256),
        blocks: Sequence[int] = (1, 1, 2, 2),
        attention: Sequence[bool] = (False, False, True, True),
    ) -> None:
        super().__init__()
        if not 0 < len(widths) == len(blocks) == len(attention):
            raise GCDError("A bridge's widths, blocks and attention differ in length, or are none.")
        for width, attends in zip(widths, attention, strict=True):
            if width < 1 or width % (HEAD if attends else GROUPS):
                raise GCDError(
                    f"A bridge's width is a multiple of {GROUPS}, and of {HEAD} with attention, "
                    f"not {width}."
                )
        self.config = {
            "channels": channels,
            "widths": list(widths),
            "blocks": list(blocks),
            "attention": list(attention),
        }
        self.channels, self.smallest = channels, FOLD * 2 ** (len(widths) - 1)
        self.sinusoids, time = 64, 4 * widths[0]
        self.embed = nn.Sequential(
            nn.Linear(self.sinusoids, time), nn.SiLU(), nn.Linear(time, time), nn.SiLU()
        )
        folded = FOLD**2
        self.first = nn.Conv2d(folded * (channels + 1), widths[0], 3, padding=1)
        self.down, self.up, self.narrow, self.widen = (nn.ModuleList() for _ in range(4))
        for i, (width, count, attends) in enumerate(zip(widths, blocks, attention, strict=True)):
            inner: list[nn.Module] = []
            outer: list[nn.Module] = []
            for j in range(count):
                inner.append(BridgeBlock(width, width, time))
                outer.append(BridgeBlock(2 * width if j == 0 else width, width, time))
            if attends:
                inner.append(Attention(width))
                outer.append(Attention(width))
            self.down.append(nn.ModuleList(inner))
            self.up.append(nn.ModuleList(outer))
            if i:
                self.narrow.append(nn.Conv2d(widths[i - 1], width, 3, stride=2, padding=1))
                self.widen.append(nn.Conv2d(width, widths[i - 1], 3, padding=1))
        self.middle = BridgeBlock(widths[-1], widths[-1], time)
        self.norm = nn.GroupNorm(GROUPS, widths[0])
        self.last = nn.Conv2d(widths[0], folded * channels, 3, padding=1)
        _zero(self.last)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> BridgeNetwork:
        """Build the network that a bridge's JSON file describes.

        Raises a GCDError if a key is unknown or missing, or a value does not fit.
        """
        known = {"channels", "widths", "blocks", "attention"}
        if set(config) != known:
            raise GCDError(f"A bridge's network has the keys {sorted(known)}, not {list(config)}.")
        numbers = [config["channels"], *config["widths"], *config["blocks"]]
        if not all(isinstance(number, int) and 0 < number <= 2048 for number in numbers):
            raise GCDError(f"A bridge's network is described by whole numbers, not {config}.")
        return cls(**config)

    def forward(self, x: Tensor, masks: Tensor, t: Tensor) -> Tensor:
        """Predict what separates x_t from x_0, in deviations of the bridge at that time.

        Parameters
        ----------
        x : Tensor (N, C, S, S)
            x_t, in [-1, 1] but for its noise.
        masks : Tensor (N, 1, S, S)
            1 where the picture is to be made, 0 where it is given.
        t : Tensor (N,)
            In [0, 1].

        Returns
        -------
        Tensor (N, C, S, S)
        """
        exponents = torch.arange(self.sinusoids // 2, device=x.device) / (self.sinusoids // 2)
        angles = 1000 * t[:, None] * torch.exp(-math.log(10000) * exponents)
        time = self.embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        h = self.first(F.pixel_unshuffle(torch.cat([x, masks.to(x)], dim=1), FOLD))
        kept = []
        for i, layers in enumerate(self.down):
            if i:
                h = self.narrow[i - 1](h)
            h = _through(layers, h, time)
            kept.append(h)
        h = self.middle(h, time)
        for i in reversed(range(len(self.up))):
            h = _through(self.up[i], torch.cat([h, kept[i]], dim=1), time)
            if i:
                h = self.widen[i - 1](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), FOLD)


def _zero(layer: nn.Module) -> None:
    """Let a layer begin at zero, so that what it is added to begins unchanged."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def _through(layers: nn.Module, h: Tensor, time: Tensor) -> Tensor:
    """Features through blocks and attention."""
    assert isinstance(layers, nn.ModuleList)
    for layer in layers:
        h = layer(h) if isinstance(layer, Attention) else layer(h, time)
    return h
