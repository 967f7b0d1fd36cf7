"""Classifiers whose reasons are known, to test directions and maps.

They read the brightness of regions and nothing else. Where a search or a map says otherwise, it is
wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import Classifier, digest_of
from gcd_core.errors import GCDError
from gcd_core.method.places import Region

__all__ = ["LUNG_FIELDS", "Region", "RegionReader"]

LABEL = "bright"
GAIN = 3.0  # log-odds for each standard deviation of a region's brightness

# The lungs of a frontal chest radiograph: the patient's right is on the viewer's left. Each is
# 13.7 % of the picture.
LUNG_FIELDS = {
    "right upper": Region(0.12, 0.50, 0.10, 0.46),
    "left upper": Region(0.12, 0.50, 0.54, 0.90),
    "right lower": Region(0.50, 0.88, 0.10, 0.46),
    "left lower": Region(0.50, 0.88, 0.54, 0.90),
}


class RegionReader(Classifier):
    """A black box that says "bright" if any of its regions is: a soft OR of their brightness.

    Each region r has the log-odds ``l_r = gain * (brightness - mean_r) / spread_r + b``, and they
    are joined as independent causes (noisy OR; Pearl, 1988): ``1 - p = prod (1 - p_r)``, so that
    the odds are ``prod (1 + exp l_r) - 1``. b is such that a picture of mean brightness in every
    region has the probability 1/2; for a single region it is 0, and the log-odds are `l_r`.

    Raises a GCDError if there is no region, a region has no mean or spread, or a spread is not
    positive.

    Parameters
    ----------
    means, spreads : sequence of float
        Of each region's brightness over the images that the answers are to be spread over.
    gain : float
        Log-odds for each spread.
    label : str
        What it calls a bright picture.

    Examples
    --------
    >>> reader = RegionReader.fitted_to(images, [LUNG_FIELDS["right upper"]])
    >>> info = {"bright": Label("bright", "Right upper field", "Dark", "Bright")}
    >>> dataclasses.replace(domain, classifier=reader, label_info=info)
    """

    def __init__(
        self,
        regions: Sequence[Region],
        means: Sequence[float],
        spreads: Sequence[float],
        gain: float = GAIN,
        label: str = LABEL,
    ) -> None:
        if not regions or not len(regions) == len(means) == len(spreads):
            raise GCDError("A reader of regions has a mean and a spread for each of one or more.")
        if not all(spread > 0 for spread in spreads):
            raise GCDError(f"A region's spread is positive, not {list(spreads)}.")
        table = {"regions": regions, "means": means, "spreads": spreads, "gain": gain}
        super().__init__((label,), "sigmoid", digest_of(table))
        self.regions = tuple(regions)
        self.means, self.spreads = torch.tensor(means), torch.tensor(spreads)
        self.gain = gain
        self.offset = math.log(2 ** (1 / len(regions)) - 1)

    @classmethod
    def fitted_to(
        cls, images: Tensor, regions: Sequence[Region], gain: float = GAIN, label: str = LABEL
    ) -> RegionReader:
        """Return a reader whose answers are spread over images (N, C, H, W), N >= 2."""
        brightness = torch.stack([region.brightness(images) for region in regions], dim=1).float()
        means, spreads = brightness.mean(0).tolist(), brightness.std(0).tolist()
        return cls(regions, means, spreads, gain, label)

    def region_logits(self, images: Tensor) -> Tensor:
        """Each region's own log-odds (N, R) of images (N, C, H, W)."""
        brightness = torch.stack([r.brightness(images.float()) for r in self.regions], dim=1)
        scaled = (brightness - self.means.to(brightness)) / self.spreads.to(brightness)
        return self.gain * scaled + self.offset

    @torch.inference_mode()
    def answer(self, images: Tensor) -> Tensor:
        """The log-odds (N, 1) of the soft OR."""
        return self._log_odds(images)

    def differentiable(self, images: Tensor) -> Tensor:
        """The same, through which a gradient flows back; see `WhiteBox`."""
        with self._counted(len(images)):
            return self._log_odds(images)

    def _log_odds(self, images: Tensor) -> Tensor:
        total = F.softplus(self.region_logits(images)).sum(dim=1, keepdim=True)
        total = total.clamp(min=torch.finfo(total.dtype).tiny)  # of darkness itself
        return total + torch.log(-torch.expm1(-total))  # log(exp(total) - 1)
