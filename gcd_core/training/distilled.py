"""Distil a diffusion autoencoder's decoder into one of few steps.

The student is the U-Net itself, trained on so that DDIM along a few fixed times ends where the
teacher's solver ends, from the same z_T under the same z_sem (knowledge distillation of a sampler:
Luhman & Luhman, 2021; here of every code in a ball around an image's own, and through all of the
student's steps at once). Codes, directions and inversions stay the teacher's.
"""

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.checks import check_at_least
from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import in_batches
from gcd_core.generators.device import choose_device
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.model import DiffAEModel
from gcd_core.generators.diffae.solvers import ddim, find_solver
from gcd_core.generators.sampling import Distilled
from gcd_core.generators.weights import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    load_strictly,
    read_weights,
    save_generator,
)
from gcd_core.images.dataset import load_split
from gcd_core.method.settings import check_radius
from gcd_core.training.augmentation import augment_gently
from gcd_core.training.loop import EMA, Learner, Plan, Training, autocast, run, save_grid, spread
from gcd_core.training.options import add_data, add_run

IMAGES, CODES = 16, 2  # images that fresh rows come from, and perturbed codes of each
HELD_OUT = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train distilled`."""
    parser.add_argument("--of", required=True, help="folder with generator.json and its weights")
    add_data(parser, "file, split, patient", "checkpoint, log, grids, weights")
    add_run(parser, minutes=60, batch=16, rate=1e-4)
    parser.add_argument(
        "--times",
        type=int,
        nargs="+",
        default=[650, 250],
        help="of the student's steps, first to last: as many network evaluations an image",
    )
    parser.add_argument(
        "--radius", type=float, default=8.0, help="of the ball of codes (the domain's of `find`)"
    )
    parser.add_argument("--kept", type=int, default=16384, help="most rows to learn from at a time")
    parser.add_argument(
        "--reuse", type=int, default=8, help="training steps to each draw of images"
    )
    parser.add_argument(
        "--begin-with",
        help="folder with a generator whose distilled decoder a new run begins with (default: with "
        "the diffusion autoencoder's own network)",
    )
    parser.add_argument("--ema", type=float, default=0.995)
    parser.add_argument("--export-minutes", type=float, default=10, help="time between exports")


def main(args: argparse.Namespace) -> None:
    """Train until the time is up, writing the generator with its student every few minutes."""
    check_radius(args.radius)
    check_at_least(1, batch=args.batch, reuse=args.reuse, kept=args.kept)
    device, folder, out = choose_device(args.device), Path(args.of), Path(args.out)
    teacher = load_generator(folder / CONFIG_NAME, folder / WEIGHTS_NAME, device)
    if not isinstance(teacher, DiffAE):
        raise GCDError(f"The generator in {folder} is no DiffAE: it has no steps to spare.")
    distilled = Distilled.from_config(
        {
            "times": args.times,
            "solver": teacher.sampling.solver,
            "steps": teacher.sampling.decode_steps,
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    names = ("times", "radius", "reuse", "batch", "lr", "ema", "seed")
    settings = {name: getattr(args, name) for name in names} | {"teacher": teacher.identity}

    torch.manual_seed(args.seed)
    size, channels = teacher.image_size, teacher.channels
    images, _ = load_split(args.data, args.labels, "train", size, channels, args.fit)
    held_out, _ = load_split(args.data, args.labels, "val", size, channels, args.fit)
    training = DistillationTraining(args, teacher, distilled, images, held_out)
    run(training, Plan.of(args, settings, log_every=50, save_minutes=args.export_minutes))


class DistillationTraining(Training):
    """Trains the student to reach in few steps what the teacher reaches in many.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `train distilled`.
    teacher : DiffAE
        On the device to work on.
    distilled : Distilled
        The student's times, and the teacher's solver and steps that it stands in for.
    images, held_out : Tensor (N, C, S, S), uint8
        Whose codes to learn around, and to measure around.
    """

    ema: EMA[DiffAEModel]

    def __init__(
        self,
        args: argparse.Namespace,
        teacher: DiffAE,
        distilled: Distilled,
        images: Tensor,
        held_out: Tensor,
    ) -> None:
        self.args, self.teacher, self.distilled, self.images = args, teacher, distilled, images
        fixed = torch.Generator().manual_seed(0)
        shown = spread(held_out, HELD_OUT).float() / 255
        self.held_out = Decodings.of(teacher, shown, args.radius, fixed, distilled)
        self.pool = self.held_out[:0].half()
        self.student = copy.deepcopy(teacher.model).train()
        del self.student.encoder
        if args.begin_with:
            begun = read_weights(Path(args.begin_with) / WEIGHTS_NAME).distilled
            load_strictly(self.student, begun, "distilled decoder")
        self.student.to(teacher.device).to(memory_format=torch.channels_last)
        self.student.requires_grad_(True)
        optimiser = torch.optim.AdamW(
            self.student.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0, fused=True
        )
        self.learners = [Learner(self.student, optimiser)]
        self.ema = EMA(self.student, args.ema)

    def losses(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the distance between the student's and the teacher's x_0, of a batch of the pool.

        Every `--reuse` steps the pool grows by what the teacher makes of fresh images and codes.
        """
        args, source = self.args, torch.Generator().manual_seed(self.args.seed + step)
        if step % args.reuse == 0 or not len(self.pool):
            chosen = torch.randint(len(self.images), (IMAGES,), generator=source)
            moved = augment_gently(self.images[chosen].float() / 255, source)
            fresh = Decodings.of(self.teacher, moved, args.radius, source, self.distilled)
            self.pool = self.pool.joined(fresh.half())[-args.kept :]
        batch = self.pool[torch.randint(len(self.pool), (args.batch,), generator=source)].float()
        with autocast(self.teacher.device):
            reached = reach(self.student, batch, self.distilled.times, self.teacher.device)
        loss = F.smooth_l1_loss(reached, batch.x_0.to(reached.device), beta=0.1)
        return [loss], {"loss": loss}

    def row(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """Return the mean loss, and the mean absolute error of held-out x_0."""
        error = (self._predict(self.held_out) - self.held_out.x_0).abs().mean().item()
        return {"step": step, "rows": len(self.pool), **means, "held_out_mae": error}

    def export(self, minutes: float) -> None:
        """Write the generator with its student; draw what teacher and student reach."""
        folder, out = Path(self.args.of), Path(self.args.out)
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
        config["distilled"] = asdict(self.distilled)
        weights = read_weights(folder / WEIGHTS_NAME)
        weights = replace(weights, distilled=self.ema.module.state_dict())
        save_generator(config, weights, out)
        rows = spread(torch.arange(len(self.held_out)), 12)
        reached = self.held_out[rows].x_0, self._predict(self.held_out[rows])
        device = self.teacher.device
        codes = self.held_out[rows].z_sem.to(device)
        mean = self.teacher.semantic_mean(codes) if self.teacher.semantic_mean else 0.0
        save_grid(out / "samples.png", [self.teacher.unfold(x.to(device) + mean) for x in reached])

    def state(self) -> dict[str, Tensor]:
        """Return the pool; a resumed run could not make it again."""
        return {"z_sem": self.pool.z_sem, "z_T": self.pool.z_T, "x_0": self.pool.x_0}

    def resume(self, state: dict[str, Tensor]) -> None:
        """Take over the pool."""
        self.pool = Decodings(**state)

    @torch.no_grad()
    def _predict(self, decodings: "Decodings") -> Tensor:
        """The x_0 that the averaged student reaches, in batches; on the CPU."""
        rows = torch.arange(len(decodings)).split(32)
        network, times, device = self.ema.module, self.distilled.times, self.teacher.device
        return torch.cat([reach(network, decodings[i], times, device).cpu() for i in rows])


class Decodings:
    """Codes z_sem (N, D) of the network, z_T (N, Cz, Hz, Wz), and the x_0 that they decode to."""

    def __init__(self, z_sem: Tensor, z_T: Tensor, x_0: Tensor) -> None:
        self.z_sem, self.z_T, self.x_0 = z_sem, z_T, x_0

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        teacher: DiffAE,
        images: Tensor,
        radius: float,
        source: torch.Generator,
        distilled: Distilled,
    ) -> "Decodings":
        """Decode codes around those of images (N, C, S, S) in [0, 1] by the teacher.

        Each image's own codes give the image itself, perturbed ones what they decode to. A
        perturbation is a step of uniform length, up to `radius`, in a random direction: denser
        near the image than points of the ball, as walks are.
        """
        images = images.to(teacher.device)
        latent = teacher.encode(images, distilled.solver, distilled.steps)
        shape = (CODES * len(images), teacher.z_sem_size)
        away = F.normalize(torch.randn(shape, generator=source), dim=1)
        length = radius * torch.rand(len(away), 1, generator=source)
        z_sem = latent.z_sem.repeat(CODES, 1) + (length * away).to(teacher.device)
        z_T = latent.z_T.repeat(CODES, 1, 1, 1)
        solve = find_solver(distilled.solver).decode

        def decode(z_sem: Tensor, z_T: Tensor) -> Tensor:
            noise_model = teacher.noise_model(z_sem)
            return solve(noise_model, z_T, distilled.steps, teacher.clip_denoised)

        decoded = in_batches(decode, (z_sem, z_T), IMAGES * CODES)
        codes = teacher.raw(torch.cat([latent.z_sem, z_sem]))
        x_0 = torch.cat([teacher.fold(images) - teacher.mean(latent.z_sem), decoded])
        return cls(*(t.cpu() for t in (codes, torch.cat([latent.z_T, z_T]), x_0)))

    def __len__(self) -> int:
        return len(self.z_sem)

    def __getitem__(self, rows: slice | Tensor) -> "Decodings":
        return Decodings(self.z_sem[rows], self.z_T[rows], self.x_0[rows])

    def joined(self, other: "Decodings") -> "Decodings":
        """These rows, then the other's."""
        pairs = ((self.z_sem, other.z_sem), (self.z_T, other.z_T), (self.x_0, other.x_0))
        return Decodings(*(torch.cat(pair) for pair in pairs))

    def half(self) -> "Decodings":
        """Return the same in half precision, as the pool keeps them."""
        return Decodings(self.z_sem.half(), self.z_T.half(), self.x_0.half())

    def float(self) -> "Decodings":
        """The same in float32."""
        return Decodings(self.z_sem.float(), self.z_T.float(), self.x_0.float())


def reach(
    network: nn.Module, decodings: Decodings, times: Sequence[int], device: torch.device
) -> Tensor:
    """The x_0 (N, Cz, Hz, Wz) that a student reaches by DDIM along `times`, float32."""
    z_sem = decodings.z_sem.to(device)

    def noise(x: Tensor, t: int) -> Tensor:
        return network(x, torch.full((len(x),), t, device=device), z_sem).float()

    return ddim(noise, decodings.z_T.to(device), times)
