"""The maps over the picture where the sliders stand, and the line that they follow."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import Cancel, Cancelled
from gcd_core.generators.base import BatchProgress
from gcd_core.images.drawing import difference
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.cells import QUERIES, CellAttribution, check_budget, explain_cells
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.walk import Path
from gcd_core.ui.engine.hosting import PATH, RUNS_IN_PROCESS, gpu
from gcd_core.ui.engine.models import BACKGROUND_BATCH
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import LINE_POINTS, Alphas, Frame, Key, Opened, key_of
from gcd_core.ui.session.slider_state import Moves

CELL_MAPS_KEPT = 64  # maps of one image


class CellMaps:
    """Maps of the change from an opened image to the picture at a position, kept by position.

    Parameters
    ----------
    service : ModelService
    source : Tensor (1, C, H, W)
        The opened image.
    label : str
        The one that is explained.
    """

    def __init__(self, service: ModelService, source: Tensor, label: str) -> None:
        self.service, self.source, self.label = service, source, label
        self._kept: OrderedDict[Key, CellAttribution] = OrderedDict()
        self._nothing = nothing_moved(source)
        self._asking = threading.Lock()
        self._explain = gpu(self._explain_change, PATH)

    @property
    def price(self) -> str:
        """What a map costs, in a sentence, where the classifier is not asked before one agrees.

        Nothing is said of a classifier that runs here and may be asked as often as one likes.
        """
        if self.service.classifier_is_free:
            return ""
        return (
            f"The classifier is asked about {QUERIES} images for this map"
            f"{self.service.queries_left}. To ask it, choose another map and then this one."
        )

    def get(self, alphas: Alphas) -> CellAttribution | None:
        """Return the map at a position, or None where it is not made yet; at rest, an empty one."""
        return self._kept.get(key_of(alphas)) if alphas else self._nothing

    def make(
        self, image: Tensor, alphas: Alphas, wanted: Callable[[], bool]
    ) -> CellAttribution | None:
        """Return the map of the picture at a position; None where it is not wanted any more.

        Raises
        ------
        BudgetExceeded
            Where the classifier may not be asked as often; nothing is asked then.
        """
        with self._asking:
            found = self.get(alphas)
            if found is not None or not wanted():
                return found
            check_budget(self.service.domain.classifier, QUERIES)
            hooks = (self._give_way, CancelWhen(wanted)) if RUNS_IN_PROCESS else (None, None)
            try:
                found = self.service.in_turn(Urgency.NEXT, self._explain, image, *hooks)
            except Cancelled:
                return None
            self._kept[key_of(alphas)] = found
            while len(self._kept) > CELL_MAPS_KEPT:
                self._kept.popitem(last=False)
            return found

    def clear(self) -> None:
        """Drop all maps."""
        self._kept.clear()

    def _give_way(self, *_: int) -> None:
        self.service.compute.yield_to_urgent(Urgency.NEXT)

    def _explain_change(
        self, image: Tensor, progress: BatchProgress | None, cancel: Cancel | None
    ) -> CellAttribution:
        domain = self.service.domain
        on_cpu = self.service.one_thread and "cuda" not in str(domain.device)
        return explain_cells(
            domain.classifier,
            self.label,
            self.source,
            image,
            batch_size=2 * BACKGROUND_BATCH if on_cpu else None,
            progress=progress,
            cancel=cancel,
        )


class CancelWhen:
    """Cancels work as soon as it is not wanted any more."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted

    def is_set(self) -> bool:
        """Whether to stop."""
        return not self._wanted()


def nothing_moved(source: Tensor) -> CellAttribution:
    """The map of an image (1, C, H, W) that did not change: there is nothing to ask."""
    return CellAttribution(
        map=torch.zeros(source.shape[-2:]),
        cells=torch.zeros(1),
        standard_errors=torch.zeros(1),
        lattice=torch.zeros(1, 1, dtype=torch.long),
        completeness_error=0.0,
        queries=0,
    )


LINES_KEPT = 32  # lines of one image


class CombinedPaths:
    """Lines from an opened image to positions along several directions, kept by position.

    Parameters
    ----------
    service : ModelService
    opened : Opened
    directions : DirectionSet or None
    label : str
        The one that is explained.
    """

    def __init__(
        self, service: ModelService, opened: Opened, directions: DirectionSet | None, label: str
    ) -> None:
        self.service, self.opened, self.label = service, opened, label
        self.directions = directions
        self._kept: OrderedDict[Key, Path] = OrderedDict()
        self._asking = threading.Lock()

    @property
    def price(self) -> str:
        """What a line costs, in a sentence, where the classifier is not asked before one agrees.

        Nothing is said of a classifier that runs here and may be asked as often as one likes.
        """
        if self.service.classifier_is_free:
            return ""
        return (
            f"The classifier is asked about {LINE_POINTS + 1} images to follow several directions "
            f"together{self.service.queries_left}. To ask it, choose another map and then this "
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
            hooks = (self._give_way, CancelWhen(wanted)) if RUNS_IN_PROCESS else (None, None)
            vector, length = line_vector(self.directions, alphas)
            try:
                found = self.service.line(self.opened, vector, length, self.label, *hooks)
            except Cancelled:
                return None
            found = replace(found, direction_name=" + ".join(alphas))
            self._kept[key_of(alphas)] = found
            while len(self._kept) > LINES_KEPT:
                self._kept.popitem(last=False)
            return found

    def clear(self) -> None:
        """Drop all lines."""
        self._kept.clear()

    def _check_budget(self) -> None:
        classifier = self.service.domain.classifier
        budget = classifier.budget
        if budget is not None and classifier.queries + LINE_POINTS + 1 > budget:
            raise BudgetExceeded(
                f"Following several directions asks the classifier about {LINE_POINTS + 1} images; "
                f"of its budget of {budget} {max(budget - classifier.queries, 0)} are left."
            )

    def _give_way(self, *_: int) -> None:
        self.service.compute.yield_to_urgent(Urgency.NEXT)


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


HEAT_MAPS_KEPT = 64  # of one image


class Maps:
    """Maps of the change from an opened image to the current picture; none at rest.

    Parameters
    ----------
    moves : Moves
        Where the sliders stand.
    label : str
        The one that is explained.
    """

    def __init__(self, moves: Moves, label: str) -> None:
        self.moves = moves
        service, opened = moves.service, moves.opened
        self._kept: OrderedDict[tuple[Key, bool], Attribution] = OrderedDict()
        self._nothing = nothing_explained(opened, service.domain.labels.index(label))
        self.cells = CellMaps(service, opened.image, label)
        self.lines = CombinedPaths(service, opened, moves.directions, label)

    def price(self, kind: str) -> str:
        """What a map costs, in a sentence, where the classifier is not asked before one agrees."""
        if kind == "cells":
            return self.cells.price
        return self.lines.price if kind == "bb_lig" and len(self.moves.alphas) > 1 else ""

    def clear(self) -> None:
        """Drop all maps and lines."""
        self._kept.clear()
        self.cells.clear()
        self.lines.clear()

    def heat(self, kind: str) -> Attribution | CellAttribution | Tensor | None:
        """Return the map over the picture: none, the difference (H, W), or an attribution.

        None where it is still to come: a path's with the path, that of cells by `cells_now`.
        """
        if kind == "none":
            return None
        if kind == "cells":
            return self.cells.get(self.moves.alphas)
        if kind == "difference":
            return difference(self.moves.current.image, self.moves.opened.image)
        frame, alphas, _ = self.moves.position()
        if not alphas:
            return self._nothing
        key = key_of(alphas), frame.live
        heat = self._kept.get(key)  # a visitor who leaves may clear them at any moment
        if heat is None:
            line = self.line()
            if line is None:
                return None
            path, end = line
            heat = self._kept[key] = explain_path(path, until=end)
            while len(self._kept) > HEAT_MAPS_KEPT:
                self._kept.popitem(last=False)
        return heat

    def line(self) -> tuple[Path, int] | None:
        """Return what is decoded of the line from the image to the current picture.

        And the picture's index on it. None at rest, where the line is still to come (the path of a
        direction with it, that of several by `line_now`), or while a move is under way.
        """
        frame, alphas, arrived = self.moves.position()
        if not alphas or not arrived:
            return None
        if len(alphas) > 1:
            path = self.lines.get(alphas)
            return None if path is None else (path, len(path.alphas) - 1)
        (name, alpha), *_ = alphas.items()
        path = self.moves.path(name)
        if path is None:
            return None
        return cut_at(path, alpha, frame, self.moves.service.domain.labels.index(path.label))

    def line_now(self) -> Path | None:
        """Return the line along several directions, decoded where it is not known.

        None where a newer position came meanwhile, or one path or none leads there.

        Raises
        ------
        GCDError
            Where the classifier does not answer, or may not be asked as often.
        """
        wanted = self.moves.still_wanted()
        _, alphas, _ = self.moves.position()
        return self.lines.make(alphas, wanted) if len(alphas) > 1 else None

    def cells_now(self) -> CellAttribution | None:
        """Return the map of cells of the current picture, in full, asked for where it is not known.

        None where a newer position came meanwhile.

        Raises
        ------
        GCDError
            Where the classifier does not answer, or may not be asked as often.
        """
        self.moves.draw_in_full()
        wanted = self.moves.still_wanted()
        frame, alphas, arrived = self.moves.position()
        if frame.live or not arrived:
            return None
        return self.cells.make(frame.image, alphas, wanted)


def nothing_explained(opened: Opened, index: int) -> Attribution:
    """The map of an image that did not move: there is nothing to explain."""
    own = opened.rest.probabilities[index]
    if opened.source.probabilities[index] < THRESHOLD:
        own = 1 - own
    return Attribution(
        map=torch.zeros(opened.image.shape[-2:]),
        method="bb_lig",
        baseline_index=0,
        baseline_probability=own,
        reached=False,
        completeness_error=0.0,
    )
