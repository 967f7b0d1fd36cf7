"""The bridge: an image-to-image Schroedinger bridge that fills in what a mask hides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from gcd_core.bridge.bridge_network import BridgeNetwork
from gcd_core.bridge.schedule import Schedule
from gcd_core.errors import GCDError
from gcd_core.files import write_json
from gcd_core.generators.base import read_config
from gcd_core.generators.device import choose_precision
from gcd_core.generators.weights import INDEX_SUFFIX, load_strictly, read_tensors, save_sharded

STEM = "bridge"
CONFIG_NAME, WEIGHTS_NAME = f"{STEM}.json", STEM + INDEX_SUFFIX
STEPS = 100

Progress = Callable[[int, int], None]


class Bridge:
    """I2SB (Liu et al., ICML 2023) from noise inside a mask to the picture that was there.

    Outside the mask x_0, x_1 and all between are the picture itself: the bridge is of the hidden
    pixels, given the others, and what is given carries no noise.

    Parameters
    ----------
    network : BridgeNetwork
    schedule : Schedule
    precision : {"fp32", "bf16", "auto"}
        Of the network's arithmetic; "auto" takes bf16 where the machine has it in hardware.

    Attributes
    ----------
    device : torch.device
    channels : int
        Of the pictures.
    smallest : int
        Sides of pictures are multiples of this.
    """

    def __init__(self, network: BridgeNetwork, schedule: Schedule, precision: str = "auto") -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.schedule = schedule
        self.device = next(network.parameters()).device
        self.precision = choose_precision(precision, self.device)
        self.channels, self.smallest = network.channels, network.smallest

    def x0_hat(self, x_t: Tensor, masks: Tensor, t: Tensor) -> Tensor:
        """What the network takes for x_0: x_t - sigma_t network(x_t) inside, x_t outside.

        It can be differentiated by x_t.

        Parameters
        ----------
        x_t : Tensor (N, C, S, S)
            In [-1, 1] but for its noise.
        masks : Tensor (N, 1, S, S), bool
            True where the picture is made.
        t : Tensor (N,)
            In [0, 1].
        """
        if self.precision == "bf16":
            context: contextlib.AbstractContextManager = torch.autocast(
                self.device.type, torch.bfloat16
            )
        else:
            context = contextlib.nullcontext()
        with context:
            predicted = self.network(x_t, masks, t).float()
        deviation = self.schedule.variance(t).sqrt()[:, None, None, None]
        return torch.where(masks, x_t - deviation * predicted, x_t)

    def noise(self, images: Tensor, masks: Tensor, seed: int) -> Tensor:
        """x_1: the picture with N(0, 1) in place of what the masks hide, the same for every image.

        So what becomes of one does not hang on those beside it.
        """
        drawn = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(seed))
        return torch.where(masks, drawn.to(images), images)

    @torch.inference_mode()
    def inpaint(
        self,
        images: Tensor,
        masks: Tensor,
        steps: int = STEPS,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Tensor:
        """Make the pixels inside masks anew from the others (I2SB, algorithm 2).

        Raises a GCDError if the images are not what the bridge was made for.

        Parameters
        ----------
        images : Tensor (N, C, S, S)
            In [0, 1]; what the masks hide is not looked at.
        masks : Tensor (N or 1, S, S), bool
        steps : int
            Passes of the network.
        seed : int
            Of the noise at the start and on the way.
        progress : callable, optional
            Told (done, total) of the steps.

        Returns
        -------
        Tensor (N, C, S, S)
            In [0, 1]; outside the masks the images bit for bit.
        """
        self.check(images)
        if steps < 1:
            raise GCDError(f"The bridge takes one step at least, not {steps}.")
        n = len(images)
        hidden = masks[:, None].to(self.device).expand(n, 1, -1, -1)
        x = self.noise(images.to(self.device) * 2 - 1, hidden, seed)
        times = torch.linspace(0, 1, steps + 1)
        generator = torch.Generator().manual_seed(seed + 1)
        for i in range(steps, 0, -1):
            t, s = (times[j].expand(n).to(self.device) for j in (i, i - 1))
            mean, variance = self.schedule.step(self.x0_hat(x, hidden, t), x, t, s)
            drawn = torch.randn(x.shape[1:], generator=generator).to(x)
            x = torch.where(hidden, mean + variance.sqrt() * drawn, x)
            if progress:
                progress(steps - i + 1, steps)
        made = ((x + 1) / 2).clamp(0, 1).to(images)
        return torch.where(hidden.to(images.device), made, images)

    def check(self, images: Tensor) -> None:
        """Refuse images (N, C, S, S) of other channels, or of a side that cannot be halved."""
        if images.ndim != 4 or images.shape[1] != self.channels:
            raise GCDError(
                f"The bridge works on {self.channels} channels, not on {tuple(images.shape)}."
            )
        if images.shape[-1] % self.smallest or images.shape[-2] % self.smallest:
            raise GCDError(
                f"The bridge needs sides that are multiples of {self.smallest}, not "
                f"{images.shape[-2]} x {images.shape[-1]}."
            )


def save_bridge(network: BridgeNetwork, schedule: Schedule, folder: str | Path) -> None:
    """Write a bridge in half precision: `bridge.json`, the shards and their index.

    Raises a GCDError if a file cannot be written; those that were there are as before then.
    """
    folder = Path(folder)
    save_sharded(network.state_dict(), folder, STEM)
    config = {
        "kind": "i2sb",
        "ends": schedule.ends,
        "middle": schedule.middle,
        "network": network.config,
    }
    write_json(folder / CONFIG_NAME, config)


def load_bridge(
    config: str | Path,
    weights: str | Path,
    device: str | torch.device = "cpu",
    precision: str = "auto",
) -> Bridge:
    """Read what `save_bridge` wrote.

    Raises a GCDError if a file is absent, damaged, or describes something else.

    Parameters
    ----------
    config, weights : str or Path
        `bridge.json`, and the index of its shards or one safetensors file.
    device : str or torch.device
    precision : {"fp32", "bf16", "auto"}
    """
    path, table = Path(config), read_config(config, "bridge")
    keys = {"kind", "ends", "middle", "network"}
    if set(table) != keys or table["kind"] != "i2sb":
        raise GCDError(f"{path} does not describe a bridge: it needs {sorted(keys)}, kind i2sb.")
    try:
        network = BridgeNetwork.from_config(table["network"])
        schedule = Schedule(table["ends"], table["middle"])
    except (TypeError, KeyError, AttributeError):
        raise GCDError(f"{path} does not describe a bridge: {table}.") from None
    load_strictly(network, read_tensors(weights), "bridge")
    return Bridge(network.to(device), schedule, precision)
