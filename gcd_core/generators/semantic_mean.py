"""What of an image its semantic code gives by a linear map; a diffusion on top makes the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from gcd_core.generators.weights import load_strictly

RIDGE = 1e-3  # of the codes' mean variance: an axis that says nothing gets no weight


class SemanticMean(nn.Module):
    """Linear map from semantic codes to the mean of the images that have them.

    A DiffAE's U-Net may leave z_sem unread: at high noise the last traces of the image in x_t say
    more of it, and the inversion puts them there, so that z_T fixes what z_sem should decide. With
    a mean, the diffusion works on the image less what its code says, and a move of z_sem moves the
    decoded image at least by what the images of the data with such codes differ.

    Parameters
    ----------
    size : int
        D, of the network's codes.
    shape : sequence of int
        (C, H, W), of what the diffusion works on.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, size: int, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.weight = nn.Parameter(torch.zeros(math.prod(shape), size))
        self.bias = nn.Parameter(torch.zeros(math.prod(shape)))

    @classmethod
    def of(cls, codes: Tensor, images: Tensor) -> SemanticMean:
        """Fit the map to codes (N, D) and the images (N, C, H, W) that they belong to.

        Least squares, with a ridge of `RIDGE`; in float64.
        """
        mean = cls(codes.shape[1], images.shape[1:])
        z, x = codes.double(), images.flatten(1).double()
        offset = z - z.mean(0)
        covariance = offset.T @ offset / len(z)
        ridge = RIDGE * covariance.diagonal().mean() * torch.eye(z.shape[1], dtype=z.dtype)
        weight = torch.linalg.solve(covariance + ridge, offset.T @ (x - x.mean(0)) / len(z)).T
        with torch.no_grad():
            mean.weight.copy_(weight)
            mean.bias.copy_(x.mean(0) - weight @ z.mean(0))
        return mean

    @classmethod
    def from_weights(
        cls, size: int, shape: Sequence[int], weights: Mapping[str, Tensor]
    ) -> SemanticMean:
        """Build the one whose `weight` (C*H*W, D) and `bias` (C*H*W,) a weights file holds.

        Raises a GCDError if there are other weights, or of another size.
        """
        mean = cls(size, shape)
        load_strictly(mean, weights, "semantic mean")
        return mean

    def forward(self, raw: Tensor) -> Tensor:
        """The network's codes (N, D) to means (N, C, H, W)."""
        return nn.functional.linear(raw, self.weight, self.bias).view(-1, *self.shape)
