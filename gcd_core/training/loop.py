"""The loop that all trainings share: gradient steps, averaging, log, checkpoints, resumption.

A training describes itself to `run` as a `Training`: what learns, its losses, what to measure and
to write.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import csv
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.generators.device import choose_precision
from gcd_core.training.threads import Threads

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_VERSION = 2
# Options that a run may be resumed with others of.
CHANGEABLE_OPTIONS = ("out", "device", "data", "labels", "minutes", "steps")

M = TypeVar("M", bound=nn.Module)


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Return a context of bf16 arithmetic where the hardware has it; else one that does nothing."""
    if choose_precision("auto", device) == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


class EMA(Generic[M]):
    """Exponential moving average of a module's weights, warmed up over the first steps."""

    def __init__(self, module: M, decay: float) -> None:
        self.decay = decay
        self.module = copy.deepcopy(module).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average toward `module`, by 1 - min(decay, (1 + step) / (10 + step))."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averaged, current = self.module.state_dict(), module.state_dict()
        floating = [name for name, value in averaged.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [averaged[n] for n in floating], [current[n] for n in floating], 1 - decay
        )


def learning_rate(peak: float, progress: float, warmup: float = 0.02) -> float:
    """Return the rate at a progress in [0, 1]: linear warm-up, then a cosine to 1 % of the peak."""
    if progress < warmup:
        return peak * progress / warmup
    share = min(1.0, (progress - warmup) / (1 - warmup))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


class Learner:
    """A network that learns, and how it does.

    Parameters
    ----------
    network : nn.Module
        Its weights and buffers are what a resumed run goes on from.
    optimiser : torch.optim.Optimizer
        Of those of its weights that learn; its learning rates are the peaks of the schedule.
    max_norm : float, optional
        Bound of the gradient's norm over all weights.
    warmup : float
        Share of the run in which the learning rate rises.
    """

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        max_norm: float | None = 1.0,
        warmup: float = 0.02,
    ) -> None:
        self.network, self.optimiser = network, optimiser
        self.max_norm, self.warmup = max_norm, warmup
        self._peaks = [group["lr"] for group in optimiser.param_groups]

    def descend(self, loss: Tensor, progress: float) -> None:
        """Take one step down the loss's gradient, at the learning rate of this `progress`."""
        for group, peak in zip(self.optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = learning_rate(peak, progress, self.warmup)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
        self.optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` goes on from."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from another process's `state_dict`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


class Training(ABC):
    """What a training gives to `run`."""

    # The first is what the training is for, the others (a discriminator) help it.
    learners: Sequence[Learner]
    ema: EMA  # the average of the first learner's network, which is measured and written

    @abstractmethod
    def losses(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return each learner's loss of this step's batch, and scalars for the log.

        All are computed before any learner moves; the gradient of each must reach its own learner
        alone. Everything random follows from the run's seed and `step`, so that a resumed run
        equals one that went through.
        """

    @abstractmethod
    def row(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """Measure held-out images, and return the log's row after `step` steps.

        `means` are those of the scalars that `losses` gave since the last row.
        """

    def export(self, minutes: float) -> None:  # noqa: B027 - a training may have nothing to write
        """Write networks and pictures after so many minutes; called as the plan says."""

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs beside learners and average: tensors, numbers, text."""
        return {}

    def resume(self, state: dict[str, Any]) -> None:  # noqa: B027 - and nothing to go on from
        """Go on from another process's `state`."""


@dataclass(frozen=True)
class Plan:
    """How long a training goes on, and how often it reports."""

    out: Path  # folder of `checkpoint.pt` and `log.csv`
    settings: dict[str, Any]  # a checkpoint is resumed only by a run with the same
    seed: int  # of what layers draw by themselves (dropout)
    # The run ends with either, counted over all its resumptions.
    minutes: float
    steps: float | None
    log_every: int  # steps to a row of the log
    log_last: bool = False  # whether the last step has a row in any case
    save_minutes: float | None = None  # time between saves; None saves with each row of the log
    export_minutes: float = 0.0  # time between exports, which come with saves and at the end

    @classmethod
    def of(cls, args: argparse.Namespace, settings: dict[str, Any], **how: Any) -> Plan:
        """The plan of a command's options; `how` are the fields that no option gives."""
        how = {"steps": getattr(args, "steps", None), **how}
        return cls(Path(args.out), settings, args.seed, args.minutes, **how)


class Finished(NamedTuple):
    """How far a run went, over all its resumptions."""

    steps: int
    minutes: float


def run(training: Training, plan: Plan) -> Finished:
    """Train until the time or the steps are up, from the checkpoint if there is one.

    Raises a GCDError if the checkpoint belongs to another run, or `minutes` is not positive.
    """
    settings = plan.settings | {"checkpoint_version": CHECKPOINT_VERSION}
    step, spent = 0, 0.0
    scalars: dict[str, list[float]] = {}  # of each step since the last row of the log
    if state := load_checkpoint(plan.out / CHECKPOINT, settings):
        for learner, learned in zip(training.learners, state["learners"], strict=True):
            learner.load_state_dict(learned)
        training.ema.module.load_state_dict(state["ema"])
        training.resume(state["training"])
        step, spent, scalars = state["step"], state["spent"], state["scalars"]
        print(f"resumed at step {step}")
    clock, log = Clock(plan.minutes, spent), Log(plan.out / "log.csv", step)
    saved_at, saved_step, export = clock.spent, -1, _Exports(training, plan, clock)

    def save() -> None:
        nonlocal saved_at, saved_step
        state = {"step": step, "spent": clock.spent, "settings": settings, "scalars": scalars}
        state["learners"] = [learner.state_dict() for learner in training.learners]
        state |= {"ema": training.ema.module.state_dict(), "training": training.state()}
        save_checkpoint(plan.out / CHECKPOINT, state)
        saved_at, saved_step = clock.spent, step
        export.if_due(step)

    progress, threads = clock.progress_or(step, plan.steps), Threads(torch.get_num_threads())
    while progress < 1:
        torch.manual_seed(plan.seed + step)
        with threads.step():
            losses, figures = training.losses(step)
            for learner, loss in zip(training.learners, losses, strict=True):
                learner.descend(loss, progress)
            step += 1
            training.ema.update(training.learners[0].network, step)
            for name, figure in figures.items():
                scalars.setdefault(name, []).append(figure.item())
        progress = clock.progress_or(step, plan.steps)
        due = step % plan.log_every == 0 or (plan.log_last and progress == 1)
        if due:
            means = {name: sum(values) / len(values) for name, values in scalars.items()}
            log.write(clock, **training.row(step, means))
            scalars = {}
        if due if plan.save_minutes is None else clock.spent - saved_at > plan.save_minutes * 60:
            save()
    if saved_step != step:
        save()
    export.at_the_end(step)
    return Finished(step, clock.spent / 60)


class _Exports:
    """Lets a training export as often as its plan says, and at the end."""

    def __init__(self, training: Training, plan: Plan, clock: Clock) -> None:
        self._training, self._seconds, self._clock = training, plan.export_minutes * 60, clock
        self._at, self._step = clock.spent, -1

    def if_due(self, step: int) -> None:
        if self._clock.spent - self._at >= self._seconds:
            self._training.export(self._clock.spent / 60)
            self._at, self._step = self._clock.spent, step

    def at_the_end(self, step: int) -> None:
        """Export, unless that was done after this step."""
        if self._step != step:
            self._training.export(self._clock.spent / 60)


def run_settings(args: argparse.Namespace, *free: str) -> dict[str, Any]:
    """Return the options that a resumed run must repeat: not `CHANGEABLE_OPTIONS` nor `free`."""
    return {
        name: value
        for name, value in vars(args).items()
        if name not in (*CHANGEABLE_OPTIONS, *free)
    }


def save_checkpoint(path: Path, state: dict) -> None:
    """Write `state` so that a kill at any moment leaves the old file or the new one, whole."""
    with atomic_write(path) as place:
        torch.save(state, place)


def load_checkpoint(path: Path, settings: dict) -> dict[str, Any] | None:
    """Return the state to resume from, or None if there is none.

    Raises a GCDError if the checkpoint belongs to a run with other settings.
    """
    if not path.is_file():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    changed = {k: (state["settings"].get(k), v) for k, v in settings.items()}
    changed = {k: pair for k, pair in changed.items() if pair[0] != pair[1]}
    if changed:
        raise GCDError(
            f"{path} was made with other settings {changed} (then, now); choose another --out, or "
            "delete it to start afresh."
        )
    return state


class Clock:
    """Minutes spent on a run, over all its resumptions, against its limit."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        if minutes <= 0:
            raise GCDError(f"--minutes must be positive, not {minutes}.")
        self.limit = minutes * 60
        self.start = time.monotonic() - spent

    @property
    def spent(self) -> float:
        """Seconds of training so far."""
        return time.monotonic() - self.start

    @property
    def progress(self) -> float:
        """Share of the limit that is spent, in [0, 1]."""
        return min(1.0, self.spent / self.limit)

    def progress_or(self, step: int, steps: float | None) -> float:
        """Share of the time or of the steps, whichever ends sooner, in [0, 1]."""
        return max(self.progress, min(1.0, step / steps)) if steps else self.progress

    def __str__(self) -> str:
        left = max(0.0, self.limit - self.spent)
        return f"{self.spent / 60:.1f} min, {left / 60:.1f} to go"


class Log:
    """A CSV file that grows by a row at a time, and a line on the terminal for each row.

    Parameters
    ----------
    path : Path
        The file. Each row begins with its `step`.
    step : int
        Where the run goes on from: rows after it, which will be written anew, are dropped.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.path = path
        if not path.is_file():
            return
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            whole = (row for row in reader if None not in row.values())  # a kill may cut the last
            kept = [row for row in whole if int(row["step"]) <= step]
        if not kept:
            path.unlink()
            return
        with atomic_write(path) as place, open(place, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, kept[0].keys())
            writer.writeheader()
            writer.writerows(kept)

    def write(self, clock: Clock, **values: float) -> None:
        """Append a row."""
        new = not self.path.exists()
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, values.keys())
            if new:
                writer.writeheader()
            writer.writerow(values)
        shown = "  ".join(
            f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items()
        )
        print(f"{shown}  [{clock}]", flush=True)


def spread(images: Tensor, count: int) -> Tensor:
    """Return `count` of the images, evenly spread; all where there are fewer."""
    return images[:: max(1, len(images) // count)][:count]


def save_grid(path: Path, rows: list[Tensor]) -> None:
    """Write rows of images (N, C, H, W) in [0, 1], one row above the other, as a PNG."""
    from torchvision.utils import save_image

    columns = min(len(row) for row in rows)
    images = torch.cat([row[:columns].float().clamp(0, 1).cpu() for row in rows])
    save_image(images, path, nrow=columns, padding=1)
