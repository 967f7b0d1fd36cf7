"""Jobs in queues: how each ends, who goes first, how many run, and what is told meanwhile."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from gcd_core.errors import Cancelled, GCDError
from gcd_core.ui.engine import jobs as module
from gcd_core.ui.engine.jobs import IteratorJob, Job, JobQueue, LazyResource
from tests.ui.waiting import wait_for


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """What held jobs wait for."""
    event = threading.Event()
    yield event
    event.set()


def held(go_on: threading.Event, **options) -> Job:
    """A job that runs until it may go on, and ends as it is told to."""

    def work(job: Job) -> str:
        assert go_on.wait(30)
        if job.cancelled.is_set():
            raise Cancelled
        return "its result"

    return Job(work, **options)


def submitted(queue: JobQueue, *jobs: Job) -> list[Job]:
    for job in jobs:
        queue.submit(job)
    return list(jobs)


class Ranked(Job):
    """A job whose rank another may change, and that notes when it goes on."""

    def __init__(self, name: str, order: list[str], rank: tuple[int, int] | None, steps: int = 1):
        super().__init__()
        self.name, self.order, self.own, self.steps = name, order, rank, steps

    def rank(self) -> tuple[int, int] | None:
        return self.own

    def advance(self) -> bool:
        self.order.append(self.name)
        self.steps -= 1
        return not self.steps


# -- how a job ends ----------------------------------------------------------------------------


def broken(_: Job) -> None:
    raise ZeroDivisionError


def refused(_: Job) -> None:
    raise GCDError("There is no such file.")


def ended(_: Job) -> None:
    raise Cancelled


@pytest.mark.parametrize(
    ("work", "state", "error"),
    [
        (lambda _: 5, "done", ""),
        (ended, "cancelled", ""),
        (refused, "failed", "There is no such file."),
        (broken, "failed", "The sum failed."),
    ],
)
def test_a_job_ends_in_a_state_and_a_sentence(
    work: Callable, state: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    queue, job = JobQueue("sums"), Job(work, failure="The sum failed.")
    assert job.state == "waiting" and job.running
    queue.submit(job)
    assert job.wait(30) and not job.running
    assert (job.state, job.error, job.result) == (state, error, 5 if state == "done" else None)
    if state == "done":
        assert job.ended.result(30) == 5
    else:
        with pytest.raises(Cancelled if state == "cancelled" else GCDError, match=error or None):
            job.ended.result(30)
    assert ("ZeroDivisionError" in caplog.text) == (work is broken)
    assert queue.idle and len(queue) == 0


def test_a_failure_keeps_nothing_of_what_was_half_made() -> None:
    class Half:
        pass

    half = []

    def make(_: Job) -> None:
        network = Half()
        half.append(weakref.ref(network))
        raise GCDError("The other half is missing.")

    (job,) = submitted(JobQueue("jobs"), Job(make))
    assert job.wait(30) and job.error
    gc.collect()
    assert half[0]() is None


def test_news_of_a_job_wake_those_who_wait_for_them(go_on: threading.Event) -> None:
    seen, told = threading.Event(), []

    def work(job: Job) -> None:
        for i in range(3):
            job.report((i, 3))
            assert seen.wait(30)
            seen.clear()

    (job,) = submitted(JobQueue("jobs"), Job(work))
    changes = 0
    while job.running:
        changes = job.changed_since(changes, 30)
        told.append(job.progress)
        seen.set()
    assert told[-1] == (2, 3) and told == sorted(told) and {*told} == {(0, 3), (1, 3), (2, 3)}


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_when_it_notices(
    go_on: threading.Event,
) -> None:
    runs, waits = submitted(JobQueue("jobs", seats=1), held(go_on), held(go_on))
    waits.cancel()
    assert waits.wait(30) and waits.state == "cancelled"
    runs.cancel()
    assert runs.state == "running" and not runs.wait(0)
    go_on.set()
    assert runs.wait(30) and runs.state == "cancelled"


# -- who goes first ----------------------------------------------------------------------------


def test_so_many_run_as_there_are_seats_and_the_others_know_their_place(
    go_on: threading.Event,
) -> None:
    queue = JobQueue("searches", seats=2)
    line = submitted(queue, *(held(go_on) for _ in range(4)))
    assert [job.state for job in line] == ["running"] * 2 + ["waiting"] * 2
    assert [job.place for job in line] == [0, 0, 1, 2]
    assert (queue.running, queue.waiting, queue.idle) == (2, 2, False)
    line[2].cancel()
    assert line[3].place == 1 and queue.waiting == 1
    assert line[3].seconds_ahead is None, "none has ended yet"
    go_on.set()
    assert [job.wait(30) for job in line] == [True] * 4
    assert [job.state for job in line] == ["done", "done", "cancelled", "done"]
    assert queue.idle


def test_the_wait_is_told_by_how_long_the_last_ones_took(
    go_on: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    queue = JobQueue("searches", seats=1)

    def work(seconds: float) -> Callable:
        def pass_time(_: Job) -> None:
            now[0] += seconds

        return pass_time

    for job in submitted(queue, Job(work(10)), Job(work(30)), Job(broken)):
        assert job.wait(30)
    line = submitted(queue, held(go_on), held(go_on), held(go_on))
    assert [job.seconds_ahead for job in line] == [0, 20, 40]


def test_the_lowest_rank_goes_first_then_who_came_first(go_on: threading.Event) -> None:
    queue, order = JobQueue("paths", seats=1), []
    (first,) = submitted(queue, held(go_on))
    ranks = {"a": (1, 2), "b": (1, 0), "c": (1, 0), "d": (1, 5), "paused": None}
    line = {name: Ranked(name, order, rank) for name, rank in ranks.items()}
    submitted(queue, *line.values())
    assert [job.place for job in line.values()] == [3, 1, 2, 4, 0] and first.place == 0
    line["d"].own = (0, 5)  # somebody waits for it now
    assert line["d"].place == 1 and line["b"].place == 2
    go_on.set()
    assert line["a"].wait(30)
    assert order == ["d", "b", "c", "a"]
    wait_for(lambda: queue.idle)
    assert len(queue) == 1, "the paused one waits, and holds nobody up"
    line["paused"].own = (5, 5)
    queue.dispatch()
    assert line["paused"].wait(30)


def test_jobs_of_several_steps_take_turns(go_on: threading.Event) -> None:
    queue, order = JobQueue("paths", seats=1), []
    submitted(queue, held(go_on))
    line = submitted(queue, *(Ranked(name, order, (0, 0), steps=3) for name in "ab"))
    go_on.set()
    assert all(job.wait(30) for job in line)
    assert order == ["a", "b", "a", "b", "a", "b"]


def test_a_job_is_cancelled_between_two_steps() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def steps() -> Iterator[None]:
        begun.set()
        assert go_on.wait(30)
        yield
        pytest.fail("it went on")

    (job,) = submitted(JobQueue("jobs", seats=1), IteratorJob(steps()))
    assert begun.wait(30)
    job.cancel()
    go_on.set()
    assert job.wait(30) and job.state == "cancelled"


def test_the_newest_steps_of_each_owner_count(go_on: threading.Event) -> None:
    ahead, order = JobQueue("ahead", seats=1), []
    submitted(ahead, held(go_on))

    def steps(name: str, count: int) -> Iterator[None]:
        for _ in range(count):
            order.append(name)
            yield

    for owner, name, count in [(1, "stale", 3), (2, "two", 2), (1, "one", 2), (3, "last", 3)]:
        ahead.follow(owner, steps(name, count))
    go_on.set()
    wait_for(lambda: ahead.idle)
    assert order == ["two", "one", "last", "two", "one", "last", "last"]


# -- how many there may be ---------------------------------------------------------------------


def test_no_more_wait_than_may(go_on: threading.Event) -> None:
    queue = JobQueue("searches", seats=1, waiting=1)
    line = submitted(queue, held(go_on), held(go_on))
    with pytest.raises(GCDError, match="2 searches run or wait here already"):
        queue.submit(held(go_on))
    go_on.set()
    assert all(job.wait(30) for job in line)
    (third,) = submitted(queue, held(go_on))
    assert third.wait(30)


def test_an_owner_has_no_more_than_may_be(go_on: threading.Event) -> None:
    queue = JobQueue("walks", each=1)
    (mine,) = submitted(queue, held(go_on, owner="me"))
    submitted(queue, held(go_on, owner="you"), held(go_on), held(go_on))
    with pytest.raises(GCDError, match="Cancel the other first"):
        queue.submit(held(go_on, owner="me", busy="Cancel the other first."))
    mine.cancel()
    submitted(queue, held(go_on, owner="me"))
    go_on.set()
    wait_for(lambda: queue.idle)


def test_stopping_ends_an_owners_jobs_and_closing_all(go_on: threading.Event) -> None:
    queue = JobQueue("jobs", seats=1)
    mine, other = submitted(queue, held(go_on, owner="me"), held(go_on, owner="you"))
    stopping = threading.Thread(target=queue.stop, args=("me",))
    stopping.start()
    assert mine.cancelled.wait(30)
    go_on.set()
    stopping.join(30)
    assert mine.state == "cancelled" and other.wait(30) and other.state == "done"
    queue.close()
    with pytest.raises(GCDError, match="being closed"):
        queue.submit(held(go_on))


# -- what is made when it is first opened ------------------------------------------------------


def test_a_resource_is_made_on_first_opening_and_once_for_all_who_open_it(
    go_on: threading.Event,
) -> None:
    made = []

    def make() -> object:
        made.append(object())
        assert go_on.wait(30)
        return made[-1]

    cells = LazyResource("Blood cells", make, JobQueue("openings", seats=1))
    assert cells.opened is None and not cells.problem and not made
    first, second = cells.open(), cells.open(again=True)
    wait_for(lambda: made)
    assert cells.opened is None and not cells.problem
    assert not first.ended.cancel(), "one who leaves must not take it from the others"
    go_on.set()
    assert first.ended.result(30) is second.ended.result(30) is cells.opened is made[0]
    assert cells.open(again=True).ended.result(30) is made[0] and len(made) == 1


def test_a_resource_that_failed_can_be_tried_again() -> None:
    tries = []

    def make() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise GCDError("classifier.safetensors does not exist.")
        if len(tries) == 2:
            raise ZeroDivisionError
        return "the domain"

    cells = LazyResource("Blood cells", make, JobQueue("openings", seats=1))
    for _ in range(2):
        with pytest.raises(GCDError, match="does not exist"):
            cells.open().ended.result(30)
    assert cells.problem == "classifier.safetensors does not exist." and cells.opened is None
    assert len(tries) == 1, "only who asks for it tries again"
    with pytest.raises(GCDError, match="Blood cells could not be opened; the server's log"):
        cells.open(again=True).ended.result(30)
    assert cells.open(again=True).ended.result(30) == "the domain" == cells.opened
    assert not cells.problem and len(tries) == 3
