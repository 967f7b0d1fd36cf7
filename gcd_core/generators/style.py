"""Generators of one style vector w (StyleGAN, ALAE) behind the protocol of all generators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

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
)

BATCH = 16
Encoder = Callable[[Tensor], Tensor]
NOTHING = (1, 1, 1)  # what z_T holds: such a generator keeps nothing of an image beside w


class Synthesis(Protocol):
    """A network that draws pictures (N, C, S, S) in [-1, 1] from styles w (N, D)."""

    image_size: int
    channels: int
    w_size: int

    def __call__(self, w: Tensor) -> Tensor:
        """Draw."""


class StyleGenerator:
    """A generator whose semantic code is w, the style that all layers of a StyleGAN take.

    ``z_sem`` is w (N, D), in the network's own coordinates. There is no noise code: ``z_T`` is
    (N, 1, 1, 1) of zeros, the layers' own noise is one and the same for all pictures, and what w
    does not say of an image is lost. ``solver`` and ``steps`` are taken, so that settings may be
    shared with a DiffAE, and change nothing.

    Parameters
    ----------
    synthesis : Synthesis
        On the device to work on.
    identity : str
        Of configuration and weights.
    encoder : callable, optional
        Images (N, C, S, S) in [-1, 1] to w (N, D).
    missing : str
        What to give where there is no encoder; the error of `encode` says it.

    Examples
    --------
    >>> generator = load_generator({"kind": "alae"}, "model_submitted.pth")
    >>> generator.decode(generator.encode(images))
    """

    sampling = distilled = live_solver = None

    def __init__(
        self,
        synthesis: Synthesis,
        device: torch.device,
        identity: str,
        encoder: Encoder | None = None,
        missing: str = "",
    ) -> None:
        self.synthesis, self.device, self.identity = synthesis, device, identity
        self.image_size, self.channels = synthesis.image_size, synthesis.channels
        self.z_sem_size = synthesis.w_size
        self._encoder, self._missing = encoder, missing
        self._counter = EvaluationCounter()

    @property
    def evaluations(self) -> int:
        """Images encoded and decoded so far; a projection counts as one."""
        return self._counter.count

    def encode(
        self,
        images: Tensor,
        solver: str | None = None,
        steps: int | None = None,
        z_sem: Tensor | None = None,
    ) -> Latent:
        """Turn images (N, C, S, S) in [0, 1] into latents; with ``z_sem`` given, that is theirs.

        Raises
        ------
        GCDError
            For images or codes of another shape, or where there is no encoder.
        """
        if z_sem is None:
            z_sem = self.encode_semantic(images)
        else:
            n = len(checked_images(images, self.channels, self.image_size))
            z_sem = checked_z_sem(z_sem, self.z_sem_size, n).to(self.device)
        return Latent(z_sem, torch.zeros(len(z_sem), *NOTHING, device=self.device))

    def encode_semantic(self, images: Tensor) -> Tensor:
        """Turn images (N, C, S, S) in [0, 1] into w (N, D).

        Raises
        ------
        GCDError
            For images of another shape, or where there is no encoder.
        """
        images = checked_images(images, self.channels, self.image_size).to(self.device)
        if self._encoder is None:
            raise GCDError(self._missing)
        encoder = self._encoder

        def one_batch(images: Tensor) -> Tensor:
            self._counter.add(len(images))
            w = encoder(2 * images - 1)
            if w.shape != (len(images), self.z_sem_size):
                raise GCDError(
                    f"The generator's encoder gives {tuple(w.shape)} for {len(images)} images; "
                    f"expected ({len(images)}, {self.z_sem_size})."
                )
            return w.float()

        return in_batches(one_batch, (images,), BATCH)

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
        w = checked_z_sem(latent.z_sem, self.z_sem_size, len(latent)).to(self.device)
        checked_z_T(latent.z_T, NOTHING)

        def one_batch(w: Tensor) -> Tensor:
            self._counter.add(len(w))
            return ((self.synthesis(w) + 1) / 2).clamp(0, 1)

        return in_batches(one_batch, (w,), batch_size or BATCH, progress)
