"""Distil a diffusion autoencoder's decoder: what its solver reaches in many steps, in a few.

The student is the U-Net itself, trained on so that DDIM along a few fixed times ends where the
teacher's solver ends, from the same z_T under the same z_sem (knowledge distillation of a sampler:
Luhman & Luhman, 2021; here of every code in a ball around an image's own, and through all of the
student's steps at once). Codes, directions and inversions stay the teacher's.
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.checks import check_at_least
from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import in_batches
from gcd_core.generators.device import choose_device
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.solvers import ddim, find_solver
from gcd_core.generators.sampling import Distilled
from gcd_core.generators.weights import read_weights, save_sharded
from gcd_core.images.dataset import load_split
from gcd_core.method.settings import check_radius
from gcd_core.training.diffae import moved
from gcd_core.training.loop import (
    EMA,
    Clock,
    Log,
    autocast,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    save_grid,
)

CONFIG, WEIGHTS = "generator.json", "generator.safetensors.index.json"
IMAGES, CODES = 16, 2  # images that fresh rows come from, and perturbed codes of each
HELD_OUT = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train distilled`."""
    parser.add_argument("--of", required=True, help="folder with generator.json and its weights")
    parser.add_argument("--data", required=True, help="zip file or folder of images")
    parser.add_argument("--labels", help="CSV with file, split, patient (default: beside the data)")
    parser.add_argument("--out", required=True, help="folder for checkpoint, log, grids, weights")
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
    parser.add_argument("--minutes", type=float, default=60, help="training time, resumptions in")
    parser.add_argument("--steps", type=int, help="stop after so many steps, if sooner")
    parser.add_argument("--kept", type=int, default=16384, help="most rows to learn from at a time")
    parser.add_argument(
        "--reuse", type=int, default=8, help="training steps to each draw of images"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--ema", type=float, default=0.995)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--export-minutes", type=float, default=10, help="time between exports")
    parser.add_argument("--device", default="auto")


def main(args: argparse.Namespace) -> None:
    """Train until the time is up, writing the generator with its student every few minutes."""
    check_radius(args.radius)
    check_at_least(1, batch=args.batch, reuse=args.reuse, kept=args.kept)
    device, folder, out = choose_device(args.device), Path(args.of), Path(args.out)
    teacher = load_generator(folder / CONFIG, folder / WEIGHTS, device)
    if not isinstance(teacher, DiffAE):
        raise GCDError(f"The generator in {folder} is no DiffAE: it has no steps to spare.")
    table = {
        "times": args.times,
        "solver": teacher.sampling.solver,
        "steps": teacher.sampling.decode_steps,
    }
    Distilled.from_config(table)
    out.mkdir(parents=True, exist_ok=True)
    names = ("times", "radius", "reuse", "batch", "lr", "ema", "seed")
    settings = {name: getattr(args, name) for name in names} | {"teacher": teacher.identity}

    torch.manual_seed(args.seed)
    size, channels = teacher.image_size, teacher.channels
    images, _ = load_split(args.data, args.labels, "train", size, channels)
    held_out, _ = load_split(args.data, args.labels, "val", size, channels)
    held_out = held_out[:: max(1, len(held_out) // HELD_OUT)][:HELD_OUT]
    fixed = torch.Generator().manual_seed(0)
    test = Examples.of(teacher, held_out.float() / 255, args.radius, fixed, table)

    student = copy.deepcopy(teacher.model).train()
    del student.encoder
    student.requires_grad_(True).to(memory_format=torch.channels_last)
    ema = EMA(student, args.ema)
    optimiser = torch.optim.AdamW(
        student.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0, fused=True
    )
    pool = test[:0]
    step, spent = 0, 0.0
    if state := load_checkpoint(out / "checkpoint.pt", settings):
        student.load_state_dict(state["student"])
        ema.module.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        pool = Examples(*(state[name].float() for name in ("z_sem", "z_T", "x_0")))
        step, spent = state["step"], state["spent"]
        print(f"resumed at step {step}")
    clock, log = Clock(args.minutes, spent), Log(out / "log.csv")

    def export() -> None:
        state = {"student": student.state_dict(), "ema": ema.module.state_dict(), "step": step}
        state |= {name: getattr(pool, name).half() for name in ("z_sem", "z_T", "x_0")}
        state |= {"optimiser": optimiser.state_dict(), "spent": clock.spent, "settings": settings}
        save_checkpoint(out / "checkpoint.pt", state)
        write_generator(ema.module, table, folder, out)
        shown = slice(0, None, max(1, len(test) // 12))
        told = predict(ema.module, test[shown], args.times, device)
        rows = [teacher.unfold(x.to(device)) for x in (test[shown].x_0, told)]
        save_grid(out / "samples.png", rows)

    exported, total, count = clock.spent, 0.0, 0
    while (progress := clock.progress_or(step, args.steps)) < 1:
        source = torch.Generator().manual_seed(args.seed + step)
        if step % args.reuse == 0 or not len(pool):
            chosen = torch.randint(len(images), (IMAGES,), generator=source)
            fresh = moved(images[chosen].float() / 255, source)
            pool = pool.joined(Examples.of(teacher, fresh, args.radius, source, table))[
                -args.kept :
            ]
        some = pool[torch.randint(len(pool), (args.batch,), generator=source)]
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(args.lr, progress)
        with autocast(device):
            told = run(student, some, args.times, device)
        loss = F.smooth_l1_loss(told, some.x_0.to(device), beta=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimiser.step()
        step += 1
        ema.update(student, step)
        total, count = total + loss.item(), count + 1
        if step % 50 == 0:
            error = (predict(ema.module, test, args.times, device) - test.x_0).abs().mean().item()
            log.write(clock, step=step, rows=len(pool), loss=total / count, held_out_mae=error)
            total, count = 0.0, 0
        if clock.spent - exported > args.export_minutes * 60:
            export()
            exported = clock.spent
    export()


class Examples:
    """Codes z_sem (N, D) of the network, z_T (N, Cz, Hz, Wz), and the x_0 that they decode to."""

    def __init__(self, z_sem: Tensor, z_T: Tensor, x_0: Tensor) -> None:
        self.z_sem, self.z_T, self.x_0 = z_sem, z_T, x_0

    @classmethod
    @torch.no_grad()
    def of(
        cls, teacher: DiffAE, images: Tensor, radius: float, source: torch.Generator, table: dict
    ) -> "Examples":
        """Ask the teacher about images (N, C, S, S) in [0, 1] and the codes around theirs.

        Each image's own codes give the image itself, perturbed ones what they decode to. A
        perturbation is a step of uniform length, up to `radius`, in a random direction: denser
        near the image than points of the ball, as walks are.
        """
        images = images.to(teacher.device)
        latent = teacher.encode(images, table["solver"], table["steps"])
        shape = (CODES * len(images), teacher.z_sem_size)
        away = F.normalize(torch.randn(shape, generator=source), dim=1)
        length = radius * torch.rand(len(away), 1, generator=source)
        z_sem = latent.z_sem.repeat(CODES, 1) + (length * away).to(teacher.device)
        z_T = latent.z_T.repeat(CODES, 1, 1, 1)
        solve = find_solver(table["solver"]).decode

        def reach(z_sem: Tensor, z_T: Tensor) -> Tensor:
            model = teacher.noise_model(z_sem)
            return solve(model, z_T, table["steps"], teacher.clip_denoised)

        reached = in_batches(reach, (z_sem, z_T), IMAGES * CODES)
        codes = teacher.raw(torch.cat([latent.z_sem, z_sem]))
        x_0 = torch.cat([teacher.fold(images), reached])
        return cls(*(t.cpu() for t in (codes, torch.cat([latent.z_T, z_T]), x_0)))

    def __len__(self) -> int:
        return len(self.z_sem)

    def __getitem__(self, some: slice | Tensor) -> "Examples":
        """Some of the rows."""
        return Examples(self.z_sem[some], self.z_T[some], self.x_0[some])

    def joined(self, other: "Examples") -> "Examples":
        """These rows, then the other's."""
        pairs = ((self.z_sem, other.z_sem), (self.z_T, other.z_T), (self.x_0, other.x_0))
        return Examples(*(torch.cat(pair) for pair in pairs))


def run(model: torch.nn.Module, some: Examples, times: list[int], device: torch.device) -> Tensor:
    """The x_0 (N, Cz, Hz, Wz) that the student reaches, float32."""
    z_sem = some.z_sem.to(device)

    def noise(x: Tensor, t: int) -> Tensor:
        return model(x, torch.full((len(x),), t, device=device), z_sem).float()

    return ddim(noise, some.z_T.to(device), times)


@torch.no_grad()
def predict(
    model: torch.nn.Module, some: Examples, times: list[int], device: torch.device
) -> Tensor:
    """The same without gradients, in batches; on the CPU."""
    rows = torch.arange(len(some)).split(32)
    return torch.cat([run(model, some[index], times, device).cpu() for index in rows])


def write_generator(student: torch.nn.Module, table: dict, folder: Path, out: Path) -> None:
    """Write the generator of `folder` with this student beside it."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8")) | {"distilled": table}
    diffae, codec, whitening, _ = read_weights(folder / WEIGHTS)
    parts = {"ema_model": diffae, "codec": codec, "whitening": whitening}
    parts["distilled"] = student.state_dict()
    weights = {f"{part}.{k}": v for part, state in parts.items() for k, v in state.items()}
    save_sharded(weights, out, "generator")
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    add_arguments(arguments)
    main(arguments.parse_args())
