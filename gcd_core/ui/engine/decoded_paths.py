"""The decoded paths of an opened image, filled in the background."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.walk import Path
from gcd_core.ui.engine.jobs import FairQueue, Rank
from gcd_core.ui.frames import Opinion
from gcd_core.wording import duration

LOG = logging.getLogger(__name__)

MAX_WAIT_SECONDS = 60.0  # seconds that somebody waits while others go first
REPORT_SECONDS = 2.0  # seconds after which who waits is told again how many go first
IMAGE_LEFT = "Another image was opened before this path was ready."


Before = tuple[int, float | None]  # paths of others that go first, and about how many seconds


class DecodedPath(NamedTuple):
    """A decoded path, and what the browser plays of it.

    Attributes
    ----------
    path : Path
    film : str
        As of `path_to_sprites`.
    opinions : sequence of Opinion
        The oracle's of each picture of the path; empty where it was not asked.
    """

    path: Path
    film: str
    opinions: Sequence[Opinion] = ()

    def opinion(self, index: int) -> Opinion | None:
        """The oracle's of one picture."""
        return self.opinions[index] if self.opinions else None


class Paths:
    """The decoded paths of one opened image along every direction, filled in the background.

    The first direction (g) comes first; `wanted` puts another one at the head of the line. Among
    all images' paths those go first that somebody waits for, then those of which fewest are ready.
    Work stops when the last session leaves: for good, or, where `kept`, until another joins.

    Parameters
    ----------
    make : callable
        Decodes the path of a name, and its film, unless the event cancels that.
    names : list of str
    turns : FairQueue
        Who decodes has the turn.
    kept : bool
    find : callable, optional
        Returns the path of a name where it is kept from before: it needs no turn.
    """

    def __init__(
        self,
        make: Callable[[str, threading.Event], DecodedPath],
        names: list[str],
        turns: FairQueue,
        kept: bool = False,
        find: Callable[[str], DecodedPath | None] | None = None,
    ) -> None:
        self._find = find
        self._make, self._waiting, self._turns = make, list(names), turns
        self._kept, self._sessions, self._asked = kept, 0, 0
        self._own_rank = self._rank  # one object, by which the line knows it
        self._done: dict[str, DecodedPath] = {}
        self._failure: GCDError | None = None
        self._cancel = threading.Event()
        self._news = threading.Condition()
        self._total = len(names)
        self._thread = threading.Thread(target=self._run, name="paths", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._take_found()
        except Exception:  # then they are decoded
            LOG.exception("Kept paths could not be read.")
        while True:
            with self._news:
                self._news.wait_for(lambda: self._sessions or self._cancel.is_set())
                if self._cancel.is_set() or not self._waiting:
                    self._news.notify_all()
                    return
            with self._turns.turn(self._own_rank):
                with self._news:
                    if self._cancel.is_set() or not self._waiting:
                        self._news.notify_all()
                        return
                    name = self._waiting[0]
                try:
                    played = self._make(name, self._cancel)
                except Cancelled:
                    continue
                except Exception as error:  # whatever it is, nobody may wait for ever
                    if not isinstance(error, GCDError):
                        LOG.exception("The path along %s failed.", name)
                        error = GCDError(f"The path along {name} could not be decoded.")
                    with self._news:
                        self._failure = error
                        self._waiting.clear()
                        self._news.notify_all()
                    return
            with self._news:
                self._done[name] = played
                self._waiting.remove(name)
                self._news.notify_all()

    def _take_found(self) -> None:
        """Take those that are kept from before."""
        for name in list(self._waiting if self._find else []):
            played = None if self._cancel.is_set() or self._find is None else self._find(name)
            if played is not None:
                with self._news:
                    self._done[name] = played
                    self._waiting.remove(name)
                    self._news.notify_all()

    def get(self, name: str) -> Path | None:
        """Return the path along a direction, or None where it is not decoded yet."""
        played = self._done.get(name)
        return None if played is None else played.path

    def played(self, name: str) -> DecodedPath | None:
        """Return the path along a direction with what is known of it, or None likewise."""
        return self._done.get(name)

    def film(self, name: str) -> str:
        """Return a path's sprite sheets, as JSON; "" where it is not decoded yet."""
        played = self._done.get(name)
        return "" if played is None else played.film

    def wanted(self, name: str) -> Path:
        """Return the path along a direction, waited for; raises as `awaited`."""
        for _ in self.awaited(name):
            pass
        return self._done[name].path

    def awaited(self, name: str) -> Iterator[Before]:
        """Wait for the path along a direction; say at once and every few seconds who goes first.

        Raises
        ------
        GCDError
            Where decoding failed, another image was opened meanwhile, or after a minute others'
            paths still go first.
        """
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        with self._news:
            if name in self._waiting:
                self._waiting.remove(name)
                self._waiting.insert(0, name)
            self._asked += 1
            self._turns.changed()
        try:
            wait = 0.0
            while not self._arrived(name, time.monotonic() + wait):
                if time.monotonic() > deadline:
                    self._refuse_where_others_go_first()
                yield self.before
                wait = REPORT_SECONDS
        finally:
            with self._news:
                self._asked -= 1

    def _arrived(self, name: str, deadline: float) -> bool:
        """Whether a path is there, waited for until a moment of the monotonic clock."""
        with self._news:
            while name not in self._done:
                if self._failure is not None:
                    raise self._failure
                if self._cancel.is_set() or not self._sessions:  # whoever waits here has left
                    raise GCDError(IMAGE_LEFT)
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._news.wait(min(left, 0.5))
            return True

    def _refuse_where_others_go_first(self) -> None:
        count, seconds = self.before
        if count > 1:
            wait = "in a few minutes" if seconds is None else f"in about {duration(seconds)}"
            raise GCDError(
                f"Many visitors are here: {count} pictures of others are prepared first. Try again "
                f"{wait}, or take an example meanwhile."
            )

    def news(self, seen: int, timeout: float = 1.0) -> int:
        """Wait until more than `seen` paths are ready, and return how many are."""
        with self._news:
            self._news.wait_for(lambda: len(self._done) > seen or self.finished, timeout)
            return len(self._done)

    def _rank(self) -> Rank:
        """Those that end go before all: they leave the line at once, with all that they hold."""
        if self._cancel.is_set():
            return -1, 0
        return (0 if self._asked else 1), len(self._done)

    @property
    def before(self) -> Before:
        """How many paths of others go before the next of these, and about how many seconds."""
        count = self._turns.before(self._own_rank)
        return count, self._turns.seconds(count)

    @property
    def finished(self) -> bool:
        """Whether no more paths will come."""
        return self._cancel.is_set() or self._failure is not None or not self._waiting

    @property
    def watched(self) -> bool:
        """Whether a session looks at these paths."""
        return self._sessions > 0

    @property
    def ready(self) -> int:
        """How many paths are decoded."""
        return len(self._done)

    @property
    def total(self) -> int:
        """How many there are to decode."""
        return self._total

    def join(self) -> Paths:
        """Count one more session that looks at these paths."""
        with self._news:
            self._sessions += 1
            self._news.notify_all()
        return self

    def leave(self) -> None:
        """Count one session less; after the last, paths that are not kept stop in one batch."""
        with self._news:
            self._sessions -= 1
            if not self._sessions and not self._kept:
                self._cancel.set()
            self._news.notify_all()
        self._turns.changed()

    def drop(self) -> None:
        """Keep the paths no longer than somebody looks at them."""
        with self._news:
            self._kept = False
            if not self._sessions:
                self._cancel.set()
            self._news.notify_all()
        self._turns.changed()

    def stop(self) -> None:
        """End the work, whoever looks on, and wait until it has ended."""
        self._cancel.set()
        with self._news:
            self._news.notify_all()
        self._turns.changed()
        self._thread.join()


class KeptPaths:
    """Paths that are kept for whoever looks next; those that were begun first make room.

    Parameters
    ----------
    most : int
        Bytes of pictures to keep; the newest are kept even where they alone are more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Paths, int]] = OrderedDict()
        self._lock = threading.Lock()

    def join(self, key: Hashable, size: int, make: Callable[[], Paths]) -> Paths:
        """Join the paths of a key, made where they are not kept; `size` in bytes is what they take.

        To keep them, `make` says so to `Paths`.
        """
        with self._lock:
            if key not in self._kept:
                while self._kept and self._size + size > self._most:
                    _, (oldest, _) = self._kept.popitem(last=False)
                    oldest.drop()
                self._kept[key] = make(), size
            return self._kept[key][0].join()

    @property
    def _size(self) -> int:
        return sum(size for _, size in self._kept.values())
