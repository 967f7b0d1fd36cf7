"""The paths of an image, decoded in the background."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from gcd_core.errors import GCDError
from gcd_core.ui.engine import decoded_paths as module
from gcd_core.ui.engine.decoded_paths import DecodedPath, KeptPaths, Paths
from gcd_core.ui.engine.jobs import JobQueue
from tests.ui.waiting import wait_for


class Decoder:
    """Decodes paths once it may, and notes the order."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.go_on = threading.Event()

    def __call__(self, names: list[str], cancel: object) -> Iterator[DecodedPath]:
        for name in names:
            self.order.append(name)
            assert self.go_on.wait(30)
            yield DecodedPath(name, "")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder()
    yield decoder
    decoder.go_on.set()


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue("paths", seats=1)


def begun(queue: JobQueue, make: Callable, *names: str, kept: bool = False) -> Paths:
    """Paths in the queue, with one session that looks on."""
    paths = Paths(make, [*names], kept=kept)
    queue.submit(paths)
    return paths.join()


def asking(paths: Paths, name: str) -> tuple[threading.Thread, list]:
    """A thread that waits for a path, and what it is told; returns once it waits."""
    told, waits = [], threading.Event()

    def ask() -> None:
        try:
            for _ in paths.awaited(name):
                waits.set()
            told.append(paths.get(name))
        except GCDError as error:
            told.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    assert waits.wait(30)
    return thread, told


def test_a_wanted_path_jumps_the_line(queue: JobQueue, decoder: Decoder) -> None:
    paths = begun(queue, decoder, "g", "h1", "h2", "h3")
    wait_for(lambda: decoder.order == ["g"])
    thread, told = asking(paths, "h3")
    decoder.go_on.set()
    thread.join(30)
    assert told == ["h3"] and paths.wait(30) and paths.finished and paths.ready == 4
    assert decoder.order == ["g", "h3", "h1", "h2"]


def test_a_path_that_fails_says_so_to_those_who_wait(queue: JobQueue) -> None:
    def make(names, cancel):
        raise ZeroDivisionError

    paths = begun(queue, make, "g")
    with pytest.raises(GCDError, match="The path along g could not be decoded"):
        paths.wanted("g")
    assert paths.finished


def test_who_waits_for_a_shared_path_and_leaves_is_told(queue: JobQueue, decoder: Decoder) -> None:
    paths = begun(queue, decoder, "g", "h1", kept=True)
    thread, told = asking(paths, "h1")
    paths.leave()
    thread.join(30)
    assert told == [module.IMAGE_LEFT]
    decoder.go_on.set()
    wait_for(lambda: paths.get("g"))
    wait_for(lambda: queue.idle)
    assert not paths.get("h1"), "it pauses while nobody looks on"
    assert paths.join().wanted("h1") == "h1"  # for whoever comes next


def test_shared_paths_that_make_room_end_once_nobody_looks_on(
    queue: JobQueue, decoder: Decoder
) -> None:
    watched = begun(queue, decoder, "g", kept=True)
    forsaken = Paths(decoder, ["g"], kept=True)
    queue.submit(forsaken)
    for paths in (watched, forsaken):
        paths.drop()
    assert forsaken.wait(30) and forsaken.finished and not watched.finished
    decoder.go_on.set()
    assert watched.wanted("g") == "g"


def test_kept_paths_are_shared_and_the_ones_used_longest_ago_make_room(
    queue: JobQueue, decoder: Decoder
) -> None:
    decoder.go_on.set()
    kept = KeptPaths(most=100)

    def join(key: str, size: int) -> Paths:
        def make() -> Paths:
            paths = Paths(decoder, ["g"], kept=True, size=size)
            queue.submit(paths)
            return paths

        return kept.join(key, make)

    first = join("first", 40)
    assert join("first", 40) is first
    second = join("second", 60)
    assert join("second", 60) is second and join("first", 40) is first
    third = join("third", 30)
    assert join("first", 40) is first and join("third", 30) is third
    assert join("second", 60) is not second
    large = join("large", 1000)  # larger than all the room there is
    assert join("large", 1000) is large
    for paths in (first, second, third, large):
        assert paths.wanted("g") == "g"


def test_kept_paths_that_could_not_be_decoded_are_begun_anew(queue: JobQueue) -> None:
    fails = True

    def make(names: list[str], cancel: object) -> list[DecodedPath]:
        if fails and names == ["h1"]:
            raise GCDError("The classifier does not answer.")
        return [DecodedPath(name, "") for name in names]

    def begin() -> Paths:
        paths = Paths(make, ["g", "h1", "h2"], kept=True)
        queue.submit(paths)
        return paths

    kept = KeptPaths(most=100)
    failed = kept.join("example", begin)
    assert failed.wait(30) and failed.gave_up and failed.ready == 1
    fails = False
    paths = kept.join("example", begin)
    assert paths.wanted("h2") == "h2" and paths.wait(30) and not paths.gave_up
    assert kept.join("example", begin) is paths


def test_paths_whose_visitor_left_leave_the_line_at_once(queue: JobQueue, decoder: Decoder) -> None:
    begun(queue, decoder, "g")
    others = [begun(queue, decoder, "g", "h1") for _ in range(4)]
    *stay, leaver = others
    thread, _ = asking(stay[1], "g")
    assert [paths.before[0] for paths in others] == [2, 1, 3, 4]
    leaver.leave()
    assert leaver.wait(30) and leaver.state == "cancelled" and leaver.before[0] == 0
    decoder.go_on.set()
    thread.join(30)
    assert all(paths.wait(30) for paths in stay) and not leaver.ready


def test_of_several_images_those_go_first_of_which_fewest_are_ready(
    queue: JobQueue, decoder: Decoder
) -> None:
    def named(image: str) -> Callable:
        return lambda names, cancel: decoder([image + name for name in names], cancel)

    one = begun(queue, named("1"), "g", "h1", "h2")
    two = begun(queue, named("2"), "g", "h1", "h2")
    decoder.go_on.set()
    assert one.wait(30) and two.wait(30)
    assert decoder.order == ["1g", "2g", "1h1", "2h1", "1h2", "2h2"]


def test_what_is_kept_from_before_needs_no_turn(queue: JobQueue, decoder: Decoder) -> None:
    busy = begun(queue, decoder, "g")
    kept = {"g": DecodedPath("kept g", ""), "h2": DecodedPath("kept h2", "")}
    paths = Paths(decoder, ["g", "h1", "h2"], find=kept.get)
    queue.submit(paths)
    paths.join().take_found()
    assert paths.wanted("g") == "kept g" and paths.wanted("h2") == "kept h2"
    assert paths.get("h1") is None and not paths.finished
    decoder.go_on.set()
    assert paths.wanted("h1") == "h1" and busy.wanted("g") == "g"


def test_where_the_disk_cannot_be_read_paths_are_decoded(queue: JobQueue, decoder: Decoder) -> None:
    def broken(name):
        raise OSError("no disk")

    decoder.go_on.set()
    paths = Paths(decoder, ["g"], find=broken)
    queue.submit(paths)
    paths.join()
    with pytest.raises(OSError, match="no disk"):
        paths.take_found()
    assert paths.wanted("g") == "g"


def test_who_waits_hears_at_once_and_again_who_goes_first(
    queue: JobQueue, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.01)
    busy = begun(queue, decoder, "g")
    paths = begun(queue, decoder, "g")
    told = []
    for before in paths.awaited("g"):
        told.append(before)
        if len(told) == 3:
            decoder.go_on.set()
    assert len(told) >= 3 and told[0] == (1, None) and paths.get("g") == "g"
    assert [*paths.awaited("g")] == [] and busy.wait(30)


def test_who_waits_long_behind_others_is_told_how_long(
    queue: JobQueue, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 0.0)
    busy, ahead = begun(queue, decoder, "g"), begun(queue, decoder, "g")
    last = begun(queue, decoder, "g", "h1")
    thread, told = asking(ahead, "g")
    with pytest.raises(GCDError, match=r"2 pictures of others are prepared first. Try again in a"):
        last.wanted("g")
    decoder.go_on.set()  # the one before the last is not many
    monkeypatch.setattr(module, "MAX_WAIT_SECONDS", 30.0)
    assert last.wanted("g") == "g" and busy.wait(30)
    thread.join(30)
    assert told == ["g"]


def test_the_ends_of_all_come_after_the_first_path(queue: JobQueue) -> None:
    order: list[object] = []

    def make(names: list[str], cancel: object) -> list[DecodedPath]:
        order.extend(names)
        return [DecodedPath(name, "") for name in names]

    def draw_ends(names: list[str], cancel: object) -> dict[str, tuple[str, str]]:
        order.append(tuple(names))
        return {name: (f"low {name}", f"high {name}") for name in names}

    paths = Paths(make, ["g", "h1", "h2"], draw_ends=draw_ends)
    assert paths.ends("h2") is None
    queue.submit(paths)
    assert paths.join().wait(30)
    assert order == ["g", ("h1", "h2"), "h1", "h2"]
    assert paths.ends("h2") == ("low h2", "high h2") and paths.arrivals == 4
    order.clear()
    two = Paths(make, ["g", "h1"], draw_ends=draw_ends)
    queue.submit(two)
    assert two.join().wait(30) and order == ["g", "h1"], "one path alone shows its ends as soon"


def test_a_path_that_somebody_waits_for_goes_before_the_ends(
    queue: JobQueue, decoder: Decoder
) -> None:
    def draw_ends(names: list[str], cancel: object) -> dict:
        decoder.order.append(",".join(names))
        return {}

    paths = Paths(decoder, ["g", "h1", "h2"], draw_ends=draw_ends)
    queue.submit(paths)
    paths.join()
    wait_for(lambda: decoder.order)
    thread, told = asking(paths, "h2")
    decoder.go_on.set()
    thread.join(30)
    assert told == ["h2"] and paths.wait(30)
    assert decoder.order[:2] == ["g", "h2"] and decoder.order[-1] == "h1"


@pytest.mark.parametrize(
    ("at_once", "expected"),
    [(3, [["g", "h1", "h2"], ["h3", "h4"]]), (1, [["g"], ["h1", "h2", "h3"], ["h4"]])],
)
def test_several_paths_are_decoded_together_and_shown_as_each_comes(
    queue: JobQueue, at_once: int, expected: list[list[str]]
) -> None:
    asked, seen = [], []

    def make(names: list[str], cancel: object) -> Iterator[DecodedPath]:
        asked.append(names)
        for name in names:
            seen.append(paths.ready)
            yield DecodedPath(name, "")

    paths = Paths(make, ["g", "h1", "h2", "h3", "h4"], together=3, at_once=at_once)
    queue.submit(paths)
    assert paths.join().wait(30)
    assert asked == expected and seen == [0, 1, 2, 3, 4]
    assert paths.ready == 5 and not paths.gave_up


def test_a_path_that_somebody_waits_for_is_decoded_alone(queue: JobQueue) -> None:
    asked, begun, go_on = [], threading.Event(), threading.Event()

    def make(names: list[str], cancel: object) -> Iterator[DecodedPath]:
        asked.append(names)
        begun.set()
        assert go_on.wait(30)
        for name in names:
            yield DecodedPath(name, "")

    paths = Paths(make, ["g", "h1", "h2", "h3", "h4"], together=3)
    queue.submit(paths)
    paths.join()
    assert begun.wait(30)
    thread, told = asking(paths, "h3")
    go_on.set()
    thread.join(30)
    assert told == ["h3"] and paths.wait(30)
    assert asked == [["g"], ["h3"], ["h1", "h2", "h4"]]
