"""A plain variational autoencoder as a generator: one pass each way, its latent as z_sem."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.base import (
    BatchProgress,
    EvaluationCounter,
    Latent,
    checked_images,
    checked_z_sem,
    checked_z_T,
    in_batches,
    weights_identity,
)
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device
from gcd_core.generators.weights import load_strictly, read_weights
from gcd_core.generators.whitening import Whitening

BATCH = 64


class Autoencoder:
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

    sampling = distilled = live_solver = None

    def __init__(self, vae: VAE, whitening: Whitening) -> None:
        self.vae, self.whitening = vae.eval(), whitening
        self.image_size, self.channels = vae.image_size, vae.channels
        self.latent_shape = vae.latent_shape()
        self.z_sem_size = whitening.basis.shape[1]
        self.device = vae.latent_mean.device
        self._counter = EvaluationCounter()

    @property
    def evaluations(self) -> int:
        """Images encoded and decoded so far: each is one pass through half of the network."""
        return self._counter.count

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits of the SHA-256 of shape and weights."""
        return weights_identity(
            {"kind": "vae", "image_size": self.image_size}, self.vae, self.whitening
        )

    @torch.no_grad()
    def encode(
        self,
        images: Tensor,
        solver: str | None = None,
        steps: int | None = None,
        z_sem: Tensor | None = None,
    ) -> Latent:
        """Turn images (N, C, S, S) in [0, 1] into latents.

        With ``z_sem`` given, that is the latent's, and ``z_T`` what the images' own latent holds
        beside it.

        Raises
        ------
        GCDError
            For images or codes of another shape.
        """
        latents = self._latents(images)
        if z_sem is None:
            z_sem = self.whitening(latents.flatten(1))
        z_sem = checked_z_sem(z_sem, self.z_sem_size, len(latents)).to(self.device)
        return Latent(z_sem, latents - self.whitening.undo(z_sem).view_as(latents))

    @torch.no_grad()
    def encode_semantic(self, images: Tensor) -> Tensor:
        """Turn images (N, C, S, S) in [0, 1] into semantic codes (N, D)."""
        return self.whitening(self._latents(images).flatten(1))

    @torch.no_grad()
    def decode(
        self,
        latent: Latent,
        solver: str | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        progress: BatchProgress | None = None,
    ) -> Tensor:
        """Turn latents of N images into images (N, C, S, S) in [0, 1].

        ``progress(done, total)`` is called after each batch.
        """
        z_sem = checked_z_sem(latent.z_sem, self.z_sem_size, len(latent)).to(self.device)
        z_T = checked_z_T(latent.z_T, self.latent_shape).to(self.device)

        def one_batch(z_sem: Tensor, z_T: Tensor) -> Tensor:
            self._counter.add(len(z_sem))
            return self.vae.decode(self.whitening.undo(z_sem).view_as(z_T) + z_T)

        return in_batches(one_batch, (z_sem, z_T), batch_size or BATCH, progress)

    def _latents(self, images: Tensor) -> Tensor:
        """The normalised latents (N, c, h, w) of images."""
        images = checked_images(images, self.channels, self.image_size).to(self.device)

        def one_batch(images: Tensor) -> Tensor:
            self._counter.add(len(images))
            return self.vae.encode(images)

        return in_batches(one_batch, (images,), BATCH)


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
