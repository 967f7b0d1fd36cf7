"""The page's one computing thread: who goes first in it, and what comes back from it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.ui.engine import worker as module
from gcd_core.ui.engine.worker import Compute, ProcessRunner, Runner, Urgency, limit_torch_threads

PATIENCE = 30


@pytest.fixture
def compute() -> Iterator[Compute]:
    compute = Compute(quiet=0, patience=PATIENCE, goes_on=0)
    yield compute
    compute.close()


class Work:
    """Work that notes its turns, and once it has begun waits to go on."""

    def __init__(self, compute: Compute, order: list[str]) -> None:
        self.compute, self.order = compute, order
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, name: str, urgency: Urgency, batches: int = 1, hold: bool = False) -> None:
        """Submit work of some batches, the first of which may be held; it must then be first."""

        def work() -> None:
            for batch in range(batches):
                if hold and not batch:
                    self.begun.set()
                    assert self.go_on.wait(PATIENCE)
                if batch:
                    self.compute.yield_to_urgent(urgency)
                self.order.append(name)

        if hold:
            self.threads.append(threading.Thread(target=self.compute.run, args=(urgency, work)))
            self.threads[-1].start()
            assert self.begun.wait(PATIENCE)
        else:
            self.submit(urgency, work)

    def submit(self, urgency: Urgency, work: Callable[[], None]) -> None:
        """Submit work while other work is held, and wait until it is in the line."""
        line = self.compute._waiting[urgency]
        before = len(line)
        self.threads.append(threading.Thread(target=self.compute.run, args=(urgency, work)))
        self.threads[-1].start()
        while len(line) == before:
            threading.Event().wait(0.001)

    def finish(self) -> list[str]:
        self.go_on.set()
        for thread in self.threads:
            thread.join(PATIENCE)
        return self.order


def test_all_work_runs_in_one_thread_and_answers(compute: Compute):
    threads = {compute.run(urgency, threading.get_ident) for urgency in Urgency}
    assert len(threads) == 1 and threading.get_ident() not in threads
    assert compute.run(Urgency.LIVE, pow, 2, 5) == 32
    # Work may ask for more work, which runs at once.
    assert compute.run(Urgency.PATH, compute.run, Urgency.SEARCH, max, 1, 2) == 2


def test_what_work_raises_reaches_who_asked(compute: Compute):
    with pytest.raises(ZeroDivisionError):
        compute.run(Urgency.LIVE, divmod, 1, 0)
    assert compute.run(Urgency.LIVE, abs, -1) == 1


def test_the_most_urgent_goes_first_and_equals_in_their_order(compute: Compute):
    work = Work(compute, [])
    work.start("first", Urgency.SEARCH, hold=True)
    for name, urgency in (
        ("search", Urgency.SEARCH),
        ("path", Urgency.PATH),
        ("map", Urgency.MAP),
        ("next", Urgency.NEXT),
        ("live 1", Urgency.LIVE),
        ("live 2", Urgency.LIVE),
    ):
        work.start(name, urgency)
    assert work.finish() == ["first", "live 1", "live 2", "next", "map", "path", "search"]


def test_between_batches_all_live_work_and_one_other_piece_go_first(compute: Compute):
    work = Work(compute, [])
    work.start("search", Urgency.SEARCH, batches=3, hold=True)
    for name, urgency in (
        ("path 1", Urgency.PATH),
        ("path 2", Urgency.PATH),
        ("live 1", Urgency.LIVE),
        ("live 2", Urgency.LIVE),
        ("search 2", Urgency.SEARCH),
    ):
        work.start(name, urgency)
    expected = ["search", "live 1", "live 2", "path 1", "search", "path 2", "search", "search 2"]
    assert work.finish() == expected


def test_work_between_batches_may_take_gradients(compute: Compute):
    """Though what gives way to it computes without."""
    work, found = Work(compute, []), []

    @torch.inference_mode()
    def long() -> None:
        work.begun.set()
        assert work.go_on.wait(PATIENCE)
        compute.yield_to_urgent(Urgency.PATH)
        found.append(torch.is_inference_mode_enabled())

    def steep() -> None:
        factor, x = torch.ones(1), torch.full((1,), 3.0, requires_grad=True)
        found.append(float(torch.autograd.grad((factor * x * x).sum(), x)[0]))

    work.threads.append(threading.Thread(target=compute.run, args=(Urgency.PATH, long)))
    work.threads[-1].start()
    assert work.begun.wait(PATIENCE)
    work.submit(Urgency.LIVE, steep)
    work.finish()
    assert found == [6.0, True]


def test_after_a_long_piece_the_work_between_goes_on(compute: Compute):
    work = Work(compute, [])
    work.start("search", Urgency.SEARCH, batches=3, hold=True)
    work.start("path", Urgency.PATH)
    work.start("live", Urgency.LIVE)
    compute._others_from = float("inf")  # as if a long one had just run
    assert work.finish() == ["search", "live", "search", "search", "path"]


def test_where_somebody_always_moves_long_work_goes_on_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
):
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    compute, order = Compute(quiet=0, patience=1, goes_on=0.25), []
    held, go_on = threading.Event(), threading.Event()

    def search() -> None:
        nonlocal now
        held.set()
        assert go_on.wait(PATIENCE)
        for _ in range(7):
            compute.yield_to_urgent(Urgency.SEARCH)
            order.append("epoch")
            now += 0.1

    def move() -> None:
        nonlocal now
        order.append("move")
        now += 1

    work = Work(compute, order)
    work.threads.append(threading.Thread(target=compute.run, args=(Urgency.SEARCH, search)))
    work.threads[0].start()
    assert held.wait(PATIENCE)
    for _ in range(4):
        work.submit(Urgency.LIVE, move)
    go_on.set()
    work.finish()
    compute.close()
    assert order == ["move", *["epoch"] * 3, "move", *["epoch"] * 3, "move", "epoch", "move"]


def test_what_has_waited_long_begins_before_what_is_more_urgent(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
):
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    work = Work(compute, [])
    work.start("first", Urgency.PATH, hold=True)
    work.start("search", Urgency.SEARCH)
    now = 5.0
    work.start("path", Urgency.PATH)
    work.start("live", Urgency.LIVE)
    now = module.OVERDUE_SECONDS + 1
    assert work.finish() == ["first", "live", "search", "path"]


def test_nothing_less_urgent_comes_between_batches(compute: Compute):
    work = Work(compute, [])
    work.start("path", Urgency.PATH, batches=2, hold=True)
    work.start("path 2", Urgency.PATH)
    work.start("search", Urgency.SEARCH)
    assert work.finish() == ["path", "path", "path 2", "search"]


def test_a_burst_of_live_work_is_waited_for(compute: Compute):
    work, first = Work(compute, []), threading.Event()

    def begin() -> None:
        compute._quiet = PATIENCE
        work.order.append("live")
        first.set()

    def end() -> None:
        compute._quiet = 0
        work.order.append("live")

    work.start("background", Urgency.PATH, batches=2, hold=True)
    work.submit(Urgency.LIVE, begin)
    work.go_on.set()
    assert first.wait(PATIENCE)
    compute.run(Urgency.LIVE, end)
    assert work.finish() == ["background", "live", "live", "background"]


def test_giving_way_elsewhere_does_nothing(compute: Compute):
    work = Work(compute, [])
    work.start("first", Urgency.PATH, hold=True)
    work.start("live", Urgency.LIVE)
    compute.yield_to_urgent(Urgency.SEARCH)  # the networks would run in two threads at a time
    assert work.order == []
    assert work.finish() == ["first", "live"]


def test_closing_ends_the_waiting_work_first_and_takes_no_more():
    compute = Compute()
    work = Work(compute, [])
    work.start("first", Urgency.PATH, hold=True)
    work.start("second", Urgency.PATH)
    closing = threading.Thread(target=compute.close)
    closing.start()
    assert work.finish() == ["first", "second"]
    closing.join(PATIENCE)
    with pytest.raises(GCDError, match="closed"):
        compute.run(Urgency.LIVE, abs, 1)


def test_handlers_leave_the_cores_and_the_interpreter_to_the_networks():
    before, seconds = torch.get_num_threads(), sys.getswitchinterval()
    torch.set_num_threads(2)
    compute = Compute()
    try:
        limit_torch_threads(compute)
        counts = []
        handler = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
        handler.start()
        handler.join(PATIENCE)
        assert counts == [1]
        assert compute.run(Urgency.LIVE, torch.get_num_threads) == 2
        assert sys.getswitchinterval() == pytest.approx(module.SWITCH_SECONDS)
    finally:
        compute.close()
        torch.set_num_threads(before)
        sys.setswitchinterval(seconds)


def test_what_is_alike_and_waits_is_worked_off_together(compute: Compute) -> None:
    held, order = Work(compute, []), []
    held.start("held", Urgency.LIVE, hold=True)
    calls: list[list[int]] = []

    def double(items: list[int]) -> list[int]:
        calls.append(items)
        return [2 * item for item in items]

    answers: dict[int, int] = {}
    threads = []
    line = compute._waiting[Urgency.LIVE]

    def ask(item: int) -> None:
        answers[item] = compute.run_alike(Urgency.LIVE, double, item)

    for item in range(10):
        if item == 3:
            held.submit(Urgency.LIVE, lambda: order.append("other"))
        before = len(line)
        threads.append(threading.Thread(target=ask, args=(item,)))
        threads[-1].start()
        while len(line) == before:
            threading.Event().wait(0.001)
    assert compute.crowded
    held.go_on.set()
    for thread in (*threads, *held.threads):
        thread.join(PATIENCE)
    assert answers == {item: 2 * item for item in range(10)}
    assert calls == [[*range(8)], [8, 9]] and order == ["other"]
    assert not compute.crowded


def test_who_fails_does_not_fail_those_it_is_done_with(compute: Compute) -> None:
    held, answers = Work(compute, []), {}
    held.start("held", Urgency.LIVE, hold=True)

    def half(items: list[int]) -> list[int]:
        if 0 in items:
            raise GCDError("None of zero.")
        return [item // 2 for item in items]

    def ask(item: int) -> None:
        try:
            answers[item] = compute.run_alike(Urgency.LIVE, half, item)
        except GCDError as error:
            answers[item] = str(error)

    threads = [threading.Thread(target=ask, args=(item,)) for item in (2, 0, 4)]
    for thread in threads:
        thread.start()
    while len(compute._waiting[Urgency.LIVE]) < 3:
        threading.Event().wait(0.001)
    held.go_on.set()
    for thread in (*threads, *held.threads):
        thread.join(PATIENCE)
    assert answers == {2: 1, 0: "None of zero.", 4: 2}


def test_an_error_of_work_done_together_reaches_all_who_wait(compute: Compute) -> None:
    held, told = Work(compute, []), []
    held.start("held", Urgency.LIVE, hold=True)

    def fail(items: list[int]) -> list[int]:
        raise GCDError("None of them.")

    def ask() -> None:
        with pytest.raises(GCDError, match="None of them"):
            compute.run_alike(Urgency.NEXT, fail, 1)
        told.append(1)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    held.go_on.set()
    for thread in (*threads, *held.threads):
        thread.join(PATIENCE)
    assert told == [1, 1, 1]
    assert compute.run_alike(Urgency.LIVE, lambda items: items, 5) == 5


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's own on Linux alone")
def test_the_networks_make_way_for_the_handlers(compute: Compute) -> None:
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert compute.run(Urgency.LIVE, nice) > nice()


def test_a_long_function_can_report_and_be_cancelled_but_in_another_process(compute: Compute):
    def long(number, progress=None, cancel=None, region=None):
        if progress is not None:
            progress(number, 9)
        return number, cancel, region

    for runner, hears in ((compute, True), (Runner(), True), (ProcessRunner(), False)):
        told, cancel = [], threading.Event()
        hooks = {"cancel": cancel, "report": lambda *news, told=told: told.append(news)}
        found = runner.run_long(Urgency.PATH, long, 3, region="here", **hooks)
        assert found == (3, cancel if hears else None, "here")
        assert told == ([(3, 9)] if hears else [])
