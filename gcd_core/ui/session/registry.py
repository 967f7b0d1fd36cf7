"""The sessions of all visitors: each begins with the first event and ends with the visit."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from gcd_core.domains.opening import Domain
from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.ui.engine.disk_cache import DiskCache
from gcd_core.ui.engine.jobs import Job, LazyResource
from gcd_core.ui.engine.service import ModelService, ServerContext
from gcd_core.ui.engine.worker import CLOSING
from gcd_core.ui.session.session import Session

__all__ = [
    "CLOSING",
    "DiskCache",
    "Job",
    "LazyResource",
    "Visitors",
]  # the server and the page import all from here

MAX_LEFT_REMEMBERED = 10_000  # visitors who left, whose keys are remembered
AWAY_SECONDS = 120.0  # without an event, after which a visitor makes room for a new one


class Visitors:
    """The sessions of a domain's visitors, by the key that the browser sends.

    Parameters
    ----------
    domain : Domain
        All its visitors share the models in `service`.
    beside : Visitors, optional
        The visitors of another domain in this process. The limits hold for both domains together.
        Close this object before that one.
    stored : DiskCache, optional
        Keeps the examples' paths on disk. With `beside`, that one's cache is used.
    limits : Environment, optional
        Hold for the visitors of all domains together. With `beside`, that one's limits are used.
    """

    def __init__(
        self,
        domain: Domain,
        beside: Visitors | None = None,
        stored: DiskCache | None = None,
        limits: Environment | None = None,
    ) -> None:
        self._first = beside is None
        context = ServerContext(limits, stored) if beside is None else beside.service.context
        self.service: ModelService = ModelService(domain, context)
        self._sessions: OrderedDict[tuple[ModelService, str], Session]
        self._left: OrderedDict[tuple[ModelService, str], None]
        if beside is None:
            self._sessions, self._left, self._lock = OrderedDict(), OrderedDict(), threading.Lock()
        else:
            self._sessions, self._left, self._lock = beside._sessions, beside._left, beside._lock

    def __len__(self) -> int:
        return len(self._own())

    @property
    def of_all_domains(self) -> int:
        """The number of visitors of all domains in this process."""
        with self._lock:
            return len(self._sessions)

    def session(self, key: str | None) -> Session:
        """Return the session of a visitor; make it at the first call.

        Raises a GCDError if this visitor has left, or if the server is full and nobody else is
        away.
        """
        who, now = self._who(key), time.monotonic()
        limits = self.service.context.limits
        with self._lock:
            if who in self._left:
                raise GCDError("This visit has ended: load the page anew to go on.")
            session, away = self._sessions.get(who), []
            if session is None:
                away = self._idle_for(AWAY_SECONDS)[
                    : max(len(self._sessions) + 1 - limits.visitors, 0)
                ]
                if len(self._sessions) - len(away) >= limits.visitors:
                    raise GCDError(
                        f"{limits.visitors} visitors are here already, as many as this page takes: "
                        "try again in a few minutes."
                    )
                session = self._sessions[who] = Session(self.service)
            self._sessions.move_to_end(who)
            session.last_used = self.service.context.last_asked = now
            self._count()
        for other in away:
            self._end(other)
        return session

    def end_idle(self) -> None:
        """End all sessions, of every domain, that were idle for longer than the limit."""
        with self._lock:
            idle = self._idle_for(60.0 * self.service.context.limits.idle_minutes)
        for who in idle:
            self._end(who)

    def _count(self) -> None:
        """Tell the compute thread how many visitors there are. The lock is held."""
        self.service.context.compute.visitors = max(1, len(self._sessions))

    def _idle_for(self, seconds: float) -> list[tuple[ModelService, str]]:
        """Return who was idle for longer than that, the longest first. The lock is held."""
        before = time.monotonic() - seconds
        return [who for who, session in self._sessions.items() if session.last_used < before]

    def forget(self, key: str | None) -> None:
        """End a visitor's session: stop its work and drop its images.

        Later events with this key are refused. A client of the API without a key may come back.
        """
        who = self._who(key)
        if key:
            with self._lock:
                self._left[who] = None
                while len(self._left) > MAX_LEFT_REMEMBERED:
                    self._left.popitem(last=False)
        self._end(who)

    def close(self) -> None:
        """End every session of this domain, and wait until its work has ended."""
        for who in self._own():
            self._end(who)
        self.service.close()
        if self._first:
            self.service.context.close()

    def _who(self, key: str | None) -> tuple[ModelService, str]:
        """Name a visitor among those of all domains; a browser may send one key to two domains."""
        return self.service, key or "anonymous"

    def _own(self) -> list[tuple[ModelService, str]]:
        with self._lock:
            return [who for who in self._sessions if who[0] is self.service]

    def _end(self, who: tuple[ModelService, str]) -> None:
        with self._lock:
            session = self._sessions.pop(who, None)
            self._count()
        if session is not None:
            session.close()
