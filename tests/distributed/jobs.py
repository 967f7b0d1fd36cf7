"""Jobs whose parts can be counted, and die on command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcd_core.distributed.job import Part
from gcd_core.errors import GCDError


@dataclass(frozen=True)
class Square:
    """A row."""

    number: int
    square: float
    read: str | None = None


@dataclass(frozen=True)
class Squares:
    """Squares of numbers, one a part; what is begun is noted in a file.

    `dies` is a part at which the worker is killed, once; `fails` one that is refused.
    """

    parts: int
    log: Path
    dies: int | None = None
    fails: int | None = None

    kind = "squares"
    row: type = Square

    @property
    def settings(self) -> dict[str, Any]:
        return {"parts": self.parts}

    def reader(self) -> Callable[[int], str]:
        return lambda part: f"number {part}"

    def worker(self, shared: Any = None, domain: Any = None) -> Callable[[int, str], Part]:
        self._note("worker")

        def work(part: int, read: str) -> Part:
            self._note(str(part))
            died = self.log.with_name("died")
            if part == self.dies and not died.exists():
                died.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if part == self.fails:
                raise GCDError(f"{part} cannot be squared.")
            return Part([Square(part, part / 3 * part, read)], {"seconds": 0.0})

        return work

    def _note(self, what: str) -> None:
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{what}\n")

    def begun(self) -> list[str]:
        """What was begun so far."""
        return self.log.read_text().split() if self.log.exists() else []
