"""The sliders of one opened image: where they stand, and the picture at that position."""

from __future__ import annotations

import itertools
import math
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
    POINTS,
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
from gcd_core.ui.session.full_points import with_full_point

STRONGEST = "strongest"  # the target in whose place a margin stands otherwise
FIRST_STEP, HALVINGS = 0.125, 2  # of a slider stop, to find a flip's picture in full


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
        # Paths with their flips drawn in full, and the flips' indices, by direction and target.
        self._flips: dict[tuple[str, float | str], tuple[Path, int]] = {}
        self._in_full: dict[str, Path] = {}  # whole paths by the full decoder, by direction
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
            self._flips.clear()
            self._in_full.clear()

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

    def move(
        self, alphas: Alphas, moved: str | None = None, target: float | None = None
    ) -> Frame | None:
        """Go to z_sem + sum of alpha_i v_i, and return the picture there.

        None if a newer move came meanwhile, or the image was left. `moved` is the direction that
        counts as the moved one; by default the first whose alpha changes. `target` is what
        `to_flip` was asked for.
        """
        if not self.names:
            raise GCDError("There are no directions to move along yet: find or load some first.")
        wanted = rounded(alphas, self.names)
        with self._lock:
            if self._left:
                return None
            ticket = self._newest = next(self._tickets)
            changed = [n for n in self.names if wanted.get(n, 0.0) != self.alphas.get(n, 0.0)]
            if moved or changed:
                self.moved = moved or changed[0]
            if target is not None or wanted != self.alphas:  # told again, a place is no new one
                self.target = target
            self.alphas = wanted
            frame = self._known(wanted)
        if frame is None:
            with self._decoding:
                if ticket != self._newest:
                    return None
                latent = latent_at(self.opened, self.directions, wanted)
                frame = self.service.decode_live(latent, self.opened)
        frame = self.service.second_opinion.on(frame)
        if not self._keep(frame, wanted, ticket, show=True):
            return None
        if self.service.decodes_ahead:
            self.service.ahead.follow(self, self._ahead(wanted, ticket))
        return frame

    def to_flip(self, name: str, margin: float | None) -> tuple[Frame | None, bool]:
        """Go to the counterfactual along a direction; all other sliders go to 0.

        Parameters
        ----------
        margin : float or None
            How far the probability must lie beyond the threshold, from 0 to 0.5. The nearest such
            picture is found by bisection. None goes to the most convincing picture of the path.

        Returns
        -------
        (Frame or None, bool)
            The picture as of `move`, and whether the prediction flips along the path. If it does
            not, the picture is the nearest to a flip.
        """
        path = self.path_now(name)
        key = name, STRONGEST if margin is None else margin
        if key not in self._flips:
            if margin is None:
                index = most_convincing(path)
            else:
                path = self._narrowed(path, name, margin)
                index = path.smallest
            self._flips[key] = self._drawn_in_full(path, name, index)
        path, index = self._flips[key]
        alpha = round(float(path.alphas[index]), 4)
        if alpha:
            frame = path_frame(path, index, self.service.domain.labels)
            frame = self.service.second_opinion.on(self._frames.get({name: alpha}) or frame)
            with self._lock:
                self._frames.keep({name: alpha}, frame)
        return self.move({name: alpha}, name, margin or 0.0), path.any_flip

    def flip_path(self, name: str) -> Path:
        """Wait for the path along a direction; return it with its counterfactual drawn in full.

        Raises as `path_now`.
        """
        path = self.path_now(name)
        key = name, f"{path.choice} {path.margin}"
        if key not in self._flips:
            self._flips[key] = self._drawn_in_full(path, name, path.counterfactual)
        return self._flips[key][0]

    def path_in_full(self, name: str) -> Path:
        """Wait for the path along a direction; return it, every point by the full decoder.

        For what is reported or taken home. Raises as `path_now`.
        """
        path = self.path_now(name)
        if not self._is_fast(name):
            return path
        if name not in self._in_full:
            task = self.opened, self.directions[name], path.label
            self._in_full[name] = self.service.walk_in_full(*task)
        return self._in_full[name]

    def _is_fast(self, name: str) -> bool:
        """Whether the fast decoder drew the path along a direction."""
        played = self.paths.played(name)
        return played is not None and played.fast

    def _narrowed(self, path: Path, name: str, margin: float) -> Path:
        """Return the path with the smallest change of this margin, found by bisection."""
        if (path.choice, path.margin) == (SMALLEST, margin):
            return path
        wanted, fast = replace(path, choice=SMALLEST, margin=margin), self._is_fast(name)
        return self.service.narrowed(wanted, self.directions[name], self.opened.latent, fast)

    def _drawn_in_full(self, path: Path, name: str, index: int) -> tuple[Path, int]:
        """Draw a point of a path in full, where the fast decoder drew it.

        Where the full picture is less convincing than the fast decoder had it, pictures farther
        along are tried, at twice the distance each time, and the last step is halved twice.
        """
        alpha, alpha_max = float(path.alphas[index]), self.service.domain.alpha_max
        if not alpha or not self._is_fast(name):
            return path, index
        stop = math.copysign(alpha_max / (POINTS // 2), alpha)

        def drawn(stops: float) -> tuple[Path, int, bool]:
            at = max(-alpha_max, min(alpha_max, alpha + stops * stop))
            made, i = self._with_full_point(path, name, round(at, 4))
            return made, i, bool(made.is_convincing[i])

        near, far = 0.0, FIRST_STEP
        found = drawn(near)
        if found[2] or not path.is_convincing[index]:
            return found[:2]
        while not (found := drawn(far))[2] and abs(alpha + far * stop) < alpha_max:
            near, far = far, 2 * far
        for _ in range(HALVINGS if found[2] else 0):
            middle = (near + far) / 2
            tried = drawn(middle)
            near, far = (near, middle) if tried[2] else (middle, far)
            found = tried if tried[2] else found
        return found[:2]

    def _with_full_point(self, path: Path, name: str, alpha: float) -> tuple[Path, int]:
        """Draw one position in full, keep its picture, and put it among a path's points."""
        service, alphas = self.service, {name: alpha}
        frame = self._frames.get(alphas)
        if frame is None or frame.live:
            latent = latent_at(self.opened, self.directions, alphas)
            frame = service.decode_now(latent, self.opened)
            with self._lock:
                self._frames.keep(alphas, frame)
        lam = service.domain.search.lam
        return with_full_point(path, alpha, frame, self.opened, service.domain.labels, lam)

    def draw_in_full(self) -> Frame | None:
        """Decode the current picture in full, in a pause between live moves.

        None if it is decoded in full already, or if a newer move came meanwhile.
        """
        with self._lock:
            frame, ticket, alphas = self.current, self._newest, self.alphas
        if not frame.live:
            return None
        full = self._known(alphas)
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
            frame = self.service.decode_live(latent, self.opened, Urgency.NEXT)
            self._keep(frame, alphas, ticket)
            yield

    def _known(self, alphas: Alphas) -> Frame | None:
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


def most_convincing(path: Path) -> int:
    """Index of the point that lies farthest beyond the threshold; nearest to it without a flip."""
    flipped = path.is_flipped if path.any_flip else torch.ones_like(path.is_flipped)
    beyond = (path.probabilities - path.threshold).abs() * (1 if path.any_flip else -1)
    return int(beyond.masked_fill(~flipped, -torch.inf).argmax())
