"""Whose path is decoded next."""

from __future__ import annotations

import threading

from gcd_core.ui.engine.jobs import FairQueue
from tests.ui.waiting import wait_for


def test_the_lowest_rank_goes_first_then_who_came_first() -> None:
    turns, order, go_on = FairQueue(), [], threading.Event()
    ranks = {"held": (0, 0), "a": (1, 2), "b": (1, 0), "c": (1, 0), "d": (1, 5)}

    def work(name: str, rank) -> None:
        with turns.turn(rank):
            order.append(name)
            if name == "held":
                assert go_on.wait(30)

    known = {name: (lambda name=name: ranks[name]) for name in ranks}
    threads = []
    for i, (name, rank) in enumerate(known.items()):
        threads.append(threading.Thread(target=work, args=(name, rank)))
        threads[-1].start()
        wait_for(lambda i=i: len(turns._line) == i if i else order == ["held"])
    assert [turns.before(known[name]) for name in "abcd"] == [3, 1, 2, 4]
    assert turns.before(lambda: (0, 0)) == 0 and turns.seconds(3) is None
    ranks["d"] = (0, 5)  # somebody waits for it now
    turns.changed()
    assert turns.before(known["d"]) == 1 and turns.before(known["b"]) == 2
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert order == ["held", "d", "b", "c", "a"]
    assert turns.seconds(4) == 4 * sum(turns._took) / 5
