"""What a steered bridge does to regions of many images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gcd_core.bridge.paths import NAME, bridge_of, rcsb_many
from gcd_core.bridge.rcsb import Steering
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.outcomes import (
    Cost,
    Evaluation,
    Region,
    outcomes_of,
    regions_of,
    views_of,
)
from gcd_core.images.picture import Picture
from gcd_core.method.attribution import explain_path
from gcd_core.method.counterfactual import SMALLEST, WHOLE
from gcd_core.method.directions import Direction
from gcd_core.method.region import AutomaticRegion


class BridgeOnBatches:
    """Changes regions of batches of images by the domain's bridge, and measures what came of them.

    Raises a GCDError if there is no bridge or no gradient, no direction for an automatic region, or
    something does not fit.

    Parameters
    ----------
    domain : Domain
    label : str
        What the counterfactuals flip.
    region : Tensor (S, S), AutomaticRegion or FreeFormRegion
        As of `DirectionsOnBatches`.
    direction : Direction, optional
        The one along which an unconfined walk finds what matters, for an automatic region.
    steering : Steering, optional
        By default the domain's.
    with_cout, margin, with_cells
        As of `DirectionsOnBatches`.
    choice : {"whole", "smallest", "lowest-loss"}, optional
        As of `rcsb`, whole by default; the other that is measured is the smallest, or the whole
        beside the smallest.
    """

    def __init__(
        self,
        domain: Domain,
        label: str,
        region: Tensor | Region,
        direction: Direction | None = None,
        steering: Steering | None = None,
        with_cout: bool = False,
        choice: str | None = None,
        margin: float | None = None,
        with_cells: bool = False,
    ) -> None:
        bridge_of(domain)
        if isinstance(region, AutomaticRegion) and direction is None:
            raise GCDError("An automatic region is found by a walk; give the direction.")
        self.choice = choice or WHOLE
        self.margin = domain.margin if margin is None else margin
        self.domain, self.label, self.region = domain, label, region
        self.direction, self.steering = direction, steering
        self.with_cout, self.with_cells = with_cout, with_cells

    def __call__(
        self,
        files: Sequence[str],
        images: Tensor | Sequence[Tensor | Picture],
        first: int = 0,
    ) -> Evaluation:
        """As `DirectionsOnBatches.__call__`, of one direction, "rcsb".

        Its costs are those of the regions and of the steering; the bridge's own passes are not
        among the generator's evaluations.
        """
        domain, cost, images = self.domain, Cost(), views_of(images)
        with cost.measure(domain):
            with torch.inference_mode():
                masks = regions_of(
                    domain, images, self.direction, self.label, None, self.region, first
                )
            assert masks is not None  # a region is given
            paths = rcsb_many(
                domain,
                images,
                self.label,
                masks,
                self.steering,
                choice=self.choice,
                margin=self.margin,
            )
            with torch.inference_mode():
                heats = [explain_path(path, method="bb_lig") for path in paths]
        with torch.inference_mode():
            other = WHOLE if self.choice == SMALLEST else SMALLEST
            others = [replace(path, choice=other) for path in paths]
            asked = (self.with_cout, self.with_cells, cost)
            measured = outcomes_of(domain, files, paths, others, heats, *asked)
        return Evaluation({NAME: measured}, {NAME: cost}, None)
