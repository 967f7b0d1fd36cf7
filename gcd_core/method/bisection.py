"""Finding the smallest convincing change of a path more exactly, by halving one step of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gcd_core.errors import Cancel, Cancelled
from gcd_core.generators.base import BatchProgress
from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.models import Models
from gcd_core.method.path import Path, composition_of, path_of
from gcd_core.method.perturbation import Answers

BISECTION_STEPS = 4  # of the step in which a path becomes convincing: to a sixteenth of it


def bisect_along(
    domain: Models,
    paths: Sequence[Path],
    answers_at: Callable[[Tensor, Tensor], list[Answers]],
    lam: float | None = None,
    progress: BatchProgress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Bisect paths of any kind, as `walk.bisect` does those along a direction.

    Parameters
    ----------
    domain, paths, lam, progress, cancel
        As of `walk.bisect`.
    answers_at : callable
        Given the indices (n,) of paths and a position (n,) on each, what `ask_about` says of each.
    """
    paths = list(paths)
    for halving in range(BISECTION_STEPS):
        steps_to_halve = [(i, step) for i, path in enumerate(paths) if (step := _step(path))]
        if not steps_to_halve:
            break
        if cancel is not None and cancel.is_set():
            raise Cancelled
        which = torch.tensor([i for i, _ in steps_to_halve])
        alphas = torch.stack([paths[i].alphas[[*step]].mean() for i, step in steps_to_halve])
        for (i, step), alpha, answers in zip(
            steps_to_halve, alphas, answers_at(which, alphas), strict=True
        ):
            paths[i] = _with_point(domain, paths[i], max(step), alpha, answers, lam)
        if progress is not None:
            progress(halving + 1, BISECTION_STEPS)
    return paths


def _step(path: Path) -> tuple[int, int] | None:
    """The point before the smallest convincing change, and that change; None where none is."""
    end = path.smallest
    if path.choice != SMALLEST or not path.is_convincing[end]:
        return None
    away = path.alphas * path.alphas[end].sign()
    before = (away >= 0) & (away < away[end])
    if not before.any():
        return None
    return int(away.masked_fill(~before, -math.inf).argmax()), end


def _with_point(
    domain: Models, path: Path, at: int, alpha: Tensor, answers: Answers, lam: float | None
) -> Path:
    """The path with one point more, a refinement, before the one at `at`."""
    point = path_of(
        domain,
        path.label,
        path.direction_name,
        composition_of(path),
        path.source_probability,
        alpha[None],
        [answers],
        lam,
    )

    made = point.images if point.decoded is None else point.decoded

    def joined(ours: Tensor, new: Tensor) -> Tensor:
        return torch.cat([ours[:at], new, ours[at:]])

    return replace(
        path,
        alphas=joined(path.alphas, point.alphas),
        images=joined(path.images, point.images),
        logits=joined(path.logits, point.logits),
        probabilities=joined(path.probabilities, point.probabilities),
        all_probabilities=joined(path.all_probabilities, point.all_probabilities),
        distances=joined(path.distances, point.distances),
        losses=joined(path.losses, point.losses),
        decoded=None if path.decoded is None else joined(path.decoded, made),
        refined=(*(i + (i >= at) for i in path.refined), at),
    )
