"""The maps over the picture where the sliders stand, and the line that they follow."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from gcd_core.images.drawing import difference
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.cells import CellAttribution
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.walk import Path
from gcd_core.ui.state.cells import CellMaps
from gcd_core.ui.state.frames import Key, Opened, key_of
from gcd_core.ui.state.lines import Lines, cut_at
from gcd_core.ui.state.moves import Moves

KEPT = 64  # of one image


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
        explorer, opened = moves.explorer, moves.opened
        self._kept: OrderedDict[tuple[Key, bool], Attribution] = OrderedDict()
        self._nothing = nothing_explained(opened, explorer.domain.labels.index(label))
        self.cells = CellMaps(explorer, opened.image, label)
        self.lines = Lines(explorer, opened, moves.directions, label)

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
            while len(self._kept) > KEPT:
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
        return cut_at(path, alpha, frame, self.moves.explorer.domain.labels.index(path.label))

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
