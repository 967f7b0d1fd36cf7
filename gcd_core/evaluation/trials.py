"""What the paper's tables share: images, walks, searches from the same samples, and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import metrics
from gcd_core.evaluation.features import (
    frechet_distance,
    oracle_features,
    similarity,
    split_frechet,
)
from gcd_core.evaluation.judges import Judges
from gcd_core.evaluation.kept_answers import KeptAnswers
from gcd_core.evaluation.outcomes import NamedImages, counterfactuals_of
from gcd_core.evaluation.sample_store import keep_samples, kept_samples
from gcd_core.generators.base import Latent
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.path import Path
from gcd_core.method.samples import Samples
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import Found
from gcd_core.method.settings import BALL, Settings
from gcd_core.method.walk import walk_many

MIN_IMAGES, FEWEST_SAMPLES = 4, 64
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class BaselineSettings:
    """What the table of baselines is made with, beside what `Trials` has."""

    # Reads images (1, C, S, S) to ask about, none of which is walked: twice as many as queries.
    real: Callable[[], Sequence[Tensor]]
    queries: Sequence[int]  # of each direction
    reasons: int = 2  # images that are walked for each classifier of a known reason; 0 for none
    kept: KeptAnswers = field(default_factory=KeptAnswers)


class Trials:
    """One label's directions, tried on images of a domain.

    Raises a GCDError if there are too few images or samples.

    Parameters
    ----------
    images : list of (str, Tensor (1, C, S, S))
        In [0, 1], four at least.
    samples : int
        Of the searches that ablations make, 64 at least.
    batch_size : int
        Images at a time.
    judges : Judges, optional
        The networks that figures are made with; the domain's oracle stands in for those of FID,
        sFID and S3 that are missing.
    others : sequence of Domain
        Whose generators are tried too (S-Table 4).
    pool : path, optional
        Where the ablations' samples are kept, so that no later run asks for them again.
    baselines : Baselines, optional
        What the table of baselines is made with; it needs them.
    """

    def __init__(
        self,
        domain: Domain,
        images: NamedImages,
        directions: DirectionSet,
        samples: int = 256,
        batch_size: int = 8,
        judges: Judges | None = None,
        others: Sequence[Domain] = (),
        pool: FilePath | None = None,
        baselines: BaselineSettings | None = None,
    ) -> None:
        self.baselines = baselines
        self.domain, self.directions, self.others = domain, directions, others
        self.names, pictures = zip(*images, strict=True)
        self.images, self.label = torch.cat(pictures), directions.label
        self.samples, self.batch_size = samples, batch_size
        self._pool_file = pool
        self._pools: dict[float, Samples] = {}
        self._paths: dict[str, list[Path]] = {}
        self._latents: dict[int, Latent] = {}
        self._once: dict[Any, Any] = {}
        self.pictures: dict[str, Image.Image] = {}  # what tables draw beside their rows
        if len(self.images) < MIN_IMAGES:
            raise GCDError(f"The tables need four images at least, not {len(self.images)}.")
        if samples < FEWEST_SAMPLES:
            raise GCDError(f"The tables' searches need 64 samples at least, not {samples}.")
        self.judges = judges or Judges()
        if self.judges.fidelity is None or self.judges.likeness is None:
            with suppress(GCDError):  # the figures are left open then
                self.judges = self.judges.with_stand_in(oracle_features(domain.oracle))

    def on(
        self,
        domain: Domain,
        images: Tensor | None = None,
        directions: DirectionSet | None = None,
    ) -> Trials:
        """The same trials on another domain, on other images by the same names, or of others."""
        images = self.images if images is None else images
        return Trials(
            domain,
            list(zip(self.names, images.split(1), strict=False)),
            directions or self.directions,
            self.samples,
            self.batch_size,
            self.judges,
        )

    def once(self, what: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns; it is called once for each `what`, and the answer kept."""
        if what not in self._once:
            self._once[what] = make()
        return self._once[what]

    def named(self) -> NamedImages:
        """The images with their names."""
        return ((name, image[None]) for name, image in zip(self.names, self.images, strict=True))

    @torch.inference_mode()
    def latents(self, rows: Sequence[int]) -> Latent:
        """The latents of the images of these numbers; each image is encoded once."""
        if missing := [row for row in rows if row not in self._latents]:
            made = self.domain.generator.encode(self.images[missing])
            self._latents |= {row: made[i] for i, row in enumerate(missing)}
        each = [self._latents[row] for row in rows]
        return Latent(torch.cat([one.z_sem for one in each]), torch.cat([one.z_T for one in each]))

    def walked(self, direction: Direction, rows: Sequence[int] | None = None) -> list[Path]:
        """The walks along a direction of the images of these numbers; of all without any."""
        rows = range(len(self.images)) if rows is None else rows
        paths: list[Path] = []
        for first in range(0, len(rows), self.batch_size):
            some = list(rows[first : first + self.batch_size])
            latents = self.latents(some)
            paths += walk_many(self.domain, self.images[some], direction, self.label, latents)
        return paths

    def counterfactuals(self, name: str) -> list[Path]:
        """The walks along a direction with their counterfactuals as only pictures; made once."""
        if name not in self._paths:
            paths = [light(path) for path in self.walked(self.directions[name])]
            own = self.images.split(1)  # one copy of the sources serves all directions
            self._paths[name] = [
                replace(path, source=image) for path, image in zip(paths, own, strict=True)
            ]
        return self._paths[name]

    def of(self, name: str) -> dict[str, Any]:
        """The figures of a direction; made once."""
        return self.once(("figures", name), lambda: self.figures(self.counterfactuals(name)))

    # -- searches ---------------------------------------------------------------------------------

    @cached_property
    def probabilities(self) -> Tensor:
        """The classifier's of all images (N,)."""
        classifier = self.domain.classifier
        return classifier.probability(classifier(self.images), self.label)

    @property
    def source(self) -> Tensor:
        """The image that the classifier is least sure of: a search from it has most to see."""
        return self.images[self.source_row][None]

    @property
    def source_row(self) -> int:
        """Its number."""
        return int((self.probabilities - 0.5).abs().argmin())

    @property
    def settings(self) -> Settings:
        """Of the ablations' searches: the paper's g alone."""
        plain = {"n_samples": self.samples, "n_h": 0, "sampling": BALL, "boundary": False}
        return self.domain.search.changed(**plain)

    def pool(self, radius: float | None = None) -> Samples:
        """The samples around `source` that the ablations share, made once and kept.

        Each radius, by default the domain's, has samples of its own.
        """
        radius = self.settings.radius if radius is None else radius
        if radius not in self._pools:
            self._pools[radius] = self._pool_of(radius)
        return self._pools[radius]

    def _pool_of(self, radius: float) -> Samples:
        settings, file = self.settings.changed(radius=radius), self._pool_file
        if file is not None and radius != self.settings.radius:
            file = file.with_stem(f"{file.stem}-radius-{radius:g}")
        if file is not None and file.is_file():
            return kept_samples(file, self.domain, self.source, self.label, settings)
        samples = self.search(self.source, radius=radius).samples
        if file is not None:
            keep_samples(file, samples)
        return samples

    def search(self, source: Tensor, **changes: Any) -> Found:
        """Search around an image by the ablations' settings."""
        resume = changes.pop("resume", None)
        settings = self.settings.changed(**changes)
        return find_directions(self.domain, source, self.label, settings=settings, resume=resume)

    def from_pool(self, **changes: Any) -> Direction:
        """G by the pool's samples, with other settings; nothing is asked."""
        pool = self.pool(changes.get("radius"))
        return self.search(self.source, resume=pool, **changes).directions["g"]

    # -- figures ----------------------------------------------------------------------------------

    def figures(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Figures of the counterfactuals of all images, in their order, by the paper's names.

        FR, FVA and the oracle's flip rate are in percent. What is made by another network than the
        paper's carries that one's name: ``FID(oracle)``.
        """
        sources = torch.cat([path.source for path in paths])
        made = counterfactuals_of(paths)
        flipped = torch.tensor([path.counterfactual_flips for path in paths])
        fidelity, likeness = self.judges.fidelity, self.judges.likeness
        figures: dict[str, Any] = {}
        if fidelity is not None:
            real, other = fidelity.of(sources), fidelity.of(made)
            by = "" if fidelity.name == "inception" else f"({fidelity.name})"
            figures[f"FID{by}"] = frechet_distance(real, other)
            figures[f"sFID{by}"] = split_frechet(real, other)
        if likeness is not None:
            by = "" if likeness.name == "simsiam" else f"({likeness.name})"
            figures[f"S3{by}"] = similarity(likeness.of(sources), likeness.of(made))
        figures |= self.judges.of_faces(sources, made, self.label)
        if "FVA" in figures:
            figures["FVA"] *= 100
        oracle = self._oracle_rate(flipped, paths, sources, made)
        return figures | {
            "COUT": metrics.mean(
                [
                    metrics.cout(self.domain.classifier, self.label, path.source, image[None])
                    for path, image in zip(paths, made, strict=True)
                ]
            ),
            "FR": 100 * metrics.flip_rate(flipped),
            "LPIPS": metrics.mean([path.distances[path.counterfactual].item() for path in paths]),
            "L1": metrics.mean_absolute_error(made, sources).mean().item(),
            "oracle": None if oracle is None else 100 * oracle,
            "n": len(paths),
        }

    def _oracle_rate(
        self, flipped: Tensor, paths: Sequence[Path], sources: Tensor, made: Tensor
    ) -> float | None:
        oracle = self.domain.oracle
        if oracle is None or self.label not in oracle.labels:
            return None
        before, after = (
            oracle.probability(oracle(images), self.label) for images in (sources, made)
        )
        probabilities = torch.tensor([path.source_probability for path in paths])
        return metrics.oracle_flip_rate(flipped, probabilities, before.cpu(), after.cpu())


def light(path: Path) -> Path:
    """The path with its counterfactual as its only picture: many fit into memory."""
    i = path.counterfactual
    one = slice(i, i + 1)
    return replace(
        path,
        alphas=path.alphas[one],
        images=path.images[one],
        logits=path.logits[one],
        probabilities=path.probabilities[one],
        all_probabilities=path.all_probabilities[one],
        distances=path.distances[one],
        losses=path.losses[one],
        refined=(),
    )
