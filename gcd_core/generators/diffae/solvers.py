"""Deterministic solvers of the diffusion ODE, each from image to noise and from noise to image.

A solver is a pure function of a noise model, a tensor and a number of steps. ``noise_model(x, t)``
gives the noise eps in ``x`` (N, ...) at the integer time ``t``, in ``x``'s shape; conditions are
bound inside it. In what follows alpha_t^2 + sigma_t^2 = 1, x_t = alpha_t x_0 + sigma_t eps, and
alpha_t^2 is the running product of 1 - beta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.errors import GCDError

T = 1000

NoiseModel = Callable[[Tensor, int], Tensor]


@cache
def squared_alphas() -> tuple[float, ...]:
    """alpha_t^2 for t = 0 to T - 1: linear beta from 1e-4 to 0.02 (Ho et al., 2020), float64."""
    beta = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    return tuple(torch.cumprod(1 - beta, dim=0).tolist())


def alpha_sigma(t: int) -> tuple[float, float]:
    """(alpha_t, sigma_t)."""
    squared = squared_alphas()[t]
    return math.sqrt(squared), math.sqrt(1 - squared)


def strided_timesteps(steps: int) -> list[int]:
    """``steps`` ascending times with one stride from 0, as DDIM takes them.

    Where no whole stride gives that many, they are spaced as evenly as whole numbers allow.
    """
    _check_steps(steps, T)
    times = list(range(0, T, math.ceil(T / steps)))
    return times if len(times) == steps else [k * T // steps for k in range(steps)]


def quadratic_timesteps(steps: int) -> list[int]:
    """``steps + 1`` ascending times from 0 to T - 1, spaced like squares: finest near the image."""
    _check_steps(steps, T - 1)
    return [max(k, int((T - 1) * (k / steps) ** 2 + 0.5)) for k in range(steps + 1)]


def _check_steps(steps: int, most: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= most:
        raise GCDError(
            f"{steps!r} solver steps were asked for; choose a whole number, 1 to {most}."
        )


def _split(noise_model: NoiseModel, x: Tensor, t: int, clip: bool) -> tuple[Tensor, Tensor]:
    """The model's x_0 and eps in ``x`` at time ``t``; clipped, eps is what remains for x_0."""
    alpha, sigma = alpha_sigma(t)
    eps = noise_model(x, t)
    x_0 = (x - sigma * eps) / alpha
    if clip:
        x_0 = x_0.clamp(-1, 1)
        eps = (x - alpha * x_0) / sigma
    return x_0, eps


def ddim(noise_model: NoiseModel, x: Tensor, times: Sequence[int], clip: bool = False) -> Tensor:
    """Noise to image along descending ``times`` by DDIM (Song et al., 2021, Eq. 12, sigma = 0).

    ``x`` stands for the first time's. x_s = alpha_s x_0(x_t) + sigma_s eps(x_t) from each time t to
    the next, s, and at last to the predicted x_0 itself. ``clip`` keeps every predicted x_0 in
    [-1, 1].
    """
    for t, s in zip(times, [*times[1:], None], strict=True):
        x_0, eps = _split(noise_model, x, t, clip)
        alpha, sigma = (1.0, 0.0) if s is None else alpha_sigma(s)
        x = alpha * x_0 + sigma * eps
    return x


def ddim_decode(noise_model: NoiseModel, x: Tensor, steps: int, clip: bool = False) -> Tensor:
    """Noise to image by :func:`ddim` along :func:`strided_timesteps`."""
    return ddim(noise_model, x, strided_timesteps(steps)[::-1], clip)


def ddim_encode(noise_model: NoiseModel, x: Tensor, steps: int, clip: bool = False) -> Tensor:
    """Image to noise by DDIM's reversed steps (Preechakul et al., 2022, Eq. 8).

    The image stands for x at time 0; the last step arrives at the predicted noise itself.
    """
    times = strided_timesteps(steps)
    for t, s in zip(times, [*times[1:], None], strict=True):
        x_0, eps = _split(noise_model, x, t, clip)
        alpha, sigma = (0.0, 1.0) if s is None else alpha_sigma(s)
        x = alpha * x_0 + sigma * eps
    return x


def dpm_solver_pp_2m(
    noise_model: NoiseModel, x: Tensor, times: Sequence[int], clip: bool = False
) -> Tensor:
    """Carry ``x`` along ``times`` by DPM-Solver++(2M) (Lu et al., 2022, Algorithm 2).

    With lambda = log(alpha / sigma), h the step in lambda and r = h_last / h,
    x_s = sigma_s / sigma_t x_t + alpha_s (1 - e^-h) ((1 + 1/2r) x_0(x_t) - 1/2r x_0(x_last)).
    Nothing in it asks which way the time runs: ascending, it turns an image into noise.
    """
    last: tuple[Tensor, float] | None = None
    for t, s in pairwise(times):
        (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(t), alpha_sigma(s)
        h = math.log(alpha_s / sigma_s) - math.log(alpha_t / sigma_t)
        x_0, _ = _split(noise_model, x, t, clip)
        ahead = x_0
        if last is not None:
            last_x_0, last_h = last
            ahead = x_0 + h / (2 * last_h) * (x_0 - last_x_0)
        x = sigma_s / sigma_t * x - alpha_s * math.expm1(-h) * ahead
        last = x_0, h
    return x


def dpm_solver_pp_2m_decode(
    noise_model: NoiseModel, x: Tensor, steps: int, clip: bool = False
) -> Tensor:
    """Noise to image by :func:`dpm_solver_pp_2m` along :func:`quadratic_timesteps`."""
    return dpm_solver_pp_2m(noise_model, x, quadratic_timesteps(steps)[::-1], clip)


def dpm_solver_pp_2m_encode(
    noise_model: NoiseModel, x: Tensor, steps: int, clip: bool = False
) -> Tensor:
    """Image to noise along the very times of the decoding: second order, so nearly its inverse."""
    return dpm_solver_pp_2m(noise_model, x, quadratic_timesteps(steps), clip)


class Solver(NamedTuple):
    """A pair of inverse directions, to be used with the same number of steps."""

    encode: Callable[..., Tensor]
    decode: Callable[..., Tensor]


SOLVERS = {
    "ddim": Solver(ddim_encode, ddim_decode),
    "dpm++2m": Solver(dpm_solver_pp_2m_encode, dpm_solver_pp_2m_decode),
}
DISTILLED = "distilled"  # a generator's own few-step decoder, where it has one


def find_solver(name: str) -> Solver:
    """Return the solver called ``name``; raise :class:`GCDError` if there is none."""
    if name not in SOLVERS:
        raise GCDError(f"There is no solver {name!r}; choose one of {', '.join(SOLVERS)}.")
    return SOLVERS[name]


def check_solver(name: str) -> None:
    """Refuse a name that is neither a solver's nor ``"distilled"``."""
    if name != DISTILLED and name not in SOLVERS:
        known = ", ".join([*SOLVERS, DISTILLED])
        raise GCDError(f"There is no solver {name!r}; choose one of {known}.")
