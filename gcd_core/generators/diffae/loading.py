"""Reading a DiffAE from its files, and refusing files that do not belong together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.model import Architecture, DiffAEModel
from gcd_core.generators.sampling import Distilled, Sampling
from gcd_core.generators.semantic_mean import SemanticMean
from gcd_core.generators.weights import load_strictly, read_weights
from gcd_core.generators.whitening import Whitening


def load_diffae(
    config: Mapping,
    weights: str | Path,
    device: str | torch.device = "auto",
    precision: str = "auto",
) -> DiffAE:
    """Build from a configuration and a weights file; see :func:`gcd_core.load_generator`."""
    table = dict(config)
    codec_table = table.pop("codec", None)
    sampling = Sampling.from_config(table.pop("sampling", {}))
    clip_denoised = table.pop("clip_denoised", None)
    whiten = table.pop("whiten_z_sem", False)
    has_mean = table.pop("semantic_mean", False)
    distilled_table = table.pop("distilled", None)
    distilled = Distilled.from_config(distilled_table) if distilled_table is not None else None
    architecture = Architecture.from_config(table)

    found, name = read_weights(weights), Path(weights).name
    model = _network(architecture, found.diffae, "DiffAE")
    codec = _codec(codec_table, found.codec, name)
    whitening = _whitening(whiten, architecture.embed_channels, found.whitening, name)
    mean = _semantic_mean(has_mean, architecture, found.semantic_mean, name)
    student = _student(distilled, architecture, found.distilled, name)

    device = choose_device(device)
    return DiffAE(
        model.to(device).requires_grad_(False),
        codec.to(device).requires_grad_(False) if codec is not None else None,
        sampling,
        clip_denoised,
        precision,
        whitening.to(device) if whitening is not None else None,
        (student.to(device).requires_grad_(False), distilled) if student and distilled else None,
        mean.to(device).requires_grad_(False) if mean is not None else None,
    )


def _network(
    architecture: Architecture, weights: Mapping[str, Tensor], what: str, encoder: bool = True
) -> DiffAEModel:
    """The network with these weights, on the CPU."""
    with torch.device("meta"):
        model = DiffAEModel(architecture)
    if not encoder:
        del model.encoder
    load_strictly(model, weights, what)
    return model


def _codec(table: Mapping | None, weights: Mapping[str, Tensor], name: str) -> VAE | None:
    """The codec that the configuration describes, if it does; `name` is the weights file's."""
    if table is not None:
        codec = VAE.from_config(dict(table))
        load_strictly(codec, weights, "codec")
        return codec
    if weights:
        raise GCDError(
            f"{name} holds a codec's weights (codec.*) but the configuration describes none; add "
            "its 'codec' table."
        )
    return None


def _check_agreed(
    part: str, weights: Mapping[str, Tensor], name: str, key: str, said: object
) -> None:
    """Refuse a part that the weights file `name` holds and the configuration denies, or reverse."""
    if bool(said) != bool(weights):
        held, there = ("holds", "absent") if weights else ("lacks", "there")
        raise GCDError(
            f"{name} {held} {part} but the configuration's {key!r} is {there}; make them agree."
        )


def _whitening(
    whiten: bool, size: int, weights: Mapping[str, Tensor], name: str
) -> Whitening | None:
    """The whitening of codes (N, size), if the configuration says that there is one."""
    _check_agreed("a whitening of z_sem (whitening.*)", weights, name, "whiten_z_sem", whiten)
    return Whitening.from_weights(size, weights) if whiten else None


def _semantic_mean(
    has_mean: bool, architecture: Architecture, weights: Mapping[str, Tensor], name: str
) -> SemanticMean | None:
    """What the codes say by a linear map, if the configuration says that the rest is diffused."""
    _check_agreed("a semantic mean (semantic_mean.*)", weights, name, "semantic_mean", has_mean)
    if not has_mean:
        return None
    shape = (architecture.in_channels, architecture.image_size, architecture.image_size)
    return SemanticMean.from_weights(architecture.embed_channels, shape, weights)


def _student(
    distilled: Distilled | None,
    architecture: Architecture,
    weights: Mapping[str, Tensor],
    name: str,
) -> DiffAEModel | None:
    """The distilled decoder's network, which has no encoder, if the configuration has one."""
    _check_agreed("a distilled decoder (distilled.*)", weights, name, "distilled", distilled)
    if distilled is None:
        return None
    return _network(architecture, weights, "distilled decoder", encoder=False)
