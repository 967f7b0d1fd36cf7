"""Whether a changed region still looks like what the generator learned."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from gcd_core.method.models import Models

MAX_RATIO = 2.5  # of `redrawing_ratio`, above which a region is called unlike real pictures
LEAST_DISTANCE = 0.02  # LPIPS: what the generator redraws better than this is redrawn well


class LocalDistance(Protocol):
    """A perceptual distance that can be measured inside a mask, such as `LPIPS`."""

    def inside(self, a: Tensor, b: Tensor, masks: Tensor) -> Tensor:
        """Distances (N,) of images (N, C, H, W) inside masks (N, H, W), bool."""


@torch.inference_mode()
def redrawing_ratio(
    domain: Models, distance: LocalDistance, source: Tensor, changed: Tensor, mask: Tensor
) -> float:
    """How much worse the generator redraws a changed region than the same region of the source.

    A generator redraws (encodes and decodes) what is like its training images better than what is
    not: a white rectangle comes back with soft edges and ribs in it. The source's own region says
    what is usual there.

    Parameters
    ----------
    domain : Models
    distance : LocalDistance
    source, changed : Tensor (1, C, S, S)
        In [0, 1], at the generator's size.
    mask : Tensor (S, S), bool

    Returns
    -------
    float
        LPIPS inside the mask between the changed picture and itself redrawn, over the same of the
        source; each at least 0.02. About 1 where nothing was changed.
    """
    both = torch.cat([source, changed])
    redrawn = domain.generator.decode(domain.generator.encode(both)).to(both)
    before, after = distance.inside(redrawn, both, mask.expand(2, -1, -1)).tolist()
    return max(after, LEAST_DISTANCE) / max(before, LEAST_DISTANCE)
