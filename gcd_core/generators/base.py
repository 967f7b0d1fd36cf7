"""What every generator offers, and the latent that it turns images into and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gcd_core.errors import GCDError

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Latent:
    """The two codes of a batch of images.

    Attributes
    ----------
    z_sem
        Semantic codes (N, D): what the picture shows.
    z_T
        Noise codes (N, Cz, Hz, Wz): everything else. ``z_T`` belongs to the solver and the number
        of steps that made it; decode it with the same.
    """

    z_sem: Tensor
    z_T: Tensor

    def __post_init__(self) -> None:
        if self.z_sem.ndim != 2 or self.z_T.ndim != 4 or len(self.z_sem) != len(self.z_T):
            raise GCDError(
                f"A latent of z_sem {tuple(self.z_sem.shape)} and z_T {tuple(self.z_T.shape)} was "
                "given; expected (N, D) and (N, C, H, W) with the same N."
            )

    def __len__(self) -> int:
        return len(self.z_sem)

    def __getitem__(self, index: int | slice | Tensor) -> Latent:
        """Select images; the result is always a batch, also for a single index."""
        if isinstance(index, int):
            index = range(len(self))[index]
            index = slice(index, index + 1)
        return Latent(self.z_sem[index], self.z_T[index])

    def to(self, device: torch.device | str) -> Latent:
        """Return the same latent on another device."""
        return Latent(self.z_sem.to(device), self.z_T.to(device))

    def repeat(self, n: int) -> Latent:
        """Return a batch of ``n`` copies of this latent of one image."""
        if len(self) != 1:
            raise GCDError(f"A latent of {len(self)} images was to be repeated; give one image.")
        return Latent(self.z_sem.expand(n, -1), self.z_T.expand(n, -1, -1, -1))

    def with_z_sem(self, z_sem: Tensor) -> Latent:
        """Return a latent with other semantic codes (M, D) and this one's noise codes.

        A single image's noise code serves all M.
        """
        z_T = self.z_T.expand(len(z_sem), -1, -1, -1) if len(self) == 1 else self.z_T
        return Latent(z_sem, z_T)


class Generator(Protocol):
    """An image generator with a semantic code: images (N, C, S, S) in [0, 1] at every boundary.

    ``image_size`` and ``channels`` are the picture's, ``z_sem_size`` is D, ``identity`` a short
    hash of configuration and weights, ``evaluations`` the images times network passes so far.
    """

    image_size: int
    channels: int
    z_sem_size: int
    device: torch.device
    evaluations: int

    @property
    def identity(self) -> str: ...

    def encode(
        self,
        images: Tensor,
        solver: str | None = None,
        steps: int | None = None,
        z_sem: Tensor | None = None,
    ) -> Latent: ...

    def encode_semantic(self, images: Tensor) -> Tensor: ...

    def decode(
        self,
        latent: Latent,
        solver: str | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Tensor: ...

    def predict_noise(self, x_t: Tensor, t: Tensor | int, z_sem: Tensor) -> Tensor: ...
