"""A job that is done in parts, and the result of one part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from gcd_core.errors import GCDError


@dataclass(frozen=True)
class Part:
    """The result of one part of a job."""

    rows: list[Any]  # instances of the job's `row`, in their order
    # What else there is to know of the part; JSON can hold it.
    about: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # what else the part made, by name


Read = Callable[[int], Any]  # the part's number to what the worker needs of it
Work = Callable[[int, Any], Part]


class PartsJob(ABC):
    """Work in parts that are independent of each other.

    It is sent to other processes: it holds names and numbers, no network and no open file.
    """

    kind: str  # the command whose work it is
    # The dataclass of a row, made of str, bool, int, float, other such dataclasses, and lists and
    # dicts of those, each of which may be None.
    row: type

    @property
    @abstractmethod
    def parts(self) -> int:
        """How many parts there are."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that the rows hang on, as JSON; a part of other settings is none of this job."""

    def reader(self) -> Read:
        """Return what reads a part's images; it needs no network. By default nothing is read."""
        return lambda part: None

    @abstractmethod
    def worker(self, shared: Shared | None = None, domain: Any = None) -> Work:
        """Load what the work needs, once, and return what does a part.

        `domain` is the job's, where it is open in this process already.
        """


class Shared(Protocol):
    """What the workers of one job share: kept answers, and a budget of queries."""

    def join(self, classifier: Any) -> None:
        """Let a worker's classifier share them."""


@dataclass(frozen=True)
class Share:
    """A share of a job: its parts i, i + n, i + 2n, ..."""

    index: int = 0  # 0 to of - 1
    of: int = 1  # how many shares there are

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `i/n`, such as "0/4", the first of four. Raises a GCDError if it is none."""
        first, _, second = text.partition("/")
        try:
            index, of = int(first), int(second)
        except ValueError:
            index, of = -1, 0
        if not 0 <= index < of:
            raise GCDError(
                f"--shard is I/N, the share I of N, from 0/N to N-1/N, such as 0/4, not {text!r}."
            )
        return cls(index, of)

    def parts(self, count: int) -> range:
        """Its parts of so many."""
        return range(self.index, count, self.of)

    def join(self, classifier: Any) -> None:
        """Divide the classifier's budget among the shares; the first ones take what is over."""
        if classifier.budget is not None:
            each, over = divmod(classifier.budget, self.of)
            classifier.budget = each + (self.index < over)


def in_this_process(
    job: PartsJob, todo: list[int], share: Share, domain: Any = None
) -> Iterator[tuple[int, Part]]:
    """Do parts one after the other, with the domain that is open here."""
    if not todo:
        return
    read, work = job.reader(), job.worker(share, domain)
    for part in todo:
        yield part, work(part, read(part))
