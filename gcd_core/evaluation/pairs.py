"""Directions held against each other, two by two: whether they are different ways to the flip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.evaluation import metrics
from gcd_core.method.directions import Direction
from gcd_core.method.models import PerceptualDistance
from gcd_core.perceptual import pairwise_distances


@dataclass(frozen=True)
class Pair:
    """Two directions, by what they do to the images that they flip.

    Attributes
    ----------
    directions : (str, str)
        Their names.
    abs_cosine : float
        |a . b| / (|a| |b|) of their vectors, 0 (orthogonal) to 1 (the same way, or its reverse).
    n : int
        Images that both flip.
    lpips : float or None
        LPIPS between the counterfactuals of one image along the two, 0 for the same picture; mean
        over the `n` images. None where there is none.
    rank_correlation : float or None
        Spearman's, -1 to 1, of the two mean maps of |counterfactual - source| (H, W): 1 where both
        change the same pixels in the same order. Each map is the mean over the channels, and over
        all images that its own direction flips. None where `n` is 0, or a map is constant.
    """

    directions: tuple[str, str]
    abs_cosine: float
    n: int
    lpips: float | None
    rank_correlation: float | None


class Comparison:
    """Every two of k directions, on images that come batch by batch and are not kept.

    It holds three matrices (k, k) and k maps (H, W), however many images there are.

    Parameters
    ----------
    directions : sequence of Direction
    perceptual : PerceptualDistance
        LPIPS.
    """

    def __init__(self, directions: Sequence[Direction], perceptual: PerceptualDistance) -> None:
        k = len(directions)
        self._directions, self._perceptual = directions, perceptual
        self._images = 0
        self._distances = torch.zeros(k, k, dtype=torch.float64)  # summed over all images
        self._distances_of_flips = torch.zeros(k, k, dtype=torch.float64)  # that both flip
        self._flips = torch.zeros(k, k, dtype=torch.long)  # images that both flip
        self._changes: Tensor | float = 0.0  # (k, H, W), summed over the images that each flips

    def add(self, sources: Tensor, counterfactuals: Tensor, flipped: Tensor) -> None:
        """Count in N images.

        Parameters
        ----------
        sources : Tensor (N, C, H, W)
            In [0, 1].
        counterfactuals : Tensor (N, k, C, H, W)
            Each image's along each direction, in [0, 1].
        flipped : Tensor (N, k), bool
            Whether they are on the other side of the threshold.
        """
        self._images += len(sources)
        both = flipped[:, :, None] & flipped[:, None, :]
        self._flips += both.sum(dim=0)
        for source, own, own_flips in zip(sources, counterfactuals, both, strict=True):
            distances = pairwise_distances(own, self._perceptual).double()
            self._distances += distances
            self._distances_of_flips += distances * own_flips
            changes = (own - source).abs().double().mean(dim=1)
            self._changes = self._changes + changes * own_flips.diagonal()[:, None, None]

    @property
    def diversity(self) -> float | None:
        """Mean LPIPS between two counterfactuals of one image, over all pairs and all images.

        Flipped or not; None without an image or a second direction.
        """
        k = len(self._directions)
        if k < 2 or not self._images:
            return None
        return self._distances.sum().item() / (self._images * k * (k - 1))

    def pairs(self) -> list[Pair]:
        """Every two directions, in their order."""
        k = len(self._directions)
        return [self._pair(i, j) for i, j in combinations(range(k), 2)]

    def _pair(self, i: int, j: int) -> Pair:
        first, second = self._directions[i], self._directions[j]
        cosine = F.cosine_similarity(first.vector.double(), second.vector.double(), dim=0)
        n = int(self._flips[i, j])
        lpips = correlation = None
        if n:
            assert isinstance(self._changes, Tensor)  # images were added
            lpips = self._distances_of_flips[i, j].item() / n
            # Sums have the ranks of their means.
            correlation = metrics.rank_correlation(self._changes[i], self._changes[j])
        return Pair((first.name, second.name), cosine.abs().item(), n, lpips, correlation)


def diversity_of_flips(pairs: Sequence[Pair]) -> float | None:
    """Diversity S2: mean LPIPS between two counterfactuals of one image that both flipped.

    Over all pairs of directions and all images that both of a pair flip, each counted once: the
    pairs' `lpips`, weighted by their `n`. 0 or more; None where no image was flipped by two.
    """
    known = [(pair.lpips, pair.n) for pair in pairs if pair.lpips is not None]
    if not known:
        return None
    return sum(lpips * n for lpips, n in known) / sum(n for _, n in known)
