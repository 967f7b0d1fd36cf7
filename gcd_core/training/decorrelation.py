"""Keeps an encoder's codes at unit covariance during training, so that noise hides no axis."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EPSILON = 1e-4  # of the mean variance, beside each axis's own


class Decorrelation(nn.Module):
    """Transforms codes to zero mean and unit covariance, by running statistics.

    Decorrelated batch normalisation (Huang et al., CVPR 2018) by running statistics: an encoder has
    no scale of its own and no correlation to hide in, so noise of one strength leaves the same room
    on every axis of its codes. Of all the transformations that whiten, the symmetric one (ZCA) is
    taken: it turns the axes least, and so moves smoothly as the statistics do.

    Parameters
    ----------
    size : int
        D, of the codes.
    """

    mean: Tensor
    covariance: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("covariance", torch.eye(size))

    @classmethod
    def of(cls, codes: Tensor) -> Decorrelation:
        """Return the transformation by the statistics of codes (N, D)."""
        made = cls(codes.shape[1])
        made.mean.copy_(codes.mean(0))
        made.covariance.copy_(codes.T.cov())
        return made

    @torch.no_grad()
    def follow(self, codes: Tensor, momentum: float) -> None:
        """Move the statistics toward those of a batch of codes (N, D)."""
        offset = codes - self.mean
        self.mean.lerp_(codes.mean(0), momentum)
        self.covariance.lerp_(offset.T @ offset / len(codes), momentum)

    @torch.no_grad()
    def matrix(self) -> Tensor:
        """The inverse square root (D, D) of the covariance."""
        covariance = self.covariance.double()
        least = EPSILON * covariance.diagonal().mean()
        values, axes = torch.linalg.eigh(covariance)
        return ((axes * (values.clamp(min=0) + least).rsqrt()) @ axes.T).to(self.mean)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes (N, D) of the encoder in the new coordinates; the statistics get no gradient."""
        return (codes - self.mean) @ self.matrix()

    @torch.no_grad()
    def fold_into(self, layer: nn.Conv2d) -> None:
        """Fold the transformation into a 1x1 convolution, the encoder's last layer."""
        assert layer.bias is not None
        matrix = self.matrix()
        layer.weight.copy_((matrix @ layer.weight.flatten(1)).view_as(layer.weight))
        layer.bias.copy_(matrix @ (layer.bias - self.mean))
