"""The straight line from an opened image's code to where the sliders stand."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import Cancelled
from gcd_core.method.directions import DirectionSet
from gcd_core.method.walk import Path
from gcd_core.ui.state.cells import Unwanted
from gcd_core.ui.state.compute import Urgency
from gcd_core.ui.state.explorer import Explorer
from gcd_core.ui.state.frames import Frame, Key, Opened, key_of
from gcd_core.ui.state.hosting import CALLS_BACK
from gcd_core.ui.state.positions import LINE_POINTS, Alphas

KEPT = 32  # lines of one image


class Lines:
    """Lines from an opened image to positions along several directions, kept by position.

    Parameters
    ----------
    explorer : Explorer
    opened : Opened
    directions : DirectionSet or None
    label : str
        The one that is explained.
    """

    def __init__(
        self, explorer: Explorer, opened: Opened, directions: DirectionSet | None, label: str
    ) -> None:
        self.explorer, self.opened, self.label = explorer, opened, label
        self.directions = directions
        self._kept: OrderedDict[Key, Path] = OrderedDict()
        self._asking = threading.Lock()

    @property
    def price(self) -> str:
        """What a line costs, in a sentence, where the classifier is not asked before one agrees.

        Nothing is said of a classifier that runs here and may be asked as often as one likes.
        """
        if self.explorer.asks_freely:
            return ""
        return (
            f"The classifier is asked about {LINE_POINTS + 1} images to follow several directions "
            f"together{self.explorer.queries_left}. To ask it, choose another map and then this "
            "one."
        )

    def get(self, alphas: Alphas) -> Path | None:
        """Return the line to a position, or None where it is not decoded yet."""
        return self._kept.get(key_of(alphas))

    def make(self, alphas: Alphas, wanted: Callable[[], bool]) -> Path | None:
        """Return the line to a position; None where it is not wanted any more.

        Raises
        ------
        BudgetExceeded
            Where the classifier may not be asked as often; nothing is asked then.
        """
        with self._asking:
            found = self.get(alphas)
            if found is not None or not wanted() or self.directions is None:
                return found
            self._check_budget()
            hooks = (self._give_way, Unwanted(wanted)) if CALLS_BACK else (None, None)
            vector, length = line_vector(self.directions, alphas)
            try:
                found = self.explorer.line(self.opened, vector, length, self.label, *hooks)
            except Cancelled:
                return None
            found = replace(found, direction_name=" + ".join(alphas))
            self._kept[key_of(alphas)] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    def clear(self) -> None:
        """Drop all lines."""
        self._kept.clear()

    def _check_budget(self) -> None:
        classifier = self.explorer.domain.classifier
        budget = classifier.budget
        if budget is not None and classifier.queries + LINE_POINTS + 1 > budget:
            raise BudgetExceeded(
                f"Following several directions asks the classifier about {LINE_POINTS + 1} images; "
                f"of its budget of {budget} {max(budget - classifier.queries, 0)} are left."
            )

    def _give_way(self, *_: int) -> None:
        self.explorer.compute.give_way(Urgency.NEXT)


def line_vector(directions: DirectionSet, alphas: Alphas) -> tuple[Tensor, float]:
    """The unit vector (D,) from the image's code to a position other than 0, and how far it is."""
    moves = [alpha * directions[name].vector for name, alpha in alphas.items()]
    vector = torch.stack(moves).sum(0)
    length = float(vector.norm())
    return vector / max(length, 1e-12), length


def cut_at(path: Path, alpha: float, frame: Frame, index: int) -> tuple[Path, int]:
    """A path with the picture at one of its positions among its points, and that point's index.

    Parameters
    ----------
    path : Path
    alpha : float
        Where on the path the picture is.
    frame : Frame
        The picture there, whose point is put in the place of a decoded one at the same alpha.
    index : int
        The explained label's place among the frame's probabilities.
    """
    probability = frame.probabilities[index]
    own = Tensor([probability]).double().clamp(1e-12, 1 - 1e-12)
    keep = (path.alphas - alpha).abs() > 1e-3
    at = int((path.alphas[keep] < alpha).sum())

    def joined(ours: Tensor, new: Tensor) -> Tensor:
        ours = ours[keep]
        return torch.cat([ours[:at], new.to(ours), ours[at:]])

    every = path.all_probabilities[:1] * math.nan  # the other labels' are not read
    return replace(
        path,
        alphas=joined(path.alphas, Tensor([alpha])),
        images=joined(path.images, frame.image),
        logits=joined(path.logits, own.logit()),
        probabilities=joined(path.probabilities, Tensor([probability])),
        all_probabilities=joined(path.all_probabilities, every),
        distances=joined(path.distances, Tensor([frame.distance])),
        losses=joined(path.losses, Tensor([math.nan])),
        refined=(),
    ), at
