"""Bridges whose network is known in closed form."""

import torch
from torch import Tensor, nn

from gcd_core.bridge.bridge import Bridge
from gcd_core.bridge.schedule import Schedule


class Known(nn.Module):
    """In the network's place: predicts what makes of x_0's expectation a function of x_t and t."""

    channels, smallest = 1, 1

    def __init__(self, expectation, schedule: Schedule) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))
        self.expectation, self.schedule = expectation, schedule

    def forward(self, x: Tensor, masks: Tensor, t: Tensor) -> Tensor:
        deviation = self.schedule.variance(t).sqrt()[:, None, None, None]
        return (x - self.expectation(x, t)) / deviation


def known_bridge(expectation, schedule: Schedule | None = None) -> Bridge:
    """A bridge that expects `expectation(x_t, t)`, in fp32."""
    schedule = schedule or Schedule()
    return Bridge(Known(expectation, schedule), schedule, "fp32")
