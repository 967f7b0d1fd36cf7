"""What a steered bridge does to regions of many images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gcd_core.bridge.paths import NAME, bridge_of, rcsb_many
from gcd_core.bridge.rcsb import Steering
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.outcomes import (
    Cost,
    Evaluation,
    EvaluationSettings,
    OnBatches,
    Region,
    views_of,
)
from gcd_core.images.picture import Picture
from gcd_core.method.attribution import explain_path
from gcd_core.method.counterfactual import SMALLEST, WHOLE
from gcd_core.method.directions import Direction
from gcd_core.method.region import AutomaticRegion


class BridgeOnBatches(OnBatches):
    """Changes regions of batches of images by the domain's bridge, and measures what came of them.

    The other choice of the counterfactual that is measured is the smallest, or the whole beside the
    smallest. Raises a GCDError if there is no bridge or no gradient, no direction for an automatic
    region, or something does not fit.

    Parameters
    ----------
    domain, label
        As of `OnBatches`.
    region : Tensor (S, S), AutomaticRegion or FreeFormRegion
        As of `EvaluationSettings`.
    direction : Direction, optional
        The one along which an unconfined walk finds what matters, for an automatic region.
    steering : Steering, optional
        By default the domain's.
    **settings
        Others of `EvaluationSettings`; the choice is "whole" by default.
    """

    def __init__(
        self,
        domain: Domain,
        label: str,
        region: Tensor | Region,
        direction: Direction | None = None,
        steering: Steering | None = None,
        **settings: Any,
    ) -> None:
        bridge_of(domain)
        if isinstance(region, AutomaticRegion) and direction is None:
            raise GCDError("An automatic region is found by a walk; give the direction.")
        asked = EvaluationSettings(region=region, **settings)
        margin = domain.margin if asked.margin is None else asked.margin
        super().__init__(domain, label, replace(asked, choice=asked.choice or WHOLE, margin=margin))
        self.direction, self.steering = direction, steering

    def __call__(
        self, files: Sequence[str], images: Tensor | Sequence[Tensor | Picture], first: int = 0
    ) -> Evaluation:
        """As `DirectionsOnBatches.__call__`, of one direction, "rcsb".

        Its costs are those of the regions and of the steering; the bridge's own passes are not
        among the generator's evaluations.
        """
        domain, settings, cost, images = self.domain, self.settings, Cost(), views_of(images)
        with cost.measure(domain):
            with torch.inference_mode():
                masks = self.regions_of(images, self.direction, None, first)
            assert masks is not None and settings.choice is not None  # both are given
            paths = rcsb_many(
                domain,
                images,
                self.label,
                masks,
                self.steering,
                choice=settings.choice,
                margin=settings.margin,
            )
            with torch.inference_mode():
                heats = [explain_path(path, method="bb_lig") for path in paths]
        with torch.inference_mode():
            other = WHOLE if settings.choice == SMALLEST else SMALLEST
            others = [replace(path, choice=other) for path in paths]
            measured = self.outcomes_of(files, paths, others, heats, cost)
            features = self.features_of(paths)
        named = {} if features is None else {NAME: features}
        return Evaluation({NAME: measured}, {NAME: cost}, None, named)
