"""The examples and their paths, decoded ahead of every visitor and kept on disk."""

from __future__ import annotations

import logging
import threading
from itertools import product

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.directions import Direction
from gcd_core.ui.state.explorer import Explorer
from gcd_core.ui.state.frames import Opened
from gcd_core.ui.state.paths import Played
from gcd_core.ui.state.positions import by_reach

LOG = logging.getLogger(__name__)
LOOK = 0.2  # seconds between two looks at whether visitors leave the machine idle


class Preparation:
    """Decodes what is not kept on disk of a domain's examples, while nobody waits.

    Where nothing can be kept, or the classifier may not be asked as often as one likes, nothing is
    prepared.

    Parameters
    ----------
    explorer : Explorer
        Close this before it.
    """

    def __init__(self, explorer: Explorer) -> None:
        self.explorer, self._closed = explorer, threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        if self.explorer.shared.stored is not None and self.explorer.asks_freely:
            self._thread = threading.Thread(target=self._run, name="prepare", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the work, and wait until it has ended."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def is_set(self) -> bool:
        """Whether to stop what is being decoded: somebody came, or the page is being closed."""
        return self._closed.is_set() or not self.explorer.at_rest

    def _run(self) -> None:
        domain = self.explorer.domain
        try:
            for index in range(len(domain.examples)):
                if self._wait_for_rest():
                    self.explorer.open_example(index)
            for label, index in product(domain.labels, range(len(domain.examples))):
                self._prepare_paths(index, label)
        except GCDError as error:  # a visitor who asks for the same is told
            LOG.warning("An example could not be prepared: %s", error)

    def _prepare_paths(self, index: int, label: str) -> None:
        """Decode an example's paths along a label's ready directions, and keep them on disk."""
        explorer, stored = self.explorer, self.explorer.shared.stored
        directions = explorer.ready_directions(label)
        if directions is None or stored is None:
            return
        for name in by_reach(directions, explorer.domain.alpha_max):
            if not self._wait_for_rest():
                return
            opened, direction = explorer.open_example(index), directions[name]
            if stored.has_path(explorer.domain, opened.image, direction, label):
                continue
            played = self._play(opened, direction, label)
            if played is None:
                return
            stored.keep_path(explorer.domain, opened, direction, label, played)

    def _play(self, opened: Opened, direction: Direction, label: str) -> Played | None:
        """Decode a path, begun anew where a visitor comes in between; None once closed."""
        while self._wait_for_rest():
            try:
                return self.explorer.play(opened, direction, label, self)
            except Cancelled:
                continue
        return None

    def _wait_for_rest(self) -> bool:
        """Wait until visitors leave the machine idle; False once closed."""
        while not self._closed.wait(LOOK):
            if self.explorer.at_rest:
                return True
        return False
