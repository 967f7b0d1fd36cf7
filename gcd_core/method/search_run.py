"""A search under way: what it tells, what it costs, how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.generators.base import Latent
from gcd_core.method.directions import DirectionSet
from gcd_core.method.mean_slope import MeanSlope
from gcd_core.method.models import Models
from gcd_core.method.perturbation import Answers
from gcd_core.method.proxy import FittedProxy, fit_proxy
from gcd_core.method.samples import Question, Samples
from gcd_core.method.settings import BALL, Settings


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes
    ----------
    stage : {"encode", "perturb", "proxy", "carry", "directions", "verify"}
        In this order; a search in doublings, or to the boundary, comes back to "perturb".
    done, total : int
        Images encoded, samples asked about, epochs (of at most `total`), pictures on the way to the
        decision boundary, or directions.
    eta : float or None
        Seconds that the stage will take at its present rate; None where that is not known.
    evaluations, queries : int
        The generator's network evaluations and the classifier's queries of this search so far.
    known : int
        Answers of this search so far that took no query: kept ones, and those of `resume`.
    images : Tensor (N, C, H, W) or None
        The newest perturbed images; with their `probabilities` (N,) of the label and
        `distances` (N,) to the source.
    train_losses, validation_losses : list of float or None
        The proxy's so far.
    directions : DirectionSet or None
        Directions that can be used already, of the samples so far.
    """

    stage: str
    done: int
    total: int
    eta: float | None
    evaluations: int
    queries: int
    known: int = 0
    images: Tensor | None = None
    probabilities: Tensor | None = None
    distances: Tensor | None = None
    train_losses: list[float] | None = None
    validation_losses: list[float] | None = None
    directions: DirectionSet | None = None


@dataclass(frozen=True)
class Found:
    """What a search found, and what it cost.

    Attributes
    ----------
    directions : DirectionSet
    samples : Samples
        For another search with more samples, or other `lam` and `n_h`.
    proxy : FittedProxy
    latent : Latent or None
        The source's codes; None where codes were drawn from the domain's.
    evaluations, queries : int
        Network evaluations of the generator and queries of the classifier.
    seconds : float
    """

    directions: DirectionSet
    samples: Samples
    proxy: FittedProxy
    latent: Latent | None
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


@contextmanager
def ending(run: SearchRun) -> Iterator[None]:
    """Raise whatever ends a search as one of the errors that hold its samples."""
    try:
        yield
    except Cancelled:
        raise SearchCancelled("The search was cancelled.", run.samples) from None
    except (GCDError, OSError) as error:
        raise SearchFailed(str(error), run.samples) from error
    except Exception as error:
        raise SearchInterrupted(str(error), run.samples) from error


class CountedBlackBox:
    """A black box that also counts what one search asks of it, whatever others ask meanwhile.

    Everything else is the black box's own.

    Parameters
    ----------
    asked : BlackBox
    """

    def __init__(self, asked: BlackBox) -> None:
        self._asked, self.own_queries, self.own_hits = asked, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asked, name)

    def __call__(self, images: Tensor) -> Tensor:
        """Ask the black box, and count what was answered anew and from kept answers."""
        before, hits = self._asked.queries, self._asked.cache_hits
        try:
            return self._asked(images)
        finally:
            self.own_queries += self._asked.queries - before
            self.own_hits += self._asked.cache_hits - hits


class CountedModels:
    """A domain's models with a black box that counts (`CountedBlackBox`)."""

    def __init__(self, models: Models) -> None:
        self._models, self.classifier = models, CountedBlackBox(models.classifier)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._models, name)


class SearchRun:
    """One search under way: what it has asked, what it cost, whom it tells.

    Parameters
    ----------
    domain : Models
    progress : callable or None
        Called with a `Progress`.
    cancel : optional
        Its `is_set()` is asked.
    samples : Samples or None
        Those of an earlier search, to go on from.
    """

    def __init__(
        self,
        domain: Models,
        progress: Callable[[Progress], None] | None,
        cancel: Cancel | None,
        samples: Samples | None,
    ) -> None:
        counted = CountedModels(domain)
        self.domain, self._classifier = cast(Models, counted), counted.classifier
        self.samples, self.cancel = samples, cancel
        self._progress = progress
        self._began = time.perf_counter()
        self._evaluations = domain.generator.evaluations
        self._resumed = 0 if samples is None else len(samples)

    @property
    def evaluations(self) -> int:
        """Network evaluations of the generator so far."""
        return self.domain.generator.evaluations - self._evaluations

    @property
    def queries(self) -> int:
        """Queries of the classifier so far, of this search alone."""
        return self._classifier.own_queries

    @property
    def known(self) -> int:
        """Answers so far that took no query: kept ones, and those of the samples given."""
        return self._classifier.own_hits + self._resumed

    @property
    def seconds(self) -> float:
        """Since the search began."""
        return time.perf_counter() - self._began

    def stop_if_cancelled(self) -> None:
        """Raise `Cancelled` where the user asked for an end."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled

    def report(
        self, stage: str, done: int, total: int, eta: float | None = None, **news: Any
    ) -> None:
        """Tell where the search stands; `news` are further fields of `Progress`."""
        if self._progress is not None:
            self._progress(
                Progress(
                    stage, done, total, eta, self.evaluations, self.queries, self.known, **news
                )
            )

    def ask(
        self, codes: Tensor, batch_size: int, answers: Callable[[int, Tensor], Answers]
    ) -> Samples:
        """Ask about those of the codes (n, D) that have not been asked about yet.

        `answers(start, batch)` says what models say of a batch of codes (b, D), the first of which
        is the one of number `start`.
        """
        assert self.samples is not None
        label = self.domain.classifier.index(self.samples.question.label)
        already, n, began = len(self.samples), len(codes), time.perf_counter()
        for start in range(already, n, batch_size):
            self.stop_if_cancelled()
            batch = codes[start : min(start + batch_size, n)]
            said = answers(start, batch)
            self.samples = self.samples.joined(batch, said)
            done = len(self.samples)
            pace = (time.perf_counter() - began) / (done - already)
            self.report(
                "perturb",
                done,
                n,
                pace * (n - done),
                images=said.images,
                probabilities=said.probabilities[:, label],
                distances=said.distances,
            )
        return self.samples[:n]

    def fit(
        self, samples: Samples, lam: float, radius: float, linear: MeanSlope | None = None
    ) -> FittedProxy:
        """Train the proxy (Algorithm 2) around the samples' centre, beside a mean slope."""

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
            radius,
            lam,
            samples.question.seed,
            report,
            self.cancel,
            linear=linear,
        )

    def found(
        self,
        directions: DirectionSet,
        samples: Samples,
        proxy: FittedProxy,
    ) -> Found:
        """Return what was found, with what it cost."""
        return Found(
            directions=directions,
            samples=samples,
            proxy=proxy,
            latent=samples.latent,
            evaluations=self.evaluations,
            queries=self.queries,
            seconds=self.seconds,
        )

    def metadata(
        self, question: Question, settings: Settings, samples: Samples, fitted: FittedProxy
    ) -> dict[str, Any]:
        """What a file of directions says of the search that found them; JSON can hold it."""
        return {
            "domain": self.domain.name,
            "label": question.label,
            "generator": question.generator,
            "classifier": question.classifier,
            "perceptual": question.perceptual,
            "seed": settings.seed,
            "source_probability": samples.source_probability,
            "settings": {
                "sampling": question.sampling,
                "n_samples": len(samples),
                "n_h": settings.n_h,
                "n_ways": settings.n_ways,
                "lam": float(settings.lam),
                "solver": question.solver,
                "steps": question.steps,
                **_of_the_ball(question, settings),
            },
            "figures": {
                "evaluations": self.evaluations,
                "queries": self.queries,
                "proxy_validation_loss": min(fitted.validation_losses),
            },
        }


def _of_the_ball(question: Question, settings: Settings) -> dict[str, Any]:
    """Settings that mean something around one image only."""
    if question.sampling != BALL:
        return {}
    return {
        "radius": question.radius,
        "antithetic": question.antithetic,
        "boundary": settings.boundary,
        "detail": question.detail,
        **({"region": question.region} if question.region else {}),
    }
