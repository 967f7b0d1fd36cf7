"""What visitors may ask of one server: read from the environment, and held."""

from __future__ import annotations

import pytest

from gcd_core.errors import GCDError
from gcd_core.ui import settings as module
from gcd_core.ui.settings import Limits, UploadTally


def test_each_limit_has_a_variable() -> None:
    assert Limits.from_environment({}) == Limits()
    found = Limits.from_environment({"GCD_VISITORS": "5", "GCD_SEARCHES_WAITING": "0"})
    assert found == Limits(visitors=5, searches_waiting=0)
    assert Limits.from_environment({"GCD_UPLOAD_MB": " 7 ", "GCD_IDLE_MINUTES": ""}).upload_mb == 7
    for bad in ("0", "-1", "1.5", "many", "9" * 12, "\u0665"):
        with pytest.raises(GCDError, match=r"GCD_VISITORS is .*whole number of 1 or more"):
            Limits.from_environment({"GCD_VISITORS": bad})


def test_uploads_of_an_hour_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    tally = UploadTally(Limits(uploads=3, upload_mb=10))
    tally.take(6 * 2**20)
    with pytest.raises(GCDError, match=r"3 files, 10 MB.*go on in 60 min"):
        tally.take(5 * 2**20)
    tally.take(4 * 2**20)  # what was refused was not counted
    now[0] += 1800
    tally.take(0)
    with pytest.raises(GCDError, match="go on in 30 min"):
        tally.take(0)
    now[0] += 1801
    tally.take(10 * 2**20)
    with pytest.raises(GCDError, match="go on in 30 min"):
        tally.take(1)
