"""Waiting for what other threads do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from gcd_core.ui.session.session import Session


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return once a condition holds; fail where that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def wait_for_paths(session: Session) -> None:
    """Return once all paths of what a session shows are decoded."""
    wait_for(lambda: session.image.paths.finished)


class Held:
    """Lets a function begin in one thread only when told, and says when it is called."""

    def __init__(self, function) -> None:
        self.function, self.called, self.go_on = function, threading.Event(), threading.Event()

    def __call__(self, *args, **options):
        if not self.called.is_set():  # the first call waits, later ones pass it
            self.called.set()
            assert self.go_on.wait(30)
        return self.function(*args, **options)
