"""Heat maps compared: how well each points at what the classifier reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox
from gcd_core.evaluation import metrics
from gcd_core.images.drawing import difference
from gcd_core.method.attribution import explain_path
from gcd_core.method.path import Path

COMPARED = ("cells", "bb_lig", "difference")


@dataclass(frozen=True)
class MapOutcome:
    """How well one map of one path points at what the classifier reads."""

    gini: float  # its sparseness
    # What its sum lacks of the change that it explains; None of the difference, which explains
    # none.
    completeness_error: float | None
    # Insertion: COUT of the counterfactual's pixels pasted into the source, those of the highest
    # absolute value of the map first. In [-1, 1], the higher the better.
    cout: float
    cout_back: float  # deletion: the same on the way back, from the counterfactual to the source


def compare_maps(classifier: BlackBox, path: Path) -> dict[str, MapOutcome]:
    """Measure the maps of a path, by their names: cells, BB-LIG, and the difference.

    All are judged on the same two pictures, source and counterfactual as the classifier is asked
    about them; a map is brought to their size, linearly. It costs the 512 queries of the cells and
    102 for each map.
    """
    found: dict[str, tuple[Tensor, float | None]] = {}
    for method in ("cells", "bb_lig"):
        heat = explain_path(path, method=method, classifier=classifier)
        found[method] = heat.map, heat.completeness_error
    found["difference"] = difference(path.counterfactual_image, path.source), None
    source, changed = path.source_for(classifier), path.asked(path.counterfactual, classifier)
    size = int(source.shape[-2]), int(source.shape[-1])
    ranks = {
        method: F.interpolate(heat.abs()[None, None], size, mode="bilinear")[0, 0]
        for method, (heat, _) in found.items()
    }
    return {
        method: MapOutcome(
            gini=metrics.gini(heat),
            completeness_error=error,
            cout=metrics.cout(classifier, path.label, source, changed, heat=ranks[method]),
            cout_back=metrics.cout(classifier, path.label, changed, source, heat=ranks[method]),
        )
        for method, (heat, error) in found.items()
    }


def summarise_maps(outcomes: Sequence[dict[str, MapOutcome]]) -> dict[str, dict]:
    """The means of several paths' maps, by method; of the completeness error, of its size."""
    figures: dict[str, dict] = {}
    for method in COMPARED:
        maps = [outcome[method] for outcome in outcomes]
        errors = [m.completeness_error for m in maps]
        figures[method] = {
            "gini": metrics.mean([m.gini for m in maps]),
            "completeness_error": metrics.mean([None if e is None else abs(e) for e in errors]),
            "cout": metrics.mean([m.cout for m in maps]),
            "cout_back": metrics.mean([m.cout_back for m in maps]),
        }
    return figures


def mass_inside(heat: Tensor, inside: Tensor) -> tuple[float, float]:
    """Of a map (H, W) the share that lies inside a mask (H, W), and whether its peak does: 0 or 1.

    Both are of the absolute values; a map of zeros has a share of 0.
    """
    size = heat.double().abs()
    share = (size * inside).sum().item() / max(size.sum().item(), 1e-12)
    return share, float(inside.flatten()[size.flatten().argmax()].item())
