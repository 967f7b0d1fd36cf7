"""The paths of an image, decoded in the background."""

from __future__ import annotations

import threading

import pytest

from gcd_core.errors import GCDError
from gcd_core.ui.engine import decoded_paths as module
from gcd_core.ui.engine.decoded_paths import DecodedPath, KeptPaths, Paths
from gcd_core.ui.engine.jobs import FairQueue
from tests.ui.waiting import wait_for


def test_a_wanted_path_jumps_the_line():
    order, go_on = [], threading.Event()

    def make(name, cancel):
        order.append(name)
        assert go_on.wait(30)
        return DecodedPath(name, "")

    paths = Paths(make, ["g", "h1", "h2", "h3"], FairQueue()).join()
    wait_for(lambda: order == ["g"])
    waiting = threading.Thread(target=paths.wanted, args=("h3",))
    waiting.start()
    wait_for(lambda: paths._waiting[0] == "h3")
    go_on.set()
    waiting.join(30)
    wait_for(lambda: paths.finished)
    assert order[:2] == ["g", "h3"] and sorted(order[2:]) == ["h1", "h2"]


def test_a_path_that_fails_says_so_to_those_who_wait():
    def make(name, cancel):
        raise ZeroDivisionError

    paths = Paths(make, ["g"], FairQueue()).join()
    with pytest.raises(GCDError, match="could not be decoded"):
        paths.wanted("g")
    assert paths.finished


def test_who_waits_for_a_shared_path_and_leaves_is_told():
    held, go_on = threading.Event(), threading.Event()

    def make(name, cancel):
        held.set()
        assert go_on.wait(30)
        return DecodedPath(name, "")

    paths = Paths(make, ["g", "h1"], FairQueue(), kept=True).join()
    assert held.wait(30)
    answers = []

    def wait() -> None:
        with pytest.raises(GCDError, match="Another image was opened"):
            paths.wanted("h1")
        answers.append("left")

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_for(lambda: paths._waiting[0] == "h1")
    paths.leave()
    waiting.join(30)
    assert answers == ["left"]
    go_on.set()
    wait_for(lambda: paths.get("g"))
    assert paths.join().wanted("h1") == "h1"  # for whoever comes next


def test_shared_paths_that_make_room_end_once_nobody_looks_on():
    go_on = threading.Event()

    def make(name, cancel):
        assert go_on.wait(30)
        return DecodedPath(name, "")

    watched = Paths(make, ["g"], FairQueue(), kept=True).join()
    forsaken = Paths(make, ["g"], FairQueue(), kept=True)
    for paths in (watched, forsaken):
        paths.drop()
    forsaken._thread.join(30)
    assert not forsaken._thread.is_alive() and forsaken.finished
    go_on.set()
    assert watched.wanted("g") == "g"


def test_kept_paths_are_shared_and_the_oldest_make_room():
    def make() -> Paths:
        return Paths(lambda name, cancel: DecodedPath(name, ""), ["g"], FairQueue(), kept=True)

    kept = KeptPaths(most=100)
    first = kept.join("first", 40, make)
    assert kept.join("first", 40, make) is first
    second = kept.join("second", 60, make)
    assert kept.join("first", 40, make) is first and kept.join("second", 60, make) is second
    third = kept.join("third", 30, make)
    assert kept.join("second", 60, make) is second and kept.join("third", 30, make) is third
    assert kept.join("first", 40, make) is not first
    large = kept.join("large", 1000, make)  # larger than all the room there is
    assert kept.join("large", 1000, make) is large
    for paths in (first, second, third, large):
        assert paths.wanted("g") == "g"


def test_paths_whose_visitor_left_leave_the_line_at_once() -> None:
    turns, go_on, held = FairQueue(), threading.Event(), threading.Event()

    def make(name, cancel):
        held.set()
        assert go_on.wait(30)
        return DecodedPath(name, "")

    first = Paths(make, ["g"], turns).join()
    assert held.wait(30)
    others = [Paths(make, ["g", "h1"], turns).join() for _ in range(4)]
    wait_for(lambda: len(turns._line) == 4)
    leaver = others[-1]
    asked = threading.Thread(target=others[0].wanted, args=("g",))
    asked.start()
    wait_for(lambda: others[0]._asked)
    assert others[0].before[0] == 1 and leaver.before[0] == 4
    leaver.leave()
    assert leaver.before[0] == 1, "it only has to be told that it may go"
    go_on.set()
    leaver._thread.join(30)
    assert not leaver._thread.is_alive() and not leaver.ready
    asked.join(30)
    for paths in (first, *others[:-1]):
        wait_for(lambda paths=paths: paths.finished)


def test_what_is_kept_from_before_needs_no_turn() -> None:
    turns, go_on = FairQueue(), threading.Event()

    def make(name, cancel):
        assert go_on.wait(30)
        return DecodedPath(name, "")

    busy = Paths(make, ["g"], turns).join()
    wait_for(lambda: turns._taken)
    kept = {"g": DecodedPath("kept g", ""), "h2": DecodedPath("kept h2", "")}
    paths = Paths(make, ["g", "h1", "h2"], turns, find=kept.get).join()
    assert paths.wanted("g") == "kept g" and paths.wanted("h2") == "kept h2"
    assert paths.get("h1") is None and not paths.finished
    go_on.set()
    assert paths.wanted("h1") == "h1" and busy.wanted("g") == "g"

    def broken(name):
        raise OSError("no disk")

    assert Paths(make, ["g"], turns, find=broken).join().wanted("g") == "g"


def test_who_waits_hears_at_once_and_again_who_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gcd_core.ui.engine.decoded_paths.REPORT_SECONDS", 0.01)
    turns, go_on = FairQueue(), threading.Event()

    def make(name, cancel):
        assert go_on.wait(30)
        return DecodedPath(name, "")

    busy = Paths(make, ["g"], turns).join()
    wait_for(lambda: turns._taken)
    paths = Paths(make, ["g"], turns).join()
    wait_for(lambda: turns._line)
    told = []
    for before in paths.awaited("g"):
        told.append(before)
        if len(told) == 3:
            go_on.set()
    assert len(told) >= 3 and told[0] == (1, None) and paths.get("g") == "g"
    assert [*paths.awaited("g")] == [] and not paths._asked
    wait_for(lambda: busy.finished)


def test_who_waits_long_behind_others_is_told_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, go_on = FairQueue(), threading.Event()

    def make(name, cancel):
        assert go_on.wait(30)
        return DecodedPath(name, "")

    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.0)
    busy = Paths(make, ["g"], turns).join()
    wait_for(lambda: turns._taken)
    ahead = Paths(make, ["g"], turns).join()
    wait_for(lambda: len(turns._line) == 1)
    last = Paths(make, ["g", "h1"], turns).join()
    wait_for(lambda: len(turns._line) == 2)

    def ask() -> None:
        with pytest.raises(GCDError, match="Another image"):
            ahead.wanted("no such")

    asked = threading.Thread(target=ask)
    asked.start()
    wait_for(lambda: ahead._asked)
    with pytest.raises(GCDError, match=r"2 pictures of others are prepared first. Try again in a"):
        last.wanted("g")
    go_on.set()  # the one before the last is not many
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 30.0)
    assert last.wanted("g") == "g"
    ahead.leave()
    asked.join(30)
    assert busy.get("g")
