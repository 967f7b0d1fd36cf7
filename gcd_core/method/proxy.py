"""The proxy: small networks that learn what the classifier and LPIPS say of a semantic code."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.method.mean_slope import MeanSlope
from gcd_core.method.settings import VALIDATION_PART

HIDDEN = (512, 256, 128, 64)
NETWORKS = 3  # whose mean is the proxy
BATCH = 128
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
PATIENCE = 5  # validation losses whose mean the next one must not exceed
MIN_STEPS = 500
MAX_EPOCHS = 300
SIGMOID_GAIN = 4.0  # undoes the slope of a sigmoid at 0, which is 1/4
FIRST_GAIN = 0.25  # keeps the first sigmoids in their linear part
EpochProgress = Callable[[int, int, list[float], list[float]], None]


class Proxy(nn.Module):
    """The paper's proxy, 512-256-128-64-2 with sigmoids between the layers, three times averaged.

    Ours around it: the networks differ in weights and validation part, so that the chance in one
    network's training weighs less in the gradient of their mean; the input is centred on the source
    and scaled to the ball, and the two outputs are scaled to the targets' mean and spread, so that
    one learning rate suits every domain. The logit is what the networks say and, where one is
    known, a linear function of the code, ``slope``, beside.

    Parameters
    ----------
    z_sem_size : int
        D, the size of a semantic code.
    networks : int
        Whose mean the proxy is; without any it is linear.
    """

    centre: Tensor
    scale: Tensor
    mean: Tensor
    spread: Tensor
    slope: Tensor

    def __init__(self, z_sem_size: int, networks: int = NETWORKS) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(z_sem_size))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("spread", torch.ones(2))
        self.register_buffer("slope", torch.zeros(z_sem_size))
        self.networks = nn.ModuleList(_network(z_sem_size) for _ in range(networks))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw weights with which a deep stack of sigmoids starts as an almost linear function.

        Xavier's normal weights times the gain of a sigmoid, and biases that take away the 1/2 that
        each sigmoid of the layer before adds.
        """
        for network in self.networks:
            layers = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
            for i, layer in enumerate(layers):
                gain = SIGMOID_GAIN if i else FIRST_GAIN
                nn.init.xavier_normal_(layer.weight, gain, generator)
                with torch.no_grad():
                    layer.bias.copy_(-0.5 * layer.weight.sum(1) if i else torch.zeros(HIDDEN[0]))

    def begin_with(self, linear: MeanSlope) -> None:
        """Let the logit be this linear function, to which the networks add nothing yet."""
        self.slope.copy_(linear.gradient * self.scale)
        for network in self.networks:
            last = [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def one(self, network: nn.Module, z_sem: Tensor) -> Tensor:
        """Return what one of the networks says (N, 2) of semantic codes (N, D)."""
        return network((z_sem - self.centre) / self.scale) * self.spread + self._linear(z_sem)

    def _linear(self, z_sem: Tensor) -> Tensor:
        """What there is without the networks (N, 2)."""
        rise = (z_sem - self.centre) / self.scale @ self.slope
        return self.mean + torch.stack([rise, torch.zeros_like(rise)], dim=-1)

    def forward(self, z_sem: Tensor) -> Tensor:
        """Return logit and LPIPS (N, 2) of semantic codes (N, D), in the targets' own units."""
        if not self.networks:
            return self._linear(z_sem)
        return torch.stack([self.one(network, z_sem) for network in self.networks]).mean(0)


def _network(z_sem_size: int) -> nn.Sequential:
    """The paper's layers, with no weights yet."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise((z_sem_size, *HIDDEN, 2)):
        layers += [nn.utils.skip_init(nn.Linear, fan_in, fan_out), nn.Sigmoid()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class FittedProxy:
    """A trained proxy and its loss after each epoch, in units of the logits' variance.

    The losses are means over the networks, of those that have stopped their last.
    """

    proxy: Proxy
    train_losses: list[float]
    validation_losses: list[float]


def fit_proxy(
    z_sem: Tensor,
    logits: Tensor,
    distances: Tensor,
    source: Tensor,
    radius: float,
    lam: float = 1.0,
    seed: int = 0,
    progress: EpochProgress | None = None,
    cancel: Cancel | None = None,
    networks: int = NETWORKS,
    linear: MeanSlope | None = None,
) -> FittedProxy:
    """Train a proxy on perturbed codes and what they were taken for (Algorithm 2).

    The loss is ``MSE(logit) + lam * MSE(LPIPS)``; AdamW, batches of 128, one part in nine held back
    for validation (another one for each network). A network stops when its validation loss exceeds
    the mean of the last five, and keeps its best weights; ours is that it takes 500 steps at least,
    as the loss rests on plateaus before the curvature is learned.

    Parameters
    ----------
    z_sem : Tensor (N, D)
        Perturbed semantic codes.
    logits, distances : Tensor (N,)
        The label's log-odds and LPIPS to the source, for each.
    source : Tensor (1, D)
        The source's semantic code.
    radius : float
        Of the ball that the codes were drawn from.
    lam : float
        Weight of LPIPS in the loss, the paper's lambda_p.
    seed : int
        Repeats split, weights and order of the batches.
    progress : callable, optional
        Called with (epochs done, epochs at most, training losses, validation losses).
    cancel : optional
        Its `is_set()` is asked before each epoch.
    networks : int
        How many to train.
    linear : MeanSlope, optional
        What the networks are to add to; they begin with adding nothing.

    Returns
    -------
    FittedProxy
        Its proxy lies on the CPU.

    Raises
    ------
    GCDError
        If there are fewer than nine samples, a number that is none, or logits all the same.
    Cancelled
        If `cancel` is set.
    """
    with torch.inference_mode(False), torch.enable_grad():
        z_sem, source = z_sem.float().cpu().clone(), source.float().cpu().clone()
        targets = torch.stack([logits, distances], dim=1).float().cpu().clone()
        _check_samples(z_sem, targets)
        generator = torch.Generator().manual_seed(seed)
        parts = torch.randperm(len(z_sem), generator=generator).tensor_split(VALIDATION_PART)
        proxy = Proxy(z_sem.shape[1], networks)
        proxy.initialise(generator)
        proxy.centre.copy_(source[0])
        proxy.scale.fill_(radius / math.sqrt(z_sem.shape[1]))
        if linear is not None:
            proxy.begin_with(linear)
        beside = targets.clone()
        beside[:, 0] -= (z_sem - source) @ proxy.slope / proxy.scale
        proxy.mean.copy_(beside.mean(0))
        proxy.spread.copy_(beside.std(0).clamp(min=1e-6))
        weight = torch.tensor([1.0, lam]) / targets.std(0)[0] ** 2
        trainings = []
        for i, network in enumerate(proxy.networks):

            def loss(rows: Tensor, network: nn.Module = network) -> Tensor:
                error = proxy.one(network, z_sem[rows]) - targets[rows]
                return (error.square() * weight).sum(1).mean()

            kept = torch.cat(parts[:i] + parts[i + 1 :])
            trainings.append(_Training(network, loss, kept, parts[i], generator))
        losses = _train(trainings, progress, cancel)
    return FittedProxy(proxy.eval().requires_grad_(False), *losses)


def linear_proxy(linear: MeanSlope) -> FittedProxy:
    """The proxy that a mean slope is by itself; of LPIPS it knows nothing."""
    proxy = Proxy(len(linear.slope), networks=0)
    proxy.centre.copy_(linear.statistics.mean)
    proxy.mean.copy_(torch.tensor([linear.intercept, 0.0]))
    proxy.slope.copy_(linear.gradient)
    unexplained = [1 - linear.explained]
    return FittedProxy(proxy.eval().requires_grad_(False), unexplained, unexplained)


def _check_samples(z_sem: Tensor, targets: Tensor) -> None:
    """Refuse samples that no proxy can be fitted to."""
    if len(z_sem) < VALIDATION_PART:
        raise GCDError(
            f"{len(z_sem)} samples cannot be split into training and validation; take "
            f"{VALIDATION_PART} or more."
        )
    if not bool(z_sem.isfinite().all() and targets.isfinite().all()):
        raise GCDError("A sample's code, logit or LPIPS is no finite number; search again.")
    mean, spread = targets[:, 0].mean(), targets[:, 0].std()
    if spread <= 1e-6 * (1 + mean.abs()):
        raise GCDError(
            "The classifier answers the same for every perturbed image, so there is no "
            "direction to find; search in a larger radius."
        )


def _train(
    trainings: list[_Training], progress: EpochProgress | None, cancel: Cancel | None
) -> tuple[list[float], list[float]]:
    """Train all networks, each until it is over, and leave each with its best weights."""
    train_losses: list[float] = []
    validation_losses: list[float] = []
    for epoch in range(MAX_EPOCHS):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        for training in trainings:
            training.epoch()
        train_losses.append(fmean(training.train[-1] for training in trainings))
        validation_losses.append(fmean(training.validation[-1] for training in trainings))
        if progress is not None:
            progress(epoch + 1, MAX_EPOCHS, train_losses, validation_losses)
        if all(training.over for training in trainings):
            break
    for training in trainings:
        training.network.load_state_dict(training.best)
    return train_losses, validation_losses


class _Training:
    """The training of one network: its rows, its losses, its best weights, whether it is over."""

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[Tensor], Tensor],
        kept: Tensor,
        held_back: Tensor,
        generator: torch.Generator,
    ) -> None:
        self.network, self.over = network, False
        self.train: list[float] = []
        self.validation: list[float] = []
        self.best = copy.deepcopy(network.state_dict())
        self._loss, self._kept, self._held_back = loss, kept, held_back
        self._generator = generator
        self._fewest = MIN_STEPS / math.ceil(len(kept) / BATCH)
        self._optimiser = torch.optim.AdamW(
            network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )

    def epoch(self) -> None:
        """Go through the kept rows once, unless it is over."""
        if self.over:
            return
        order = torch.randperm(len(self._kept), generator=self._generator)
        total = 0.0
        for rows in self._kept[order].split(BATCH):
            self._optimiser.zero_grad()
            loss = self._loss(rows)
            loss.backward()
            self._optimiser.step()
            total += loss.item() * len(rows)
        self.train.append(total / len(self._kept))
        with torch.no_grad():
            self.validation.append(self._loss(self._held_back).item())
        if self.validation[-1] <= min(self.validation):
            self.best = copy.deepcopy(self.network.state_dict())
        self.over = len(self.train) >= self._fewest and _rising(self.validation)


def _rising(losses: list[float]) -> bool:
    """Whether the last loss exceeds the mean of the five before it."""
    before = losses[-PATIENCE - 1 : -1]
    return bool(before) and losses[-1] > fmean(before)
