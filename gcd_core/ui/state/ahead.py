"""What visitors may ask for next, decoded while nobody waits."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator

from gcd_core.errors import GCDError

LOG = logging.getLogger(__name__)


class Ahead:
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
