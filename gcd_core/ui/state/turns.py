"""Whose path is decoded next: one at a time for the whole page, and nobody is left behind."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LAST = 32  # paths whose time tells what the next ones will take
Rank = tuple[int, int]


class PathTurns:
    """The line of those who want a path decoded; the lowest rank goes first, then who came first.

    A rank is asked for each time that the turn is given, as it changes while one waits.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._line: list[Callable[[], Rank]] = []
        self._taken = False
        self._took: deque[float] = deque(maxlen=LAST)

    @contextmanager
    def turn(self, rank: Callable[[], Rank]) -> Iterator[None]:
        """Wait for the turn, and hold it inside."""
        with self._news:
            self._line.append(rank)
            self._news.wait_for(lambda: not self._taken and self._first() is rank)
            self._line.remove(rank)
            self._taken = True
        began = time.monotonic()
        try:
            yield
        finally:
            with self._news:
                self._taken = False
                self._took.append(time.monotonic() - began)
                self._news.notify_all()

    def before(self, rank: Callable[[], Rank]) -> int:
        """How many others' paths are decoded before the next of who waits with this rank."""
        with self._news:
            if rank not in self._line:
                return 0
            own, place = rank(), self._line.index(rank)
            ahead = [i for i, other in enumerate(self._line) if (other(), i) < (own, place)]
            return len(ahead) + self._taken

    def seconds(self, count: int) -> float | None:
        """About how long so many paths take, by the last ones; None before the first."""
        with self._news:
            return count * sum(self._took) / len(self._took) if self._took else None

    def changed(self) -> None:
        """Say that somebody's rank has changed."""
        with self._news:
            self._news.notify_all()

    def _first(self) -> Callable[[], Rank]:
        return min(self._line, key=lambda rank: rank())
