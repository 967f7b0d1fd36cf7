"""The decoded paths of an opened image along its directions."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from cachetools import LRUCache

from gcd_core.errors import Cancel, GCDError
from gcd_core.method.path import Path
from gcd_core.ui.engine.jobs import Job, Rank
from gcd_core.ui.frames import End, Ends, Opinion
from gcd_core.wording import duration, enumerated

MAX_WAIT_SECONDS = 60.0  # how long somebody waits for a path while others' paths go first
REPORT_SECONDS = 2.0  # how often somebody who waits is told again how many paths go first
IMAGE_LEFT = "Another image was opened meanwhile: ask again about the one that is open now."

Before = tuple[int, float | None]  # other images' paths that go first, and about how many seconds


class DecodedPath(NamedTuple):
    """A decoded path, and what the browser plays of it."""

    path: Path
    film: str  # the pictures and maps as `path_to_sprites` returns them
    # The oracle's, one for each picture; empty where it was not asked.
    opinions: Sequence[Opinion] = ()
    fast: bool = False  # whether the fast decoder drew it

    def opinion(self, index: int) -> Opinion | None:
        """Return the oracle's opinion of one picture, None where it was not asked."""
        return self.opinions[index] if self.opinions else None


class Paths(Job):
    """Decodes the paths of one opened image, so many directions at a step.

    The directions come in the given order, but one that a visitor waits for comes next. After the
    first path the ends of all others are drawn, where `draw_ends` is given. Of several images'
    paths those go first that a visitor waits for, then those of which fewest are ready.
    Sessions join and leave. When the last one has left, the work ends, or, where the paths are
    kept, it goes on when another session joins.

    Parameters
    ----------
    make : callable
        Takes directions' names and a `Cancel`, and decodes the path of each, in their order.
    names : list of str
        The directions.
    find : callable, optional
        Returns the path of a name that is kept on disk, or None. Call `take_found` then; nothing is
        decoded before.
    draw_ends : callable, optional
        Takes names of directions and a `Cancel`, and returns the two ends of each by its name.
    size : int
        Bytes that all pictures together take.
    owner : hashable, optional
        As of `Job`.
    together : int
        How many directions are decoded at a step.
    at_once : int
        How many at the first step, and while a visitor waits for one.
    """

    def __init__(
        self,
        make: Callable[[list[str], Cancel], Iterator[DecodedPath]],
        names: list[str],
        find: Callable[[str], DecodedPath | None] | None = None,
        kept: bool = False,
        size: int = 0,
        owner: Hashable = None,
        draw_ends: Callable[[list[str], Cancel], dict[str, Ends]] | None = None,
        together: int = 1,
        at_once: int = 1,
    ) -> None:
        super().__init__(owner=owner)
        self._together, self._at_once = together, at_once
        self._make, self._find, self._waiting = make, find, list(names)
        self._draw_ends, self._ends = draw_ends, dict[str, Ends]()
        self.arrivals = 0  # how often something came: a path, or the ends of all
        self.total, self.size = len(names), size
        self._kept, self._sessions = kept, 0
        self._asked: list[str] = []  # the names that visitors wait for, one for each visitor
        self._done: dict[str, DecodedPath] = {}

    def rank(self) -> Rank | None:
        """As the class says; None while no session looks at the paths, or some may be on disk."""
        if self._find is not None or not self._sessions:
            return None
        return (0 if self._is_asked else 1), len(self._done)

    def take_found(self, _: Job | None = None) -> None:
        """Take the paths that are kept on disk; the others are decoded."""
        find = self._find
        try:
            for name in list(self._waiting) if find is not None else ():
                played = None if find is None or self.cancelled.is_set() else find(name)
                if played is not None:
                    self._take(name, played)
        finally:
            self._find = None
            self._go_on()

    def advance(self) -> bool:
        """Decode the next paths, or draw the ends of all."""
        with self._news:
            urgent = self._is_asked or not self._done
            names = self._waiting[: self._at_once if urgent else self._together]
            several = len(self._waiting) > 1  # of one, its path shows the ends as soon
            draw = self._draw_ends if several and self._done and not self._is_asked else None
        if draw is not None:
            self._draw_ends, self.failure = None, "The ends of the directions could not be drawn."
            ends = draw(list(self._waiting), self.cancelled)
            with self._news:
                self._ends |= ends
                self.arrivals += 1
                self._news.notify_all()
        elif names:
            self.failure = f"The path along {enumerated(names)} could not be decoded."
            for name, played in zip(names, self._make(names, self.cancelled), strict=True):
                self._take(name, played)
        return not self._waiting

    def _take(self, name: str, played: DecodedPath) -> None:
        with self._news:
            self._done[name] = played
            self._waiting.remove(name)
            self.arrivals += 1
            self._news.notify_all()

    def get(self, name: str) -> Path | None:
        """Return the path along a direction, or None where it is not decoded yet."""
        played = self._done.get(name)
        return None if played is None else played.path

    def ends(self, name: str) -> Ends | None:
        """Return the pictures at a direction's two ends; None where they are not drawn yet."""
        if name not in self._ends and (path := self.get(name)) is not None:
            low, high = (
                End(float(path.alphas[i]), float(path.probabilities[i]), path.images[i][None])
                for i in (0, -1)
            )
            self._ends[name] = low, high
        return self._ends.get(name)

    def played(self, name: str) -> DecodedPath | None:
        """Return the path along a direction with what the browser plays, or None likewise."""
        return self._done.get(name)

    def film(self, name: str) -> str:
        """Return a path's sprite sheets as JSON; "" where the path is not decoded yet."""
        played = self._done.get(name)
        return "" if played is None else played.film

    def wanted(self, name: str) -> Path:
        """Wait for the path along a direction and return it; raises as `awaited`."""
        for _ in self.awaited(name):
            pass
        return self._done[name].path

    def awaited(self, name: str) -> Iterator[Before]:
        """Wait for the path along a direction; yield who goes first, at once and then regularly.

        Raises a GCDError where decoding failed, another image was opened meanwhile, or several
        other images' paths still go first after a minute.
        """
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        with self._news:
            if name in self._waiting:
                self._waiting.remove(name)
                self._waiting.insert(0, name)
            self._asked.append(name)
        try:
            wait = 0.0
            while not self._arrived(name, wait):
                if time.monotonic() > deadline:
                    self._refuse_where_others_go_first()
                yield self.before
                wait = REPORT_SECONDS
        finally:
            with self._news:
                self._asked.remove(name)

    def _arrived(self, name: str, seconds: float) -> bool:
        """Wait for a path, at most so long; return whether it is there."""
        with self._news:
            self._news.wait_for(lambda: name in self._done or self._forsaken, seconds)
            if name not in self._done and self._forsaken:
                raise GCDError(self.error or IMAGE_LEFT)
            return name in self._done

    def _refuse_where_others_go_first(self) -> None:
        count, seconds = self.before
        if count > 1:
            wait = "in a few minutes" if seconds is None else f"in about {duration(seconds)}"
            raise GCDError(
                f"Many visitors are here: {count} pictures of others are prepared first. Try again "
                f"{wait}, or take an example meanwhile."
            )

    def news(self, seen: int, timeout: float = 1.0) -> int:
        """Wait until there were more than `seen` arrivals, at most so long; return how many."""
        with self._news:
            self._news.wait_for(lambda: self.arrivals > seen or self.finished, timeout)
            return self.arrivals

    @property
    def before(self) -> Before:
        """How many other images' paths go before the next of these, and about how many seconds."""
        return self.place, self.seconds_ahead

    @property
    def finished(self) -> bool:
        """Whether no more paths will come."""
        return self.cancelled.is_set() or not self.running or not self._waiting

    @property
    def gave_up(self) -> bool:
        """Whether no more paths will come although some are missing."""
        return self.finished and bool(self._waiting)

    @property
    def _forsaken(self) -> bool:
        """Whether those who wait for a path wait in vain."""
        return self.cancelled.is_set() or not self.running or not self._sessions

    @property
    def _is_asked(self) -> bool:
        """Whether a visitor waits for a path that is to be decoded."""
        return any(name in self._waiting for name in list(self._asked))

    @property
    def ready(self) -> int:
        """How many paths are decoded."""
        return len(self._done)

    def join(self) -> Paths:
        """Count one more session that looks at these paths."""
        with self._news:
            self._sessions += 1
        self._go_on()
        return self

    def _go_on(self) -> None:
        if self.queue is not None:
            self.queue.dispatch()

    def leave(self) -> None:
        """Count one session less; after the last, paths that are not kept end within a batch."""
        with self._news:
            self._sessions -= 1
        self._end_where_forsaken()

    def pause(self) -> None:
        """Decode no more while one session is away that looks at these paths."""
        with self._news:
            self._sessions -= 1
        self.changed()

    def drop(self) -> None:
        """Keep the paths no longer than a session looks at them."""
        self._kept = False
        self._end_where_forsaken()

    def _end_where_forsaken(self) -> None:
        self.changed()
        if not self._kept and not self._sessions:
            self.cancel()


class KeptPaths(LRUCache):
    """Paths that are kept for the next visitor; those that were used longest ago make room.

    Parameters
    ----------
    most : int
        Bytes of pictures to keep. The newest paths are kept even where they alone are more.
    """

    def __init__(self, most: int) -> None:
        super().__init__(most, getsizeof=lambda paths: min(paths.size, most))
        self._lock = threading.Lock()

    def popitem(self) -> tuple[Hashable, Paths]:
        """Take out the paths that were used longest ago."""
        key, paths = super().popitem()
        paths.drop()
        return key, paths

    def join(self, key: Hashable, make: Callable[[], Paths]) -> Paths:
        """Join the paths of a key; where they are not kept, `make` makes them, to be kept.

        So it does where a path could not be decoded: that may have been so for a moment only.
        """
        with self._lock:
            if key not in self or self[key].gave_up:
                self[key] = make()
            return self[key].join()
