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
    """One process that keeps the file of answers and the budgets for all workers.

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
        """Set a classifier's budget; queries that were spent stay spent."""
        with self._lock:
            self._budgets[classifier] = budget

    def check(self, classifier: str, count: int) -> None:
        """Raise BudgetExceeded if the budget does not allow so many queries more."""
        with self._lock:
            self._check(classifier, count)

    def take(self, classifier: str, count: int) -> None:
        """Reserve so many queries; raises as `check`."""
        with self._lock:
            self._check(classifier, count)
            self._spent[classifier] += count

    def give_back(self, classifier: str, count: int) -> None:
        """Return so many reserved queries to the budget."""
        with self._lock:
            self._spent[classifier] -= count

    def _check(self, classifier: str, count: int) -> None:
        budget, spent = self._budgets[classifier], self._spent[classifier]
        if spent + count > budget:
            raise exceeded(budget, spent, count)


class RemoteAnswers:
    """Answers that an `AnswerServer` in another process keeps; used like `AnswerCache`.

    Parameters
    ----------
    who : str
        This worker, as no other is called; the same where it is started again, so that what it
        had claimed is its own.
    """

    def __init__(self, ask: Ask, who: str) -> None:
        self._ask, self._who = ask, who

    @property
    def assurance(self) -> str:
        """The sentence for a search that stopped early: which answers are kept."""
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
        """Wait until no other worker asks about these images, and claim them."""
        who = f"{self._who}-{threading.get_ident()}"
        while not self._ask("claim", who, classifier, list(images)):
            time.sleep(CLAIM_POLL_SECONDS)
        try:
            yield
        finally:
            self._ask("release", who)


class RemoteBudget:
    """A classifier's budget that an `AnswerServer` in another process keeps."""

    def __init__(self, ask: Ask, classifier: str, budget: int) -> None:
        self._ask, self._classifier = ask, classifier
        ask("open", classifier, budget)

    def check(self, count: int) -> None:
        """Raise BudgetExceeded if the budget does not allow so many queries more."""
        self._ask("check", self._classifier, count)

    def take(self, count: int) -> None:
        """Reserve so many queries; raises as `check`."""
        self._ask("take", self._classifier, count)

    def give_back(self, count: int) -> None:
        """Return so many reserved queries to the budget."""
        self._ask("give_back", self._classifier, count)
