"""RCSB: region-constrained counterfactuals by a bridge that the classifier's gradient steers.

Sobieski et al., "Rethinking Visual Counterfactual Explanations Through Region Constraint" (2024).
It is white box: the gradient of the classifier flows back through its layers and the bridge's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.bridge.bridge import Bridge
from gcd_core.classifiers.base import BlackBox, WhiteBox
from gcd_core.errors import Cancel, Cancelled, GCDError

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of ADAM, as PyTorch has them

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Steering:
    """How a bridge is steered.

    Attributes
    ----------
    steps : int
        N, evaluations of the bridge and of the classifier, forward and back.
    tau : float
        Where on the bridge it begins, above 0 and up to 1: the nearer to 0, the more of the source
        remains inside the region.
    strength : float
        s, the Euclidean length of the first step that the gradient takes, for each root of the
        region's numbers: that is, their root mean square, in pixel values from -1 to 1.
    seed : int
        Of the noise.

    Raises
    ------
    GCDError
        If a value is out of its range.
    """

    steps: int = 100
    tau: float = 0.5
    strength: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise GCDError(f"A bridge is steered in one step at least, not {self.steps}.")
        if not 0 < self.tau <= 1:
            raise GCDError(f"tau lies above 0 and up to 1, not at {self.tau}.")
        if not 0 <= self.strength < math.inf:
            raise GCDError(f"The strength of the steering is 0 or more, not {self.strength}.")

    def __str__(self) -> str:
        return f"{self.steps} steps, tau {self.tau:g}, strength {self.strength:g}, seed {self.seed}"


@dataclass
class Adam:
    """ADAM's update of a gradient, its moments carried from one call to the next.

    Kingma & Ba (2015), algorithm 1, with PyTorch's defaults and without the learning rate:
    m_hat / (sqrt(v_hat) + epsilon), to be added where the objective is to rise.
    """

    count: int = 0
    mean: Tensor | None = None
    square: Tensor | None = None

    def __call__(self, gradient: Tensor) -> Tensor:
        """The update, shaped like the gradient."""
        first, second = BETAS
        if self.mean is None or self.square is None:
            self.mean, self.square = torch.zeros_like(gradient), torch.zeros_like(gradient)
        self.count += 1
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient.square()
        mean = self.mean / (1 - first**self.count)
        square = self.square / (1 - second**self.count)
        return mean / (square.sqrt() + EPSILON)


class Run(NamedTuple):
    """What came of steering N images."""

    # (N, C, S, S): in [0, 1]; outside the regions the sources bit for bit. On the CPU.
    images: Tensor
    # (steps, N): the label's probability of what the bridge expected at each step, the first one
    # first.
    expected: Tensor


def white_box(classifier: BlackBox) -> WhiteBox:
    """The classifier as one that offers a gradient.

    Raises a GCDError if it answers and no more; the message says which way is left.
    """
    if isinstance(classifier, WhiteBox):
        return classifier
    raise GCDError(
        "This classifier answers and no more: there is no gradient to follow, which the bridge "
        "(rcsb) needs. Take the black-box way (gcd)."
    )


def steer(
    bridge: Bridge,
    classifier: BlackBox,
    images: Tensor,
    masks: Tensor,
    label: str,
    upward: Tensor,
    steering: Steering,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Run:
    """Change images inside regions until the classifier says the target (the paper's algorithm 1).

    x_N is drawn from q(x_tau | x_0 = source, x_1), x_1 being noise inside the region. At each step
    the bridge expects x0_hat; g is the gradient of log f(target | x0_hat) by x_n, through the
    bridge; x_n moves by s times ADAM's update of g over the norm of its first update; and the
    posterior's mean of x0_hat and the moved x_n is the next. Only the region's pixels move, so that
    what lies outside stays the source's in every step.

    Parameters
    ----------
    bridge : Bridge
    classifier : BlackBox
        One that offers a gradient (`WhiteBox`); asked `steps` times for each image.
    images : Tensor (N, C, S, S)
        The sources, in [0, 1].
    masks : Tensor (1 or N, S, S), bool
        Where each may change, as of `check_region`.
    label : str
    upward : Tensor (N,), bool
        Whether the target is the label (True) or its absence.
    steering : Steering
    progress : callable, optional
        Told (done, total) of the steps.
    cancel : optional
        Its `is_set()` is asked before each step.

    Raises
    ------
    GCDError
        If the classifier offers no gradient, or the images are none that the bridge was made for.
    BudgetExceeded
        If the classifier may not be asked so often; before the first of a step's images.
    Cancelled
        If `cancel` is set.
    """
    open_box, n = white_box(classifier), len(images)
    bridge.check(images)
    # Whatever was made under inference mode cannot be differentiated.
    source = images.detach().clone().to(bridge.device) * 2 - 1
    hidden = masks.detach().clone()[:, None].to(bridge.device).expand(n, 1, -1, -1)
    signs = torch.where(upward.detach().clone(), 1.0, -1.0).to(bridge.device)
    numbers = hidden.sum((1, 2, 3)) * images.shape[1]
    length = steering.strength * numbers.sqrt()
    times = torch.linspace(0, steering.tau, steering.steps + 1)

    def time(index: int) -> Tensor:
        return times[index].expand(n).to(bridge.device)

    mean, variance = bridge.schedule.posterior(
        source, bridge.noise(source, hidden, steering.seed), time(steering.steps)
    )
    generator = torch.Generator().manual_seed(steering.seed + 1)
    drawn = torch.randn(source.shape[1:], generator=generator).to(source)
    x = torch.where(hidden, mean + variance.sqrt() * drawn, source)
    adam, first_norm, expected = Adam(), None, []
    for i in range(steering.steps, 0, -1):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_(True)
            x_0 = bridge.x0_hat(x, hidden, time(i))
            logits = open_box.differentiable((x_0 + 1) / 2)
            log_odds = open_box.logit(logits, label)
            likely = F.logsigmoid(signs * log_odds).sum()
            (gradient,) = torch.autograd.grad(likely, x)
        with torch.no_grad():
            expected.append(log_odds.detach().sigmoid().cpu())
            update = adam(gradient * hidden) * hidden
            if first_norm is None:
                first_norm = update.flatten(1).norm(dim=1).clamp(min=1e-12)
            moved = x + (length / first_norm)[:, None, None, None] * update
            x = torch.where(
                hidden, bridge.schedule.step(x_0, moved, time(i), time(i - 1)).mean, source
            )
        if progress:
            progress(steering.steps - i + 1, steering.steps)
    changed = ((x.detach() + 1) / 2).clamp(0, 1).cpu()
    sources = images.detach().clone().cpu()
    return Run(torch.where(hidden.cpu(), changed, sources), torch.stack(expected))
