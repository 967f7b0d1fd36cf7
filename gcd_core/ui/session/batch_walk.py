"""One direction over many images, in the background: what each becomes, and what all have alike."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.errors import Cancelled, GCDError
from gcd_core.images.drawing import difference
from gcd_core.method.attribution import explain_path
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.walk import BISECTION_STEPS, Path
from gcd_core.ui.engine.hosting import RUNS_IN_PROCESS
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency

LOG = logging.getLogger(__name__)
MAX_IMAGES = 64
Points = list[tuple[float, float]]


class BatchItem(NamedTuple):
    """What one image became along the direction.

    Attributes
    ----------
    name : str
    source, changed : Tensor (1, C, H, W)
        The image and its counterfactual, in [0, 1].
    before, after : float
        The label's probability of the two.
    flipped : bool
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
    """

    name: str
    source: Tensor
    changed: Tensor
    before: float
    after: float
    flipped: bool
    oracle: tuple[float, float] | None
    alpha: float
    lpips: float
    curve: Points
    change: Tensor
    heat: Tensor

    @property
    def oracle_follows(self) -> bool | None:
        """Of a flip, whether the oracle changed sides too; None where it was not asked."""
        if not self.flipped or self.oracle is None:
            return None
        return (self.oracle[0] >= THRESHOLD) != (self.oracle[1] >= THRESHOLD)


@dataclass(eq=False)
class BatchWalk:
    """A walk of many images along one direction, and along the others quickly.

    Attributes
    ----------
    names : sequence of str
        The images'.
    images : sequence of Tensor (1, C, H, W)
        In [0, 1].
    directions : DirectionSet
    direction : str
        The one that is followed in full.
    label : str
        The one that is explained.
    state : {"running", "done", "cancelled", "failed"}
    message : str
        Why it failed.
    pieces : list of BatchItem
        What there is so far, in the images' order.
    rates : dict of str to (int, int)
        Flips and images so far, by direction.
    """

    names: Sequence[str]
    images: Sequence[Tensor]
    directions: DirectionSet
    direction: str
    label: str
    state: str = "running"
    message: str = ""
    pieces: list[BatchItem] = field(default_factory=list)
    rates: dict[str, tuple[int, int]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    cancel: threading.Event = field(default_factory=threading.Event)
    news: threading.Condition = field(default_factory=threading.Condition)
    changes: int = 0

    @property
    def others(self) -> list[str]:
        """The directions that are followed quickly."""
        return [name for name in self.directions.names if name != self.direction]

    @property
    def eta(self) -> float | None:
        """Seconds until the pieces are there; None before the first is, and after the last."""
        done = len(self.pieces)
        if not 0 < done < len(self.images):
            return None
        return (time.monotonic() - self.began) / done * (len(self.images) - done)

    def changed_since(self, count: int, seconds: float) -> int:
        """Wait for news, not longer than that; return how many changes there were so far."""
        with self.news:
            self.news.wait_for(lambda: self.changes > count or self.state != "running", seconds)
            return self.changes

    def note(self, piece: BatchItem | None = None, rate: tuple[str, bool] | None = None) -> None:
        """Take up a finished piece, or whether a direction flipped one image more."""
        with self.news:
            if piece is not None:
                self.pieces = [*self.pieces, piece]
                rate = self.direction, piece.flipped
            if rate is not None:
                name, flipped = rate
                flips, count = self.rates.get(name, (0, 0))
                self.rates = self.rates | {name: (flips + flipped, count + 1)}
            self.changes += 1
            self.news.notify_all()

    def end(self, state: str, message: str = "") -> None:
        """Say that it is over."""
        with self.news:
            self.state, self.message = state, message
            self.changes += 1
            self.news.notify_all()


def start_batch_walk(
    service: ModelService,
    names: Sequence[str],
    images: Sequence[Tensor],
    directions: DirectionSet,
    direction: str,
    label: str,
) -> BatchWalk:
    """Walk images along a direction in a thread of its own, and then along the others.

    The others only where the classifier may be asked as often as one likes.

    Raises
    ------
    GCDError
        If there is no image or are too many, there is no such direction, or the classifier's budget
        does not allow the walks; nothing is asked then.
    """
    if not images:
        raise GCDError("There are no images to walk: choose some, or take the examples.")
    if len(images) > MAX_IMAGES:
        raise GCDError(f"{len(images)} images are too many at a time here; take {MAX_IMAGES}.")
    directions[direction]  # which refuses a name that there is none of
    classifier, points = service.domain.classifier, 1 + service.domain.walk_points + BISECTION_STEPS
    if classifier.budget is not None:
        left, needed = max(classifier.budget - classifier.queries, 0), points * len(images)
        if needed > left:
            raise GCDError(
                f"These walks ask the classifier about {needed} images; of its budget of "
                f"{classifier.budget} {left} are left. Take fewer images."
            )
    wall = BatchWalk(list(names), list(images), directions, direction, label)
    threading.Thread(target=_work, args=(service, wall), name="wall", daemon=True).start()
    return wall


def _work(service: ModelService, wall: BatchWalk) -> None:
    """Do all of it, and say how it ended."""
    try:
        for name, image in zip(wall.names, wall.images, strict=True):
            path = _walk(service, wall, image, wall.directions[wall.direction], quickly=False)
            wall.note(piece_of(service, name, path))
        if service.classifier_is_free:
            for other in wall.others:
                for image in wall.images:
                    path = _walk(service, wall, image, wall.directions[other], quickly=True)
                    wall.note(rate=(other, path.counterfactual_flips))
    except Cancelled:
        wall.end("cancelled")
    except GCDError as error:
        wall.end("failed", str(error))
    except Exception:  # whatever it is, the page must say that it is over
        LOG.exception("A walk of many images failed.")
        wall.end("failed", "The walk failed unexpectedly; try again.")
    else:
        wall.end("done")


def _walk(
    service: ModelService, wall: BatchWalk, image: Tensor, direction: Direction, quickly: bool
) -> Path:
    """One image's walk, when its turn has come."""
    if wall.cancel.is_set():
        raise Cancelled

    def report(*_: int) -> None:
        service.compute.yield_to_urgent(Urgency.SEARCH)

    hooks = (report, wall.cancel) if RUNS_IN_PROCESS else (None, None)
    task = image, direction, wall.label, quickly
    return service.in_turn(Urgency.SEARCH, service.toward, *task, *hooks)


@torch.inference_mode()
def piece_of(service: ModelService, name: str, path: Path) -> BatchItem:
    """What an image's walk comes to; the oracle is asked about both ends."""
    i, changed = path.counterfactual, path.counterfactual_image
    own = path.source_probability >= path.threshold
    sides = path.probabilities if own else 1 - path.probabilities
    walked = path.alphas * path.sign >= 0
    at = service.domain.labels.index(path.label)
    opinions = [service.second_opinion.of(picture) for picture in (path.source, changed)]
    first, second = (None if each is None else each[at] for each in opinions)
    return BatchItem(
        name=name,
        source=path.source,
        changed=changed,
        before=path.source_probability,
        after=float(path.probabilities[i]),
        flipped=path.counterfactual_flips,
        oracle=None if first is None or second is None else (first, second),
        alpha=float(path.alphas[i]),
        lpips=float(path.distances[i]),
        curve=list(zip(path.alphas[walked].abs().tolist(), sides[walked].tolist(), strict=True)),
        change=difference(changed, path.source).abs(),
        heat=explain_path(path).map,
    )
