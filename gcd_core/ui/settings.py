"""How much visitors may ask of one server, each and all together; an operator may change it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields

from gcd_core.errors import GCDError

HOUR = 3600.0  # seconds


@dataclass(frozen=True)
class Limits:
    """What one server gives.

    Each can be set by an environment variable: `visitors` by `GCD_VISITORS`, and so on.

    Attributes
    ----------
    visitors : int
        Here at a time. A further one takes the place of one who has been idle for two minutes, or
        is asked to come again.
    idle_minutes : int
        After which a visitor's images and directions are dropped, though its tab is open.
    searches : int
        That run at a time.
    searches_waiting : int
        That wait for others to end; a further one is refused.
    uploads : int
        Files that a visitor may open within an hour.
    upload_mb : int
        Megabytes (2^20 bytes) of them.
    uploads_kept_mb : int
        Megabytes of files that were sent, and are not opened yet, of all visitors.
    """

    visitors: int = 64
    idle_minutes: int = 60
    searches: int = 1
    searches_waiting: int = 16
    uploads: int = 240
    upload_mb: int = 1024
    uploads_kept_mb: int = 2048

    @classmethod
    def from_environment(cls, values: Mapping[str, str] | None = None) -> Limits:
        """Read `GCD_VISITORS`, `GCD_IDLE_MINUTES`, `GCD_SEARCHES` and the others.

        Raises
        ------
        GCDError
            If one is no whole number of 1 or more (waiting searches may be 0).
        """
        values = os.environ if values is None else values
        given: dict[str, int] = {}
        for field in fields(cls):
            variable = f"GCD_{field.name.upper()}"
            text = values.get(variable, "").strip()
            if not text:
                continue
            least = 0 if field.name == "searches_waiting" else 1
            if not text.isascii() or not text.isdigit() or not least <= int(text) <= 10**9:
                raise GCDError(f"{variable} is {text!r}; give a whole number of {least} or more.")
            given[field.name] = int(text)
        return cls(**given)


class UploadTally:
    """What one visitor has opened within the last hour.

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._taken: deque[tuple[float, int]] = deque()

    def take(self, size: int) -> None:
        """Count a file of so many bytes.

        Raises
        ------
        GCDError
            If it is one too many, or there are too many bytes; it is not counted then.
        """
        now = time.monotonic()
        while self._taken and now - self._taken[0][0] > HOUR:
            self._taken.popleft()
        most = self._limits.upload_mb * 2**20
        too_many = len(self._taken) >= self._limits.uploads
        if too_many or sum(size for _, size in self._taken) + size > most:
            first = self._taken[0][0] if self._taken else now
            minutes = max(1, round((first + HOUR - now) / 60))
            raise GCDError(
                f"That is more than a visitor may open within an hour here ({self._limits.uploads} "
                f"files, {self._limits.upload_mb} MB): go on in {minutes} min, or with an example."
            )
        self._taken.append((now, size))
