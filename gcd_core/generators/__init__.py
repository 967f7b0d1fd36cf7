"""Generators: what turns images into a semantic code plus noise, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from gcd_core.generators.base import Generator


def load_generator(
    config: str | Path | Mapping,
    weights: str | Path,
    device: str | torch.device = "auto",
    precision: str = "auto",
) -> Generator:
    """Load a generator: a Diffusion Autoencoder, an autoencoder, a StyleGAN2 or -XL, or an ALAE.

    Parameters
    ----------
    config
        JSON file or mapping: the architecture's keys as the official configuration names them,
        and optionally ``codec`` (the codec's table), ``sampling`` (default ``solver``,
        ``encode_steps``, ``decode_steps``) and ``clip_denoised``. With ``"kind": "vae"`` it is an
        autoencoder's, as ``train vae --generator`` writes it; ``"kind": "alae"`` needs no other
        key; ``"kind": "stylegan"`` takes ``projection_steps`` or ``encoder``, see
        `gcd_core.generators.stylegan`; ``"kind": "styleganxl"`` these and ``class``, see
        `gcd_core.generators.styleganxl`.
    weights
        ``.safetensors``, ``*.safetensors.index.json`` with its shards, or an official ``.ckpt``,
        ``.pt``, ``.pth`` (ALAE) or ``.pkl`` (StyleGAN, StyleGAN-XL).
    device
        ``"auto"`` takes the GPU if there is one.
    precision
        ``"fp32"``, ``"bf16"`` or ``"auto"``: bf16 where the hardware multiplies it natively.

    Raises
    ------
    gcd_core.errors.GCDError
        If either file is absent, damaged, of another kind, or they do not belong together.

    Examples
    --------
    >>> generator = load_generator("config.json", "weights.safetensors")
    >>> latent = generator.encode(images)                   # images (N, C, S, S) in [0, 1]
    >>> generator.decode(latent)
    """
    from gcd_core.generators.base import read_config

    config = dict(read_config(config))
    kind = config.get("kind", "diffae")
    if kind == "vae":
        from gcd_core.generators.autoencoder import load_autoencoder

        return load_autoencoder(config, weights, device)
    if kind == "alae":
        from gcd_core.generators.alae import load_alae

        return load_alae(config, weights, device)
    if kind == "stylegan":
        from gcd_core.generators.stylegan import load_stylegan

        return load_stylegan(config, weights, device)
    if kind == "styleganxl":
        from gcd_core.generators.styleganxl import load_styleganxl

        return load_styleganxl(config, weights, device)
    if kind != "diffae":
        from gcd_core.errors import GCDError

        raise GCDError(
            f"There is no generator of the kind {kind!r}; there are 'diffae', 'vae', 'alae', "
            "'stylegan' and 'styleganxl'."
        )
    config.pop("kind", None)
    from gcd_core.generators.diffae.loading import load_diffae

    return load_diffae(config, weights, device, precision)
