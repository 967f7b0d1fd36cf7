"""Moved and disturbed copies of training images."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def augment_gently(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move images a little, for networks that reconstruct them.

    Per image, at random: rotation by up to 5 degrees, shift by up to 4 %, scale by up to 6 %, and
    a little contrast.

    Parameters
    ----------
    images : Tensor (N, C, H, W)
        In [0, 1], on any device.
    generator : torch.Generator
        On the CPU.
    """
    n = len(images)

    def uniform(bound: float) -> Tensor:
        return ((torch.rand(n, generator=generator) * 2 - 1) * bound).to(images.device)

    angle, scale = torch.deg2rad(uniform(5.0)), 1 + uniform(0.06)
    turned = _turned(images, angle, scale, (uniform(0.08), uniform(0.08)), "border")
    return turned.clamp(0, 1) ** (1 + uniform(0.15))[:, None, None, None]


def augment_strongly(images: Tensor, generator: torch.Generator) -> Tensor:
    """Disturb images strongly, so that a classifier does not depend on machine or position.

    Per image, at random: rotation (10 degrees), shift and scale (8 %); gamma, contrast,
    brightness; blur; fine and coarse noise. No mirroring: the heart is on the left.

    Parameters
    ----------
    images : Tensor (N, C, H, W)
        In [0, 1].
    generator : torch.Generator
        On the device of `images`.
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, 1, 1, device=device).uniform_(low, high, generator=generator)

    def chosen(share: float) -> Tensor:
        """1 for this share of the images, 0 for the others."""
        return (uniform(0, 1) < share).float()

    moved = chosen(0.8).view(count)
    angle = uniform(-1, 1).view(count) * math.radians(10) * moved
    scale = 1 + uniform(-0.08, 0.08).view(count) * moved
    shift = uniform(-0.16, 0.16).view(count) * moved, uniform(-0.16, 0.16).view(count) * moved
    images = _turned(images, angle, scale, shift, "zeros")

    images = images.clamp(1e-3, 1) ** uniform(-0.3, 0.3).exp()
    centre = images.mean((1, 2, 3), keepdim=True)
    images = (images - centre) * uniform(0.8, 1.2) + centre + uniform(-0.08, 0.08)

    blurred = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 3, stride=1)
    blurred = F.avg_pool2d(blurred, 3, stride=1)
    images = images.lerp(blurred, uniform(0, 1) * chosen(0.5))

    for side, strength in ((images.shape[-1], 0.03), (images.shape[-1] // 4, 0.03)):
        noise = torch.randn(*images.shape[:2], side, side, device=device, generator=generator)
        noise = F.interpolate(noise, images.shape[-2:], mode="bilinear", align_corners=False)
        images = images + noise * uniform(0, strength) * chosen(0.5)
    return images.clamp(0, 1)


def _turned(
    images: Tensor, angle: Tensor, scale: Tensor, shift: tuple[Tensor, Tensor], padding: str
) -> Tensor:
    """Rotate by `angle` (N,) in radians, scale, and shift by shares (N,) of half an image."""
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cos, -sin, shift[0]], 1), torch.stack([sin, cos, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode=padding, align_corners=False)
