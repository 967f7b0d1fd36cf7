"""A plain variational autoencoder as a generator: one pass each way, its latent as z_sem."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent, NetworkGenerator, weights_identity
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device
from gcd_core.generators.weights import load_strictly, read_weights
from gcd_core.generators.whitening import Whitening


class Autoencoder(NetworkGenerator):
    """A variational autoencoder with a flat latent, in its principal coordinates.

    ``z_sem`` are the coordinates of the flattened latent along the axes in which the data vary
    more than the posterior's own noise. ``z_T`` is what the latent holds beside them, so that an
    image keeps its own detail on a walk, as with a DiffAE. There is no diffusion: ``solver`` and
    ``steps`` are taken, so that settings may be shared with a DiffAE, and change nothing.

    Parameters
    ----------
    vae
        The network, on the device to work on.
    whitening
        From the flattened latents (N, c * h * w) to ``z_sem``.

    Examples
    --------
    >>> generator = load_generator("generator.json", "generator.safetensors.index.json")
    >>> latent = generator.encode(images)                  # z_sem (N, D), z_T (N, c, h, w)
    >>> generator.decode(latent)
    """

    BATCH = 64

    def __init__(self, vae: VAE, whitening: Whitening) -> None:
        self.vae, self.whitening = vae.eval(), whitening
        size, shape = whitening.basis.shape[1], vae.latent_shape()
        super().__init__(vae.image_size, vae.channels, size, shape, vae.latent_mean.device)

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits of the SHA-256 of shape and weights."""
        return weights_identity(
            {"kind": "vae", "image_size": self.image_size}, self.vae, self.whitening
        )

    def invert(
        self, images: Tensor, z_sem: Tensor | None, solver: str | None, steps: int | None
    ) -> Latent:
        """As `NetworkGenerator.invert`; ``z_T`` is what the images' latents hold beside."""
        latents = self._in_batches(self._latents, (images,))
        if z_sem is None:
            z_sem = self.whitening(latents.flatten(1))
        return Latent(z_sem, latents - self.whitening.undo(z_sem).view_as(latents))

    def codes(self, images: Tensor) -> Tensor:
        """The semantic codes (N, D) of a batch of images."""
        return self.whitening(self._latents(images).flatten(1))

    def drawing(self, solver: str | None, steps: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        """What draws a batch of images from its ``z_sem`` and ``z_T``."""

        def draw(z_sem: Tensor, z_T: Tensor) -> Tensor:
            self._counter.add(len(z_sem))
            return self.vae.decode(self.whitening.undo(z_sem).view_as(z_T) + z_T)

        return draw

    def _latents(self, images: Tensor) -> Tensor:
        """The normalised latents (N, c, h, w) of a batch of images."""
        self._counter.add(len(images))
        return self.vae.encode(images)


def load_autoencoder(
    config: Mapping, weights: str | Path, device: str | torch.device = "auto"
) -> Autoencoder:
    """Build from a configuration and a weights file; see :func:`gcd_core.load_generator`."""
    vae = VAE.from_config(dict(config))
    found = read_weights(weights)
    if found.diffae or found.distilled:
        raise GCDError(
            f"{Path(weights).name} holds the weights of a DiffAE but the configuration's "
            "'kind' is 'vae'; give the configuration that belongs to these weights."
        )
    load_strictly(vae, found.codec, "autoencoder")
    whitening = Whitening.from_weights(math.prod(vae.latent_shape()), found.whitening)
    device = choose_device(device)
    return Autoencoder(vae.to(device).requires_grad_(False), whitening.to(device))
