"""No more searches wait than an operator allows."""

from __future__ import annotations

import pytest

from gcd_core.errors import GCDError
from gcd_core.ui.engine.jobs import RunningSearch, Searches


def test_no_more_searches_wait_than_may() -> None:
    import threading

    import torch

    from gcd_core.method.settings import Settings

    go_on, searches = threading.Event(), Searches(seats=1, waiting=1)

    def find(_: RunningSearch):
        assert go_on.wait(30)

    def new() -> RunningSearch:
        return RunningSearch(torch.zeros(1, 1, 2, 2), "x", "ill", Settings(radius=1.0))

    first, second = new(), new()
    searches.start(first, find)
    searches.start(second, find)
    with pytest.raises(GCDError, match="2 searches run or wait here already"):
        searches.start(new(), find)
    go_on.set()
    assert first.ended.wait(30) and second.ended.wait(30)
    searches.start(third := new(), find)
    assert third.ended.wait(30)
    searches.close()
