"""The paper's ablations: source image (Table 3), and S-Fig. 4's samples, lambda and radius."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

from torch.nn import functional as F

from gcd_core.evaluation import metrics
from gcd_core.evaluation.published import COLUMNS, OWN, in_columns
from gcd_core.evaluation.trials import Rows, Trials, light
from gcd_core.images.drawing import to_pil
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.curve_quantiles import mean_heat
from gcd_core.method.directions import Direction

LAMBDAS = (0.0625, 0.25, 1.0, 4.0)
RADII = (0.25, 0.5, 1.0, 1.5, 2.0)  # times the domain's: the paper's 1, 2, 4, 6, 8
STEP = 1024  # samples, as in the paper; a quarter of all where there are fewer
SOURCES = 5
MAX_WALKED = 32  # images that each g of S-Fig. 4 is tried on: it has dozens


def sources(trials: Trials) -> Rows:
    """Table 3: g from five source images, spread over the classifier's answers, on all images."""
    return trials.once("sources", lambda: _sources(trials))


def _sources(trials: Trials) -> Rows:
    rows, own = [], mean_heat(trials.walked(trials.directions["g"]))
    for i in _spread(trials):
        g = trials.search(trials.images[i : i + 1]).directions["g"]
        paths = trials.walked(g)
        rows.append(
            {
                "source": trials.names[i],
                "probability": trials.probabilities[i].item(),
                "cosine": _cosine(g, trials.directions["g"]),
                "map_correlation": metrics.rank_correlation(own, mean_heat(paths)),
                **in_columns("3", trials.figures([light(path) for path in paths])),
            }
        )
    return rows


def spread(trials: Trials) -> Rows:
    """S-Table 1: the mean of Table 3's rows, and the deviation of each figure behind it."""
    rows = sources(trials)
    row: dict[str, Any] = {"dataset": trials.domain.name, "class": trials.label}
    by_others = [name for name in rows[0] if name.partition("(")[0] in COLUMNS["S1"]]
    for name in dict.fromkeys((*COLUMNS["S1"], *by_others, *OWN[:-1])):
        values = [own[name] for own in rows if own[name] is not None]
        row[name] = metrics.mean(values)
        if values:
            row[f"{name}_std"] = statistics.pstdev(values)
    return [row | {"sources": len(rows), "n": rows[0]["n"]}]


def counts(samples: int) -> list[int]:
    """So many samples, time after time: 1,024 x i, or quarters where there are fewer."""
    step = STEP if samples >= STEP else max(samples // 4, 16)
    return [*range(step, samples, step), samples]


def cf_losses(trials: Trials) -> Rows:
    """S-Fig. 4: the CF loss against the number of samples, by lambda (left) and radius (middle).

    Samples are the first of one pool, the proxy is fitted from scratch each time, and lambda weighs
    in its loss and in the walks'. Each radius but the domain's has a pool of its own, as its codes
    are others. The right of the figure, one image's counterfactual for each lambda, is in
    `trials.pictures`. At most 32 images are walked for each g.
    """
    rows: Rows = []
    for lam in LAMBDAS:
        rows += _by_samples(trials, "left", lam, trials.settings.radius)
    for factor in RADII:
        rows += _by_samples(trials, "middle", trials.settings.lam, factor * trials.settings.radius)
    return rows


def _by_samples(trials: Trials, panel: str, lam: float, radius: float) -> Rows:
    few = trials.images[:: -(-len(trials.images) // MAX_WALKED)]
    search = trials.domain.search.changed(lam=lam)
    domain = replace(trials.domain, search=search, counterfactual=LOWEST_LOSS)
    own, rows = trials.on(domain, few), []
    numbers = counts(trials.samples)
    found = [trials.from_pool(lam=lam, radius=radius, n_samples=count) for count in numbers]
    for count, g in zip(numbers, found, strict=True):
        paths = own.walked(g)
        rows.append(
            {
                "panel": panel,
                "lambda": lam,
                "radius": radius,
                "samples": count,
                "CF loss": metrics.mean([p.losses[p.counterfactual].item() for p in paths]),
                "FR": 100 * sum(p.counterfactual_flips for p in paths) / len(paths),
                "LPIPS": metrics.mean([p.distances[p.counterfactual].item() for p in paths]),
                "alpha": metrics.mean([abs(p.alphas[p.counterfactual].item()) for p in paths]),
                "cosine_to_all": _cosine(g, found[-1]),
                "n": len(paths),
            }
        )
    if panel == "left":
        trials.pictures[f"lambda-{lam:g}"] = to_pil(paths[0].counterfactual_image)
    return rows


def _cosine(one: Direction, other: Direction) -> float:
    return F.cosine_similarity(one.vector, other.vector, dim=0).item()


def _spread(trials: Trials) -> list[int]:
    """Images spread over the classifier's answers, from the surest no to the surest yes."""
    order = trials.probabilities.argsort().tolist()
    last = len(order) - 1
    return [order[round(i * last / (SOURCES - 1))] for i in range(SOURCES)]
