"""Searches for directions in the background."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch

from gcd_core.method.settings import Settings
from gcd_core.ui.engine import models as module
from gcd_core.ui.engine.jobs import Search
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.search_progress import progress_html
from tests.ui.waiting import wait_for, wait_for_paths

pytestmark = pytest.mark.slow


def search_for(session: Session, n_samples: int, seed: int = 0) -> Search:
    settings = Settings(radius=3.0, n_samples=n_samples, n_h=3, seed=seed, sampling="ball")
    return Search(session.image.opened.image, session.image.opened.name, session.label, settings)


def waiting_search() -> Search:
    return Search(torch.zeros(1), "", "", Settings(radius=1.0, sampling="ball"))


def test_a_search_finds_what_the_classifier_looks_at(session: Session):
    search = search_for(session, 192)
    session.service.start_search(search)
    assert search.wait(120)
    assert search.state == "done", search.error
    assert search.result.names == ["g", "h1", "h2", "h3"]
    assert search.result["g"].vector[0] > 0.5  # more haze, more pneumonia
    assert search.newest and search.train_losses and search.validation_losses


def test_a_cancelled_search_keeps_its_samples(session: Session):
    generator = session.service.domain.generator
    generator.seconds_per_image = 0.01
    search = search_for(session, 4096)
    session.service.start_search(search)
    wait_for(lambda: search.progress is not None and search.progress.done >= 16)
    began = time.monotonic()
    search.cancel()
    assert search.wait(30)
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
    assert again.wait(120)
    assert again.state == "done", again.error
    assert session.service.domain.classifier.queries - queries == 16


def test_searches_wait_in_line(session: Session):
    session.service.domain.generator.seconds_per_image = 0.01
    first, second = search_for(session, 4096), search_for(session, 64, seed=1)
    session.service.start_search(first)
    wait_for(lambda: first.state == "running")
    session.service.start_search(second)
    assert second.state == "waiting" and second.place == 1
    first.cancel()
    wait_for(lambda: second.state == "running")
    assert second.place == 0
    second.cancel()
    assert second.wait(30)


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
    assert second.state == "waiting" and second.place == 1
    assert "1 search first" in progress_html(second, service.domain.classifier, 1)
    visitors.forget("b")
    assert second.wait(30) and second.state == "cancelled"
    first.cancel()
    assert first.wait(30) and first.state == "cancelled"
    service.domain.generator.seconds_per_image = 0
    third = c.start_search(settings)
    assert third.wait(120) and third.state == "done", third.error
    assert service.searches.idle


def test_who_waits_reads_how_many_go_first_and_how_long() -> None:
    search, classifier = waiting_search(), SimpleNamespace(cache_hits=0, budget=None)
    assert "2 searches first, about 40 s" in progress_html(search, classifier, 2, 40.0)
    assert "2 searches first<" in progress_html(search, classifier, 2)


def test_a_search_that_breaks_ends(session: Session, monkeypatch: pytest.MonkeyPatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(module, "find_directions", broken)
    search = search_for(session, 64)
    session.service.start_search(search)
    assert search.wait(30)
    assert search.state == "failed" and "unexpectedly" in search.error


def test_bad_settings_end_a_search_with_a_sentence(session: Session):
    search = search_for(session, 1)
    session.service.start_search(search)
    assert search.wait(30)
    assert search.state == "failed" and "samples" in search.error
