"""The commands `evaluate` and `sanity` as jobs in parts: a batch of images, or a check, each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

from gcd_core.bridge.rcsb import Steering
from gcd_core.classifiers.base import preprocessing_of
from gcd_core.distributed.job import Part, PartsJob, Shared
from gcd_core.domains.opening import Domain, load_domain
from gcd_core.evaluation.bridge_outcomes import NAME, BridgeOnBatches
from gcd_core.evaluation.features import FeaturePairs
from gcd_core.evaluation.outcomes import (
    Cost,
    DirectionsOnBatches,
    Evaluation,
    EvaluationSettings,
    Outcome,
    Region,
    gathered,
)
from gcd_core.evaluation.pairs import Comparison, Seen, abs_cosines
from gcd_core.evaluation.provenance import digest, identity_of_directions, networks_of
from gcd_core.evaluation.sanity_checks import Sanity, Verdict
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.picture import Picture, load_picture
from gcd_core.images.reading import MAX_SIDE, load_image
from gcd_core.method.composition import DECODED
from gcd_core.method.directions import Direction

SEEN = "seen.safetensors"  # a part's file of what its counterfactuals say of pairs of directions
FEATURES = "features.safetensors"  # a part's file of the oracle's features, of each direction


class Read(NamedTuple):
    """Images of a part."""

    files: list[str]  # names of those that could be read
    images: list[Tensor | Picture]  # (1, C, S, S) each, in [0, 1]
    skipped: dict[str, str]  # what could not be read, and why
    seconds: float  # what reading took


@dataclass(frozen=True)
class EvaluateJob(PartsJob):
    """Directions, or a bridge, on many images, a batch in each part.

    A batch is made of so many names in their order; what of it cannot be read is left out. So no
    batch hangs on another.
    """

    domain: str | Path  # as of `load_domain`
    device: str
    source: Path  # folder or zip of the images, which every worker must reach by this name
    names: tuple[str, ...]  # of the images in it
    # What the domain's generator sees.
    size: int
    channels: int
    fit: str
    label: str  # what is flipped
    directions: tuple[Direction, ...]
    batch_size: int
    asked: EvaluationSettings
    # Pixels of the longest side that is kept of each picture; 0 where the generator's view of it is
    # all that is shown.
    max_side: int
    # The bridge's, where it is that which changes the images (then a direction, if any, finds
    # automatic regions).
    steering: Steering | None
    identities: dict[str, str]  # the networks' that the rows hang on

    kind = "evaluate"
    row = Outcome

    @classmethod
    def of(
        cls,
        name: str | Path,
        domain: Domain,
        files: ImageFiles,
        label: str,
        directions: Sequence[Direction],
        batch_size: int,
        **settings: Any,
    ) -> EvaluateJob:
        """The job of a domain that is open, which `name` opens elsewhere too.

        Raises a GCDError as `DirectionsOnBatches` and `BridgeOnBatches`.

        Parameters
        ----------
        name, domain, files, label, directions, batch_size
            As of the attributes.
        **settings
            `device`, `steering`, and those of `EvaluationSettings`.
        """
        device, steering = settings.pop("device", "auto"), settings.pop("steering", None)
        measure = _measure(domain, label, directions, steering, settings)
        detail = settings.get("detail") or domain.detail
        return cls(
            domain=name,
            device=device,
            source=files.source,
            names=tuple(files.names),
            size=domain.generator.image_size,
            channels=domain.generator.channels,
            fit=domain.fit,
            label=label,
            directions=tuple(directions),
            batch_size=batch_size,
            asked=replace(measure.settings, detail=detail),
            max_side=_side_asked(domain, detail, steering),
            steering=steering,
            identities=networks_of(domain),
        )

    @property
    def parts(self) -> int:
        """Batches."""
        return -(-len(self.names) // self.batch_size)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that the rows hang on."""
        named = Comparison.of(self.directions) if self.directions else None
        cosines = abs_cosines(self.directions).tolist() if named else []
        return {
            "domain": str(self.domain),
            **self.identities,
            "images": str(self.source),
            "named": len(self.names),
            "parts": self.parts,
            "names": digest("\n".join(self.names).encode()),
            "batch_size": self.batch_size,
            "label": self.label,
            "directions": [direction.name for direction in self.directions],
            "vectors": identity_of_directions(self.directions),
            "abs_cosines": cosines,
            "counterfactual": self.asked.choice,
            "margin": self.asked.margin,
            "cout": self.asked.with_cout,
            "cells": self.asked.with_cells,
            "region": _named_region(self.asked.region),
            "detail": DECODED if self.steering else self.asked.detail,
            "max_side": self.max_side,
            "steering": self.steering and asdict(self.steering),
        }

    def reader(self) -> Callable[[int], Read]:
        """Return what reads a batch's images."""
        size, channels, fit = self.size, self.channels, self.fit
        files = ImageFiles(self.source, names=self.names)

        def read(source: Path | bytes) -> Tensor | Picture:
            if self.max_side:
                return load_picture(source, size, channels, fit, self.max_side)
            return load_image(source, size, channels, fit)

        def of_part(part: int) -> Read:
            began = time.perf_counter()
            first = part * self.batch_size
            names, images, skipped = files.read(self.names[first : first + self.batch_size], read)
            return Read(names, images, skipped, time.perf_counter() - began)

        return of_part

    def worker(
        self, shared: Shared | None = None, domain: Domain | None = None
    ) -> Callable[[int, Read], Part]:
        """Open the domain, and return what measures a batch."""
        domain = domain or load_domain(self.domain, device=self.device)
        if shared is not None:
            shared.join(domain.classifier)
        measure = _measure(domain, self.label, self.directions, self.steering, vars(self.asked))

        def of_part(part: int, read: Read) -> Part:
            began = time.perf_counter()
            about: dict[str, Any] = {"skipped": read.skipped, "read_seconds": read.seconds}
            if not read.images:
                return Part([], about | {"costs": {}, "seconds": 0.0})
            first = part * self.batch_size
            numbers = [self.names.index(name, first) for name in read.files]
            batch = measure(read.files, read.images, first)
            about["costs"] = {name: asdict(cost) for name, cost in batch.costs.items()}
            about["seconds"] = time.perf_counter() - began
            rows = [
                replace(outcome, number=number)
                for outcomes in batch.outcomes.values()
                for number, outcome in zip(numbers, outcomes, strict=True)
            ]
            files = {} if batch.seen is None else {SEEN: save(_tensors(batch.seen))}
            if batch.features:
                files[FEATURES] = save(_features_by_name(batch))
            return Part(rows, about, files)

        return of_part


@dataclass(frozen=True)
class VerdictRow:
    """A check's verdict, as `Verdict`; its figures are JSON."""

    name: str
    passed: bool
    sentence: str
    figures: str


@dataclass(frozen=True)
class SanityJob(PartsJob):
    """The checks of a domain, one in each part."""

    # As of `EvaluateJob`.
    domain: str | Path
    device: str
    source: Path
    names: tuple[str, ...]
    # As of `Sanity`.
    label: str
    samples: int
    walks: int
    checks: tuple[str, ...]  # some of `CHECKS`
    detail: str  # what the classifiers are shown, as of `walk`
    identities: tuple[str, str]  # the generator's and the classifier's

    kind = "sanity"
    row = VerdictRow

    @property
    def parts(self) -> int:
        """Checks."""
        return len(self.checks)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the verdicts hang on."""
        return {
            "domain": str(self.domain),
            "identities": self.identities,
            "images": str(self.source),
            "names": digest("\n".join(self.names).encode()),
            "label": self.label,
            "samples": self.samples,
            "walks": self.walks,
            "checks": self.checks,
            "detail": self.detail,
            "parts": self.parts,
        }

    def worker(
        self, shared: Shared | None = None, domain: Domain | None = None
    ) -> Callable[[int, None], Part]:
        """Open the domain and read the images, and return what makes a check."""
        domain = domain or load_domain(self.domain, device=self.device)
        if shared is not None:
            shared.join(domain.classifier)
        files = ImageFiles(self.source, names=self.names)
        images = torch.cat([image for _, image in files.load(domain.load_image)])
        domain = replace(domain, detail=self.detail)
        sanity = Sanity(domain, images, self.label, self.samples, self.walks)

        def of_part(part: int, read: None) -> Part:
            began = time.perf_counter()
            (verdict,) = sanity.run([self.checks[part]])
            figures = json.dumps(verdict.figures)
            row = VerdictRow(verdict.name, verdict.passed, verdict.sentence, figures)
            return Part([row], {"images": len(images), "seconds": time.perf_counter() - began})

        return of_part


def verdicts_of(part: Part) -> list[Verdict]:
    """The verdict in a part of `sanity`."""
    return [Verdict(r.name, r.passed, r.sentence, json.loads(r.figures)) for r in part.rows]


def evaluation_of(parts: Iterable[Part]) -> Evaluation:
    """Join the batches of a job's parts, in the order of their numbers."""
    return gathered(batch_of(part) for part in parts)


def comparison_of(evaluation: Evaluation, settings: dict[str, Any]) -> Comparison:
    """The comparison of the directions that a job's settings name."""
    names = [NAME] if settings["steering"] else settings["directions"]
    cosines = torch.tensor(settings["abs_cosines"], dtype=torch.float64)
    return Comparison(names, cosines, evaluation.seen)


def batch_of(part: Part) -> Evaluation:
    """What was measured on the batch of a part."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in part.about["costs"]}
    for row in part.rows:
        outcomes[row.direction].append(row)
    costs = {name: Cost(**cost) for name, cost in part.about["costs"].items()}
    seen = None
    if SEEN in part.files:
        tensors = load(part.files[SEEN])
        seen = Seen(int(tensors.pop("images")), **tensors)
    kept = load(part.files[FEATURES]) if FEATURES in part.files else {}
    features = {
        name: FeaturePairs(*(kept[f"{name}.{field}"] for field in FeaturePairs._fields))
        for name in costs
        if kept
    }
    return Evaluation(outcomes, costs, seen, features)


def _measure(
    domain: Domain,
    label: str,
    directions: Sequence[Direction],
    steering: Steering | None,
    settings: dict[str, Any],
) -> DirectionsOnBatches | BridgeOnBatches:
    if steering is None:
        return DirectionsOnBatches(domain, directions, label, **settings)
    own = {name: value for name, value in settings.items() if name != "detail"}
    direction = next(iter(directions), None)
    return BridgeOnBatches(domain, label, direction=direction, steering=steering, **own)


def _side_asked(domain: Domain, detail: str, steering: Steering | None) -> int:
    """The longest side that some classifier of a domain is shown; 0 where it is the generator's."""
    asked = [domain.classifier] + ([domain.oracle] if domain.oracle is not None else [])
    sizes = [preprocessing_of(classifier).resized_to for classifier in asked]
    sides = [side for size in sizes for side in (size or (MAX_SIDE,))]
    own = domain.generator.image_size
    if detail == DECODED or steering is not None or all(side == own for side in sides):
        return 0
    return max(*sides, own)


def _tensors(seen: Seen) -> dict[str, Tensor]:
    return vars(seen) | {"images": torch.tensor(seen.images)}


def _features_by_name(batch: Evaluation) -> dict[str, Tensor]:
    return {
        f"{name}.{field}": tensor.contiguous()
        for name, pairs in batch.features.items()
        for field, tensor in pairs._asdict().items()
    }


def _named_region(region: Tensor | Region | None) -> Any:
    if isinstance(region, Tensor):
        return digest(region.cpu().numpy().tobytes())
    return region and {"kind": type(region).__name__} | asdict(region)
