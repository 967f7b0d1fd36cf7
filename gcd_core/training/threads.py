"""How many threads the steps of a training on a CPU take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

WARM_UP = 60  # steps before anything is timed
TRIED = 8  # steps that a number of threads is timed for
KEPT = 400  # steps that the fastest is kept for, before all are timed again


class Threads:
    """Times steps with few and with many threads, and keeps the fastest, time and again.

    Small steps gain little from a second thread, and lose much where another program is on the
    core: each operation waits for the last thread. Which is fastest changes while one trains.

    Parameters
    ----------
    most : int
        Threads at most; 1 leaves nothing to choose. PyTorch's own number comes first.
    """

    def __init__(self, most: int) -> None:
        self.counts = [most]  # threads: all, half of them, a quarter, ..., 1
        while self.counts[-1] > 1:
            self.counts.append(self.counts[-1] // 2)
        self._times: dict[int, list[float]] = {}
        self._turns = self._order()
        self.now = most

    def _order(self) -> Iterator[int]:
        """Yield for each step how many threads it takes."""
        yield from [self.counts[0]] * WARM_UP
        while True:
            self._times = {count: [] for count in self.counts}
            for count in self.counts:
                yield from [count] * TRIED
            fastest = min(self.counts, key=lambda count: statistics.median(self._times[count]))
            self._times = {}
            yield from [fastest] * KEPT

    @contextmanager
    def step(self) -> Iterator[None]:
        """Take a step inside; what comes between two steps has all threads."""
        self.now = next(self._turns)
        torch.set_num_threads(self.now)
        began = time.monotonic()
        try:
            yield
        finally:
            torch.set_num_threads(self.counts[0])
        if self.now in self._times:
            self._times[self.now].append(time.monotonic() - began)
