"""How much a visitor may open within an hour."""

from __future__ import annotations

import pytest

from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.ui.session import uploads as module
from gcd_core.ui.session.uploads import UploadTally


def test_uploads_of_an_hour_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    tally = UploadTally(Environment(uploads=3, upload_mb=10))
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
