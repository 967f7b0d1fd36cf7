"""What is offered and made when somebody first asks for it: once, however many ask."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from gcd_core.errors import GCDError

LOG = logging.getLogger(__name__)

T = TypeVar("T")


class Offer(Generic[T]):
    """Something that is made in the background when it is first opened.

    Parameters
    ----------
    title : str
        What to call it in an error.
    make : callable
        Makes it. A GCDError of it is what those who asked are told; of another error, that it is in
        the server's log.
    turn : threading.Lock
        Held meanwhile: of the offers that have it in common, one is made at a time.
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
