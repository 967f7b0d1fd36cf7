"""What every training loop here shares: precision, averaged weights, checkpoints, the clock."""

import contextlib
import copy
import csv
import math
import os
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from gcd_core.errors import GCDError


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Context of bf16 arithmetic where the machine has it in hardware, else of none."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.autocast(device.type, torch.bfloat16) if fast else contextlib.nullcontext()


class EMA:
    """Exponential moving average of a module's weights, warmed up over the first steps."""

    def __init__(self, module: nn.Module, decay: float) -> None:
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
    """Linear warm-up, then a cosine to a hundredth of the peak; `progress` of the run in [0, 1]."""
    if progress < warmup:
        return peak * progress / warmup
    share = min(1.0, (progress - warmup) / (1 - warmup))
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def save_checkpoint(path: Path, state: dict) -> None:
    """Write `state` so that a kill at any moment leaves the old file or the new one, whole."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path, settings: dict) -> dict | None:
    """Return the state to resume from, or None if there is none.

    Raises
    ------
    GCDError
        If the checkpoint belongs to a run with other settings.
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

    def progress_or(self, step: int, steps: int | None) -> float:
        """Share of the time or of the steps, whichever ends sooner, in [0, 1]."""
        return max(self.progress, min(1.0, step / steps)) if steps else self.progress

    def __str__(self) -> str:
        left = max(0.0, self.limit - self.spent)
        return f"{self.spent / 60:.1f} min, {left / 60:.1f} to go"


class Log:
    """A CSV file that grows by a row at a time, and a line on the terminal for each row."""

    def __init__(self, path: Path) -> None:
        self.path = path

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


def save_grid(path: Path, rows: list[Tensor]) -> None:
    """Write rows of images (N, C, H, W) in [0, 1], one row above the other, as a PNG."""
    from torchvision.utils import save_image

    columns = min(len(row) for row in rows)
    images = torch.cat([row[:columns].float().clamp(0, 1).cpu() for row in rows])
    save_image(images, path, nrow=columns, padding=1)
