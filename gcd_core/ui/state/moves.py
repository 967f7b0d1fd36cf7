"""The moves of one opened image along its directions, and what is seen on the way."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.drawing import difference
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.cells import CellAttribution
from gcd_core.method.directions import DirectionSet
from gcd_core.method.walk import Path
from gcd_core.ui.state.cells import CellMaps
from gcd_core.ui.state.compute import Urgency
from gcd_core.ui.state.explorer import Explorer
from gcd_core.ui.state.frames import Frame, KeptFrames, Opened, latent_at, path_frame
from gcd_core.ui.state.paths import LEFT, Paths
from gcd_core.ui.state.positions import Alphas, neighbours, rounded, shown_names


class Moves:
    """Where the sliders of one opened image stand, the picture there, and those seen before.

    It begins at rest. Each move has a ticket: what was decoded for an older one is not shown when
    it comes. Another image, label or set of directions has moves of its own.

    Parameters
    ----------
    explorer : Explorer
    opened : Opened
    directions : DirectionSet or None
        None where the label has none yet: the image stays at rest then.
    paths : Paths or None
        The image's paths along them, joined; `leave` leaves them.
    label : str
        The one that is explained.

    Attributes
    ----------
    cells : CellMaps
        Of the pictures at the positions where that map was looked at.
    """

    def __init__(
        self,
        explorer: Explorer,
        opened: Opened,
        directions: DirectionSet | None,
        paths: Paths | None,
        label: str,
    ) -> None:
        self.explorer, self.opened = explorer, opened
        self.directions, self.paths = directions, paths
        self.names = [] if directions is None else shown_names(directions)
        self.alphas: Alphas = {}
        self.moved = self.names[0] if self.names else "g"
        self.current: Frame = opened.rest
        self._frames = KeptFrames()
        self._frames.keep({}, opened.rest)
        self._maps: dict[tuple[str, str], Attribution] = {}
        self.cells = CellMaps(explorer, opened.image, label)
        self._tickets = itertools.count(1)
        self._newest = 0
        self._left = False
        self._lock = threading.Lock()
        self._decoding = threading.Lock()

    def leave(self) -> None:
        """End the work for this image; what is under way comes too late to be shown."""
        with self._lock:
            self._left, self._newest = True, next(self._tickets)
            self._frames.clear()
            self._maps.clear()
            self.cells.clear()
        if self.paths is not None:
            self.paths.leave()

    # -- paths and maps ------------------------------------------------------------------------

    def path(self, name: str) -> Path | None:
        """Return the path along a direction, or None where it is not decoded yet."""
        return None if self.paths is None else self.paths.get(name)

    def path_now(self, name: str) -> Path:
        """Return the path along a direction, waited for.

        Raises
        ------
        GCDError
            Where there is no such direction, its path cannot be decoded, or the image was left.
        """
        if self.paths is None:
            raise GCDError("There is no direction to follow yet: open an image first.")
        if name not in self.names:
            raise GCDError(
                f"There is no direction {name!r} to follow: choose one of {', '.join(self.names)}."
            )
        path = self.paths.wanted(name)
        if self._left:
            raise GCDError(LEFT)
        return path

    def heat(self, kind: str) -> Attribution | CellAttribution | Tensor | None:
        """Return the map over the picture: none, the difference (H, W), or an attribution.

        None where it is still to come: a path's with the path, that of cells by `cells_now`.
        """
        if kind == "none":
            return None
        if kind == "cells":
            return self.cells.get(self.alphas)
        if kind == "difference":
            return difference(self.current.image, self.opened.image)
        moved = self.moved
        path = self.path(moved)
        if path is None:
            return None
        heat = self._maps.get((kind, moved))  # a visitor who leaves may clear them at any moment
        if heat is None:
            heat = self._maps[kind, moved] = explain_path(path, method=kind)
        return heat

    def cells_now(self) -> CellAttribution | None:
        """Return the map of cells of the current picture, in full, asked for where it is not known.

        None where a newer position came meanwhile.

        Raises
        ------
        GCDError
            Where the classifier does not answer, or may not be asked as often.
        """
        self.draw_in_full()
        with self._lock:
            frame, ticket, alphas = self.current, self._newest, dict(self.alphas)
            arrived = self._frames.get(alphas) is frame or not alphas
        if frame.live or not arrived:
            return None
        return self.cells.make(frame.image, alphas, lambda: ticket == self._newest)

    # -- moving --------------------------------------------------------------------------------

    def move(self, alphas: Alphas, moved: str | None = None) -> Frame | None:
        """Go to z_sem + sum of alpha_i v_i; None where a newer position came meanwhile."""
        if self.directions is None:
            raise GCDError("There is nothing to move yet: open an image first.")
        wanted = rounded(alphas, self.names)
        with self._lock:
            if self._left:
                return None
            ticket = self._newest = next(self._tickets)
            changed = [n for n in self.names if wanted.get(n, 0.0) != self.alphas.get(n, 0.0)]
            if moved or changed:
                self.moved = moved or changed[0]
            self.alphas = wanted
            frame = self._on_path(wanted) or self._frames.get(wanted)
        if frame is None:
            with self._decoding:
                if ticket != self._newest:
                    return None
                latent = latent_at(self.opened, self.directions, wanted)
                frame = self.explorer.decode_live(latent, self.opened.image)
        if not self._arrive(frame, wanted, ticket):
            return None
        if self.explorer.decodes_ahead:
            self.explorer.ahead.follow(self, self._ahead(self.directions, wanted, ticket))
        return frame

    def to_flip(self, name: str) -> tuple[Frame | None, bool]:
        """Go to a direction's counterfactual; say whether the prediction flipped there."""
        path = self.path_now(name)
        alpha = float(path.alphas[path.counterfactual])
        return self.move({name: alpha}, name), bool(path.flipped)

    def draw_in_full(self) -> Frame | None:
        """Decode the current picture in full, where the live decoder drew it, in a pause of moves.

        None where it is full already, or a newer position came meanwhile.
        """
        with self._lock:
            frame, ticket, alphas = self.current, self._newest, self.alphas
        if self.directions is None or not frame.live:
            return None
        full = self._on_path(alphas) or self.explorer.decode_later(
            latent_at(self.opened, self.directions, alphas),
            self.opened.image,
            lambda: ticket == self._newest and self.current is frame,
        )
        if full is None or not self._arrive(full, alphas, ticket):
            return None
        return full

    def still(self, patience: float = 20.0) -> tuple[Frame, Alphas]:
        """Return the current picture, decoded in full, and where it is, once no move is under way.

        Raises
        ------
        GCDError
            Where that takes longer than `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            with self._lock:
                frame, alphas = self.current, dict(self.alphas)
                at_rest = self._frames.get(alphas) is frame
            if at_rest and not frame.live:
                return frame, alphas
            if time.monotonic() > deadline:
                raise GCDError("The picture is still being decoded: try again in a moment.")
            if at_rest:
                self.draw_in_full()
            else:
                time.sleep(0.02)

    def _ahead(self, directions: DirectionSet, here: Alphas, ticket: int) -> Iterator[None]:
        """Decode the stops next to a position, one at a time, while it is the current one."""
        alpha_max = self.explorer.domain.alpha_max
        for alphas in neighbours(here, self.names, self.moved, alpha_max):
            if ticket != self._newest or not self.explorer.decodes_ahead:
                return
            if alphas in self._frames or self._on_path(alphas) is not None:
                continue
            latent = latent_at(self.opened, directions, alphas)
            frame = self.explorer.decode_live(latent, self.opened.image, Urgency.NEXT)
            self._keep(frame, alphas, ticket)
            yield

    def _on_path(self, alphas: Alphas) -> Frame | None:
        """The frame at a position, where it lies on a decoded path."""
        if len(alphas) != 1:
            return None
        (name, alpha), *_ = alphas.items()
        path = self.path(name)
        if path is None:
            return None
        i = int((path.alphas - alpha).abs().argmin())
        if abs(float(path.alphas[i]) - alpha) > 1e-3:
            return None
        return path_frame(path, i, self.explorer.domain.labels)

    def _keep(self, frame: Frame, alphas: Alphas, ticket: int) -> bool:
        """Keep a frame unless a newer position has come; say whether it was kept."""
        with self._lock:
            if ticket == self._newest:
                self._frames.keep(alphas, frame)
            return ticket == self._newest

    def _arrive(self, frame: Frame, alphas: Alphas, ticket: int) -> bool:
        """Show a frame unless a newer position has come; say whether it is shown."""
        with self._lock:
            if ticket == self._newest:
                self._frames.keep(alphas, frame)
                self.current = frame
            return ticket == self._newest
