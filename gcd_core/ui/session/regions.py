"""Regions of one opened image that a visitor tried, and whether each alone changes the answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from gcd_core.bridge.paths import NAME as RCSB
from gcd_core.bridge.paths import POINTS as BRIDGE_POINTS
from gcd_core.bridge.paths import bridge_of
from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import GCDError
from gcd_core.method.cells import QUERIES, check_budget
from gcd_core.method.directions import DirectionSet
from gcd_core.method.region import AutomaticRegion, check_region
from gcd_core.method.walk import BISECTION_STEPS, Path
from gcd_core.ui.engine.hosting import RUNS_IN_PROCESS
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import POINTS, Opened

GCD = "gcd"  # along a direction
METHODS = (GCD, RCSB)
MAX_REGIONS_KEPT = 6  # kept of one image; the oldest make room
Progress = Callable[[int, int], None]


class Tried(NamedTuple):
    """A region, and the most convincing change that stays inside it.

    Attributes
    ----------
    name : str
    mask : Tensor (S, S), bool
        Where the picture could change.
    path : Path
        The walk along the direction that went farthest; confined to the mask.
    asked : list of str
        The directions that were walked; "rcsb" where the bridge changed it.
    """

    name: str
    mask: Tensor
    path: Path
    asked: list[str]

    @property
    def share(self) -> float:
        """How much of the picture the region is, 0 to 1."""
        return float(self.mask.double().mean())


class Regions:
    """Tries regions along the directions of one opened image, and keeps what came of it.

    Parameters
    ----------
    service : ModelService
    opened : Opened
    directions : DirectionSet or None
    names : sequence of str
        The directions to try, in this order.
    label : str
        The one that is explained.
    """

    def __init__(
        self,
        service: ModelService,
        opened: Opened,
        directions: DirectionSet | None,
        names: list[str],
        label: str,
    ) -> None:
        self.service, self.opened, self.label = service, opened, label
        self.directions, self.names = directions, names
        self.kept: list[Tried] = []
        self._cancel, self._trying = threading.Event(), threading.Lock()
        self._numbers = 0

    def attempt(self, mask: Tensor, progress: Progress, method: str = GCD) -> Tried:
        """Change the picture inside a mask (S, S) alone, and keep what came of it.

        By "gcd" it is walked along one direction after the other until one flips: all of them by
        the fast decoder, and the one that went farthest in full. Of a classifier that may not be
        asked as often as one likes, along the first alone. By "rcsb" the domain's bridge is steered
        by the classifier's gradient. `progress(done, total)` is told of the directions, or of the
        bridge's steps.

        Raises
        ------
        GCDError
            If there is nothing to walk along, no bridge or no gradient, another region is being
            tried, the mask does not fit, or the budget does not allow it; nothing is asked then.
        Cancelled
            If `cancel` was called, or another image opened.
        """
        if method not in METHODS:
            raise GCDError(f"A region is changed by {' or '.join(METHODS)}, not by {method!r}.")
        if method == RCSB:
            bridge_of(self.service.domain)
        elif self.directions is None:
            raise GCDError("There are no directions for this label yet: find or load some first.")
        masks = check_region(self.service.domain, mask)
        assert masks is not None
        if not self._trying.acquire(blocking=False):
            raise GCDError("A region is being tried already: cancel it or wait for it to end.")
        try:
            self._cancel.clear()
            if method == RCSB:
                path, asked = self._steer(masks[0], progress), [RCSB]
            else:
                path, asked = self._walked(masks[0], progress)
            self._numbers += 1
            tried = Tried(f"Region {self._numbers}", masks[0], path, asked)
            self.kept = [*self.kept, tried][-MAX_REGIONS_KEPT:]
            return tried
        finally:
            self._trying.release()

    def _walked(self, mask: Tensor, progress: Progress) -> tuple[Path, list[str]]:
        """The walk of the direction that went farthest, and the directions that were tried."""
        self._check_budget(POINTS + BISECTION_STEPS)
        names = self.names if self.service.classifier_is_free else self.names[:1]
        best = self._best_of(names, mask, progress)
        path = self._walk(best, mask, roughly=False)
        return path, names[: names.index(best) + 1] if path.any_flip else names

    def _steer(self, mask: Tensor, progress: Progress) -> Path:
        """What the bridge makes of the region."""
        service = self.service
        self._check_budget(service.domain.steering.steps + BRIDGE_POINTS + BISECTION_STEPS)

        def report(done: int, total: int) -> None:
            progress(done, total)
            service.compute.yield_to_urgent(Urgency.NEXT)

        hooks = (report, self._cancel) if RUNS_IN_PROCESS else (None, None)
        task = self.opened.image, self.label, mask
        return service.in_turn(Urgency.NEXT, service.steered, *task, *hooks)

    def _best_of(self, names: list[str], mask: Tensor, progress: Progress) -> str:
        """The first direction that flips inside a mask, else the one that comes nearest to it."""
        nearness = {}
        for i, name in enumerate(names):
            progress(i, len(names) + 1)
            if len(names) > 1:
                path = self._walk(name, mask, roughly=True)
                nearness[name] = _nearness(path)
                if path.any_flip:
                    return name
        progress(len(names), len(names) + 1)
        return max(names, key=lambda name: nearness.get(name, 0.0))

    def _walk(self, name: str, mask: Tensor, roughly: bool) -> Path:
        assert self.directions is not None
        task = self.opened, self.directions[name], self.label, mask, self._cancel
        return self.service.walk_region(*task, roughly)

    def suggest(self, path: Path) -> Tensor:
        """Return the cells (S, S), bool, that matter most to the change along a path.

        It asks the classifier 512 times.

        Raises
        ------
        BudgetExceeded
            Where the classifier may not be asked as often; nothing is asked then.
        """
        check_budget(self.service.domain.classifier, QUERIES)
        mask = AutomaticRegion().mask
        changed = path.counterfactual_image
        classifier = self.service.domain.classifier
        return self.service.in_turn(
            Urgency.NEXT, mask, classifier, self.label, self.opened.image, changed
        )

    def forget(self) -> None:
        """Keep none of them."""
        self.kept = []

    def cancel(self) -> None:
        """End what is being tried, before its next batch."""
        self._cancel.set()

    def _check_budget(self, needed: int) -> None:
        classifier = self.service.domain.classifier
        budget = classifier.budget
        if budget is not None and classifier.queries + needed > budget:
            raise BudgetExceeded(
                f"Trying a region asks the classifier about {needed} images; of its budget of "
                f"{budget} {max(budget - classifier.queries, 0)} are left."
            )


def _nearness(path: Path) -> float:
    """How far a path takes the probability toward the other side; more than any other if over."""
    away = path.sign * (path.probabilities - path.threshold)
    return float(away.max())
