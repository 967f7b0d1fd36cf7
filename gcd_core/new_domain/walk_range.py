"""Chooses how far a walk goes, and how sure a counterfactual is to be, by walking."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from gcd_core.classifiers import BlackBox
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.path import Path
from gcd_core.method.walk import walk_many

LEAST, MOST, STEP = 2.0, 12.0, 0.5  # of alpha_max
SHARE = 0.95  # of the pictures that flip within alpha_max
MARGINS = (0.25, 0.35, 0.4, 0.45)  # of which the first is taken that the second opinion follows
REACHED = 0.75  # share of the pictures that a margin must be in reach of
FOLLOWS = 0.7  # share of flips, on validation images, that it follows for that
POINTS = 13
BATCH = 8


@dataclass(frozen=True)
class WalkRange:
    """What is written into `[walk]`.

    Attributes
    ----------
    alpha_max, margin : float
        As of domain.toml.
    flipped : float
        Share of the pictures that flip with that margin within alpha_max.
    """

    alpha_max: float
    margin: float
    flipped: float


def choose_range(domain: Domain, pictures: Mapping[str, Sequence[Picture]]) -> WalkRange:
    """Walk pictures along each label's g, up to 12, and see where they flip.

    The margin is the smallest at which the second opinion follows in 70 % of the flips, else the
    largest that 75 % of the pictures reach (0.4 without a second opinion); alpha_max the smallest
    at which 95 % of the pictures flip with that margin, rounded up to a half, 2 to 12; the largest
    of all labels.

    Parameters
    ----------
    domain : Domain
    pictures : mapping
        By label, pictures to walk; labels without directions are left out.

    Raises a GCDError if no label has directions.
    """
    far = replace(domain, alpha_max=MOST, walk_points=POINTS)
    paths: dict[str, list[Path]] = {}
    for label, own in pictures.items():
        directions = domain.ready_directions(label)
        if directions is None or not own:
            continue
        paths[label] = []
        for start in range(0, len(own), BATCH):
            batch = own[start : start + BATCH]
            paths[label] += walk_many(far, batch, directions["g"], label, margin=MARGINS[-1])
    if not paths:
        raise GCDError("No label of the domain has directions to walk along.")
    margin = _margin(domain, paths)
    reached = {label: [flip_at(path, margin) for path in own] for label, own in paths.items()}
    alpha = max(alpha_of(own) for own in reached.values())
    every = [one for own in reached.values() for one in own]
    return WalkRange(alpha, margin, sum(one <= alpha for one in every) / len(every))


def alpha_of(reached: Sequence[float]) -> float:
    """The alpha_max of pictures that flip at these distances; infinite where one does not."""
    wanted = _quantile(reached)
    if math.isinf(wanted):
        return MOST
    return min(MOST, max(LEAST, math.ceil(wanted / STEP) * STEP))


def _quantile(reached: Sequence[float]) -> float:
    """The distance within which 95 % flip."""
    return sorted(reached)[math.ceil(SHARE * len(reached)) - 1]


def flip_at(path: Path, margin: float) -> float:
    """The distance of the first point that flips convincingly; infinite where none does."""
    own = replace(path, margin=margin)
    convincing = own.is_convincing
    return own.alphas[convincing].abs().min().item() if bool(convincing.any()) else math.inf


def _share(paths: Sequence[Path], margin: float) -> float:
    """The share of paths that flip with a margin."""
    return sum(math.isfinite(flip_at(path, margin)) for path in paths) / len(paths)


def _margin(domain: Domain, paths: dict[str, list[Path]]) -> float:
    """The smallest margin that the second opinion follows, of those that most pictures reach.

    Without one that knows a label: 0.4, or the largest below that they reach.
    """
    every = [path for own in paths.values() for path in own]
    reached = [m for m in MARGINS if _share(every, m) >= REACHED]
    possible = reached or [MARGINS[0]]
    oracle = domain.oracle
    known = [label for label in paths if oracle is not None and label in oracle.labels]
    if oracle is None or not known:
        return min(MARGINS[2], possible[-1])
    for margin in possible:
        followed = [
            agrees
            for label in known
            for path in paths[label]
            if (agrees := _follows(oracle, replace(path, margin=margin), label)) is not None
        ]
        if followed and sum(followed) >= FOLLOWS * len(followed):
            return margin
    return possible[-1]


def _follows(oracle: BlackBox, path: Path, label: str) -> bool | None:
    """Whether the oracle changes sides where the path flips; None where it does not flip."""
    if math.isinf(flip_at(path, path.margin)):
        return None
    both = torch.cat([path.source_for(oracle), path.asked(path.counterfactual, oracle)])
    before, after = (oracle.logit(oracle(both), label) > 0).tolist()
    return before != after
