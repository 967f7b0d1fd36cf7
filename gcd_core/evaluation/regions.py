"""What a steered bridge does to regions of many images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from gcd_core.bridge.paths import NAME, bridge_of, rcsb_many
from gcd_core.bridge.rcsb import Steering
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.evaluate import (
    Cost,
    Evaluation,
    NamedImages,
    Outcome,
    Region,
    batches_of,
    outcomes_of,
    regions_of,
)
from gcd_core.evaluation.maps import compare_maps
from gcd_core.method.attribution import explain_path
from gcd_core.method.counterfactual import SMALLEST, WHOLE
from gcd_core.method.directions import Direction
from gcd_core.method.region import AutomaticRegion


def evaluate_rcsb(
    domain: Domain,
    images: NamedImages,
    label: str,
    region: Tensor | Region,
    direction: Direction | None = None,
    steering: Steering | None = None,
    batch_size: int = 8,
    with_cout: bool = False,
    progress: Callable[[int], None] | None = None,
    choice: str | None = None,
    margin: float | None = None,
    with_cells: bool = False,
) -> Evaluation:
    """Change regions of many images by the domain's bridge, and measure what came of them.

    Parameters
    ----------
    domain : Domain
    images : iterable of (str, Tensor (1, C, H, W))
        Names and images in [0, 1]; read as they are needed.
    label : str
        What the counterfactuals flip.
    region : Tensor (S, S), AutomaticRegion or FreeFormRegion
        As of `evaluate_directions`.
    direction : Direction, optional
        The one along which an unconfined walk finds what matters, for an automatic region.
    steering : Steering, optional
        By default the domain's.
    batch_size : int
        Images that are steered together.
    with_cout, progress, margin, with_cells
        As of `evaluate_directions`.
    choice : {"whole", "smallest", "lowest-loss"}, optional
        As of `rcsb`, whole by default; the other that is measured is the smallest, or the whole
        beside the smallest.

    Returns
    -------
    Evaluation
        Of one direction, "rcsb". Its costs are those of the regions and of the steering; the
        bridge's own passes are not among the generator's evaluations.

    Raises
    ------
    GCDError
        If there is no bridge or no gradient, no direction for an automatic region, or something
        does not fit.
    """
    bridge_of(domain)
    if isinstance(region, AutomaticRegion) and direction is None:
        raise GCDError("An automatic region is found by a walk; give the direction.")
    choice = choice or WHOLE
    margin = domain.margin if margin is None else margin
    other = WHOLE if choice == SMALLEST else SMALLEST
    cost, outcomes = Cost(), list[Outcome]()
    for files, batch in batches_of(images, batch_size):
        with cost.measure(domain):
            with torch.inference_mode():
                masks = regions_of(domain, batch, direction, label, None, region, len(outcomes))
            assert masks is not None  # a region is given
            paths = rcsb_many(domain, batch, label, masks, steering, choice=choice, margin=margin)
            with torch.inference_mode():
                heats = [explain_path(path, method="bb_lig") for path in paths]
        with torch.inference_mode():
            others = [replace(path, choice=other) for path in paths]
            measured = outcomes_of(domain, files, paths, others, heats, with_cout)
            if with_cells:
                with cost.measure(domain):
                    maps = [compare_maps(domain.classifier, path) for path in paths]
                measured = [replace(o, maps=m) for o, m in zip(measured, maps, strict=True)]
        outcomes += measured
        if progress:
            progress(len(files))
    return Evaluation({NAME: outcomes}, {NAME: cost}, None, [], choice, margin)
