"""StyleGAN2's generators (Karras et al., CVPR 2020) from NVIDIA's official PyTorch files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Set
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.generators.base import weights_identity
from gcd_core.generators.device import choose_device
from gcd_core.generators.projection import Projection
from gcd_core.generators.style import Encoder, StyleGenerator
from gcd_core.generators.weights import load_strictly, read_tensors
from gcd_core.pickles import read_module_pickle

NETWORK = "G_ema"  # the averaged generator, by its official name
GAIN = math.sqrt(2)  # of a leaky ReLU of slope 0.2
MAPPING_RATE = 0.01  # the mapping's learning rate, which its weights are stored divided by
KEYS = {"kind", "encoder", "projection_steps"}
MISSING = (
    "A StyleGAN has no encoder: set 'projection_steps' in its configuration (such as 500) to look "
    "for each image's w by gradient descent, or name a TorchScript file that turns images "
    "(N, C, S, S) in [-1, 1] into w (N, D) as 'encoder'."
)


class Dense(nn.Module):
    """A linear layer whose weights are scaled when it is used (equalised learning rate)."""

    def __init__(self, inputs: int, outputs: int, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs)."""
        weight = self.weight * (self.rate / math.sqrt(self.weight.shape[1]))
        return F.linear(x, weight, self.bias * self.rate)


def activated(x: Tensor, clamp: float | None) -> Tensor:
    """A leaky ReLU that keeps the variance, within the bounds that the training had."""
    x = F.leaky_relu(x, 0.2) * GAIN
    return x if clamp is None else x.clamp(-clamp, clamp)


def filtered(x: Tensor, kernel: Tensor, padding: tuple[int, int]) -> Tensor:
    """Each channel of (N, C, H, W) filtered by a kernel (k, k), after padding both ways."""
    channels = x.shape[1]
    x = F.pad(x, (*padding, *padding))
    return F.conv2d(x, kernel.flip(0, 1).expand(channels, 1, -1, -1), groups=channels)


def doubled(x: Tensor, kernel: Tensor) -> Tensor:
    """A picture of twice the size: zeros between the pixels, then the filter."""
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h, 2, w, 2)
    spread[:, :, :, 0, :, 0] = x
    k = len(kernel)
    return filtered(spread.view(n, c, 2 * h, 2 * w), 4 * kernel, ((k + 1) // 2, (k - 2) // 2))


def modulated(
    x: Tensor, weight: Tensor, style: Tensor, demodulate: bool, doubling: bool = False
) -> Tensor:
    """Convolve each picture by the weights that its style makes (Karras et al., section 2.2).

    Parameters
    ----------
    x : Tensor (N, I, H, W)
    weight : Tensor (O, I, k, k)
    style : Tensor (N, I)
    demodulate : bool
        Scale the weights of each output channel to norm 1.
    doubling : bool
        Transposed, with stride 2: (N, O, 2H + 1, 2W + 1), still to be filtered.
    """
    n, outputs, k = len(x), weight.shape[0], weight.shape[-1]
    own = weight * style[:, None, :, None, None]  # (N, O, I, k, k)
    if demodulate:
        own = own * (own.square().sum((2, 3, 4), keepdim=True) + 1e-8).rsqrt()
    x = x.reshape(1, -1, *x.shape[2:])
    if doubling:
        own = own.transpose(1, 2).flatten(0, 1)  # (N I, O, k, k)
        x = F.conv_transpose2d(x, own, stride=2, groups=n)
    else:
        x = F.conv2d(x, own.flatten(0, 1), padding=k // 2, groups=n)
    return x.view(n, outputs, *x.shape[2:])


class Layer(nn.Module):
    """A styled convolution with fixed noise; the first of a block doubles the picture."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, w_size: int, size: int, filter_size: int, doubling: bool
    ) -> None:
        super().__init__()
        self.doubling, self.clamp = doubling, None
        self.register_buffer("resample_filter", torch.zeros(filter_size, filter_size))
        self.affine = Dense(w_size, inputs)
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.register_buffer("noise_const", torch.zeros(size, size))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features (N, outputs, size, size)."""
        x = modulated(x, self.weight, self.affine(w), demodulate=True, doubling=self.doubling)
        if self.doubling:
            k = len(self.resample_filter)
            x = filtered(x, 4 * self.resample_filter, ((k - 1) // 2, (k - 2) // 2))
        x = x + self.noise_const * self.noise_strength + self.bias[:, None, None]
        return activated(x, self.clamp)


class ToRGB(nn.Module):
    """A block's share in the picture."""

    def __init__(self, inputs: int, channels: int, w_size: int) -> None:
        super().__init__()
        self.affine = Dense(w_size, inputs)
        self.weight = nn.Parameter(torch.zeros(channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Pixels (N, channels, size, size)."""
        style = self.affine(w) / math.sqrt(self.weight.shape[1])
        return modulated(x, self.weight, style, demodulate=False) + self.bias[:, None, None]


class Block(nn.Module):
    """Two styled convolutions and their share in the picture, at one resolution."""

    resample_filter: Tensor

    def __init__(
        self, inputs: int, outputs: int, channels: int, w_size: int, size: int, filter_size: int
    ) -> None:
        super().__init__()
        self.register_buffer("resample_filter", torch.zeros(filter_size, filter_size))
        if size == 4:
            self.const = nn.Parameter(torch.zeros(outputs, 4, 4))
        else:
            self.conv0 = Layer(inputs, outputs, w_size, size, filter_size, doubling=True)
        self.conv1 = Layer(outputs, outputs, w_size, size, filter_size, doubling=False)
        self.torgb = ToRGB(outputs, channels, w_size)
        self.first = size == 4

    def forward(self, x: Tensor | None, picture: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """Features and the picture so far, both of this block's size."""
        x = self.const.expand(len(w), -1, -1, -1) if x is None else self.conv0(x, w)
        x = self.conv1(x, w)
        share = self.torgb(x, w)
        if picture is not None:
            share = doubled(picture, self.resample_filter) + share
        return x, share


class StyleNetwork(nn.Module):
    """What maps z to w, and draws pictures in [-1, 1] of w."""

    image_size: int
    channels: int
    w_size: int

    @property
    def z_size(self) -> int:
        """The numbers of a z."""
        raise NotImplementedError

    def styles(self, z: Tensor) -> Tensor:
        """W (N, w_size) of normal z (N, z_size)."""
        raise NotImplementedError


class StyleGAN2(StyleNetwork):
    """Mapping z to w, and synthesis w to pictures in [-1, 1], by the official names.

    The skip architecture, which all of NVIDIA's published generators have.
    """

    def __init__(
        self,
        widths: list[int],
        channels: int,
        w_size: int,
        mapping: list[tuple[int, int]],
        filter_size: int,
    ) -> None:
        super().__init__()
        self.channels, self.w_size = channels, w_size
        self.image_size = 2 ** (len(widths) + 1)
        self.synthesis = nn.Module()
        inputs = [0, *widths[:-1]]
        for i, (before, width) in enumerate(zip(inputs, widths, strict=True)):
            size = 2 ** (i + 2)
            block = Block(before, width, channels, w_size, size, filter_size)
            self.synthesis.add_module(f"b{size}", block)
        self.mapping = nn.Module()
        for i, (before, after) in enumerate(mapping):
            self.mapping.add_module(f"fc{i}", Dense(before, after, MAPPING_RATE))
        self.mapping.register_buffer("w_avg", torch.zeros(w_size))

    @property
    def z_size(self) -> int:
        """The numbers of a z."""
        return self.get_parameter("mapping.fc0.weight").shape[1]

    def styles(self, z: Tensor) -> Tensor:
        """W (N, w_size) of normal z (N, z_size)."""
        x = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping.children():
            x = activated(layer(x), None)
        return x

    def forward(self, w: Tensor) -> Tensor:
        """Pictures (N, channels, S, S) in about [-1, 1] of styles (N, w_size)."""
        x = picture = None
        for block in self.synthesis.children():
            x, picture = block(x, picture, w)
        assert picture is not None
        return picture


def read_stylegan(path: str | Path) -> dict[str, Tensor]:
    """Read a StyleGAN2's averaged generator.

    Raises a GCDError if the file is none of these.

    Parameters
    ----------
    path : str or Path
        NVIDIA's ``ffhq.pkl`` and the like (nothing in it is run), or the state dict of its
        ``G_ema`` as .safetensors or .pt.
    """
    path = Path(path)
    state = read_module_pickle(path, NETWORK) if path.suffix == ".pkl" else read_tensors(path)
    return {name.removeprefix(f"{NETWORK}."): value.float() for name, value in state.items()}


def build_stylegan(weights: Mapping[str, Tensor], file: str) -> StyleGAN2:
    """Build the network that a generator's weights are of, and give it these.

    Raises a GCDError if they are of another kind of network.
    """
    sizes = sorted(
        int(match[1])
        for name in weights
        if (match := re.fullmatch(r"synthesis\.b(\d+)\.conv1\.weight", name))
    )
    if not sizes or sizes != [2**i for i in range(2, len(sizes) + 2)]:
        raise GCDError(f"{file} holds no StyleGAN2: its layers have other names.")
    if any(name.endswith(".skip.weight") for name in weights) or "mapping.embed.weight" in weights:
        raise GCDError(
            f"{file} holds a StyleGAN2 of another build (residual, or with class labels); only "
            "those without labels and with skip connections are read."
        )
    try:
        widths = [weights[f"synthesis.b{size}.conv1.weight"].shape[0] for size in sizes]
        channels, _, _, _ = weights["synthesis.b4.torgb.weight"].shape
        w_size = weights["synthesis.b4.conv1.affine.weight"].shape[1]
        filter_size = len(weights["synthesis.b4.conv1.resample_filter"])
        mapping: list[tuple[int, int]] = []
        while (name := f"mapping.fc{len(mapping)}.weight") in weights:
            after, before = weights[name].shape
            mapping.append((before, after))
    except (KeyError, ValueError):
        raise GCDError(f"{file} holds no StyleGAN2: its layers have other names.") from None
    network = StyleGAN2(widths, channels, w_size, mapping, filter_size)
    load_strictly(network, weights, "StyleGAN2")
    return network


def load_stylegan(
    config: Mapping, weights: str | Path, device: str | torch.device = "auto"
) -> StyleGenerator:
    """Build from an official file; see :func:`gcd_core.load_generator`.

    The configuration may name ``projection_steps`` or an ``encoder``, a TorchScript file beside the
    weights; without either the generator decodes, and its error on `encode` says what it needs.
    """
    check_keys(config, KEYS)
    weights = Path(weights)
    network = build_stylegan(read_stylegan(weights), weights.name)
    return as_generator(network, config, weights, device)


def check_keys(config: Mapping, known: Set[str]) -> None:
    """Raise a GCDError if a StyleGAN's configuration has another key, or no such steps."""
    if unknown := sorted(set(config) - known):
        raise GCDError(
            f"The configuration of a {config['kind']!r} has no key {unknown[0]!r}; it knows "
            f"{', '.join(sorted(known))}."
        )
    steps = config.get("projection_steps")
    if steps is not None and (type(steps) is not int or steps < 1):
        raise GCDError(f"projection_steps is {steps!r}; give a whole number, such as 500.")


def as_generator(
    network: StyleNetwork, config: Mapping, weights: Path, device: str | torch.device
) -> StyleGenerator:
    """A network behind the protocol of all generators, with the encoder that `config` names."""
    device = choose_device(device)
    network = network.eval().requires_grad_(False).to(device)
    identity = weights_identity({"kind": config["kind"]}, network)
    steps, file = config.get("projection_steps"), config.get("encoder")
    encoder: Encoder | None = None
    if file is not None:
        encoder = _torchscript(weights.parent / str(file), device)
    elif steps is not None:
        encoder = Projection(network, steps)
    return StyleGenerator(network, device, identity, encoder, MISSING)


def _torchscript(path: Path, device: torch.device) -> Encoder:
    """An encoder from a TorchScript file of the operator's."""
    if not path.is_file():
        raise GCDError(f"There is no encoder {path.name} beside the generator's weights.")
    try:
        module = torch.jit.load(str(path), map_location=device).eval()
    except (RuntimeError, ValueError) as error:
        raise GCDError(f"{path.name} is no TorchScript file; give one of an encoder.") from error
    return torch.no_grad()(module)
