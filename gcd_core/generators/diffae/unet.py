"""The U-Nets as the solvers use them: in the precision chosen, each pass counted."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from gcd_core.errors import GCDError
from gcd_core.generators.base import EvaluationCounter
from gcd_core.generators.diffae.model import DiffAEModel
from gcd_core.generators.diffae.solvers import NoiseModel, T
from gcd_core.traced import Traced

CPU_BATCH = 32
MAX_GPU_BATCH = 256


class NoiseNetwork:
    """A U-Net that predicts the noise in float32 tensors, whatever precision it computes in.

    Parameters
    ----------
    unet
        Called as ``unet(x_t, t, z_sem)``, with weights of ``dtype``; a network, or `Traced`.
    dtype
        Of its arithmetic.
    counter
        Counts each image of each pass.
    """

    def __init__(
        self, unet: nn.Module | Traced, dtype: torch.dtype, counter: EvaluationCounter
    ) -> None:
        self.unet = unet
        self.dtype = dtype
        self.counter = counter

    def __call__(self, x_t: Tensor, t: Tensor, z_sem: Tensor) -> Tensor:
        """The noise, float32, in x_t (N, Cz, Hz, Wz) at times (N,) under raw codes (N, D)."""
        self.counter.add(len(x_t))
        return self.unet(x_t.to(self.dtype), t, z_sem.to(self.dtype)).float()

    def under(self, z_sem: Tensor) -> NoiseModel:
        """The noise model that the solvers ask, under raw codes (N, D)."""

        def noise(x: Tensor, t: int) -> Tensor:
            return self(x, torch.full((len(x),), t, device=x.device), z_sem)

        return noise


def in_precision(model: DiffAEModel, precision: str, counter: EvaluationCounter) -> NoiseNetwork:
    """The model's U-Net in ``"fp32"``, where it is the model itself, or a copy in ``"bf16"``.

    The encoder, where the model has one, stays what it is: the copy is without. On a CPU the copy
    runs as one call, beside other threads.
    """
    model.to(memory_format=torch.channels_last)
    if precision != "bf16":
        return NoiseNetwork(model, torch.float32, counter)
    unet = copy.deepcopy(model).to(torch.bfloat16)
    if hasattr(unet, "encoder"):
        del unet.encoder
    on_cpu = next(unet.parameters()).device.type == "cpu"
    return NoiseNetwork(Traced(unet) if on_cpu else unet, torch.bfloat16, counter)


def suggested_batch(device: torch.device, model_channels: int, side: int) -> int:
    """Images at a time: 32 on a CPU, on a GPU what its free memory suggests.

    ``side`` is the width in pixels of what the U-Net works on.
    """
    if device.type != "cuda":
        return CPU_BATCH
    free, _ = torch.cuda.mem_get_info(device)
    # The feature maps that wait for the U-Net's second half, and its widest layers' own.
    one_image = 64 * 4 * model_channels * side**2
    return min(max(free // one_image, 1), MAX_GPU_BATCH)


def checked_times(t: Tensor | int, n: int) -> Tensor:
    """Return time steps as (n,), one for all spread out; refuse any that are not 0 to T - 1."""
    times = torch.as_tensor(t).expand(n)
    if times.is_floating_point() or (n and not 0 <= int(times.min()) <= int(times.max()) < T):
        raise GCDError(f"Times {times.tolist()[:3]} were given; expected integers 0 to {T - 1}.")
    return times
