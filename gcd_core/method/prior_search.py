"""A search over what the domain's images are like: few queries, and no source image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.method.changes import Change, with_changes
from gcd_core.method.code_statistics import COARSE_SIDE, CodeStatistics
from gcd_core.method.composition import compose, view_of
from gcd_core.method.directions import REPEATABILITY, DirectionSet, curvature_directions
from gcd_core.method.mean_slope import MeanSlope, weighed_slope
from gcd_core.method.perturbation import Answers, ask, default_batch_size
from gcd_core.method.proxy import FittedProxy, linear_proxy
from gcd_core.method.samples import Question, Samples
from gcd_core.method.search_run import Found, SearchRun
from gcd_core.method.settings import IMAGES, Settings
from gcd_core.method.verification import MAX_EXAMPLES, Examples, Tried, with_tried

FIRST_ANSWERS = 32  # after which the first g is learned
USABLE_ANSWERS = 64  # from which on g is offered while the search goes on
ANSWERS_FOR_H = 512  # from which on networks learn what the slope leaves unexplained
CURVED = 0.05  # of that, what they must explain of answers held back, or there is no curvature
LEAST_CURVATURE = 0.25  # of the largest, below which an axis is none that they know
SETTLED = 0.95  # cosine expected with another search's g, at which this one stops
MIN_IMAGES = 16
ELSEWHERE_WEIGHT = 30.0  # of the picture's change outside of a place, in a direction by place
PLACES = ("upper left", "upper right", "lower left", "lower right")  # of the picture as it is seen
PLACED = "places"  # among a set's metadata: the place of each direction by place, by its name


def find_over_codes(
    run: SearchRun,
    question: Question,
    settings: Settings,
    image: Tensor | Picture | None,
    images: Sequence[Tensor | Picture] | None,
    detail: str | None,
) -> Found:
    """Search as `find_directions` with `sampling` "prior" or "images" does.

    Codes are asked about in doublings: 32, 64, 128, ... up to `n_samples`. The search stops once g
    has settled (`weighed_slope`) and flips all examples. With h-directions it goes on to 512;
    with fewer samples there are none. Each direction is tried on eight of the domain's examples:
    at most 64 queries more, 8 for each h-direction, and 16 for each doubling that follows one in
    which g had settled and did not flip all examples. Where the question depends on another one,
    the classifier is also asked which examples it means something of, each once.
    """
    statistics = run.domain.code_statistics(question.label)
    source = _codes(run, question, settings, statistics, images)
    if run.samples is None:
        run.samples = _none_yet(run, question, image)
    search = _Search(run, question, settings, _examples(run, question, image, images, detail))
    samples, slope, expected = search.settled(source, statistics)
    directions, fitted = search.directions(samples, slope, expected)
    return run.found(directions, samples, fitted)


class _Search:
    """One search over codes under way.

    Parameters
    ----------
    run : SearchRun
    question : Question
    settings : Settings
    examples : Examples or None
        What directions are tried on.
    """

    def __init__(
        self, run: SearchRun, question: Question, settings: Settings, examples: Examples | None
    ) -> None:
        self.run, self.question, self.settings, self.examples = run, question, settings, examples
        self.tried: dict[str, Tried] = {}
        self.changes: dict[str, Change] = {}
        self.offered = False
        self.places: dict[str, str] = {}

    def settled(
        self, source: _DrawnCodes | _GivenImages, statistics: CodeStatistics
    ) -> tuple[Samples, MeanSlope, float]:
        """Ask until g has settled; the samples, the slope, and the cosine that is expected."""
        run, settings = self.run, self.settings
        batch_size = settings.batch_size or default_batch_size(run.domain)
        wanted = SETTLED if settings.settle is None else settings.settle
        least = max(USABLE_ANSWERS, ANSWERS_FOR_H if settings.n_h else 0)
        for n in _doublings(len(source.codes)):
            samples = run.ask(source.codes[:n], batch_size, source.answers)
            slope, expected = weighed_slope(samples.z_sem, samples.logits, statistics)
            run.stop_if_cancelled()
            last = n == len(source.codes)
            over = last or (n >= least and expected >= wanted)
            self._try_g(slope, over, n)
            if last or (over and self._all_flip()):
                break
            if n >= USABLE_ANSWERS:
                self._offer(samples, slope, expected)
        run.samples = replace(samples, boundary=slope.boundary(slope.direction()))
        return run.samples, slope, expected

    def _try_g(self, slope: MeanSlope, over: bool, n: int) -> None:
        """Try g on the examples: in one step when it is first offered, in two at the end.

        What an earlier g did is forgotten: it says nothing of this one.
        """
        first = n >= USABLE_ANSWERS and not self.offered
        self.offered = self.offered or first
        self.tried.clear()
        self.changes.clear()
        if over or first:
            self._try("g", slope.direction(), slope.statistics, 2 if over else 1)

    def _try(self, name: str, vector: Tensor, statistics: CodeStatistics, points: int = 1) -> None:
        """Try a direction (D,) on the examples, if there are any."""
        if self.examples is not None:
            measured = self.examples.measured(vector, statistics, points)
            self.tried[name], self.changes[name] = measured

    def _all_flip(self) -> bool:
        """Whether all examples flip, or all but one in fifty; without any, nobody knows better."""
        g = self.tried.get("g")
        return g is None or g.flipped >= 0.98 * g.n

    def _offer(self, samples: Samples, slope: MeanSlope, expected: float) -> None:
        """Tell of a g that can be used already."""
        g, fitted = slope.direction()[None], linear_proxy(slope)
        usable = self._set(["g"], g, [None], samples, slope, expected, fitted)
        n, most = len(samples), self.settings.n_samples
        self.run.report("directions", n, most, directions=usable)

    def directions(
        self, samples: Samples, slope: MeanSlope, expected: float
    ) -> tuple[DirectionSet, FittedProxy]:
        """All directions of the samples, each tried on the examples, and the proxy."""
        run, settings, statistics = self.run, self.settings, slope.statistics
        g, fitted = slope.direction(), linear_proxy(slope)
        names, vectors = ["g"], [g]
        eigenvalues: list[float | None] = [None]
        if settings.n_h and len(samples) >= ANSWERS_FOR_H:
            learned = run.fit(samples, settings.lam, statistics.radius, slope)
            if _beats(learned, samples, slope):
                fitted = learned
                axes, values = curvature_directions(
                    fitted.proxy, samples.centre, settings.lam, settings.n_h, statistics.factor, g
                )
                kept = [abs(value) >= LEAST_CURVATURE * abs(values[0]) for value in values]
                names += [f"h{i + 1}" for i in range(sum(kept))]  # they come by falling size
                vectors, eigenvalues = vectors + axes[: sum(kept)], [None, *values[: sum(kept)]]
        by_place = directions_by_place(slope, settings.n_ways)
        self.places = {f"w{i}": place_of(w, statistics) for i, w in enumerate(by_place, 1)}
        names += self.places
        vectors, eigenvalues = [*vectors, *by_place], [*eigenvalues, *[None] * len(by_place)]
        run.report("directions", len(names), len(names))
        for i, (name, vector) in enumerate(zip(names, vectors, strict=True)):
            run.stop_if_cancelled()
            if name not in self.tried:
                self._try(name, vector, statistics)
            run.report("verify", i + 1, len(names))
        stacked = torch.stack(vectors)
        return self._set(names, stacked, eigenvalues, samples, slope, expected, fitted), fitted

    def _set(
        self,
        names: list[str],
        vectors: Tensor,
        eigenvalues: list[float | None],
        samples: Samples,
        slope: MeanSlope,
        expected: float,
        fitted: FittedProxy,
    ) -> DirectionSet:
        """The directions with what is known of them."""
        metadata = self.run.metadata(self.question, self.settings, samples, fitted)
        figures = metadata["figures"] | {REPEATABILITY: expected, "explained": slope.explained}
        told = {PLACED: self.places} if self.places else {}
        metadata["settings"] |= {"codes_of": slope.statistics.n_images}  # images that were measured
        about = with_tried(metadata | {"figures": figures} | told, self.tried)
        about = with_changes(about, self.changes)
        mean = slope.statistics.mean[None]
        return DirectionSet(names, vectors, about, eigenvalues, mean, fitted.proxy)


def _codes(
    run: SearchRun,
    question: Question,
    settings: Settings,
    statistics: CodeStatistics,
    images: Sequence[Tensor | Picture] | None,
) -> _DrawnCodes | _GivenImages:
    """Where the codes come from."""
    if settings.sampling != IMAGES:
        return _DrawnCodes(run, question, settings.n_samples, statistics)
    if images is None or len(images) < MIN_IMAGES:
        raise GCDError(
            f"{len(images or ())} images are too few to search over; give {MIN_IMAGES} or more, or "
            "take sampling 'prior', which needs none."
        )
    source = _GivenImages(run, question, images, settings.n_samples)
    known = source.codes[:0] if run.samples is None else run.samples.z_sem[: len(source.codes)]
    if not torch.allclose(source.codes[: len(known)], known, 1e-2, 1e-2):
        raise GCDError("These samples belong to other images; resume with those, or search anew.")
    return source


def _none_yet(run: SearchRun, question: Question, image: Tensor | Picture | None) -> Samples:
    """No sample yet; of an image that was given, its probability."""
    domain, none = run.domain, torch.empty(0)
    probability = None
    if image is not None:
        asked = compose(image).pixels
        logits = domain.classifier(asked)
        probability = float(domain.classifier.probability(logits, question.label))
    z_sem = torch.empty(0, domain.generator.z_sem_size)
    return Samples(question, None, None, probability, z_sem, logits=none, distances=none)


def _examples(
    run: SearchRun,
    question: Question,
    image: Tensor | Picture | None,
    images: Sequence[Tensor | Picture] | None,
    detail: str | None,
) -> Examples | None:
    """The pictures that directions are tried on: the image, the domain's examples, those given."""
    given = [] if image is None else [image]
    own = run.domain.example_images(MAX_EXAMPLES, question.label)
    tried_on = [*given, *own, *(images or ())][:MAX_EXAMPLES]
    if not tried_on:
        return None
    run.stop_if_cancelled()
    run.report("encode", 0, len(tried_on))
    label, solver, steps = question.label, question.solver, question.steps
    examples = Examples(run.domain, tried_on, label, solver, steps, detail)
    run.report("encode", len(tried_on), len(tried_on))
    return examples


def _beats(learned: FittedProxy, samples: Samples, slope: MeanSlope) -> bool:
    """Whether networks explain more than the slope does, of answers that they were not shown."""
    left = (samples.logits - slope.logit(samples.z_sem)).square().mean() / samples.logits.var()
    return min(learned.validation_losses) <= (1 - CURVED) * float(left)


def _doublings(most: int) -> list[int]:
    """32, 64, 128, ... and at last `most`."""
    sizes = [FIRST_ANSWERS]
    while sizes[-1] < most:
        sizes.append(2 * sizes[-1])
    return [*sizes[:-1], most]


def directions_by_place(slope: MeanSlope, most: int) -> list[Tensor]:
    """Directions that raise the logit by what they change in one quarter of the picture each.

    As g, but a change of the picture elsewhere costs 30 times more (`MeanSlope.direction`). They
    take no query. The quarter whose direction rises most for its length comes first.

    Parameters
    ----------
    slope : MeanSlope
    most : int
        How many to return, up to four.

    Returns
    -------
    list of Tensor (D,)
        Unit vectors; none where nobody knows what codes draw.
    """
    statistics = slope.statistics
    if not most or statistics.drawing is None:
        return []
    found = [confined_to(slope, place) for place in range(len(PLACES))]
    rise = [float(slope.logit(statistics.mean + vector[None])) for vector in found]
    order = sorted(range(len(found)), key=lambda i: -rise[i])
    return [found[i] for i in order[:most]]


def confined_to(slope: MeanSlope, place: int) -> Tensor:
    """The direction (D,) of a slope where changes outside of a quarter cost 30 times more."""
    outside = slope.statistics.picture_change_in(1 - quarter(place))
    return slope.direction(elsewhere=ELSEWHERE_WEIGHT * outside)


def place_of(vector: Tensor, statistics: CodeStatistics) -> str:
    """The quarter of the picture that a direction (D,) changes most; the drawing must be known."""
    assert statistics.drawing is not None
    change = (statistics.drawing @ vector).square().view(-1, COARSE_SIDE, COARSE_SIDE).sum(0)
    shares = [float((change * quarter(place)).sum()) for place in range(len(PLACES))]
    return PLACES[shares.index(max(shares))]


def places_of(metadata: dict[str, Any]) -> dict[str, str]:
    """Return the quarter that a set's directions by place change, by name; empty if not told."""
    told = metadata.get(PLACED)
    pairs = told.items() if isinstance(told, dict) else ()
    return {name: place for name, place in pairs if place in PLACES}


def quarter(place: int) -> Tensor:
    """The mask (16, 16) of a quarter of the coarse picture, numbered as `PLACES`."""
    half = COARSE_SIDE // 2
    mask = torch.zeros(COARSE_SIDE, COARSE_SIDE)
    row, column = divmod(place, 2)
    mask[row * half : (row + 1) * half, column * half : (column + 1) * half] = 1
    return mask


class _DrawnCodes:
    """Codes drawn from the domain's, each pair of mirrored ones decoded with one drawn z_T."""

    def __init__(
        self, run: SearchRun, question: Question, n: int, statistics: CodeStatistics
    ) -> None:
        self.run, self.question = run, question
        generator = torch.Generator().manual_seed(question.seed)
        self.codes = statistics.draw(n, generator)
        noise = torch.Generator().manual_seed(question.seed + 1)
        pairs = run.domain.generator.draw_noise((n + 1) // 2, noise)
        self.z_T = pairs.repeat_interleave(2, dim=0)[:n]
        self._mean = statistics.mean[None]
        self._reference: Tensor | None = None

    def answers(self, start: int, batch: Tensor) -> Answers:
        """What the models say of a batch of the codes; LPIPS is to the mean code's picture."""
        if self._reference is None:
            self._reference = self._decoded(self._mean, 0)
        decoded = self._decoded(batch, start)
        return ask(self.run.domain, decoded, self._reference, self.question.label)

    def _decoded(self, codes: Tensor, start: int) -> Tensor:
        latent = Latent(codes, self.z_T[start : start + len(codes)]).to(self.run.domain.device)
        question = self.question
        return self.run.domain.generator.decode(latent, question.solver, question.steps)


class _GivenImages:
    """Codes of images that somebody gave, which are asked about as they are."""

    def __init__(
        self, run: SearchRun, question: Question, images: Sequence[Tensor | Picture], n: int
    ) -> None:
        self.run, self.question = run, question
        order = torch.randperm(
            len(images), generator=torch.Generator().manual_seed(question.seed)
        ).tolist()
        self.images = [images[i] for i in order[:n]]
        views = [view_of(image) for image in self.images]
        encoder = run.domain.generator.encode_semantic
        self.codes = torch.cat([encoder(view).cpu() for view in views]).float()

    @torch.inference_mode()
    def answers(self, start: int, batch: Tensor) -> Answers:
        """What the models say of a batch of the images; LPIPS is to the first of them."""
        first = compose(self.images[0]).source
        said = []
        for image in self.images[start : start + len(batch)]:
            own = compose(image)
            said.append(ask(self.run.domain, own.source, first, self.question.label, own.pixels))
        return Answers(
            *(
                torch.cat([getattr(one, name) for one in said])
                for name in ("images", "logits", "probabilities", "distances")
            )
        )
