"""Two sets of directions of one label, side by side on one opened image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.drawing import at_most
from gcd_core.method.bisection import BISECTION_STEPS
from gcd_core.method.directions import DirectionSet
from gcd_core.method.path import Path
from gcd_core.method.set_likeness import matches
from gcd_core.ui.engine.decoded_paths import Before, Paths
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import POINTS, shown_names
from gcd_core.ui.session.flips import Flips
from gcd_core.ui.session.slider_state import SliderState

SHOWN_SIDE = 320  # pixels of a picture's longer side, at most
QUERIES_A_PATH = 1 + POINTS + BISECTION_STEPS  # the most that a path asks the classifier about


@dataclass
class Side:
    """One of the two sets, and its paths on the image."""

    name: str
    directions: DirectionSet
    sliders: SliderState
    flips: Flips
    joined: Paths | None = None  # to leave in the end; None where the paths are the open image's


class Walked(NamedTuple):
    """What a direction does to the image."""

    path: Path
    picture: Tensor  # the counterfactual as it is shown: (1, C, H, W), in [0, 1]
    oracle: float | None  # of the label, on the counterfactual; None where nobody was asked


class SetComparison:
    """Walks the image along every direction that both sets have (`common`), g first.

    Parameters
    ----------
    service : ModelService
    label_index : int
        Of the explained label, among the domain's.
    sides : sequence of Side
        Two of them.

    Attributes
    ----------
    names : list of str
        The directions that both sets have, as the first calls them.
    walked : dict of (str, int) to Walked
        By such a name and side, what there is so far.
    cancelled : bool
    """

    def __init__(self, service: ModelService, label_index: int, sides: Sequence[Side]) -> None:
        self.service, self.index, self.sides = service, label_index, tuple(sides)
        pairs = common(*(side.directions for side in sides))
        self._called = {name: name for name in pairs}, pairs
        self.names = list(pairs)
        self.walked: dict[tuple[str, int], Walked] = {}
        self.cancelled = False
        self._newest: object = None  # of those who follow it

    @property
    def state(self) -> str:
        """How far it is: "done", "cancelled", or "running" where more is to come."""
        if len(self.walked) == len(self.names) * len(self.sides):
            return "done"
        return "cancelled" if self.cancelled else "running"

    def called(self, name: str, i: int) -> str:
        """What side `i` calls the direction of a name."""
        return self._called[i][name]

    def follow(self) -> Iterator[Before | None]:
        """Walk what is not walked yet.

        Yields who goes first while a path is awaited, and None after each walk. It ends early where
        the comparison is cancelled, or somebody else follows it: a page that was loaded anew.

        Raises
        ------
        GCDError
            If a path cannot be decoded.
        """
        mine = self._newest = object()
        for name in self.names:
            for i, side in enumerate(self.sides):
                if (name, i) in self.walked:
                    continue
                try:
                    for first in side.sliders.awaited(self.called(name, i)):
                        yield first
                        if self.cancelled or self._newest is not mine:
                            return
                    path = side.flips.path(self.called(name, i))
                except GCDError:
                    if self.cancelled:
                        return
                    raise
                opinion = self.service.second_opinion.of(path.counterfactual_image)
                after = opinion[self.index] if opinion else None
                picture = at_most(path.picture(path.counterfactual), SHOWN_SIDE)
                self.walked[name, i] = Walked(path, picture, after)
                if self.state == "done":
                    self.leave()
                yield None
                if self.cancelled or self._newest is not mine:
                    return

    def cancel(self) -> None:
        """End it before its next batch of pictures; what there is stays."""
        self.cancelled = True
        self.leave()

    def leave(self) -> None:
        """Decode no more along the two sets for this comparison."""
        for side in self.sides:
            if side.joined is not None:
                side.joined.leave()
                side.joined = None

    def set_away(self, away: bool) -> None:
        """Decode no more while the visitor's page has gone."""
        for side in self.sides:
            if side.joined is not None:
                if away:
                    side.joined.pause()
                else:
                    side.joined.join()


def common(one: DirectionSet, other: DirectionSet) -> dict[str, str]:
    """Return the shown directions that two sets have, g first: what each of them calls it.

    Those by place go together by their place, the others by their name.
    """
    partners = {match.name: match.partner for match in matches(one, other)}
    shown = shown_names(other)
    pairs = {name: partners[name] for name in shown_names(one)}
    return {name: partner for name, partner in pairs.items() if partner in shown}


def part_of(directions: DirectionSet, names: Sequence[str]) -> DirectionSet:
    """Return a set with some of its directions alone."""
    rows = [directions.names.index(name) for name in names]
    return replace(
        directions,
        names=list(names),
        vectors=directions.vectors[rows],
        eigenvalues=[directions.eigenvalues[i] for i in rows],
    )
