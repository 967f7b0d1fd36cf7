"""Waiting for what other threads do."""

from __future__ import annotations

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
