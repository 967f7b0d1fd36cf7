"""The one thread in which the page's networks run, and who goes first in it."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from enum import IntEnum
from typing import Any, NamedTuple

import torch

from gcd_core.errors import GCDError

LONG_TASK_SECONDS = 0.05  # seconds that make a piece of work a long one
NICENESS = 10  # of 19 at most
MAX_BATCH = 8  # pieces of one sort that are worked off at a time
OVERDUE_SECONDS = 10.0  # after which work that waits to begin goes before more urgent work
CROWDED_TASKS = 3  # pieces that wait, from which on nothing is done that nobody asked for


CLOSING = "The page is being closed: open it again in a moment."


class Urgency(IntEnum):
    """How long a piece of work can wait, the most urgent first."""

    LIVE = 0  # somebody looks at the page and waits
    NEXT = 1  # somebody looks at something like it, or may ask for it next
    PATH = 2  # will be looked at soon
    SEARCH = 3  # is known to take a minute


class Task(NamedTuple):
    """Work that waits for its turn.

    Attributes
    ----------
    outcome : Future
    work : callable
        Takes a list of items and returns what came of each.
    item : object
    alike : bool
        Whether items of other pieces of the same `work` may stand in the same list.
    since : float
        When it came, on the monotonic clock.
    """

    outcome: Future
    work: Callable[[list[Any]], list[Any]]
    item: Any
    alike: bool
    since: float


class Compute:
    """Runs all work in one thread.

    That is fastest: each thread that computes has a team of workers of its own, and on few cores
    two teams more than halve each other's speed.

    Live work runs at once, other work in a pause of it. Long work calls `yield_to_urgent` between
    its batches: whatever is more urgent then runs in between, in the same thread. Where somebody
    always moves, it comes to its end all the same, as it then goes on for a moment.

    Parameters
    ----------
    quiet : float
        Seconds without live work after which other work goes on; people move sliders in bursts.
        Shared by all visitors: of many, one or another always moves.
    patience : float
        Seconds after which it goes on in any case.
    goes_on : float
        Seconds at most that it then goes on before it gives way again, if it was away so long.

    Attributes
    ----------
    visitors : int
        How many there are, 1 at least.
    """

    def __init__(self, quiet: float = 0.4, patience: float = 2.0, goes_on: float = 0.25) -> None:
        self._quiet, self._patience, self._most = quiet, patience, goes_on
        self.visitors = 1
        self._waiting: dict[Urgency, deque[Task]] = {urgency: deque() for urgency in Urgency}
        self._last_live = self._others_from = float("-inf")
        self._goes_on = dict.fromkeys(Urgency, float("-inf"))  # until then it need not give way
        self._news, self._closed = threading.Condition(), False
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._work, name="compute", daemon=True)
        self._thread.start()

    def run(self, urgency: Urgency, function: Callable[..., Any], *args: Any) -> Any:
        """Return what the function returns, or raise what it raises, when its turn has come.

        Raises
        ------
        GCDError
            If the page is being closed.
        """
        if threading.current_thread() is self._thread:
            return function(*args)
        return self._in_line(urgency, lambda _: [function(*args)], None, alike=False)

    def run_alike(
        self, urgency: Urgency, function: Callable[[list[Any]], list[Any]], item: Any
    ) -> Any:
        """Return what comes of an item, when its turn has come; with others that wait for the same.

        Networks take several pictures in less time than one after the other.

        Parameters
        ----------
        urgency : Urgency
        function : callable
            Takes a list of items and returns what came of each, in their order. The same function
            means the same work.
        item : object

        Raises
        ------
        GCDError
            If the page is being closed.
        """
        if threading.current_thread() is self._thread:
            return function([item])[0]
        return self._in_line(urgency, function, item, alike=True)

    @property
    def crowded(self) -> bool:
        """Whether more waits than is done in a moment."""
        return sum(map(len, self._waiting.values())) >= CROWDED_TASKS

    def _in_line(
        self, urgency: Urgency, work: Callable[[list[Any]], list[Any]], item: Any, alike: bool
    ) -> Any:
        outcome: Future = Future()
        with self._news:
            if self._closed:
                raise GCDError(CLOSING)
            self._waiting[urgency].append(Task(outcome, work, item, alike, time.monotonic()))
            self._news.notify_all()
        return outcome.result()

    def yield_to_urgent(self, urgency: Urgency) -> None:
        """Run what is more urgent than this; elsewhere than in the thread, do nothing.

        All live work runs first, and the pause until the next of a burst is waited for; of other
        work one piece at a time, and after a long one this work goes on for as long as that took.
        """
        began = time.monotonic()
        if threading.current_thread() is not self._thread or began < self._goes_on[urgency]:
            return
        self._run_more_urgent(urgency)
        ended = time.monotonic()
        self._goes_on[urgency] = ended + min(ended - began, self._most)

    def _order(self) -> list[Urgency]:
        """The most urgent work first, but for what has waited long to begin."""
        long_ago = time.monotonic() - OVERDUE_SECONDS
        with self._news:
            since = {u: line[0].since for u, line in self._waiting.items() if line}
        return sorted(Urgency, key=lambda u: (since.get(u, long_ago) >= long_ago, u))

    def _run_more_urgent(self, urgency: Urgency) -> None:
        self._run_live()
        began = time.monotonic()
        if began < self._others_from:
            return
        if any(self._run_next(u) for u in Urgency if Urgency.LIVE < u < urgency):
            seconds = time.monotonic() - began
            if seconds > LONG_TASK_SECONDS:
                self._others_from = began + 2 * seconds
            self._run_live()

    def close(self) -> None:
        """End the thread, once all work that waits is done."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._thread.join()

    def _run_live(self) -> None:
        """Run live work until there is a pause in it, or patience ends."""
        deadline = time.monotonic() + self._patience
        while True:
            if self._run_next(Urgency.LIVE) and time.monotonic() < deadline:
                continue
            quiet = self._last_live + self._quiet / self.visitors
            pause = min(quiet, deadline) - time.monotonic()
            if pause <= 0:
                return
            with self._news:
                if not self._waiting[Urgency.LIVE]:
                    self._news.wait(pause)

    def _run_next(self, urgency: Urgency) -> bool:
        """Run one piece of work of an urgency, and those like it; False where none waits."""
        with self._news:
            if not self._waiting[urgency]:
                return False
            pieces = self._next_alike(urgency)
        try:
            results = pieces[0].work([piece.item for piece in pieces])
            for piece, result in zip(pieces, results, strict=True):
                piece.outcome.set_result(result)
        except BaseException as error:
            if len(pieces) == 1:
                pieces[0].outcome.set_exception(error)
            for piece in pieces:  # what fails for one of them need not for the others
                if not piece.outcome.done():
                    self._run_alone(piece)
        if urgency == Urgency.LIVE:
            self._last_live = time.monotonic()
        return True

    @staticmethod
    def _run_alone(piece: Task) -> None:
        try:
            piece.outcome.set_result(piece.work([piece.item])[0])
        except BaseException as error:
            piece.outcome.set_exception(error)

    def _next_alike(self, urgency: Urgency) -> list[Task]:
        """Take the first piece of work out of the line, and some of those like it behind it."""
        line = self._waiting[urgency]
        first = line.popleft()
        if not first.alike:
            return [first]
        others = [piece for piece in line if piece.alike and piece.work == first.work]
        others = others[: MAX_BATCH - 1]
        for piece in others:
            line.remove(piece)
        return [first, *others]

    def _work(self) -> None:
        lower_thread_priority()
        torch.set_num_threads(self._threads)
        while True:
            self._run_live()
            if any(self._run_next(urgency) for urgency in self._order()):
                continue
            with self._news:
                if any(self._waiting.values()):
                    continue
                if self._closed:
                    return
                self._news.wait()


def lower_thread_priority() -> None:
    """Let this thread, and those it starts, make way for the page's others, where Linux is.

    Handlers need milliseconds of a core that the networks keep busy for as long as there is work.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # where a container forbids it, all go on alike
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def limit_torch_threads(compute: Compute) -> None:
    """Let threads that start from now on, the page's handlers, compute without helpers."""
    compute.run(Urgency.LIVE, torch.get_num_threads)
    torch.set_num_threads(1)
