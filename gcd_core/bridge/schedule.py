"""The bridge's noise: variances accumulated from either end, and what lies between two pictures."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.errors import GCDError

ENDS, MIDDLE = 0.1, 0.3  # the rate of noise at t = 0 and 1, and at t = 1/2


class Moments(NamedTuple):
    """A Gaussian of a picture's pixels."""

    mean: Tensor  # (N, C, S, S)
    variance: Tensor  # (N, 1, 1, 1): the same of every pixel


class Schedule:
    """Rate of the noise over t in [0, 1]: the same from either end, its root linear to the middle.

    beta(t) = (a + 2 (b - a) min(t, 1 - t))^2 with a^2 at the ends and b^2 in the middle, the
    symmetric quadratic schedule of I2SB (Liu et al., ICML 2023, section 4) in continuous time. All
    that is accumulated has a closed form. Raises a GCDError if a rate is not positive.

    Parameters
    ----------
    ends, middle : float
        The rates there, positive.
    """

    def __init__(self, ends: float = ENDS, middle: float = MIDDLE) -> None:
        if not (0 < ends < math.inf and 0 < middle < math.inf):
            raise GCDError(f"A bridge's rates of noise are positive, not {ends} and {middle}.")
        self.ends, self.middle = ends, middle

    @property
    def total(self) -> float:
        """The variance accumulated over all of [0, 1]."""
        a, b = math.sqrt(self.ends), math.sqrt(self.middle)
        return (a * a + a * b + b * b) / 3

    def variance(self, t: Tensor) -> Tensor:
        """sigma_t^2, the variance accumulated from 0 to t, of any shape; t in [0, 1]."""
        a, b = math.sqrt(self.ends), math.sqrt(self.middle)
        near = torch.minimum(t, 1 - t)
        # The integral of (a + 2 (b - a) s)^2, with no division by b - a, which may be 0.
        steep = 2 * (b - a)
        half = near * (a * a + near * (a * steep + near * steep * steep / 3))
        return torch.where(t <= 0.5, half, self.total - half)

    def posterior(self, x_0: Tensor, x_1: Tensor, t: Tensor) -> Moments:
        """q(x_t | x_0, x_1), the Brownian bridge between the two (I2SB, Eq. 11).

        Its mean is (sigma_bar^2 x_0 + sigma^2 x_1) / (sigma^2 + sigma_bar^2), its variance
        sigma^2 sigma_bar^2 / (sigma^2 + sigma_bar^2), with sigma^2 accumulated from 0 and
        sigma_bar^2 from 1.

        Parameters
        ----------
        x_0, x_1 : Tensor (N, C, S, S)
        t : Tensor (N,)
            In [0, 1].
        """
        done = self.variance(t)[:, None, None, None]
        share = done / self.total
        return Moments((1 - share) * x_0 + share * x_1, done * (1 - share))

    def step(self, x_0: Tensor, x_t: Tensor, t: Tensor, s: Tensor) -> Moments:
        """p(x_s | x_0, x_t) for s < t: the bridge between x_0 at 0 and x_t at t, at s.

        Its mean is mu x_0 + mu_bar x_t with mu_bar = sigma_s^2 / sigma_t^2 and mu = 1 - mu_bar (the
        posterior of DDPM on the bridge: I2SB, Eq. 4 and algorithm 2).

        Parameters
        ----------
        x_0, x_t : Tensor (N, C, S, S)
        t, s : Tensor (N,)
            In [0, 1], 0 <= s < t.
        """
        later, sooner = (self.variance(time)[:, None, None, None] for time in (t, s))
        share = sooner / later
        return Moments((1 - share) * x_0 + share * x_t, sooner * (1 - share))
