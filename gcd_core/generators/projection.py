"""Projection: the style w of an image by gradient descent, for a generator without an encoder."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.perceptual import LPIPS

LEARNING_RATE = 0.1
RISE, FALL = 0.05, 0.25  # shares of the steps in which the rate comes and goes
JITTER, JITTERED = 0.05, 0.75  # of w's spread, at first; and the share of the steps that have any
STYLES_DRAWN = 10_000  # z whose w tell where to start, and how widely they lie
MAX_COMPARED_SIDE = 256  # side of the pictures that are compared
PIXELS = 0.1  # weight of the mean squared error beside LPIPS


class Projected(Protocol):
    """What can be projected to: a network from w to pictures, and from z to w."""

    @property
    def z_size(self) -> int:
        """The numbers of a z."""

    def styles(self, z: Tensor) -> Tensor:
        """W (N, D) of z (N, z_size)."""

    def __call__(self, w: Tensor) -> Tensor:
        """Pictures (N, C, S, S) in [-1, 1] of w (N, D)."""


class Projection:
    """Looks for the w of whose picture LPIPS to an image is smallest.

    Karras et al. (CVPR 2020, appendix D), in W and with the layers' noise as it is: from the mean w
    on, Adam with a rate that rises and falls, and w shaken by a noise that dies away. The distance
    is LPIPS of AlexNet, with a little of the squared error, and not of VGG16, which is no part of
    this project. Repeatable: z and noise are of one seed.

    Parameters
    ----------
    network : Projected
        In evaluation mode.
    steps : int
        Of the descent; 500 to 1,000 are usual.
    """

    def __init__(self, network: Projected, steps: int) -> None:
        self.network, self.steps = network, steps

    def __call__(self, images: Tensor) -> Tensor:
        """Return w (N, D) of images (N, C, S, S) in [-1, 1]."""
        with torch.inference_mode(False), torch.enable_grad():
            images = images.clone()
            perceptual = LPIPS(device=images.device)
            target = _compared(images)
            generator = torch.Generator().manual_seed(0)
            z = torch.randn(STYLES_DRAWN, self.network.z_size, generator=generator).to(images)
            drawn = self.network.styles(z)
            mean = drawn.mean(0, keepdim=True)
            spread = (drawn - mean).square().sum(1).mean().sqrt()
            w = mean.expand(len(images), -1).clone().requires_grad_()
            optimiser = torch.optim.Adam([w], lr=LEARNING_RATE)
            for step in range(self.steps):
                part = step / self.steps
                optimiser.param_groups[0]["lr"] = LEARNING_RATE * rate(part)
                shaken = spread * JITTER * max(0.0, 1 - part / JITTERED) ** 2
                noise = torch.randn(w.shape, generator=generator).to(w)
                made = _compared(self.network(w + shaken * noise))
                apart = perceptual(made, target) + PIXELS * (made - target).square().mean((1, 2, 3))
                optimiser.zero_grad()
                apart.sum().backward()
                optimiser.step()
        return w.detach()


def rate(part: float) -> float:
    """The learning rate's share, with `part` of the steps done: up, level, and down by a cosine."""
    down = min(1.0, (1 - part) / FALL)
    return (0.5 - 0.5 * math.cos(math.pi * down)) * min(1.0, (part + 1e-3) / RISE)


def _compared(images: Tensor) -> Tensor:
    """Pictures in [0, 1], of 256 pixels a side at most."""
    images = (images + 1) / 2
    if images.shape[-1] > MAX_COMPARED_SIDE:
        images = F.interpolate(images, size=(MAX_COMPARED_SIDE, MAX_COMPARED_SIDE), mode="area")
    return images
