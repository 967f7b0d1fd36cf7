"""What one visitor has open: the image, the directions, the decoded paths, a running search."""

from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

import torch
from torch import Tensor

from gcd_core.errors import Cancelled, GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.drawing import difference
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.off_distribution import UNLIKE
from gcd_core.method.search import Progress, Samples, find_directions
from gcd_core.method.walk import Path, walk
from gcd_core.ui.ahead import Ahead
from gcd_core.ui.compute import Compute, Urgency
from gcd_core.ui.hosting import CALLS_BACK, gpu

LOG = logging.getLogger(__name__)

POINTS = 25  # decoded pictures on a path, both ways and the middle
MAX_H = 8  # h-directions that the page has room for
SLIDERS = ("g", *(f"h{i}" for i in range(1, MAX_H + 1)))
BACKGROUND_BATCH = 4  # on a CPU, so that background work can soon give way to a live move
QUIET = 0.4  # seconds without a move that make a pause
FRAMES_KEPT = 256
FRAME_BYTES_KEPT = 2**24
EXAMPLE_PATHS_KEPT = 24
SESSIONS_KEPT = 64
IDLE_SECONDS = 3600.0

Alphas = dict[str, float]


@dataclass(frozen=True)
class Frame:
    """One picture and what the models say of it.

    image: (1, C, H, W) in [0, 1]; probabilities: one per label, in the domain's order;
    distance: LPIPS to the opened image; live: whether a faster decoder than the full one drew it.
    """

    image: Tensor
    probabilities: tuple[float, ...]
    distance: float
    live: bool = False


@dataclass(frozen=True)
class Opened:
    """An opened image: its pixels, its latent, and the frame of the untouched picture.

    notice: words of warning; foreign: its off-distribution score, where the domain has one.
    """

    name: str
    image: Tensor
    latent: Latent
    source: Frame
    notice: str = ""
    foreign: float | None = None


class Paths:
    """The decoded paths of one opened image along every direction, filled in the background.

    The first direction (g) comes first; `wanted` puts another one at the head of the line.
    Work stops when the last session leaves: for good, or, where `kept`, until another joins.
    """

    def __init__(
        self,
        make: Callable[[str, threading.Event], Path],
        names: list[str],
        seat: threading.Lock,
        kept: bool = False,
    ) -> None:
        self._make, self._waiting, self._seat = make, list(names), seat
        self._kept, self._sessions = kept, 0
        self._done: dict[str, Path] = {}
        self._failure: GCDError | None = None
        self._cancel = threading.Event()
        self._news = threading.Condition()
        self._total = len(names)
        self._thread = threading.Thread(target=self._run, name="paths", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._sessions or self._cancel.is_set())
            with self._seat:  # one path at a time for the whole page: visitors take turns
                with self._news:
                    if self._cancel.is_set() or not self._waiting:
                        self._news.notify_all()
                        return
                    name = self._waiting[0]
                try:
                    path = self._make(name, self._cancel)
                except Cancelled:
                    continue
                except Exception as error:  # whatever it is, nobody may wait for ever
                    if not isinstance(error, GCDError):
                        LOG.exception("The path along %s failed.", name)
                        error = GCDError(f"The path along {name} could not be decoded.")
                    with self._news:
                        self._failure = error
                        self._waiting.clear()
                        self._news.notify_all()
                    return
            with self._news:
                self._done[name] = path
                self._waiting.remove(name)
                self._news.notify_all()

    def get(self, name: str) -> Path | None:
        """The path along a direction, or None where it is not decoded yet."""
        return self._done.get(name)

    def wanted(self, name: str) -> Path:
        """The path along a direction, waited for.

        Raises
        ------
        GCDError
            Where decoding failed, or another image was opened meanwhile.
        """
        with self._news:
            if name in self._waiting:
                self._waiting.remove(name)
                self._waiting.insert(0, name)
            while name not in self._done:
                if self._failure is not None:
                    raise self._failure
                if self._cancel.is_set():
                    raise GCDError("Another image was opened before this path was ready.")
                self._news.wait(0.5)
            return self._done[name]

    def news(self, seen: int, timeout: float = 1.0) -> int:
        """Waits until more than `seen` paths are ready, and says how many are."""
        with self._news:
            self._news.wait_for(lambda: len(self._done) > seen or self.finished, timeout)
            return len(self._done)

    @property
    def finished(self) -> bool:
        return self._cancel.is_set() or self._failure is not None or not self._waiting

    @property
    def ready(self) -> int:
        return len(self._done)

    @property
    def total(self) -> int:
        return self._total

    def join(self) -> Paths:
        """Counts one more session that looks at these paths."""
        with self._news:
            self._sessions += 1
            self._news.notify_all()
        return self

    def leave(self) -> None:
        """Counts one session less; after the last, paths that are not kept stop in one batch."""
        with self._news:
            self._sessions -= 1
            if not self._sessions and not self._kept:
                self._cancel.set()
            self._news.notify_all()

    def stop(self) -> None:
        """Ends the work, whoever looks on, and waits until it has ended."""
        self._cancel.set()
        with self._news:
            self._news.notify_all()
        self._thread.join()


@dataclass
class Search:
    """A search for directions running in the background, and what it has to show."""

    image: Tensor
    name: str
    label: str
    settings: dict
    cancel: threading.Event = field(default_factory=threading.Event)
    state: str = "waiting"  # waiting | running | done | cancelled | failed
    progress: Progress | None = None
    asked: int = 0
    gallery: list[tuple[Tensor, float]] = field(default_factory=list)
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    directions: DirectionSet | None = None
    samples: Samples | None = None
    message: str = ""
    thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        return self.state in ("waiting", "running")


class Explorer:
    """The domain that the page shows, and the visitors' sessions."""

    def __init__(self, domain, searches: int = 1) -> None:
        self.domain = domain
        self.compute = Compute(QUIET)
        self.ahead = Ahead()
        self._seat = threading.Lock()
        self._search_seats = threading.BoundedSemaphore(searches)
        self._line: list[Search] = []
        self._sessions: OrderedDict[str, Session] = OrderedDict()
        self._lock = threading.Lock()
        self._examples: dict[int, Opened] = {}
        self._example_paths: dict[tuple[int, str], Paths] = {}
        self._paths: weakref.WeakSet[Paths] = weakref.WeakSet()
        self._ready = {label: domain.ready_directions(label) for label in domain.labels}
        self._encode, self._decode = gpu(self._encode_image), gpu(self._decode_latent)
        self._walk, self._find = gpu(self._decode_path), gpu(self._find_directions)

    # -- visitors ---------------------------------------------------------------------------

    def session(self, key: str | None) -> Session:
        """The session of a visitor, made at the first call."""
        key = key or "anonymous"
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                session = self._sessions[key] = Session(self)
            self._sessions.move_to_end(key)
            session.last_used = time.monotonic()
            stale = [
                k
                for i, (k, s) in enumerate(self._sessions.items())
                if k != key
                and (
                    i < len(self._sessions) - SESSIONS_KEPT
                    or session.last_used - s.last_used > IDLE_SECONDS
                )
            ]
        for k in stale:
            self.forget(k)
        return session

    def forget(self, key: str | None) -> None:
        """Ends a visitor's session: stops its work and drops its images."""
        with self._lock:
            session = self._sessions.pop(key or "anonymous", None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Ends every session and waits until no work is left."""
        with self._lock:
            keys, searches = list(self._sessions), list(self._line)
        for key in keys:
            self.forget(key)
        for search in searches:
            search.cancel.set()
            search.thread.join()
        for paths in list(self._paths):
            paths.stop()
        self.ahead.close()
        self.compute.close()

    @property
    def visitors(self) -> int:
        return len(self._sessions)

    # -- models -----------------------------------------------------------------------------

    def ready_directions(self, label: str) -> DirectionSet | None:
        return self._ready[label]

    def frame(self, image: Tensor, source: Tensor) -> Frame:
        """Asks the classifier and LPIPS about a picture."""
        logits = self.domain.classifier(image)
        probabilities = tuple(
            float(self.domain.classifier.probability(logits, label)) for label in self.domain.labels
        )
        return Frame(image.cpu(), probabilities, float(self.domain.perceptual(image, source)))

    @torch.inference_mode()
    def _encode_image(self, image: Tensor, name: str) -> Opened:
        latent = self.domain.generator.encode(image)
        return Opened(name, image, latent, self.frame(image, image))

    @torch.inference_mode()
    def _decode_latent(self, latent: Latent, source: Tensor, solver: str | None) -> Frame:
        frame = self.frame(self.domain.generator.decode(latent, solver), source)
        return replace(frame, live=solver is not None)

    def _decode_path(self, opened: Opened, direction: Direction, label: str, progress, cancel):
        on_gpu = "cuda" in str(self.domain.device)
        return walk(
            self.domain,
            opened.image,
            direction,
            label,
            alphas=torch.tensor(alpha_grid(self.domain.alpha_max)),
            latent=opened.latent,
            batch_size=None if on_gpu else BACKGROUND_BATCH,
            progress=progress,
            cancel=cancel,
        )

    def _find_directions(self, image: Tensor, label: str, settings: dict, **hooks) -> DirectionSet:
        return find_directions(self.domain, image, label, **settings, **hooks).directions

    @property
    def one_thread(self) -> bool:
        """Whether the models run in one thread.

        They do not where the host starts a process for each call, nor where a classifier is asked
        over a network: while one visitor waits for its answer, the others need not.
        """
        return CALLS_BACK and not self.domain.classifier.remote

    @property
    def looks_ahead(self) -> bool:
        """Whether to decode what nobody asked for yet: not where that could cost money or a GPU."""
        return self.one_thread and self.domain.classifier.budget is None and not self._line

    def in_turn(self, urgency: Urgency, function: Callable, *args):
        """Runs a function of the models when its turn has come."""
        if not self.one_thread:
            return function(*args)
        return self.compute.run(urgency, function, *args)

    def open(self, image: Tensor, name: str) -> Opened:
        """Encodes an image (1, C, H, W)."""
        return self.in_turn(Urgency.LIVE, self._encode, image, name)

    def decode(self, latent: Latent, source: Tensor) -> Frame:
        """Decodes one latent as well as the generator can."""
        return self.in_turn(Urgency.LIVE, self._decode, latent, source, None)

    def decode_later(
        self, latent: Latent, source: Tensor, wanted: Callable[[], bool]
    ) -> Frame | None:
        """Does so in a pause of live moves; None where it is not wanted any more then."""

        def decode() -> Frame | None:
            return self._decode(latent, source, None) if wanted() else None

        if not self.one_thread:
            time.sleep(QUIET)
        return self.in_turn(Urgency.NEXT, decode)

    def decode_live(self, latent: Latent, source: Tensor, urgency: Urgency = Urgency.LIVE) -> Frame:
        """Decodes one latent fast: by the distilled decoder, where there is one."""
        solver = self.domain.generator.live_solver
        return self.in_turn(urgency, self._decode, latent, source, solver)

    def open_example(self, index: int) -> Opened:
        """An example image; encoded once for all visitors, as it belongs to none of them."""
        examples = self.domain.examples
        if not 0 <= index < len(examples):
            raise GCDError(
                f"There is no example {index}: choose a number from 0 to {len(examples) - 1}."
            )
        with self._lock:
            opened = self._examples.get(index)
        if opened is None:
            image = self.domain.load_image(examples[index])
            opened = self.open(image, f"Example {index + 1}")
            with self._lock:
                self._examples[index] = opened
        return opened

    def paths(
        self, opened: Opened, directions: DirectionSet, label: str, kept: bool = False
    ) -> Paths:
        """Starts decoding an image's paths along every direction, both ways."""

        def report(*_: int) -> None:
            self.compute.give_way(Urgency.PATH)

        def make(name: str, cancel: threading.Event) -> Path:
            hooks = (report, cancel) if CALLS_BACK else (None, None)
            return self.in_turn(Urgency.PATH, self._walk, opened, directions[name], label, *hooks)

        paths = Paths(make, shown_names(directions), self._seat, kept)
        self._paths.add(paths)
        return paths

    def example_paths(self, index: int, label: str, directions: DirectionSet) -> Paths:
        """The paths of an example along the ready directions, shared and kept."""
        key = (index, label)
        with self._lock:
            if key not in self._example_paths:
                if len(self._example_paths) >= EXAMPLE_PATHS_KEPT:
                    del self._example_paths[next(iter(self._example_paths))]
                opened = self._examples[index]
                self._example_paths[key] = self.paths(opened, directions, label, kept=True)
            return self._example_paths[key]

    # -- searches ---------------------------------------------------------------------------

    def start_search(self, search: Search) -> None:
        """Runs a search in a thread of its own, when a seat is free."""
        with self._lock:
            self._line.append(search)
        search.thread = threading.Thread(
            target=self._search, args=(search,), name="search", daemon=True
        )
        search.thread.start()

    def place_in_line(self, search: Search) -> int:
        """How many searches go first."""
        with self._lock:
            return self._line.index(search) if search in self._line else 0

    def _search(self, search: Search) -> None:
        try:
            while not self._search_seats.acquire(timeout=0.2):
                if search.cancel.is_set():
                    search.state = "cancelled"
                    return
            try:
                self._run_search(search)
            finally:
                self._search_seats.release()
        finally:
            with self._lock:
                self._line.remove(search)

    def _run_search(self, search: Search) -> None:
        def report(progress: Progress) -> None:
            search.progress = progress
            if progress.stage == "perturb":
                search.asked = progress.done
            if progress.images is not None and progress.probabilities is not None:
                newest = zip(progress.images, progress.probabilities, strict=True)
                search.gallery = ([(i, float(p)) for i, p in newest] + search.gallery)[:12]
            if progress.train_losses is not None:
                search.train_losses = list(progress.train_losses)
                search.validation_losses = list(progress.validation_losses or [])
            self.compute.give_way(Urgency.SEARCH)

        def work() -> DirectionSet:
            search.state = "running"
            return self._find(
                search.image, search.label, search.settings, **(hooks if CALLS_BACK else {})
            )

        hooks = {"progress": report, "cancel": search.cancel, "resume": search.samples}
        try:
            search.directions = self.in_turn(Urgency.SEARCH, work)
            search.state = "done"
        except Cancelled as stopped:
            search.samples = getattr(stopped, "samples", None)
            search.state = "cancelled"
        except GCDError as error:
            search.samples = getattr(error, "samples", None)
            search.message, search.state = str(error), "failed"
        except Exception as error:  # whatever it is, the page must say that the search is over
            LOG.exception("A search failed.")
            search.samples = getattr(error, "samples", None)
            search.message = "The search failed unexpectedly; try again."
            search.state = "failed"


class Session:
    """One visitor's state; nothing of it is shared, and all of it goes with the visitor."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.label: str = explorer.domain.labels[0]
        self.opened: Opened | None = None
        self.example: int | None = None
        self.directions: DirectionSet | None = None
        self.found: dict[str, DirectionSet] = {}
        self.paths: Paths | None = None
        self.alphas: Alphas = {}
        self.moved = "g"
        self.current: Frame | None = None
        self.search: Search | None = None
        self.last_used = time.monotonic()
        self.folder = FilePath(tempfile.mkdtemp(prefix="gcd-"))
        self._frames: OrderedDict[tuple, Frame] = OrderedDict()
        self._maps: dict[tuple[str, str], Attribution] = {}
        self._tickets = itertools.count(1)
        self.looks: tuple | None = None
        self._newest = 0
        self._decoding = threading.Lock()
        self._keeping = threading.Lock()

    # -- opening ----------------------------------------------------------------------------

    def open_image(self, image: Tensor, name: str, notice: str = "") -> None:
        """Opens a visitor's own image (1, C, H, W), with a word of warning where there is one.

        An image that is unlike the domain's own is opened too, and has a notice that says so.
        """
        self._show(replace(self.explorer.open(image, name), notice=notice), None)
        off, opened = self.explorer.domain.off_distribution, self.opened
        if off is not None:
            distance = torch.tensor([self._frames[()].distance])
            score = float(off.score_of(distance, opened.latent))
            if score > off.threshold and not notice:
                notice = UNLIKE.format(score, off.threshold)
            self.opened = replace(opened, notice=notice, foreign=score)

    def open_example(self, index: int) -> None:
        """Opens one of the domain's examples."""
        self._show(self.explorer.open_example(index), index)

    def explain(self, label: str) -> None:
        """Chooses the label to explain.

        Raises
        ------
        GCDError
            Where the domain has no such label.
        """
        self._check(label)
        self.label = label
        self._prepare()

    def use(self, directions: DirectionSet, label: str) -> None:
        """Explores a set of directions, found or loaded.

        Raises
        ------
        GCDError
            Where the domain has no such label.
        """
        self._check(label)
        self.found[label] = directions
        self.label = label
        self._prepare()

    def _check(self, label: str) -> None:
        labels = self.explorer.domain.labels
        if label not in labels:
            raise GCDError(f"There is no label {label!r}: choose one of {', '.join(labels)}.")

    def _show(self, opened: Opened, example: int | None) -> None:
        self.opened, self.example = opened, example
        self._prepare()

    def _prepare(self) -> None:
        """Starts afresh with the current image, label and directions."""
        self._leave_paths()
        explorer, label = self.explorer, self.label
        found = self.found.get(label)
        with self._keeping:
            ticket = self._newest = next(self._tickets)
            self.directions = found if found is not None else explorer.ready_directions(label)
            self._frames.clear()
            self.alphas = {}
        self._maps.clear()
        self.moved = self.names[0] if self.names else "g"
        self.current = None
        if self.opened is None:
            return
        rest = explorer.decode(self.opened.latent, self.opened.image)
        if not self._keep((), rest, ticket):
            return
        self.current = rest
        if self.directions is not None:
            if self.example is not None and found is None:
                paths = explorer.example_paths(self.example, label, self.directions)
            else:
                paths = explorer.paths(self.opened, self.directions, label)
            self.paths = paths.join()

    def _leave_paths(self) -> None:
        if self.paths is not None:
            self.paths.leave()
        self.paths = None

    # -- moving -----------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The directions that have a slider."""
        return [] if self.directions is None else shown_names(self.directions)

    @property
    def index(self) -> int:
        """The explained label's place among the domain's labels."""
        return self.explorer.domain.labels.index(self.label)

    def path(self, name: str) -> Path | None:
        return None if self.paths is None else self.paths.get(name)

    def path_now(self, name: str) -> Path:
        """The path along a direction, waited for."""
        if self.paths is None:
            raise GCDError("There is no direction to follow yet: open an image first.")
        if name not in self.names:
            raise GCDError(
                f"There is no direction {name!r} to follow: choose one of {', '.join(self.names)}."
            )
        return self.paths.wanted(name)

    def move(self, alphas: Alphas, moved: str | None = None) -> Frame | None:
        """Goes to z_sem + sum of alpha_i v_i; None where a newer position came meanwhile."""
        if self.opened is None or self.directions is None:
            raise GCDError("There is nothing to move yet: open an image first.")
        opened, directions = self.opened, self.directions
        names = shown_names(directions)
        wanted = rounded(alphas, names)
        with self._keeping:
            ticket = self._newest = next(self._tickets)
            changed = [n for n in names if wanted.get(n, 0.0) != self.alphas.get(n, 0.0)]
            if moved or changed:
                self.moved = moved or changed[0]
            self.alphas = wanted
        key = tuple(sorted(wanted.items()))
        frame = self._on_path(wanted) or self._frames.get(key)
        if frame is None:
            with self._decoding:
                if ticket != self._newest:
                    return None
                latent = latent_at(opened, directions, wanted)
                frame = self.explorer.decode_live(latent, opened.image)
        if not self._keep(key, frame, ticket):
            return None
        self.current = frame
        if self.explorer.looks_ahead:
            work = self._neighbours(opened, directions, wanted, ticket)
            self.explorer.ahead.follow(self, work)
        return frame

    def _neighbours(
        self, opened: Opened, directions: DirectionSet, here: Alphas, ticket: int
    ) -> Iterator[None]:
        """Decodes the stops next to a position, one at a time, while it is the current one.

        First come those of the slider that was moved last.
        """
        stops, names = alpha_grid(self.explorer.domain.alpha_max), shown_names(directions)
        for name in sorted(names, key=lambda name: name != self.moved):
            at = min(range(POINTS), key=lambda i: abs(stops[i] - here.get(name, 0.0)))
            for alpha in (stops[i] for i in (at + 1, at - 1) if 0 <= i < POINTS):
                alphas = rounded(here | {name: alpha}, names)
                key = tuple(sorted(alphas.items()))
                if ticket != self._newest or not self.explorer.looks_ahead:
                    return
                if key in self._frames or self._on_path(alphas) is not None:
                    continue
                latent = latent_at(opened, directions, alphas)
                frame = self.explorer.decode_live(latent, opened.image, Urgency.NEXT)
                self._keep(key, frame, ticket)
                yield

    def _on_path(self, alphas: Alphas) -> Frame | None:
        if len(alphas) != 1:
            return None
        (name, alpha), *_ = alphas.items()
        path = self.path(name)
        if path is None:
            return None
        i = int((path.alphas - alpha).abs().argmin())
        if abs(float(path.alphas[i]) - alpha) > 1e-3:
            return None
        return path_frame(path, i, self.explorer.domain.labels)

    def _keep(self, key: tuple, frame: Frame, ticket: int) -> bool:
        """Remembers a frame unless a newer position has come; says whether it did."""
        with self._keeping:
            if ticket != self._newest:
                return False
            self._frames[key] = frame
            self._frames.move_to_end(key)
            if () in self._frames:  # the picture at rest stays
                self._frames.move_to_end(())
            most = min(FRAMES_KEPT, max(2, FRAME_BYTES_KEPT // frame.image.nbytes))
            while len(self._frames) > most:
                self._frames.popitem(last=False)
            return True

    def to_flip(self, name: str) -> tuple[Frame | None, bool]:
        """Goes to a direction's counterfactual; says whether the prediction flipped there."""
        path = self.path_now(name)
        alpha = float(path.alphas[path.counterfactual])
        return self.move({name: alpha}, name), bool(path.flipped)

    def draw_in_full(self) -> Frame | None:
        """Decodes the current picture in full, where the live decoder drew it, in a pause of moves.

        None where it is full already, or a newer position came meanwhile.
        """
        with self._keeping:
            opened, directions, frame = self.opened, self.directions, self.current
            ticket, alphas = self._newest, self.alphas
        if opened is None or directions is None or frame is None or not frame.live:
            return None
        full = self._on_path(alphas) or self.explorer.decode_later(
            latent_at(opened, directions, alphas),
            opened.image,
            lambda: ticket == self._newest and self.current is frame,
        )
        if full is None or not self._keep(tuple(sorted(alphas.items())), full, ticket):
            return None
        self.current = full
        return full

    def still(self, patience: float = 20.0) -> tuple[Frame, Alphas]:
        """The current picture, decoded in full, and where it is, once no move is under way.

        Raises
        ------
        GCDError
            Where that takes longer than `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            frame, alphas = self.current, dict(self.alphas)
            at_rest = self._frames.get(tuple(sorted(alphas.items()))) is frame
            if frame is not None and at_rest and not frame.live:
                return frame, alphas
            if time.monotonic() > deadline:
                raise GCDError("The picture is still being decoded: try again in a moment.")
            if frame is not None and at_rest:
                self.draw_in_full()
            else:
                time.sleep(0.02)

    # -- maps -------------------------------------------------------------------------------

    def heat(self, kind: str) -> Attribution | Tensor | None:
        """The map over the picture: None, the difference (H, W), or a path's attribution."""
        if self.opened is None or self.current is None or kind == "none":
            return None
        if kind == "difference":
            return difference(self.current.image, self.opened.image)
        path = self.path(self.moved)
        if path is None:
            return None
        key = (kind, self.moved)
        if key not in self._maps:
            self._maps[key] = explain_path(path, method=kind)
        return self._maps[key]

    def close(self) -> None:
        """Stops this visitor's work and drops what was theirs."""
        if self.search is not None:
            self.search.cancel.set()
        self._leave_paths()
        with self._keeping:
            self._newest = next(self._tickets)
            self.opened = self.current = self.directions = None
            self._frames.clear()
        self._maps.clear()
        self.found.clear()
        shutil.rmtree(self.folder, ignore_errors=True)


def latent_at(opened: Opened, directions: DirectionSet, alphas: Alphas) -> Latent:
    """The latent at z_sem + sum of alpha_i v_i."""
    z_sem = opened.latent.z_sem
    for name, alpha in alphas.items():
        z_sem = z_sem + alpha * directions[name].vector.to(z_sem)
    return opened.latent.with_z_sem(z_sem)


def rounded(alphas: Alphas, names: list[str]) -> Alphas:
    """Positions as they are compared and kept: of known directions, without zeros."""
    near = {name: round(float(alphas[name]), 4) for name in names if name in alphas}
    return {name: alpha for name, alpha in near.items() if alpha}


def alpha_grid(alpha_max: float) -> list[float]:
    """POINTS positions from -alpha_max to +alpha_max; every slider stop has a decoded picture."""
    half = POINTS // 2
    return [round(alpha_max * i / half, 4) for i in range(-half, half + 1)]


def shown_names(directions: DirectionSet) -> list[str]:
    """The directions of a set that the page has a slider for."""
    return [name for name in SLIDERS if name in directions.names]


def path_frame(path: Path, index: int, labels: tuple[str, ...]) -> Frame:
    """The frame at one point of a decoded path, its probabilities in the order of `labels`."""
    asked = dict(zip(path.labels, path.all_probabilities[index].tolist(), strict=True))
    return Frame(
        path.images[index : index + 1],
        tuple(asked[label] for label in labels),
        float(path.distances[index]),
    )
