"""The searches for directions: those that run, and the line of those that wait."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from torch import Tensor

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.search import Progress, Question, Samples, SearchInterrupted
from gcd_core.method.settings import Settings

PATHS_TIMED = 32  # paths whose time tells what the next ones will take
Rank = tuple[int, int]


class FairQueue:
    """The line of those who want a path decoded; the lowest rank goes first, then who came first.

    A rank is asked for each time that the turn is given, as it changes while one waits.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._line: list[Callable[[], Rank]] = []
        self._taken = False
        self._took: deque[float] = deque(maxlen=PATHS_TIMED)

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


LOG = logging.getLogger(__name__)

NEWEST_IMAGES_KEPT = 12  # perturbed pictures to show
SEARCHES_TIMED = 8  # searches whose time tells what the next ones will take


@dataclass(eq=False)  # a search is itself only: its tensors are not to be compared
class RunningSearch:
    """A search for directions in the background, and what it has to show.

    Attributes
    ----------
    image : Tensor (1, C, H, W)
        What it starts from, in [0, 1]; `name` is the picture's.
    label : str
        To explain.
    settings : Settings
        Of the search.
    samples : Samples or None
        What was asked before, to go on from; after a search that did not end, what was asked.
    state : {"waiting", "running", "done", "cancelled", "failed"}
    message : str
        Why it failed.
    progress : Progress or None
        The newest.
    sampled : int
        Perturbations asked about so far.
    newest : list of (Tensor (C, H, W), float)
        The newest perturbed pictures with the label's probability, the newest first.
    train_losses, validation_losses : list of float
        The proxy's so far.
    directions : DirectionSet or None
        What it found.
    """

    image: Tensor
    name: str
    label: str
    settings: Settings
    samples: Samples | None = None
    state: str = "waiting"
    message: str = ""
    progress: Progress | None = None
    sampled: int = 0
    newest: list[tuple[Tensor, float]] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    directions: DirectionSet | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in ("waiting", "running")

    def answers(self, image: Tensor, question: Question) -> bool:
        """Whether what it has asked so far answers another search's question about an image."""
        samples = self.samples
        return samples is not None and self.image is image and samples.question == question

    def note(self, progress: Progress) -> None:
        """Take up news of the search."""
        self.progress = progress
        if progress.stage == "perturb":
            self.sampled = progress.done
        if progress.images is not None and progress.probabilities is not None:
            newest = zip(progress.images, progress.probabilities.tolist(), strict=True)
            self.newest = [*newest, *self.newest][:NEWEST_IMAGES_KEPT]
        if progress.train_losses is not None:
            self.train_losses = list(progress.train_losses)
            self.validation_losses = list(progress.validation_losses or [])


Find = Callable[[RunningSearch], DirectionSet]


class Searches:
    """The line of searches: the first of it run, each in a thread of its own, the others wait.

    Parameters
    ----------
    seats : int
        Searches that run at a time.
    waiting : int
        That may wait for others to end.
    """

    def __init__(self, seats: int = 1, waiting: int = 16) -> None:
        self._seats, self._most_waiting = seats, waiting
        self._took: deque[float] = deque(
            maxlen=SEARCHES_TIMED
        )  # seconds, of the last that came to their end
        self._line: list[RunningSearch] = []
        self._threads: dict[RunningSearch, threading.Thread] = {}
        self._news = threading.Condition()

    def start(self, search: RunningSearch, find: Find) -> None:
        """Put a search in the line; once it is among the first, `find` does it.

        That sets its state to "running" when it has begun.

        Raises
        ------
        GCDError
            If as many wait already as may.
        """
        thread = threading.Thread(target=self._run, args=(search, find), name="search", daemon=True)
        with self._news:
            if len(self._line) >= self._seats + self._most_waiting:
                raise GCDError(
                    f"{len(self._line)} searches run or wait here already, as many as this page "
                    "takes: try again in a few minutes."
                )
            self._line.append(search)
            self._threads[search] = thread
            thread.start()

    def cancel(self, search: RunningSearch) -> None:
        """End a search: at once where it waits, before its next batch where it runs."""
        with self._news:
            search.cancel.set()
            self._news.notify_all()

    def place(self, search: RunningSearch) -> int:
        """Return how many searches must end before this one begins."""
        with self._news:
            return self._place(search)

    @property
    def running(self) -> int:
        """How many searches run."""
        return min(len(self._line), self._seats)

    @property
    def waiting(self) -> int:
        """How many searches wait for others to end."""
        return len(self._line) - self.running

    def seconds_ahead(self, search: RunningSearch) -> float | None:
        """About how long a search waits, from how long the last ones took; None before the first.

        Those that run are counted in full, as nobody knows how much of them is left.
        """
        with self._news:
            if not self._took:
                return None
            return self._place(search) / self._seats * sum(self._took) / len(self._took)

    @property
    def idle(self) -> bool:
        """Whether no search runs or waits."""
        return not self._line

    def close(self) -> None:
        """End every search, and wait until they have ended."""
        with self._news:
            threads = list(self._threads.values())
            for search in self._line:
                search.cancel.set()
            self._news.notify_all()
        for thread in threads:
            thread.join()

    def _place(self, search: RunningSearch) -> int:
        if search not in self._line:
            return 0
        return max(0, self._line.index(search) - self._seats + 1)

    def _run(self, search: RunningSearch, find: Find) -> None:
        with self._news:
            self._news.wait_for(lambda: search.cancel.is_set() or not self._place(search))
        try:
            self._search(search, find)
        finally:
            with self._news:
                self._line.remove(search)
                del self._threads[search]
                self._news.notify_all()
            search.ended.set()

    def _search(self, search: RunningSearch, find: Find) -> None:
        """Run a search to its end, whatever that is, and note it."""
        if search.cancel.is_set():
            search.state = "cancelled"
            return
        began = time.monotonic()
        try:
            search.directions = find(search)
            search.state = "done"
            self._took.append(time.monotonic() - began)
        except Exception as error:  # whatever it is, the page must say that the search is over
            if isinstance(error, SearchInterrupted):
                search.samples = error.samples
            if isinstance(error, Cancelled):
                search.state = "cancelled"
                return
            search.message = str(error)
            if not isinstance(error, GCDError):
                LOG.exception("A search failed.")
                search.message = "The search failed unexpectedly; try again."
            search.state = "failed"


class Prefetcher:
    """A thread that advances one piece of foresight after the other, each visitor's in turn."""

    def __init__(self) -> None:
        self._work: OrderedDict[Hashable, Iterator[None]] = OrderedDict()
        self._news, self._closed = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    def follow(self, who: Hashable, work: Iterator[None]) -> None:
        """Take up somebody's work, a step for each item of the iterator, in place of any before."""
        with self._news:
            self._work[who] = work
            self._news.notify_all()

    def close(self) -> None:
        """End the thread, after the step that it is at."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._work or self._closed)
                if self._closed:
                    return
                who, work = self._work.popitem(last=False)
            try:
                next(work)
            except StopIteration:
                continue
            except GCDError as error:  # nobody asked for it, so nobody is told
                LOG.warning("Decoding ahead failed: %s", error)
                continue
            except Exception:
                LOG.exception("Decoding ahead failed.")
                continue
            with self._news:
                self._work.setdefault(who, work)  # unless there is newer work


T = TypeVar("T")


class LazyResource(Generic[T]):
    """Something that is made in the background when it is first opened.

    Parameters
    ----------
    title : str
        What to call it in an error.
    make : callable
        Makes it. A GCDError of it is what those who asked are told; of another error, that it is in
        the server's log.
    turn : threading.Lock
        AnswerServer meanwhile: of the offers that have it in common, one is made at a time.
    """

    def __init__(self, title: str, make: Callable[[], T], turn: threading.Lock) -> None:
        self.title = title
        self._make, self._turn = make, turn
        self._outcome: Future[T] | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def open(self, again: bool = False) -> Future[T]:
        """Have it made, unless it was asked for before; `again`, unless that did not fail.

        Returns
        -------
        Future
            Its result comes, or a GCDError. It cannot be cancelled: others wait for it too.
        """
        with self._lock:
            if self._outcome is None or (again and self._failure() is not None):
                self._outcome = outcome = Future[T]()
                outcome.set_running_or_notify_cancel()
                self._thread = threading.Thread(
                    target=self._run, args=(outcome,), name="offer", daemon=True
                )
                self._thread.start()
            return self._outcome

    @property
    def opened(self) -> T | None:
        """What was made; None before."""
        outcome = self._outcome
        if outcome is None or not outcome.done() or outcome.exception() is not None:
            return None
        return outcome.result()

    @property
    def problem(self) -> str:
        """Why it could not be made, in a sentence; empty where that is not so."""
        with self._lock:
            return str(self._failure() or "")

    def wait(self) -> None:
        """Return once it is not being made any more."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _failure(self) -> BaseException | None:
        outcome = self._outcome
        return outcome.exception() if outcome is not None and outcome.done() else None

    def _run(self, outcome: Future[T]) -> None:
        # An error is told anew: with its traceback it would keep what was made half.
        problem = f"{self.title} could not be opened; the server's log says why."
        try:
            with self._turn:
                made = self._make()
        except GCDError as error:
            problem = str(error)
        except Exception:
            LOG.exception("%s could not be opened.", self.title)
        else:
            outcome.set_result(made)
            return
        outcome.set_exception(GCDError(problem))
