"""What a steered bridge made of an image, as a path from the source to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from gcd_core.bridge.bridge import Bridge
from gcd_core.bridge.rcsb import Progress, Steering, steer, white_box
from gcd_core.errors import Cancel, GCDError
from gcd_core.method.bisection import bisect_along
from gcd_core.method.composition import compose
from gcd_core.method.counterfactual import SMALLEST, WHOLE, check_counterfactual
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.models import Models
from gcd_core.method.path import Path, path_of
from gcd_core.method.perturbation import Answers, ask, check_image, check_label
from gcd_core.method.region import check_region
from gcd_core.method.walk import probabilities_by_label

NAME = "rcsb"  # what such a path calls its direction
POINTS = 9  # on the way from the source to what was made


class WithBridge(Models, Protocol):
    """The models of one kind of image, with a bridge for its regions."""

    @property
    def bridge(self) -> Bridge | None:
        """What fills in a region; None where the domain has none."""

    @property
    def steering(self) -> Steering:
        """How it is steered by default."""


def bridge_of(domain: WithBridge) -> Bridge:
    """The domain's bridge, where it has one and the classifier offers it a gradient to follow.

    Raises a GCDError if there is no bridge, or no gradient; the message says which way is left.
    """
    if domain.bridge is None:
        raise GCDError(
            f"{domain.name} has no bridge, which rcsb needs: make one with `train bridge`, or take "
            "the black-box way (gcd)."
        )
    white_box(domain.classifier)
    return domain.bridge


def rcsb(
    domain: WithBridge,
    image: Tensor,
    label: str,
    region: Tensor,
    steering: Steering | None = None,
    n: int = POINTS,
    choice: str = WHOLE,
    margin: float | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Path:
    """Change an image inside a region by a bridge that the classifier's gradient steers.

    White box: see `steer` for the method. What it makes is the end of a path of pictures, from the
    source straight to it, so that curve, maps and comparison are those of a walk.

    Parameters
    ----------
    domain : WithBridge
        Whose classifier offers a gradient (`WhiteBox`).
    image : Tensor (1, C, S, S)
        The source, in [0, 1].
    label : str
        What to flip.
    region : Tensor (S, S)
        A mask of where the picture may change; elsewhere it stays bit for bit.
    steering : Steering, optional
        By default the domain's.
    n : int
        Pictures on the path, the source and the end included.
    choice : {"whole", "smallest", "lowest-loss"}
        Which point of the path is the counterfactual: by default its end, what the bridge made;
        "smallest" mixes as little of it into the source as convinces the classifier.
    margin : float, optional
        As of `walk`.
    progress : callable, optional
        Told (done, total) of the bridge's steps.
    cancel : optional
        Its `is_set()` is asked before each.

    Returns
    -------
    Path
        Of the direction "rcsb". Its alphas are the share of the change, 0 to 1, signed as of a
        walk: what raises the label's logit is positive.

    Raises
    ------
    GCDError
        If there is no bridge or no gradient, or the image, the region or a setting does not fit;
        before any work is done.
    BudgetExceeded
        If the classifier may not be asked so often.
    Cancelled
        If `cancel` is set.

    Examples
    --------
    >>> path = rcsb(domain, image, "pneumonia", region=mask)
    >>> path.counterfactual_flips, path.counterfactual_image
    """
    check_image(domain, image)
    given = (steering, n, choice, margin, progress, cancel)
    return rcsb_many(domain, image, label, region, *given)[0]


def rcsb_many(
    domain: WithBridge,
    images: Tensor,
    label: str,
    regions: Tensor,
    steering: Steering | None = None,
    n: int = POINTS,
    choice: str = WHOLE,
    margin: float | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Change each of some images inside a region; the same as `rcsb` gives, one after the other.

    Parameters
    ----------
    domain, label, steering, n, choice, margin, progress, cancel
        As of `rcsb`.
    images : Tensor (N, C, S, S)
        The sources, in [0, 1].
    regions : Tensor (S, S) or (1 or N, S, S)
        A mask for all images, or one for each.

    Returns
    -------
    list of Path
        One for each image.
    """
    bridge, count = bridge_of(domain), len(images)
    check_label(domain, label)
    masks = check_region(domain, regions, count)
    if masks is None:
        raise GCDError("The bridge changes a region; give a mask of where.")
    if n < 2:
        raise GCDError(f"A path of {n} points is not possible; take 2 or more.")
    margin = domain.margin if margin is None else margin
    check_counterfactual(choice, margin)
    before = probabilities_by_label(domain.classifier, images)
    upward = torch.tensor([own[label] < THRESHOLD for own in before])
    run = steer(
        bridge,
        domain.classifier,
        images,
        masks,
        label,
        upward,
        domain.steering if steering is None else steering,
        progress,
        cancel,
    )
    sources = images.detach().float().cpu()

    def mixtures(which: Tensor, alphas: Tensor) -> Tensor:
        """Pictures (n, C, S, S) on the ways of images, at shares of the change, exact outside."""
        share = alphas.abs()[:, None, None, None]
        mixed = torch.lerp(sources[which], run.images[which], share)
        inside = masks[which % len(masks), None]
        return torch.where(inside, mixed, sources[which])

    paths = []
    for i, own in enumerate(before):
        alphas = torch.linspace(0, 1, n) * (1.0 if upward[i] else -1.0) + 0.0  # no -0.0
        source = sources[i : i + 1]
        answers = ask(domain, mixtures(torch.full((n,), i), alphas), source, label)
        composition = compose(source, None, masks[i % len(masks)][None])
        path = path_of(domain, label, NAME, composition, own[label], alphas, [answers], None)
        noted = replace(path, source_probabilities=own)
        paths.append(replace(noted, choice=SMALLEST, margin=margin))

    def answers_at(which: Tensor, alphas: Tensor) -> list[Answers]:
        images = mixtures(which, alphas).split(1)
        asked = zip(which.tolist(), images, strict=True)
        return [ask(domain, image, sources[i : i + 1], label) for i, image in asked]

    return [replace(path, choice=choice) for path in bisect_along(domain, paths, answers_at)]
