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

Who = tuple[ModelService, str]  # a visitor: of which domain, and the key that the browser sends


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
        self._sessions: OrderedDict[Who, Session]
        self._left: OrderedDict[Who, None]
        # Sessions whose pages have gone, by who they were; the longest ago first.
        self._kept: OrderedDict[Who, Session]
        if beside is None:
            self._sessions, self._left, self._kept = OrderedDict(), OrderedDict(), OrderedDict()
            self._lock = threading.RLock()
        else:
            self._sessions, self._left, self._kept = beside._sessions, beside._left, beside._kept
            self._lock = beside._lock

    def __len__(self) -> int:
        return len(self._own())

    @property
    def of_all_domains(self) -> int:
        """The number of visitors of all domains in this process."""
        with self._lock:
            return len(self._sessions)

    def session(self, key: str | None) -> Session:
        """Return the session of a visitor; make it at the first call.

        One whose connection was cut off goes on with its session, where that is kept.

        Raises a GCDError if this visitor has left, or if the server is full and nobody else is
        away.
        """
        who, now = self._who(key), time.monotonic()
        limits = self.service.context.limits
        with self._lock:
            session, away = self._sessions.get(who), []
            if session is None and who in self._kept:
                self._attach(who, self._kept.pop(who))
                session = self._sessions[who]
            if who in self._left:
                raise GCDError("This visit has ended: load the page anew to go on.")
            if session is None:
                idle = [*self._kept, *self._idle_for(AWAY_SECONDS)]
                here = len(self._sessions) + len(self._kept)
                away = idle[: max(here + 1 - limits.visitors, 0)]
                if here - len(away) >= limits.visitors:
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

    def come_back(self, key: str | None, return_key: str) -> Session:
        """Return a visitor's session: the one that the same browser tab had before, if it is kept.

        Parameters
        ----------
        key : str
            Of the visitor's new page.
        return_key : str
            What only that tab knows. A new session is kept under it from now on. One that nobody
            knows, or whose session has ended, gets a new session.

        Raises
        ------
        GCDError
            As `session`.
        """
        who = self._who(key)
        with self._lock:
            found = next(
                (
                    other
                    for sessions in (self._kept, self._sessions)  # a page may leave unnoticed yet
                    for other, one in sessions.items()
                    if other[0] is self.service and one.return_key == return_key
                ),
                None,
            )
            replaced = None
            if found is not None and found != who:
                replaced = self._sessions.pop(who, None)  # made for the new page just now
                if found in self._sessions:
                    self._sessions[found].set_away(True)
                own = self._kept.pop(found, None) or self._sessions.pop(found)
                self._note_left(found)
                self._attach(who, own)
            session = self.session(key)
            session.return_key = return_key
        if replaced is not None:
            replaced.close()
        return session

    def _attach(self, who: Who, session: Session) -> None:
        """Let a visitor go on with a session that was paused. The lock is held."""
        self._left.pop(who, None)
        self._sessions[who] = session
        session.set_away(False)
        self._count()

    def holds(self, key: str | None, session: Session) -> bool:
        """Whether a session is this visitor's still, be it that its page seems to have gone."""
        who = self._who(key)
        with self._lock:
            return session in (self._sessions.get(who), self._kept.get(who))

    def end_idle(self) -> None:
        """End all sessions, of every domain, that were idle for longer than the limit."""
        limits = self.service.context.limits
        with self._lock:
            idle = self._idle_for(60.0 * limits.idle_minutes)
            before = time.monotonic() - 60.0 * limits.keep_minutes
            idle += [who for who, kept in self._kept.items() if kept.last_used < before]
        for who in idle:
            self._end(who)

    def _count(self) -> None:
        """Tell the compute thread how many visitors there are. The lock is held."""
        self.service.context.compute.visitors = max(1, len(self._sessions))

    def _idle_for(self, seconds: float) -> list[Who]:
        """Return who was idle for longer than that, the longest first. The lock is held."""
        before = time.monotonic() - seconds
        return [who for who, session in self._sessions.items() if session.last_used < before]

    def forget(self, key: str | None) -> None:
        """End a visitor's session: stop its work and drop its images.

        Later events with this key are refused. A client of the API without a key may come back.
        """
        who = self._who(key)
        with self._lock:
            if key:
                self._note_left(who)
        self._end(who)

    def leave(self, key: str | None) -> None:
        """A visitor's page has gone: keep the session for a while if its tab may come back.

        A session without a return key ends, as by `forget`.
        """
        who = self._who(key)
        with self._lock:
            session = self._sessions.get(who)
            keeps = self.service.context.limits.keep_minutes > 0
            if keeps and session is not None and session.return_key is not None:
                self._kept[who] = self._sessions.pop(who)
                session.set_away(True)
                self._count()
                return
            if who in self._kept:
                return
        self.forget(key)

    def _note_left(self, who: Who) -> None:
        """Refuse later events of a visitor. The lock is held."""
        self._left[who] = None
        while len(self._left) > MAX_LEFT_REMEMBERED:
            self._left.popitem(last=False)

    def close(self) -> None:
        """End every session of this domain, and wait until its work has ended."""
        with self._lock:
            kept = [who for who in self._kept if who[0] is self.service]
        for who in [*self._own(), *kept]:
            self._end(who)
        self.service.close()
        if self._first:
            self.service.context.close()

    def _who(self, key: str | None) -> Who:
        """Name a visitor among those of all domains; a browser may send one key to two domains."""
        return self.service, key or "anonymous"

    def _own(self) -> list[Who]:
        with self._lock:
            return [who for who in self._sessions if who[0] is self.service]

    def _end(self, who: Who) -> None:
        with self._lock:
            session = self._sessions.pop(who, None) or self._kept.pop(who, None)
            self._count()
        if session is not None:
            session.close()
