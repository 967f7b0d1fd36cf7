import pytest
import torch

from gcd_core.training.threads import KEPT, TRIED, WARM_UP, Threads


@pytest.fixture(autouse=True)
def as_many_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def walk(threads: Threads, steps: int, seconds) -> list[int]:
    taken = []
    for _ in range(steps):
        threads.before_step()
        taken.append(torch.get_num_threads())
        threads.after_step(seconds(taken[-1]))
    return taken


@pytest.mark.parametrize("fastest", [1, 3, 6])
def test_the_fastest_number_of_threads_is_kept(fastest) -> None:
    threads = Threads(6)
    assert threads.counts == [6, 3, 1]
    tried = 3 * TRIED
    taken = walk(threads, WARM_UP + tried + KEPT, lambda count: 1 + abs(count - fastest))
    assert taken[:WARM_UP] == [6] * WARM_UP
    assert set(taken[WARM_UP + tried :]) == {fastest}
    again = walk(threads, tried + KEPT, lambda count: float(count))  # another program has come
    assert set(again[tried:]) == {1}
    threads.end()
    assert torch.get_num_threads() == 6


def test_a_step_that_stalled_once_does_not_decide() -> None:
    threads, calls = Threads(2), iter([9.0, *[1.0] * 10_000])
    walk(threads, WARM_UP, lambda count: 1.0)
    taken = walk(threads, 2 * TRIED + 1, lambda count: next(calls) if count == 2 else 2.0)
    assert taken[-1] == 2


def test_one_thread_leaves_nothing_to_choose() -> None:
    before = torch.get_num_threads()
    assert set(walk(Threads(1), 500, lambda count: 1.0)) == {before}
