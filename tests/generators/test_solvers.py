"""The solvers against closed forms: a point, a Gaussian, a mixture whose noise is known exactly."""

import math
from itertools import pairwise

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import (
    SOLVERS,
    T,
    alpha_sigma,
    dpm_solver_pp_2m,
    find_solver,
    quadratic_timesteps,
    squared_alphas,
    strided_timesteps,
)


def gaussian(variance):
    """The exact noise in x_t for data N(0, variance)."""

    def eps(x, t):
        alpha, sigma = alpha_sigma(t)
        return sigma * x / (alpha**2 * variance + sigma**2)

    return eps


def gaussian_flow(x, variance, start, end):
    """Where the ODE carries x from time `start` to time `end`: along the marginals' scale."""
    scales = [a**2 * variance + s**2 for a, s in map(alpha_sigma, (start, end))]
    return x * (scales[1] / scales[0]) ** 0.5


def mixture(means, variance):
    """The exact noise in x_t for data drawn from equal Gaussians around `means` (K,)."""

    def eps(x, t):
        alpha, sigma = alpha_sigma(t)
        away = x[..., None] - alpha * means
        spread = alpha**2 * variance + sigma**2
        weight = (-away.square() / (2 * spread)).softmax(dim=-1)
        return sigma * (weight * away).sum(dim=-1) / spread

    return eps


def test_schedule():
    product = 1.0
    for t, squared in enumerate(squared_alphas()):
        product *= 1 - (1e-4 + (0.02 - 1e-4) * t / (T - 1))
        assert math.isclose(squared, product, rel_tol=1e-10)


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        (1, [0]),
        (3, [0, 334, 668]),
        (10, list(range(0, 1000, 100))),
        (15, list(range(0, 1000, 67))),
        (1000, list(range(1000))),
    ],
)
def test_strided_timesteps(steps, times):
    assert strided_timesteps(steps) == times


@pytest.mark.parametrize("steps", [37, 99, 600])
def test_where_no_stride_fits_times_are_even(steps):
    times = strided_timesteps(steps)
    gaps = {b - a for a, b in pairwise(times)}
    assert len(times) == steps and times[0] == 0 and gaps <= {T // steps, T // steps + 1}


@pytest.mark.parametrize("steps", [1, 2, 7, 10, 20, 45, 100, 333, 998, 999])
def test_quadratic_timesteps(steps):
    times = quadratic_timesteps(steps)
    assert len(times) == steps + 1 and times[0] == 0 and times[-1] == T - 1
    assert times == sorted(set(times))


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("steps", [0, -3, 1001, 2.0, True, "10", None])
def test_impossible_steps_are_refused(name, direction, steps):
    with pytest.raises(GCDError, match="steps"):
        getattr(SOLVERS[name], direction)(gaussian(1), torch.zeros(1), steps)


def test_an_unknown_solver_is_refused_with_the_known_ones():
    with pytest.raises(GCDError, match=r"'euler'.*ddim"):
        find_solver("euler")


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("direction", ["encode", "decode"])
@pytest.mark.parametrize("steps", [1, 2, 13])
def test_one_evaluation_a_step(name, direction, steps):
    times = []

    def eps(x, t):
        times.append(t)
        return gaussian(0.5)(x, t)

    getattr(SOLVERS[name], direction)(eps, torch.ones(2), steps)
    assert len(times) == steps
    assert times == sorted(times, reverse=direction == "decode")


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_a_single_point_is_decoded_exactly(name, steps):
    point = torch.tensor([0.3, -0.7, 0.1], dtype=torch.float64)

    def eps(x, t):
        alpha, sigma = alpha_sigma(t)
        return (x - alpha * point) / sigma

    start = torch.randn(8, 3, dtype=torch.float64)
    # At time 0 a hundredth of the noise is still there.
    assert (SOLVERS[name].decode(eps, start, steps) - point).abs().max() < 0.05


def errors(solver, steps, direction):
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    ends = (0, T - 1) if direction == "encode" else (T - 1, 0)
    variance = 0.25
    found = getattr(SOLVERS[solver], direction)(gaussian(variance), x, steps)
    return (found - gaussian_flow(x, variance, *ends)).abs().max().item()


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_dpm_solver_converges_to_the_flow_with_second_order(direction):
    coarse, fine, finest = (errors("dpm++2m", steps, direction) for steps in (20, 40, 80))
    assert coarse < 0.05 and coarse > 3 * fine > 9 * finest


@pytest.mark.parametrize("direction", ["encode", "decode"])
def test_ddim_converges_to_the_flow(direction):
    assert errors("ddim", 1000, direction) < 0.02
    assert errors("ddim", 500, direction) < 0.6 * errors("ddim", 200, direction)


def test_dpm_solver_follows_any_times():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    there = dpm_solver_pp_2m(gaussian(0.1), x, range(100, 501, 10))
    assert torch.allclose(there, gaussian_flow(x, 0.1, 100, 500), rtol=2e-3)


@pytest.mark.parametrize("steps", [10, 20])
def test_dpm_solver_undoes_itself_much_better_than_ddim(steps):
    torch.manual_seed(0)
    means = torch.tensor([-1.0, -0.2, 1.0], dtype=torch.float64)
    x = means[torch.randint(3, (500,))] + 0.15 * torch.randn(500, dtype=torch.float64)
    eps, left = mixture(means, 0.15**2), {}
    for name, solver in SOLVERS.items():
        back = solver.decode(eps, solver.encode(eps, x, steps), steps)
        left[name] = (back - x).abs().mean().item()
    assert left["dpm++2m"] < 0.4 * left["ddim"]


@pytest.mark.parametrize("name", SOLVERS)
def test_clipping_bounds_the_decoded_image(name):
    def eps(x, t):
        return -x

    start = torch.randn(100)
    bound = 1 + 0.05  # what the noise left at time 0 can add
    assert SOLVERS[name].decode(eps, start, 8, clip=True).abs().max() <= bound
    assert SOLVERS[name].decode(eps, start, 8).abs().max() > 3
