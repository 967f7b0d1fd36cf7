"""The moves of one opened image along its directions, and what is seen on the way."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from gcd_core.errors import GCDError
from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.directions import DirectionSet
from gcd_core.method.walk import Path
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


class Moves:
    """Where the sliders of one opened image stand, the picture there, and those seen before.

    It begins at rest. Each move has a ticket: what was decoded for an older one is not shown when
    it comes. Another image, label or set of directions has moves of its own.

    Parameters
    ----------
    service : ModelService
    opened : Opened
    directions : DirectionSet or None
        None where the label has none yet: the image stays at rest then.
    paths : Paths or None
        The image's paths along them, joined; `leave` leaves them.
    """

    def __init__(
        self,
        service: ModelService,
        opened: Opened,
        directions: DirectionSet | None,
        paths: Paths | None,
    ) -> None:
        self.service, self.opened = service, opened
        self.directions, self.paths = directions, paths
        self.names = [] if directions is None else shown_names(directions)
        self.alphas: Alphas = {}
        self.moved = self.names[0] if self.names else "g"
        self.current: Frame = opened.rest
        self._frames = KeptFrames(opened.rest)
        self._targets: dict[tuple[str, float], Path] = {}
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
            self._targets.clear()
        if self.paths is not None:
            self.paths.leave()

    # -- paths ---------------------------------------------------------------------------------

    def path(self, name: str) -> Path | None:
        """Return the path along a direction, or None where it is not decoded yet."""
        return None if self.paths is None else self.paths.get(name)

    def path_now(self, name: str) -> Path:
        """Return the path along a direction, waited for.

        Raises
        ------
        GCDError
            Where there is no such direction, its path cannot be decoded, the image was left, or
            after a minute others' paths still go first.
        """
        path = self._paths_with(name).wanted(name)
        if self._left:
            raise GCDError(IMAGE_LEFT)
        return path

    def awaited(self, name: str) -> Iterator[Before]:
        """Wait for a path, and say at once and every few seconds who goes first.

        Raises as `path_now`, which returns at once afterwards.
        """
        yield from self._paths_with(name).awaited(name)

    def _paths_with(self, name: str) -> Paths:
        if self.paths is None:
            raise GCDError("There is no direction to follow yet: open an image first.")
        if name not in self.names:
            raise GCDError(
                f"There is no direction {name!r} to follow: choose one of {', '.join(self.names)}."
            )
        return self.paths

    def position(self) -> tuple[Frame, Alphas, bool]:
        """The current picture, where the sliders stand, and whether it is the one from there."""
        with self._lock:
            frame, alphas = self.current, dict(self.alphas)
            return frame, alphas, self._frames.get(alphas) is frame

    def still_wanted(self) -> Callable[[], bool]:
        """Return what says whether no newer position has come since."""
        with self._lock:
            ticket = self._newest
        return lambda: ticket == self._newest

    # -- moving --------------------------------------------------------------------------------

    def move(self, alphas: Alphas, moved: str | None = None) -> Frame | None:
        """Go to z_sem + sum of alpha_i v_i; None where a newer position came meanwhile."""
        if self.directions is None:
            raise GCDError("There are no directions to move along yet: find or load some first.")
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
                frame = self.service.decode_live(latent, self.opened.image)
        frame = self.service.second_opinion.on(frame)
        if not self._arrive(frame, wanted, ticket):
            return None
        if self.service.decodes_ahead:
            self.service.ahead.follow(self, self._ahead(self.directions, wanted, ticket))
        return frame

    def to_flip(self, name: str, margin: float | None) -> tuple[Frame | None, bool]:
        """Go to a direction's counterfactual; say whether the prediction flipped there.

        Parameters
        ----------
        name : str
        margin : float or None
            How far beyond the threshold its probability is to lie, 0 to 0.5: the nearest picture of
            which that is so, found by bisection. None goes to the most convincing one.
        """
        path = self.path_now(name)
        if margin is None:
            flipped = path.is_flipped if path.flipped else torch.ones_like(path.is_flipped)
            beyond = (path.probabilities - path.threshold).abs() * (1 if path.flipped else -1)
            index = int(beyond.masked_fill(~flipped, -torch.inf).argmax())
        else:
            path = self._narrowed(path, name, margin)
            index = path.smallest
        alpha = round(float(path.alphas[index]), 4)
        if alpha:
            with self._lock:
                frame = path_frame(path, index, self.service.domain.labels)
                self._frames.keep({name: alpha}, self.service.second_opinion.on(frame))
        return self.move({name: alpha}, name), bool(path.flipped)

    def _narrowed(self, path: Path, name: str, margin: float) -> Path:
        """The path along a direction with the smallest change of a margin found by bisection."""
        if (path.choice, path.margin) == (SMALLEST, margin) or self.directions is None:
            return path
        found = self._targets.get((name, margin))
        if found is None:
            wanted = replace(path, choice=SMALLEST, margin=margin)
            found = self.service.narrowed(wanted, self.directions[name], self.opened.latent)
            self._targets[name, margin] = found
        return found

    def draw_in_full(self) -> Frame | None:
        """Decode the current picture in full, where the live decoder drew it, in a pause of moves.

        None where it is full already, or a newer position came meanwhile.
        """
        with self._lock:
            frame, ticket, alphas = self.current, self._newest, self.alphas
        if self.directions is None or not frame.live:
            return None
        full = self._on_path(alphas) or self.service.decode_later(
            latent_at(self.opened, self.directions, alphas),
            self.opened.image,
            lambda: ticket == self._newest and self.current is frame,
        )
        if full is None:
            return None
        full = self.service.second_opinion.on(full)
        return full if self._arrive(full, alphas, ticket) else None

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
        alpha_max = self.service.domain.alpha_max
        for alphas in neighbours(here, self.names, self.moved, alpha_max):
            if ticket != self._newest or not self.service.decodes_ahead:
                return
            if alphas in self._frames or self._on_path(alphas) is not None:
                continue
            latent = latent_at(self.opened, directions, alphas)
            frame = self.service.decode_live(latent, self.opened.image, Urgency.NEXT)
            self._keep(frame, alphas, ticket)
            yield

    def _on_path(self, alphas: Alphas) -> Frame | None:
        """The frame at a position, where it lies on a decoded path."""
        if len(alphas) != 1:
            return None
        (name, alpha), *_ = alphas.items()
        played = None if self.paths is None else self.paths.played(name)
        if played is None:
            return None
        path = played.path
        i = int((path.alphas - alpha).abs().argmin())
        if abs(float(path.alphas[i]) - alpha) > 1e-3:
            return None
        return path_frame(path, i, self.service.domain.labels, played.opinion(i))

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
