"""Directions compared in pairs: whether they are different ways to the flip."""

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
    """Two directions, by what they do to the images that they flip."""

    directions: tuple[str, str]  # their names
    # |a . b| / (|a| |b|) of their vectors, 0 (orthogonal) to 1 (the same way, or its reverse).
    abs_cosine: float
    n: int  # images that both flip
    # LPIPS between the counterfactuals of one image along the two, 0 for the same picture; mean
    # over the `n` images. None where there is none.
    lpips: float | None
    # Spearman's, -1 to 1, of the two mean maps of |counterfactual - source| (H, W): 1 where both
    # change the same pixels in the same order. Each map is the mean over the channels, and over all
    # images that its own direction flips. None where `n` is 0, or a map is constant.
    rank_correlation: float | None


@dataclass(frozen=True)
class Seen:
    """The sums over some images that a comparison of k directions needs."""

    images: int
    # (k, k), float64: LPIPS between an image's counterfactuals along two directions, summed over
    # the images.
    distances: Tensor
    distances_of_flips: Tensor  # (k, k), float64: the same, of the images that both flip
    flips: Tensor  # (k, k), int64: images that both flip
    # (k, H, W), float64: |counterfactual - source|, mean over the channels, summed over the images
    # that each flips.
    changes: Tensor

    def __add__(self, other: Seen) -> Seen:
        mine, others = vars(self).values(), vars(other).values()
        return Seen(*(a + b for a, b in zip(mine, others, strict=True)))


class Comparison:
    """Every two of k directions, on images that come batch by batch and are not kept.

    It holds three matrices (k, k) and k maps (H, W), however many images there are. Batches are
    summed by themselves: whoever adds the same batches in the same order has the same sums.

    Parameters
    ----------
    names : sequence of str
        Of the directions.
    abs_cosines : Tensor (k, k)
        Between their vectors.
    seen : Seen, optional
        The sums so far; none before the first batch.
    """

    def __init__(self, names: Sequence[str], abs_cosines: Tensor, seen: Seen | None = None) -> None:
        self._names, self._cosines, self.seen = names, abs_cosines, seen

    @classmethod
    def of(cls, directions: Sequence[Direction]) -> Comparison:
        """A comparison of directions."""
        return cls([direction.name for direction in directions], abs_cosines(directions))

    def add(self, seen: Seen) -> None:
        """Add a batch."""
        self.seen = seen if self.seen is None else self.seen + seen

    @property
    def diversity(self) -> float | None:
        """Mean LPIPS between two counterfactuals of one image, over all pairs and all images.

        Flipped or not; None without an image or a second direction.
        """
        k = len(self._names)
        if k < 2 or self.seen is None:
            return None
        return self.seen.distances.sum().item() / (self.seen.images * k * (k - 1))

    def pairs(self) -> list[Pair]:
        """Every two directions, in their order."""
        return [self._pair(i, j) for i, j in combinations(range(len(self._names)), 2)]

    def _pair(self, i: int, j: int) -> Pair:
        seen = self.seen
        n = 0 if seen is None else int(seen.flips[i, j])
        lpips = correlation = None
        if seen is not None and n:
            lpips = seen.distances_of_flips[i, j].item() / n
            # Sums have the ranks of their means.
            correlation = metrics.rank_correlation(seen.changes[i], seen.changes[j])
        names = self._names[i], self._names[j]
        return Pair(names, self._cosines[i, j].item(), n, lpips, correlation)


def abs_cosines(directions: Sequence[Direction]) -> Tensor:
    """|a . b| / (|a| |b|) of every two directions' vectors: (k, k), float64."""
    vectors = torch.stack([direction.vector.double() for direction in directions])
    return F.cosine_similarity(vectors[:, None], vectors[None], dim=2).abs()


def see(
    sources: Tensor, counterfactuals: Tensor, flipped: Tensor, perceptual: PerceptualDistance
) -> Seen:
    """Compare the counterfactuals of N images along k directions.

    Parameters
    ----------
    sources : Tensor (N, C, H, W)
        In [0, 1].
    counterfactuals : Tensor (N, k, C, H, W)
        Each image's along each direction, in [0, 1].
    flipped : Tensor (N, k), bool
        Whether they are on the other side of the threshold.
    perceptual : PerceptualDistance
        LPIPS.
    """
    both = flipped[:, :, None] & flipped[:, None, :]
    distances = torch.stack([pairwise_distances(own, perceptual) for own in counterfactuals])
    changes = (counterfactuals - sources[:, None]).abs().double().mean(dim=2)
    return Seen(
        images=len(sources),
        distances=distances.double().sum(dim=0),
        distances_of_flips=(distances.double() * both).sum(dim=0),
        flips=both.sum(dim=0),
        changes=(changes * flipped[:, :, None, None]).sum(dim=0),
    )


def diversity_of_flips(pairs: Sequence[Pair]) -> float | None:
    """Diversity S2: mean LPIPS between two counterfactuals of one image that both flipped.

    Over all pairs of directions and all images that both of a pair flip, each counted once: the
    pairs' `lpips`, weighted by their `n`. 0 or more; None where no image was flipped by two.
    """
    known = [(pair.lpips, pair.n) for pair in pairs if pair.lpips is not None]
    if not known:
        return None
    return sum(lpips * n for lpips, n in known) / sum(n for _, n in known)
