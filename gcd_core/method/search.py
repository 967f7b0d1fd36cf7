"""find_directions: perturb one image, ask the classifier, fit the proxy, take its derivatives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor

from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.method.composition import DECODED, SOURCE, Composition, compose, resolve_detail
from gcd_core.method.directions import DirectionSet, derive_directions
from gcd_core.method.independent_directions import (
    INNER_REACH,
    PLANE_REACH,
    SampleSplit,
    active_subspace,
    independent_ways,
    inner_offsets,
    plane_offsets,
)
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
from gcd_core.method.proxy import FittedProxy, fit_proxy
from gcd_core.method.region import check_region, region_identity
from gcd_core.method.settings import SettingChanges, Settings

DRAWN_TOGETHER = 128  # perturbations; more samples begin with the same ones
FIRST_SAMPLES = 256  # at most, around the source, before it moves to the decision boundary
BOUNDARY_POINTS = 16  # pictures decoded on the way there
MIN_LOGIT_STD = 0.05  # log-odds; below it a classifier reads nothing beside g


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes
    ----------
    stage : {"encode", "perturb", "proxy", "carry", "directions"}
        In this order; with `settle`, `boundary` or `n_ways` a search comes back to "perturb".
    done, total : int
        Images encoded, samples asked about, epochs (of at most `total`), pictures on the way to the
        decision boundary, or directions.
    eta : float or None
        Seconds that the stage will take at its present rate; None where that is not known.
    evaluations, queries : int
        The generator's network evaluations and the classifier's queries of this search so far.
    images : Tensor (N, C, H, W) or None
        The newest perturbed images; with their `probabilities` (N,) of the label and
        `distances` (N,) to the source.
    train_losses, validation_losses : list of float or None
        The proxy's so far.
    """

    stage: str
    done: int
    total: int
    eta: float | None
    evaluations: int
    queries: int
    images: Tensor | None = None
    probabilities: Tensor | None = None
    distances: Tensor | None = None
    train_losses: list[float] | None = None
    validation_losses: list[float] | None = None


@dataclass(frozen=True)
class Question:
    """What decides every sample's answer: two searches that agree in it can share samples.

    `first` is how many samples lie around the source before it moves to the decision boundary,
    by a proxy that `lam` was the weight of; both are None where it stays where it is. `ball` is how
    many lie in the ball, and `plane` how many in the plane orthogonal to the g of those, before the
    rest is drawn along the axes that the classifier reads there; both are None where all lie in the
    ball. `region` is the identity of the mask that changes are confined to; None for none. `detail`
    says what the classifier was shown; see `Composition`.
    """

    label: str
    radius: float
    seed: int
    antithetic: bool
    solver: str | None
    steps: int | None
    generator: str
    classifier: str
    perceptual: str
    first: int | None = None
    lam: float | None = None
    ball: int | None = None
    plane: int | None = None
    region: str | None = None
    detail: str = DECODED

    @classmethod
    def of(
        cls,
        domain: Models,
        label: str,
        settings: Settings,
        masks: Tensor | None = None,
        detail: str | None = None,
    ) -> Question:
        """The question that a search with these settings asks."""
        parts = SampleSplit.of(settings.n_samples) if settings.n_ways else None
        in_ball = parts.ball if parts else settings.n_samples
        return cls(
            label=label,
            radius=float(settings.radius),
            seed=settings.seed,
            antithetic=settings.antithetic,
            solver=settings.solver,
            steps=settings.steps,
            generator=domain.generator.identity,
            classifier=domain.classifier.identity,
            perceptual=domain.perceptual.identity,
            first=min(FIRST_SAMPLES, in_ball // 2) if settings.boundary else None,
            lam=float(settings.lam) if settings.boundary or settings.n_ways else None,
            ball=parts.ball if parts else None,
            plane=parts.plane if parts else None,
            region=region_identity(masks),
            detail=resolve_detail(domain, detail),
        )


@dataclass(frozen=True)
class Samples:
    """What a search has asked so far; pass it as `resume` to go on without asking again.

    Attributes
    ----------
    question : Question
    image : Tensor (1, C, H, W)
        The source.
    latent : Latent
        The source's codes.
    source_probability : float
        The classifier's for the source image.
    z_sem : Tensor (N, D)
        The perturbed codes asked about.
    logits, distances : Tensor (N,)
        The label's log-odds, and LPIPS to the source.
    boundary : Tensor (1, D) or None
        Where the decision boundary was met, once the source has moved there.
    """

    question: Question
    image: Tensor
    latent: Latent
    source_probability: float
    z_sem: Tensor
    logits: Tensor
    distances: Tensor
    boundary: Tensor | None = None

    @property
    def centre(self) -> Tensor:
        """The code (1, D) that the newest samples lie around, where derivatives are taken."""
        return self.latent.z_sem.cpu() if self.boundary is None else self.boundary

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: slice) -> Samples:
        """Return a part of the samples."""
        return replace(
            self,
            z_sem=self.z_sem[rows],
            logits=self.logits[rows],
            distances=self.distances[rows],
        )

    def joined(self, z_sem: Tensor, answers: Answers) -> Samples:
        """Return the samples with a batch more."""
        return replace(
            self,
            z_sem=torch.cat([self.z_sem, z_sem]),
            logits=torch.cat([self.logits, answers.logits]),
            distances=torch.cat([self.distances, answers.distances]),
        )


@dataclass(frozen=True)
class Found:
    """What a search found, and what it cost.

    Attributes
    ----------
    directions : DirectionSet
    samples : Samples
        For another search with more samples, or other `lam` and `n_h`.
    proxy : FittedProxy
    latent : Latent
        The source's codes.
    evaluations, queries : int
        Network evaluations of the generator and queries of the classifier.
    seconds : float
    """

    directions: DirectionSet
    samples: Samples
    proxy: FittedProxy
    latent: Latent
    evaluations: int
    queries: int
    seconds: float


class SearchInterrupted(Exception):
    """A search that ended before it found directions; the error that ended it is `__cause__`.

    Attributes
    ----------
    samples : Samples or None
        What was asked until then, for `resume`; None where nothing was.
    """

    def __init__(self, message: str, samples: Samples | None = None) -> None:
        super().__init__(message)
        self.samples = samples


class SearchCancelled(SearchInterrupted, Cancelled):
    """The user asked for the search to stop."""


class SearchFailed(SearchInterrupted, GCDError):
    """The search cannot go on, for a reason that the user can mend; the message says which."""


def find_directions(
    domain: Models,
    image: Tensor | Picture,
    label: str,
    n_samples: int | None = None,
    *,
    settings: Settings | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancel: Cancel | None = None,
    resume: Samples | None = None,
    region: Tensor | None = None,
    detail: str | None = None,
    **changes: Unpack[SettingChanges],
) -> Found:
    """Find global counterfactual directions from one image (Algorithms 1 and 2, Eqs. 3 and 4).

    The same seed and settings give the same directions, bit for bit, on the same machine.

    Parameters
    ----------
    domain : Models
        Left as it is, but for its counters.
    image : Tensor (1, C, S, S) or Picture
        The one source image, in [0, 1].
    label : str
        The label of the classifier to explain.
    n_samples : int, optional
        Perturbations to decode and ask about; at least 9. By default the settings'.
    settings : Settings, optional
        By default the domain's.
    progress : callable, optional
        Called with a `Progress` after each batch and epoch.
    cancel : optional
        Such as a `threading.Event`: its `is_set()` is asked before each batch and epoch.
    resume : Samples, optional
        Samples of an earlier search of the same image with the same settings; only what is missing
        from them is asked. `n_samples`, `n_h`, `n_ways`, `max_cosine`, `lam`, `batch_size` and
        `settle` may differ; with `boundary`, not `lam`, nor `n_samples` below 512. Those in the
        ball always serve; those that an earlier search for ways drew elsewhere, only where
        `n_samples` and `lam` are the same.
    region : Tensor (S, S), optional
        A mask of where the picture may change; elsewhere the source's own pixels stay, bit for bit
        (`in_region`). Classifier and LPIPS see the two put together.
    detail : {"source", "decoded"}, optional
        Whether the classifier is shown the source with the generator's change put in, or the
        decoded images, as in the paper; by default the domain's. See `Composition`.
    **changes
        Settings by name, in the place of those of `settings`: `n_h`, `radius`, `lam`, `seed`,
        `solver`, `steps`, `batch_size`, `antithetic`, `boundary`, `n_ways`, `max_cosine`,
        `settle`; see `Settings`. None changes nothing.

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
    >>> found = find_directions(domain, image, label="pneumonia", n_samples=1024, n_h=8, seed=0)
    >>> found.directions.names
    ['g', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'h7', 'h8']
    """
    settings = (settings or domain.search).changed(n_samples=n_samples, **changes)
    settings.check(domain.generator.z_sem_size)
    check_label(domain, label)
    check_source(domain, image)
    masks = check_region(domain, region)
    question = Question.of(domain, label, settings, masks, detail)
    composition = compose(image, None, masks)
    if resume is not None:
        _check_resume(resume, question, composition.source)

    run = _Run(domain, progress, cancel, resume and _shared(resume, question), composition)
    try:
        samples, fitted = run.settled(question, settings)
        ways = torch.empty(0, samples.z_sem.shape[1])
        if settings.n_ways:
            samples, fitted, ways = run.ways(question, settings, samples, fitted)
        names, vectors, eigenvalues = run.derive(samples, fitted, settings, settings.n_h)
        names += [f"w{i + 1}" for i in range(len(ways))]
        vectors, eigenvalues = torch.cat([vectors, ways]), eigenvalues + [None] * len(ways)
        run.report("directions", len(names), len(names))
    except Cancelled:
        raise SearchCancelled("The search was cancelled.", run.samples) from None
    except (GCDError, OSError) as error:
        raise SearchFailed(str(error), run.samples) from error
    except Exception as error:
        raise SearchInterrupted(str(error), run.samples) from error
    metadata = _metadata(domain, question, settings, samples, fitted, run)
    return Found(
        directions=DirectionSet(
            names, vectors, metadata, eigenvalues, samples.centre, fitted.proxy
        ),
        samples=samples,
        proxy=fitted,
        latent=samples.latent,
        evaluations=run.evaluations,
        queries=run.queries,
        seconds=run.seconds,
    )


class _Run:
    """One search under way: what it has asked, what it cost, whom it tells."""

    def __init__(
        self,
        domain: Models,
        progress: Callable[[Progress], None] | None,
        cancel: Cancel | None,
        samples: Samples | None,
        composition: Composition,
    ) -> None:
        self.domain, self.samples, self.composition = domain, samples, composition
        self._progress, self._cancel = progress, cancel
        self._began = time.perf_counter()
        self._evaluations = domain.generator.evaluations
        self._queries = domain.classifier.queries

    @property
    def evaluations(self) -> int:
        return self.domain.generator.evaluations - self._evaluations

    @property
    def queries(self) -> int:
        return self.domain.classifier.queries - self._queries

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def stop_if_cancelled(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled

    def report(
        self, stage: str, done: int, total: int, eta: float | None = None, **news: Any
    ) -> None:
        if self._progress is not None:
            self._progress(
                Progress(stage, done, total, eta, self.evaluations, self.queries, **news)
            )

    def sample(self, question: Question, n: int, batch_size: int) -> Samples:
        """Encode, perturb and ask, as far as that has not been done (Algorithm 1)."""
        if self.samples is None:
            self.stop_if_cancelled()
            self.report("encode", 0, 1)
            self.samples = _encoded(self.domain, self.composition, question)
            self.report("encode", 1, 1)
        source = self.samples.latent.z_sem.cpu()
        z_sem = source + _perturbations(question, n, source.shape[1])
        if self.samples.boundary is not None:
            z_sem[question.first :] += self.samples.boundary - source
        return self.ask(question, z_sem, batch_size)

    def answers(self, question: Question, z_sem: Tensor) -> Answers:
        """Decode codes (n, D) and ask about them."""
        assert self.samples is not None
        latent = self.samples.latent.to(self.domain.device)
        generator, solver, steps = self.domain.generator, question.solver, question.steps
        if question.detail == SOURCE and self.composition.baseline is None:
            baseline = generator.decode(latent, solver, steps).float()
            self.composition = replace(self.composition, baseline=baseline)
        decoded = generator.decode(latent.with_z_sem(z_sem.to(latent.z_sem)), solver, steps)
        return ask_about(self.domain, decoded, self.composition, question.label)

    def ask(self, question: Question, z_sem: Tensor, batch_size: int) -> Samples:
        """Ask about those of the codes (n, D) that have not been asked about yet."""
        assert self.samples is not None
        already, n, began = len(self.samples), len(z_sem), time.perf_counter()
        for start in range(already, n, batch_size):
            self.stop_if_cancelled()
            batch = z_sem[start : min(start + batch_size, n)]
            answers = self.answers(question, batch)
            self.samples = self.samples.joined(batch, answers)
            done = len(self.samples)
            pace = (time.perf_counter() - began) / (done - already)
            self.report(
                "perturb",
                done,
                n,
                pace * (n - done),
                images=answers.images,
                probabilities=answers.probabilities[
                    :, self.domain.classifier.index(question.label)
                ],
                distances=answers.distances,
            )
        return self.samples[:n]

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
            fitted = self.fit(samples, settings.lam)
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
        _, (g,), _ = self.derive(samples, self.fit(samples, settings.lam), settings, n_h=0)
        self.stop_if_cancelled()
        self.report("carry", 0, BOUNDARY_POINTS)
        toward = flip_sign(samples.source_probability)
        alphas = toward * torch.linspace(0, self.domain.alpha_max, BOUNDARY_POINTS)
        start = samples.latent.z_sem.cpu()
        answers = self.answers(question, start + alphas[:, None] * g)
        alpha = _crossing(alphas, answers.logits)
        assert self.samples is not None
        self.samples = replace(self.samples, boundary=start + alpha * g)
        self.report("carry", BOUNDARY_POINTS, BOUNDARY_POINTS)

    def ways(
        self,
        question: Question,
        settings: Settings,
        samples: Samples,
        fitted: FittedProxy,
    ) -> tuple[Samples, FittedProxy, Tensor]:
        """Independent ways (k, D) beside g, as many as are seen and the settings want.

        With all samples, and the proxy fitted to all of them. Where nothing is read beside g, the
        last quarter of the samples is not asked about.
        """
        assert question.ball is not None and question.plane is not None
        batch_size = settings.batch_size or default_batch_size(self.domain)
        alpha_max, seed, centre = self.domain.alpha_max, question.seed, samples.centre
        _, (g,), _ = self.derive(samples, fitted, settings, n_h=0)
        plane = centre + plane_offsets(question.plane, g, question.radius, seed)
        samples = self.ask(question, torch.cat([samples.z_sem, plane]), batch_size)
        beside = samples[question.ball :]
        if beside.logits.std() < MIN_LOGIT_STD:  # the rest of the samples is spared
            return samples, self.fit(samples, settings.lam), torch.empty(0, len(g))
        read = active_subspace(self.fit(beside, 0.0, PLANE_REACH * question.radius).proxy, plane, g)
        self.stop_if_cancelled()
        inner = centre + inner_offsets(settings.n_samples - len(samples), read, g, alpha_max, seed)
        samples = self.ask(question, torch.cat([samples.z_sem, inner]), batch_size)
        chosen_on = self.fit(samples[-len(inner) :], 0.0, INNER_REACH * alpha_max).proxy
        fitted = self.fit(samples, settings.lam)
        self.stop_if_cancelled()
        axes = torch.cat([g[None], read])
        _, (g,), _ = self.derive(samples, fitted, settings, n_h=0)
        sign, margin = flip_sign(samples.source_probability), self.domain.margin
        ways = independent_ways(
            chosen_on,
            centre,
            g,
            sign,
            alpha_max,
            settings.n_ways,
            margin,
            settings.max_cosine,
            seed,
            axes,
        )
        return samples, fitted, ways

    @staticmethod
    def derive(
        samples: Samples, fitted: FittedProxy, settings: Settings, n_h: int
    ) -> tuple[list[str], Tensor, list[float | None]]:
        """Names, vectors and eigenvalues of g and `n_h` h-directions (Eqs. 3 and 4)."""
        sign, radius = flip_sign(samples.source_probability), samples.question.radius
        return derive_directions(fitted.proxy, samples.centre, sign, settings.lam, n_h, radius)

    def fit(self, samples: Samples, lam: float, radius: float | None = None) -> FittedProxy:
        """Train the proxy (Algorithm 2); by default on samples of the question's radius."""

        def report(done: int, total: int, train: list[float], validation: list[float]) -> None:
            self.report(
                "proxy",
                done,
                total,
                train_losses=list(train),
                validation_losses=list(validation),
            )

        return fit_proxy(
            samples.z_sem,
            samples.logits,
            samples.distances,
            samples.centre,
            radius or samples.question.radius,
            lam,
            samples.question.seed,
            report,
            self._cancel,
        )


def _encoded(domain: Models, composition: Composition, question: Question) -> Samples:
    """The source image's codes and probability, with no sample yet."""
    image = composition.source
    latent = domain.generator.encode(image, question.solver, question.steps)
    logits = domain.classifier(composition.source_for(domain.classifier))
    probability = float(domain.classifier.probability(logits, question.label))
    none = torch.empty(0)
    z_sem = torch.empty(0, latent.z_sem.shape[1])
    return Samples(question, image, latent, probability, z_sem, logits=none, distances=none)


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
    """How many samples in the ball to have, time after time: all, or 128, 256, ... and at last all.

    Where the first ones serve to move the source, only numbers beyond theirs.
    """
    if settings.settle is None:
        return [settings.n_samples if question.ball is None else question.ball]
    sizes = [DRAWN_TOGETHER]
    while sizes[-1] < settings.n_samples:
        sizes.append(2 * sizes[-1])
    return [*(size for size in sizes[:-1] if size > (question.first or 0)), settings.n_samples]


def _metadata(
    domain: Models,
    question: Question,
    settings: Settings,
    samples: Samples,
    fitted: FittedProxy,
    run: _Run,
) -> dict[str, Any]:
    """What a file of directions says of the search that found them; JSON can hold it."""
    return {
        "domain": domain.name,
        "label": question.label,
        "generator": question.generator,
        "classifier": question.classifier,
        "perceptual": question.perceptual,
        "seed": settings.seed,
        "source_probability": samples.source_probability,
        "settings": {
            "n_samples": len(samples),
            "n_h": settings.n_h,
            "radius": question.radius,
            "lam": float(settings.lam),
            "solver": question.solver,
            "steps": question.steps,
            "antithetic": question.antithetic,
            "boundary": settings.boundary,
            "n_ways": settings.n_ways,
            "max_cosine": float(settings.max_cosine),
            "detail": question.detail,
            **({"region": question.region} if question.region else {}),
        },
        "figures": {
            "evaluations": run.evaluations,
            "queries": run.queries,
            "proxy_validation_loss": min(fitted.validation_losses),
        },
    }


def _perturbations(question: Question, n: int, dim: int) -> Tensor:
    """The first n perturbations (n, D) of a seed; more of them begin with the same ones."""
    generator = torch.Generator().manual_seed(question.seed)
    blocks = [
        sample_ball(DRAWN_TOGETHER, dim, question.radius, generator, question.antithetic)
        for _ in range(math.ceil(n / DRAWN_TOGETHER))
    ]
    return torch.cat(blocks)[:n]


def _check_resume(resume: Samples, question: Question, image: Tensor) -> None:
    """Refuse samples that answer another question."""
    then, now = asdict(resume.question), asdict(question)
    apart = ("ball", "plane") if question.first is not None else ("ball", "plane", "lam")
    for name, value in now.items():
        if name in apart:
            continue
        if then[name] != value:
            raise GCDError(
                f"These samples were asked with {name} {then[name]!r}, not {value!r}; resume with "
                "the same, or search anew."
            )
    if not torch.equal(resume.image.cpu(), image.cpu()):
        raise GCDError("These samples belong to another image; resume with that, or search anew.")


def _shared(resume: Samples, question: Question) -> Samples:
    """Those samples of an earlier search that this question asks for too, as answers to it."""
    then = resume.question
    if (then.ball, then.plane, then.lam) == (question.ball, question.plane, question.lam):
        return resume
    balls = (then.ball, question.ball)
    return replace(
        resume[: min(ball for ball in (*balls, len(resume)) if ball is not None)],
        question=question,
    )
