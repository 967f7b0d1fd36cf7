"""A generator that keeps what it made: for searches that differ only in the classifier."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from gcd_core.generators.base import Generator, Latent


class MemoisedGenerator:
    """A generator that keeps each decoded image, as float16, and each semantic code.

    What it has made once it does not make again.

    All else is the generator's own. What is remembered costs no evaluation.
    """

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._kept: dict[bytes, Tensor] = {}
        self._codes: dict[bytes, Tensor] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def encode_semantic(self, images: Tensor) -> Tensor:
        """Turn images into semantic codes as the generator does, those that are not remembered."""
        keys = [_digest_of(image) for image in images]
        missing = [i for i, key in enumerate(keys) if key not in self._codes]
        if missing:
            made = self._generator.encode_semantic(images[missing])
            self._codes |= {keys[i]: code for i, code in zip(missing, made, strict=True)}
        return torch.stack([self._codes[key] for key in keys])

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
    return f"{solver} {steps}".encode() + _digest_of(latent.z_sem) + _digest_of(latent.z_T)


def _digest_of(tensor: Tensor) -> bytes:
    """What tells a tensor's numbers from others."""
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).digest()
