"""Is one image enough? The paper's g beside what the same number of queries buys otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import baseline_directions as of
from gcd_core.evaluation import metrics
from gcd_core.evaluation.decoded import MemoisedGenerator
from gcd_core.evaluation.known_reasons import LUNG_FIELDS, RegionReader
from gcd_core.evaluation.maps import mass_inside
from gcd_core.evaluation.outcomes import oracle_probability
from gcd_core.evaluation.provenance import digest
from gcd_core.evaluation.sanity_checks import with_planted
from gcd_core.evaluation.spurious_classifiers import LABEL
from gcd_core.evaluation.trials import Rows, Trials
from gcd_core.method.attribution import explain_path
from gcd_core.method.directions import Direction
from gcd_core.method.path import Path
from gcd_core.method.samples import Samples
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import Found
from gcd_core.method.settings import BALL, IMAGES, PRIOR
from gcd_core.method.walk import walk_many

QUERIES = (64, 256, 1024)
MIN_QUERIES = 32  # fewer tell next to nothing of a direction
REASON_QUERIES = 256  # of the searches for classifiers of known reasons
RUNS = 2  # with other random numbers and other real images, to compare
RANDOM = 3  # random directions, of which the mean is told
ALL = 1 - 1e-9  # cosine at which a search stops: it asks all that it may
REAL, DRAWN, KINDS, ONE = "real images", "drawn codes", "drawn codes of each kind", "one image"


class Searches:
    """The searches of one label, each with all of its queries; a longer one goes on from a shorter.

    Parameters
    ----------
    domain : Domain
    label : str
    real : sequence of Tensor (1, C, S, S)
        Images to ask about. A run takes every second one, so that two runs have none in common.
    source : Tensor (1, C, S, S)
        The one image of the paper's search.
    """

    def __init__(self, domain: Domain, label: str, real: Sequence[Tensor], source: Tensor) -> None:
        self.domain = replace(domain, examples=())  # directions are tried in the table
        self.label, self.real, self.source = label, real, source
        self.statistics = domain.code_statistics(label)
        self._longest: dict[tuple[str, int], Samples] = {}

    def found(self, where: str, n: int, run: int) -> Found:
        """The search over codes of a kind, with n queries: its g, and what it asked."""
        known = self._longest.get((where, run))
        resume = None if known is None else known[:n]
        shared: dict[str, Any] = {"n_samples": n, "n_h": 0, "resume": resume}
        if where == ONE:  # the paper's own: Eq. 3, around the image
            domain = replace(self.domain, codes={})
            shared |= {"sampling": BALL, "boundary": False, "antithetic": False, "seed": run}
            found = find_directions(domain, self.source, self.label, **shared)
        else:
            shared |= {"n_ways": 0, "settle": ALL}
            shared |= self._at(where, run)
            found = find_directions(self._of(where), None, self.label, **shared)
        if known is None or len(known) < n:
            self._longest[where, run] = found.samples
        return found

    def samples(self, where: str, n: int, run: int) -> tuple[Tensor, Tensor]:
        """The codes (n, D) and the log-odds (n,) of such a search."""
        known = self._longest.get((where, run))
        if known is None or len(known) < n:
            known = self.found(where, n, run).samples
        return known.z_sem[:n], known.logits[:n]

    def _of(self, where: str) -> Domain:
        """The domain whose codes are drawn of each kind, or of all images as one."""
        own = self.statistics if where == KINDS else replace(self.statistics, kinds=())
        return replace(self.domain, codes={self.label: own})

    def _at(self, where: str, run: int) -> dict[str, Any]:
        """Where the codes come from, as `find_directions` takes it."""
        if where == REAL:
            return {"sampling": IMAGES, "images": self.real[run::RUNS], "seed": 0}
        return {"sampling": PRIOR, "seed": run}


class Method(NamedTuple):
    """A way to a direction: its name, and what finds (k, D) with n queries in a run."""

    name: str
    find: Callable[[Searches, int, int], Tensor]
    around: bool = False  # whether it looks at the one source image


def _random(searches: Searches, n: int, run: int) -> Tensor:
    codes, logits = searches.samples(REAL, n, run)
    drawn = of.random_directions(codes.shape[1], RANDOM, run)
    return torch.stack([of.oriented(vector, codes, logits) for vector in drawn])


def _axis(searches: Searches, n: int, run: int) -> Tensor:
    return of.principal_axis(*searches.samples(REAL, n, run), searches.statistics)[None]


def _means(searches: Searches, n: int, run: int) -> Tensor:
    return of.mean_difference(*searches.samples(REAL, n, run))[None]


def _normal(searches: Searches, n: int, run: int) -> Tensor:
    return of.linear_normal(*searches.samples(REAL, n, run))[None]


def _ridge_on(where: str) -> Callable[[Searches, int, int], Tensor]:
    def find(searches: Searches, n: int, run: int) -> Tensor:
        return of.ridge(*searches.samples(where, n, run), searches.statistics)[None]

    return find


def _g_on(where: str) -> Callable[[Searches, int, int], Tensor]:
    def find(searches: Searches, n: int, run: int) -> Tensor:
        return searches.found(where, n, run).directions["g"].vector[None]

    return find


METHODS = (
    Method("g, one image (the paper's)", _g_on(ONE), around=True),
    Method("g, drawn codes of each kind", _g_on(KINDS)),
    Method("g, real images", _g_on(REAL)),
    Method("ridge regression, drawn codes", _ridge_on(DRAWN)),
    Method("ridge regression, real images", _ridge_on(REAL)),
    Method("linear classifier, real images (InterFaceGAN)", _normal),
    Method("difference of means, real images", _means),
    Method(f"principal axis, the best of {of.AXES}", _axis),
    Method(f"random vectors, mean of {RANDOM}", _random),
)


def compare(trials: Trials) -> Rows:
    """One row for each method and number of queries, on the same images, walks and margin.

    `cosine` is between two runs with other random numbers (other real images, where those are asked
    about); of random vectors the mean over them. `mass on reasons` is the share of the map of cells
    that lies inside the one region that a classifier was made to read (`RegionReader`), with
    directions found for that classifier by 256 queries, over four regions.
    """
    table = _Table(trials)
    return [table.row(method, n) for n in table.settings.queries for method in METHODS]


class _Table:
    """The table of one label under way."""

    def __init__(self, trials: Trials) -> None:
        if trials.baselines is None:
            raise GCDError("The table of baselines needs real images to ask about.")
        self.trials, self.settings = trials, trials.baselines
        self.kept = self.settings.kept
        self.source = trials.names[trials.source_row]
        # The searches differ in what is asked, not in the pictures: each is decoded once.
        generator = MemoisedGenerator(trials.domain.generator)
        self.domain = replace(trials.domain, generator=generator, bridge=None)

    @cached_property
    def real(self) -> Sequence[Tensor]:
        """The images to ask about."""
        real, wanted = self.settings.real(), RUNS * max(self.settings.queries)
        if len(real) < wanted:
            raise GCDError(
                f"{max(self.settings.queries)} queries in each of two runs need {wanted} images to "
                f"ask about, and there are {len(real)}; give fewer --queries, or another "
                "--search-split."
            )
        return real

    @cached_property
    def searches(self) -> Searches:
        """Those of the label."""
        return Searches(self.domain, self.trials.label, self.real, self.trials.source)

    @cached_property
    def searches_of_reasons(self) -> list[Searches]:
        """Those of classifiers that read one region each."""
        own = self.domain.code_statistics(self.trials.label)
        found = []
        for field in LUNG_FIELDS.values():
            reader = RegionReader.fitted_to(self.trials.images, [field], label=LABEL)
            domain = with_planted(self.domain, reader)
            domain = replace(domain, codes={LABEL: replace(own, kinds=())})
            found.append(Searches(domain, LABEL, self.real, self.trials.source))
        return found

    def row(self, method: Method, n: int) -> dict[str, Any]:
        """The figures of a method with n queries, each kept as soon as it is there."""
        runs = [self._vectors(method, n, run) for run in range(RUNS)]
        each = [self._figures(vector) for vector in runs[0]]
        figures = {name: metrics.mean([own[name] for own in each]) for name in each[0]}
        cosines = (runs[0] * runs[1]).sum(1) / (runs[0].norm(dim=1) * runs[1].norm(dim=1))
        mass = None
        if n == REASON_QUERIES and self.settings.reasons:
            key = f"mass on reasons, {method.name}, {n} queries, {self.settings.reasons} images"
            mass = self.kept.once(f"{key}, {self._of_images}", lambda: self._mass(method, n))
        return {
            "method": method.name,
            "queries": n,
            **figures,
            "mass on reasons": mass,
            "cosine": cosines.mean().item(),
            "n": len(self.trials.images) * len(each),
        }

    @cached_property
    def _of_images(self) -> str:
        """Tells the images that are walked from others."""
        return digest("\n".join(self.trials.names).encode())

    def _vectors(self, method: Method, n: int, run: int) -> Tensor:
        key = f"vectors, {method.name}, {n} queries, run {run}"
        if method.around:
            key += f", around {self.source}"
        found = self.kept.once(key, lambda: method.find(self.searches, n, run).tolist())
        return torch.tensor(found)

    def _figures(self, vector: Tensor) -> dict[str, Any]:
        """What a direction does to the images, by the names of `Trials.figures`."""
        trials, direction = self.trials, Direction("g", vector, self.trials.label)
        of_it = digest(vector.numpy().tobytes())
        keys = [f"walk, {of_it}, {name}" for name in trials.names]
        missing = [row for row, key in enumerate(keys) if key not in self.kept]
        for first in range(0, len(missing), trials.batch_size):
            rows = missing[first : first + trials.batch_size]
            paths = trials.walked(direction, rows)
            told = {keys[row]: self._told(path) for row, path in zip(rows, paths, strict=True)}
            self.kept.add(told)
        each = [self.kept[key] for key in keys]
        flipped = torch.tensor([own["flipped"] for own in each])
        oracle = None
        if each[0]["oracle_before"] is not None:
            names = ("probability", "oracle_before", "oracle_after")
            columns = [torch.tensor([own[name] for own in each]) for name in names]
            oracle = metrics.oracle_flip_rate(flipped, columns[0], columns[1], columns[2])
        return {
            "FR": 100 * metrics.flip_rate(flipped),
            "oracle": None if oracle is None else 100 * oracle,
            **{name: metrics.mean([own[name] for own in each]) for name in ("LPIPS", "COUT")},
            "alpha": metrics.mean([abs(own["alpha"]) for own in each]),
        }

    def _told(self, path: Path) -> dict[str, Any]:
        """What is kept of a walk; JSON can hold it."""
        domain, at, made = self.trials.domain, path.counterfactual, path.counterfactual_image
        return {
            "flipped": path.counterfactual_flips,
            "probability": path.source_probability,
            "oracle_before": oracle_probability(domain, path, None),
            "oracle_after": oracle_probability(domain, path, at),
            "LPIPS": path.distances[at].item(),
            "COUT": metrics.cout(domain.classifier, path.label, path.source, made),
            "alpha": path.alphas[at].item(),
        }

    def _mass(self, method: Method, n: int) -> float:
        """The mean share of the map of cells in the region that a classifier reads."""
        trials, shares = self.trials, []
        every = max(1, len(trials.images) // self.settings.reasons)
        rows = list(range(0, len(trials.images), every))[: self.settings.reasons]
        for searches, field in zip(self.searches_of_reasons, LUNG_FIELDS.values(), strict=True):
            direction = Direction("g", method.find(searches, n, 0)[0], LABEL)
            domain = replace(searches.domain, generator=trials.domain.generator)
            images, latents = trials.images[rows], trials.latents(rows)
            for path in walk_many(domain, images, direction, LABEL, latents):
                heat = explain_path(
                    path, "cells", classifier=domain.classifier, until=path.counterfactual
                ).map
                inside = field.mask(*heat.shape[-2:]).double()
                shares.append(mass_inside(heat, inside)[0])
        return sum(shares) / len(shares)
