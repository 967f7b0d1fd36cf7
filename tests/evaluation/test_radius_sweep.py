"""The CF loss against the radius, where it can be worked out."""

import pytest
import torch

from gcd_core.evaluation.radius_sweep import measure_radii
from tests.fakes import LinearDomain, unit

pytestmark = pytest.mark.slow


def test_each_radius_is_measured_by_the_direction_that_it_finds() -> None:
    w = 2 * unit(8)
    domain = LinearDomain(lambda z: z @ w)
    images = torch.cat([domain.image(seed) for seed in range(1, 5)])
    rows = measure_radii(domain, domain.image(0), images, "a", [0.5, 2.0], n_samples=256)
    assert [row["radius"] for row in rows] == [0.5, 2.0]
    # Uniform in a ball of radius r in D dimensions, w.z has the deviation |w| r / sqrt(D + 2).
    for row in rows:
        assert row["sample_logit_std"] == pytest.approx(2 * row["radius"] / 10**0.5, rel=0.1)
        # A linear logit flips along its gradient within |logit| / |w|, far below alpha_max.
        assert row["flip_rate"] == 1.0
        assert row["cf_loss"] < 0
    assert rows[1]["sample_lpips"] > rows[0]["sample_lpips"]
