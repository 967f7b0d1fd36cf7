"""The models as the page asks them, where the host runs them elsewhere too."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
import torch

from gcd_core.errors import Cancelled
from gcd_core.ui.engine import service as module
from gcd_core.ui.engine.jobs import Job
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.session.registry import Visitors
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for, wait_for_paths


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
        batches, walked = visitors.service.path_batches, []
        walk_all = batches.walk_all

        def noted(requests, *rest, **options):
            ((_, directions, _),) = requests
            walked.append([direction.name for direction in directions])
            return walk_all(requests, *rest, **options)

        batches.walk_all = noted
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


@pytest.mark.parametrize("one_leaves", [False, True])
def test_paths_that_wait_are_decoded_in_common_batches(visitors: Visitors, one_leaves: bool):
    """Who leaves takes nobody's paths along, whether alone in a batch or not."""
    service = visitors.service
    batches, sizes, begun, go_on = service.path_batches, [], threading.Event(), threading.Event()
    walk_all, found = batches.walk_all, {}
    opened = [service.examples.open(i) for i in range(3)]
    directions = service.ready_directions("pneumonia")
    cancels = [threading.Event() for _ in opened]

    def held(requests, *rest, **options):
        sizes.append(len(requests))
        begun.set()
        assert go_on.wait(30)
        return walk_all(requests, *rest, **options)

    def play(i: int) -> None:
        ways = [directions["g"], directions["h1"]]
        with suppress(Cancelled):
            found[i] = list(batches.play(opened[i], ways, "pneumonia", cancels[i]))

    batches.walk_all = held
    threads = [threading.Thread(target=play, args=(i,)) for i in range(3)]
    threads[0].start()
    assert begun.wait(30)  # the first one's are under way: the others' wait
    for thread in threads[1:]:
        thread.start()
    wait_for(lambda: len(service.compute._waiting[Urgency.PATH]) == 2)
    if one_leaves:
        cancels[1].set()
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert sizes == [1, 1 if one_leaves else 2] and set(found) == (
        {0, 2} if one_leaves else {0, 1, 2}
    )
    for i, played in found.items():
        for name, one in zip(("g", "h1"), played, strict=True):
            alone = service.walk(opened[i], directions[name], "pneumonia")
            for field in ("alphas", "images", "probabilities", "distances", "source"):
                torch.testing.assert_close(getattr(one.path, field), getattr(alone, field))


@pytest.mark.parametrize(("gpu", "seats"), [(True, 4), (False, 1)])
def test_a_gpu_takes_several_visitors_paths_at_a_time(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, seats: int
):
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: gpu)
    context = module.ServerContext()
    try:
        held = threading.Event()
        for _ in range(6):
            context.paths.submit(Job(lambda _: held.wait(30)))
        wait_for(lambda: context.paths.running == seats)
        assert context.paths.waiting == 6 - seats
    finally:
        held.set()
        context.close()
