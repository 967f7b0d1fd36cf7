"""How long events took and how they ended, how much memory the server held, and the goals."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tools.load.browser import Answer

MAX_MEMORY_BYTES = 4 * 2**30  # bytes
GROWTH = 0.02  # of the memory, that counts as flat
GOALS = {"move": 0.1, "combined move": 2.0}  # seconds, of nineteen in twenty
SAID = 5  # sentences of what went wrong, at most


@dataclass
class Times:
    """What was noted of all visitors' events.

    Attributes
    ----------
    seconds : dict of str to list of float
        Of the events that were done, by kind.
    left : dict of str to list of float
        Of those whose visitor left before the answer: how long it had waited.
    outcomes : dict of str to dict of str to int
        How many ended how, by kind.
    sentences : list of str
        Of what was refused, failed or lost, each once.
    places : list of int
        How many searches went before one that was asked for.
    memory : list of (float, int)
        Seconds since the beginning, and the bytes that the server held then.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    left: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    outcomes: dict[str, dict[str, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    sentences: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def note(self, kind: str, answer: Answer) -> None:
        """Take up how an event of a kind ended."""
        self.outcomes[kind][answer.outcome] += 1
        if answer.outcome == "done":
            self.seconds[kind].append(answer.seconds)
        elif answer.outcome == "left":
            self.left[kind].append(answer.seconds)
        elif answer.sentence not in self.sentences:
            self.sentences.append(answer.sentence)

    def count(self, *outcomes: str) -> int:
        """How many events ended so."""
        return sum(ends[outcome] for ends in self.outcomes.values() for outcome in outcomes)

    def percentile(self, kind: str, percent: float) -> float | None:
        """A percentile of the seconds of a kind; None where none was done.

        Who left after waiting longer than that counts as if the answer had come just then.
        """
        seconds = self.seconds[kind]
        if not seconds:
            return None
        long = [waited for waited in self.left[kind] if waited > np.median(seconds)]
        return float(np.percentile([*seconds, *long], percent))

    def rows(self) -> list[dict[str, Any]]:
        """A row of figures for each kind of event."""
        rows = []
        for kind, ends in self.outcomes.items():
            row: dict[str, Any] = {"event": kind, "n": sum(ends.values())}
            row |= {name: ends[name] for name in ("refused", "failed", "lost", "left")}
            for percent in (50, 95, 100):
                row["max" if percent == 100 else f"p{percent}"] = self.percentile(kind, percent)
            rows.append(row)
        return rows

    def growth(self, seconds: float) -> float | None:
        """By what share the memory grew over the last so many seconds, by the line of best fit.

        Of each minute the least counts: what is free is given back once a minute, and until then it
        grows. None where there are fewer than three such minutes.
        """
        first, whole = self.memory[-1][0] - seconds, max(0, math.ceil(seconds / 60) - 1)
        least: dict[int, int] = {}
        for at, size in self.memory:
            if at >= first:
                minute = min(int((at - first) // 60), whole)  # the end belongs to the last one
                least[minute] = min(size, least.get(minute, size))
        if len(least) < 3:
            return None
        minutes, sizes = np.array(sorted(least.items()), dtype=float).T
        slope = np.polyfit(minutes, sizes, 1)[0]
        return float(slope * (minutes[-1] - minutes[0]) / sizes.mean())

    def goals(self, seconds: float) -> dict[str, bool]:
        """Which of the goals of a public page were met; memory over the last so many seconds."""
        met = {"no event failed": not self.count("failed"), "none was lost": not self.count("lost")}
        for kind, most in GOALS.items():
            measured = self.percentile(kind, 95)
            if measured is not None:
                met[f"p95 of {kind}s at most {most:g} s"] = measured <= most
        if self.memory:
            most_held = max(size for _, size in self.memory)
            met[f"memory at most {MAX_MEMORY_BYTES / 2**30:g} GiB"] = most_held <= MAX_MEMORY_BYTES
            growth = self.growth(seconds)
            if growth is not None:
                met["memory flat at the end"] = growth <= GROWTH
        return met
