"""Train the bridge (I2SB, Liu et al., ICML 2023) to fill in what free-form masks hide."""

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from gcd_core.bridge.bridge import Bridge, save_bridge
from gcd_core.bridge.bridge_network import BridgeNetwork
from gcd_core.bridge.schedule import Schedule
from gcd_core.errors import GCDError
from gcd_core.files import write_json
from gcd_core.generators.device import choose_device
from gcd_core.images.dataset import load_split
from gcd_core.images.free_form import free_form_masks
from gcd_core.perceptual import LPIPS
from gcd_core.training.augmentation import augment_gently
from gcd_core.training.loop import (
    EMA,
    Learner,
    Plan,
    Training,
    autocast,
    run,
    run_settings,
    save_grid,
    spread,
)
from gcd_core.training.options import add_data, add_run, add_shape

WATCHED = 32  # held-out images that the log measures
WATCHED_STEPS = 20  # of the bridge, for them
MEASURED = (0.1, 0.2)  # shares of the picture that are hidden where the finished bridge is judged
EARLIEST = 1e-3  # of the times that are learned


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train bridge`."""
    add_data(parser, "file, split, patient", "checkpoint, log, grids, weights")
    add_run(parser, minutes=60, batch=16, rate=5e-4)
    add_shape(parser)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 160, 256])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 1, 2, 2])
    parser.add_argument(
        "--attention",
        type=int,
        nargs="+",
        choices=(0, 1),
        default=[0, 0, 1, 1],
        help="whether each resolution has self-attention",
    )
    parser.add_argument("--ema", type=float, default=0.999, help="decay of the averaged weights")


def main(args: argparse.Namespace) -> None:
    """Train until the time is up, then measure the bridge on the test split."""
    device, out = choose_device(args.device), Path(args.out)
    torch.manual_seed(args.seed)
    attention = [attends > 0 for attends in args.attention]
    network = BridgeNetwork(args.channels, args.widths, args.blocks, attention)
    if args.size % network.smallest:
        raise GCDError(f"--size is a multiple of {network.smallest} here, not {args.size}.")
    out.mkdir(parents=True, exist_ok=True)
    images, held_out, test = (
        load_split(args.data, args.labels, split, args.size, args.channels, args.fit)[0]
        for split in ("train", "val", "test")
    )
    training = BridgeTraining(args, network.to(device), images, held_out)
    plan = Plan.of(args, run_settings(args), log_every=250, save_minutes=5)
    steps, minutes = run(training, plan)
    bridge = Bridge(training.ema.module, training.schedule)
    figures = measure_inpainting(bridge, test, training.perceptual)
    metrics = {"images_seen": steps * args.batch, "minutes": minutes, "test": figures}
    write_json(out / "metrics.json", metrics)
    print(json.dumps(metrics, indent=1))


class BridgeTraining(Training):
    """Trains on the squared error of (x_t - x_0) / sigma_t inside the masks (I2SB, Eq. 12).

    Parameters
    ----------
    args : argparse.Namespace
        The options of `train bridge`.
    network : BridgeNetwork
        On the device to work on.
    images, held_out : Tensor (N, C, S, S), uint8
        To learn from; to measure and to show.
    """

    ema: EMA[BridgeNetwork]

    def __init__(
        self, args: argparse.Namespace, network: BridgeNetwork, images: Tensor, held_out: Tensor
    ) -> None:
        self.args, self.images, self.held_out = args, images, held_out
        self.network = network.to(memory_format=torch.channels_last)
        self.device = next(network.parameters()).device
        self.schedule = Schedule()
        optimiser = torch.optim.AdamW(network.parameters(), lr=args.lr, betas=(0.9, 0.99))
        self.learners = [Learner(network, optimiser)]
        self.ema = EMA(network, args.ema)
        self.perceptual = LPIPS(device=self.device)

    def losses(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the loss of a batch at random times. Half of the pictures are moved copies."""
        args, source = self.args, torch.Generator().manual_seed(self.args.seed + step)
        chosen = torch.randint(len(self.images), (args.batch,), generator=source)
        x_0 = self.images[chosen].to(self.device).float() / 255
        # Turning blurs, so half of them stay sharp.
        x_0 = torch.cat([x_0[::2], augment_gently(x_0[1::2], source)]) * 2 - 1
        masks = free_form_masks(args.batch, args.size, source)
        order = torch.randperm(args.batch, generator=source)  # both kinds for either half
        masks = masks[order, None].to(self.device)
        times = (torch.arange(args.batch) + torch.rand(args.batch, generator=source)) / args.batch
        t = (EARLIEST + (1 - EARLIEST) * times[torch.randperm(args.batch, generator=source)]).to(
            self.device
        )
        x_1 = torch.where(masks, torch.randn(x_0.shape, generator=source).to(self.device), x_0)
        mean, variance = self.schedule.posterior(x_0, x_1, t)
        drawn = torch.randn(x_0.shape, generator=source).to(self.device)
        x_t = torch.where(masks, mean + variance.sqrt() * drawn, x_0)
        target = (x_t - x_0) / self.schedule.variance(t).sqrt()[:, None, None, None]
        with autocast(self.device):
            predicted = self.network(x_t, masks, t)
        errors = ((predicted.float() - target).square() * masks).sum((1, 2, 3))
        areas = masks.float().sum((1, 2, 3)) * x_0.shape[1]
        # A small region's mean is noisier than a large one's: between the two ways to weigh them.
        loss = (errors / areas.sqrt()).sum() / areas.sqrt().sum()
        return [loss], {"loss": loss.detach()}

    def row(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """Return the mean loss, and how well held-out pictures are filled in."""
        bridge = Bridge(self.ema.module, self.schedule)
        held = spread(self.held_out, WATCHED)
        figures = measure_inpainting(bridge, held, self.perceptual, WATCHED_STEPS)
        return {"step": step, "images": step * self.args.batch, **means, **figures}

    @torch.inference_mode()
    def export(self, minutes: float) -> None:
        """Write the bridge; draw held-out pictures, masked and as the bridge fills them."""
        save_bridge(self.ema.module, self.schedule, self.args.out)
        bridge = Bridge(self.ema.module, self.schedule)
        x = spread(self.held_out, 12).to(self.device).float() / 255
        masks = free_form_masks(len(x), x.shape[-1], torch.Generator().manual_seed(0), 0.05, 0.4)
        hidden = torch.where(masks[:, None].to(self.device), torch.tensor(0.5), x)
        made = bridge.inpaint(x, masks, WATCHED_STEPS)
        save_grid(Path(self.args.out) / "inpainting.png", [x, hidden, made])


@torch.inference_mode()
def measure_inpainting(
    bridge: Bridge, images: Tensor, perceptual: LPIPS, steps: int = 100
) -> dict[str, float]:
    """Fill in masks of 10 to 20 % of images (N, C, S, S), uint8, and compare with what was there.

    Returns
    -------
    lpips : float
        Mean perceptual distance inside the masks (`LPIPS.inside`).
    mae : float
        Mean absolute error inside the masks, in [0, 1].
    """
    generator = torch.Generator().manual_seed(0)
    distances, errors = [], []
    for batch in images.split(32):
        x = batch.to(bridge.device).float() / 255
        masks = free_form_masks(len(x), x.shape[-1], generator, *MEASURED).to(bridge.device)
        made = bridge.inpaint(x, masks, steps)
        distances.append(perceptual.inside(made, x, masks))
        difference = (made - x).abs().mean(1) * masks
        errors.append(difference.sum((1, 2)) / masks.sum((1, 2)))
    return {"lpips": torch.cat(distances).mean().item(), "mae": torch.cat(errors).mean().item()}
