"""StyleGAN-XL's network (Sauer et al., SIGGRAPH 2022): layers as StyleGAN3's, in one chain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.generators.stylegan import MAPPING_RATE, Dense, StyleNetwork, activated


class LayerSize(NamedTuple):
    """What a layer's weights do not say of it."""

    name: str  # by the official names, such as "L3_52_13"
    before: int  # side of the maps that it takes, margin and all
    after: int  # side of those that it gives
    up: int  # how many times finer the filters' grid is than the maps that it takes
    down: int  # and than those that it gives
    clamp: float | None  # what its values are kept within

    def padding(self, kernel: int, taps: int) -> tuple[int, int]:
        """Samples to add on the low and the high side before the filters; negative ones are cut.

        Parameters
        ----------
        kernel : int
            Side of the convolution's kernel.
        taps : int
            Of both filters together.
        """
        fine = (self.before + kernel - 1) * self.up  # side of the map with zeros in between
        total = (self.after - 1) * self.down + 1 - fine + taps - 2
        low = (total + self.up) // 2
        return low, total - low


class Waves(nn.Module):
    """The input: sine waves, turned and moved as w says."""

    freqs: Tensor
    phases: Tensor
    transform: Tensor

    def __init__(
        self, channels: int, w_size: int, size: int, rate: float, bandwidth: float
    ) -> None:
        super().__init__()
        self.size, self.rate, self.bandwidth = size, rate, bandwidth
        self.weight = nn.Parameter(torch.zeros(channels, channels))
        self.affine = Dense(w_size, 4)
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", torch.zeros(channels, 2))
        self.register_buffer("phases", torch.zeros(channels))

    def forward(self, w: Tensor) -> Tensor:
        """Maps (N, channels, size, size) of styles (N, w_size)."""
        moved = self._motion(w)
        phases = self.phases + (self.freqs @ moved[:, :2, 2:])[..., 0]  # (N, channels)
        freqs = self.freqs @ moved[:, :2, :2]  # (N, channels, 2)
        room = self.rate / 2 - self.bandwidth
        amplitude = (1 - (freqs.norm(dim=2) - self.bandwidth) / room).clamp(0, 1)
        line = (2 * torch.arange(self.size, device=w.device) + 1) / self.size - 1
        line = line * (0.5 * self.size / self.rate)
        places = torch.stack(torch.meshgrid(line, line, indexing="xy"))  # (2, size, size): x, y
        turns = torch.einsum("ncp,pij->ncij", freqs, places) + phases[..., None, None]
        waves = torch.sin(2 * math.pi * turns) * amplitude[..., None, None]
        weight = self.weight / math.sqrt(len(self.weight))
        return F.conv2d(waves, weight[..., None, None])

    def _motion(self, w: Tensor) -> Tensor:
        """Rotation and translation (N, 3, 3) of the waves."""
        t = self.affine(w)
        cos, sin, x, y = (t / t[:, :2].norm(dim=1, keepdim=True)).unbind(1)
        no, one = torch.zeros_like(cos), torch.ones_like(cos)
        turn = torch.stack([cos, -sin, no, sin, cos, no, no, no, one], 1).view(-1, 3, 3)
        shift = torch.stack([one, no, -x, no, one, -y, no, no, one], 1).view(-1, 3, 3)
        return turn @ shift @ self.transform


class StyledLayer(nn.Module):
    """What both kinds of layers have: a convolution, its styles, and the size of its inputs."""

    magnitude_ema: Tensor

    def __init__(self, size: LayerSize, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        self.size = size
        self.affine = Dense(*reversed(shapes["affine.weight"]))
        self.weight = nn.Parameter(torch.zeros(shapes["weight"]))
        self.bias = nn.Parameter(torch.zeros(shapes["bias"]))
        self.register_buffer("magnitude_ema", torch.ones(()))


class FilteredLayer(StyledLayer):
    """A styled convolution whose nonlinearity lies between an up and a down filter."""

    up_filter: Tensor
    down_filter: Tensor

    def __init__(self, size: LayerSize, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__(size, shapes)
        self.register_buffer("up_filter", torch.zeros(shapes["up_filter"]))
        self.register_buffer("down_filter", torch.zeros(shapes["down_filter"]))
        taps = len(self.up_filter) + len(self.down_filter)
        self.padding = size.padding(self.weight.shape[-1], taps)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Maps (N, outputs, after, after) of maps (N, inputs, before, before)."""
        x = demodulated(x, self.weight, self.affine(w)) * self.magnitude_ema.rsqrt()
        x = x + self.bias[:, None, None]
        x = upsampled(x, self.up_filter, self.size.up, self.padding)
        x = activated(x, self.size.clamp)
        return downsampled(x, self.down_filter, self.size.down)


class Colours(StyledLayer):
    """The last layer: maps to a picture's channels."""

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Pictures (N, channels, S, S)."""
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        x = F.conv2d(x * style[..., None, None], self.weight * self.magnitude_ema.rsqrt())
        x = x + self.bias[:, None, None]
        return x if self.size.clamp is None else x.clamp(-self.size.clamp, self.size.clamp)


def demodulated(x: Tensor, weight: Tensor, style: Tensor) -> Tensor:
    """A full convolution of each picture by the weights that its style makes, of norm 1.

    The style scales the maps and the norm their sums, so that all pictures share one kernel. The
    official code scales all styles of a batch by one number, which the norm takes out again; here
    each picture's own scale is taken, so that a picture does not depend on the others.

    Parameters
    ----------
    x : Tensor (N, I, H, W)
    weight : Tensor (O, I, k, k)
    style : Tensor (N, I)

    Returns
    -------
    Tensor (N, O, H + k - 1, W + k - 1)
    """
    weight = weight * weight.square().mean((1, 2, 3), keepdim=True).rsqrt()
    style = style * style.square().mean(1, keepdim=True).rsqrt()
    norm = (style.square() @ weight.square().sum((2, 3)).T + 1e-8).rsqrt()
    x = F.conv2d(x * style[..., None, None], weight, padding=weight.shape[-1] - 1)
    return x * norm[..., None, None]


def upsampled(x: Tensor, kernel: Tensor, up: int, padding: tuple[int, int]) -> Tensor:
    """Zeros between the samples, padding, and a filter (k,) along both axes; it keeps the mean.

    A transposed convolution puts the zeros in by itself; what `padding` adds or cuts is then moved
    by the filter's length.
    """
    channels, taps = x.shape[1], len(kernel)
    line = (up * kernel).expand(channels, 1, taps)
    x = F.conv_transpose2d(x, line[..., None], stride=(up, 1), groups=channels)
    x = F.conv_transpose2d(x, line[..., None, :], stride=(1, up), groups=channels)
    low, high = padding[0] - taps + 1, padding[1] - taps + up
    return F.pad(x, (low, high, low, high))


def downsampled(x: Tensor, kernel: Tensor, down: int) -> Tensor:
    """A filter, (k,) along both axes or (k, k), of whose samples every `down`-th is kept."""
    channels = x.shape[1]
    if kernel.ndim == 2:
        square = kernel.flip(0, 1).expand(channels, 1, -1, -1)
        return F.conv2d(x, square, stride=down, groups=channels)
    line = kernel.flip(0).expand(channels, 1, -1)
    x = F.conv2d(x, line[..., None], stride=(down, 1), groups=channels)
    return F.conv2d(x, line[..., None, :], stride=(1, down), groups=channels)


class Styles(nn.Module):
    """Z, and where there are classes the class, to w."""

    w_avg: Tensor

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        super().__init__()
        self.register_buffer("w_avg", torch.zeros(shapes["w_avg"]))
        self.classes = len(self.w_avg) if self.w_avg.ndim == 2 else 0
        if self.classes:
            self.embed = nn.Embedding(*shapes["embed.weight"])
            self.embed_proj = Dense(*reversed(shapes["embed_proj.weight"]))
        self.layers: list[Dense] = []
        while (name := f"fc{len(self.layers)}") + ".weight" in shapes:
            outputs, inputs = shapes[f"{name}.weight"]
            layer = Dense(inputs, outputs, MAPPING_RATE)
            self.add_module(name, layer)
            self.layers.append(layer)

    @property
    def z_size(self) -> int:
        """The numbers of a z."""
        both = self.layers[0].weight.shape[1]
        return both - len(self.embed_proj.bias) if self.classes else both

    def forward(self, z: Tensor, classes: Tensor | None = None) -> Tensor:
        """W (N, D) of normal z (N, z_size), and of a class (N,) each where there are classes."""
        x = _normed(z)
        if classes is not None:
            about = activated(self.embed_proj(self.embed(classes)), None)
            x = torch.cat([x, _normed(about)], dim=1)
        for layer in self.layers:
            x = activated(layer(x), None)
        return x


def _normed(x: Tensor) -> Tensor:
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


class StyleGANXL(StyleNetwork):
    """Mapping z to w, and synthesis w to pictures in [-1, 1], by the official names.

    Parameters
    ----------
    layers : sequence of LayerSize
        From the first to the one that gives the picture.
    shapes : Mapping
        Of all weights, by the official names.
    rate, bandwidth : float
        The input's: samples, and the highest frequency, across the picture.
    scale : float
        Of the last map, which is the picture.

    Attributes
    ----------
    label : int or None
        Of a network of classes, the class that `styles` draws; None for all of them in turn.
    """

    def __init__(
        self,
        layers: Sequence[LayerSize],
        shapes: Mapping[str, torch.Size],
        rate: float,
        bandwidth: float,
        scale: float,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.label: int | None = None
        self.mapping = Styles(_within(shapes, "mapping."))
        self.w_size = self.mapping.w_avg.shape[-1]
        self.synthesis = nn.Module()
        channels = shapes["synthesis.input.weight"][0]
        first = Waves(channels, self.w_size, layers[0].before, rate, bandwidth)
        self.synthesis.add_module("input", first)
        for size in layers:
            own = _within(shapes, f"synthesis.{size.name}.")
            kind = FilteredLayer if "up_filter" in own else Colours
            self.synthesis.add_module(size.name, kind(size, own))
        self.image_size = layers[-1].after
        (self.channels,) = shapes[f"synthesis.{layers[-1].name}.bias"]

    @property
    def z_size(self) -> int:
        """The numbers of a z."""
        return self.mapping.z_size

    def styles(self, z: Tensor) -> Tensor:
        """W (N, w_size) of normal z (N, z_size)."""
        classes = None
        if self.mapping.classes:
            classes = torch.arange(len(z), device=z.device) % self.mapping.classes
            if self.label is not None:
                classes = torch.full_like(classes, self.label)
        return self.mapping(z, classes)

    def forward(self, w: Tensor) -> Tensor:
        """Pictures (N, channels, S, S) in about [-1, 1].

        Parameters
        ----------
        w : Tensor (N, w_size) or (N, L + 1, w_size)
            One style for all, or one for the input and one for each of the L layers.
        """
        layers = list(self.synthesis.children())
        every = w[:, None].expand(-1, len(layers), -1) if w.ndim == 2 else w
        x = layers[0](every[:, 0])
        for layer, style in zip(layers[1:], every[:, 1:].unbind(1), strict=True):
            x = layer(x, style)
        return x * self.scale


def _within(shapes: Mapping[str, torch.Size], prefix: str) -> dict[str, torch.Size]:
    """The shapes under a prefix, without it."""
    return {
        name.removeprefix(prefix): shape
        for name, shape in shapes.items()
        if name.startswith(prefix)
    }
