"""A generator for pictures of another size than its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from gcd_core.generators.base import Generator, Latent, checked_images


class Resized:
    """A generator that takes and gives pictures of another size (the paper's appendix D.6).

    Images are brought to the generator's own size before they are encoded (bilinear, smoothed where
    they shrink), and what is decoded back to theirs (bicubic).

    Parameters
    ----------
    size : int
        S, the side of the pictures outside.
    """

    def __init__(self, generator: Generator, size: int) -> None:
        self._generator, self.image_size = generator, size
        self.identity = f"{generator.identity} at {size}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def encode(self, images: Tensor, *how: Any, **settings: Any) -> Latent:
        """Turn images (N, C, S, S) in [0, 1] into latents; as `Generator` says."""
        return self._generator.encode(self._inward(images), *how, **settings)

    def encode_semantic(self, images: Tensor) -> Tensor:
        """Turn images (N, C, S, S) in [0, 1] into semantic codes (N, D)."""
        return self._generator.encode_semantic(self._inward(images))

    def decode(self, latent: Latent, *how: Any, **settings: Any) -> Tensor:
        """Turn latents into images (N, C, S, S) in [0, 1]; as `Generator` says."""
        return resized(self._generator.decode(latent, *how, **settings), self.image_size)

    def _inward(self, images: Tensor) -> Tensor:
        images = checked_images(images, self._generator.channels, self.image_size)
        return resized(images, self._generator.image_size)


def resized(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) in [0, 1] at a size: smoothed where they shrink, else bicubic."""
    if images.shape[-1] == size:
        return images
    mode = "bilinear" if size < images.shape[-1] else "bicubic"
    scaled = F.interpolate(images, size=(size, size), mode=mode, antialias=True)
    return scaled.clamp(0, 1)
