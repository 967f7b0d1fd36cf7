"""Regions: changes that stay inside a mask, with the source's own pixels everywhere else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox
from gcd_core.errors import GCDError
from gcd_core.images.free_form import free_form_masks
from gcd_core.method.cells import at_size, explain_cells
from gcd_core.method.models import Models

SOFT = 32  # the border of a region is soft over this part of the picture's side
CELLS = 16  # a side, of an automatic region
QUANTILE = 0.7  # of the cells' importance, from which on an automatic region takes them


def check_region(domain: Models, region: Tensor | None, n: int = 1) -> Tensor | None:
    """Return masks (1 or n, S, S), bool, on the CPU; None stays None, for the whole picture.

    Raises a GCDError if a mask is of another size, holds anything between, or is empty or full.

    Parameters
    ----------
    domain : Models
    region : Tensor (S, S) or (1 or n, S, S), optional
        Where the picture may change; bool, or numbers of which 0 is outside and 1 inside.
    n : int
        How many images there are.
    """
    if region is None:
        return None
    size = domain.generator.image_size
    if not isinstance(region, Tensor) or region.shape[-2:] != (size, size):
        found = tuple(region.shape) if isinstance(region, Tensor) else type(region).__name__
        raise GCDError(
            f"The region is {found}; {domain.name} needs a mask of {size} x {size}, True where the "
            "picture may change."
        )
    masks = region.cpu()[None] if region.ndim == 2 else region.cpu()
    if masks.ndim != 3 or len(masks) not in (1, n):
        raise GCDError(f"Regions {tuple(region.shape)} were given for {n} images; one each, or 1.")
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise GCDError("The region is no mask: it has values between outside (0) and inside (1).")
    masks = masks.bool()
    shares = masks.double().mean((1, 2))
    if bool((shares == 0).any()):
        raise GCDError("The region is empty; mark the part of the picture that may change.")
    if bool((shares == 1).all()):
        raise GCDError("The region is the whole picture; leave it out, or mark a part of it.")
    return masks


def region_weights(masks: Tensor) -> Tensor:
    """How much of a change shows at each pixel: (N, 1, S, S) in [0, 1], 0 outside the masks.

    From the border of a mask (N, S, S) the weight rises inward, a pixel at a time over a 32nd of
    the side, to 1 (distances are those of a chess king). It is soft inside only, so that nothing
    outside moves; where the mask ends at the picture's own border there is no seam to soften.
    """
    width = max(1, masks.shape[-1] // SOFT)
    outside = (~masks)[:, None].float()
    weight = 1 - outside
    for _ in range(width):
        outside = F.max_pool2d(outside, 3, stride=1, padding=1)
        weight = weight + (1 - outside)
    return weight / (width + 1)


def in_region(images: Tensor, source: Tensor, masks: Tensor | None) -> Tensor:
    """Paste images into their source: inside the mask softly, outside the source bit for bit.

    Parameters
    ----------
    images : Tensor (N, C, S, S)
        What was decoded, in [0, 1].
    source : Tensor (1 or N, C, S, S)
    masks : Tensor (1 or N, S, S), bool, or None
        As `check_region` returns them; without, the images are returned as they are.

    Returns
    -------
    Tensor (N, C, S, S)
        On the device of `images`.
    """
    if masks is None:
        return images
    source = source.to(images)
    weights = region_weights(masks).to(images)
    blended = source + weights * (images - source)
    return torch.where(masks[:, None].to(images.device), blended, source)


def region_identity(masks: Tensor | None) -> str | None:
    """16 hexadecimal digits that change when a mask does; None for the whole picture."""
    if masks is None:
        return None
    digest = hashlib.sha256(str(tuple(masks.shape)).encode())
    digest.update(masks.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def check_automatic(quantile: float, cells: int, side: int) -> None:
    """Refuse a quantile or cells that mark no region of a picture of that side."""
    if not 0 < quantile < 1:
        raise GCDError(f"The quantile is {quantile}; take one above 0 and below 1, such as 0.7.")
    if not 2 <= cells <= side:
        raise GCDError(f"{cells} cells a side are not possible; take 2 to {side}.")


def automatic_region(heat: Tensor, quantile: float = QUANTILE, cells: int = CELLS) -> Tensor:
    """Return the cells of a heat map that matter most, as a mask (H, W), bool.

    Raises a GCDError if `quantile` or `cells` is out of range.

    Parameters
    ----------
    heat : Tensor (H, W)
        An attribution, such as the map of cells; a cell is as important as the sum of its
        absolute values.
    quantile : float
        Of the cells the share that stays outside, above 0 and below 1: 0.7 marks three in ten. At
        least one cell is marked, and one is left.
    cells : int
        Cells a side, 2 up to the picture's.
    """
    height, width = heat.shape
    check_automatic(quantile, cells, min(height, width))
    rows = torch.arange(height) * cells // height
    columns = torch.arange(width) * cells // width
    place = rows[:, None] * cells + columns
    importance = torch.zeros(cells**2, dtype=torch.float64)
    importance.index_add_(0, place.flatten(), heat.abs().double().flatten())
    count = min(max(1, round((1 - quantile) * cells**2)), cells**2 - 1)
    marked = torch.zeros(cells**2, dtype=torch.bool)
    marked[importance.argsort(descending=True, stable=True)[:count]] = True
    return marked[place]


@dataclass(frozen=True)
class FreeFormRegion:
    """A region that has nothing to do with the picture: strokes and boxes, or scattered cells."""

    share: float  # of the picture, above 0 and below 1
    seed: int = 0

    def mask(self, side: int, number: int = 0) -> Tensor:
        """Return the mask (side, side), bool, of one picture of many.

        Raises a GCDError if the share is none of a part.
        """
        if not 0.005 <= self.share <= 0.9:
            raise GCDError(f"A free-form region is 0.005 to 0.9 of a picture, not {self.share}.")
        generator = torch.Generator().manual_seed(self.seed + number)
        pair = free_form_masks(2, side, generator, self.share, self.share)
        return pair[number % 2]


@dataclass(frozen=True)
class AutomaticRegion:
    """The part of a picture that an unconfined counterfactual says matters most."""

    # As of `automatic_region`.
    quantile: float = QUANTILE
    cells: int = CELLS

    def mask(
        self, classifier: BlackBox, label: str, source: Tensor, counterfactual: Tensor, side: int
    ) -> Tensor:
        """Return the mask (side, side), bool, by the map of cells between two pictures.

        It asks the classifier 512 times (`explain_cells`). `source` and `counterfactual` are
        (1, C, h, w), in [0, 1], as the classifier is asked about them.
        """
        heat = explain_cells(classifier, label, source, counterfactual).map
        return automatic_region(at_size(heat, (side, side)), self.quantile, self.cells)
