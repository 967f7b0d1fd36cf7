"""How much a visitor may open within an hour."""

from __future__ import annotations

import time
from collections import deque

from gcd_core.environment import Environment
from gcd_core.errors import GCDError

HOUR = 3600.0  # seconds


class UploadTally:
    """What one visitor has opened within the last hour."""

    def __init__(self, limits: Environment) -> None:
        self._limits = limits
        self._taken: deque[tuple[float, int]] = deque()

    def take(self, size: int) -> None:
        """Count a file of so many bytes.

        Raises a GCDError if it is one too many, or there are too many bytes; it is not counted
        then.
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
