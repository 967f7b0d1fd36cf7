"""Regions of an opened image: whether a change inside one alone flips the prediction."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from gcd_core.bridge.paths import NAME as RCSB
from gcd_core.bridge.paths import POINTS as BRIDGE_POINTS
from gcd_core.bridge.paths import bridge_of
from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import GCDError
from gcd_core.method.another import queries_at_most
from gcd_core.method.bisection import BISECTION_STEPS
from gcd_core.method.cells import QUERIES, check_budget
from gcd_core.method.directions import DirectionSet
from gcd_core.method.path import Path
from gcd_core.method.plausibility import MAX_RATIO, redrawing_ratio
from gcd_core.method.region import AutomaticRegion, check_region
from gcd_core.method.second_opinion import second_opinion
from gcd_core.ui.engine.jobs import Job
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import POINTS, Opened
from gcd_core.ui.session.others import only

GCD = "gcd"  # along a direction
METHODS = (GCD, RCSB)
WITHOUT = "without"  # by the best combination of directions, everywhere but in the region
MAX_REGIONS_KEPT = 6  # kept of one image; the oldest make room
BUSY = "A region is being tried already: cancel it or wait for it to end."


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
        The directions that were walked, or that a combination is of; "rcsb" where the bridge
        changed it.
    redrawing : float or None
        As of `redrawing_ratio`; None where LPIPS cannot be measured in a part of the picture.
    oracle : (float, float) or None
        The oracle's probability before and after; None where it does not know the label.
    """

    name: str
    mask: Tensor
    path: Path
    asked: list[str]
    redrawing: float | None = None
    oracle: tuple[float, float] | None = None

    @property
    def opinion(self) -> str | None:
        """What `second_opinion` says of a flip; None where there is none or nobody was asked."""
        if not self.path.counterfactual_flips or self.oracle is None:
            return None
        return second_opinion(self.path.source_probability, *self.oracle)

    @property
    def plausible(self) -> bool:
        """Whether the changed region looks as real ones do, as far as that was measured."""
        return self.redrawing is None or self.redrawing <= MAX_RATIO

    @property
    def convincing(self) -> bool:
        """Whether it flips as surely as was wanted."""
        path = self.path
        beyond = abs(float(path.probabilities[path.counterfactual]) - path.threshold)
        return path.counterfactual_flips and beyond >= path.margin

    @property
    def share(self) -> float:
        """How much of the picture the region is, 0 to 1."""
        return float(self.mask.double().mean())


class Regions:
    """The regions of one opened image that a visitor tries, one at a time.

    Parameters
    ----------
    service : ModelService
    opened : Opened
    directions : DirectionSet or None
    names : sequence of str
        The directions to try, in this order.
    label : str
        The one that is explained.

    Attributes
    ----------
    kept : list of Tried
        The newest last.
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
        self._numbers = itertools.count(1)

    def start(self, mask: Tensor, method: str = GCD) -> Job:
        """Start to change the picture inside a mask (S, S) alone; the job's result is a `Tried`.

        By "gcd" the picture is walked along one direction after the other until one flips: along
        all by the fast decoder, and along the one that went farthest in full. Where asking the
        classifier costs, along the first direction only. By "rcsb" the domain's bridge is steered
        by the classifier's gradient. By "without" the region stays and the rest is changed, along
        the best combination of all directions. The job's progress is (done, total), of directions,
        of the bridge's steps or of queries. What came of it is kept.

        Raises
        ------
        GCDError
            If there is nothing to walk along, no bridge or no gradient, another region is being
            tried, the mask does not fit, or the budget does not allow it; nothing is asked then.
        """
        if method not in (*METHODS, WITHOUT):
            raise GCDError(f"A region is changed by {' or '.join(METHODS)}, not by {method!r}.")
        if method == RCSB:
            bridge_of(self.service.domain)
        elif self.directions is None:
            raise GCDError("There are no directions for this label yet: find or load some first.")
        masks = check_region(self.service.domain, mask)
        assert masks is not None
        self._check_budget(self._most_queries(method))
        job = Job(partial(self._attempt, masks[0], method), owner=self, busy=BUSY)
        self.service.context.background.submit(job)
        return job

    def _most_queries(self, method: str) -> int:
        """How many images of one walk, or of one combination, the classifier is asked about."""
        if method == WITHOUT and self.directions is not None:
            return queries_at_most(only(self.directions, self.names))
        points = self.service.domain.steering.steps + BRIDGE_POINTS if method == RCSB else POINTS
        return points + BISECTION_STEPS

    def _attempt(self, mask: Tensor, method: str, job: Job) -> Tried:
        ways = {GCD: self._walked, RCSB: self._steer, WITHOUT: self._without}
        path, asked = ways[method](mask, job)
        name = f"Region {next(self._numbers)}"
        if method == WITHOUT:
            mask, name = ~mask, f"{name}, around what is painted"
        judged = self._redrawing(path, mask), self._opinions(path)
        tried = Tried(name, mask, path, asked, *judged)
        self.kept = [*self.kept, tried][-MAX_REGIONS_KEPT:]
        return tried

    def _redrawing(self, path: Path, mask: Tensor) -> float | None:
        """How well the generator redraws the changed region, compared with the source's."""
        domain = self.service.domain
        if not hasattr(domain.perceptual, "inside"):
            return None
        pair = path.source, path.counterfactual_image
        return self.service.in_turn(
            Urgency.NEXT, redrawing_ratio, domain, domain.perceptual, *pair, mask
        )

    def _opinions(self, path: Path) -> tuple[float, float] | None:
        """The oracle's probabilities of the source and of the counterfactual."""
        oracle, ask = self.service.domain.oracle, self.service.second_opinion.of
        if oracle is None or self.label not in oracle.labels:
            return None
        i = self.service.domain.labels.index(self.label)
        pair = path.source_for(oracle), path.asked(path.counterfactual, oracle)
        before, after = (None if (said := ask(image)) is None else said[i] for image in pair)
        return None if before is None or after is None else (before, after)

    def _walked(self, mask: Tensor, job: Job) -> tuple[Path, list[str]]:
        """The walk of the direction that went farthest, and the directions that were tried."""
        names = self.names if self.service.classifier_is_free else self.names[:1]
        best = self._best_of(names, mask, job)
        path = self._walk(best, mask, job, roughly=False)
        return path, names[: names.index(best) + 1] if path.any_flip else names

    def _steer(self, mask: Tensor, job: Job) -> tuple[Path, list[str]]:
        """What the bridge makes of the region."""
        service, task = self.service, (self.opened.image, self.label, mask)
        hooks: dict[str, Any] = {
            "cancel": job.cancelled,
            "report": lambda *done: job.report(done),
        }
        return service.in_batches(Urgency.NEXT, service.steered, *task, **hooks), [RCSB]

    def _without(self, mask: Tensor, job: Job) -> tuple[Path, list[str]]:
        """The change that leaves a mask alone, and the directions that it is made of."""
        assert self.directions is not None
        service, directions = self.service, only(self.directions, self.names)
        task, hooks = (self.opened, directions, self.label), {"cancel": job.cancelled}
        found = service.in_batches(
            Urgency.NEXT,
            service.another,
            *task,
            avoid_region=mask,
            report=lambda *done: job.report(done),
            **hooks,
        )
        return found.path, list(found.coefficients)

    def _best_of(self, names: list[str], mask: Tensor, job: Job) -> str:
        """The first direction that flips inside a mask, else the one that comes nearest to it."""
        nearness = {}
        for i, name in enumerate(names):
            job.report((i, len(names) + 1))
            if len(names) > 1:
                path = self._walk(name, mask, job, roughly=True)
                nearness[name] = _nearness(path)
                if path.any_flip:
                    return name
        job.report((len(names), len(names) + 1))
        return max(names, key=lambda name: nearness.get(name, 0.0))

    def _walk(self, name: str, mask: Tensor, job: Job, roughly: bool) -> Path:
        assert self.directions is not None
        work = self.service.try_walk if roughly else self.service.walk
        task, cancel = (self.opened, self.directions[name], self.label), job.cancelled
        return self.service.in_batches(Urgency.NEXT, work, *task, cancel=cancel, region=mask)

    def suggest(self, path: Path) -> Tensor:
        """Return the cells (S, S), bool, that matter most to the change along a path.

        It asks the classifier 512 times.

        Raises
        ------
        BudgetExceeded
            Where the classifier may not be asked as often; nothing is asked then.
        """
        check_budget(self.service.domain.classifier, QUERIES)
        mask, classifier = AutomaticRegion().mask, self.service.domain.classifier
        ends, side = path.ends_for(classifier), self.opened.image.shape[-1]
        return self.service.in_turn(Urgency.NEXT, mask, classifier, self.label, *ends, side)

    def forget(self) -> None:
        """Keep none of them."""
        self.kept = []

    def cancel(self) -> None:
        """End what is being tried, before its next batch."""
        self.service.context.background.cancel(self)

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
