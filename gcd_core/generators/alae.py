"""Adversarial Latent Autoencoders (Pidhorskyi et al., CVPR 2020) from their official files."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.generators.base import weights_identity
from gcd_core.generators.device import choose_device
from gcd_core.generators.style import StyleGenerator
from gcd_core.generators.weights import load_strictly, read_tensors
from gcd_core.pickles import read_pickle

SLOPE = 0.2
FUSED = 128  # side of a picture from which on scaling lies in the convolution
ENCODER, DECODER = "discriminator_s", "generator_s"  # the averaged ones, by the official names
WRITERS = ("tracker",)  # whose classes an official file mentions
SEED = 0  # of the layers' noise, which is the same in all pictures


class Blur(nn.Module):
    """The binomial filter 1-2-1 in both ways, each channel for itself."""

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("weight", torch.outer(line, line).expand(channels, 1, 3, 3).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Blur (N, channels, H, W)."""
        return F.conv2d(x, self.weight, padding=1, groups=len(self.weight))


def with_scaling(weight: Tensor) -> Tensor:
    """A 3x3 kernel that scales too, as 4x4: the sum of its four shifts by one pixel."""
    wide = F.pad(weight, (1, 1, 1, 1))
    return wide[..., 1:, 1:] + wide[..., :-1, 1:] + wide[..., 1:, :-1] + wide[..., :-1, :-1]


def mean_and_spread(x: Tensor) -> Tensor:
    """Each channel's mean and standard deviation, (N, 2 C)."""
    mean = x.mean((2, 3))
    return torch.cat([mean, (x - mean[..., None, None]).square().mean((2, 3)).sqrt()], dim=1)


class Kernel(nn.Module):
    """The weights of a convolution that is done in more than one way."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(first, second, 3, 3))


class Pixelwise(nn.Sequential):
    """A 1x1 convolution in a module of its own, under the name that the official layout has."""

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        super().__init__(OrderedDict({name: nn.Conv2d(inputs, outputs, 1)}))


class EncodeBlock(nn.Module):
    """Halves a picture, and says what its channels' statistics add to w."""

    def __init__(self, inputs: int, outputs: int, w_size: int, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.conv_1 = nn.Conv2d(inputs, inputs, 3, padding=1, bias=False)
        self.bias_1 = nn.Parameter(torch.zeros(1, inputs, 1, 1))
        self.blur = Blur(inputs)
        self.conv_2 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bias_2 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.style_1 = nn.Linear(2 * inputs, w_size)
        self.style_2 = nn.Linear(2 * outputs, w_size)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, outputs, H/2, W/2) and a part of w (N, w_size)."""
        x = F.leaky_relu(self.conv_1(x) + self.bias_1, SLOPE)
        w = self.style_1(mean_and_spread(x))
        x = self.blur(F.instance_norm(x))
        if self.fused:
            x = F.conv2d(x, with_scaling(self.conv_2.weight) / 4, stride=2, padding=1)
        else:
            x = F.avg_pool2d(self.conv_2(x), 2)
        x = F.leaky_relu(x + self.bias_2, SLOPE)
        return F.instance_norm(x), w + self.style_2(mean_and_spread(x))


class DecodeBlock(nn.Module):
    """Doubles a picture (the first block does not), and gives its channels what w says."""

    def __init__(self, inputs: int, outputs: int, w_size: int, size: int) -> None:
        super().__init__()
        self.fused = size >= FUSED
        if size > 4:
            shape = (inputs, outputs) if self.fused else (outputs, inputs)
            self.conv_1 = Kernel(*shape)
        self.blur = Blur(outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.noise_weight_1 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.noise_weight_2 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.bias_1 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.bias_2 = nn.Parameter(torch.zeros(1, outputs, 1, 1))
        self.style_1 = nn.Linear(w_size, 2 * outputs)
        self.style_2 = nn.Linear(w_size, 2 * outputs)
        self.first = size == 4

    def forward(self, x: Tensor, w: Tensor, noise: tuple[Tensor, Tensor]) -> Tensor:
        """Features (N, outputs, 2H, 2W) of features (N, inputs, H, W) and styles (N, w_size)."""
        if not self.first and self.fused:
            weight = with_scaling(self.conv_1.weight)
            x = self.blur(F.conv_transpose2d(x, weight, stride=2, padding=1))
        elif not self.first:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = self.blur(F.conv2d(x, self.conv_1.weight, padding=1))
        x = self._styled(x + self.noise_weight_1 * noise[0] + self.bias_1, self.style_1(w))
        x = self.conv_2(x)
        return self._styled(x + self.noise_weight_2 * noise[1] + self.bias_2, self.style_2(w))

    @staticmethod
    def _styled(x: Tensor, style: Tensor) -> Tensor:
        """Normalise each channel of a picture, then give it the style's scale and shift."""
        scale, shift = style[..., None, None].chunk(2, dim=1)
        return F.instance_norm(F.leaky_relu(x, SLOPE), eps=1e-8) * (scale + 1) + shift


class Encoder(nn.Module):
    """Images in [-1, 1] to w (the official `EncoderDefault`, at its full resolution)."""

    def __init__(self, widths: list[int], channels: int, w_size: int) -> None:
        super().__init__()
        self.from_rgb = nn.ModuleList()
        self.encode_block = nn.ModuleList()
        size = 2 ** len(widths)
        for inputs, outputs in pairwise(widths):
            self.from_rgb.append(Pixelwise("from_rgb", channels, inputs))
            self.encode_block.append(EncodeBlock(inputs, outputs, w_size, fused=size >= FUSED))
            size //= 2

    def forward(self, images: Tensor) -> Tensor:
        """Return w (N, w_size) of images (N, channels, S, S) in [-1, 1]."""
        x = F.leaky_relu(self.from_rgb[0](images), SLOPE)
        x = F.leaky_relu(x, SLOPE)  # twice, as the official network does
        parts = []
        for block in self.encode_block:
            x, part = block(x)
            parts.append(part)
        return torch.stack(parts).sum(0)


class Decoder(nn.Module):
    """Styles w to images in [-1, 1] (the official `GeneratorDefault`, at its full resolution).

    The layers' noise, which the official network draws anew for each picture, is drawn once: else
    the same w would give another picture each time.
    """

    def __init__(self, widths: list[int], channels: int, w_size: int) -> None:
        super().__init__()
        self.channels, self.w_size = channels, w_size
        self.const = nn.Parameter(torch.ones(1, widths[0], 4, 4))
        self.decode_block, self.to_rgb = nn.ModuleList(), nn.ModuleList()
        generator, self.noise = torch.Generator().manual_seed(SEED), []
        size = 4
        for inputs, outputs in zip([widths[0], *widths[:-1]], widths, strict=True):
            self.decode_block.append(DecodeBlock(inputs, outputs, w_size, size))
            self.to_rgb.append(Pixelwise("to_rgb", outputs, channels))
            self.noise.append(torch.randn(2, 1, 1, size, size, generator=generator))
            size *= 2
        self.image_size = size // 2

    def forward(self, w: Tensor) -> Tensor:
        """Images (N, channels, S, S) of styles (N, w_size)."""
        x = self.const.expand(len(w), -1, -1, -1)
        for block, noise in zip(self.decode_block, self.noise, strict=True):
            first, second = noise.to(x)
            x = block(x, w, (first, second))
        return self.to_rgb[-1](x)


def read_alae(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Read the averaged encoder and decoder from an official file.

    Raises a GCDError if the file is none of these, or lacks one of the two networks.

    Parameters
    ----------
    path : str or Path
        ``model_submitted.pth`` and the like, or a .safetensors file with the same names behind
        ``discriminator_s.`` and ``generator_s.``.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        state = read_tensors(path)
        models: Mapping[str, Any] = {
            part: {
                name.removeprefix(f"{part}."): value
                for name, value in state.items()
                if name.startswith(f"{part}.")
            }
            for part in (ENCODER, DECODER)
        }
    else:
        models = read_pickle(path, inert=WRITERS).get("models", {})
    found = []
    for part in (ENCODER, DECODER):
        weights = models.get(part) if isinstance(models, Mapping) else None
        if not isinstance(weights, Mapping) or not weights:
            raise GCDError(
                f"{path.name} is no checkpoint of ALAE: it holds no {part!r} under 'models'."
            )
        if not all(isinstance(value, Tensor) for value in weights.values()):
            raise GCDError(f"{path.name} holds other things than tensors under {part!r}.")
        found.append({name: value.float() for name, value in weights.items()})
    return found[0], found[1]


def load_alae(
    config: Mapping, weights: str | Path, device: str | torch.device = "auto"
) -> StyleGenerator:
    """Build from an official checkpoint; see :func:`gcd_core.load_generator`.

    Widths, depth and sizes are the file's own.
    """
    if unknown := sorted(set(config) - {"kind"}):
        raise GCDError(f"The configuration of an 'alae' has no key {unknown[0]!r}; it needs none.")
    encoder_weights, decoder_weights = read_alae(weights)
    try:
        layers = 1 + max(
            int(match[1])
            for name in decoder_weights
            if (match := re.match(r"decode_block\.(\d+)\.", name))
        )
        widths = [
            decoder_weights[f"decode_block.{i}.conv_2.weight"].shape[0] for i in range(layers)
        ]
        channels = decoder_weights["to_rgb.0.to_rgb.weight"].shape[0]
        w_size = decoder_weights["decode_block.0.style_1.weight"].shape[1]
        outward = [
            encoder_weights[f"encode_block.{i}.conv_1.weight"].shape[0] for i in range(layers)
        ]
        outward.append(encoder_weights[f"encode_block.{layers - 1}.conv_2.weight"].shape[0])
    except (KeyError, ValueError, IndexError):
        raise GCDError(
            f"{Path(weights).name} is no checkpoint of ALAE: its layers have other names."
        ) from None
    encoder, decoder = Encoder(outward, channels, w_size), Decoder(widths, channels, w_size)
    load_strictly(encoder, encoder_weights, "ALAE's encoder")
    load_strictly(decoder, decoder_weights, "ALAE's decoder")
    device = choose_device(device)
    for network in (encoder, decoder):
        network.eval().requires_grad_(False).to(device)
    identity = weights_identity({"kind": "alae"}, encoder, decoder)
    return StyleGenerator(decoder, device, identity, torch.no_grad()(encoder))
