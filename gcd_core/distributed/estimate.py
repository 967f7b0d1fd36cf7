"""Estimate how long a cluster would take, simulated from measured times."""

from __future__ import annotations

import heapq
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gcd_core.distributed.cluster import readers
from gcd_core.distributed.job import Part
from gcd_core.distributed.parts import PartsFolder

START = 10.0  # seconds in which a worker loads its networks


@dataclass(frozen=True)
class Service:
    """How long the parts of a job took."""

    # Seconds of reading a part's images, of the networks, and of writing its Parquet.
    read: Sequence[float]
    work: Sequence[float]
    keep: Sequence[float]
    rows: float  # of a part, on average


@dataclass(frozen=True)
class Forecast:
    """The result of a simulated run."""

    seconds: float  # to the last part, with the workers' start
    rows_a_second: float
    # Of each stage the share of the time that it works, 0 to 1: the bottleneck's is the highest.
    busy: dict[str, float]
    speed_up: float  # over a single worker

    @property
    def bottleneck(self) -> str:
        """The stage that is busiest."""
        return max(self.busy, key=lambda stage: self.busy[stage])


def measured(parts: Sequence[Part], folder: PartsFolder) -> Service:
    """Return the times of finished parts; the time of writing is measured by writing them again."""
    keep = []
    with tempfile.TemporaryDirectory() as place:
        again = PartsFolder(Path(place), folder.kind, folder.settings, folder.row)
        for number, part in enumerate(parts):
            began = time.perf_counter()
            again.keep(number, part)
            keep.append(time.perf_counter() - began)
    return Service(
        read=[part.about.get("read_seconds", 0.0) for part in parts],
        work=[part.about["seconds"] for part in parts],
        keep=keep,
        rows=sum(len(part.rows) for part in parts) / len(parts),
    )


def forecast(service: Service, workers: int, parts: int) -> Forecast:
    """Simulate so many parts on so many workers, each time drawn from those measured.

    One process reads images for eight workers; a worker takes the next part that is read; the
    driver writes what is done, one part after the other.
    """
    seconds, busy = simulated(service, workers, parts)
    alone, _ = simulated(service, 1, parts)
    return Forecast(seconds, parts * service.rows / seconds, busy, alone / seconds)


def simulated(service: Service, workers: int, parts: int) -> tuple[float, dict[str, float]]:
    """Seconds to the last part, and the share of them in which each stage works."""
    draw = random.Random(0)
    reading = [0.0] * readers(workers)  # when each is free
    free = [START] * workers
    driver = end = 0.0
    used = {"readers": 0.0, "workers": 0.0, "driver": 0.0}
    finished: list[tuple[float, int]] = []
    for part in range(parts):
        read, work = draw.choice(service.read), draw.choice(service.work)
        ready = heapq.heappop(reading) + read
        heapq.heappush(reading, ready)
        done = max(heapq.heappop(free), ready) + work
        heapq.heappush(free, done)
        finished.append((done, part))
        used["readers"] += read / len(reading)
        used["workers"] += work / workers
    for done, _ in sorted(finished):
        keep = draw.choice(service.keep)
        driver = max(driver, done) + keep
        used["driver"] += keep
        end = driver
    return end, {stage: seconds / end for stage, seconds in used.items()}
