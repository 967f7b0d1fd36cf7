"""Walks of many images along one direction, in the background."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.domains.cautions import missing_premise, unreproduced
from gcd_core.errors import Cancelled, GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.drawing import at_most, difference
from gcd_core.images.picture import Picture
from gcd_core.method.attribution import explain_path
from gcd_core.method.bisection import BISECTION_STEPS
from gcd_core.method.composition import compose
from gcd_core.method.directions import DirectionSet
from gcd_core.method.path import Path
from gcd_core.method.second_opinion import second_opinion
from gcd_core.ui.engine.jobs import Job
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import CARD_SIDE

MAX_IMAGES = 64  # of one batch
QUICK = 0.2  # of the time of a walk in full that a quick one takes, before it is known
Points = list[tuple[float, float]]


class BatchItem(NamedTuple):
    """What one image became along the direction.

    Attributes
    ----------
    name : str
    source, changed : Tensor (1, C, S, S)
        The image and its counterfactual, in [0, 1], at the generator's size.
    pictures : (Tensor, Tensor)
        The same at their own size (1, C, H, W), 512 pixels a side at most; uint8.
    before, after : float
        The label's probability of the two.
    missing : str
        What the label is asked of only, where the image lacks it: then no change is a flip, and the
        image counts in no rate. "" where nothing is missing.
    unlike : str
        A warning, where the models or the label are not for the image: it counts in no rate either.
        "" of an image like those that they are for.
    unreproduced : str
        A warning, where the classifier reacts to something that the generator does not draw; ""
        where it does not, and where asking costs something.
    flipped : bool
    convincing : bool
        Whether it flips as surely as the domain's margin wants.
    oracle : (float, float) or None
        The oracle's probability of the two; None where it does not know the label.
    alpha, lpips : float
        Of the counterfactual.
    curve : list of (float, float)
        Along the walk: the distance from the image, 0 or more, and the probability of the side that
        the image was on.
    change : Tensor (H, W)
        The size of the difference.
    heat : Tensor (H, W)
        BB-LIG.
    completeness_error : float
        Of that map.
    """

    name: str
    source: Tensor
    changed: Tensor
    pictures: tuple[Tensor, Tensor]
    before: float
    after: float
    missing: str
    unlike: str
    unreproduced: str
    flipped: bool
    convincing: bool
    oracle: tuple[float, float] | None
    alpha: float
    lpips: float
    curve: Points
    change: Tensor
    heat: Tensor
    completeness_error: float

    @property
    def counts(self) -> bool:
        """Whether it counts in the rates: the question means something of it."""
        return not self.missing and not self.unlike

    @property
    def opinion(self) -> str | None:
        """What `second_opinion` says of a flip; None where there is none or nobody was asked."""
        if not self.flipped or self.oracle is None:
            return None
        return second_opinion(self.before, *self.oracle)


@dataclass(eq=False)
class BatchWalk(Job):
    """A walk of many images along one direction, and then quickly along the others.

    Attributes
    ----------
    service : ModelService
    names : sequence of str
        The images'.
    images : sequence of Tensor (1, C, S, S) or Picture
    directions : DirectionSet
    direction : str
        The one that is walked in full.
    label : str
        The one that is explained.
    pieces : list of BatchItem
        What there is so far, in the images' order.
    rates : dict of str to (int, int)
        By direction, how many images flipped so far, of how many that could.
    uncounted : int
        How many images so far count in no rate.
    of_examples : bool
        Whether the images are the domain's examples, in their order.
    began, quick_began, paced : float
        On the monotonic clock: the walk, its quick part (None before that), and the last step.
    """

    failure = "The walk failed unexpectedly; try again."
    busy = "A walk of many images is running already: cancel it first."

    service: ModelService
    names: Sequence[str]
    images: Sequence[Tensor | Picture]
    directions: DirectionSet
    direction: str
    label: str
    pieces: list[BatchItem] = field(default_factory=list)
    rates: dict[str, tuple[int, int]] = field(default_factory=dict)
    uncounted: int = 0
    of_examples: bool = False
    began: float = field(default_factory=time.monotonic)
    quick_began: float | None = None
    paced: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def others(self) -> list[str]:
        """The directions that are walked quickly."""
        return [name for name in self.directions.names if name != self.direction]

    @property
    def quick_total(self) -> int:
        """How many quick walks there are in all: none where asking costs something.

        None of an image that counts in no rate.
        """
        count = len(self.images) - self.uncounted
        return len(self.others) * count if self.service.classifier_is_free else 0

    @property
    def quick_done(self) -> int:
        """How many of them there are so far."""
        return sum(self.rates.get(name, (0, 0))[1] for name in self.others)

    @property
    def fraction(self) -> float:
        """How much of all walks is done, in [0, 1]; a quick one counts by its points."""
        done = len(self.pieces) + QUICK * self.quick_done
        return done / (len(self.images) + QUICK * self.quick_total)

    @property
    def eta(self) -> float | None:
        """Seconds until all walks are there, at the pace so far; None before the first one."""
        images, done = len(self.images), len(self.pieces)
        if not done or self.fraction >= 1:
            return None
        since = time.monotonic() - self.paced  # the last step, whose time is counted down
        pace = ((self.quick_began or self.paced) - self.began) / done  # of an image in full
        if self.quick_began is None or not self.quick_done:
            return max(pace * (images - done + QUICK * self.quick_total) - since, 0.0)
        left = self.quick_total - self.quick_done
        return max((self.paced - self.quick_began) / self.quick_done * left - since, 0.0)

    def advance(self) -> bool:
        """Walk all images; along the other directions only where asking costs nothing."""
        latents = list[Latent]()
        for name, image in zip(self.names, self.images, strict=True):
            self._stop_if_cancelled()
            judge = self.service.encode_and_judge
            latent, unlike = self.service.in_turn(Urgency.SEARCH, judge, image, self.label)
            latents.append(latent)
            path = self._walk(image, latent, self.direction, quickly=False)
            piece = piece_of(self.service, name, path, unlike)
            self.pieces, self.paced = [*self.pieces, piece], time.monotonic()
            if piece.counts:
                self._count(self.direction, piece.flipped)
            else:
                self.uncounted += 1
                self.changed()
        self.quick_began = self.paced = time.monotonic()
        if self.service.classifier_is_free:
            for other in self.others:
                for piece, image, latent in zip(self.pieces, self.images, latents, strict=True):
                    if piece.counts:
                        path = self._walk(image, latent, other, quickly=True)
                        self._count(other, path.counterfactual_flips)
        return True

    def _stop_if_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled

    def _walk(self, image: Tensor | Picture, latent: Latent, direction: str, quickly: bool) -> Path:
        self._stop_if_cancelled()
        task = image, self.directions[direction], self.label, quickly
        work, cancel = self.service.toward, self.cancelled
        return self.service.in_batches(Urgency.SEARCH, work, *task, cancel=cancel, latent=latent)

    def _count(self, direction: str, flipped: bool) -> None:
        flips, count = self.rates.get(direction, (0, 0))
        self.rates = self.rates | {direction: (flips + flipped, count + 1)}
        self.paced = time.monotonic()
        self.changed()


def start_batch_walk(
    service: ModelService,
    names: Sequence[str],
    images: Sequence[Tensor | Picture],
    directions: DirectionSet,
    direction: str,
    label: str,
    owner: Hashable = None,
) -> BatchWalk:
    """Start to walk images (1, C, S, S) or pictures along a direction in the background.

    Raises
    ------
    GCDError
        If there is no image or are too many, there is no such direction, the classifier's budget
        does not allow the walks, or the owner has such a walk already; nothing is asked then.
    """
    if not images:
        raise GCDError("There are no images to walk: choose some, or take the examples.")
    if len(images) > MAX_IMAGES:
        raise GCDError(f"{len(images)} images are too many at a time here; take {MAX_IMAGES}.")
    directions[direction]  # raises where there is none of that name
    classifier, points = service.domain.classifier, 1 + service.domain.walk_points + BISECTION_STEPS
    if classifier.budget is not None:
        left, needed = max(classifier.budget - classifier.queries, 0), points * len(images)
        if needed > left:
            raise GCDError(
                f"These walks ask the classifier about {needed} images; of its budget of "
                f"{classifier.budget} {left} are left. Take fewer images."
            )
    walk = BatchWalk(service, list(names), list(images), directions, direction, label)
    walk.owner = owner
    service.context.background.submit(walk)
    return walk


@torch.inference_mode()
def piece_of(service: ModelService, name: str, path: Path, unlike: str = "") -> BatchItem:
    """Summarise an image's walk, and ask the oracle about the image and its counterfactual.

    `unlike` is as of `BatchItem`.
    """
    i, changed = path.counterfactual, path.counterfactual_image
    own = path.source_probability >= path.threshold
    sides = path.probabilities if own else 1 - path.probabilities
    walked = path.alphas * path.sign >= 0
    at = service.domain.labels.index(path.label)
    oracle, second_opinion = service.domain.oracle, service.second_opinion
    judged = [] if oracle is None else [path.source_for(oracle), path.asked(i, oracle)]
    heat = explain_path(path)
    missing = missing_premise(service.domain.label_info, path.label, path.source_probabilities)
    opinions = [second_opinion.of(picture) for picture in judged]
    first, second = [None if each is None else each[at] for each in opinions] or (None, None)
    return BatchItem(
        name=name,
        source=path.source,
        changed=changed,
        pictures=(_in_8_bits(path.original), _in_8_bits(path.picture(i))),
        before=path.source_probability,
        after=float(path.probabilities[i]),
        missing=missing,
        unlike=unlike,
        unreproduced=redrawn(service, path),
        flipped=path.counterfactual_flips and not missing,
        convincing=bool(path.is_convincing[i]) and not missing,
        oracle=None if first is None or second is None else (first, second),
        alpha=float(path.alphas[i]),
        lpips=float(path.distances[i]),
        curve=list(zip(path.alphas[walked].abs().tolist(), sides[walked].tolist(), strict=True)),
        change=difference(changed, path.source).abs(),
        heat=heat.map,
        completeness_error=heat.completeness_error,
    )


def redrawn(service: ModelService, path: Path) -> str:
    """Warn where drawing a path's image again moves its answer; see `unreproduced`.

    One picture is asked about, where that is free.
    """
    baseline = path.composition.baseline if path.composition is not None else None
    if baseline is None or not service.classifier_is_free:
        return ""
    _, asked = compose(path.source).shown_and_asked(baseline, service.domain.classifier)
    answers = service.in_turn(Urgency.SEARCH, service.ask, asked)[0]
    again = answers[service.domain.labels.index(path.label)]
    question = service.domain.label_info[path.label].question
    return unreproduced(path.source_probability, again, question)


def _in_8_bits(picture: Tensor) -> Tensor:
    """A picture (1, C, H, W) in [0, 1] as the wall keeps it: uint8, 512 pixels a side at most."""
    return (at_most(picture, CARD_SIDE) * 255).round().to(torch.uint8)
