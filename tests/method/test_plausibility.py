"""How well a generator redraws a changed region, on a generator that knows one grey only."""

from types import SimpleNamespace

import pytest
import torch

from gcd_core.method.plausibility import LEAST_DISTANCE, redrawing_ratio

GREY = 0.5


class OneGrey:
    """Redraws every picture in one grey."""

    def encode(self, images):
        return images

    def decode(self, latent):
        return torch.full_like(latent, GREY)


class MeanSquare:
    """The mean squared difference inside a mask."""

    def inside(self, a, b, masks):
        squares = (a - b).square().mean(1)
        return (squares * masks).sum((1, 2)) / masks.sum((1, 2))


def picture(inside, outside, mask):
    return torch.where(mask, inside, outside)[None, None].float()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.7, 0.9, 0.16 / 0.04),
        (0.9, 0.7, 0.04 / 0.16),
        (0.7, 0.7, 1.0),
        (0.5, 0.9, 0.16 / LEAST_DISTANCE),  # the source is redrawn better than counts
        (0.5, 0.51, 1.0),
    ],
)
def test_the_region_alone_counts(before, after, expected):
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 3:6] = True
    source, changed = picture(before, 0.0, mask), picture(after, 1.0, mask)
    domain = SimpleNamespace(generator=OneGrey())
    ratio = redrawing_ratio(domain, MeanSquare(), source, changed, mask)
    assert ratio == pytest.approx(expected, rel=1e-5)
