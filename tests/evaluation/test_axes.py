"""Usable axes of z_sem, on a generator that uses each of its axes by a known amount."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.evaluation.axes import measure_axes
from tests.fakes import LinearDomain


def test_a_linear_generators_axes_by_hand() -> None:
    domain = LinearDomain(lambda z: z[:, 0], z_sem_size=4, image_size=8)
    strength = torch.tensor([1.0, 0.5, 0.1, 0.0])
    domain.generator.basis = domain.generator.basis * strength  # what an axis does to the picture
    images = [(f"{seed}.png", domain.image(seed)) for seed in range(3)]
    done: list[int] = []
    found = measure_axes(domain, iter(images), progress=done.append)
    # A move of 2 along an orthonormal axis of length 0.2, as a root mean square over 64 pixels.
    torch.testing.assert_close(found, 2 * 0.2 * strength / 8, atol=1e-5, rtol=1e-4)
    assert done == [1, 1, 1]


def test_refused() -> None:
    domain = LinearDomain(lambda z: z[:, 0])
    with pytest.raises(GCDError, match="no image"):
        measure_axes(domain, [])
    with pytest.raises(GCDError, match="moves nothing"):
        measure_axes(domain, [("a", domain.image())], move=0)
