"""The sliders of one opened image: where they stand, and the picture at that position."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.path import Path
from gcd_core.ui.engine.decoded_paths import IMAGE_LEFT, Before, Paths
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import (
    Alphas,
    Frame,
    KeptFrames,
    Opened,
    latent_at,
    neighbours,
    path_frame,
    rounded,
    shown_names,
)


class SliderState:
    """The position of the sliders, the picture there, and the pictures of earlier positions.

    At first all sliders stand at 0. Every move draws a ticket. A picture that was decoded for an
    older ticket is not shown.

    Parameters
    ----------
    directions : DirectionSet
        Without names where the label has no directions; then nothing can be moved.
    paths : Paths
        The decoded paths of the image along these directions.
    """

    def __init__(
        self, service: ModelService, opened: Opened, directions: DirectionSet, paths: Paths
    ) -> None:
        self.service, self.opened = service, opened
        self.directions, self.paths = directions, paths
        self.names = shown_names(directions)  # the directions that have a slider
        self.alphas: Alphas = {}  # the position; a direction that is not named stands at 0
        self.moved = self.names[0] if self.names else "g"  # what was moved last
        # How far beyond the threshold *To flip* was to go; None where the sliders went on since.
        self.target: float | None = None
        # The newest picture; while a move is under way, that of the position before.
        self.current: Frame = opened.rest
        self._frames = KeptFrames(opened.rest)
        self._tickets = itertools.count(1)
        self._newest = 0
        self._left = False
        self._lock = threading.Lock()
        self._decoding = threading.Lock()

    def leave(self) -> None:
        """Drop all pictures. Moves that are under way are not shown any more."""
        with self._lock:
            self._left, self._newest = True, next(self._tickets)
            self._frames.clear()

    # -- paths ---------------------------------------------------------------------------------

    def path_now(self, name: str) -> Path:
        """Wait for the path along a direction, and return it.

        Raises a GCDError if there is no such direction, if its path cannot be decoded, if another
        image was opened meanwhile, or if the paths of others still go first after a minute.
        """
        path = self._paths_with(name).wanted(name)
        if self._left:
            raise GCDError(IMAGE_LEFT)
        return path

    def awaited(self, name: str) -> Iterator[Before]:
        """Wait for a path; yield at once, and every few seconds, how many paths go first.

        `path_now` returns at once afterwards. It raises the same errors.
        """
        yield from self._paths_with(name).awaited(name)

    def _paths_with(self, name: str) -> Paths:
        if not self.names:
            raise GCDError("There are no directions to follow yet: find or load some first.")
        if name not in self.names:
            raise GCDError(
                f"There is no direction {name!r} to follow: choose one of {', '.join(self.names)}."
            )
        return self.paths

    def position(self) -> tuple[Frame, Alphas, bool]:
        """Return the current picture, the position, and whether the picture is of that position."""
        with self._lock:
            frame, alphas = self.current, dict(self.alphas)
            return frame, alphas, self._frames.get(alphas) is frame

    def still_wanted(self) -> Callable[[], bool]:
        """Return a function that says whether the sliders still stand where they stand now."""
        with self._lock:
            ticket = self._newest
        return lambda: ticket == self._newest

    # -- moving --------------------------------------------------------------------------------

    def intend(self) -> int:
        """Draw a ticket for a move that is still to be found; a move that comes later goes first.

        What is under way for an older ticket is not shown.
        """
        with self._lock:
            self._newest = next(self._tickets)
            return self._newest

    def move(
        self,
        alphas: Alphas,
        moved: str | None = None,
        target: float | None = None,
        intended: int | None = None,
    ) -> Frame | None:
        """Go to z_sem + sum of alpha_i v_i, and return the picture there.

        None if a newer move came meanwhile, or the image was left. `moved` is the direction that
        counts as the moved one; by default the first whose alpha changes. `target` is what
        `to_flip` was asked for, `intended` the ticket that it drew.
        """
        if not self.names:
            raise GCDError("There are no directions to move along yet: find or load some first.")
        wanted = rounded(alphas, self.names)
        with self._lock:
            if self._left or intended not in (None, self._newest):
                return None
            ticket = self._newest = next(self._tickets)
            changed = [n for n in self.names if wanted.get(n, 0.0) != self.alphas.get(n, 0.0)]
            if moved or changed:
                self.moved = moved or changed[0]
            if target is not None or wanted != self.alphas:  # told again, a place is no new one
                self.target = target
            self.alphas = wanted
            frame = self.known(wanted)
        if frame is None:
            with self._decoding:
                if ticket != self._newest:
                    return None
                latent = latent_at(self.opened, self.directions, wanted)
                frame = self.service.decode_live(latent, self.opened)
        frame = self.service.second_opinion.on(frame)
        if not self._keep(frame, wanted, ticket, show=True):
            return None
        if self.service.decodes_ahead and self.paths.finished:  # the paths are waited for
            self.service.ahead.follow(self, self._ahead(wanted, ticket))
        return frame

    def keep(self, alphas: Alphas, frame: Frame) -> None:
        """Keep a picture of some position, whatever is shown."""
        with self._lock:
            self._frames.keep(alphas, frame)

    def draw_in_full(self) -> Frame | None:
        """Decode the current picture in full, in a pause between live moves.

        None if it is decoded in full already, or if a newer move came meanwhile.
        """
        with self._lock:
            frame, ticket, alphas = self.current, self._newest, self.alphas
        if not frame.live:
            return None
        full = self.known(alphas)
        if full is None or full.live:
            full = self.service.decode_later(
                latent_at(self.opened, self.directions, alphas),
                self.opened,
                lambda: ticket == self._newest and self.current is frame,
            )
        if full is None:
            return None
        full = self.service.second_opinion.on(full)
        return full if self._keep(full, alphas, ticket, show=True) else None

    def still(self, patience: float = 20.0) -> tuple[Frame, Alphas]:
        """Wait until no move is under way; return the picture, decoded in full, and its position.

        Raises a GCDError if that takes longer than `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            frame, alphas, arrived = self.position()
            if arrived and not frame.live:
                return frame, alphas
            if time.monotonic() > deadline:
                raise GCDError("The picture is still being decoded: try again in a moment.")
            if arrived:
                self.draw_in_full()
            else:
                time.sleep(0.02)

    def _ahead(self, here: Alphas, ticket: int) -> Iterator[None]:
        """Decode the slider stops next to a position, one per step, until the sliders move on."""
        alpha_max = self.service.domain.alpha_max
        for alphas in neighbours(here, self.names, self.moved, alpha_max):
            if ticket != self._newest or not self.service.decodes_ahead:
                return
            if alphas in self._frames or self._on_path(alphas) is not None:
                continue
            latent = latent_at(self.opened, self.directions, alphas)
            frame = self.service.decode_live(latent, self.opened, Urgency.MAP)
            self._keep(frame, alphas, ticket)
            yield

    def frame_in_full(self, alphas: Alphas) -> Frame:
        """Return the picture at a position, decoded in full; it is kept."""
        frame = self.known(alphas)
        if frame is None or frame.live:
            latent = latent_at(self.opened, self.directions, alphas)
            frame = self.service.decode_now(latent, self.opened)
            self.keep(alphas, frame)
        return frame

    def known(self, alphas: Alphas) -> Frame | None:
        """Return the frame at a position that is known, one of the full decoder if there is one."""
        kept = self._frames.get(alphas)
        return kept if kept is not None and not kept.live else self._on_path(alphas) or kept

    def _on_path(self, alphas: Alphas) -> Frame | None:
        """Return the frame at a position that lies on a decoded path; None elsewhere."""
        if len(alphas) != 1:
            return None
        (name, alpha), *_ = alphas.items()
        played = self.paths.played(name)
        if played is None:
            return None
        path = played.path
        i = int((path.alphas - alpha).abs().argmin())
        if abs(float(path.alphas[i]) - alpha) > 1e-3:
            return None
        return path_frame(path, i, self.service.domain.labels, played.opinion(i), played.fast)

    def _keep(self, frame: Frame, alphas: Alphas, ticket: int, show: bool = False) -> bool:
        """Keep a frame, and show it if asked; return False if the ticket is not the newest."""
        with self._lock:
            if ticket == self._newest:
                self._frames.keep(alphas, frame)
                if show:
                    self.current = frame
            return ticket == self._newest
