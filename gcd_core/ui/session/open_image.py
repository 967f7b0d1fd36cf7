"""One opened image, explained for one label along one set of directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.off_distribution import is_far
from gcd_core.method.path import Path
from gcd_core.ui.engine.decoded_paths import Paths
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import Opened, shown_names
from gcd_core.ui.session.changed_place import ChangedPlace
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.exposure import Exposure
from gcd_core.ui.session.flips import Flips
from gcd_core.ui.session.heatmaps import HeatMaps
from gcd_core.ui.session.others import Others
from gcd_core.ui.session.regions import Regions
from gcd_core.ui.session.set_comparison import (
    QUERIES_A_PATH,
    SetComparison,
    Side,
    common,
    part_of,
)
from gcd_core.ui.session.slider_state import SliderState

NamedSet = tuple[str, DirectionSet]  # a set of directions, and what it is called


class OpenImage:
    """An opened image, and everything that a visitor sees or makes of it.

    Another image, label or set of directions is another `OpenImage`. The one before is left; what
    is still being made for it is not shown any more.

    Parameters
    ----------
    label : str
        The label that is explained.
    directions : DirectionSet
        Without names where the label has no directions.
    weak_directions : list of str
        Those that hardly move the classifier, as far as their proxy knows.
    bundled : bool
        Whether the directions are the domain's own.
    example : int or None
        The number of the domain's example, from 0; None for a visitor's own image.
    before : OpenImage or None
        What was open, and was left. If it is of the same image and label, its decoded paths along
        the bundled directions are taken over; otherwise they are dropped.
    away : bool
        Whether the visitor's page has gone: no paths are decoded until it comes back.
    """

    def __init__(
        self,
        service: ModelService,
        opened: Opened,
        label: str,
        directions: DirectionSet,
        weak_directions: list[str],
        bundled: bool = True,
        example: int | None = None,
        before: OpenImage | None = None,
        away: bool = False,
    ) -> None:
        self.service, self.opened, self.example = service, opened, example
        self.label, self.directions, self.bundled = label, directions, bundled
        self.index = service.domain.labels.index(label)
        self._own_bundled: Paths | None = None  # an own image's paths along bundled directions
        self.weak_directions = weak_directions
        self.paths = self._join_paths(before)
        self.sliders = SliderState(service, opened, directions, self.paths)
        self.flips = Flips(self.sliders)
        self.maps = HeatMaps(self.sliders, label)
        self.exposure = Exposure(service, self.sliders)
        self.changed_place = ChangedPlace(service, self.sliders)
        self.names = self.sliders.names  # the directions that have a slider
        # (alpha, probability) that the proxy expects along each direction, once it was asked.
        self.expected: dict[str, list[tuple[float, float]]] = {}
        self.compared: dict[str, Any] = {}  # the last answer of Compare, in numbers
        self.compared_sets: SetComparison | None = None  # the last one of two sets
        strong = [name for name in self.names if name not in weak_directions]
        self.others = Others(self.sliders, label, strong)
        self.regions = Regions(service, opened, directions or None, strong, label)
        if away:
            self.set_away(True)

    @property
    def is_far(self) -> bool:
        """Whether the image is far from all that the domain's models know (`is_far`)."""
        off, score = self.service.domain.off_distribution, self.opened.off_distribution_score
        return off is not None and score is not None and is_far(score, off.threshold)

    def _join_paths(self, before: OpenImage | None) -> Paths:
        """Return the image's paths: those that are decoded already, or new ones."""
        if before is not None:
            if (before.opened, before.label) == (self.opened, self.label):
                self._own_bundled = before._own_bundled
            else:
                before.drop_paths()
        if not self.bundled:
            return self.service.paths(self.opened, self.directions, self.label)
        return self._bundled_paths(self.directions)

    def _bundled_paths(self, directions: DirectionSet) -> Paths:
        """Return the image's paths along the bundled directions, decoded already or new ones."""
        if self.example is not None:
            return self.service.examples.paths(self.example, self.label, directions)
        if self._own_bundled is None:
            self._own_bundled = self.service.paths(self.opened, directions, self.label)
        return self._own_bundled.join()  # once more, so that they are kept when this one leaves

    def ready_paths(self) -> dict[str, Path]:
        """Return the paths that are decoded so far, by direction."""
        return {name: path for name in self.names if (path := self.paths.get(name)) is not None}

    def set_away(self, away: bool) -> None:
        """Decode no more paths while the visitor's page has gone."""
        for paths in self._joined:
            if away:
                paths.pause()
            else:
                paths.join()
        if self.compared_sets is not None:
            self.compared_sets.set_away(away)

    # -- two sets side by side -----------------------------------------------------------------

    def queries_for_sets(self, sets: Sequence[NamedSet]) -> int:
        """About how many images the classifier is asked about to compare two sets here.

        Nothing for the set in use: its paths are decoded when an image is opened.
        """
        pairs = common(*(directions for _, directions in sets))
        walks = [
            len(shown_names(directions) if name == BUNDLED else pairs)
            for name, directions in sets
            if not self._uses(directions)
        ]
        return QUERIES_A_PATH * sum(walks)

    def compare_sets(self, sets: Sequence[NamedSet]) -> SetComparison:
        """Hold two sets of the explained label against each other here; follow what it returns.

        The comparison before this one ends.

        Raises
        ------
        GCDError
            If the classifier's budget does not allow it; nothing is asked then.
        """
        classifier, needed = self.service.domain.classifier, self.queries_for_sets(sets)
        if classifier.budget is not None:
            left = max(classifier.budget - classifier.queries, 0)
            if needed > left:
                raise GCDError(
                    f"This comparison asks the classifier about {needed} images; of its budget of "
                    f"{classifier.budget} {left} are left. Compare a set of fewer directions."
                )
        if self.compared_sets is not None:
            self.compared_sets.leave()
        pairs = common(*(directions for _, directions in sets))
        called = list(pairs), list(pairs.values())
        sides = [
            self._side(name, directions, own)
            for (name, directions), own in zip(sets, called, strict=True)
        ]
        self.compared_sets = SetComparison(self.service, self.index, sides)
        return self.compared_sets

    def _uses(self, directions: DirectionSet) -> bool:
        """Whether these are the directions in use here, maybe with other notes."""
        return directions.vectors is self.directions.vectors

    def _side(self, name: str, directions: DirectionSet, wanted: list[str]) -> Side:
        """Return one side of a comparison; the paths that there are already are taken."""
        if self._uses(directions):
            return Side(name, directions, self.sliders, self.flips)
        if name == BUNDLED:
            walked, paths = directions, self._bundled_paths(directions)
        else:
            walked = part_of(directions, wanted)
            paths = self.service.paths(self.opened, walked, self.label)
        sliders = SliderState(self.service, self.opened, walked, paths)
        return Side(name, directions, sliders, Flips(sliders), paths)

    @property
    def _joined(self) -> list[Paths]:
        """The paths that this image counts as a session of, as often as it does."""
        return [self.paths, *([self._own_bundled] if self._own_bundled is not None else [])]

    def leave(self, away: bool = False) -> None:
        """End the work for this image, and drop its pictures; answers for it come too late.

        `away` is whether it counts as one that nobody looks at, by `set_away`.
        """
        if away:
            self.set_away(False)
        self.sliders.leave()
        self.flips.clear()
        self.paths.leave()
        if self.compared_sets is not None:
            self.compared_sets.cancel()
        self.maps.clear()
        self.regions.cancel()

    def drop_paths(self) -> None:
        """Drop the paths that are kept for coming back to the bundled directions."""
        if self._own_bundled is not None:
            self._own_bundled.leave()
