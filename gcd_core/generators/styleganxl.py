"""StyleGAN-XL's generators read from their official files: layers by what the file says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.style import StyleGenerator
from gcd_core.generators.stylegan import KEYS, NETWORK, as_generator, check_keys
from gcd_core.generators.styleganxl_network import FilteredLayer, LayerSize, StyleGANXL
from gcd_core.generators.weights import load_strictly, read_tensors
from gcd_core.pickles import module_tensors, read_module

# Packages of the discriminator, which lies in an official file too, and of PyTorch's own modules.
BESIDE = ("pg_modules", "timm", "torchvision", "torch.nn", "training", "functools")
# The official design, for a file that says nothing of its layers.
TAPS = 6  # of a filter, times its factor
CLAMP = 256.0  # what a layer's values are kept within
MARGIN = 10  # samples that a map has beyond the picture, on each side
BANDWIDTH = 2.0  # the highest frequency of the input, in cycles across the picture
OUTPUT_SCALE = 0.25  # of the last map, which is the picture

MAX_SIDE = 4096  # of any map: what a file says must not fill the memory
LABEL = "class"


def load_styleganxl(
    config: Mapping, weights: str | Path, device: str | torch.device = "auto"
) -> StyleGenerator:
    """Build from an official file; see :func:`gcd_core.load_generator`.

    The configuration may name ``projection_steps`` or an ``encoder`` as of a StyleGAN2, and of a
    network of classes the ``class`` (0, 1, ...) from whose mean style a projection starts: without
    it, from that of all classes. The encoder's or projection's w is the only thing that says what
    is drawn: decoding takes no class.

    Raises a GCDError if the file differs from what an official one holds, naming what differs.
    """
    check_keys(config, KEYS | {LABEL})
    weights = Path(weights)
    network = read_styleganxl(weights)
    label = config.get(LABEL)
    if label is not None:
        if type(label) is not int or not 0 <= label < network.mapping.classes:
            raise GCDError(
                f"class is {label!r}; {weights.name} has the classes 0 to "
                f"{network.mapping.classes - 1}."
                if network.mapping.classes
                else f"class is {label!r}, but {weights.name} has no classes; leave it out."
            )
        network.label = label
    return as_generator(network, config, weights, device)


def read_styleganxl(path: Path) -> StyleGANXL:
    """Read a StyleGAN-XL's averaged generator, of classes or not, of one stage or more.

    Parameters
    ----------
    path : Path
        An official ``.pkl`` (nothing in it is run): layers are what it says of each. Or the state
        dict of its ``G_ema`` as .safetensors or .pt: layers are then of the official design.
    """
    if path.suffix == ".pkl":
        fields = read_module(path, NETWORK, BESIDE)
        state = module_tensors(fields)
        synthesis = _part(fields, "synthesis", path.name)
    else:
        state, synthesis = read_tensors(path), None
        state = {name.removeprefix(f"{NETWORK}."): value for name, value in state.items()}
    if not any(re.fullmatch(r"synthesis\.L\d+_\d+_\d+\.magnitude_ema", name) for name in state):
        raise GCDError(f"{path.name} holds no StyleGAN-XL: its layers have other names.")
    state = {name: value.float() for name, value in state.items()}
    if "mapping.embed_proj.weight" not in state:
        state.pop("mapping.embed.weight", None)  # it is in every file, and used with classes only
    layers = _designed(state, _names(state, synthesis, path.name))
    about = layers[0].before - 2.0 * MARGIN, BANDWIDTH, OUTPUT_SCALE
    if synthesis is not None:
        layers = [_said(synthesis, layer, path.name) for layer in layers]
        about = _said_of_input(synthesis, layers[0].before, path.name)
    _check_chain(layers, state, path.name)
    try:
        network = StyleGANXL(layers, {n: value.shape for n, value in state.items()}, *about)
    except KeyError as error:
        raise GCDError(f"{path.name} holds no {error}, which a StyleGAN-XL has.") from None
    except (ValueError, IndexError, TypeError, RuntimeError):
        raise GCDError(f"{path.name} holds weights of other shapes than a StyleGAN-XL's.") from None
    load_strictly(network, state, "StyleGAN-XL")
    if synthesis is not None:
        _check_padding(network, synthesis, path.name)
    return network


def _names(
    state: Mapping[str, Tensor], synthesis: Mapping[str, Any] | None, file: str
) -> list[str]:
    """The layers' names in their order: as the file lists them, else by their numbers."""
    found = {
        match[1]
        for name in state
        if (match := re.fullmatch(r"synthesis\.(L\d+_\d+_\d+)\.weight", name))
    }
    in_order = sorted(found, key=lambda name: int(name[1:].split("_")[0]))
    if synthesis is None:
        return in_order
    listed = synthesis.get("layer_names")
    if not isinstance(listed, list) or set(listed) != found or len(listed) != len(found):
        raise GCDError(f"{file} lists other layers (layer_names) than it holds.")
    return listed


def _designed(state: Mapping[str, Tensor], names: list[str]) -> list[LayerSize]:
    """Layers as the official code designs them: sides by their names, factors by their filters."""
    layers: list[LayerSize] = []
    for name in names:
        after = int(name.split("_")[1])
        before = layers[-1].after if layers else after
        up, down = (
            state[key].shape[0] // TAPS if (key := f"synthesis.{name}.{way}_filter") in state else 1
            for way in ("up", "down")
        )
        layers.append(LayerSize(name, before, after, up, down, CLAMP))
    return layers


# -- what a pickle says of its parts ---------------------------------------------------------------


def _part(fields: Mapping[str, Any], name: str, file: str) -> Mapping[str, Any]:
    """A module's part by its name."""
    modules = fields.get("_modules")
    part = modules.get(name) if isinstance(modules, Mapping) else None
    if not isinstance(part, Mapping):
        raise GCDError(f"{file} holds no {name!r}, which a StyleGAN-XL has.")
    return part


def _number(part: Mapping[str, Any], name: str, where: str) -> float:
    """An attribute: a number, or a list of one and the same for each axis."""
    try:
        values = set(np.atleast_1d(np.asarray(part.get(name), dtype=float)).tolist())
    except (TypeError, ValueError):
        values = set()
    if len(values) != 1 or not 0 < (value := values.pop()) <= MAX_SIDE:
        raise GCDError(f"{where} has the {name} {part.get(name)!r}; expected one number.")
    return value


def _said(synthesis: Mapping[str, Any], layer: LayerSize, file: str) -> LayerSize:
    """A layer by its attributes in the file."""
    own, where = _part(synthesis, layer.name, file), f"{file}: the layer {layer.name}"
    before, after, up, down = (
        int(_number(own, name, where))
        for name in ("in_size", "out_size", "up_factor", "down_factor")
    )
    clamp = None if own.get("conv_clamp") is None else _number(own, "conv_clamp", where)
    return LayerSize(layer.name, before, after, up, down, clamp)


def _said_of_input(
    synthesis: Mapping[str, Any], size: int, file: str
) -> tuple[float, float, float]:
    """The input's rate and bandwidth, and the picture's scale, by the attributes in the file."""
    first, where = _part(synthesis, "input", file), f"{file}: the input"
    if _number(first, "size", where) != size:
        raise GCDError(f"{where} has the size {first['size']}; the first layer takes {size}.")
    return (
        _number(first, "sampling_rate", where),
        _number(first, "bandwidth", where),
        _number(synthesis, "output_scale", f"{file}: the synthesis"),
    )


def _check_chain(layers: list[LayerSize], state: Mapping[str, Tensor], file: str) -> None:
    """Raise a GCDError unless each layer takes what the one before it gives.

    All but the last, which gives the picture, must have filters.
    """
    for one, other in pairwise(layers):
        if one.after != other.before:
            raise GCDError(
                f"{file}: the layer {other.name} takes maps of {other.before} pixels a side, but "
                f"{one.name} gives {one.after}."
            )
    for layer in layers:
        has = {f"synthesis.{layer.name}.{way}_filter" in state for way in ("up", "down")}
        if has != {layer is not layers[-1]}:
            raise GCDError(f"{file}: the layer {layer.name} has no filter, or one too many.")


def _check_padding(network: StyleGANXL, synthesis: Mapping[str, Any], file: str) -> None:
    """Raise a GCDError where a file pads a layer in another way than its sizes and filters ask."""
    for name, layer in network.synthesis.named_children():
        if isinstance(layer, FilteredLayer):
            said, asked = _part(synthesis, name, file).get("padding"), [*layer.padding] * 2
            if not isinstance(said, list) or said != asked:
                raise GCDError(
                    f"{file}: the layer {name} has the padding {said!r}; its sizes and filters "
                    f"ask for {asked}."
                )
