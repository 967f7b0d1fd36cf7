"""The domain's models as the page asks them: in turn, fast or in full, once for all visitors."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path as FilePath
from typing import Any, TypeVar

import torch
from torch import Tensor

from gcd_core.distributed.ray_searches import RaySearches
from gcd_core.domains.opening import Domain
from gcd_core.environment import Environment
from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.sandbox import IsolatedReader, Picture
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.off_distribution import UNLIKE
from gcd_core.method.search import Progress
from gcd_core.method.walk import Path
from gcd_core.perceptual import pairwise_distances
from gcd_core.ui.engine.decoded_paths import DecodedPath, KeptPaths, Paths
from gcd_core.ui.engine.disk_cache import DiskCache
from gcd_core.ui.engine.hosting import ENCODE, MOVE, PATH, RUNS_IN_PROCESS, SEARCH, gpu
from gcd_core.ui.engine.jobs import FairQueue, Find, Prefetcher, RunningSearch, Searches
from gcd_core.ui.engine.models import DecodeBatcher, DecodeRequest, Networks, SecondOpinion
from gcd_core.ui.engine.sprite_sheets import path_to_sprites
from gcd_core.ui.engine.worker import Compute, Urgency
from gcd_core.ui.frames import (
    POINTS,
    Frame,
    Opened,
    by_reach,
    shown_names,
)

QUIET_SECONDS = 0.4  # seconds without a move that make a pause
EXAMPLE_PATH_BYTES_KEPT = 2**29


class ServerContext:
    """The threads that compute, whatever the domain, and what they keep.

    Parameters
    ----------
    limits : Environment, optional
    stored : DiskCache, optional
        Where what was decoded of the examples is kept on disk; by default it is not.

    Attributes
    ----------
    limits : Environment
    compute : Compute
        Where the networks run.
    ahead : Prefetcher
        What may be asked for next.
    searches : Searches
    path_turns : FairQueue
        Who decodes a path has the turn.
    example_paths : KeptPaths
        Of the examples of all domains.
    last_asked : float
        When a visitor last asked for something, by the monotonic clock.
    folder : pathlib.Path or None
        Where visitors' files to take home lie; None is the system's place for temporary ones.
    reader : IsolatedReader
        Of the files that visitors bring.
    elsewhere : RaySearches or None
        The cluster that makes the searches, where `GCD_RAY_ADDRESS` names one; but for those of a
        classifier with a budget, which is counted here.
    """

    def __init__(self, limits: Environment | None = None, stored: DiskCache | None = None) -> None:
        self.limits, self.stored = limits or Environment(), stored
        self.elsewhere = RaySearches.from_environment()
        self.folder: FilePath | None = None
        self.last_asked = float("-inf")
        self.reader = IsolatedReader()
        self.compute = Compute(QUIET_SECONDS)
        self.ahead = Prefetcher()
        self.searches = Searches(self.limits.searches, self.limits.searches_waiting)
        self.path_turns = FairQueue()
        self.example_paths = KeptPaths(EXAMPLE_PATH_BYTES_KEPT)

    def finder(self, domain: Domain) -> Find | None:
        """What has the cluster search an image of a domain; None where searches are made here."""
        elsewhere, folder = self.elsewhere, str(domain.folder)
        if elsewhere is None or domain.classifier.budget is not None:
            return None

        def find(search: RunningSearch) -> DirectionSet:
            search.state = "running"
            task = folder, search.image, search.label, search.settings
            return elsewhere.find(*task, search.note, search.cancel, search.samples)

        return find

    def close(self) -> None:
        """End the work in the background, and wait until none is left."""
        self.searches.close()
        self.ahead.close()
        self.compute.close()
        self.reader.close()


IDLE_SECONDS = 2.0  # seconds without a visitor's asking that make the machine idle
T = TypeVar("T")


class ModelService:
    """A domain that the page shows, and what all its visitors share.

    Parameters
    ----------
    domain : Domain
    context : ServerContext
        With the explorers of the other domains.
    """

    def __init__(self, domain: Domain, context: ServerContext) -> None:
        self.domain, self.context = domain, context
        self.compute, self.ahead, self.searches = context.compute, context.ahead, context.searches
        self._lock = threading.Lock()
        self._examples: dict[int, Opened] = {}
        self._turns: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)
        self._paths: weakref.WeakSet[Paths] = weakref.WeakSet()
        self._ready = {label: domain.ready_directions(label) for label in domain.labels}
        networks = Networks(domain)
        self._encode, decode = gpu(networks.encode, ENCODE), gpu(networks.decode, MOVE)
        self._in_full = DecodeBatcher(decode, lambda: None)
        self._fast = DecodeBatcher(decode, lambda: domain.generator.live_solver)
        self._walk, self._find = gpu(networks.walk, PATH), gpu(networks.find, SEARCH)
        self._try_walk, self.steered = gpu(networks.try_walk, PATH), gpu(networks.steer, PATH)
        self._walk_line, self._narrow = gpu(networks.walk_line, MOVE), gpu(networks.narrow, MOVE)
        self.toward = gpu(networks.walk_toward, PATH)
        self.second_opinion = SecondOpinion(domain, gpu(networks.ask_oracle, MOVE), self.in_turn)

    def close(self) -> None:
        """End the decoding of this domain's paths, and wait until that has ended."""
        with self._lock:
            every = list(self._paths)
        for paths in every:
            paths.stop()

    # -- whose turn it is ----------------------------------------------------------------------

    @property
    def one_thread(self) -> bool:
        """Whether the models run in one thread.

        They do not where the host starts a process for each call, nor where a classifier is asked
        over a network: while one visitor waits for its answer, the others need not.
        """
        return RUNS_IN_PROCESS and not self.domain.classifier.remote

    @property
    def decodes_ahead(self) -> bool:
        """Whether to decode what nobody asked for yet: not where that could cost money or a GPU."""
        return self.classifier_is_free and self.searches.idle and not self.compute.crowded

    @property
    def classifier_is_free(self) -> bool:
        """Whether the classifier runs here and may be asked as often as one likes."""
        return self.one_thread and self.domain.classifier.budget is None

    @property
    def queries_left(self) -> str:
        """What a sentence about a price adds of the budget that is left; nothing without one."""
        classifier = self.domain.classifier
        if classifier.budget is None:
            return ""
        left = max(classifier.budget - classifier.queries, 0)
        return f", and may be asked {left} more times"

    def in_turn(self, urgency: Urgency, function: Callable[..., T], *args: Any) -> T:
        """Run a function of the models when its turn has come."""
        if not self.one_thread:
            return function(*args)
        return self.compute.run(urgency, function, *args)

    @property
    def at_rest(self) -> bool:
        """Whether no visitor asked for anything lately, waits for a path, or searches."""
        with self._lock:
            busy = any(paths.watched and not paths.finished for paths in self._paths)
        busy |= time.monotonic() - self.context.last_asked <= IDLE_SECONDS
        return not busy and self.searches.idle

    # -- images ----------------------------------------------------------------------------

    def ready_directions(self, label: str) -> DirectionSet | None:
        """Return the domain's own directions of a label, or None where it has none."""
        return self._ready[label]

    def read(self, data: bytes) -> Picture:
        """Decode a visitor's file as the domain sees it, in a process that may die of it.

        Raises
        ------
        ImageError
            As `IsolatedReader.picture`.
        """
        own = self.domain.generator
        return self.context.reader.picture(data, own.image_size, own.channels, self.domain.fit)

    def open(self, image: Tensor, name: str) -> Opened:
        """Encode an image (1, C, H, W), and decode it again."""
        latent, source = self.in_turn(Urgency.LIVE, self._encode, image)
        reconstruction = self.second_opinion.on(self.decode(latent, image))
        return Opened(name, image, latent, self.second_opinion.on(source), reconstruction)

    def open_upload(
        self, image: Tensor, name: str, notice: str = "", fitted: str = "", aspect: float = 1.0
    ) -> Opened:
        """Open a visitor's image, and say how unlike the domain's own it is, where that is known.

        Where it is so unlike that results may mislead, its notice says so, unless it has another.
        """
        opened = replace(self.open(image, name), fitted=fitted, aspect=aspect)
        off = self.domain.off_distribution
        if off is None:
            return replace(opened, notice=notice)
        score = float(off.score_of(torch.tensor([opened.reconstruction.distance]), opened.latent))
        if score > off.threshold and not notice:
            notice = UNLIKE.format(score, off.threshold)
        return replace(opened, notice=notice, off_distribution_score=score)

    def open_example(self, index: int) -> Opened:
        """Open an example image, encoded once for all visitors: it belongs to none of them.

        Raises
        ------
        GCDError
            If there is no example of that number.
        """
        last = len(self.domain.examples) - 1
        if not 0 <= index <= last:
            raise GCDError(f"There is no example of that number: choose one from 0 to {last}.")
        with self._turns[index]:  # whoever asks for one meanwhile waits for the same
            if index not in self._examples:
                self._examples[index] = self._opened_example(index)
            return self._examples[index]

    def _opened_example(self, index: int) -> Opened:
        """An example as it was kept on disk, or opened anew and kept."""
        image, name = self.domain.load_image(self.domain.examples[index]), f"Example {index + 1}"
        stored = self.context.stored
        if stored is None:
            return self.open(image, name)
        opened = stored.opened(self.domain, image, name)
        if opened is None:
            opened = self.open(image, name)
            stored.keep_opened(self.domain, opened)
        return opened

    def decode(self, latent: Latent, source: Tensor) -> Frame:
        """Decode one latent as well as the generator can."""
        return self._alike(Urgency.LIVE, self._in_full, DecodeRequest(latent, source))

    def narrowed(self, path: Path, direction: Direction, latent: Latent) -> Path:
        """Find the smallest convincing change of a path more exactly, by bisection."""
        return self.in_turn(Urgency.LIVE, self._narrow, path, direction, latent)

    def decode_later(
        self, latent: Latent, source: Tensor, wanted: Callable[[], bool]
    ) -> Frame | None:
        """Do so in a pause of live moves; None where it is not wanted any more then."""
        if not self.one_thread:
            time.sleep(QUIET_SECONDS)
        return self._alike(Urgency.NEXT, self._in_full, DecodeRequest(latent, source, wanted))

    def decode_live(self, latent: Latent, source: Tensor, urgency: Urgency = Urgency.LIVE) -> Frame:
        """Decode one latent fast: by the distilled decoder, where there is one."""
        return self._alike(urgency, self._fast, DecodeRequest(latent, source))

    def _alike(self, urgency: Urgency, decode: DecodeBatcher, wanted: DecodeRequest) -> Any:
        """Decode one latent when its turn has come, with those of others that wait for the same."""
        if not self.one_thread:
            return decode([wanted])[0]
        return self.compute.run_alike(urgency, decode, wanted)

    def distances_between(self, images: Tensor) -> Tensor:
        """Return the perceptual distances (k, k) between pictures (k, C, H, W)."""
        return self.in_turn(Urgency.LIVE, pairwise_distances, images, self.domain.perceptual)

    def line(self, opened: Opened, vector: Tensor, length: float, label: str, *hooks: Any) -> Path:
        """Walk an image along a unit vector (D,), as far as `length`, by the fast decoder."""
        return self.in_turn(Urgency.NEXT, self._walk_line, opened, vector, length, label, *hooks)

    # -- paths and searches ----------------------------------------------------------------

    def paths(
        self, opened: Opened, directions: DirectionSet, label: str, kept: bool = False
    ) -> Paths:
        """Start decoding an image's paths along every direction, both ways.

        `leave` ends that. If `kept`, it only pauses until the next `join`, and `drop` ends it.
        """
        return self._new_paths(opened, directions, label, kept).join()

    def example_paths(self, index: int, label: str, directions: DirectionSet) -> Paths:
        """Return the paths of an opened example along the ready directions, context and kept."""
        with self._lock:
            opened = self._examples[index]

        def make() -> Paths:
            return self._new_paths(opened, directions, label, True, self.context.stored)

        size = len(shown_names(directions)) * POINTS * opened.image.nbytes
        return self.context.example_paths.join((self, index, label), size, make)

    def _new_paths(
        self,
        opened: Opened,
        directions: DirectionSet,
        label: str,
        kept: bool,
        stored: DiskCache | None = None,
    ) -> Paths:
        def find(name: str) -> DecodedPath | None:
            if stored is None:
                return None
            return stored.played(self.domain, opened, directions[name], label)

        def make(name: str, cancel: threading.Event) -> DecodedPath:
            played = self.play(opened, directions[name], label, cancel)
            if stored is not None:
                stored.keep_path(self.domain, opened, directions[name], label, played)
            return played

        names = by_reach(directions, self.domain.alpha_max)
        paths = Paths(make, names, self.context.path_turns, kept, find)
        with self._lock:
            self._paths.add(paths)
        return paths

    def walk_region(
        self,
        opened: Opened,
        direction: Direction,
        label: str,
        region: Tensor,
        cancel: Cancel,
        roughly: bool,
    ) -> Path:
        """Walk a direction inside a mask (S, S), roughly or in full, for who waits for it."""
        work = self._try_walk if roughly else self._walk
        task = opened, direction, label, *self._hooks(Urgency.NEXT, cancel)
        return self.in_turn(Urgency.NEXT, work, *task, region)

    def play(self, opened: Opened, direction: Direction, label: str, cancel: Cancel) -> DecodedPath:
        """Decode a path in the background, unless that is cancelled, and draw its film."""
        task = opened, direction, label, *self._hooks(Urgency.PATH, cancel)
        path = self.in_turn(Urgency.PATH, self._walk, *task)
        return DecodedPath(path, path_to_sprites(path), self.second_opinion.of_path(path))

    def _hooks(self, urgency: Urgency, cancel: Cancel) -> tuple[Any, Any]:
        """What lets long work give way, and ends it; none where it runs in another process."""
        yield_to_urgent = self.compute.yield_to_urgent
        return (lambda *_: yield_to_urgent(urgency), cancel) if RUNS_IN_PROCESS else (None, None)

    def start_search(self, search: RunningSearch) -> None:
        """Put a search in the line of all domains' searches."""
        self.searches.start(search, self.context.finder(self.domain) or self._search)

    def _search(self, search: RunningSearch) -> DirectionSet:
        def report(progress: Progress) -> None:
            search.note(progress)
            self.compute.yield_to_urgent(Urgency.SEARCH)

        def work() -> DirectionSet:
            search.state = "running"
            hooks = {"progress": report, "cancel": search.cancel, "resume": search.samples}
            task = search.image, search.label, search.settings
            return self._find(*task, **(hooks if RUNS_IN_PROCESS else {}))

        return self.in_turn(Urgency.SEARCH, work)


LOG = logging.getLogger(__name__)
IDLE_CHECK_SECONDS = 0.2  # seconds between two looks at whether visitors leave the machine idle


class ExamplePrecompute:
    """Decodes what is not kept on disk of a domain's examples, while nobody waits.

    Where nothing can be kept, or the classifier may not be asked as often as one likes, nothing is
    prepared.

    Parameters
    ----------
    service : ModelService
        Close this before it.
    """

    def __init__(self, service: ModelService) -> None:
        self.service, self._closed = service, threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread of its own."""
        if self.service.context.stored is not None and self.service.classifier_is_free:
            self._thread = threading.Thread(target=self._run, name="prepare", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the work, and wait until it has ended."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join()

    def is_set(self) -> bool:
        """Whether to stop what is being decoded: somebody came, or the page is being closed."""
        return self._closed.is_set() or not self.service.at_rest

    def _run(self) -> None:
        domain = self.service.domain
        try:
            for index in range(len(domain.examples)):
                if self._wait_for_rest():
                    self.service.open_example(index)
            for label, index in product(domain.labels, range(len(domain.examples))):
                self._prepare_paths(index, label)
        except GCDError as error:  # a visitor who asks for the same is told
            LOG.warning("An example could not be prepared: %s", error)

    def _prepare_paths(self, index: int, label: str) -> None:
        """Decode an example's paths along a label's ready directions, and keep them on disk."""
        service, stored = self.service, self.service.context.stored
        directions = service.ready_directions(label)
        if directions is None or stored is None:
            return
        for name in by_reach(directions, service.domain.alpha_max):
            if not self._wait_for_rest():
                return
            opened, direction = service.open_example(index), directions[name]
            if stored.has_path(service.domain, opened.image, direction, label):
                continue
            played = self._play(opened, direction, label)
            if played is None:
                return
            stored.keep_path(service.domain, opened, direction, label, played)

    def _play(self, opened: Opened, direction: Direction, label: str) -> DecodedPath | None:
        """Decode a path, begun anew where a visitor comes in between; None once closed."""
        while self._wait_for_rest():
            try:
                return self.service.play(opened, direction, label, self)
            except Cancelled:
                continue
        return None

    def _wait_for_rest(self) -> bool:
        """Wait until visitors leave the machine idle; False once closed."""
        while not self._closed.wait(IDLE_CHECK_SECONDS):
            if self.service.at_rest:
                return True
        return False
