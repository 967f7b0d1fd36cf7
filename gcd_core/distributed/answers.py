"""Kept answers and a budget of queries for the workers of a cluster, held in one place."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gcd_core.classifiers.base import exceeded
from gcd_core.classifiers.cache import CLAIM_POLL_SECONDS, AnswerCache, own_name

Ask = Callable[
    ..., Any
]  # the name of a method of `AnswerServer` and its arguments, to what it returns


class AnswerServer:
    """What one process holds for all: the file of answers, and what is spent of the budgets.

    Parameters
    ----------
    spent : dict of str to int, optional
        What the driver has asked already, by the classifier's identity.
    """

    def __init__(self, spent: Mapping[str, int] | None = None) -> None:
        self._budgets: dict[str, int] = {}  # of all workers together, by the classifier's identity
        self._spent: defaultdict[str, int] = defaultdict(int, spent or {})
        self._answers = AnswerCache()
        self._lock = threading.Lock()

    def get(self, classifier: str, images: list[bytes], labels: int) -> dict[bytes, list[float]]:
        """The answers that are known."""
        found = self._answers.get(classifier, images, labels)
        return {image: answer.tolist() for image, answer in found.items()}

    def put(self, classifier: str, answers: dict[bytes, list[float]]) -> None:
        """Keep answers."""
        self._answers.put(classifier, {k: torch.tensor(v) for k, v in answers.items()})

    def claim(self, who: str, classifier: str, images: list[bytes]) -> bool:
        """As `AnswerCache.claim`, for a worker; its claims end with this process."""
        return self._answers.claim(own_name(who), classifier, images)

    def release(self, who: str) -> None:
        """As `AnswerCache.release`."""
        self._answers.release(own_name(who))

    def assurance(self) -> str:
        """As `AnswerCache.assurance`."""
        return self._answers.assurance

    def open(self, classifier: str, budget: int) -> None:
        """Name a classifier's budget; what is spent of it stays spent."""
        with self._lock:
            self._budgets[classifier] = budget

    def check(self, classifier: str, count: int) -> None:
        """Raise BudgetExceeded where so many more are too many."""
        with self._lock:
            self._check(classifier, count)

    def take(self, classifier: str, count: int) -> None:
        """Reserve so many; raises as `check`."""
        with self._lock:
            self._check(classifier, count)
            self._spent[classifier] += count

    def give_back(self, classifier: str, count: int) -> None:
        """Say that so many were not answered."""
        with self._lock:
            self._spent[classifier] -= count

    def _check(self, classifier: str, count: int) -> None:
        budget, spent = self._budgets[classifier], self._spent[classifier]
        if spent + count > budget:
            raise exceeded(budget, spent, count)


class RemoteAnswers:
    """The answers that another process holds; as `AnswerCache`.

    Parameters
    ----------
    ask : callable
    who : str
        This worker, as no other is called; the same where it is started again, so that what it
        had claimed is its own.
    """

    def __init__(self, ask: Ask, who: str) -> None:
        self._ask, self._who = ask, who

    @property
    def assurance(self) -> str:
        """What to tell somebody whose search stopped on its way."""
        return str(self._ask("assurance"))

    def get(self, classifier: str, images: Iterable[bytes], labels: int) -> dict[bytes, Tensor]:
        """The answers (L,) that are known of these images."""
        found = self._ask("get", classifier, list(images), labels)
        return {image: torch.tensor(answer) for image, answer in found.items()}

    def put(self, classifier: str, answers: Mapping[bytes, Tensor]) -> None:
        """Keep answers (L,)."""
        self._ask("put", classifier, {k: v.detach().cpu().tolist() for k, v in answers.items()})

    @contextmanager
    def claimed(self, classifier: str, images: Sequence[bytes]) -> Iterator[None]:
        """Wait until nobody else asks about any of these images, and keep others from it."""
        who = f"{self._who}-{threading.get_ident()}"
        while not self._ask("claim", who, classifier, list(images)):
            time.sleep(CLAIM_POLL_SECONDS)
        try:
            yield
        finally:
            self._ask("release", who)


class RemoteBudget:
    """The budget of a classifier that another process keeps; as `SharedBudget`."""

    def __init__(self, ask: Ask, classifier: str, budget: int) -> None:
        self._ask, self._classifier = ask, classifier
        ask("open", classifier, budget)

    def check(self, count: int) -> None:
        """Raise BudgetExceeded where so many more are too many."""
        self._ask("check", self._classifier, count)

    def take(self, count: int) -> None:
        """Reserve so many; raises as `check`."""
        self._ask("take", self._classifier, count)

    def give_back(self, count: int) -> None:
        """Say that so many were not answered."""
        self._ask("give_back", self._classifier, count)
