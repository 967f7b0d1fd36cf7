"""Heat maps over the current picture, and the lines along several directions that they follow."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import Cancel, Cancelled
from gcd_core.generators.base import BatchProgress
from gcd_core.images.drawing import difference
from gcd_core.method.attribution import explain_path, map_agreement
from gcd_core.method.cells import (
    QUERIES,
    CellAttribution,
    at_size,
    check_budget,
    explain_cells,
)
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.path import Path
from gcd_core.ui.engine.hosting import PATH, gpu
from gcd_core.ui.engine.models import BACKGROUND_BATCH
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import LINE_POINTS, Alphas, Frame, key_of, line_vector
from gcd_core.ui.session.slider_state import SliderState

RESULTS_KEPT = 32  # maps, and lines, of one image
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class HeatMap:
    """A map over the current picture, and what is known about it.

    Attributes
    ----------
    kind : {"bb_lig", "cells", "difference"}
    map : Tensor (H, W)
        Signed. Of "difference": positive where the picture is brighter than the opened image. Of
        the others: positive where the change took the label's logit down.
    queries : int or None
        Of "cells": how many images the classifier was asked about.
    completeness_error : float or None
        Of "bb_lig" and "cells": the map's sum less the change of the logit.
    baseline_probability : float or None
        Of "bb_lig": the current picture's probability of the class predicted for the source.
    reached : bool or None
        Of "bb_lig": whether that probability fell to 0.01.
    """

    kind: str
    map: Tensor
    queries: int | None = None
    baseline_probability: float | None = None
    reached: bool | None = None
    completeness_error: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What is known about the map, as JSON holds it, without what its kind does not have."""
        names = ("queries", "baseline_probability", "reached", "completeness_error")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class HeatMaps:
    """The maps of the change from the opened image to the current picture.

    Parameters
    ----------
    sliders : SliderState
        Says which picture is the current one.
    label : str
        The label that is explained.
    """

    def __init__(self, sliders: SliderState, label: str) -> None:
        self.sliders, self.service, self.label = sliders, sliders.service, label
        self._maps: OrderedDict[Hashable, HeatMap] = OrderedDict()
        self._lines: OrderedDict[Hashable, Path] = OrderedDict()
        self._asking = threading.Lock()
        self._explain_cells = gpu(self._ask_cells, PATH)

    def price(self, kind: str) -> str:
        """Say in a sentence how many images a map asks the classifier about.

        "" if the map needs no query, or if the classifier runs here and has no budget: then it is
        asked without a word.
        """
        if self.service.classifier_is_free:
            return ""
        if kind == "cells":
            asked = f"{QUERIES} images for this map"
        elif kind == "bb_lig" and len(self.sliders.alphas) > 1:
            asked = f"{LINE_POINTS + 1} images to follow several directions together"
        else:
            return ""
        return (
            f"The classifier is asked about {asked}{self.service.queries_left}. To ask it, choose "
            "another map and then this one."
        )

    def clear(self) -> None:
        """Drop all maps and lines."""
        self._maps.clear()
        self._lines.clear()

    @staticmethod
    def _keep(kept: OrderedDict[Hashable, T], key: Hashable, result: T) -> T:
        """Keep a result, and drop the oldest beyond the limit."""
        kept[key] = result
        while len(kept) > RESULTS_KEPT:
            kept.popitem(last=False)
        return result

    def _make(
        self,
        kept: OrderedDict[Hashable, T],
        key: Hashable,
        wanted: Callable[[], bool],
        work: Callable[[Cancel], T],
    ) -> T | None:
        """Return a kept result, or make it, one at a time; None once it is not wanted any more.

        `work` takes what cancels it.
        """
        with self._asking:
            found = kept.get(key)
            if found is not None or not wanted():
                return found
            try:
                return self._keep(kept, key, work(SimpleNamespace(is_set=lambda: not wanted())))
            except Cancelled:
                return None

    def get(self, kind: str) -> HeatMap | None:
        """Return the map of a kind over the current picture, without asking the classifier.

        Parameters
        ----------
        kind : {"bb_lig", "cells", "difference", "none"}

        Returns
        -------
        HeatMap or None
            Where nothing moved, an empty map. None for the kind "none", and where the map is still
            to come: BB-LIG comes with the path or with `line_now`, cells come with `cells_now`.
        """
        frame, alphas, _ = self.sliders.position()
        image = self.sliders.opened.image
        empty = torch.zeros(image.shape[-2:])
        if kind == "difference":
            return HeatMap(kind, difference(frame.image, image))
        if kind == "cells":
            still = HeatMap(kind, empty, queries=0, completeness_error=0.0)
            return self._maps.get((kind, key_of(alphas))) if alphas else still
        if kind != "bb_lig":
            return None
        return self._along(frame, alphas) if alphas else self._unexplained(empty)

    def agreement(self) -> float | None:
        """How alike BB-LIG and the map of cells of the current picture are; see `map_agreement`.

        None where one of them is not known: nothing is asked for this.
        """
        if not self.sliders.alphas:
            return None
        first, second = self.get("bb_lig"), self.get("cells")
        if first is None or second is None:
            return None
        return map_agreement(first.map, second.map)

    def _along(self, frame: Frame, alphas: Alphas) -> HeatMap | None:
        """Return BB-LIG along the decoded line to the current picture; None before it is there."""
        key = "bb_lig", key_of(alphas), frame.live
        found = self._maps.get(key)
        line = None if found is not None else self.line()
        if line is None:
            return found
        path, end = line
        made = explain_path(path, until=end)
        found = HeatMap(
            "bb_lig",
            made.map,
            baseline_probability=made.baseline_probability,
            reached=made.reached,
            completeness_error=made.completeness_error,
        )
        return self._keep(self._maps, key, found)

    def _unexplained(self, empty: Tensor) -> HeatMap:
        """Return the BB-LIG map of an image that did not move."""
        opened, index = self.sliders.opened, self.service.domain.labels.index(self.label)
        own = opened.rest.probabilities[index]
        if opened.source.probabilities[index] < THRESHOLD:
            own = 1 - own
        return HeatMap(
            "bb_lig", empty, baseline_probability=own, reached=False, completeness_error=0.0
        )

    def line(self) -> tuple[Path, int] | None:
        """Return the decoded line from the opened image to the current picture.

        Returns
        -------
        (Path, int) or None
            The line, and the index of the current picture on it. Along one direction the line is
            its decoded path. None where nothing moved, where the line is not decoded yet, or while
            a move is under way.
        """
        frame, alphas, arrived = self.sliders.position()
        if not alphas or not arrived:
            return None
        if len(alphas) > 1:
            path = self._lines.get(key_of(alphas))
            return None if path is None else (path, len(path.alphas) - 1)
        (name, alpha), *_ = alphas.items()
        path = self.sliders.paths.get(name)
        if path is None:
            return None
        return cut_at(path, alpha, frame, self.service.domain.labels.index(path.label))

    def line_now(self) -> Path | None:
        """Return the line along several directions; decode it if needed.

        None if fewer than two directions are moved, or if a newer move came meanwhile.

        Raises
        ------
        GCDError
            If the classifier does not answer.
        BudgetExceeded
            If its budget does not allow the queries; nothing is asked then.
        """
        sliders, wanted = self.sliders, self.sliders.still_wanted()
        _, alphas, _ = sliders.position()
        if len(alphas) < 2:
            return None

        def walk(cancel: Cancel) -> Path:
            self._check_line_budget()
            vector, place = line_vector(sliders.directions, alphas)
            task = math.copysign(1, place) * vector, abs(place), self.label, cancel
            path = self.service.line(sliders.opened, *task)
            # Its alphas have the sign of the place where it ends.
            own = math.copysign(1, place) * path.alphas
            return replace(path, alphas=own, direction_name=" + ".join(alphas))

        return self._make(self._lines, key_of(alphas), wanted, walk)

    def _check_line_budget(self) -> None:
        classifier = self.service.domain.classifier
        budget = classifier.budget
        if budget is not None and classifier.queries + LINE_POINTS + 1 > budget:
            raise BudgetExceeded(
                f"Following several directions asks the classifier about {LINE_POINTS + 1} images; "
                f"of its budget of {budget} {max(budget - classifier.queries, 0)} are left."
            )

    def cells_now(self) -> HeatMap | None:
        """Return the map of cells of the current picture; ask the classifier if needed.

        The picture is decoded in full first. None if a newer move came meanwhile.

        Raises
        ------
        GCDError
            If the classifier does not answer.
        BudgetExceeded
            If its budget does not allow the queries; nothing is asked then.
        """
        sliders = self.sliders
        sliders.draw_in_full()
        wanted = sliders.still_wanted()
        frame, alphas, arrived = sliders.position()
        if not alphas:
            return self.get("cells")
        if frame.live or not arrived:
            return None

        def ask(cancel: Cancel) -> HeatMap:
            check_budget(self.service.domain.classifier, QUERIES)
            task = self._explain_cells, frame.asked(self.service.domain.classifier)
            made = self.service.in_batches(Urgency.MAP, *task, cancel=cancel)
            return HeatMap(
                "cells",
                at_size(made.map, sliders.opened.image.shape[-2:]),
                queries=made.queries,
                completeness_error=made.completeness_error,
            )

        return self._make(self._maps, ("cells", key_of(alphas)), wanted, ask)

    def _ask_cells(
        self, image: Tensor, progress: BatchProgress | None = None, cancel: Cancel | None = None
    ) -> CellAttribution:
        """Share the change from the opened image to one (1, C, h, w), as the classifier sees it."""
        domain = self.service.domain
        on_cpu = self.service.one_thread and "cuda" not in str(domain.device)
        return explain_cells(
            domain.classifier,
            self.label,
            self.sliders.opened.composition().source_for(domain.classifier),
            image,
            batch_size=2 * BACKGROUND_BATCH if on_cpu else None,
            progress=progress,
            cancel=cancel,
        )


def cut_at(path: Path, alpha: float, frame: Frame, index: int) -> tuple[Path, int]:
    """Put the picture at one position among the points of a path.

    Parameters
    ----------
    path : Path
    alpha : float
        The picture's position on the path.
    frame : Frame
        The picture. It takes the place of a decoded point at the same alpha.
    index : int
        The explained label's place among the frame's probabilities.

    Returns
    -------
    (Path, int)
        The path with the new point, and the index of that point.
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
        decoded=None,
        composition=None,
    ), at
