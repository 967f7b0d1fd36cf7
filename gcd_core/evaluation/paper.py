"""The paper's tables and figures on a domain, by walks along directions found before."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import ablations, appendix_ablations
from gcd_core.evaluation.metrics import mean, quantus_judges, rank_correlation
from gcd_core.evaluation.outcomes import batches_of, counterfactuals_of
from gcd_core.evaluation.pairs import Comparison, diversity_of_flips, see
from gcd_core.evaluation.paper_comparison import PAPER, PAPER_POINTS, FixedSampling
from gcd_core.evaluation.trials import Rows, Trials, light
from gcd_core.images.drawing import difference, overlay
from gcd_core.method.attribution import explain_path
from gcd_core.method.composition import DECODED
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.curve_quantiles import curve_quantiles, mean_map
from gcd_core.method.settings import BALL
from gcd_core.method.walk import Path, walk_many

PAPER_ALPHA = 3.0


class Table(NamedTuple):
    """A table: what it is called, and what makes its rows."""

    title: str
    make: Callable[[Trials], Rows]


def in_papers_protocol(domain: Domain) -> Domain:
    """The domain by the paper's own settings.

    DDIM 100/250, 128 alphas in [0, 3], the counterfactual of the lowest loss, decoded images.
    """
    return replace(
        domain,
        generator=FixedSampling(domain.generator, PAPER),
        alpha_max=PAPER_ALPHA,
        walk_points=PAPER_POINTS,
        counterfactual=LOWEST_LOSS,
        detail=DECODED,
        search=domain.search.changed(boundary=False, antithetic=False, sampling=BALL),
        codes={},
    )


def directions_table(trials: Trials) -> Rows:
    """Of each direction: flip rates, COUT, LPIPS, FID, sFID, S3, those of faces; S1 and S2."""
    domain, directions = trials.domain, list(trials.directions)
    comparison = Comparison.of(directions)
    all_paths: dict[str, list[Path]] = {d.name: [] for d in directions}
    for _, batch in batches_of(trials.named(), trials.batch_size):
        latent = domain.generator.encode(batch)
        found, flipped = [], []
        for direction in directions:
            paths = walk_many(domain, batch, direction, trials.label, latent)
            all_paths[direction.name] += [light(path) for path in paths]
            found.append(counterfactuals_of(paths))
            flipped.append([path.counterfactual_flips for path in paths])
        sides = torch.tensor(flipped).T
        comparison.add(see(batch, torch.stack(found, dim=1), sides, domain.perceptual))
    rows = [{"direction": name, **trials.figures(paths)} for name, paths in all_paths.items()]
    if len(rows) > 1:
        rows.append({"direction": "S1", "lpips": comparison.diversity})
        rows.append({"direction": "S2", "lpips": diversity_of_flips(comparison.pairs())})
    return rows


def maps_table(trials: Trials) -> Rows:
    """BB-LIG against the absolute difference, over the images that g flips."""
    heats: dict[str, list[Tensor]] = {"BB-LIG": [], "difference": []}
    for path in trials.walked(trials.directions["g"]):
        if path.counterfactual_flips:
            at = path.counterfactual
            heats["BB-LIG"].append(explain_path(path, until=at).map)
            heats["difference"].append(explain_path(path, "difference", until=at).map)
    by, judges = quantus_judges()
    return [
        {
            "map": name,
            "n": len(maps),
            **{judge: mean([of(heat) for heat in maps]) for judge, of in judges.items()},
            "by": by,
        }
        for name, maps in heats.items()
    ]


def mean_maps_table(trials: Trials) -> Rows:
    """What all images' counterfactuals change alike: mean maps, and how alike the images' own are.

    Of each direction the mean size of the difference and of BB-LIG, laid over the mean image in
    `trials.pictures`; `agreement` is the mean rank correlation of an image's map with the mean of
    the others', `top_decile` the share of the mean that lies in a tenth of the picture.
    """
    middle, rows = trials.images.mean(0, keepdim=True), []
    for direction in trials.directions:
        maps: dict[str, list[Tensor]] = {"difference": [], "BB-LIG": []}
        for path in trials.walked(direction):
            changed = difference(path.counterfactual_image, path.source)
            heat = explain_path(path, until=path.counterfactual).map
            for own, size in zip(maps.values(), (changed, heat), strict=True):
                own.append(size.abs().double())
        for name, own in maps.items():
            mean_of_all = mean_map(own)
            trials.pictures[f"{direction.name}-{name}"] = overlay(middle, mean_of_all)
            rows.append(
                {
                    "direction": direction.name,
                    "map": name,
                    "n": len(own),
                    "agreement": _agreement(own),
                    "top_decile": _top_decile(mean_of_all),
                }
            )
    return rows


def _agreement(maps: list[Tensor]) -> float | None:
    """The mean rank correlation of each map with the mean of the others."""
    others = (mean_map(maps[:i] + maps[i + 1 :]) for i in range(len(maps)))
    pairs = zip(maps, others, strict=True)
    return mean(rank_correlation(own, rest) for own, rest in pairs)


def _top_decile(heat: Tensor) -> float:
    """The share of a map (H, W) of sizes that lies in its strongest tenth of the pixels."""
    size = heat.flatten().sort(descending=True).values
    return (size[: math.ceil(len(size) / 10)].sum() / size.sum().clamp(min=1e-12)).item()


def curves_table(trials: Trials) -> Rows:
    """Quartiles of the probability of the side that each image was on, along g."""
    curves = []
    for path in trials.walked(trials.directions["g"]):
        own = path.source_probability >= path.threshold
        sides = path.probabilities if own else 1 - path.probabilities
        curves.append(list(zip(path.alphas.abs().tolist(), sides.tolist(), strict=True)))
    spread = curve_quantiles(curves, points=13)
    return [
        {"alpha": alpha, "lower": low, "median": median, "upper": high}
        for alpha, low, median, high in zip(
            spread.alphas.tolist(), *spread.quartiles.tolist(), strict=True
        )
    ]


TABLES = {
    "1": Table("Counterfactuals along each direction (Table 1)", directions_table),
    "2": Table("Sparseness and complexity of maps (Table 2)", maps_table),
    "3": Table("Source images: g found from each (Table 3)", ablations.sources),
    "4": Table("Number of samples: g from the first of one pool", ablations.sample_counts),
    "D1": Table("Mean change and mean heat of all images (Fig. 4, D.1)", mean_maps_table),
    "D2": Table("Probability along g, quartiles over images (D.2)", curves_table),
    "D3": Table("Other generators: g found by each (D.3)", appendix_ablations.generators),
    "D6": Table("Pictures of other resolutions (D.6)", appendix_ablations.resolutions),
    "F1": Table("Weight of LPIPS: how many samples g needs (F.1)", ablations.lambda_needs),
    "F2": Table("Weight of LPIPS: the counterfactual (F.2)", ablations.lambda_counterfactual),
    "F3": Table("Radius of the perturbations (F.3)", ablations.radii),
}


def make_table(name: str, trials: Trials) -> Rows:
    """Make one table's rows. Raises a GCDError if there is no such table."""
    if name not in TABLES:
        raise GCDError(f"There is no table {name!r}; there are {', '.join(TABLES)}.")
    return TABLES[name].make(trials)
