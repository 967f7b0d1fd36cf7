"""Where the page's networks run: in one thread for all, in that of the caller, or elsewhere."""

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
from functools import partial
from typing import Any, NamedTuple

import torch

from gcd_core.errors import Cancel, GCDError

QUIET_SECONDS = 0.4  # without a move, after which work that waited for a pause of moves begins
CLOSING = "The page is being closed: open it again in a moment."
SWITCH_SECONDS = 0.0005  # that a thread keeps the interpreter while others wait for it
LONG_TASK_SECONDS = 0.05  # after a task that took longer, less urgent work goes on for as long
NICENESS = 10  # of the thread; 19 gives way most
MAX_BATCH = 8  # tasks of one kind that run together
OVERDUE_SECONDS = 10.0  # after which a task that waits goes before more urgent ones
CROWDED_TASKS = 3  # tasks that wait, from which on nothing is decoded that nobody asked for


class Urgency(IntEnum):
    """How urgent a task is, the most urgent first."""

    LIVE = 0  # a visitor waits for it
    NEXT = 1  # a visitor sees something similar meanwhile
    MAP = 2  # a map over what a visitor sees already, or what they may ask for next
    PATH = 3  # the paths of an opened image
    SEARCH = 4  # searches and walks of many images, which are known to take a minute


class Task(NamedTuple):
    """A call that waits for its turn."""

    outcome: Future
    # Takes a list of items and returns a result for each. Waiting tasks of the same work run in one
    # call.
    work: Callable[[list[Any]], list[Any]]
    item: Any
    since: float  # when it came, on the monotonic clock


class Runner:
    """Runs work of the networks at once, in the thread that asks for it.

    So it is where the classifier is asked over a network: while one visitor waits for its answer,
    the others need not.
    """

    def run(self, urgency: Urgency, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function; return what it returns or raise what it raises."""
        return function(*args)

    def run_alike(
        self, urgency: Urgency, function: Callable[[list[Any]], list[Any]], item: Any
    ) -> Any:
        """Run a function on an item, in one call with other items that wait for the same function.

        Networks take several pictures in less time than one after the other.

        Parameters
        ----------
        function : callable
            Takes a list of items and returns a result for each, in their order.
        """
        return function([item])[0]

    def run_long(
        self,
        urgency: Urgency,
        function: Callable[..., Any],
        *args: Any,
        cancel: Cancel,
        report: Callable[..., None] = lambda *_: None,
        **options: Any,
    ) -> Any:
        """Run a long function, with its `progress` and `cancel` given by name.

        Parameters
        ----------
        function : callable
            Takes the arguments and options.
        cancel : Cancel
            Ends it before its next batch.
        report : callable, optional
            Takes what the function reports.
        """
        hooks = self.hooks(urgency, cancel, report)
        return self.run(urgency, partial(function, **hooks, **options), *args)

    def hooks(
        self, urgency: Urgency, cancel: Cancel, report: Callable[..., None] = lambda *_: None
    ) -> dict[str, Any]:
        """Return what a long function is given beside its own arguments."""
        return {"progress": report, "cancel": cancel}

    def wait_for_pause(self) -> None:
        """Wait for as long as a pause between the moves of a slider takes."""
        time.sleep(QUIET_SECONDS)


class ProcessRunner(Runner):
    """Runs each call in a process of its own, from which it cannot report nor be cancelled.

    The functions that it is given start that process themselves (`hosting.gpu`).
    """

    def hooks(
        self, urgency: Urgency, cancel: Cancel, report: Callable[..., None] = lambda *_: None
    ) -> dict[str, Any]:
        """Return nothing: the function hears nothing of this process."""
        return {}


class Compute(Runner):
    """Runs all the networks' work in one thread.

    PyTorch has a pool of workers for each thread that computes. On few cores two pools more than
    halve each other's speed, so one thread is fastest.

    Live work runs first. Other work begins when no live work has come for a moment, because people
    move sliders in bursts. Long work calls `yield_to_urgent` between its batches: more urgent work
    then runs in between, in the same thread. Where live work never pauses, long work goes on all
    the same after a while.

    Parameters
    ----------
    quiet : float
        Seconds without live work after which other work begins. It is divided by the number of
        visitors: of many, one or another always moves.
    patience : float
        Seconds after which other work goes on in any case.
    goes_on : float
        Seconds at most that it then goes on before it yields again.

    Attributes
    ----------
    visitors : int
        How many there are, 1 at least.
    """

    def __init__(
        self, quiet: float = QUIET_SECONDS, patience: float = 2.0, goes_on: float = 0.25
    ) -> None:
        self._quiet, self._patience, self._most = quiet, patience, goes_on
        self.visitors = 1
        self._waiting: dict[Urgency, deque[Task]] = {urgency: deque() for urgency in Urgency}
        self._last_live = self._others_from = float("-inf")
        self._goes_on = dict.fromkeys(Urgency, float("-inf"))  # until then it need not yield
        self._news, self._closed = threading.Condition(), False
        self._threads = torch.get_num_threads()
        self._thread = threading.Thread(target=self._work, name="compute", daemon=True)
        self._thread.start()

    def run(self, urgency: Urgency, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in the thread; return what it returns or raise what it raises.

        Raises a GCDError if the page is being closed.
        """
        return self.run_alike(urgency, lambda _: [function(*args)], None)

    def run_alike(
        self, urgency: Urgency, function: Callable[[list[Any]], list[Any]], item: Any
    ) -> Any:
        """As `Runner.run_alike`; raises as `run`."""
        if threading.current_thread() is self._thread:
            return function([item])[0]
        outcome: Future = Future()
        with self._news:
            if self._closed:
                raise GCDError(CLOSING)
            self._waiting[urgency].append(Task(outcome, function, item, time.monotonic()))
            self._news.notify_all()
        return outcome.result()

    def hooks(
        self, urgency: Urgency, cancel: Cancel, report: Callable[..., None] = lambda *_: None
    ) -> dict[str, Any]:
        """As of any runner; more urgent work runs between the function's batches."""

        def progress(*news: Any) -> None:
            report(*news)
            self.yield_to_urgent(urgency)

        return {"progress": progress, "cancel": cancel}

    def wait_for_pause(self) -> None:
        """Go on: what is less urgent than a move waits for its turn in any case."""

    @property
    def crowded(self) -> bool:
        """Whether so many tasks wait that nothing should be added that nobody asked for."""
        return sum(map(len, self._waiting.values())) >= CROWDED_TASKS

    def yield_to_urgent(self, urgency: Urgency) -> None:
        """Run what is more urgent than this; in any other thread, do nothing.

        All live work runs first, until it pauses. Of other work one task runs; after one that took
        long, the work that yielded goes on for as long as that took.
        """
        began = time.monotonic()
        if threading.current_thread() is not self._thread or began < self._goes_on[urgency]:
            return
        self._run_more_urgent(urgency)
        ended = time.monotonic()
        self._goes_on[urgency] = ended + min(ended - began, self._most)

    def _order(self) -> list[Urgency]:
        """Return the most urgent first, but before them those whose first task is overdue."""
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
        """Run the first task of an urgency, and those like it; False where none waits."""
        with self._news:
            line = self._waiting[urgency]
            if not line:
                return False
            tasks = [task for task in line if task.work == line[0].work][:MAX_BATCH]
            for task in tasks:
                line.remove(task)
        self._run(tasks)
        if urgency == Urgency.LIVE:
            self._last_live = time.monotonic()
        return True

    def _run(self, tasks: list[Task]) -> None:
        """Run tasks in one call; where that fails, each alone, as the others need not fail.

        One that runs between the batches of another finds autograd as it is outside of it: a bridge
        needs gradients, and the paths that give way to it are decoded without.
        """
        try:
            with torch.inference_mode(False), torch.enable_grad():
                results = tasks[0].work([task.item for task in tasks])
            answered = list(zip(tasks, results, strict=True))
        except BaseException as error:
            if len(tasks) == 1:
                tasks[0].outcome.set_exception(error)
                return
            for task in tasks:
                self._run([task])
        else:
            for task, result in answered:
                task.outcome.set_result(result)

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
    """Lower the priority of this thread and of those it starts, on Linux.

    The page's handlers need a core for milliseconds, and the networks keep all cores busy.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):  # where a container forbids it, the priority stays
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def limit_torch_threads(compute: Compute) -> None:
    """Let threads that start from now on, the page's handlers, compute on one core each.

    And let all give way to each other sooner. A network gives the interpreter back at each of its
    hundreds of layers, and would wait Python's 5 ms for it whenever a handler is at work.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    compute.run(Urgency.LIVE, torch.get_num_threads)
    torch.set_num_threads(1)
