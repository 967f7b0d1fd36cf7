"""Pauses, their limits, and what ends them."""

import logging

import pytest

from gcd_core.classifiers.base import NoAnswer
from gcd_core.classifiers.retry import NONSENSE_TRIES, Failure, Patience


class Failing:
    """Fails in the given ways, then answers 42; keeps the pauses it was given."""

    def __init__(self, *failures: Failure) -> None:
        self.failures, self.pauses, self.asked = list(failures), [], 0

    def __call__(self) -> int:
        self.asked += 1
        if self.failures:
            raise self.failures.pop(0)
        return 42

    def patience(self, **settings) -> Patience:
        settings = {"random": lambda: 0.0, "clock": lambda: 1e9} | settings
        return Patience(sleep=self.pauses.append, **settings)


def test_pauses_double_up_to_the_longest():
    request = Failing(*[Failure("is away") for _ in range(6)])
    assert request.patience(first=1.0, longest=10.0).ask(request, "x") == 42
    assert request.pauses == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]  # random 0 is half of the pause


def test_jitter_reaches_from_half_to_the_whole_pause():
    draws = iter([0.0, 0.5, 0.999])
    request = Failing(*[Failure("is away") for _ in range(3)])
    request.patience(first=8.0, longest=8.0, random=lambda: next(draws)).ask(request, "x")
    assert request.pauses == pytest.approx([4.0, 6.0, 7.996])


def test_what_the_endpoint_asks_for_counts_if_it_is_longer():
    request = Failing(Failure("is busy", wait=7.0), Failure("is busy", wait=0.1))
    request.patience(first=1.0).ask(request, "x")
    assert request.pauses == [7.0, 1.0]


@pytest.mark.parametrize(
    "header, seconds",
    [
        (None, 0),
        ("", 0),
        ("7", 7),
        ("0.5", 0.5),
        ("-3", 0),
        ("soon", 0),
        ("nan", 0),
        ("Sun, 09 Sep 2001 01:47:10 GMT", 30),
        ("Sun, 09 Sep 2001 01:46:00 GMT", 0),
    ],
)
def test_retry_after(header, seconds):
    now = 1e9  # 2001-09-09 01:46:40 UTC
    assert Patience(clock=lambda: now).wanted(header) == seconds


def test_too_long_a_wait_ends_it():
    request = Failing(Failure("is busy", wait=3600))
    with pytest.raises(NoAnswer, match=r"x is busy.*3600 s"):
        request.patience().ask(request, "x")
    assert request.pauses == [] and request.asked == 1


def test_giving_up_says_why_and_after_how_many_tries():
    request = Failing(*[Failure("is away") for _ in range(9)])
    with pytest.raises(NoAnswer, match=r"http://x is away, after 4 tries\."):
        request.patience(tries=4).ask(request, "http://x")
    assert request.asked == 4 and len(request.pauses) == 3


def test_nonsense_is_asked_again_soon_but_not_often():
    request = Failing(*[Failure("answers nonsense", nonsense=True) for _ in range(20)])
    with pytest.raises(NoAnswer, match="nonsense"):
        request.patience(first=1.0, tries=20).ask(request, "x")
    assert request.asked == NONSENSE_TRIES and set(request.pauses) == {0.5}


def test_other_errors_are_not_for_repeating():
    def request():
        raise NoAnswer("The endpoint x refuses.")

    with pytest.raises(NoAnswer, match="refuses"):
        Patience(sleep=pytest.fail).ask(request, "x")


def test_a_long_silence_is_explained(caplog):
    request = Failing(Failure("is away"), Failure("is busy", wait=20))
    with caplog.at_level(logging.WARNING):
        request.patience().ask(request, "x")
    assert [record.getMessage() for record in caplog.records] == [
        "The endpoint x is busy; asking again in 20.0 s (try 3 of 8)."
    ]
