"""Walking along a direction until the classifier changes its mind: CF loss, path, line search."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.generators.base import BatchProgress, Latent
from gcd_core.images.picture import Picture
from gcd_core.method.bisection import bisect_along
from gcd_core.method.composition import SOURCE, Composition, compose, resolve_detail, view_of
from gcd_core.method.counterfactual import check_counterfactual
from gcd_core.method.directions import Direction
from gcd_core.method.loss import flip_sign
from gcd_core.method.models import Models
from gcd_core.method.path import Path, ascending, composition_of, path_of
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


class Walk(NamedTuple):
    """One image and what it is walked along; see `walk_together`.

    Attributes
    ----------
    image, label, latent : as of `walk`
    directions : sequence of Direction or Tensor (D,)
        As `walk` takes one.
    """

    image: Tensor | Picture | Latent | Composition
    directions: Sequence[Direction | Tensor]
    label: str
    latent: Latent | None = None


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
    ((path,),) = walk_together(
        domain,
        [Walk(image, [direction], label, latent)],
        alphas=alphas,
        n=n,
        lam=lam,
        both=both,
        solver=solver,
        steps=steps,
        batch_size=batch_size,
        progress=progress,
        cancel=cancel,
        choice=choice,
        margin=margin,
        region=region,
        detail=detail,
        tolerance=tolerance,
    )
    return path


@torch.inference_mode()
def walk_together(
    domain: Models,
    walks: Sequence[Walk],
    *,
    alphas: Tensor | None = None,
    n: int | None = None,
    lam: float | None = None,
    both: bool = False,
    solver: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    progress: BatchProgress | None = None,
    cancel: Cancel | None = None,
    choice: str | None = None,
    margin: float | None = None,
    region: Tensor | None = None,
    detail: str | None = None,
    tolerance: float | None = None,
) -> list[list[Path]]:
    """Walk images along several directions each; the same paths as `walk` gives.

    The points of all images and directions are decoded in common batches, so that a GPU has enough
    to do.

    Parameters
    ----------
    domain : Models
    walks : sequence of Walk
    alphas, n, lam, both, solver, steps, batch_size, progress, cancel, choice, margin, region,
    detail, tolerance : optional
        As of `walk`, for all of them; progress counts the points of all.

    Returns
    -------
    list of list of Path
        For each walk one path for each direction.

    Raises
    ------
    GCDError, Cancelled
        As of `walk`.
    """
    for one in walks:
        check_label(domain, one.label)
        _check_start(domain, one.image, one.latent)
    check_steps(steps, batch_size)
    detail = resolve_detail(domain, detail)
    ways = [(k, way) for k, one in enumerate(walks) for way in one.directions]
    owners = torch.tensor([k for k, _ in ways])
    vectors = torch.stack([_vector(domain, way) for _, way in ways])
    masks, positions = check_region(domain, region), _positions(domain, alphas, n, both, tolerance)
    choice, margin = resolve_counterfactual(domain, choice, margin)
    own = [_start(domain, one, masks, detail, solver, steps) for one in walks]
    latents = Latent(
        torch.cat([start.latent.z_sem for start in own]),
        torch.cat([start.latent.z_T for start in own]),
    )

    def asked(which: Tensor, alphas: Tensor) -> list[Answers]:
        here, baselines = owners[which], [start.composition.baseline for start in own]
        decoded = _decoded(domain, latents, here, alphas, vectors[which], baselines, solver, steps)
        return _answers(domain, decoded, here, own)

    in_turn = _Batches(asked, batch_size or default_batch_size(domain), progress, cancel)
    along = positions.expand(len(ways), -1)
    if alphas is None and not both:  # + 0.0 turns the -0.0 of a walk down into 0.0
        signs = torch.tensor([flip_sign(start.before[start.label]) for start in own])
        along = signs[owners, None] * positions + 0.0

    def through(i: int, alphas: Tensor, answers: list[Answers]) -> Path:
        way, start = ways[i][1], own[ways[i][0]]
        name = "direction" if isinstance(way, Tensor) else way.name
        before, label = start.before, start.label
        place = domain, label, name, start.composition, before[label], alphas, answers, lam
        return replace(path_of(*place), choice=choice, margin=margin, source_probabilities=before)

    paths = _points(in_turn, through, along, tolerance)
    paths = bisect_along(domain, paths, in_turn.asked, lam, in_turn.told, cancel)
    return [[paths[i] for i in (owners == k).nonzero().flatten()] for k in range(len(walks))]


def _answers(
    domain: Models, decoded: Tensor, owners: Tensor, starts: Sequence[_Start]
) -> list[Answers]:
    """Ask about decoded images (n, C, S, S), each of the start that `owners` (n,) names."""
    found: dict[int, Answers] = {}
    for k in owners.unique().tolist():
        rows = (owners == k).nonzero().flatten()
        start = starts[k]
        answers = ask_about(domain, decoded[rows], start.composition, start.label)
        found |= dict(zip(rows.tolist(), answers.split(), strict=True))
    return [found[i] for i in range(len(owners))]


def _points(
    in_turn: _Batches,
    through: Callable[[int, Tensor, list[Answers]], Path],
    along: Tensor,
    tolerance: float | None,
) -> list[Path]:
    """The paths of directions through positions (k, n) each, with a tolerance as `walk` says."""
    first = along if tolerance is None else along[:, ::2]
    which = torch.arange(len(first)).repeat_interleave(first.shape[1])
    found = in_turn(which, first.flatten())
    paths = [through(i, first[i], one) for i, one in enumerate(found)]
    if tolerance is None:
        return paths
    which, steps = torch.stack([_is_steep(path, tolerance) for path in paths]).nonzero().T
    rest = along[which, 2 * steps + 1]
    for i, more in enumerate(in_turn(which, rest)):
        positions = torch.cat([first[i], rest[which == i]])
        paths[i] = ascending(through(i, positions, found[i] + more))
    return paths


class _Batches:
    """Asks about positions on several directions, so many at a time.

    Parameters
    ----------
    asked : callable
        Takes the indices (n,) of directions and a position (n,) on each; returns n answers.
    size, progress, cancel
        As of `walk`.
    """

    def __init__(
        self,
        asked: Callable[[Tensor, Tensor], list[Answers]],
        size: int,
        progress: BatchProgress | None,
        cancel: Cancel | None,
    ) -> None:
        self.asked, self._size, self._progress, self._cancel = asked, size, progress, cancel
        self._done = 0

    def __call__(self, which: Tensor, alphas: Tensor) -> list[list[Answers]]:
        """Return the answers about each direction, up to the last one that is named."""
        found: list[list[Answers]] = [[] for _ in range(int(which.max()) + 1 if len(which) else 0)]
        total = self._done + len(alphas)
        for here in torch.arange(len(alphas)).split(self._size) if len(alphas) else ():
            if self._cancel is not None and self._cancel.is_set():
                raise Cancelled
            for i, answers in zip(
                which[here].tolist(), self.asked(which[here], alphas[here]), strict=True
            ):
                found[i].append(answers)
            self._done += len(here)
            if self._progress is not None:
                self._progress(self._done, total)
        return found

    def told(self, done: int, total: int) -> None:
        """Tell of what is done after all positions."""
        if self._progress is not None:
            self._progress(self._done + done, self._done + total)


def _is_steep(path: Path, tolerance: float) -> Tensor:
    """Which steps (n - 1,) between neighbours need the position in between, as `walk` says."""
    steep = path.probabilities.diff().abs() > tolerance
    for side in (path.is_flipped, path.is_convincing):
        steep = steep | (side[1:] != side[:-1])
    return steep


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
        baselines = [composition_of(path).baseline for path in paths]
        decoded = _decoded(domain, latent, which, alphas, vector, baselines, solver, steps)
        return [
            ask_about(domain, own, composition_of(paths[int(i)]), paths[int(i)].label)
            for i, own in zip(which, decoded.split(1), strict=True)
        ]

    return bisect_along(domain, paths, answers_at, lam, progress, cancel)


def resolve_counterfactual(
    domain: Models, choice: str | None, margin: float | None
) -> tuple[str, float]:
    """Return choice and margin, the domain's where they are None; refuse what does not exist."""
    choice = domain.counterfactual if choice is None else choice
    margin = domain.margin if margin is None else margin
    check_counterfactual(choice, margin)
    return choice, margin


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


class _Start(NamedTuple):
    """Where a walk starts: how its images are made, its latent, and what the classifier says."""

    composition: Composition
    latent: Latent
    label: str
    before: dict[str, float]  # the source's probabilities by label


def _start(
    domain: Models,
    walk: Walk,
    masks: Tensor | None,
    detail: str,
    solver: str | None,
    steps: int | None,
) -> _Start:
    """Where a walk starts; of one query."""
    composition, latent = _composed(domain, walk, masks, detail, solver, steps)
    return _Start(composition, latent, walk.label, _source_probabilities(domain, composition))


def _composed(
    domain: Models,
    walk: Walk,
    masks: Tensor | None,
    detail: str,
    solver: str | None,
    steps: int | None,
) -> tuple[Composition, Latent]:
    """How a walk's images are made, and the latent that it starts from."""
    image, latent = walk.image, walk.latent
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
    vectors: Tensor,
    baselines: Sequence[Tensor | None],
    solver: str | None = None,
    steps: int | None = None,
) -> Tensor:
    """What latents decode to at positions (n,) of the images `which` (n,): (n, C, S, S).

    Along one vector (D,), or a vector (n, D) for each.

    At position 0 that is the baseline, where there is one: it is not decoded again, and a picture
    composed there is the source, bit for bit.
    """
    known = torch.tensor([baselines[int(i)] is not None for i in which]) & (alphas == 0)
    moving = (~known).nonzero().flatten()
    parts: dict[int, Tensor] = {}
    if len(moving):
        start = latent[which[moving]]
        along = vectors.expand(len(alphas), -1)[moving.to(vectors.device)].to(start.z_sem)
        z_sem = start.z_sem + alphas[moving].to(start.z_sem)[:, None] * along
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
