"""Train a classifier of radiographs: independent labels, calibrated, robust to small disturbances.

A label is described as `name=positives:negatives`, in values of the table's `label` column; images
of other values do not count for it.
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.classifiers import Classifier, load_classifier
from gcd_core.classifiers.architectures import ARCHITECTURES, build_network
from gcd_core.errors import GCDError
from gcd_core.generators.device import choose_device
from gcd_core.images.dataset import load_split
from gcd_core.training.loop import (
    EMA,
    Clock,
    Log,
    autocast,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
)

LABELS = ["pneumonia=bacterial,viral:normal", "bacterial=bacterial:viral"]
SMOOTHING = 0.02
BINS = 15


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train classifier`."""
    parser.add_argument("--data", required=True, help="zip file or folder of images")
    parser.add_argument("--labels", help="CSV with file, label, split, patient (default: beside)")
    parser.add_argument("--out", required=True, help="folder for checkpoint, log, plots, weights")
    parser.add_argument(
        "--label",
        action="append",
        metavar="NAME=POSITIVES:NEGATIVES",
        help=f"what to learn, once per label (default: {' and '.join(LABELS)})",
    )
    parser.add_argument("--architecture", default="densenet", choices=sorted(ARCHITECTURES))
    parser.add_argument("--options", default="{}", help="the architecture's options, as JSON")
    parser.add_argument("--minutes", type=float, default=8, help="training time, resumptions in")
    parser.add_argument(
        "--epochs", type=float, default=math.inf, help="stop after so many, if sooner"
    )
    parser.add_argument("--size", type=int, default=128, help="side of the images")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")


@dataclass(frozen=True)
class Task:
    """A label to learn: which values of the table's `label` column are positive, which negative."""

    name: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Task":
        """Read `name=positives:negatives`, each side separated by commas."""
        name, _, sides = text.partition("=")
        positives, _, negatives = sides.partition(":")
        task = cls(name, tuple(positives.split(",")), tuple(negatives.split(",")))
        if not name or "" in task.positives + task.negatives:
            raise GCDError(f"--label is NAME=POSITIVES:NEGATIVES, not {text!r}.")
        return task


def targets_of(table: dict[str, list[str]], tasks: list[Task]) -> Tensor:
    """1, 0 or NaN (does not count) for each row and task: (N, L), float32.

    Raises
    ------
    GCDError
        If the table has no column `label`, or a task lacks positives or negatives.
    """
    if "label" not in table:
        raise GCDError("The labels file needs a column 'label' to train a classifier.")
    columns = []
    for task in tasks:
        value_of = dict.fromkeys(task.positives, 1.0) | dict.fromkeys(task.negatives, 0.0)
        column = [value_of.get(value, math.nan) for value in table["label"]]
        if not {0.0, 1.0} <= set(column):
            raise GCDError(
                f"The label {task.name!r} needs positives {task.positives} and negatives "
                f"{task.negatives}; the table's labels are {sorted(set(table['label']))}."
            )
        columns.append(column)
    return torch.tensor(columns).T.contiguous()


def class_weights(targets: Tensor) -> Tensor:
    """Weights (2, L) of negatives and positives that let both sides of a task count the same."""
    positives = (targets == 1).sum(0).float()
    negatives = (targets == 0).sum(0).float()
    counted = positives + negatives
    return torch.stack([counted / (2 * negatives), counted / (2 * positives)])


def masked_loss(logits: Tensor, targets: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Balanced binary cross-entropy over the targets that count, averaged per task, then summed."""
    counts = ~targets.isnan()
    hard = torch.where(counts, targets, 0.0)
    weight = torch.where(hard == 1, weights[1], weights[0]) * counts
    soft = hard * (1 - 2 * smoothing) + smoothing
    losses = F.binary_cross_entropy_with_logits(logits, soft, reduction="none") * weight
    return (losses.sum(0) / counts.sum(0).clamp(min=1)).sum()


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Disturb images as other machines, other patients' positions and generators do.

    Per image, at random: rotation (10 degrees), shift and scale (8 %); gamma, contrast,
    brightness; blur; fine and coarse noise. No mirroring: the heart is on the left.

    Parameters
    ----------
    images : Tensor (N, C, H, W)
        In [0, 1].
    generator : torch.Generator
        On the device of `images`.
    """
    count, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, 1, 1, device=device).uniform_(low, high, generator=generator)

    def some(share: float) -> Tensor:
        return (uniform(0, 1) < share).float()

    moved = some(0.8).view(count)
    angle = uniform(-1, 1).view(count) * math.radians(10) * moved
    scale = 1 + uniform(-0.08, 0.08).view(count) * moved
    shift = uniform(-0.16, 0.16).view(count) * moved, uniform(-0.16, 0.16).view(count) * moved
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cosine, -sine, shift[0]], 1), torch.stack([sine, cosine, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, align_corners=False)

    images = images.clamp(1e-3, 1) ** uniform(-0.3, 0.3).exp()
    centre = images.mean((1, 2, 3), keepdim=True)
    images = (images - centre) * uniform(0.8, 1.2) + centre + uniform(-0.08, 0.08)

    blurred = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), 3, stride=1)
    blurred = F.avg_pool2d(blurred, 3, stride=1)
    images = images.lerp(blurred, uniform(0, 1) * some(0.5))

    for side, strength in ((images.shape[-1], 0.03), (images.shape[-1] // 4, 0.03)):
        noise = torch.randn(*images.shape[:2], side, side, device=device, generator=generator)
        noise = F.interpolate(noise, images.shape[-2:], mode="bilinear", align_corners=False)
        images = images + noise * uniform(0, strength) * some(0.5)
    return images.clamp(0, 1)


def main(args: argparse.Namespace) -> None:
    """Train until the time is up; calibrate, export and measure the best averaged weights."""
    device = choose_device(args.device)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    tasks = [Task.parse(text) for text in args.label or LABELS]
    options = json.loads(args.options)
    kept = ("architecture", "options", "size", "channels", "batch", "lr", "weight_decay", "ema")
    settings = {name: getattr(args, name) for name in (*kept, "seed")}
    settings["label"] = args.label or LABELS

    images, table = load_split(args.data, args.labels, "train", args.size, args.channels)
    held_out, held_out_table = load_split(args.data, args.labels, "val", args.size, args.channels)
    check_patients(train=table, val=held_out_table)
    targets, held_out_targets = targets_of(table, tasks), targets_of(held_out_table, tasks)
    weights = class_weights(targets)

    torch.manual_seed(args.seed)
    model = build_network(args.architecture, args.channels, len(tasks), options)
    model = model.to(device, memory_format=torch.channels_last)
    ema = EMA(model, args.ema)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": args.weight_decay}, {"params": plain}],
        lr=args.lr,
        weight_decay=0.0,
    )

    step, spent, best = 0, 0.0, {"loss": math.inf, "step": 0, "state": ema.module.state_dict()}
    if state := load_checkpoint(out / "checkpoint.pt", settings):
        model.load_state_dict(state["model"])
        ema.module.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent, best = state["step"], state["spent"], state["best"]
        print(f"resumed at step {step}")
    else:
        (out / "log.csv").unlink(missing_ok=True)
    clock, log = Clock(args.minutes, spent), Log(out / "log.csv")

    steps_per_epoch = max(1, len(images) // args.batch)

    def progress_now() -> float:
        return min(1.0, max(clock.progress, step / steps_per_epoch / args.epochs))

    running: list[float] = []
    progress = progress_now()
    while progress < 1:
        # Everything random follows from seed, epoch and step: a resumed run needs no other state.
        epoch, place = divmod(step, steps_per_epoch)
        shuffle = torch.Generator().manual_seed(args.seed * 1_000_003 + epoch)
        order = torch.randperm(len(images), generator=shuffle)
        chosen = order[place * args.batch : (place + 1) * args.batch]
        generator = torch.Generator(device).manual_seed(args.seed * 1_000_003 + step)

        x = augment(images[chosen].to(device).float() / 255, generator)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(args.lr, progress, warmup=0.05)
        with autocast(device):
            logits = model(normalise(x)).float()
        loss = masked_loss(logits, targets[chosen].to(device), weights.to(device), SMOOTHING)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        ema.update(model, step)
        running.append(loss.item())
        progress = progress_now()

        if step % steps_per_epoch == 0 or progress == 1:
            logits = predict(ema.module, held_out, device)
            val_loss = masked_loss(logits, held_out_targets, weights).item()
            if val_loss < best["loss"]:
                current = {k: v.clone() for k, v in ema.module.state_dict().items()}
                best = {"loss": val_loss, "step": step, "state": current}
            log.write(
                clock,
                step=step,
                epoch=round(step / steps_per_epoch, 2),
                train_loss=sum(running) / len(running),
                val_loss=val_loss,
                **{f"val_auroc_{k}": v for k, v in aurocs(logits, held_out_targets, tasks).items()},
            )
            running = []
            state = {"model": model.state_dict(), "ema": ema.module.state_dict(), "step": step}
            state |= {"optimiser": optimiser.state_dict(), "spent": clock.spent, "best": best}
            save_checkpoint(out / "checkpoint.pt", state | {"settings": settings})

    ema.module.load_state_dict(best["state"])
    scale_to_calibrate(ema.module, predict(ema.module, held_out, device), held_out_targets)
    domain_table = export(ema.module, out, settings, tasks, options)
    classifier = load_classifier(domain_table, out, device)
    test, test_table = load_split(args.data, args.labels, "test", args.size, args.channels)
    check_patients(train=table, val=held_out_table, test=test_table)
    metrics = {
        "epochs": step / steps_per_epoch,
        "steps": step,
        "best_step": best["step"],
        "minutes": clock.spent / 60,
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    metrics["val"], _ = measure(classifier, held_out, held_out_targets, tasks)
    metrics["test"], curves = measure(classifier, test, targets_of(test_table, tasks), tasks)
    metrics["test_robustness"] = robustness(classifier, test, tasks)
    plot_reliability(out / "reliability.png", curves)
    plot_log(out / "log.csv", out / "curves.png")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(metrics, indent=1))


def check_patients(**tables: dict[str, list[str]]) -> None:
    """Refuse splits that share a patient."""
    seen: dict[str, str] = {}
    for split, table in tables.items():
        for patient in set(table.get("patient", [])) - {""}:
            if patient in seen:
                raise GCDError(
                    f"Patient {patient} is in the splits {seen[patient]!r} and {split!r}; split "
                    "by patient."
                )
            seen[patient] = split


def normalise(images: Tensor) -> Tensor:
    """[0, 1] to the [-1, 1] that the networks see."""
    return ((images - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Logits (N, L) in float32, on the CPU, of uint8 images."""
    batches = (network(normalise(b.to(device).float() / 255)).cpu() for b in images.split(64))
    return torch.cat(list(batches))


@torch.no_grad()
def scale_to_calibrate(network: nn.Module, logits: Tensor, targets: Tensor) -> None:
    """Fold into the last layer the scale and bias per label that fit the held-out targets best.

    Platt scaling: a * logit + b minimising the cross-entropy, found by Newton's method.
    """
    last = network.classifier
    for column in range(logits.shape[1]):
        counts = ~targets[:, column].isnan()
        scale, bias = platt(logits[counts, column].double(), targets[counts, column].double())
        last.weight[column] *= scale
        last.bias[column] = last.bias[column] * scale + bias


def platt(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """Scale and bias of the logits (N,) that minimise the cross-entropy against targets (N,).

    The targets are softened as Platt (1999) does, by one observation of each class, so that
    separable logits have a finite solution.
    """
    positives, negatives = (targets == 1).sum(), (targets == 0).sum()
    soft = torch.where(targets == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    inputs = torch.stack([logits, torch.ones_like(logits)], 1)

    def loss(parameters: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(inputs @ parameters, soft)

    parameters = logits.new_tensor([1.0, 0.0])
    for _ in range(50):
        p = (inputs @ parameters).sigmoid()
        gradient = inputs.T @ (p - soft) / len(p)
        hessian = (inputs.T * (p * (1 - p))) @ inputs / len(p) + 1e-9 * torch.eye(2).to(inputs)
        step, size = torch.linalg.solve(hessian, gradient), 1.0
        while loss(parameters - size * step) > loss(parameters) and size > 1e-6:
            size /= 2
        parameters = parameters - size * step
    return parameters[0].item(), parameters[1].item()


def export(
    network: nn.Module, out: Path, settings: dict[str, Any], tasks: list[Task], options: dict
) -> dict[str, Any]:
    """Write `classifier.safetensors` and the table for domain.toml; return the table.

    Matrices are kept in half precision; vectors (biases, normalisation statistics) in full.
    """
    state = network.state_dict()
    halves = {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in state.items()}
    save_file({k: v.cpu().contiguous() for k, v in halves.items()}, out / "classifier.safetensors")
    table = {
        "kind": "safetensors",
        "architecture": settings["architecture"],
        "weights": "classifier.safetensors",
        "labels": [task.name for task in tasks],
        "output": "sigmoid",
        "size": settings["size"],
        "channels": settings["channels"],
        "mean": 0.5,
        "std": 0.5,
    }
    lines = ["[classifier]"] + [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    if options:
        table["options"] = options
        lines += ["[classifier.options]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (out / "classifier.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def auroc(scores: Tensor, targets: Tensor) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties half."""
    positives, negatives = scores[targets == 1], scores[targets == 0]
    difference = positives[:, None] - negatives[None, :]
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()


def aurocs(logits: Tensor, targets: Tensor, tasks: list[Task]) -> dict[str, float]:
    """AUROC of every task."""
    return {task.name: auroc(logits[:, i], targets[:, i]) for i, task in enumerate(tasks)}


def reliability(probabilities: Tensor, targets: Tensor, bins: int = BINS) -> Tensor:
    """Mean probability, share of positives and count of each bin of [0, 1]: (bins, 3)."""
    bin_of = (probabilities * bins).long().clamp(0, bins - 1)
    rows = torch.zeros(bins, 3, dtype=torch.float64)
    rows[:, 0].index_add_(0, bin_of, probabilities.double())
    rows[:, 1].index_add_(0, bin_of, targets.double())
    rows[:, 2].index_add_(0, bin_of, torch.ones_like(targets).double())
    rows[:, :2] /= rows[:, 2:].clamp(min=1)
    return rows


def calibration_error(curve: Tensor) -> float:
    """Expected calibration error of a reliability curve (Guo et al., ICML 2017)."""
    return ((curve[:, 0] - curve[:, 1]).abs() * curve[:, 2]).sum().item() / curve[:, 2].sum().item()


def measure(
    classifier: Classifier, images: Tensor, targets: Tensor, tasks: list[Task]
) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """AUROC, accuracy, Brier score and calibration of each label; and its reliability curve."""
    logits = classifier(images.float() / 255)
    figures, curves = {}, {}
    for i, task in enumerate(tasks):
        counts = ~targets[:, i].isnan()
        target = targets[counts, i]
        probability = classifier.probability(logits[counts], task.name)
        curve = curves[task.name] = reliability(probability, target)
        right = (probability > 0.5) == (target == 1)
        figures[task.name] = {
            "n": len(target),
            "auroc": auroc(probability, target),
            "accuracy": right.double().mean().item(),
            "sensitivity": right[target == 1].double().mean().item(),
            "specificity": right[target == 0].double().mean().item(),
            "brier": (probability - target).square().mean().item(),
            "ece": calibration_error(curve),
        }
    return figures, curves


def robustness(
    classifier: Classifier, images: Tensor, tasks: list[Task]
) -> dict[str, dict[str, float]]:
    """Share of images whose decision stays the same under disturbances that nobody would see."""
    images = images.float() / 255
    half = F.avg_pool2d(images, 2)
    generator = torch.Generator().manual_seed(0)
    disturbed = {
        "noise_0.01": images + 0.01 * torch.randn(images.shape, generator=generator),
        "noise_0.03": images + 0.03 * torch.randn(images.shape, generator=generator),
        "half_resolution": F.interpolate(half, images.shape[-2:], mode="bilinear"),
        "shift_2_pixels": F.pad(images, (2, 0, 2, 0), mode="replicate")[..., :-2, :-2],
        "brighter_0.05": images + 0.05,
    }
    before = classifier(images)
    agreement: dict[str, dict[str, float]] = {task.name: {} for task in tasks}
    for name, pictures in disturbed.items():
        after = classifier(pictures.clamp(0, 1))
        for task in tasks:
            column = classifier.index(task.name)
            same = (after[:, column] > 0) == (before[:, column] > 0)
            agreement[task.name][name] = same.double().mean().item()
    return agreement


def plot_reliability(path: Path, curves: dict[str, Tensor]) -> None:
    """Draw predicted against observed frequency, with the number of images in each bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(curves), 4), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (label, curve) in zip(axes, curves.items(), strict=True):
        mean, share, count = curve[curve[:, 2] > 0].T.tolist()
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.plot(mean, share, marker="o", color="tab:blue")
        for x, y, n in zip(mean, share, count, strict=True):
            axis.annotate(f"{n:.0f}", (x, y), (4, -10), textcoords="offset points", fontsize=7)
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability", aspect="equal")
        axis.set(ylabel="share of positives", title=f"{label}: ECE {calibration_error(curve):.3f}")
    figure.savefig(path, dpi=100)


def plot_log(log: Path, path: Path) -> None:
    """Draw the losses and the held-out AUROC of a run."""
    import csv

    from matplotlib.figure import Figure

    with open(log, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [float(row["epoch"]) for row in rows]
    for name in rows[0]:
        if name not in ("step", "epoch"):
            axis = right if "auroc" in name else left
            axis.plot(epochs, [float(row[name]) for row in rows], label=name.replace("_", " "))
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    add_arguments(arguments)
    main(arguments.parse_args())
