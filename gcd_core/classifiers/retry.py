"""Asking again: what to repeat, after which pause, and when to give up."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from gcd_core.classifiers.base import NoAnswer

LOG = logging.getLogger(__name__)
NONSENSE_TRIES = 6  # each may be on the bill
WORTH_TELLING = 5.0  # seconds of silence after which somebody may wonder
T = TypeVar("T")


class Failure(Exception):
    """A request that failed and may succeed when repeated.

    Parameters
    ----------
    reason : str
        Goes on from "The endpoint".
    wait : float
        Seconds that the endpoint asked to wait, at least.
    nonsense : bool
        Whether it did answer, but nothing that can be used.
    """

    def __init__(self, reason: str, wait: float = 0.0, nonsense: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.nonsense = wait, nonsense


@dataclass(frozen=True)
class Patience:
    """Exponential backoff with jitter.

    Attributes
    ----------
    tries : int
        Requests that one question may take, the first included; 6 of them if they are answered
        with nonsense.
    first, longest : float
        Seconds: the pause after the first failure, doubled after each further one, and its limit.
        A pause is 50 to 100 % of that, so that several programs do not come back at once.
    longest_wait : float
        Seconds that the endpoint may ask to wait before giving up is better.
    sleep, clock, random : callable
        Seconds to wait for; seconds since 1970; a number in [0, 1).
    """

    tries: int = 8
    first: float = 0.5
    longest: float = 30.0
    longest_wait: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time
    random: Callable[[], float] = random.random

    def ask(self, request: Callable[[], T], name: str) -> T:
        """Repeat `request` until it succeeds, and return its result.

        Parameters
        ----------
        request : callable
            Raises a `Failure` where it may be repeated.
        name : str
            Of the endpoint, for messages.

        Raises
        ------
        NoAnswer
            If every try failed, or the endpoint asks to wait too long.
        """
        nonsense = 0
        for attempt in range(1, self.tries + 1):
            try:
                return request()
            except Failure as failure:
                nonsense += failure.nonsense
                if attempt == self.tries or nonsense == NONSENSE_TRIES:
                    times = f"after {attempt} tries" if attempt > 1 else "and is not asked again"
                    raise NoAnswer(f"The endpoint {name} {failure}, {times}.") from failure
                if failure.wait > self.longest_wait:
                    raise NoAnswer(
                        f"The endpoint {name} {failure} and asks to wait {failure.wait:.0f} s; "
                        "come back then."
                    ) from failure
                pause = self._pause(attempt, failure)
                LOG.log(
                    logging.WARNING if pause >= WORTH_TELLING else logging.INFO,
                    "The endpoint %s %s; asking again in %.1f s (try %d of %d).",
                    *(name, failure, pause, attempt + 1, self.tries),
                )
                self.sleep(pause)
        raise ValueError(f"{self.tries} tries are none; take 1 or more.")

    def wanted(self, retry_after: str | None) -> float:
        """Seconds to wait that a Retry-After header asks for (a number or a date); 0 without."""
        if not retry_after:
            return 0.0
        try:
            seconds = float(retry_after)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(retry_after).timestamp() - self.clock()
            except (ValueError, OverflowError):
                return 0.0
        return max(seconds, 0.0) if seconds == seconds else 0.0

    def _pause(self, attempt: int, failure: Failure) -> float:
        doubled = self.first if failure.nonsense else self.first * 2 ** (attempt - 1)
        return max(failure.wait, min(doubled, self.longest) * (0.5 + 0.5 * self.random()))
