"""What happened on the page: counted for `/metrics`, and one JSON line each in the log."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
import threading
from collections import defaultdict

LOG = logging.getLogger("gcd_core.events")
SECRET = secrets.token_bytes(16)  # of this process: a visitor's id says nothing of its session key


def visitor_id(key: str | None) -> str:
    """A visitor's random id in the log: the same for one session, and of no use to anybody."""
    return hmac.new(SECRET, (key or "").encode(), hashlib.sha256).hexdigest()[:12]


class Events:
    """Counts of events by name and outcome, and the time that they took; threads may share it.

    A line in the log has the event, its milliseconds, how it ended and the visitor's random id:
    never a pixel, the name of a file, or a key.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = defaultdict(int)
        self._seconds: dict[str, float] = defaultdict(float)

    def note(self, event: str, seconds: float, outcome: str, key: str | None) -> None:
        """Count an event, and log it.

        Parameters
        ----------
        event : str
            The handler's name.
        seconds : float
            That it took.
        outcome : {"done", "refused", "failed"}
        key : str or None
            The visitor's session key, of which only `visitor_id` is logged.
        """
        with self._lock:
            self._counts[event, outcome] += 1
            self._seconds[event] += seconds
        if LOG.isEnabledFor(logging.INFO):
            line = {"event": event, "ms": round(1000 * seconds, 1), "outcome": outcome}
            LOG.info("%s", json.dumps(line | {"visitor": visitor_id(key)}))

    def as_prometheus(self) -> list[str]:
        """The counts as lines of Prometheus' text format."""
        with self._lock:
            counts, seconds = dict(self._counts), dict(self._seconds)
        lines = ["# TYPE gcd_events_total counter"]
        for (event, outcome), count in sorted(counts.items()):
            lines.append(f'gcd_events_total{{event="{event}",outcome="{outcome}"}} {count}')
        lines.append("# TYPE gcd_event_seconds_total counter")
        lines += [
            f'gcd_event_seconds_total{{event="{event}"}} {total:.6f}'
            for event, total in sorted(seconds.items())
        ]
        return lines


EVENTS = Events()
