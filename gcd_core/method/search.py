"""find_directions: the way in, and the paper's search around one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Unpack

import torch
from torch import Tensor

from gcd_core.errors import Cancel, GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.method.composition import SOURCE, Composition, compose
from gcd_core.method.directions import DirectionSet, derive_directions
from gcd_core.method.loss import flip_sign
from gcd_core.method.models import Models
from gcd_core.method.perturbation import (
    Answers,
    ask_about,
    check_label,
    check_source,
    default_batch_size,
    sample_ball,
)
from gcd_core.method.prior_search import find_over_codes
from gcd_core.method.proxy import FittedProxy
from gcd_core.method.region import check_region
from gcd_core.method.samples import Question, Samples, check_resume
from gcd_core.method.search_run import Found, Progress, SearchRun, ending
from gcd_core.method.settings import BALL, IMAGES, SettingChanges, Settings

DRAWN_TOGETHER = 128  # perturbations; more samples begin with the same ones
BOUNDARY_POINTS = 16  # pictures decoded on the way there


def find_directions(
    domain: Models,
    image: Tensor | Picture | None = None,
    label: str | None = None,
    n_samples: int | None = None,
    *,
    images: Sequence[Tensor | Picture] | None = None,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Cancel | None = None,
    resume: Samples | None = None,
    region: Tensor | None = None,
    detail: str | None = None,
    **changes: Unpack[SettingChanges],
) -> Found:
    """Find global counterfactual directions (Algorithms 1 and 2, Eqs. 3 and 4).

    With `sampling` "prior" or "images" no source image is needed: the mean slope of the logit over
    codes as the domain's images have them is learned (`fit_mean_slope`), in doublings from 32
    answers on, until it has settled. With "ball" the code of one image is perturbed, as in the
    paper. The same seed and settings give the same directions, bit for bit, on the same machine.

    Parameters
    ----------
    domain : Models
        Left as it is, but for its counters.
    image : Tensor (1, C, S, S) or Picture, optional
        The one source image, in [0, 1]; needed for the ball. Otherwise the directions are also
        tried on it.
    label : str, optional
        The label of the classifier to explain; may be left out where there is one.
    n_samples : int, optional
        Codes to decode and ask about, at most; at least 9. By default the settings'.
    images : sequence of Tensor (1, C, S, S) or Picture, optional
        For `sampling` "images": 16 or more, asked as they are.
    settings : Settings, optional
        By default the domain's.
    progress : callable, optional
        Called with a `Progress` after each batch and epoch.
    cancel : optional
        Such as a `threading.Event`: its `is_set()` is asked before each batch and epoch.
    resume : Samples, optional
        Samples of an earlier search of the same image with the same settings; only what is missing
        from them is asked. `n_samples`, `n_h`, `n_ways`, `lam`, `batch_size` and `settle` may
        differ; with `boundary`, not `lam`, nor `n_samples` below 512.
    region : Tensor (S, S), optional
        A mask of where the picture may change; elsewhere the source's own pixels stay, bit for bit
        (`in_region`). Classifier and LPIPS see the two put together. Searched in the ball.
    detail : {"source", "decoded"}, optional
        Whether the classifier is shown the source with the generator's change put in, or the
        decoded images, as in the paper; by default the domain's. See `Composition`.
    **changes
        Settings by name, in the place of those of `settings`: `sampling`, `n_h`, `radius`, `lam`,
        `seed`, `solver`, `steps`, `batch_size`, `antithetic`, `boundary`, `n_ways`, `settle`; see
        `Settings`. None changes nothing.

    Returns
    -------
    Found

    Raises
    ------
    GCDError
        If a setting does not fit, before any work is done.
    SearchCancelled
        If `cancel` is set; a `Cancelled` too.
    SearchFailed
        If a classifier or the proxy cannot go on; a `GCDError` too. Any other error on the way is
        raised as a `SearchInterrupted`. All three hold what was asked until then.

    Examples
    --------
    >>> found = find_directions(domain, label="pneumonia", n_samples=64)
    >>> found.directions.names
    ['g']
    """
    settings = (settings or domain.search).changed(n_samples=n_samples, **changes)
    if label is None:
        if len(domain.labels) > 1:
            raise GCDError(f"Say which label to explain: one of {list(domain.labels)}.")
        label = domain.labels[0]
    check_label(domain, label)
    if images is not None and changes.get("sampling") is None:
        settings = settings.changed(sampling=IMAGES)
    if region is not None and changes.get("sampling") is None:
        settings = settings.changed(sampling=BALL)
    settings.check(domain.generator.z_sem_size)
    for given in (*([] if image is None else [image]), *(images or ())):
        check_source(domain, given)
    if settings.sampling == BALL:
        return _around(domain, image, label, settings, progress, cancel, resume, region, detail)
    if region is not None:
        raise GCDError("A region is searched in the ball around one image: take sampling 'ball'.")
    question = Question.of(domain, label, settings)
    if resume is not None:
        check_resume(resume, question)
    run = SearchRun(domain, progress, cancel, resume)
    with ending(run):
        return find_over_codes(run, question, settings, image, images, detail)


def _around(
    domain: Models,
    image: Tensor | Picture | None,
    label: str,
    settings: Settings,
    progress: Callable[[Progress], None] | None,
    cancel: Cancel | None,
    resume: Samples | None,
    region: Tensor | None,
    detail: str | None,
) -> Found:
    """Search the ball around one image's code; the parameters are those of `find_directions`."""
    if image is None:
        raise GCDError("A search in the ball starts from one image: give one, or another sampling.")
    masks = check_region(domain, region)
    question = Question.of(domain, label, settings, masks, detail)
    composition = compose(image, None, masks)
    if resume is not None:
        check_resume(resume, question, composition.source)
    run = _BallRun(domain, progress, cancel, resume, composition)
    with ending(run):
        samples, fitted = run.settled(question, settings)
        names, vectors, eigenvalues = run.derive(samples, fitted, settings, settings.n_h)
        statistics = domain.code_statistics(label)
        if statistics.n_images:  # from filter to pattern, as `MeanSlope.direction` does
            vectors[0] = statistics.covariance @ vectors[0]
            vectors[0] /= vectors[0].norm()
        run.report("directions", len(names), len(names))
        metadata = run.metadata(question, settings, samples, fitted)
        directions = DirectionSet(
            names, vectors, metadata, eigenvalues, samples.centre, fitted.proxy
        )
        return run.found(directions, samples, fitted)


class _BallRun(SearchRun):
    """A search in the ball under way; `composition` says how decoded images are shown."""

    def __init__(
        self,
        domain: Models,
        progress: Callable[[Progress], None] | None,
        cancel: Cancel | None,
        samples: Samples | None,
        composition: Composition,
    ) -> None:
        super().__init__(domain, progress, cancel, samples)
        self.composition = composition

    @property
    def source(self) -> Latent:
        """The source's codes."""
        assert self.samples is not None and self.samples.latent is not None
        return self.samples.latent

    def sample(self, question: Question, n: int, batch_size: int) -> Samples:
        """Encode, perturb and ask, as far as that has not been done (Algorithm 1)."""
        if self.samples is None:
            self.stop_if_cancelled()
            self.report("encode", 0, 1)
            self.samples = _encoded(self.domain, self.composition, question)
            self.report("encode", 1, 1)
        source = self.source.z_sem.cpu()
        z_sem = source + _perturbations(question, n, source.shape[1])
        if self.samples.boundary is not None:
            z_sem[question.first :] += self.samples.boundary - source
        return self.ask(z_sem, batch_size, lambda _, batch: self.answers(question, batch))

    def answers(self, question: Question, z_sem: Tensor) -> Answers:
        """Decode codes (n, D) and ask about them."""
        latent = self.source.to(self.domain.device)
        generator, solver, steps = self.domain.generator, question.solver, question.steps
        if question.detail == SOURCE and self.composition.baseline is None:
            baseline = generator.decode(latent, solver, steps).float()
            self.composition = replace(self.composition, baseline=baseline)
        decoded = generator.decode(latent.with_z_sem(z_sem.to(latent.z_sem)), solver, steps)
        return ask_about(self.domain, decoded, self.composition, question.label)

    def settled(self, question: Question, settings: Settings) -> tuple[Samples, FittedProxy]:
        """The samples and the proxy that the directions are read off.

        All samples are asked at once; or in doublings, until g has settled.
        """
        batch_size = settings.batch_size or default_batch_size(self.domain)
        before = None
        for n in _stages(settings, question):
            if question.first is not None and n > question.first:
                self.move_to_boundary(question, settings, batch_size)
            samples = self.sample(question, n, batch_size)
            fitted = self.fit(samples, settings.lam, question.radius)
            self.stop_if_cancelled()
            if settings.settle is not None:
                _, (g,), _ = self.derive(samples, fitted, settings, n_h=0)
                if before is not None and before @ g >= settings.settle:
                    break
                before = g
        return samples, fitted

    def move_to_boundary(self, question: Question, settings: Settings, batch_size: int) -> None:
        """Move the source to the decision boundary along a first g, unless that has been done.

        The boundary is where the logit crosses 0 between two of the pictures decoded on the way; a
        walk that ends before it stops where the logit is nearest to 0.
        """
        assert question.first is not None
        if self.samples is not None and self.samples.boundary is not None:
            return
        samples = self.sample(question, question.first, batch_size)
        _, (g,), _ = self.derive(
            samples, self.fit(samples, settings.lam, question.radius), settings, n_h=0
        )
        self.stop_if_cancelled()
        self.report("carry", 0, BOUNDARY_POINTS)
        toward = flip_sign(_probability(samples))
        alphas = toward * torch.linspace(0, self.domain.alpha_max, BOUNDARY_POINTS)
        start = self.source.z_sem.cpu()
        answers = self.answers(question, start + alphas[:, None] * g)
        alpha = _crossing(alphas, answers.logits)
        assert self.samples is not None
        self.samples = replace(self.samples, boundary=start + alpha * g)
        self.report("carry", BOUNDARY_POINTS, BOUNDARY_POINTS)

    @staticmethod
    def derive(
        samples: Samples, fitted: FittedProxy, settings: Settings, n_h: int
    ) -> tuple[list[str], Tensor, list[float | None]]:
        """Names, vectors and eigenvalues of g and `n_h` h-directions (Eqs. 3 and 4)."""
        sign, radius = flip_sign(_probability(samples)), samples.question.radius
        return derive_directions(fitted.proxy, samples.centre, sign, settings.lam, n_h, radius)


def _encoded(domain: Models, composition: Composition, question: Question) -> Samples:
    """The source image's codes and probability, with no sample yet."""
    image = composition.source
    latent = domain.generator.encode(image, question.solver, question.steps)
    logits = domain.classifier(composition.source_for(domain.classifier))
    probability = float(domain.classifier.probability(logits, question.label))
    none = torch.empty(0)
    z_sem = torch.empty(0, latent.z_sem.shape[1])
    return Samples(question, image, latent, probability, z_sem, logits=none, distances=none)


def _probability(samples: Samples) -> float:
    """The source's probability; a search in the ball has one."""
    assert samples.source_probability is not None
    return samples.source_probability


def _crossing(alphas: Tensor, logits: Tensor) -> float:
    """Where between the first two alphas (n,) of unlike sides the logits (n,) cross 0, linearly.

    Without a crossing, the alpha whose logit is nearest to 0.
    """
    sides = logits >= 0
    crossed = (sides[1:] != sides[:-1]).nonzero().flatten()
    if not len(crossed):
        return float(alphas[logits.abs().argmin()])
    i = int(crossed[0])
    share = logits[i] / (logits[i] - logits[i + 1])
    return float(alphas[i] + share * (alphas[i + 1] - alphas[i]))


def _stages(settings: Settings, question: Question) -> list[int]:
    """How many samples to have, time after time: all, or 128, 256, ... and at last all.

    Where the first ones serve to move the source, only numbers beyond theirs.
    """
    if settings.settle is None:
        return [settings.n_samples]
    sizes = [DRAWN_TOGETHER]
    while sizes[-1] < settings.n_samples:
        sizes.append(2 * sizes[-1])
    return [*(size for size in sizes[:-1] if size > (question.first or 0)), settings.n_samples]


def _perturbations(question: Question, n: int, dim: int) -> Tensor:
    """The first n perturbations (n, D) of a seed; more of them begin with the same ones."""
    generator = torch.Generator().manual_seed(question.seed)
    blocks = [
        sample_ball(DRAWN_TOGETHER, dim, question.radius, generator, question.antithetic)
        for _ in range(math.ceil(n / DRAWN_TOGETHER))
    ]
    return torch.cat(blocks)[:n]
