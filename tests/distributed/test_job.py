"""Shares of a job: each part in one of them, and one budget in all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gcd_core.distributed.job import Share, in_this_process
from gcd_core.errors import GCDError
from tests.distributed.jobs import Square, Squares


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_every_part_is_in_one_share(of: int) -> None:
    shares = [Share.parse(f"{index}/{of}") for index in range(of)]
    parts = [part for share in shares for part in share.parts(10)]
    assert sorted(parts) == list(range(10))
    sizes = [len(share.parts(10)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("budget", [0, 1, 10, 11])
def test_a_budget_is_divided_never_multiplied(budget: int) -> None:
    given = []
    for index in range(3):
        classifier = SimpleNamespace(budget=budget)
        Share(index, 3).join(classifier)
        given.append(classifier.budget)
    assert sum(given) == budget and max(given) - min(given) <= 1
    free = SimpleNamespace(budget=None)
    Share(0, 3).join(free)
    assert free.budget is None


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "0/0", "1/2/3", "0.5/2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(GCDError, match="--shard is I/N"):
        Share.parse(text)


def test_this_process_does_the_parts_in_order(tmp_path: Path) -> None:
    job = Squares(5, tmp_path / "log")
    done = list(in_this_process(job, [1, 4], Share()))
    assert [number for number, _ in done] == [1, 4]
    assert done[1][1].rows == [Square(4, 4 / 3 * 4, "number 4")]
    assert job.begun() == ["worker", "1", "4"]
    assert not list(in_this_process(job, [], Share())) and len(job.begun()) == 3
