"""The paper's ablations: weight of LPIPS, number of samples, radius, source image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.nn import functional as F

from gcd_core.evaluation import metrics
from gcd_core.evaluation.radius_sweep import measure_radii
from gcd_core.evaluation.trials import Rows, Trials, light
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.curve_quantiles import mean_heat

LAMBDAS = (0.0625, 0.25, 1.0, 4.0)
RADII = (0.5, 1.0, 1.5)  # times the domain's
STEP = 1024  # samples, as in the paper; a quarter of all where there are fewer
SOURCES = 4


def sources(trials: Trials) -> Rows:
    """G from several source images, spread over the classifier's answers, tried on all images."""
    rows, own = [], mean_heat(trials.walked(trials.directions["g"]))
    for i in _spread(trials):
        g = trials.search(trials.images[i : i + 1]).directions["g"]
        paths = trials.walked(g)
        rows.append(
            {
                "source": trials.names[i],
                "probability": trials.probabilities[i].item(),
                "cosine": trials.cosine(g),
                "map_correlation": metrics.rank_correlation(own, mean_heat(paths)),
                **trials.figures([light(path) for path in paths]),
            }
        )
    return rows


def counts(samples: int) -> list[int]:
    """So many samples, time after time: 1,024 x i, or quarters where there are fewer."""
    step = STEP if samples >= STEP else max(samples // 4, 16)
    return [*range(step, samples, step), samples]


def lambda_needs(trials: Trials) -> Rows:
    """How many samples g takes to settle, by the weight of LPIPS; from one pool."""
    rows: Rows = []
    for lam in LAMBDAS:
        whole = trials.from_pool(lam=lam)
        for count in counts(trials.samples):
            g = trials.from_pool(lam=lam, n_samples=count)
            to_whole = F.cosine_similarity(g.vector, whole.vector, dim=0).item()
            rows.append({"lambda": lam, "samples": count, "cosine_to_all": to_whole})
    return rows


def lambda_counterfactual(trials: Trials) -> Rows:
    """What the weight of LPIPS does to the paper's counterfactual, of the lowest loss.

    It weighs in the proxy's loss, from one pool, and in the CF loss of each walk.
    """
    rows: Rows = []
    for lam in LAMBDAS:
        search = trials.domain.search.changed(lam=lam)
        own = trials.on(replace(trials.domain, search=search, counterfactual=LOWEST_LOSS))
        rows.append({"lambda": lam, **own.of_g(trials.from_pool(lam=lam))})
    return rows


def sample_counts(trials: Trials) -> Rows:
    """G of ever more samples, the first of one pool's, tried on all images."""
    last, rows = trials.from_pool(), []
    for count in counts(trials.samples):
        g = trials.from_pool(n_samples=count)
        row: dict[str, Any] = {"samples": count}
        row["cosine_to_all"] = F.cosine_similarity(g.vector, last.vector, dim=0).item()
        rows.append(row | trials.of_g(g))
    return rows


def radii(trials: Trials) -> Rows:
    """G of several radii, by the paper's counterfactual; each radius has samples of its own."""
    tried = [factor * trials.domain.search.radius for factor in RADII]
    return measure_radii(
        trials.domain, trials.source, trials.images, trials.label, tried, trials.samples
    )


def _spread(trials: Trials) -> list[int]:
    """Images spread over the classifier's answers, from the surest no to the surest yes."""
    order = trials.probabilities.argsort().tolist()
    last = len(order) - 1
    return [order[round(i * last / (SOURCES - 1))] for i in range(SOURCES)]
