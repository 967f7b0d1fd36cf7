"""Measure what directions do to many images, and what encoding and decoding alone do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from gcd_core.classifiers.questions import Question
from gcd_core.domains.cautions import missing_premise
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import metrics
from gcd_core.evaluation.features import FeaturePairs, Features, oracle_features
from gcd_core.evaluation.maps import MapOutcome, compare_maps, summarise_maps
from gcd_core.evaluation.pairs import Seen, see
from gcd_core.generators.base import Latent
from gcd_core.generators.sampling import Sampling
from gcd_core.images.picture import Picture
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.composition import resolve_detail, view_of
from gcd_core.method.counterfactual import LOWEST_LOSS, SMALLEST
from gcd_core.method.directions import Direction
from gcd_core.method.exposure import exposure_of
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.path import Path
from gcd_core.method.region import AutomaticRegion, FreeFormRegion
from gcd_core.method.walk import bisect, resolve_counterfactual, walk_many
from gcd_core.training.reconstruction import fine_power

Region = AutomaticRegion | FreeFormRegion
NamedImages = Iterable[tuple[str, Tensor]]  # each (1, C, H, W), in [0, 1]


@dataclass
class Cost:
    """The cost of some work: network evaluations, classifier queries, seconds."""

    evaluations: float = 0
    queries: float = 0
    seconds: float = 0.0

    def add(self, other: Cost) -> None:
        """Add what other work took."""
        self.evaluations += other.evaluations
        self.queries += other.queries
        self.seconds += other.seconds

    @contextmanager
    def measure(self, domain: Domain) -> Iterator[None]:
        """Add what the block costs."""
        evaluations, queries = domain.generator.evaluations, domain.classifier.queries
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start
            self.evaluations += domain.generator.evaluations - evaluations
            self.queries += domain.classifier.queries - queries


@dataclass(frozen=True)
class OtherOutcome:
    """The counterfactual of the choice that was not asked for, on the same path; as `Outcome`."""

    choice: str  # {"smallest", "lowest-loss", "whole"}
    # As of `Outcome`.
    counterfactual_probability: float
    oracle_after: float | None
    alpha: float
    lpips: float
    l1: float


@dataclass(frozen=True)
class Outcome:
    """One image along one direction."""

    file: str  # the image's name
    # The classifier's, of the label, before and after.
    probability: float
    counterfactual_probability: float
    # Whether they lie on different sides of the threshold, and the label was asked of the image.
    flipped: bool
    # The oracle's probabilities; None without an oracle that knows the label.
    oracle_before: float | None
    oracle_after: float | None
    alpha: float  # where on the direction the counterfactual lies, signed
    # Perceptual and mean absolute distance of counterfactual and source.
    lpips: float
    l1: float
    exposure: float  # the share of the change that is brightness and contrast, 0 to 1
    # Power of the counterfactual and of the source at a quarter to half of the sampling rate.
    fine_power: float
    source_power: float
    reconstruction_lpips: float  # LPIPS of the source and itself encoded and decoded
    manifold_lpips: float  # LPIPS of the counterfactual and itself encoded and decoded
    # Sparseness of the BB-LIG map, and of the absolute difference.
    gini_bb_lig: float
    gini_difference: float
    completeness_error: float  # of the BB-LIG map
    baseline_reached: bool  # whether BB-LIG found a baseline of the probability that it wants
    cout: float | None  # the counterfactual transition score, if it was asked for
    # The share of the picture that was let change, 0 to 1; None where all of it.
    region: float | None
    other: OtherOutcome  # what the other choice of the counterfactual comes to
    # How well the maps of cells, BB-LIG and the difference point, by their names, if that was asked
    # for.
    maps: dict[str, MapOutcome] | None = None
    # Whether a third class wins on the counterfactual; None where the label is not one class
    # against another, or there is no third.
    third_class: bool | None = None
    # What the label is asked of only, where the image lacks it; such an image counts in no figure.
    premise_missing: str = ""
    direction: str = ""  # the direction's name, or "rcsb"
    number: int = 0  # of the image among all that were named, from 0


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a batch of images, or on all of them."""

    outcomes: dict[str, list[Outcome]]  # name of each direction to its images' `Outcome`s, in order
    # Name of each direction to what encoding, walking and BB-LIG cost, all images together.
    costs: dict[str, Cost]
    # The counterfactuals of the directions compared; None with a single direction.
    seen: Seen | None
    # Name of each direction to the oracle's features of its images and of their counterfactuals;
    # empty without an oracle that has features.
    features: dict[str, FeaturePairs]

    @property
    def other(self) -> str:
        """The choice of the counterfactual that was measured beside the one asked for."""
        return next(iter(self.outcomes.values()))[0].other.choice


@dataclass(frozen=True)
class EvaluationSettings:
    """What to measure, and of which counterfactuals."""

    # Which point of a path is the counterfactual, as of `walk` and `rcsb`. What another choice
    # comes to is measured beside it, on the same paths, and is no part of the costs.
    choice: str | None = None
    margin: float | None = None
    with_cout: bool = False  # whether to measure COUT: 51 queries more for each image
    # Whether to compare the maps (`compare_maps`): 818 queries more for each image, which are part
    # of the costs.
    with_cells: bool = False
    # Where the images may change: inside one mask (S, S) for all; inside the cells that an
    # unconfined walk of the image finds to matter most (part of the costs); or inside a mask that
    # is drawn at random for each image.
    region: Tensor | Region | None = None
    detail: str | None = None  # {"source", "decoded"}, as of `walk`


class OnBatches:
    """What the evaluations of directions and of a bridge share.

    Parameters
    ----------
    label : str
        What the counterfactuals flip.
    settings : EvaluationSettings
        With a choice and a margin.
    """

    def __init__(self, domain: Domain, label: str, settings: EvaluationSettings) -> None:
        self.domain, self.label, self.settings = domain, label, settings
        self._features: Features | None = None
        with suppress(GCDError):  # an oracle without features leaves their figures out
            self._features = oracle_features(domain.oracle)

    def features_of(self, paths: Sequence[Path]) -> FeaturePairs | None:
        """The oracle's features of the paths' images and counterfactuals, as it is shown them.

        None without an oracle that has features.
        """
        oracle = self.domain.oracle
        if oracle is None or self._features is None:
            return None
        sources = torch.cat([path.source_for(oracle) for path in paths])
        found = torch.cat([path.asked(path.counterfactual, oracle) for path in paths])
        return FeaturePairs(*(self._features.of(images).float() for images in (sources, found)))

    def regions_of(
        self,
        images: Tensor | Sequence[Tensor | Picture],
        direction: Direction | None,
        latent: Latent | None,
        first: int,
    ) -> Tensor | None:
        """Return the masks (1 or N, S, S) of N images, None where they may change everywhere.

        Automatic ones are found by a walk along the direction, from the images' latents where they
        have been encoded before, in the evaluation's `detail`. `first` is the first image's number,
        by which free-form ones differ.
        """
        region, domain = self.settings.region, self.domain
        side, classifier = domain.generator.image_size, domain.classifier
        if isinstance(region, FreeFormRegion):
            return torch.stack([region.mask(side, first + i) for i in range(len(images))])
        if not isinstance(region, AutomaticRegion):
            return region if region is None or region.ndim == 3 else region[None]
        assert direction is not None  # it was asked for with such a region
        detail = self.settings.detail
        paths = walk_many(domain, images, direction, self.label, latent, detail=detail)
        ends = [path.ends_for(classifier) for path in paths]
        return torch.stack([region.mask(classifier, self.label, *pair, side) for pair in ends])

    def outcomes_of(
        self,
        files: Sequence[str],
        paths: Sequence[Path],
        others: Sequence[Path],
        heats: Sequence[Attribution],
        cost: Cost,
    ) -> list[Outcome]:
        """Measure the paths of some images by name.

        `others` are the same paths with the other choice of the counterfactual, `heats` their
        BB-LIG maps. The comparison of the maps is added to `cost`.
        """
        domain, settings = self.domain, self.settings
        found = counterfactuals_of(paths)
        maps: list[dict[str, MapOutcome] | None] = [None] * len(paths)
        if settings.with_cells:
            with cost.measure(domain):
                maps = [compare_maps(domain.classifier, path) for path in paths]
        moved = domain.perceptual(found, _reconstruct(domain, found)).tolist()
        figures, of_others = (_counterfactual_figures(domain, each) for each in (paths, others))
        lacking = [
            missing_premise(domain.label_info, path.label, path.source_probabilities)
            for path in paths
        ]
        return [
            Outcome(
                file=files[i],
                probability=path.source_probability,
                flipped=path.counterfactual_flips and not lacking[i],
                oracle_before=oracle_probability(domain, path, None),
                **figures[i],
                exposure=exposure_of(path),
                fine_power=fine_power(path.counterfactual_image).item(),
                source_power=fine_power(path.source).item(),
                reconstruction_lpips=_reconstruction_lpips(domain, path),
                manifold_lpips=moved[i],
                gini_bb_lig=metrics.gini(heat.map),
                gini_difference=metrics.gini(explain_path(path, method="difference").map),
                completeness_error=heat.completeness_error,
                baseline_reached=heat.reached,
                cout=_cout(domain, path) if settings.with_cout else None,
                region=None if path.region is None else path.region.double().mean().item(),
                other=OtherOutcome(others[i].choice, **of_others[i]),
                maps=maps[i],
                third_class=_third_class(path),
                premise_missing=lacking[i],
                direction=path.direction_name,
            )
            for i, (path, heat) in enumerate(zip(paths, heats, strict=True))
        ]


class DirectionsOnBatches(OnBatches):
    """Walks batches of images along directions, and measures counterfactuals and heat maps.

    Raises a GCDError if a direction, the region or a setting does not fit the domain, or the label
    is unknown.

    Parameters
    ----------
    domain, label
        As of `OnBatches`.
    **settings
        Of `EvaluationSettings`; the domain's are taken where there is none.
    """

    def __init__(
        self, domain: Domain, directions: Sequence[Direction], label: str, **settings: Any
    ) -> None:
        asked = EvaluationSettings(**settings)
        choice, margin = resolve_counterfactual(domain, asked.choice, asked.margin)
        detail = resolve_detail(domain, asked.detail)
        super().__init__(domain, label, replace(asked, choice=choice, margin=margin, detail=detail))
        self.directions = directions

    @torch.inference_mode()
    def __call__(
        self, files: Sequence[str], images: Tensor | Sequence[Tensor | Picture], first: int = 0
    ) -> Evaluation:
        """Measure images (N, C, S, S) in [0, 1], or pictures, by their names.

        `first` is the first one's number, by which free-form regions differ.
        """
        sources = images
        images = views_of(images)
        domain = self.domain
        encoding = Cost()
        with encoding.measure(domain):
            latent = domain.generator.encode(images)
        outcomes, costs, found, flipped, features = {}, {}, [], [], {}
        for direction in self.directions:
            cost = replace(encoding)
            with cost.measure(domain):
                regions = self.regions_of(sources, direction, latent, first)
                paths = walk_many(
                    domain,
                    sources,
                    direction,
                    self.label,
                    latent,
                    choice=self.settings.choice,
                    margin=self.settings.margin,
                    regions=regions,
                    detail=self.settings.detail,
                )
                heats = [explain_path(path, method="bb_lig") for path in paths]
            others = _other_choices(domain, paths, direction, latent)
            outcomes[direction.name] = self.outcomes_of(files, paths, others, heats, cost)
            costs[direction.name] = cost
            seen_by_oracle = self.features_of(paths)
            if seen_by_oracle is not None:
                features[direction.name] = seen_by_oracle
            found.append(counterfactuals_of(paths))
            flipped.append([outcome.flipped for outcome in outcomes[direction.name]])
        seen = None
        if len(self.directions) > 1:
            sides = torch.tensor(flipped).T
            seen = see(images, torch.stack(found, dim=1), sides, domain.perceptual)
        return Evaluation(outcomes, costs, seen, features)


def gathered(batches: Iterable[Evaluation]) -> Evaluation:
    """Join what was measured on batches, in their order."""
    outcomes: dict[str, list[Outcome]] = {}
    costs: dict[str, Cost] = {}
    features: dict[str, list[FeaturePairs]] = {}
    seen = None
    for batch in batches:
        for name, pairs in batch.features.items():
            features.setdefault(name, []).append(pairs)
        for name, measured in batch.outcomes.items():
            outcomes.setdefault(name, []).extend(measured)
            costs.setdefault(name, Cost()).add(batch.costs[name])
        if batch.seen is not None:
            seen = batch.seen if seen is None else seen + batch.seen
    joined = {name: FeaturePairs.joined(pairs) for name, pairs in features.items()}
    return Evaluation(outcomes, costs, seen, joined)


def _other_choices(
    domain: Domain, paths: Sequence[Path], direction: Direction, latent: Latent
) -> list[Path]:
    """The same walks with the other choice of the counterfactual, bisected where needed."""
    other = LOWEST_LOSS if paths[0].choice == SMALLEST else SMALLEST
    return bisect(domain, [replace(path, choice=other) for path in paths], direction, latent)


def _counterfactual_figures(domain: Domain, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What `Outcome` and `OtherOutcome` both say of each path's counterfactual."""
    found = counterfactuals_of(paths)
    after = [oracle_probability(domain, path, path.counterfactual) for path in paths]
    l1 = metrics.mean_absolute_error(found, torch.cat([path.source for path in paths]))
    return [
        {
            "counterfactual_probability": path.probabilities[path.counterfactual].item(),
            "oracle_after": after[i],
            "alpha": path.alphas[path.counterfactual].item(),
            "lpips": path.distances[path.counterfactual].item(),
            "l1": l1[i].item(),
        }
        for i, path in enumerate(paths)
    ]


def oracle_probability(domain: Domain, path: Path, point: int | None) -> float | None:
    """Return the oracle's probability of a path's point, or of its source where that is None.

    None where the domain has no oracle, or one that does not know the label.
    """
    oracle = domain.oracle
    if oracle is None or path.label not in oracle.labels:
        return None
    image = path.source_for(oracle) if point is None else path.asked(point, oracle)
    return oracle.probability(oracle(image), path.label).item()


def _third_class(path: Path) -> bool | None:
    """Whether a class that the label's question does not name wins on a path's counterfactual."""
    third = Question(path.label).third
    if third not in path.labels:
        return None
    each = path.all_probabilities[path.counterfactual]
    return bool(each[path.labels.index(third)] >= THRESHOLD)


def _reconstruction_lpips(domain: Domain, path: Path) -> float:
    """LPIPS of the source and what it is encoded and decoded to."""
    composition = path.composition
    if composition is None or composition.baseline is None:
        return path.distances[path.alphas.abs().argmin()].item()
    return domain.perceptual(composition.baseline.clamp(0, 1), path.source).item()


def views_of(images: Tensor | Sequence[Tensor | Picture]) -> Tensor:
    """The generator's views (N, C, S, S) of images or pictures."""
    return images if isinstance(images, Tensor) else torch.cat([view_of(one) for one in images])


def counterfactuals_of(paths: Sequence[Path]) -> Tensor:
    """The counterfactuals (N, C, H, W) of N paths."""
    return torch.cat([path.counterfactual_image for path in paths])


def _of_images_asked_about(
    outcomes: Sequence[Outcome], features: FeaturePairs | None
) -> tuple[list[Outcome], FeaturePairs | None]:
    """Leave out the images that lack what the label is asked of."""
    asked = torch.tensor([not o.premise_missing for o in outcomes])
    if not asked.any():
        raise GCDError(
            f"No image shows {outcomes[0].premise_missing}, which the label is asked of: name "
            "images that do."
        )
    kept = [o for o in outcomes if not o.premise_missing]
    return kept, features and FeaturePairs(*(each[asked] for each in features))


def summarise(
    outcomes: Sequence[Outcome], cost: Cost, features: FeaturePairs | None = None
) -> dict:
    """The figures of one direction: rates and means over its images.

    Images that lack what the label is asked of are left out; `premise_missing` is how many. Raises
    a GCDError where all do.

    Beside the means of `Outcome`'s numbers: `n`; `flip_rate`, and the same of the images that the
    classifier gave the label (`flip_rate_positive`) and of the others (`flip_rate_negative`);
    `oracle_flip_rate` as `metrics.oracle_flip_rate` defines it; `oracle_disagreed`, the share of
    images about which classifier and oracle disagree from the start, which that rate leaves out;
    `fine_power`, of the sources' power at a quarter to half of the sampling
    rate the share that the counterfactuals have; `manifold_ratio`, mean `manifold_lpips` over mean
    `reconstruction_lpips`.
    `alpha` is the mean of its absolute value. `fid_oracle` is the FID of the counterfactuals to the
    images by the oracle's features, where there are `features`. What cannot be had is None.

    What the other choice of the counterfactual comes to stands under its own name, `lowest_loss` or
    `smallest`: a table of `flip_rate`, `oracle_flip_rate`, `oracle_disagreed`, `alpha`, `lpips` and
    `l1`. `maps`, where they were compared, is as of `summarise_maps`.
    """
    named = len(outcomes)
    outcomes, features = _of_images_asked_about(outcomes, features)
    flipped = torch.tensor([o.flipped for o in outcomes])
    positive = torch.tensor([o.probability >= THRESHOLD for o in outcomes])
    figures: dict[str, Any] = {
        "n": len(outcomes),
        "premise_missing": named - len(outcomes),
        "flip_rate": metrics.flip_rate(flipped),
        "flip_rate_positive": metrics.flip_rate(flipped[positive]) if positive.any() else None,
        "flip_rate_negative": metrics.flip_rate(flipped[~positive]) if not positive.all() else None,
        **_oracle_figures(outcomes, flipped, [o.oracle_after for o in outcomes]),
    }
    figures["alpha"] = metrics.mean([abs(o.alpha) for o in outcomes])
    for name in (
        "lpips",
        "l1",
        "exposure",
        "manifold_lpips",
        "reconstruction_lpips",
        "gini_bb_lig",
        "gini_difference",
        "completeness_error",
        "baseline_reached",
        "cout",
        "region",
        "third_class",
    ):
        values = [getattr(o, name) for o in outcomes]
        figures[name] = None if None in values else metrics.mean(values)
    kept, had = sum(o.fine_power for o in outcomes), sum(o.source_power for o in outcomes)
    figures["fine_power"] = kept / had if had else None
    reconstruction = figures["reconstruction_lpips"]
    figures["manifold_ratio"] = (
        figures["manifold_lpips"] / reconstruction if reconstruction else None
    )
    figures["fid_oracle"] = features and features.frechet_distance
    others = [o.other for o in outcomes]
    crossed = torch.tensor(
        [
            (o.other.counterfactual_probability >= THRESHOLD) != (o.probability >= THRESHOLD)
            and o.other.alpha != 0
            for o in outcomes
        ]
    )
    figures[others[0].choice.replace("-", "_")] = {
        "flip_rate": metrics.flip_rate(crossed),
        **_oracle_figures(outcomes, crossed, [other.oracle_after for other in others]),
        "alpha": metrics.mean([abs(other.alpha) for other in others]),
        "lpips": metrics.mean([other.lpips for other in others]),
        "l1": metrics.mean([other.l1 for other in others]),
    }
    compared = [o.maps for o in outcomes if o.maps is not None]
    if compared:
        figures["maps"] = summarise_maps(compared)
    return figures | {f.name: getattr(cost, f.name) for f in fields(Cost)}


def _oracle_figures(
    outcomes: Sequence[Outcome], flipped: Tensor, oracle_after: Sequence[float | None]
) -> dict[str, float | None]:
    """What the oracle, which gave the counterfactuals `oracle_after`, says of those flipped."""
    if outcomes[0].oracle_before is None:
        return {"oracle_flip_rate": None, "oracle_disagreed": None}
    probability = torch.tensor([o.probability for o in outcomes])
    before, after = torch.tensor([o.oracle_before for o in outcomes]), torch.tensor(oracle_after)
    apart = (before >= THRESHOLD) != (probability >= THRESHOLD)
    return {
        "oracle_flip_rate": metrics.oracle_flip_rate(flipped, probability, before, after),
        "oracle_disagreed": apart.double().mean().item(),
    }


def best_of(figures: dict[str, dict], kind: str) -> str | None:
    """The direction of one kind ("h" or "w") of the highest flip rate; None without one.

    Where they tie, of the lower LPIPS.
    """
    names = [name for name in figures if name.startswith(kind)]
    if not names:
        return None
    return max(names, key=lambda name: (figures[name]["flip_rate"], -figures[name]["lpips"]))


@torch.inference_mode()
def evaluate_reconstruction(
    domain: Domain,
    images: NamedImages,
    samplings: Sequence[Sampling | None],
    batch_size: int = 32,
    progress: Callable[[int], None] | None = None,
) -> list[dict]:
    """Compare images with themselves encoded and decoded, for each way of sampling.

    Parameters
    ----------
    images : iterable of (str, Tensor (1, C, H, W))
        Names and images in [0, 1].
    samplings : sequence of (Sampling or None)
        Solvers with their steps; None for what the generator does by itself.
    batch_size : int
        Images at a time.
    progress : callable, optional
        Told how many images are done in one way more.

    Returns
    -------
    list of dict
        For each sampling: `sampling`, `n`, means of `mae`, `ssim`, `lpips`; `agreement`, by label,
        the share of images whose reconstruction the classifier puts on the image's own side of
        the threshold; `evaluations` and `seconds`, both per image.
    """
    columns: list[dict[str, list[Tensor]]] = [{} for _ in samplings]
    costs = [Cost() for _ in samplings]
    count = 0
    labels = domain.labels
    for files, batch in batches_of(images, batch_size):
        count += len(files)
        own = _sides(domain, batch)
        for sampling, column, cost in zip(samplings, columns, costs, strict=True):
            with cost.measure(domain):
                again = _reconstruct(domain, batch, sampling)
            for name, values in {
                "mae": metrics.mean_absolute_error(batch, again),
                "ssim": metrics.ssim(batch, again),
                "lpips": domain.perceptual(again, batch),
                "agreement": (_sides(domain, again) == own).float(),
            }.items():
                column.setdefault(name, []).append(values)
            if progress:
                progress(len(files))
    rows = []
    for sampling, column, cost in zip(samplings, columns, costs, strict=True):
        means = {name: torch.cat(values).mean(dim=0) for name, values in column.items()}
        rows.append(
            {
                "sampling": name_sampling(sampling),
                "n": count,
                "mae": means["mae"].item(),
                "ssim": means["ssim"].item(),
                "lpips": means["lpips"].item(),
                "agreement": dict(zip(labels, means["agreement"].tolist(), strict=True)),
                "evaluations": cost.evaluations / count,
                "seconds": cost.seconds / count,
            }
        )
    return rows


def name_sampling(sampling: Sampling | None) -> str:
    """As it is typed: `solver:steps`, or `solver:encode/decode`; "default" for None."""
    if sampling is None:
        return "default"
    encode, decode = sampling.encode_steps, sampling.decode_steps
    return f"{sampling.solver}:{encode}" + ("" if encode == decode else f"/{decode}")


def batches_of(images: NamedImages, size: int) -> Iterator[tuple[list[str], Tensor]]:
    """Names and images (N, C, H, W), at most `size` at a time."""
    waiting = iter(images)
    while chunk := list(islice(waiting, size)):
        yield [name for name, _ in chunk], torch.cat([image for _, image in chunk])


def _reconstruct(domain: Domain, images: Tensor, sampling: Sampling | None = None) -> Tensor:
    """Images (N, C, H, W) encoded and decoded, on the CPU."""
    generator = domain.generator
    if sampling is None:
        return generator.decode(generator.encode(images)).cpu()
    latent = generator.encode(images, sampling.solver, sampling.encode_steps)
    return generator.decode(latent, sampling.solver, sampling.decode_steps).cpu()


def _sides(domain: Domain, images: Tensor) -> Tensor:
    """On which side of the threshold the classifier puts images, for each label: (N, L), bool."""
    logits = domain.classifier(images)
    probabilities = [domain.classifier.probability(logits, label) for label in domain.labels]
    return torch.stack(probabilities, dim=1) >= THRESHOLD


def _cout(domain: Domain, path: Path) -> float:
    classifier, end = domain.classifier, path.counterfactual
    source, changed = path.source_for(classifier), path.asked(end, classifier)
    return metrics.cout(classifier, path.label, source, changed)
