"""Work in the background: what a job is, and the queues that run jobs."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor

from gcd_core.errors import Cancelled, GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.directions import DirectionSet
from gcd_core.method.samples import Question, Samples
from gcd_core.method.search_run import Progress, SearchInterrupted
from gcd_core.method.settings import BALL, Settings
from gcd_core.ui.engine.worker import CLOSING
from gcd_core.ui.frames import Opened

LOG = logging.getLogger(__name__)
STEPS_TIMED = 16  # the last steps of a queue; their mean time tells how long the next ones take
NEWEST_IMAGES_KEPT = 12  # the pictures of a search that are shown
Rank = tuple[int, int]


class Job:
    """Work that a `JobQueue` runs in the background, in one step or in several.

    Parameters
    ----------
    work : callable, optional
        Takes the job, does all of the work and returns the result. A subclass that works in several
        steps overrides `advance` instead.
    owner : hashable, optional
        Whose job it is: a queue may limit how many jobs an owner has, and can end all of them.
    failure : str, optional
        The sentence that is told where the work raises an error that is no GCDError.
    busy : str, optional
        The sentence that is told where the owner has too many such jobs.

    """

    failure = "That failed unexpectedly: check what was given, and try again."
    busy = "That is running already: cancel it or wait for it to end."

    def __init__(
        self,
        work: Callable[[Any], Any] | None = None,
        owner: Hashable = None,
        failure: str = "",
        busy: str = "",
    ) -> None:
        self.work, self.owner = work, owner
        self.failure, self.busy = failure or self.failure, busy or self.busy
        self.state = "waiting"  # then "running"; in the end "done", "cancelled" or "failed"
        self.error = ""  # why it failed, in a sentence
        self.progress: Any = None  # what was reported last
        self.result: Any = None  # what the work returned
        self.queue: JobQueue | None = None
        self.cancelled = threading.Event()  # long work looks at whether it is to end
        # Gives the result, or raises a GCDError with `error`, or Cancelled.
        self.ended: Future[Any] = Future()
        self.ended.set_running_or_notify_cancel()  # one who waits cannot cancel it for the others
        self._news, self._changes = threading.Condition(), 0

    def advance(self) -> bool:
        """Do the next step; return whether it was the last. The queue catches what it raises."""
        if self.work is not None:
            self.result = self.work(self)
        return True

    def rank(self) -> Rank | None:
        """Of the waiting jobs the one with the lowest rank goes first; None cannot go on now.

        It is asked for with the queue's lock held, so it must neither wait nor take a lock.
        """
        return 0, 0

    def cancel(self) -> None:
        """End the job: at once where it waits, as soon as its work notices where it runs."""
        self.cancelled.set()
        if self.queue is not None and self.queue.remove(self):
            self.end("cancelled")
        self.changed()

    def report(self, progress: Any) -> None:
        """Set the progress, and wake those who wait for news."""
        self.progress = progress
        self.changed()

    def changed(self) -> None:
        """Wake those who wait for news."""
        with self._news:
            self._changes += 1
            self._news.notify_all()

    def changed_since(self, count: int, seconds: float) -> int:
        """Wait for more than `count` changes or the end, at most so long; return their number."""
        with self._news:
            self._news.wait_for(lambda: self._changes > count or not self.running, seconds)
            return self._changes

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the end, at most so long; return whether the job has ended."""
        return bool(wait([self.ended], seconds).done)

    def end(self, state: str, error: str = "") -> None:
        """Set how the job ended; called once, by its queue."""
        with self._news:
            self.state, self.error = state, error
            self._changes += 1
            self._news.notify_all()
        if state == "done":
            self.ended.set_result(self.result)
        else:  # a new error: the traceback of the old one would keep what was half made
            self.ended.set_exception(GCDError(error) if state == "failed" else Cancelled())

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in ("waiting", "running")

    @property
    def place(self) -> int:
        """How many steps of other jobs must end before this one goes on; 0 while it runs."""
        return 0 if self.queue is None else self.queue.place(self)

    @property
    def seconds_ahead(self) -> float | None:
        """About how long those take, by the last ones; None where none has ended yet.

        Steps that run are counted in full, as nobody knows how much of them is left.
        """
        return None if self.queue is None else self.queue.seconds(self.place)


class JobQueue:
    """Runs jobs, so many at a time, each in a thread; the others wait in line.

    The waiting job with the lowest rank goes first, and of equal ranks the one that waits longest.
    A job of several steps goes to the end of the line after each. The threads end when no job can
    go on.

    Parameters
    ----------
    name : str
        What the jobs are called, in the plural.
    seats : int, optional
        How many run at a time; by default there is no limit.
    waiting : int, optional
        How many more may wait; by default there is no limit.
    each : int, optional
        How many jobs an owner may have, cancelled ones apart; by default there is no limit.
    """

    def __init__(
        self, name: str, seats: float = math.inf, waiting: float = math.inf, each: float = math.inf
    ) -> None:
        self._name, self._seats, self._most, self._each = name, seats, seats + waiting, each
        self._line: list[Job] = []
        self._running: list[Job] = []
        self._took: deque[float] = deque(maxlen=STEPS_TIMED)
        self._lock, self._closed = threading.Lock(), False

    def __len__(self) -> int:
        return len(self._running) + len(self._line)

    def submit(self, job: Job) -> None:
        """Put a job in the line.

        Raises a GCDError if there are as many jobs as may be, of all or of the job's owner, or the
        page is being closed.
        """
        with self._lock:
            if self._closed:
                raise GCDError(CLOSING)
            own = [other for other in self._of(job.owner) if not other.cancelled.is_set()]
            if job.owner is not None and len(own) >= self._each:
                raise GCDError(job.busy)
            if len(self) >= self._most:
                raise GCDError(
                    f"{len(self)} {self._name} run or wait here already, as many as this page "
                    "takes: try again in a few minutes."
                )
            job.queue = self
            self._line.append(job)
        self.dispatch()

    def follow(self, owner: Hashable, steps: Iterator[None]) -> None:
        """Run an iterator, an item at a step, in the place of the owner's jobs in this queue."""
        self.cancel(owner)
        self.submit(IteratorJob(steps, owner))

    def dispatch(self) -> None:
        """Start threads for jobs that can go on, where seats are free.

        Call it where the rank of a waiting job is None no more.
        """
        with self._lock:
            while len(self._running) < self._seats and (job := self._take()) is not None:
                threading.Thread(
                    target=self._run, args=(job,), name=self._name, daemon=True
                ).start()

    def remove(self, job: Job) -> bool:
        """Take a job out of the line; return whether it was there."""
        with self._lock:
            waits = job in self._line
            if waits:
                self._line.remove(job)
            return waits

    def place(self, job: Job) -> int:
        """How many steps must end before a job's next; 0 where it runs or cannot go on."""
        with self._lock:
            own = job.rank()
            if job not in self._line or own is None:
                return 0
            line = self._ranked()
            first = [one for one in line if one < (own, self._line.index(job))]
            return int(max(0, len(first) + len(self._running) + 1 - self._seats))

    def seconds(self, count: int) -> float | None:
        """About how long so many steps take, by the last ones; None before the first has ended."""
        with self._lock:
            if not self._took:
                return None
            return count / self._seats * sum(self._took) / len(self._took)

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._line)

    @property
    def idle(self) -> bool:
        """Whether no job runs, nor waits and could go on."""
        with self._lock:
            return not self._running and not self._ranked()

    def cancel(self, owner: Hashable) -> list[Job]:
        """Cancel the jobs of an owner, and return them."""
        with self._lock:
            jobs = self._of(owner)
        for job in jobs:
            job.cancel()
        return jobs

    def stop(self, owner: Hashable) -> None:
        """Cancel the jobs of an owner, and wait for their end."""
        wait([job.ended for job in self.cancel(owner)])

    def close(self) -> None:
        """Cancel all jobs, wait for their end, and take no more."""
        with self._lock:
            self._closed = True
            jobs = [*self._running, *self._line]
        for job in jobs:
            job.cancel()
        wait([job.ended for job in jobs])

    def _of(self, owner: Hashable) -> list[Job]:
        return [job for job in (*self._running, *self._line) if job.owner == owner]

    def _ranked(self) -> list[tuple[Rank, int]]:
        """Rank and index of those in the line that can go on; the lock is held."""
        ranks = [job.rank() for job in self._line]
        return [(rank, i) for i, rank in enumerate(ranks) if rank is not None]

    def _take(self) -> Job | None:
        """Take the job that goes first out of the line; the lock is held."""
        ranked = self._ranked()
        if not ranked:
            return None
        job = self._line.pop(min(ranked)[1])
        job.state = "running"
        self._running.append(job)
        return job

    def _run(self, job: Job | None) -> None:
        """What a thread does: one step of a job after the other, until none can go on."""
        while job is not None:
            ending = self._step(job)
            with self._lock:
                self._running.remove(job)
                if ending is None and job.cancelled.is_set():
                    ending = "cancelled", ""
                elif ending is None:
                    self._line.append(job)
            if ending is not None:
                job.end(*ending)
            with self._lock:
                job = self._take() if len(self._running) < self._seats else None

    def _step(self, job: Job) -> tuple[str, str] | None:
        """Do a job's next step; return how it ended, None where there are more steps.

        This is the one place where what a job raises is caught.
        """
        began = time.monotonic()
        try:
            last = job.advance()
        except Cancelled:
            return "cancelled", ""
        except GCDError as error:
            LOG.warning("One of the %s failed: %s", self._name, str(error))
            return "failed", str(error)
        except Exception:  # whatever it is, those who wait must be told
            LOG.exception("One of the %s failed. %s", self._name, job.failure)
            return "failed", job.failure
        with self._lock:
            self._took.append(time.monotonic() - began)
        return ("done", "") if last else None


class IteratorJob(Job):
    """A job that takes one item of an iterator at each step."""

    def __init__(self, steps: Iterator[None], owner: Hashable = None) -> None:
        super().__init__(owner=owner)
        self._steps = steps

    def advance(self) -> bool:
        """Take the next item."""
        return next(self._steps, self) is self


@dataclass(eq=False)  # two searches are never equal: their tensors are not to be compared
class Search(Job):
    """A search for directions; its result is a `DirectionSet`."""

    failure = "The search failed unexpectedly; try again."
    busy = "A search is running already: cancel it or wait for it to end."

    # (1, C, H, W), in [0, 1]: what it starts from, or what directions are tried on first; may be
    # None outside of the ball.
    image: Tensor | Picture | None
    name: str  # the image's; "" without one
    label: str  # the one to explain
    settings: Settings
    # At first those of an earlier search, to go on from; after a search that found nothing, those
    # that it asked about.
    samples: Samples | None = None
    opened: Opened | None = None  # what was open when the search began, if anything was
    sampled: int = 0  # how many samples the classifier was asked about
    kept: int = 0  # how many of them it went on from
    began: float | None = None  # when it first told of itself, on the monotonic clock
    told: float = 0.0  # when it last did
    usable: DirectionSet | None = None  # g, while the search still looks for a better one
    # The newest pictures asked about (C, H, W) first, and the label's probability of each.
    newest: list[tuple[Tensor, float]] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)  # the proxy's so far, by epoch
    validation_losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def advance(self) -> bool:
        """Search, and keep the samples of a search that ends before it has found directions."""
        try:
            return super().advance()
        except SearchInterrupted as error:
            self.samples = error.samples
            raise

    def answers(self, image: Tensor | Picture | None, question: Question) -> bool:
        """Whether a search of an image, with this question, can go on from these samples."""
        samples, anywhere = self.samples, question.sampling != BALL
        if samples is None or not (anywhere or self.image is image):
            return False
        return samples.question == question

    def set_name(self, directions: DirectionSet) -> str:
        """What a set that this search found is called."""
        if self.settings.sampling == BALL:
            return f"from {self.name}, seed {self.settings.seed}"
        answers = directions.metadata["settings"]["n_samples"]
        return f"{answers} answers, seed {self.settings.seed}"

    def report(self, progress: Progress) -> None:
        """Keep what the page shows of the progress."""
        self.told = time.monotonic()
        if self.began is None:
            self.began = time.monotonic()
            self.kept = self.sampled = 0 if self.samples is None else len(self.samples)
        if progress.stage == "perturb":
            self.sampled = progress.done
        if progress.images is not None and progress.probabilities is not None:
            newest = zip(progress.images, progress.probabilities.tolist(), strict=True)
            self.newest = [*newest, *self.newest][:NEWEST_IMAGES_KEPT]
        if progress.directions is not None:
            self.usable = progress.directions
        if progress.train_losses is not None:
            self.train_losses = list(progress.train_losses)
            self.validation_losses = list(progress.validation_losses or [])
        super().report(progress)


T = TypeVar("T")


class LazyResource(Generic[T]):
    """Something that is made in the background when it is first opened, once for all who open it.

    Parameters
    ----------
    title : str
        What it is called in an error.
    make : callable
        Makes it.
    queue : JobQueue
        Where it is made.
    """

    def __init__(self, title: str, make: Callable[[], T], queue: JobQueue) -> None:
        self._failure = f"{title} could not be opened; the server's log says why."
        self._make, self._queue = make, queue
        self._job: Job | None = None
        self._lock = threading.Lock()

    def open(self, again: bool = False) -> Job:
        """Return the job that makes it, begun by the first call; `again`, anew if that failed.

        Raises a GCDError if the page is being closed.
        """
        with self._lock:
            if self._job is None or (again and self._job.state == "failed"):
                job = Job(lambda _: self._make(), failure=self._failure)
                self._queue.submit(job)
                self._job = job
            return self._job

    @property
    def opened(self) -> T | None:
        """What was made; None before."""
        return None if self._job is None else self._job.result

    @property
    def problem(self) -> str:
        """Why it could not be made, in a sentence; empty where that is not so."""
        return "" if self._job is None else self._job.error
