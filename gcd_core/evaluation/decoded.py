"""A generator that keeps its decoded images: for searches that differ only in the classifier."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from gcd_core.generators.base import Generator, Latent


class MemoisedGenerator:
    """A generator that keeps each decoded image, as float16, and decodes it only once.

    All else is the generator's own. A picture that is remembered costs no evaluation.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._kept: dict[bytes, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def decode(
        self,
        latent: Latent,
        solver: str | None = None,
        steps: int | None = None,
        *how: Any,
        **settings: Any,
    ) -> Tensor:
        """Decode latents as the generator does, those that are not remembered."""
        keys = [_key(latent[torch.tensor([i])], solver, steps) for i in range(len(latent))]
        missing = [i for i, key in enumerate(keys) if key not in self._kept]
        if missing:
            chosen = latent[torch.tensor(missing)]
            made = self._generator.decode(chosen, solver, steps, *how, **settings)
            for i, image in zip(missing, made, strict=True):
                self._kept[keys[i]] = image.half().cpu()
        return torch.stack([self._kept[key] for key in keys]).float().to(self._generator.device)


def _key(latent: Latent, solver: str | None, steps: int | None) -> bytes:
    """What tells one picture from every other."""
    digest = hashlib.sha256(f"{solver} {steps}".encode())
    for part in (latent.z_sem, latent.z_T):
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
