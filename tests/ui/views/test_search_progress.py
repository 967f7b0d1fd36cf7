"""What the page says of a search under way: one bar and one time for the whole."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import pytest

from gcd_core.method.search_run import Progress
from gcd_core.method.settings import BALL, PRIOR, Settings
from gcd_core.ui.session.session import Search
from gcd_core.ui.views import search_progress
from gcd_core.ui.views.search_progress import (
    STAGE_TITLES,
    fraction_done,
    progress_html,
    queries,
    seconds_left,
)

NO_BUDGET = SimpleNamespace(budget=None, queries=500, cache_hits=900)


def searching(sampling: str = PRIOR, kept: int = 0, **settings: int) -> Search:
    """A search of 100 pictures that runs, and goes on from so many."""
    chosen = Settings(n_samples=100, sampling=sampling, radius=3.0, n_h=0, **settings)
    search = Search(None, "", "pneumonia", chosen)
    search.state = "running"
    search.samples = range(kept) if kept else None  # they are counted, and no more
    return search


def at(search: Search, stage: str, done: int, total: int, **told: object) -> Search:
    search.report(Progress(stage, done, total, None, 0, done, **told))
    return search


def test_every_stage_of_a_search_has_a_title() -> None:
    stages = {"encode", "perturb", "proxy", "carry", "directions", "verify"}
    assert STAGE_TITLES.keys() == stages


def test_the_bar_is_of_the_whole_search_and_never_goes_back() -> None:
    search = at(searching(), "encode", 0, 8)
    told = [fraction_done(search)]
    steps = [("perturb", 16, 32), ("perturb", 32, 32), ("perturb", 48, 64), ("perturb", 100, 100)]
    for stage, done, total in [*steps, ("directions", 1, 1), ("verify", 1, 1)]:
        told.append(fraction_done(at(search, stage, done, total)))
    assert told[0] == 0 and told[-1] == 1 and told == sorted(told)
    # 100 pictures are asked about, and g is tried on 8 examples up to twice.
    assert told[3] == pytest.approx(48 / 116)


@pytest.mark.parametrize("kept", [0, 20])
def test_the_time_is_that_of_the_whole_search(kept: int) -> None:
    search = at(searching(kept=kept), "encode", 0, 8)
    at(search, "perturb", kept + 29, 32)
    search.began = time.monotonic() - 29
    left = seconds_left(search)
    assert left is not None  # a second for each picture, of which 116 are in all
    assert left == pytest.approx(116 - kept - 29, rel=0.02)
    shown = re.search(r"up to (.*) left", progress_html(search, NO_BUDGET))
    assert shown and int(shown[1].split()[0]) >= 1
    assert f"{kept + 29} of at most 100" in progress_html(search, NO_BUDGET)


def test_the_time_is_counted_down_while_nothing_new_is_told(monkeypatch) -> None:
    search = at(searching(), "encode", 0, 8)
    at(search, "perturb", 29, 32)
    search.began = search.told - 29
    times = []
    for since in (0, 5, 60, 100):
        monkeypatch.setattr(search_progress.time, "monotonic", lambda at=search.told + since: at)
        times.append(seconds_left(search))
    assert times == [pytest.approx(87), pytest.approx(82), pytest.approx(27), None]


def test_no_time_is_told_before_anybody_knows_it() -> None:
    search = searching()
    assert seconds_left(search) is None
    at(search, "encode", 0, 8)
    assert seconds_left(search) is None and " left" not in progress_html(search, NO_BUDGET)


def test_a_search_that_asks_all_says_how_long_it_takes() -> None:
    search = at(searching(BALL), "encode", 0, 1)
    at(search, "perturb", 50, 100)
    search.began = time.monotonic() - 50
    # 100 pictures, and a tenth of that for the networks that learn from them
    assert seconds_left(search) == pytest.approx(60, rel=0.02)
    assert "about 60 s left" in progress_html(search, NO_BUDGET)
    assert fraction_done(at(search, "proxy", 150, 300)) < 1


def test_its_own_answers_are_counted_and_not_those_of_others() -> None:
    progress = Progress("perturb", 273, 512, None, 0, queries=64, known=209)
    assert queries(progress, NO_BUDGET) == "64 new answers \N{MIDDLE DOT} 209 known from before"
    alone = Progress("perturb", 64, 512, None, 0, queries=64)
    assert queries(alone, NO_BUDGET) == "64 new answers"


def test_tries_on_examples_are_told_apart_from_the_samples() -> None:
    search = at(searching(), "perturb", 32, 100)
    assert "trying on examples" not in progress_html(search, NO_BUDGET)
    search.report(Progress("verify", 1, 1, None, 0, queries=32 + 18))
    told = progress_html(search, NO_BUDGET)
    assert "50 new answers \N{MIDDLE DOT} 18 of all by trying on examples" in told
    ball = at(searching(BALL), "perturb", 32, 100)
    ball.report(Progress("perturb", 32, 100, None, 0, queries=50))
    assert "examples" not in progress_html(ball, NO_BUDGET)
