"""What is offered is made when it is first opened: once, and again where that failed."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from gcd_core.errors import GCDError
from gcd_core.ui.engine.jobs import LazyResource
from tests.ui.waiting import wait_for


def offer(make, turn: threading.Lock | None = None) -> LazyResource:
    return LazyResource("Blood cells", make, turn or threading.Lock())


def test_it_is_made_on_first_opening_and_once_for_all_who_open_it():
    made, go_on = [], threading.Event()

    def make() -> object:
        made.append(object())
        assert go_on.wait(30)
        return made[-1]

    cells = offer(make)
    assert cells.opened is None and not cells.problem
    cells.wait()
    assert not made, "nobody has opened it"
    first, second = cells.open(), cells.open(again=True)
    wait_for(lambda: made)
    assert cells.opened is None and not cells.problem
    assert not first.cancel(), "one who leaves must not take it from the others"
    go_on.set()
    assert first.result(30) is second.result(30) is cells.opened is made[0]
    assert cells.open(again=True).result(30) is made[0] and len(made) == 1


def test_a_failure_is_a_sentence_and_can_be_tried_again():
    tries = []

    def make() -> str:
        tries.append(1)
        if len(tries) == 1:
            raise GCDError("classifier.safetensors does not exist.")
        if len(tries) == 2:
            raise ZeroDivisionError
        return "the domain"

    cells = offer(make)
    with pytest.raises(GCDError, match="does not exist"):
        cells.open().result(30)
    assert cells.problem == "classifier.safetensors does not exist." and cells.opened is None
    with pytest.raises(GCDError):
        cells.open().result(30)
    assert len(tries) == 1, "only who asks for it tries again"
    with pytest.raises(GCDError, match="Blood cells could not be opened; the server's log"):
        cells.open(again=True).result(30)
    assert cells.open(again=True).result(30) == "the domain" == cells.opened
    assert not cells.problem and len(tries) == 3


def test_a_failure_keeps_nothing_of_what_was_made_half():
    class Half:
        pass

    half = []

    def make() -> None:
        network = Half()
        half.append(weakref.ref(network))
        raise GCDError("The other half is missing.")

    cells = offer(make)
    cells.open()
    cells.wait()
    gc.collect()
    assert cells.problem and half[0]() is None


def test_of_two_that_share_a_turn_one_is_made_at_a_time():
    turn, at_work, most, go_on = threading.Lock(), [], [], threading.Event()

    def make() -> None:
        at_work.append(1)
        most.append(len(at_work))
        assert go_on.wait(30)
        at_work.pop()

    both = [offer(make, turn) for _ in range(2)]
    for one in both:
        one.open()
    wait_for(lambda: most)
    go_on.set()
    for one in both:
        one.wait()
    assert most == [1, 1]
