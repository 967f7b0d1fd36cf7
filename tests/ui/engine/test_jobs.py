"""Searches in the background: one after the other, each to an end that can be read off it."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from gcd_core.method.settings import Settings
from gcd_core.ui.engine import models as module
from gcd_core.ui.engine.jobs import RunningSearch, Searches
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.find import progress_html
from tests.ui.waiting import wait_for, wait_for_paths

pytestmark = pytest.mark.slow


UNCOUNTED = SimpleNamespace(cache_hits=0, budget=None)


def search_for(session: Session, n_samples: int, seed: int = 0) -> RunningSearch:
    settings = Settings(radius=3.0, n_samples=n_samples, n_h=3, seed=seed)
    return RunningSearch(
        session.image.opened.image, session.image.opened.name, session.label, settings
    )


def test_a_search_finds_what_the_classifier_looks_at(session: Session):
    search = search_for(session, 192)
    session.service.start_search(search)
    assert search.ended.wait(120)
    assert search.state == "done", search.message
    assert search.directions.names == ["g", "h1", "h2", "h3"]
    assert search.directions["g"].vector[0] > 0.5  # more haze, more pneumonia
    assert search.newest and search.train_losses and search.validation_losses


def test_a_cancelled_search_keeps_its_samples(session: Session):
    generator = session.service.domain.generator
    generator.seconds_per_image = 0.01
    search = search_for(session, 4096)
    session.service.start_search(search)
    wait_for(lambda: search.progress is not None and search.progress.done >= 16)
    began = time.monotonic()
    session.service.searches.cancel(search)
    assert search.ended.wait(30)
    assert search.state == "cancelled" and not search.running
    assert time.monotonic() - began < 10
    known = len(search.samples)
    assert known >= 16
    generator.seconds_per_image = 0
    again = search_for(session, known + 16)
    again.samples = search.samples
    wait_for_paths(session)
    queries = session.service.domain.classifier.queries
    session.service.start_search(again)
    assert again.ended.wait(120)
    assert again.state == "done", again.message
    assert session.service.domain.classifier.queries - queries == 16


def test_searches_wait_in_line(session: Session):
    session.service.domain.generator.seconds_per_image = 0.01
    first, second = search_for(session, 4096), search_for(session, 64, seed=1)
    session.service.start_search(first)
    wait_for(lambda: first.state == "running")
    session.service.start_search(second)
    assert second.state == "waiting" and session.service.searches.place(second) == 1
    session.service.searches.cancel(first)
    wait_for(lambda: second.state == "running")
    assert session.service.searches.place(second) == 0
    session.service.searches.cancel(second)
    assert second.ended.wait(30)


def test_a_search_runs_to_its_end_whatever_two_others_did(visitors: Visitors):
    service = visitors.service
    a, b, c = (visitors.session(name) for name in "abc")
    for session in (a, b, c):
        session.open_example(0)
        wait_for_paths(session)
    settings = service.domain.search.changed(n_samples=64)
    service.domain.generator.seconds_per_image = 0.01
    first = a.start_search(settings.changed(n_samples=4096))
    wait_for(lambda: first.state == "running")
    second = b.start_search(settings)  # equal to the first in much, and another search
    assert second.state == "waiting" and service.searches.place(second) == 1
    assert "1 search first" in progress_html(second, service.domain.classifier, 1)
    visitors.forget("b")
    assert second.ended.wait(30) and second.state == "cancelled"
    service.searches.cancel(first)
    assert first.ended.wait(30) and first.state == "cancelled"
    service.domain.generator.seconds_per_image = 0
    third = c.start_search(settings)
    assert third.ended.wait(120) and third.state == "done", third.message
    assert service.searches.idle


def test_two_seats_let_two_searches_run_and_the_third_wait():
    go_on, done = threading.Event(), object()

    def find(search: RunningSearch):
        search.state = "running"
        assert go_on.wait(30)
        return done

    searches = Searches(seats=2)
    line = [RunningSearch(torch.zeros(1), "", "", Settings(radius=1.0)) for _ in range(4)]
    for search in line:
        searches.start(search, find)
    wait_for(lambda: [search.state for search in line[:2]] == ["running"] * 2)
    assert [searches.place(search) for search in line] == [0, 0, 1, 2]
    assert [search.state for search in line[2:]] == ["waiting"] * 2
    searches.cancel(line[2])
    assert line[2].ended.wait(30) and line[2].state == "cancelled"
    assert searches.place(line[3]) == 1
    assert (searches.running, searches.waiting) == (2, 1)
    assert searches.seconds_ahead(line[3]) is None, "no search has ended yet"
    go_on.set()
    assert all(search.ended.wait(30) for search in line)
    assert line[3].directions is done
    assert (searches.running, searches.waiting) == (0, 0)
    searches.close()
    assert searches.idle


def test_the_wait_is_told_by_how_long_the_last_searches_took():
    go_on = threading.Event()

    def find(search: RunningSearch):
        search.state = "running"
        assert go_on.wait(30)

    searches = Searches()
    searches._took.extend([10.0, 30.0])
    line = [RunningSearch(torch.zeros(1), "", "", Settings(radius=1.0)) for _ in range(3)]
    for search in line:
        searches.start(search, find)
    assert [searches.seconds_ahead(search) for search in line] == [0, 20, 40]
    assert "2 searches first, about 40 s" in progress_html(line[2], UNCOUNTED, 2, 40.0)
    assert "2 searches first<" in progress_html(line[2], UNCOUNTED, 2)
    go_on.set()
    searches.close()


def test_a_search_that_breaks_ends(session: Session, monkeypatch: pytest.MonkeyPatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(module, "find_directions", broken)
    search = search_for(session, 64)
    session.service.start_search(search)
    assert search.ended.wait(30)
    assert search.state == "failed" and "unexpectedly" in search.message


def test_bad_settings_end_a_search_with_a_sentence(session: Session):
    search = search_for(session, 1)
    session.service.start_search(search)
    assert search.ended.wait(30)
    assert search.state == "failed" and "samples" in search.message
