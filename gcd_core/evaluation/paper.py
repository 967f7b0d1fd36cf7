"""The paper's tables and ablations on a domain, by walks along directions found before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import metrics
from gcd_core.evaluation.bench import PAPER, PAPER_POINTS, Fixed
from gcd_core.evaluation.evaluate import NamedImages, batches_of, counterfactuals_of
from gcd_core.evaluation.fan import fan_of
from gcd_core.evaluation.features import (
    Features,
    frechet_distance,
    oracle_features,
    similarity,
    split_frechet,
)
from gcd_core.evaluation.pairs import Comparison, diversity_of_flips
from gcd_core.evaluation.radius import measure_radii
from gcd_core.method.attribution import explain_path
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.search import find_directions
from gcd_core.method.walk import Path, walk_many

TABLES = ("1", "2", "3", "D2", "F1", "F2", "F3")
TITLES = {
    "1": "Counterfactuals along each direction (Table 1)",
    "2": "Sparseness and complexity of maps (Table 2)",
    "3": "Source images: g found from each (Table 3, D.1)",
    "D2": "Probability along g, quartiles over images (D.2)",
    "F1": "Weight of LPIPS: g from one pool of samples (F.1, F.2)",
    "F2": "Number of samples: g from the first of one pool",
    "F3": "Radius of the perturbations (F.3)",
}
LAMBDAS = (0.0625, 0.25, 1.0, 4.0)
RADII = (0.5, 1.0, 1.5)  # times the domain's
PAPER_ALPHA = 3.0
SOURCES = 4
Rows = list[dict[str, Any]]


def in_papers_protocol(domain: Domain) -> Domain:
    """The domain by the paper's own settings: DDIM 100/250, 128 alphas in [0, 3], lowest loss."""
    return replace(
        domain,
        generator=Fixed(domain.generator, PAPER),
        alpha_max=PAPER_ALPHA,
        walk_points=PAPER_POINTS,
        counterfactual=LOWEST_LOSS,
        search=domain.search.changed(boundary=False, antithetic=False, n_ways=0),
    )


class Tables:
    """Makes tables of one label's directions on images of a domain.

    Parameters
    ----------
    domain : Domain
    images : list of (str, Tensor (1, C, S, S))
        In [0, 1], four at least.
    directions : DirectionSet
    samples : int
        Of the searches that ablations make, 64 at least.
    batch_size : int
        Images at a time.

    Raises
    ------
    GCDError
        If there are too few images or samples.
    """

    def __init__(
        self,
        domain: Domain,
        images: NamedImages,
        directions: DirectionSet,
        samples: int = 256,
        batch_size: int = 8,
    ) -> None:
        self.domain, self.directions = domain, directions
        self.names, pictures = zip(*images, strict=True)
        self.images, self.label = torch.cat(pictures), directions.label
        self.samples, self.batch_size = samples, batch_size
        if len(self.images) < 4:
            raise GCDError(f"The tables need four images at least, not {len(self.images)}.")
        if samples < 64:
            raise GCDError(f"The tables' searches need 64 samples at least, not {samples}.")
        self.features: Features | None = None
        with suppress(GCDError):  # FID, sFID and S3 are left open then
            self.features = oracle_features(domain.oracle)

    def make(self, name: str) -> Rows:
        """Return one table's rows.

        Raises
        ------
        GCDError
            If there is no such table.
        """
        makers: dict[str, Callable[[], Rows]] = {
            "1": self.directions_table,
            "2": self.maps_table,
            "3": self.sources_table,
            "D2": self.curves_table,
            "F1": self.lambdas_table,
            "F2": self.samples_table,
            "F3": self.radii_table,
        }
        if name not in makers:
            raise GCDError(f"There is no table {name!r}; there are {', '.join(TABLES)}.")
        return makers[name]()

    # -- the tables -------------------------------------------------------------------------------

    def directions_table(self) -> Rows:
        """Of each direction: flip rates, COUT, LPIPS; by the oracle's features FID, sFID, S3."""
        comparison = Comparison(list(self.directions), self.domain.perceptual)
        all_paths: dict[str, list[Path]] = {d.name: [] for d in self.directions}
        for _, batch in batches_of(self._named(), self.batch_size):
            latent = self.domain.generator.encode(batch)
            found, flipped = [], []
            for direction in self.directions:
                paths = walk_many(self.domain, batch, direction, self.label, latent)
                all_paths[direction.name] += [_light(path) for path in paths]
                found.append(counterfactuals_of(paths))
                flipped.append([path.flips for path in paths])
            comparison.add(batch, torch.stack(found, dim=1), torch.tensor(flipped).T)
        rows = [{"direction": name, **self._figures(paths)} for name, paths in all_paths.items()]
        if len(rows) > 1:
            rows.append({"direction": "S1", "lpips": comparison.diversity})
            rows.append({"direction": "S2", "lpips": diversity_of_flips(comparison.pairs())})
        return rows

    def maps_table(self) -> Rows:
        """BB-LIG against the absolute difference, over the images that g flips."""
        heats: dict[str, list[Tensor]] = {"BB-LIG": [], "difference": []}
        for path in self._walked(self.directions["g"]):
            if path.flips:
                at = path.counterfactual
                heats["BB-LIG"].append(explain_path(path, until=at).map)
                heats["difference"].append(explain_path(path, "difference", until=at).map)
        judges: dict[str, Callable[[Tensor], float]] = {
            "sparseness": metrics.gini,
            "complexity": metrics.complexity,
            "effective_complexity": metrics.effective_complexity,
        }
        return [
            {
                "map": name,
                "n": len(maps),
                **{
                    judge: metrics.mean([of(heat) for heat in maps]) for judge, of in judges.items()
                },
            }
            for name, maps in heats.items()
        ]

    def sources_table(self) -> Rows:
        """G from several source images, half of them of each side, tried on all images."""
        probabilities = self._probabilities
        order = probabilities.argsort()
        chosen = order[torch.linspace(0, len(order) - 1, SOURCES).round().long()].tolist()
        rows = []
        for i in chosen:
            g = self._g(self.images[i : i + 1])
            rows.append(
                {
                    "source": self.names[i],
                    "probability": probabilities[i].item(),
                    "cosine": self._cosine(g),
                    **self._figures([_light(path) for path in self._walked(g)]),
                }
            )
        return rows

    def curves_table(self) -> Rows:
        """Quartiles of the probability of the side that each image was on, along g."""
        curves = []
        for path in self._walked(self.directions["g"]):
            own = path.source_probability >= path.threshold
            sides = path.probabilities if own else 1 - path.probabilities
            curves.append(list(zip(path.alphas.abs().tolist(), sides.tolist(), strict=True)))
        spread = fan_of(curves, points=13)
        return [
            {"alpha": alpha, "lower": low, "median": median, "upper": high}
            for alpha, low, median, high in zip(
                spread.alphas.tolist(), *spread.quartiles.tolist(), strict=True
            )
        ]

    def lambdas_table(self) -> Rows:
        """G of several weights of LPIPS, all from the samples of one search."""
        pool = self._search(self._source())
        rows = []
        for lam in LAMBDAS:
            found = self._search(self._source(), resume=pool.samples, lam=lam)
            g = found.directions["g"]
            rows.append({"lambda": lam, **self._of_g(g)})
        return rows

    def samples_table(self) -> Rows:
        """G of ever more samples, the first of one search's."""
        pool = self._search(self._source())
        last, rows = pool.directions["g"], []
        count = 64
        while count <= self.samples:
            found = self._search(self._source(), resume=pool.samples, n_samples=count)
            g = found.directions["g"]
            to_last = F.cosine_similarity(g.vector, last.vector, dim=0).item()
            rows.append({"samples": count, "cosine_to_last": to_last, **self._of_g(g)})
            count *= 2
        return rows

    def radii_table(self) -> Rows:
        """G of several radii, by the paper's counterfactual."""
        radii = [factor * self.domain.search.radius for factor in RADII]
        return measure_radii(
            self.domain, self._source(), self.images, self.label, radii, self.samples
        )

    # -- what they share --------------------------------------------------------------------------

    def _named(self) -> NamedImages:
        return ((name, image[None]) for name, image in zip(self.names, self.images, strict=True))

    def _walked(self, direction: Direction) -> list[Path]:
        paths: list[Path] = []
        for _, batch in batches_of(self._named(), self.batch_size):
            paths += walk_many(self.domain, batch, direction, self.label)
        return paths

    @cached_property
    def _probabilities(self) -> Tensor:
        """The classifier's of all images (N,)."""
        classifier = self.domain.classifier
        return classifier.probability(classifier(self.images), self.label)

    def _source(self) -> Tensor:
        """The image that the classifier is least sure of: a search from it has most to see."""
        return self.images[(self._probabilities - 0.5).abs().argmin()][None]

    def _search(self, source: Tensor, **changes: Any) -> Any:
        plain = {"n_samples": self.samples, "n_h": 0, "n_ways": 0, "boundary": False}
        return find_directions(self.domain, source, self.label, **(plain | changes))

    def _g(self, source: Tensor) -> Direction:
        return self._search(source).directions["g"]

    def _cosine(self, g: Direction) -> float:
        return F.cosine_similarity(g.vector, self.directions["g"].vector, dim=0).item()

    def _of_g(self, g: Direction) -> dict[str, Any]:
        """What a g does to all images, in few figures."""
        paths = self._walked(g)
        losses = [path.losses[path.lowest_loss].item() for path in paths]
        figures = self._figures([_light(path) for path in paths])
        few = {name: figures[name] for name in ("flip_rate", "oracle_flip_rate", "lpips")}
        return {"cosine": self._cosine(g), "cf_loss": metrics.mean(losses), **few}

    def _figures(self, paths: Sequence[Path]) -> dict[str, Any]:
        """Rates and distances of the counterfactuals of all images, in their order."""
        sources = torch.cat([path.source for path in paths])
        made = counterfactuals_of(paths)
        flipped = torch.tensor([path.flips for path in paths])
        figures: dict[str, Any] = {
            "n": len(paths),
            "flip_rate": metrics.flip_rate(flipped),
            "oracle_flip_rate": self._oracle_rate(flipped, sources, made),
            "cout": metrics.mean(
                [
                    metrics.cout(self.domain.classifier, self.label, path.source, image[None])
                    for path, image in zip(paths, made, strict=True)
                ]
            ),
            "lpips": metrics.mean([path.distances[path.counterfactual].item() for path in paths]),
            "l1": metrics.mean_absolute_error(made, sources).mean().item(),
        }
        if self.features is not None:
            name = self.features.name
            real, other = self.features.of(sources), self.features.of(made)
            figures[f"FID({name})"] = frechet_distance(real, other)
            figures[f"sFID({name})"] = split_frechet(real, other)
            figures[f"S3({name})"] = similarity(real, other)
        return figures

    def _oracle_rate(self, flipped: Tensor, sources: Tensor, made: Tensor) -> float | None:
        oracle = self.domain.oracle
        if oracle is None or self.label not in oracle.labels:
            return None
        before, after = (
            oracle.probability(oracle(images), self.label) for images in (sources, made)
        )
        return metrics.oracle_flip_rate(flipped, before, after)


def _light(path: Path) -> Path:
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
