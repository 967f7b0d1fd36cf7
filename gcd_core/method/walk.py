"""Walking along a direction until the classifier changes its mind: CF loss, path, line search."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.generators.base import BatchProgress, Latent
from gcd_core.images.picture import Picture
from gcd_core.method.composition import (
    DECODED,
    SOURCE,
    Composition,
    compose,
    resolve_detail,
    view_of,
)
from gcd_core.method.counterfactual import (
    LOWEST_LOSS,
    MARGIN,
    SMALLEST,
    WHOLE,
    check_counterfactual,
)
from gcd_core.method.directions import Direction
from gcd_core.method.loss import THRESHOLD, cf_loss, flip_sign
from gcd_core.method.models import Models
from gcd_core.method.perturbation import (
    Answers,
    ask_about,
    check_image,
    check_label,
    check_source,
    default_batch_size,
)
from gcd_core.method.region import check_region
from gcd_core.method.settings import check_steps

BISECTION_STEPS = 4  # of the step in which a path becomes convincing: to a sixteenth of it
PER_POINT = (  # what a path has of each of its points, besides what was decoded
    "alphas",
    "images",
    "logits",
    "probabilities",
    "all_probabilities",
    "distances",
    "losses",
)


@dataclass(frozen=True)
class Path:
    """The images along a direction and what the models say of each; tensors on the CPU.

    Attributes
    ----------
    alphas : Tensor (n,)
        Signed positions along the direction; +alpha raises the label's logit.
    images : Tensor (n, C, H, W)
        The decoded images, float32, in [0, 1].
    logits, probabilities : Tensor (n,)
        The label's log-odds and probability.
    all_probabilities : Tensor (n, L)
        One column per label in `labels`.
    distances : Tensor (n,)
        LPIPS to the source image.
    losses : Tensor (n,)
        The CF loss (Eq. 1).
    label : str
        What is being explained.
    labels : tuple of str
        All labels of the classifier.
    direction_name : str
    source : Tensor (1, C, H, W)
        The image that the walk started from, before it was encoded.
    source_probability : float
        The classifier's probability for the source image itself, not for its reconstruction.
    source_probabilities : dict of str to float
        The same of each label, by name; empty where nobody noted them.
    sign : {+1, -1}
        The way to the flip, as of `flip_sign`.
    threshold : float
        The probability from which on the label is predicted.
    choice : {"smallest", "lowest-loss", "whole"}
        Which point is the counterfactual.
    margin : float
        How far beyond the threshold the probability of a convincing point lies, 0 to 0.5.
    refined : tuple of int
        Indices of the points that `bisect` added to those that were walked.
    region : Tensor (1, H, W), bool, or None
        Where the images may differ from the source; None where everywhere.
    decoded : Tensor (n, C, H, W) or None
        What the generator drew, where `images` are made of it; None where they are that.
    composition : Composition or None
        How `images` are made of `decoded`; None where nobody composed them.
    """

    alphas: Tensor
    images: Tensor
    logits: Tensor
    probabilities: Tensor
    all_probabilities: Tensor
    distances: Tensor
    losses: Tensor
    label: str
    labels: tuple[str, ...]
    direction_name: str
    source: Tensor
    source_probability: float
    sign: int
    threshold: float = THRESHOLD
    choice: str = SMALLEST
    margin: float = MARGIN
    refined: tuple[int, ...] = ()
    region: Tensor | None = None
    decoded: Tensor | None = None
    composition: Composition | None = None
    source_probabilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def detail(self) -> str:
        """What `images` show: the source with the change put in, or what was decoded."""
        return DECODED if self.composition is None else self.composition.detail

    def picture(self, k: int) -> Tensor:
        """Point k at the source's own size: (1, C, H, W), float32, in [0, 1].

        Made when it is asked for, so that a path of large pictures takes little memory.
        """
        composition, own = self.composition, tuple(self.images.shape[-2:])
        if composition is None or self.decoded is None or composition.size == own:
            return self.images[k][None]
        return composition.picture(self.decoded[k][None])

    @property
    def original(self) -> Tensor:
        """The source at its own size: (1, C, H, W)."""
        return self.source if self.composition is None else self.composition.pixels

    def asked(self, k: int, classifier: BlackBox) -> Tensor:
        """Point k as a classifier is asked about it: (1, C, h, w); see `Composition.asked`."""
        if self.composition is None or self.decoded is None:
            return self.images[k][None]
        return self.composition.asked(self.decoded[k][None], classifier)

    def source_for(self, classifier: BlackBox) -> Tensor:
        """The source as a classifier is asked about it: (1, C, h, w)."""
        return self.source if self.composition is None else self.composition.source_for(classifier)

    @property
    def is_walked(self) -> Tensor:
        """Which points (n,) lie where the walk was to go, and are no refinement."""
        walked = torch.ones(len(self.alphas), dtype=torch.bool)
        walked[list(self.refined)] = False
        return walked

    @property
    def is_flipped(self) -> Tensor:
        """Which points (n,) a move took to the other side of the source's prediction.

        The point at alpha 0 is none of them: there, it is the reconstruction alone that differs.
        """
        here = self.probabilities >= self.threshold
        return (here != (self.source_probability >= self.threshold)) & (self.alphas != 0)

    @property
    def any_flip(self) -> bool:
        """Whether the prediction differs from the source's anywhere on the path."""
        return bool(self.is_flipped.any())

    @property
    def is_convincing(self) -> Tensor:
        """Which points (n,) are flipped by `margin` or more."""
        return self.is_flipped & (self._beyond >= self.margin)

    @property
    def counterfactual(self) -> int:
        """Index of the point that `choice` names."""
        if self.choice == WHOLE:
            return self.whole
        return self.lowest_loss if self.choice == LOWEST_LOSS else self.smallest

    @property
    def counterfactual_flips(self) -> bool:
        """Whether the prediction differs from the source's at the counterfactual.

        The counterfactual of the choice "whole" is the end of the path: it can fail to flip on a
        path with `any_flip`. For the other choices both are the same.
        """
        return bool(self.is_flipped[self.counterfactual])

    @property
    def flipped(self) -> bool:
        """The same as `counterfactual_flips`; files and commands use this name."""
        return self.counterfactual_flips

    @property
    def counterfactual_image(self) -> Tensor:
        """The counterfactual (1, C, H, W)."""
        return self.images[self.counterfactual][None]

    def ends_for(self, classifier: BlackBox) -> tuple[Tensor, Tensor]:
        """Source and counterfactual (1, C, h, w) as a classifier is asked about them.

        Where the counterfactual is the source itself, the path's end takes its place.
        """
        at_rest = not float(self.alphas[self.counterfactual])
        end = self.whole if at_rest else self.counterfactual
        return self.source_for(classifier), self.asked(end, classifier)

    @property
    def smallest(self) -> int:
        """Index of the smallest convincing change: the convincing point nearest to alpha 0.

        Those toward the flip come before those on the other side of 0. Where none is convincing,
        the flipped point that is most so; where none is flipped, `lowest_loss`.
        """
        if not self.any_flip:
            return self.lowest_loss
        convincing = self.is_convincing
        toward = convincing & (self.alphas * self.sign > 0)
        among = toward if toward.any() else convincing
        if among.any():
            return int(self.alphas.abs().masked_fill(~among, math.inf).argmin())
        return int(self._beyond.masked_fill(~self.is_flipped, -math.inf).argmax())

    @property
    def lowest_loss(self) -> int:
        """Index of the lowest CF loss (Algorithm 3), among the flipped points where there are.

        Of the points walked, so that a refined path has the one it had before.
        """
        among = self.is_walked
        if self.any_flip:
            among = among & self.is_flipped
        return int(self.losses.masked_fill(~among, math.inf).argmin())

    @property
    def whole(self) -> int:
        """Index of the point that lies farthest toward the flip."""
        return int((self.alphas * self.sign).masked_fill(~self.is_walked, -math.inf).argmax())

    @property
    def _beyond(self) -> Tensor:
        """How far each probability (n,) lies from the threshold."""
        return (self.probabilities - self.threshold).abs()


def walk(
    domain: Models,
    image: Tensor | Picture | Latent | Composition,
    direction: Direction | Tensor,
    label: str,
    alphas: Tensor | None = None,
    n: int | None = None,
    lam: float | None = None,
    both: bool = False,
    latent: Latent | None = None,
    solver: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Cancel | None = None,
    choice: str | None = None,
    margin: float | None = None,
    region: Tensor | None = None,
    detail: str | None = None,
    tolerance: float | None = None,
) -> Path:
    """Move an image along a direction and ask the classifier on the way (Eq. 5, Algorithm 3).

    The image's noise code stays; its semantic code becomes ``z_sem + alpha * direction``. Where the
    smallest convincing change is asked for, the step in which the path becomes convincing is halved
    four times more; those points become points of the path.

    Parameters
    ----------
    domain : Models
    image : Tensor (1, C, S, S), Picture, Latent or Composition
        The source in [0, 1]; of a latent of one image, what it decodes to is the source. A
        composition is taken as it is, with what the same solver and steps decoded at alpha 0; its
        `latent` must be given then, and `detail` counts for nothing.
    direction : Direction or Tensor (D,)
        A found direction, or any vector of the semantic code's size, taken as it is.
    label : str
        What to explain; the direction may have been found for another label.
    alphas : Tensor (n,), optional
        Positions along the direction, signed, taken as they are. By default `n` even steps from 0
        to the domain's `alpha_max`, signed toward the flip.
    n : int, optional
        How many positions; by default the domain's `walk_points` (with `both`, as many each way).
    lam : float, optional
        Weight of LPIPS in the CF loss; by default the domain's.
    both : bool
        Walk from -alpha_max to +alpha_max; `n` must then be odd, so that 0 is in the middle.
    latent : Latent, optional
        The image's own latent, where it has been encoded before.
    solver, steps : optional
        Passed to the generator for encoding and decoding; its fast setting by default.
    batch_size : int, optional
        Images decoded at a time.
    progress : callable, optional
        Called with (done, total) after each batch; the total grows by 4 when the halving begins.
    cancel : optional
        Its `is_set()` is asked before each batch.
    choice : {"smallest", "lowest-loss", "whole"}, optional
        Which point is the counterfactual: the smallest convincing change, the lowest CF loss
        (Eq. 5, the paper's), or the path's end; by default the domain's.
    margin : float, optional
        How far beyond the threshold the probability of a convincing point lies, 0 to 0.5; by
        default the domain's.
    region : Tensor (S, S), optional
        A mask of where the picture may change; elsewhere the source's own pixels stay, bit for bit
        (`in_region`). Classifier and LPIPS see the two put together.
    detail : {"source", "decoded"}, optional
        Whether the generator's change is put into the source's own pixels, or the decoded images
        are shown as they are, as in the paper; see `Composition`. By default the domain's. Of a
        latent nothing but what was decoded is known.
    tolerance : float, optional
        Leave out positions that a curve of the probability does not need. Of an odd number of
        ascending `alphas` every second one is decoded first, then those between two whose
        probabilities differ by more than this, or of which one alone is flipped or convincing.

    Returns
    -------
    Path

    Raises
    ------
    GCDError
        If the image, label, direction, region or a setting does not fit; before any work is done.
    Cancelled
        If `cancel` is set.

    Examples
    --------
    >>> path = walk(domain, image, found.directions["g"], label="pneumonia")
    >>> path.counterfactual_image, path.flipped
    """
    check_label(domain, label)
    check_steps(steps, batch_size)
    _check_start(domain, image, latent)
    detail = resolve_detail(domain, detail)
    vector = _vector(domain, direction)
    masks, positions = check_region(domain, region), _positions(domain, alphas, n, both, tolerance)
    choice, margin = resolve_counterfactual(domain, choice, margin)
    batch_size = batch_size or default_batch_size(domain)
    composition, latent = _start(domain, image, latent, masks, detail, solver, steps)
    before = _source_probabilities(domain, composition)
    source_probability = before[label]
    along = positions
    if alphas is None and not both:  # + 0.0 turns the -0.0 of a walk down into 0.0
        along = flip_sign(source_probability) * positions + 0.0
    name = "direction" if isinstance(direction, Tensor) else direction.name

    def asked(alpha: Tensor) -> Answers:
        here, baselines = torch.zeros(len(alpha), dtype=torch.long), [composition.baseline]
        decoded = _decoded(domain, latent, here, alpha, vector, baselines, solver, steps)
        return ask_about(domain, decoded, composition, label)

    def through(positions: Tensor, batches: list[Answers]) -> Path:
        place = domain, label, name, composition, source_probability, positions, batches, lam
        return replace(path_of(*place), choice=choice, margin=margin, source_probabilities=before)

    first = along if tolerance is None else along[::2]
    batches = _in_batches(asked, first, batch_size, progress, cancel)
    path = through(first, batches)
    if tolerance is not None:
        rest = along[1::2][_is_steep(path, tolerance)]
        batches += _in_batches(asked, rest, batch_size, progress, cancel, len(first))
        along = torch.cat([first, rest])
        path = _ascending(through(along, batches))

    def bisecting(done: int, total: int) -> None:
        if progress is not None:
            progress(len(along) + done, len(along) + total)

    return bisect(domain, [path], vector, latent, lam, solver, steps, bisecting, cancel)[0]


def _in_batches(
    asked: Callable[[Tensor], Answers],
    positions: Tensor,
    batch_size: int,
    progress: BatchProgress | None,
    cancel: Cancel | None,
    before: int = 0,
) -> list[Answers]:
    """Ask about positions (n,), so many at a time; `before` is how many were asked about before."""
    batches: list[Answers] = []
    done = before
    for alpha in positions.split(batch_size) if len(positions) else ():
        if cancel is not None and cancel.is_set():
            raise Cancelled
        batches.append(asked(alpha))
        done += len(alpha)
        if progress is not None:
            progress(done, before + len(positions))
    return batches


def _is_steep(path: Path, tolerance: float) -> Tensor:
    """Which steps (n - 1,) between neighbours need the position in between, as `walk` says."""
    steep = path.probabilities.diff().abs() > tolerance
    for side in (path.is_flipped, path.is_convincing):
        steep = steep | (side[1:] != side[:-1])
    return steep


def _ascending(path: Path) -> Path:
    """The path with its points in the order of their alphas."""
    order = path.alphas.argsort()
    decoded = None if path.decoded is None else path.decoded[order]
    own = {name: getattr(path, name)[order] for name in PER_POINT}
    return replace(path, **own, decoded=decoded)


@torch.inference_mode()
def walk_many(
    domain: Models,
    images: Tensor | Sequence[Tensor | Picture],
    direction: Direction,
    label: str,
    latent: Latent | None = None,
    n: int | None = None,
    choice: str | None = None,
    margin: float | None = None,
    regions: Tensor | None = None,
    detail: str | None = None,
) -> list[Path]:
    """Walk each image toward its flip; the same paths as `walk` gives, one image after the other.

    The points of all images are decoded in common batches, so that a GPU has enough to do.

    Parameters
    ----------
    domain : Models
    images : Tensor (N, C, S, S), or sequence of Tensor (1, C, S, S) or Picture
        The sources, in [0, 1].
    direction : Direction
    label : str
        What to flip.
    latent : Latent, optional
        The images' latents, where they have been encoded before.
    n : int, optional
        Points on each path, from 0 to the domain's `alpha_max`; by default its `walk_points`.
    choice, margin : optional
        As of `walk`.
    regions : Tensor (1 or N, S, S), optional
        A mask for all images, or one for each; as of `walk`.
    detail : {"source", "decoded"}, optional
        As of `walk`.

    Returns
    -------
    list of Path
        One for each image.

    Raises
    ------
    GCDError
        If the label is unknown, or the direction, a region or a setting does not fit.
    """
    check_label(domain, label)
    vector = _vector(domain, direction)
    sources = images.split(1) if isinstance(images, Tensor) else list(images)
    masks = check_region(domain, regions, len(sources))
    positions = _positions(domain, None, n, both=False)
    choice, margin = resolve_counterfactual(domain, choice, margin)
    views = torch.cat([view_of(source) for source in sources])
    latent = latent or domain.generator.encode(views)
    baselines: list[Tensor | None] = [None] * len(sources)
    if resolve_detail(domain, detail) == SOURCE:
        baselines = list(domain.generator.decode(latent).float().split(1))
    compositions = [
        compose(source, baseline, None if masks is None else masks[i % len(masks)][None])
        for i, (source, baseline) in enumerate(zip(sources, baselines, strict=True))
    ]
    before = [_source_probabilities(domain, composition) for composition in compositions]
    signs = torch.tensor([flip_sign(probabilities[label]) for probabilities in before])
    along = signs[:, None] * positions + 0.0  # no -0.0
    which = torch.arange(len(sources)).repeat_interleave(len(positions))
    decoded = _decoded(domain, latent, which, along.flatten(), vector, baselines)
    paths = []
    for i, (own, composition) in enumerate(
        zip(decoded.split(len(positions)), compositions, strict=True)
    ):
        answers = ask_about(domain, own, composition, label)
        probability = before[i][label]
        path = path_of(
            domain, label, direction.name, composition, probability, along[i], [answers], None
        )
        noted = replace(path, source_probabilities=before[i])
        paths.append(replace(noted, choice=choice, margin=margin))
    return bisect(domain, paths, direction, latent)


@torch.inference_mode()
def bisect(
    domain: Models,
    paths: Sequence[Path],
    direction: Direction | Tensor,
    latent: Latent,
    lam: float | None = None,
    solver: str | None = None,
    steps: int | None = None,
    progress: BatchProgress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Find the smallest convincing change more exactly, by bisection.

    The step between it and the point before it is halved four times; the points of all paths are
    decoded in common batches. A path of another choice, or without a convincing point, stays.

    Parameters
    ----------
    domain : Models
    paths : sequence of Path
        Of N images.
    direction : Direction or Tensor (D,)
        The one that they were walked along.
    latent : Latent
        The images' N latents, those that were walked from.
    lam, solver, steps : optional
        As of `walk`.
    progress : callable, optional
        Called with (done, 4) after each halving.
    cancel : optional
        Its `is_set()` is asked before each halving.

    Raises
    ------
    Cancelled
        If `cancel` is set.
    """
    vector = _vector(domain, direction).to(latent.z_sem)

    def answers_at(which: Tensor, alphas: Tensor) -> list[Answers]:
        baselines = [_composition(path).baseline for path in paths]
        decoded = _decoded(domain, latent, which, alphas, vector, baselines, solver, steps)
        return [
            ask_about(domain, own, _composition(paths[int(i)]), paths[int(i)].label)
            for i, own in zip(which, decoded.split(1), strict=True)
        ]

    return bisect_along(domain, paths, answers_at, lam, progress, cancel)


def bisect_along(
    domain: Models,
    paths: Sequence[Path],
    answers_at: Callable[[Tensor, Tensor], list[Answers]],
    lam: float | None = None,
    progress: BatchProgress | None = None,
    cancel: Cancel | None = None,
) -> list[Path]:
    """Bisect paths of any kind, as `bisect` does those along a direction.

    Parameters
    ----------
    domain, paths, lam, progress, cancel
        As of `bisect`.
    answers_at : callable
        Given the indices (n,) of paths and a position (n,) on each, what `ask` says of each.
    """
    paths = list(paths)
    for halving in range(BISECTION_STEPS):
        steps_to_halve = [(i, step) for i, path in enumerate(paths) if (step := _step(path))]
        if not steps_to_halve:
            break
        if cancel is not None and cancel.is_set():
            raise Cancelled
        which = torch.tensor([i for i, _ in steps_to_halve])
        alphas = torch.stack([paths[i].alphas[[*step]].mean() for i, step in steps_to_halve])
        for (i, step), alpha, answers in zip(
            steps_to_halve, alphas, answers_at(which, alphas), strict=True
        ):
            paths[i] = _with_point(domain, paths[i], max(step), alpha, answers, lam)
        if progress is not None:
            progress(halving + 1, BISECTION_STEPS)
    return paths


def _step(path: Path) -> tuple[int, int] | None:
    """The point before the smallest convincing change, and that change; None where none is."""
    end = path.smallest
    if path.choice != SMALLEST or not path.is_convincing[end]:
        return None
    away = path.alphas * path.alphas[end].sign()
    before = (away >= 0) & (away < away[end])
    if not before.any():
        return None
    return int(away.masked_fill(~before, -math.inf).argmax()), end


def _with_point(
    domain: Models, path: Path, at: int, alpha: Tensor, answers: Answers, lam: float | None
) -> Path:
    """The path with one point more, a refinement, before the one at `at`."""
    point = path_of(
        domain,
        path.label,
        path.direction_name,
        _composition(path),
        path.source_probability,
        alpha[None],
        [answers],
        lam,
    )

    made = point.images if point.decoded is None else point.decoded

    def joined(ours: Tensor, new: Tensor) -> Tensor:
        return torch.cat([ours[:at], new, ours[at:]])

    return replace(
        path,
        alphas=joined(path.alphas, point.alphas),
        images=joined(path.images, point.images),
        logits=joined(path.logits, point.logits),
        probabilities=joined(path.probabilities, point.probabilities),
        all_probabilities=joined(path.all_probabilities, point.all_probabilities),
        distances=joined(path.distances, point.distances),
        losses=joined(path.losses, point.losses),
        decoded=None if path.decoded is None else joined(path.decoded, made),
        refined=(*(i + (i >= at) for i in path.refined), at),
    )


def path_of(
    domain: Models,
    label: str,
    direction_name: str,
    composition: Composition,
    source_probability: float,
    alphas: Tensor,
    batches: list[Answers],
    lam: float | None,
) -> Path:
    """Return the path of points that were asked about, in batches that follow one another.

    Parameters
    ----------
    domain : Models
    label, direction_name, source_probability
        As of `Path`.
    composition : Composition
        Of the source.
    alphas : Tensor (n,)
        Where the points lie; what raises the label's logit is positive.
    batches : list of Answers
        What was said of the n points, in their order.
    lam : float or None
        Weight of LPIPS in the CF loss; None is the domain's.
    """
    logits = torch.cat([batch.logits for batch in batches])
    every = torch.cat([batch.probabilities for batch in batches])
    distances = torch.cat([batch.distances for batch in batches])
    sign = flip_sign(source_probability)
    decoded = [batch.decoded for batch in batches if batch.decoded is not None]
    if composition.baseline is not None:
        composition = replace(composition, baseline=composition.baseline.cpu())
    return Path(
        alphas=alphas,
        images=torch.cat([batch.images for batch in batches]),
        logits=logits,
        probabilities=every[:, domain.classifier.index(label)],
        all_probabilities=every,
        distances=distances,
        losses=cf_loss(logits, distances, sign, domain.search.lam if lam is None else lam),
        label=label,
        labels=tuple(domain.classifier.labels),
        direction_name=direction_name,
        source=composition.source.cpu(),
        source_probability=source_probability,
        sign=sign,
        region=composition.mask,
        decoded=torch.cat(decoded) if decoded else None,
        composition=composition,
    )


def resolve_counterfactual(
    domain: Models, choice: str | None, margin: float | None
) -> tuple[str, float]:
    """Return choice and margin, the domain's where they are None; refuse what does not exist."""
    choice = domain.counterfactual if choice is None else choice
    margin = domain.margin if margin is None else margin
    check_counterfactual(choice, margin)
    return choice, margin


def _composition(path: Path) -> Composition:
    """How a path's images were made; of one that nobody composed, they are what was decoded."""
    return path.composition or compose(path.source, None, path.region)


def _check_start(
    domain: Models, image: Tensor | Picture | Latent | Composition, latent: Latent | None
) -> None:
    """Refuse to start a walk from anything but one image, or one latent."""
    if isinstance(image, Latent):
        latent = image
    elif isinstance(image, Composition):
        check_image(domain, image.source)
        if latent is None:
            raise GCDError("A walk from a composition needs its latent: pass latent=.")
    else:
        check_source(domain, image)
    if latent is not None and len(latent) != 1:
        raise GCDError(f"A walk starts from one image; a latent of {len(latent)} was given.")


def _start(
    domain: Models,
    image: Tensor | Picture | Latent | Composition,
    latent: Latent | None,
    masks: Tensor | None,
    detail: str,
    solver: str | None,
    steps: int | None,
) -> tuple[Composition, Latent]:
    """How a walk's images are made, and the latent that it starts from."""
    if isinstance(image, Latent):
        source = domain.generator.decode(image, solver, steps).clamp(0, 1)
        return compose(source, None, masks), image
    if isinstance(image, Composition):
        assert latent is not None  # `_check_start` saw to it
        return replace(image, mask=masks), latent
    composition = compose(image, None, masks)
    latent = latent or domain.generator.encode(composition.source, solver, steps)
    if detail == SOURCE:
        baseline = domain.generator.decode(latent, solver, steps).float()
        composition = replace(composition, baseline=baseline)
    return composition, latent


def _decoded(
    domain: Models,
    latent: Latent,
    which: Tensor,
    alphas: Tensor,
    vector: Tensor,
    baselines: Sequence[Tensor | None],
    solver: str | None = None,
    steps: int | None = None,
) -> Tensor:
    """What latents decode to at positions (n,) of the images `which` (n,): (n, C, S, S).

    At position 0 that is the baseline, where there is one: it is not decoded again, and a picture
    composed there is the source, bit for bit.
    """
    known = torch.tensor([baselines[int(i)] is not None for i in which]) & (alphas == 0)
    moving = (~known).nonzero().flatten()
    parts: dict[int, Tensor] = {}
    if len(moving):
        start = latent[which[moving]]
        z_sem = start.z_sem + alphas[moving].to(start.z_sem)[:, None] * vector.to(start.z_sem)
        made = domain.generator.decode(start.with_z_sem(z_sem), solver, steps)
        parts = dict(zip(moving.tolist(), made.split(1), strict=True))
    for i in known.nonzero().flatten().tolist():
        baseline = baselines[int(which[i])]
        assert baseline is not None
        parts[i] = baseline.to(domain.device)
    return torch.cat([parts[i] for i in range(len(alphas))])


def probabilities_by_label(classifier: BlackBox, images: Tensor) -> list[dict[str, float]]:
    """Ask about images (N, C, h, w) in [0, 1]: for each, the probability of each label by name.

    Raises a GCDError if the classifier does not answer, BudgetExceeded if it may not.
    """
    logits = classifier(images)
    columns = [classifier.probability(logits, label).tolist() for label in classifier.labels]
    return [dict(zip(classifier.labels, row, strict=True)) for row in zip(*columns, strict=True)]


def _source_probabilities(domain: Models, composition: Composition) -> dict[str, float]:
    """The classifier's probability of each label for a source, of one query."""
    source = composition.source_for(domain.classifier)
    return probabilities_by_label(domain.classifier, source)[0]


def _vector(domain: Models, direction: Direction | Tensor) -> Tensor:
    """The direction as (D,); refused where its size is not the generator's."""
    vector = direction if isinstance(direction, Tensor) else direction.vector
    size = domain.generator.z_sem_size
    if tuple(vector.shape) != (size,):
        raise GCDError(
            f"The direction has the shape {tuple(vector.shape)}; {domain.name} has semantic codes "
            f"of {size} numbers, so find its directions in this domain."
        )
    if not bool(vector.isfinite().all()):
        raise GCDError("The direction holds something that is no number; find it again.")
    return vector.float()


def _positions(
    domain: Models,
    alphas: Tensor | None,
    n: int | None,
    both: bool,
    tolerance: float | None = None,
) -> Tensor:
    """The positions to visit (n,), unsigned unless given or both ways."""
    if tolerance is not None and not (
        alphas is not None and len(alphas) % 2 and bool((torch.as_tensor(alphas).diff() > 0).all())
    ):
        raise GCDError("A walk with a tolerance needs an odd number of ascending alphas.")
    if alphas is not None:
        alphas = torch.as_tensor(alphas, dtype=torch.float32).cpu()
        if alphas.ndim != 1 or not len(alphas) or not bool(alphas.isfinite().all()):
            raise GCDError("The alphas must be a list of one or more finite numbers.")
        return alphas
    if n is None:
        n = 2 * domain.walk_points - 1 if both else domain.walk_points
    if n < 2 or (both and n % 2 == 0):
        wanted = "an odd number from 3 on" if both else "2 or more"
        raise GCDError(f"A walk of {n} points is not possible; take {wanted}.")
    if both:
        half = torch.linspace(0, domain.alpha_max, n // 2 + 1)
        return torch.cat([-half[1:].flip(0), half])
    return torch.linspace(0, domain.alpha_max, n)
