"""The paper's tables and figures of maps: S-Table 5, Fig. 4, S-Figs. 1 to 3."""

from __future__ import annotations

import math

from torch import Tensor

from gcd_core.evaluation.metrics import (
    effective_complexity,
    mean,
    quantus_judges,
    rank_correlation,
)
from gcd_core.evaluation.trials import Rows, Trials
from gcd_core.images.drawing import difference, overlay
from gcd_core.method.attribution import explain_path
from gcd_core.method.curve_quantiles import curve_quantiles, mean_map
from gcd_core.method.directions import Direction

MAPS = ("BB-LIG", "AD")  # AD: the absolute difference
BINS = 10  # of the shares of pixels


def maps_of_flips(trials: Trials) -> dict[str, list[Tensor]]:
    """BB-LIG and the absolute difference (H, W) of each image that g flips; made once."""

    def make() -> dict[str, list[Tensor]]:
        heats: dict[str, list[Tensor]] = {name: [] for name in MAPS}
        for path in trials.walked(trials.directions["g"]):
            if path.counterfactual_flips:
                at = path.counterfactual
                heats["BB-LIG"].append(explain_path(path, until=at).map)
                heats["AD"].append(explain_path(path, "difference", until=at).map)
        return heats

    return trials.once("maps", make)


def simplicity(trials: Trials) -> Rows:
    """S-Table 5: sparseness, complexity and effective complexity, a share of the pixels."""
    heats, (by, judges) = maps_of_flips(trials), quantus_judges()
    row: dict = {"dataset / class": f"{trials.domain.name} / {trials.label}"}
    for judge, of in judges.items():
        for name, maps in heats.items():
            shares = judge == "effective_complexity"
            values = [of(heat) / (heat.numel() if shares else 1) for heat in maps]
            row[f"{judge.replace('_', ' ')} {name}"] = mean(values)
    return [row | {"n": len(heats["AD"]), "by": by}]


def lit_pixels(trials: Trials) -> Rows:
    """S-Fig. 3: of how many images' maps this share of the pixels is not zero.

    A pixel is zero below 1e-5 of the map's largest, as of effective complexity. Each row is of a
    tenth of the shares, from `from` on and below `to`.
    """
    counts = {}
    for name, maps in maps_of_flips(trials).items():
        shares = [effective_complexity(heat) / heat.numel() for heat in maps]
        places = [min(int(BINS * share), BINS - 1) for share in shares]
        counts[name] = [places.count(i) / max(len(places), 1) for i in range(BINS)]
    return [
        {"from": i / BINS, "to": (i + 1) / BINS, **{name: counts[name][i] for name in MAPS}}
        for i in range(BINS)
    ]


def mean_maps_of_g(trials: Trials) -> Rows:
    """Fig. 4: `mean_maps` along g alone."""
    return _mean_maps(trials, [trials.directions["g"]])


def mean_maps(trials: Trials) -> Rows:
    """S-Fig. 1: what all images' counterfactuals change alike, along each direction.

    The mean size of the absolute difference and of BB-LIG, laid over the mean image in
    `trials.pictures`; `agreement` is the mean rank correlation of an image's map with the mean of
    the others', `top_decile` the share of the mean that lies in a tenth of the picture.
    """
    return _mean_maps(trials, list(trials.directions))


def _mean_maps(trials: Trials, directions: list[Direction]) -> Rows:
    middle, rows = trials.images.mean(0, keepdim=True), []
    for direction in directions:
        maps: dict[str, list[Tensor]] = {"AD": [], "BB-LIG": []}
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


def curves(trials: Trials) -> Rows:
    """S-Fig. 2: quartiles of the probability of the side that each image was on, along g.

    Of the images whose counterfactual flips; no row where there is none.
    """
    curves = []
    for path in trials.walked(trials.directions["g"]):
        if path.counterfactual_flips:
            own = path.source_probability >= path.threshold
            sides = path.probabilities if own else 1 - path.probabilities
            curves.append(list(zip(path.alphas.abs().tolist(), sides.tolist(), strict=True)))
    if not curves:
        return []
    spread = curve_quantiles(curves, points=13)
    return [
        {"alpha": alpha, "lower": low, "median": median, "upper": high, "n": len(curves)}
        for alpha, low, median, high in zip(
            spread.alphas.tolist(), *spread.quartiles.tolist(), strict=True
        )
    ]
