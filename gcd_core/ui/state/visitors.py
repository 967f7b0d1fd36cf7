"""Who is here: a session for each visitor, until it leaves, is idle, or too many came after it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

from gcd_core.domains.opening import Domain
from gcd_core.ui.state.explorer import Explorer
from gcd_core.ui.state.session import Session

SESSIONS_KEPT = 64
IDLE_SECONDS = 3600.0


class Visitors:
    """The sessions of a domain's visitors, by the key that the browser sends.

    Parameters
    ----------
    domain : Domain
        To explore; the models behind it are `explorer`, the same for all.
    """

    def __init__(self, domain: Domain) -> None:
        self.explorer = Explorer(domain)
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sessions)

    def session(self, key: str | None) -> Session:
        """Return the session of a visitor, made at the first call."""
        key = key or "anonymous"
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                session = self._sessions[key] = Session(self.explorer)
            self._sessions.move_to_end(key)
            session.last_used = time.monotonic()
            stale = [
                k
                for i, (k, s) in enumerate(self._sessions.items())
                if k != key
                and (
                    i < len(self._sessions) - SESSIONS_KEPT
                    or session.last_used - s.last_used > IDLE_SECONDS
                )
            ]
        for k in stale:
            self.forget(k)
        return session

    def forget(self, key: str | None) -> None:
        """End a visitor's session: stop its work and drop its images."""
        with self._lock:
            session = self._sessions.pop(key or "anonymous", None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """End every session, and wait until no work is left."""
        with self._lock:
            keys = list(self._sessions)
        for key in keys:
            self.forget(key)
        self.explorer.close()
