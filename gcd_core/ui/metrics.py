"""What happened on the page: counted for `/metrics`, and one JSON line each in the log."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import secrets
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)  # seconds
LOG = logging.getLogger("gcd_core.events")
SECRET = secrets.token_bytes(16)  # of this process: a visitor's id says nothing of its session key


def visitor_id(key: str | None) -> str:
    """A visitor's random id in the log: the same for one session, and of no use to anybody."""
    return hmac.new(SECRET, (key or "").encode(), hashlib.sha256).hexdigest()[:12]


class Events:
    """Counts events by name and outcome, and the time that they took; threads may share it.

    A line in the log has the event, its milliseconds, how it ended and the visitor's random id:
    never a pixel, the name of a file, or a key.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        event, ended = ["event"], ["event", "outcome"]
        self._counts = Counter("gcd_events", "Events.", ended, registry=self.registry)
        told = "Seconds that events took, in all."
        self._seconds = Counter("gcd_event_seconds", told, event, registry=self.registry)
        told = "Seconds that an event took."
        self._durations = Histogram(
            "gcd_event_duration_seconds", told, event, buckets=BUCKETS, registry=self.registry
        )

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
        self._counts.labels(event, outcome).inc()
        self._seconds.labels(event).inc(seconds)
        self._durations.labels(event).observe(seconds)
        if LOG.isEnabledFor(logging.INFO):
            line = {"event": event, "ms": round(1000 * seconds, 1), "outcome": outcome}
            LOG.info("%s", json.dumps(line | {"visitor": visitor_id(key)}))


EVENTS = Events()


def as_prometheus(state: Mapping[str, Any], events: Events = EVENTS) -> bytes:
    """The numbers of a state and the counts of events, in Prometheus' text format."""
    registry = CollectorRegistry()
    for name, value in state.items():
        if isinstance(value, int | float):
            told = f"`{name}` of /health."
            Gauge(f"gcd_{name}", told, registry=registry).set(value)
    return generate_latest(registry) + generate_latest(events.registry)
