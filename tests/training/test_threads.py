import pytest
import torch

from gcd_core.training import threads as module
from gcd_core.training.threads import KEPT, TRIED, WARM_UP, Threads


@pytest.fixture(autouse=True)
def as_many_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def walk(monkeypatch):
    """Takes steps that last as long as a function of their threads says; returns these."""
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)

    def walk(threads: Threads, steps: int, seconds) -> list[int]:
        nonlocal now
        taken = []
        for _ in range(steps):
            with threads.step():
                taken.append(torch.get_num_threads())
                now += seconds(taken[-1])
            assert torch.get_num_threads() == threads.counts[0], "between two steps there are all"
        return taken

    return walk


@pytest.mark.parametrize("fastest", [1, 3, 6])
def test_the_fastest_number_of_threads_is_kept(walk, fastest) -> None:
    threads = Threads(6)
    assert threads.counts == [6, 3, 1]
    tried = 3 * TRIED
    taken = walk(threads, WARM_UP + tried + KEPT, lambda count: 1 + abs(count - fastest))
    assert taken[:WARM_UP] == [6] * WARM_UP
    assert set(taken[WARM_UP + tried :]) == {fastest}
    again = walk(threads, tried + KEPT, lambda count: float(count))  # another program has come
    assert set(again[tried:]) == {1}


def test_a_step_that_stalled_once_does_not_decide(walk) -> None:
    threads, calls = Threads(2), iter([9.0, *[1.0] * 10_000])
    walk(threads, WARM_UP, lambda count: 1.0)
    taken = walk(threads, 2 * TRIED + 1, lambda count: next(calls) if count == 2 else 2.0)
    assert taken[-1] == 2


def test_one_thread_leaves_nothing_to_choose(walk) -> None:
    assert set(walk(Threads(1), 500, lambda count: 1.0)) == {1}


def test_a_step_that_fails_leaves_all_threads(walk) -> None:
    threads = Threads(2)
    walk(threads, WARM_UP + TRIED, lambda count: 1.0)
    with pytest.raises(KeyboardInterrupt), threads.step():
        assert torch.get_num_threads() == 1
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2
