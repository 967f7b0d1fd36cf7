"""Searches that a Ray cluster runs for the page."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gcd_core.distributed.cluster import connected, last_line
from gcd_core.domains.opening import load_domain
from gcd_core.environment import Environment
from gcd_core.errors import Cancel, GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.directions import DirectionSet
from gcd_core.method.repeatability import with_repeatability
from gcd_core.method.samples import Samples
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import Progress, SearchCancelled, SearchFailed
from gcd_core.method.settings import Settings

PROGRESS_POLL_SECONDS = 0.25  # seconds between two looks at how a search goes


@dataclass
class Ended:
    """How a search ended: with directions, or cancelled, or refused."""

    directions: DirectionSet | None = None
    samples: Samples | None = None  # what was asked by a search that found none
    problem: str = ""  # why not; empty where it was cancelled


@dataclass
class Running:
    """A search in an actor: its progress that was not fetched yet, and its cancel flag."""

    told: list[Progress] = field(default_factory=list)
    cancel: threading.Event = field(default_factory=threading.Event)


class Finder:
    """An actor that opens a domain once and runs searches in it.

    Parameters
    ----------
    domain : str
        As of `load_domain`.
    """

    def __init__(self, domain: str) -> None:
        self._domain = load_domain(domain)
        self._running = Running()

    def find(
        self,
        image: Tensor | Picture | None,
        label: str,
        settings: Settings,
        resume: Samples | None,
    ) -> Ended:
        """Search from an image (1, C, S, S), or from none."""
        running = self._running
        try:
            found = find_directions(
                self._domain,
                image,
                label,
                settings=settings,
                progress=running.told.append,
                cancel=running.cancel,
                resume=resume,
            )
            return Ended(with_repeatability(found, settings.lam, running.cancel))
        except SearchCancelled as stopped:
            return Ended(samples=stopped.samples)
        except SearchFailed as error:
            return Ended(samples=error.samples, problem=str(error))
        except GCDError as error:
            return Ended(problem=str(error))

    def begin(self) -> None:
        """Reset progress and cancel flag before a search."""
        self._running = Running()

    def news(self) -> list[Progress]:
        """Return the progress since the last call."""
        told = self._running.told
        count = len(told)
        taken, told[:count] = told[:count], []
        return taken

    def cancel(self) -> None:
        """End the search before its next batch."""
        self._running.cancel.set()


class RaySearches:
    """Runs searches in actors of a cluster; an idle actor is used again.

    Raises a GCDError if Ray is not installed, or the cluster does not answer.

    Parameters
    ----------
    address : str
        Of the cluster, as of `Cluster`.
    gpus : float
        Of each actor; 0 on the CPU.
    """

    def __init__(self, address: str, gpus: float = 0.0) -> None:
        self._ray = connected(address)
        self._gpus = gpus
        self._idle: defaultdict[str, list[Any]] = defaultdict(list)
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls) -> RaySearches | None:
        """The cluster that `GCD_RAY_ADDRESS` names, with `GCD_RAY_GPUS` for each search.

        None where it names none. Raises a GCDError as the class; or if the GPUs are no number.
        """
        settings = Environment()
        address = settings.ray_address
        return None if address is None else cls(address, settings.ray_gpus)

    def find(
        self,
        domain: str,
        image: Tensor | Picture | None,
        label: str,
        settings: Settings,
        progress: Callable[[Progress], None],
        cancel: Cancel,
        resume: Samples | None = None,
    ) -> DirectionSet:
        """Search an image for directions, and measure how repeatable they are.

        Parameters
        ----------
        domain : str
            A name or folder that the cluster's nodes open too.
        image, label, settings, progress, cancel, resume
            As of `find_directions`.

        Raises
        ------
        SearchCancelled, SearchFailed
            As `find_directions`.
        GCDError
            If the cluster lost the search.
        """
        errors = self._ray.exceptions
        try:
            ended = self._found(domain, (image, label, settings, resume), progress, cancel)
        except (errors.RayActorError, errors.RayTaskError, errors.GetTimeoutError) as error:
            raise GCDError(
                f"The cluster lost the search ({last_line(error)}): start it again."
            ) from error
        if ended.directions is not None:
            return ended.directions
        if ended.problem:
            raise SearchFailed(ended.problem, ended.samples)
        raise SearchCancelled("The search was cancelled.", ended.samples)

    def _found(
        self,
        domain: str,
        task: tuple[Any, ...],
        progress: Callable[[Progress], None],
        cancel: Cancel,
    ) -> Ended:
        ray, actor = self._ray, self._taken(domain)
        ray.get(actor.begin.remote())
        outcome = actor.find.remote(*task)
        told = False
        while not ray.wait([outcome], timeout=PROGRESS_POLL_SECONDS)[0]:
            if cancel.is_set() and not told:
                ray.get(actor.cancel.remote())
                told = True
            for news in ray.get(actor.news.remote()):
                progress(news)
        for news in ray.get(actor.news.remote()):
            progress(news)
        ended: Ended = ray.get(outcome)
        with self._lock:
            self._idle[domain].append(actor)
        return ended

    def _taken(self, domain: str) -> Any:
        """An idle actor of a domain, or a new one."""
        with self._lock:
            if self._idle[domain]:
                return self._idle[domain].pop()
        cpus = 0 if self._gpus else 1
        options = {"num_cpus": cpus, "num_gpus": self._gpus, "max_concurrency": 2}
        return self._ray.remote(Finder).options(**options).remote(domain)
