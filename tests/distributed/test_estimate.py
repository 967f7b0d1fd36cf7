"""The forecast of a cluster, where it can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from gcd_core.__main__ import main
from gcd_core.distributed.estimate import START, Service, forecast, measured, simulated
from gcd_core.distributed.job import Part
from gcd_core.distributed.parts import PartsFolder
from tests.distributed.jobs import Square


def test_equal_times_fill_the_workers() -> None:
    service = Service([0.0], [3.0], [0.0], rows=8)
    found = forecast(service, 4, 12)
    assert found.seconds == START + 3 * 3 and found.speed_up == pytest.approx((START + 36) / 19)
    assert found.rows_a_second == 12 * 8 / found.seconds
    assert found.bottleneck == "workers" and found.busy["workers"] == pytest.approx(9 / 19)


def test_a_driver_that_writes_slowly_is_named() -> None:
    found = forecast(Service([0.0], [1.0], [0.5], rows=1), 64, 640)
    assert found.bottleneck == "driver"
    assert found.seconds == pytest.approx(START + 1 + 640 * 0.5)


def test_slow_reading_is_named() -> None:
    seconds, busy = simulated(Service([20.0], [1.0], [0.0], rows=1), 16, 80)
    # One reads for eight: two are read at a time, and there is a worker for each.
    assert seconds == pytest.approx(80 / 2 * 20 + 1)
    assert max(busy, key=lambda stage: busy[stage]) == "readers" and busy["readers"] > 0.99


def test_times_are_those_of_the_parts(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = PartsFolder(tmp_path, "squares", {"parts": 2}, Square)
    parts = [
        Part([Square(1, 1.0)], {"seconds": 2.0, "read_seconds": 0.25}),
        Part([Square(2, 4.0), Square(3, 9.0)], {"seconds": 4.0}),
    ]
    found = measured(parts, folder)
    assert (found.read, found.work, found.rows) == ([0.25, 0.0], [2.0, 4.0], 1.5)
    assert len(found.keep) == 2 and all(seconds > 0 for seconds in found.keep)
    assert main(["plan", str(tmp_path)]) == 1, "there is no part yet"
