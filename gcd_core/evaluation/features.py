"""Distances between sets of images by a network's features: FID, sFID, S3.

The papers take Inception and SimSiam. Where these cannot be had, the domain's oracle stands in, and
every figure made so carries its name: FID(oracle).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.classifiers.questions import network_of
from gcd_core.errors import GCDError

SPLITS = 4  # subsets of the split FID


class Features(NamedTuple):
    """What a network makes of images."""

    name: str  # stands behind every figure that is made with it
    # Images (N, C, S, S) in [0, 1] to features (N, D), float64, on the CPU.
    of: Callable[[Tensor], Tensor]


def oracle_features(oracle: BlackBox | None) -> Features:
    """What goes into an oracle's last linear layer.

    Raises a GCDError if there is no oracle, or none that runs here with such a layer.
    """
    oracle = oracle and network_of(oracle)
    if not isinstance(oracle, TorchClassifier):
        raise GCDError("Features need a network: this domain has no oracle that runs here.")
    layers = [layer for layer in oracle.network.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        raise GCDError("The oracle has no linear layer whose input could serve as features.")

    def of(images: Tensor) -> Tensor:
        kept: list[Tensor] = []

        def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            kept.append(inputs[0].flatten(1).double().cpu())

        handle = layers[-1].register_forward_pre_hook(keep)
        try:
            for part in images.split(oracle.batch_size):
                oracle.layer_by_layer(part)
        finally:
            handle.remove()
        return torch.cat(kept)

    return Features("oracle", of)


class FeaturePairs(NamedTuple):
    """The features of N images and of their counterfactuals, in the same order."""

    sources: Tensor  # (N, D), float32
    counterfactuals: Tensor  # (N, D), float32

    @classmethod
    def joined(cls, batches: Sequence[FeaturePairs]) -> FeaturePairs:
        """Those of batches as one, in their order."""
        return cls(*(torch.cat(each) for each in zip(*batches, strict=True)))

    @property
    def frechet_distance(self) -> float | None:
        """FID of the counterfactuals to the images; None of a single image."""
        if len(self.sources) < 2:
            return None
        return frechet_distance(self.sources, self.counterfactuals)


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Return the squared Frechet distance of two sets' Gaussians (Heusel et al., NeurIPS 2017).

    |m_a - m_b|^2 + Tr(S_a + S_b - 2 (S_a S_b)^(1/2)), the root by the eigenvalues of S_a^(1/2) S_b
    S_a^(1/2). Raises a GCDError if a set is too small, or the features differ in size.

    Parameters
    ----------
    a, b : Tensor (N, D) and (M, D)
        Features, N and M 2 at least.
    """
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise GCDError(
            f"A Frechet distance is between two sets of two images at least, not of "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    a, b = a.double(), b.double()
    first, second = torch.cov(a.T).reshape(a.shape[1], -1), torch.cov(b.T).reshape(b.shape[1], -1)
    values, vectors = torch.linalg.eigh(first)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    apart = (a.mean(0) - b.mean(0)).square().sum()
    return max((apart + first.trace() + second.trace() - 2 * cross).item(), 0.0)


def split_frechet(real: Tensor, made: Tensor) -> float:
    """Return the split FID: of a subset's counterfactuals against the images of all other subsets.

    A counterfactual resembles its own source, which flatters FID; between subsets it cannot
    (Jeanneret et al., CVPR 2023). The mean over four random subsets, as in the paper; over two
    where there are fewer than eight images.

    Parameters
    ----------
    real, made : Tensor (N, D)
        Features of images and of their counterfactuals, in the same order; N 4 at least.
    """
    if len(real) != len(made) or len(real) < 4:
        raise GCDError("A split FID needs four images at least, each with its counterfactual.")
    order = torch.randperm(len(real), generator=torch.Generator().manual_seed(0))
    subsets = order.tensor_split(SPLITS if len(real) >= 2 * SPLITS else 2)
    found = []
    for i, own in enumerate(subsets):
        rest = torch.cat([other for j, other in enumerate(subsets) if j != i])
        found.append(frechet_distance(real[rest], made[own]))
    return sum(found) / len(found)


def similarity(real: Tensor, made: Tensor) -> float:
    """Return S3: the mean cosine of an image's features and its counterfactual's, in [-1, 1]."""
    return F.cosine_similarity(real, made, dim=1).mean().item()
