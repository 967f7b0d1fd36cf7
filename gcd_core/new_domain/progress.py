"""A line that says how far the whole and the part are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from gcd_core.wording import duration

EVERY = 1.0  # seconds between two looks at the clock


class ProgressLine:
    """Writes each part's name, and, where a person looks on, a line that moves.

    Parameters
    ----------
    stream : text file
        Where to; a terminal has the moving line.
    whole : float
        Minutes of the whole plan.
    tick : callable
        Called every few seconds of a part with the seconds since its beginning.
    """

    def __init__(self, stream: TextIO, whole: float, tick: Callable[[float], None]) -> None:
        self.stream, self.whole, self.tick = stream, whole, tick
        self.moves = stream.isatty()

    @contextmanager
    def part(self, words: str, minutes: float, spent: float) -> Iterator[None]:
        """Tell of a part of so many minutes, begun after `spent` minutes of the whole."""
        start, done = time.monotonic(), threading.Event()
        self._write(f"[{spent:4.0f} of {self.whole:.0f} min] {words} (about {minutes:.1f} min)\n")

        def watch() -> None:
            while not done.wait(EVERY):
                seconds = time.monotonic() - start
                self.tick(seconds)
                if self.moves:
                    self._write(self._line(words, minutes, spent, seconds))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()
            took = duration(time.monotonic() - start)
            self._write(f"{self._blank()}    took {took}\n")

    def _line(self, words: str, minutes: float, spent: float, seconds: float) -> str:
        share = min(1.0, seconds / 60 / max(minutes, 1e-9))
        of_all = min(1.0, (spent + seconds / 60) / self.whole)
        bar = "#" * round(20 * of_all)
        return f"\r[{bar:20}] {of_all:4.0%}   {words}: {share:.0%}   "[:100]

    def _blank(self) -> str:
        return f"\r{'':100}\r" if self.moves else ""

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()
