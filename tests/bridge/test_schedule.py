"""The bridge's variances and posteriors against integrals and Gaussians worked out by hand."""

import pytest
import torch

from gcd_core.bridge.schedule import Schedule
from gcd_core.errors import GCDError

RATES = [(0.1, 0.3), (0.5, 0.5), (1.0, 0.2)]


def rate(schedule: Schedule, t: torch.Tensor) -> torch.Tensor:
    """beta(t) as the docstring defines it."""
    root = schedule.ends**0.5 + 2 * (schedule.middle**0.5 - schedule.ends**0.5) * torch.minimum(
        t, 1 - t
    )
    return root.square()


@pytest.mark.parametrize(("ends", "middle"), RATES)
def test_the_variance_is_the_integral_of_the_rate(ends, middle):
    schedule = Schedule(ends, middle)
    grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    rates = rate(schedule, grid)
    summed = torch.cumulative_trapezoid(rates, grid)
    found = schedule.variance(grid)
    assert found[0] == 0 and found[-1].item() == pytest.approx(schedule.total)
    torch.testing.assert_close(found[1:], summed, rtol=1e-7, atol=1e-10)


def test_the_same_is_left_as_was_done_from_the_other_end():
    schedule, t = Schedule(), torch.rand(100, dtype=torch.float64)
    whole = schedule.variance(t) + schedule.variance(1 - t)
    torch.testing.assert_close(whole, torch.full_like(t, schedule.total))


def conditioned(mean, covariance, value):
    """Mean and variance of the first of two Gaussian numbers, given the second."""
    gain = covariance[0, 1] / covariance[1, 1]
    return mean[0] + gain * (value - mean[1]), covariance[0, 0] - gain * covariance[0, 1]


@pytest.mark.parametrize(("ends", "middle"), RATES)
def test_the_posterior_is_brownian_motion_held_at_both_ends(ends, middle):
    schedule = Schedule(ends, middle)
    t = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
    x_0, x_1 = (torch.randn(5, 1, 2, 2, dtype=torch.float64) for _ in range(2))
    mean, variance = schedule.posterior(x_0, x_1, t)
    for i in range(5):
        s = schedule.variance(t[i])
        # From x_0 on: x_t has the variance s, x_1 the total one, and s is what they share.
        covariance = torch.stack([torch.stack([s, s]), torch.stack([s, s * 0 + schedule.total])])
        for place in [(0, 0, 0), (0, 1, 1)]:
            start, end = x_0[i][place], x_1[i][place]
            expected = conditioned((start, start), covariance, end)
            assert mean[i][place].item() == pytest.approx(expected[0].item())
            assert variance[i].item() == pytest.approx(expected[1].item(), abs=1e-12)


def test_a_step_after_the_posterior_is_the_posterior_of_the_earlier_time():
    """Chapman and Kolmogorov: q(x_s | x_0, x_1) is p(x_s | x_0, x_t) over q(x_t | x_0, x_1)."""
    schedule = Schedule()
    x_0, x_1 = (torch.randn(3, 1, 2, 2, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([0.3, 0.6, 1.0], dtype=torch.float64)
    s = torch.tensor([0.1, 0.5, 0.0], dtype=torch.float64)
    at_t, at_s = schedule.posterior(x_0, x_1, t), schedule.posterior(x_0, x_1, s)
    step = schedule.step(x_0, at_t.mean, t, s)
    torch.testing.assert_close(step.mean, at_s.mean)
    share = (schedule.variance(s) / schedule.variance(t))[:, None, None, None]
    torch.testing.assert_close(step.variance + share.square() * at_t.variance, at_s.variance)


@pytest.mark.parametrize("rates", [(0, 1), (1, -1), (float("nan"), 1), (1, float("inf"))])
def test_rates_that_are_none_are_refused(rates):
    with pytest.raises(GCDError, match="positive"):
        Schedule(*rates)
