"""Who is here: a session for each visitor, until it leaves, is idle, or too many came after it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from gcd_core.domains.opening import Domain
from gcd_core.ui.state.explorer import Explorer
from gcd_core.ui.state.preparing import Preparation
from gcd_core.ui.state.session import Session
from gcd_core.ui.state.shared import Shared
from gcd_core.ui.state.stored import Stored

SESSIONS_KEPT = 64
IDLE_SECONDS = 3600.0


class Visitors:
    """The sessions of a domain's visitors, by the key that the browser sends.

    Parameters
    ----------
    domain : Domain
        To explore; the models behind it are `explorer`, the same for all.
    beside : Visitors, optional
        Another domain's in this process: the limits hold for both domains' visitors together.
        Close these first.
    stored : Stored, optional
        Where the examples' paths are kept on disk; with `beside`, that one's are.
    """

    def __init__(
        self, domain: Domain, beside: Visitors | None = None, stored: Stored | None = None
    ) -> None:
        self._first = beside is None
        shared = Shared(stored=stored) if beside is None else beside.explorer.shared
        self.explorer: Explorer = Explorer(domain, shared)
        self.preparation = Preparation(self.explorer)
        self._sessions: OrderedDict[tuple[Explorer, str], Session]
        if beside is None:
            self._sessions, self._lock = OrderedDict(), threading.Lock()
        else:
            self._sessions, self._lock = beside._sessions, beside._lock

    def __len__(self) -> int:
        return len(self._own())

    @property
    def of_all_domains(self) -> int:
        """How many visitors there are, of this and all domains beside it."""
        with self._lock:
            return len(self._sessions)

    def session(self, key: str | None) -> Session:
        """Return the session of a visitor, made at the first call."""
        who = self._who(key)
        with self._lock:
            session = self._sessions.get(who)
            if session is None:
                session = self._sessions[who] = Session(self.explorer)
            self._sessions.move_to_end(who)
            session.last_used = self.explorer.shared.last_asked = time.monotonic()
            stale = [
                k
                for i, (k, s) in enumerate(self._sessions.items())
                if k != who
                and (
                    i < len(self._sessions) - SESSIONS_KEPT
                    or session.last_used - s.last_used > IDLE_SECONDS
                )
            ]
        for k in stale:
            self._end(k)
        return session

    def forget(self, key: str | None) -> None:
        """End a visitor's session: stop its work and drop its images."""
        self._end(self._who(key))

    def close(self) -> None:
        """End every session of this domain, and wait until no work of its is left."""
        for who in self._own():
            self._end(who)
        self.preparation.close()
        self.explorer.close()
        if self._first:
            self.explorer.shared.close()

    def _who(self, key: str | None) -> tuple[Explorer, str]:
        """A visitor among those of all domains: a browser may send the same key to two."""
        return self.explorer, key or "anonymous"

    def _own(self) -> list[tuple[Explorer, str]]:
        with self._lock:
            return [who for who in self._sessions if who[0] is self.explorer]

    def _end(self, who: tuple[Explorer, str]) -> None:
        with self._lock:
            session = self._sessions.pop(who, None)
        if session is not None:
            session.close()
