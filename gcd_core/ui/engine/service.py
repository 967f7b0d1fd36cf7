"""A domain's models as the page uses them, shared by all visitors."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path as FilePath

import torch
from torch import Tensor

from gcd_core.distributed.ray_searches import RaySearches
from gcd_core.domains.opening import Domain
from gcd_core.environment import Environment
from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.images.sandbox import IsolatedReader, ReadFile
from gcd_core.method.composition import SOURCE
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.off_distribution import unlike_words
from gcd_core.method.path import Path
from gcd_core.perceptual import pairwise_distances
from gcd_core.ui.engine.decoded_paths import DecodedPath, KeptPaths, Paths
from gcd_core.ui.engine.disk_cache import DiskCache
from gcd_core.ui.engine.hosting import ENCODE, MOVE, PATH, RUNS_IN_PROCESS, SEARCH, gpu
from gcd_core.ui.engine.jobs import Job, JobQueue, Search
from gcd_core.ui.engine.models import (
    DecodeBatcher,
    DecodeRequest,
    Networks,
    SecondOpinion,
    on_cpu,
)
from gcd_core.ui.engine.path_batches import PathBatches
from gcd_core.ui.engine.worker import Compute, ProcessRunner, Runner, Urgency
from gcd_core.ui.frames import POINTS, Ends, Frame, Opened, weak_last
from gcd_core.wording import joined

IDLE_SECONDS = 2.0  # without a request, after which examples are prepared
IDLE_CHECK_SECONDS = 0.2  # between two looks at whether that is so
PATHS_AT_ONCE = 4  # on a GPU, images whose paths may be decoded in common batches
PATHS_TOGETHER = 3  # on a CPU, by the fast decoder, which takes several pictures in less time
EXAMPLE_PATH_BYTES_KEPT = 2**29


class ServerContext:
    """What all domains of a server share: the threads that compute, the queues of jobs, limits.

    Parameters
    ----------
    stored : DiskCache, optional
        Keeps the decoded examples on disk; by default they are not kept.
    """

    def __init__(self, limits: Environment | None = None, stored: DiskCache | None = None) -> None:
        self.limits, self.stored = limits or Environment(), stored
        # The cluster that makes the searches, but for those of a classifier with a budget, which is
        # counted in this process; None where `GCD_RAY_ADDRESS` names none.
        self.elsewhere = RaySearches.from_environment()
        # Holds the files that visitors download; None is the system's folder for temporary files.
        self.folder: FilePath | None = None
        self.last_asked = float("-inf")  # when a visitor asked for something, on a monotonic clock
        self.reader = IsolatedReader()  # of the files that visitors upload
        self.compute = Compute()  # runs the networks
        waiting = self.limits.searches_waiting
        self.searches = JobQueue("searches", self.limits.searches, waiting, each=1)
        # Of opened images. On a CPU others would only wait longer: its batches are full.
        self.paths = JobQueue("paths", PATHS_AT_ONCE if torch.cuda.is_available() else 1)
        self.ahead = JobQueue("ahead", 1)  # pictures that a visitor may ask for next
        self.background = JobQueue("jobs", each=1)  # all that need not wait for each other
        self.openings = JobQueue("openings", 1)  # of other domains
        self.example_paths = KeptPaths(EXAMPLE_PATH_BYTES_KEPT)  # of all domains

    @property
    def at_rest(self) -> bool:
        """Whether for a while no visitor asked for anything, and no path or search is under way."""
        quiet = time.monotonic() - self.last_asked > IDLE_SECONDS
        return quiet and self.paths.idle and self.searches.idle

    def close(self) -> None:
        """End all work, and wait for its end."""
        for queue in (self.searches, self.background, self.paths, self.ahead, self.openings):
            queue.close()
        self.compute.close()
        self.reader.close()


class ModelService:
    """A domain's models for all visitors of its page.

    Parameters
    ----------
    context : ServerContext
        The same for all domains of the server.

    Attributes
    ----------
    runner : Runner
        Where and when the models run.
    in_turn, in_batches : callable
        Its `run` and its `run_long`.
    """

    def __init__(self, domain: Domain, context: ServerContext) -> None:
        self.domain, self.context = domain, context
        self.compute, self.ahead, self.searches = context.compute, context.ahead, context.searches
        self.runner = self._runner()
        self.in_turn, self.in_batches = self.runner.run, self.runner.run_long
        self.examples = Examples(self)
        self._ready = {label: domain.ready_directions(label) for label in domain.labels}
        networks = Networks(domain)
        self.encode, decode = gpu(networks.encode, ENCODE), gpu(networks.decode, MOVE)
        self.encode_and_judge = gpu(networks.encode_and_judge, ENCODE)
        self._in_full = DecodeBatcher(decode, lambda: None)
        self._fast = DecodeBatcher(decode, lambda: domain.generator.live_solver)
        self.walk, self._find = gpu(networks.walk, PATH), gpu(networks.find, SEARCH)
        self._ends = gpu(networks.ends, PATH)
        self.try_walk, self.steered = gpu(networks.try_walk, PATH), gpu(networks.steer, PATH)
        self._turned, self.another = gpu(networks.looks_turned, MOVE), gpu(networks.another, PATH)
        self._walk_line, self._narrow = gpu(networks.walk_line, MOVE), gpu(networks.narrow, MOVE)
        self.toward, self.ask = gpu(networks.walk_toward, PATH), gpu(networks.ask, MOVE)
        self.second_opinion = SecondOpinion(domain, gpu(networks.ask_oracle, MOVE), self.runner)
        walk_all = gpu(networks.walk_all, PATH)
        self.path_batches = PathBatches(self.runner, walk_all, self.second_opinion)

    def close(self) -> None:
        """End this domain's background work, and wait for its end."""
        self.context.background.stop(self)
        self.context.paths.stop(self)

    # -- where and when the models run -----------------------------------------------------------

    def _runner(self) -> Runner:
        if not RUNS_IN_PROCESS:
            return ProcessRunner()
        return Runner() if self.domain.classifier.remote else self.compute

    @property
    def one_thread(self) -> bool:
        """Whether the models run in the one thread that all domains share."""
        return self.runner is self.compute

    @property
    def has_fast_paths(self) -> bool:
        """Whether paths are decoded by the fast decoder.

        Only where the change is put into the source, so that its error at alpha = 0 cancels.
        """
        domain = self.domain
        return domain.generator.live_solver is not None and domain.detail == SOURCE

    @property
    def decodes_ahead(self) -> bool:
        """Whether to decode what nobody asked for yet: only where that costs and delays nothing."""
        return self.classifier_is_free and self.searches.idle and not self.compute.crowded

    @property
    def classifier_is_free(self) -> bool:
        """Whether the classifier runs here and may be asked as often as one likes."""
        return self.one_thread and self.domain.classifier.budget is None

    @property
    def leading_map(self) -> str:
        """The map to show first: of those that cost nothing here, what finds reasons better."""
        return self.domain.better_map if self.classifier_is_free else "bb_lig"

    @property
    def queries_left(self) -> str:
        """The end of a sentence about a price: how many queries are left; "" without a budget."""
        classifier = self.domain.classifier
        if classifier.budget is None:
            return ""
        left = max(classifier.budget - classifier.queries, 0)
        return f", and may be asked {left} more times"

    # -- images ----------------------------------------------------------------------------

    def ready_directions(self, label: str) -> DirectionSet | None:
        """Return the domain's own directions of a label, or None where it has none."""
        return self._ready[label]

    def read(self, data: bytes, max_side: int | None = None) -> ReadFile:
        """Decode a visitor's file in another process, and fit it to the domain's image size.

        At most `max_side` pixels are kept of its longer side, by default what the server allows.

        Raises
        ------
        ImageError
            As `IsolatedReader.picture`.
        """
        own = self.domain.generator
        side = self.context.limits.max_side if max_side is None else max_side
        return self.context.reader.picture(
            data, own.image_size, own.channels, self.domain.fit, side
        )

    def open(self, image: Tensor | Picture, name: str) -> Opened:
        """Encode an image (1, C, S, S) or a picture, and decode its reconstruction."""
        opened = self.in_turn(Urgency.LIVE, self.encode, image)
        return replace(
            opened,
            name=name,
            source=self.second_opinion.on(opened.source),
            reconstruction=self.second_opinion.on(opened.reconstruction),
        )

    def open_upload(
        self,
        image: Tensor | Picture,
        name: str,
        notice: str = "",
        fitted: str = "",
        aspect: float = 1.0,
    ) -> Opened:
        """Open a visitor's image, with its off-distribution score where the domain has one.

        Where the score is above the domain's threshold, the image's notice warns that results may
        mislead; before that, that the image looks turned.
        """
        opened = replace(self.open(image, name), fitted=fitted, aspect=aspect)
        off = self.domain.off_distribution
        if off is None:
            return replace(opened, notice=notice)
        score = float(off.score_of(torch.tensor([opened.reconstruction.distance]), opened.latent))
        if score > off.threshold:
            notice = joined(unlike_words(score, off.threshold), notice)
        if self.domain.upright:
            notice = joined(self.in_turn(Urgency.LIVE, self._turned, opened), notice)
        return replace(opened, notice=notice, off_distribution_score=score)

    def narrowed(
        self, path: Path, direction: Direction, latent: Latent, fast: bool = False
    ) -> Path:
        """Add the path's smallest convincing change, found by bisection, by the path's decoder."""
        return self.in_turn(Urgency.LIVE, self._narrow, path, direction, latent, fast)

    def decode_now(self, latent: Latent, opened: Opened) -> Frame:
        """Decode one latent by the full decoder; somebody waits for it."""
        request = DecodeRequest(latent, opened.composition())
        return self.runner.run_alike(Urgency.LIVE, self._in_full, request)

    def decode_later(
        self, latent: Latent, opened: Opened, wanted: Callable[[], bool]
    ) -> Frame | None:
        """Decode one latent by the full decoder in a pause of moves; None if not wanted then."""
        self.runner.wait_for_pause()
        request = DecodeRequest(latent, opened.composition(), wanted)
        return self.runner.run_alike(Urgency.NEXT, self._in_full, request)

    def decode_live(self, latent: Latent, opened: Opened, urgency: Urgency = Urgency.LIVE) -> Frame:
        """Decode one latent by the distilled decoder, where there is one."""
        request = DecodeRequest(latent, opened.composition(fast=True))
        return self.runner.run_alike(urgency, self._fast, request)

    def distances_between(self, images: Tensor) -> Tensor:
        """Return the perceptual distances (k, k) between pictures (k, C, H, W)."""
        return self.in_turn(Urgency.LIVE, pairwise_distances, images, self.domain.perceptual)

    def line(
        self, opened: Opened, vector: Tensor, length: float, label: str, cancel: Cancel
    ) -> Path:
        """Walk an image along a unit vector (D,) from 0 to `length`, by the fast decoder."""
        task = opened, vector, length, label
        return self.in_batches(Urgency.MAP, self._walk_line, *task, cancel=cancel)

    # -- paths and searches ----------------------------------------------------------------

    def paths(self, opened: Opened, directions: DirectionSet, label: str) -> Paths:
        """Start decoding an image's paths along every direction, both ways; `leave` ends that."""
        return self.new_paths(opened, directions, label).join()

    def new_paths(
        self,
        opened: Opened,
        directions: DirectionSet,
        label: str,
        kept: bool = False,
        stored: DiskCache | None = None,
    ) -> Paths:
        """Put the decoding of an image's paths in the line.

        Those that `stored` has on disk are taken from there. The fast decoder draws the others,
        where there is one; else they are kept on disk. On a CPU the first path and one that is
        waited for come alone, the others a few together, and the ends of all after the first, where
        they are fast and asking costs nothing. A GPU takes all paths in common batches.
        """
        fast, in_turn = self.has_fast_paths, on_cpu(self.domain)

        def make(names: list[str], cancel: Cancel) -> Iterator[DecodedPath]:
            chosen = [directions[name] for name in names]
            for direction, played in zip(
                chosen, self.path_batches.play(opened, chosen, label, cancel, fast), strict=True
            ):
                if stored is not None and not fast:
                    stored.keep_path(self.domain, opened, direction, label, played)
                yield played

        def draw_ends(names: list[str], cancel: Cancel) -> dict[str, Ends]:
            task = opened, directions, names, label
            return self.in_batches(Urgency.PATH, self._ends, *task, cancel=cancel)

        def find(name: str) -> DecodedPath | None:
            assert stored is not None
            return stored.played(self.domain, opened, directions[name], label)

        names = weak_last(directions, self.domain.alpha_max)
        size = len(names) * POINTS * opened.image.nbytes
        ends = draw_ends if fast and in_turn and self.classifier_is_free else None
        few, found = (PATHS_TOGETHER if fast else 1, 1), find if stored is not None else None
        counts = few if in_turn else (len(names), len(names))
        paths = Paths(make, names, found, kept, size, self, ends, *counts)
        self.context.paths.submit(paths)
        if stored is not None:
            self.context.background.submit(Job(paths.take_found))
        return paths

    def walk_in_full(
        self, opened: Opened, direction: Direction, label: str, cancel: Cancel | None = None
    ) -> Path:
        """Decode a path by the full decoder; somebody waits for it, unless it can be cancelled."""
        urgency = Urgency.NEXT if cancel is None else Urgency.PATH
        task = opened, direction, label
        return self.in_batches(urgency, self.walk, *task, cancel=cancel or threading.Event())

    def start_search(self, search: Search) -> None:
        """Put a search in the line of all domains' searches; raises as `JobQueue.submit`."""
        search.work = self._search
        self.searches.submit(search)

    def _search(self, search: Search) -> DirectionSet:
        task, elsewhere = (search.image, search.label, search.settings), self.context.elsewhere
        if elsewhere is not None and self.domain.classifier.budget is None:
            hooks = search.report, search.cancelled, search.samples
            return elsewhere.find(str(self.domain.folder), *task, *hooks)
        cancel, report, resume = search.cancelled, search.report, search.samples
        find = partial(self._find, resume=resume)
        return self.in_batches(Urgency.SEARCH, find, *task, cancel=cancel, report=report)


class Examples:
    """The examples of a domain, opened, and their paths."""

    def __init__(self, service: ModelService) -> None:
        self._service, self._lock = service, threading.Lock()
        self._opened: dict[int, Opened] = {}
        self._opening: defaultdict[int, threading.Lock] = defaultdict(threading.Lock)

    def open(self, index: int) -> Opened:
        """Open an example image; it is encoded once for all visitors.

        Raises a GCDError if there is no example of that number.
        """
        last = len(self._service.domain.examples) - 1
        if not 0 <= index <= last:
            raise GCDError(f"There is no example of that number: choose one from 0 to {last}.")
        with self._opening[index]:  # others who ask for it wait here
            if index not in self._opened:
                self._opened[index] = self._open(index)
            return self._opened[index]

    def _open(self, index: int) -> Opened:
        """Read an opened example from disk, or open it and keep it there."""
        service = self._service
        domain, file = service.domain, service.domain.examples[index]
        image = domain.load_picture(file) if domain.detail == SOURCE else domain.load_image(file)
        name = f"Example {index + 1}"
        stored = service.context.stored
        if stored is None:
            return service.open(image, name)
        opened = stored.opened(service.domain, image, name)
        if opened is None:
            opened = service.open(image, name)
            stored.keep_opened(service.domain, opened)
        return opened

    def paths(self, index: int, label: str, directions: DirectionSet) -> Paths:
        """Return the paths of an opened example along the ready directions, for all visitors."""
        service = self._service
        with self._lock:
            opened = self._opened[index]
        make = partial(service.new_paths, opened, directions, label, True, service.context.stored)
        return service.context.example_paths.join((service, index, label), make)

    def prepare(self) -> None:
        """Start to decode the examples' paths, where they can be kept and asking costs nothing."""
        service = self._service
        if service.context.stored is not None and service.classifier_is_free:
            job = ExamplePrecompute(service, self, service.context.stored)
            service.context.background.submit(job)


class ExamplePrecompute(Job):
    """Decodes the examples' paths that are not on disk yet, while no visitor asks for anything."""

    failure = "The examples could not be prepared."

    def __init__(self, service: ModelService, examples: Examples, stored: DiskCache) -> None:
        super().__init__(owner=service)
        self._service, self._examples, self._stored = service, examples, stored

    def is_set(self) -> bool:
        """Whether to stop what is being decoded: a visitor came, or the page is being closed."""
        return self.cancelled.is_set() or not self._service.context.at_rest

    def advance(self) -> bool:
        """Prepare all examples: open each, then decode its paths; before that, the networks."""
        service, domain = self._service, self._service.domain
        self._warm_up()
        for index in range(len(domain.examples)):
            self._wait_for_rest()
            self._examples.open(index)
        for label, index in product(domain.labels, range(len(domain.examples))):
            directions = service.ready_directions(label)
            if directions is not None:
                for name in weak_last(directions, domain.alpha_max):
                    self._prepare(index, directions[name], label)
        return True

    def _warm_up(self) -> None:
        """Let the networks run once: a first pass takes seconds more, and examples may be on disk.

        Nobody waits for it but who comes in the first seconds.
        """
        service, domain = self._service, self._service.domain
        if domain.examples:
            image = domain.load_image(domain.examples[0])
            service.in_turn(Urgency.PATH, service.encode, image)

    def _prepare(self, index: int, direction: Direction, label: str) -> None:
        """Decode one path and keep it; where a visitor comes meanwhile, begin again later."""
        service, stored = self._service, self._stored
        opened = self._examples.open(index)
        while not stored.has_path(service.domain, opened.image, direction, label):
            self._wait_for_rest()
            try:
                (played,) = service.path_batches.play(opened, [direction], label, self)
            except Cancelled:
                continue
            return stored.keep_path(service.domain, opened, direction, label, played)

    def _wait_for_rest(self) -> None:
        while not self.cancelled.wait(IDLE_CHECK_SECONDS):
            if self._service.context.at_rest:
                return
        raise Cancelled
