"""z_sem in its principal coordinates, each in units of its own spread over the data."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gcd_core.generators.weights import load_strictly


class Whitening(nn.Module):
    """Affine change of coordinates to codes of zero mean and unit covariance over the data.

    DiffAE divides z_sem by its mean and deviation over the data before it works on it (Preechakul
    et al., 2022, Sec. 4). Here correlations are taken out too, and with them the axes along which
    the codes hardly vary. A ball in these coordinates has the shape of the data: its perturbations
    differ from the source as other images do, and a gradient points along what the data vary in.

    Parameters
    ----------
    size : int
        D, of the network's codes.
    kept : int
        K, of the whitened ones.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, size: int, kept: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("basis", torch.eye(size, kept))
        self._inverse: Tensor | None = None

    @classmethod
    def of(cls, codes: Tensor, floor: float) -> Whitening:
        """Measure the codes (N, D) of the training images.

        Axes whose variance is below `floor` are left out: where a DiffAE was trained to overlook
        noise of that variance, they say nothing.
        """
        codes = codes.double()
        variances, axes = torch.linalg.eigh(codes.T.cov())
        kept = (variances >= floor).nonzero().flatten().flip(0)
        whitening = cls(codes.shape[1], len(kept))
        whitening.mean.copy_(codes.mean(0))
        whitening.basis.copy_(axes[:, kept] * variances[kept].sqrt())
        return whitening

    @classmethod
    def from_weights(cls, size: int, weights: Mapping[str, Tensor]) -> Whitening:
        """Build the one whose `mean` (size,) and `basis` (size, K) a weights file holds.

        Raises a GCDError if there are other weights, or of another size.
        """
        basis = weights.get("basis")
        whitening = cls(size, basis.shape[1] if basis is not None and basis.ndim == 2 else 1)
        load_strictly(whitening, weights, "whitening")
        return whitening

    def forward(self, raw: Tensor) -> Tensor:
        """The network's codes (N, D) to whitened ones (N, K)."""
        if self._inverse is None:
            self._inverse = torch.linalg.pinv(self.basis.double()).to(self.basis)
        return (raw - self.mean) @ self._inverse.T

    def undo(self, z_sem: Tensor) -> Tensor:
        """Whitened codes (N, K) to the network's (N, D)."""
        return self.mean + z_sem @ self.basis.T
