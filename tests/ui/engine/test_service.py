"""The models as the page asks them, where the host runs them elsewhere too."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable

import pytest

from gcd_core.ui.engine import service as module
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.session.registry import Visitors
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for_paths


def elsewhere(function: Callable, seconds: int) -> Callable:
    """A function as a Space with shared GPUs runs it: what goes in and comes out is pickled."""

    def call(*args, **options):
        args, options = pickle.loads(pickle.dumps((args, options)))
        return pickle.loads(pickle.dumps(function(*args, **options)))

    return call


@pytest.mark.slow
def test_everything_works_where_each_call_has_a_process_of_its_own(
    domain: FakeDomain, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "RUNS_IN_PROCESS", False)
    monkeypatch.setattr(module, "gpu", elsewhere)
    visitors = Visitors(domain)
    try:
        session = visitors.session("somebody")
        session.open_example(0)
        wait_for_paths(session)
        assert (
            session.image.paths.get("g") is not None
            and session.image.sliders.move({"g": 1.0, "h1": 1.0}) is not None
        )
        search = session.start_search(domain.search.changed(n_samples=64))
        assert search.wait(120) and search.state == "done", search.error
        session.use(search.label, session.sets.keep(search.label, "found", search.result))
        assert session.image.sliders.move({"g": 1.0}) is not None
    finally:
        visitors.close()


def test_a_remote_classifier_holds_nobody_else_up(domain: FakeDomain):
    domain.classifier.remote = True
    visitors = Visitors(domain)
    held, release = threading.Event(), threading.Event()

    def wait() -> None:
        held.set()
        assert release.wait(30)

    slow = threading.Thread(target=visitors.service.in_turn, args=(Urgency.LIVE, wait))
    slow.start()
    assert held.wait(30)
    session = visitors.session("somebody")
    session.open_example(0)
    assert session.image.sliders.move({"g": 1.0, "h1": 1.0}) is not None
    release.set()
    slow.join(30)
    visitors.close()


@pytest.mark.parametrize(("cpu", "fast"), [(True, True), (True, False), (False, True)])
def test_on_a_gpu_all_ways_are_decoded_together_on_a_cpu_a_few(
    domain: FakeDomain, monkeypatch: pytest.MonkeyPatch, cpu: bool, fast: bool
):
    monkeypatch.setattr(module.ModelService, "has_fast_paths", fast)
    monkeypatch.setattr(module, "on_cpu", lambda domain: cpu)
    visitors = Visitors(domain)
    try:
        walk_all, walked = visitors.service._walk_all, []

        def noted(opened, directions, *rest, **options):
            walked.append([direction.name for direction in directions])
            return walk_all(opened, directions, *rest, **options)

        visitors.service._walk_all = noted
        session = visitors.session("somebody")
        session.open_example(0)
        wait_for_paths(session)
        names = [name for names in walked for name in names]
        first, *others = names
        in_turn = [[first], *(others[i : i + 3] for i in range(0, len(others), 3))]
        one_by_one = [[name] for name in names]
        assert walked == ([names] if not cpu else in_turn if fast else one_by_one)
        assert sorted(names) == sorted(session.image.names) and len(names) > 2
        for name in names:
            path, film = session.image.paths.get(name), session.image.paths.film(name)
            assert path.direction_name == name and f'"direction":"{name}"' in film
    finally:
        visitors.close()
