"""The searches for directions: those that run, and the line of those that wait."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.search import Progress, Question, Samples
from gcd_core.method.settings import Settings

LOG = logging.getLogger(__name__)

NEWEST = 12  # perturbed pictures to show
LAST = 8  # searches whose time tells what the next ones will take


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
            self.newest = [*newest, *self.newest][:NEWEST]
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
        self._took: deque[float] = deque(maxlen=LAST)  # seconds, of the last that came to their end
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
        except Cancelled as stopped:
            search.samples = getattr(stopped, "samples", None)
            search.state = "cancelled"
        except GCDError as error:
            search.samples = getattr(error, "samples", None)
            search.message, search.state = str(error), "failed"
        except Exception as error:  # whatever it is, the page must say that the search is over
            LOG.exception("A search failed.")
            search.samples = getattr(error, "samples", None)
            search.message = "The search failed unexpectedly; try again."
            search.state = "failed"
