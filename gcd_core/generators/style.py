"""Generators of one style vector w (StyleGAN, ALAE) behind the protocol of all generators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent, NetworkGenerator

Encoder = Callable[[Tensor], Tensor]
NO_NOISE_CODE = (1, 1, 1)  # what z_T holds: such a generator keeps nothing of an image beside w


class Synthesis(Protocol):
    """A network that draws pictures (N, C, S, S) in [-1, 1] from styles w (N, D)."""

    image_size: int
    channels: int
    w_size: int

    def __call__(self, w: Tensor) -> Tensor:
        """Draw."""


class StyleGenerator(NetworkGenerator):
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

    def __init__(
        self,
        synthesis: Synthesis,
        device: torch.device,
        identity: str,
        encoder: Encoder | None = None,
        missing: str = "",
    ) -> None:
        size, channels = synthesis.image_size, synthesis.channels
        super().__init__(size, channels, synthesis.w_size, NO_NOISE_CODE, device)
        self.synthesis, self.identity = synthesis, identity
        self._encoder, self._missing = encoder, missing

    def invert(
        self, images: Tensor, z_sem: Tensor | None, solver: str | None, steps: int | None
    ) -> Latent:
        """As `NetworkGenerator.invert`; ``z_T`` is zeros."""
        if z_sem is None:
            z_sem = self._in_batches(self.codes, (images,))
        return Latent(z_sem, torch.zeros(len(z_sem), *NO_NOISE_CODE, device=self.device))

    def codes(self, images: Tensor) -> Tensor:
        """The w (N, D) of a batch of images; a projection counts as one evaluation of each."""
        if self._encoder is None:
            raise GCDError(self._missing)
        self._counter.add(len(images))
        w = self._encoder(2 * images - 1)
        if w.shape != (len(images), self.z_sem_size):
            raise GCDError(
                f"The generator's encoder gives {tuple(w.shape)} for {len(images)} images; "
                f"expected ({len(images)}, {self.z_sem_size})."
            )
        return w.float()

    def drawing(self, solver: str | None, steps: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        """What draws a batch of images from its w; it takes no heed of ``z_T``."""

        def draw(w: Tensor, z_T: Tensor) -> Tensor:
            self._counter.add(len(w))
            return ((self.synthesis(w) + 1) / 2).clamp(0, 1)

        return draw
