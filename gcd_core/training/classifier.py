"""Train a classifier of radiographs: independent labels, calibrated, robust to small disturbances.

A label is described as `name=positives:negatives`, in values of the table's `label` column; images
of other values do not count for it.
"""

import argparse
import json
import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.architectures import ARCHITECTURES, build_network
from gcd_core.errors import GCDError
from gcd_core.files import atomic_write, write_json
from gcd_core.generators.device import choose_device
from gcd_core.images.dataset import load_split
from gcd_core.training.augmentation import augment_strongly
from gcd_core.training.calibration import fold_platt_scaling
from gcd_core.training.loop import EMA, Learner, Plan, Training, autocast, run
from gcd_core.training.measures import auroc, measure, plot_log, plot_reliability, robustness
from gcd_core.training.options import add_data, add_run, add_shape

LABELS = ["pneumonia=bacterial,viral:normal", "bacterial=bacterial:viral"]
SMOOTHING = 0.02
FEW = 8  # values that are named where there are many


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train classifier`."""
    add_data(parser, "file, label, split, patient", "checkpoint, log, plots, weights")
    add_run(parser, minutes=8, batch=64, rate=2e-3, steps=False)
    add_shape(parser)
    parser.add_argument(
        "--label",
        action="append",
        metavar="NAME=POSITIVES:NEGATIVES",
        help=f"what to learn, once per label (default: {' and '.join(LABELS)})",
    )
    parser.add_argument("--architecture", default="densenet", choices=sorted(ARCHITECTURES))
    parser.add_argument("--options", default="{}", help="the architecture's options, as JSON")
    parser.add_argument(
        "--epochs", type=float, default=math.inf, help="stop after so many, if sooner"
    )
    parser.add_argument("--weight-decay", type=float, default=0.02)
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights")


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
        task = cls(
            name.strip(), *(tuple(map(str.strip, s.split(","))) for s in (positives, negatives))
        )
        if not task.name or "" in task.positives + task.negatives:
            raise GCDError(f"--label is NAME=POSITIVES:NEGATIVES, not {text!r}.")
        return task

    def target(self, value: str) -> float:
        """1, 0 or NaN (does not count) for a value of the table's `label` column.

        Small and capital letters are the same, and so are the ways to write a number ("1.0" and
        "1"). Of several findings joined by "|", one positive makes it positive, and else one
        negative negative.
        """
        whole = _folded(value)
        for parts in ({whole}, {_folded(part) for part in value.split("|")}):
            for side, target in ((self.positives, 1.0), (self.negatives, 0.0)):
                if parts & {_folded(one) for one in side}:
                    return target
        return math.nan


def _folded(value: str) -> str:
    """A label value without what says nothing: blanks around it, capitals, a number's ".0"."""
    plain = value.strip().casefold()
    try:
        return str(float(plain) + 0)  # -0 is 0
    except ValueError:
        return plain


def targets_of(table: dict[str, list[str]], tasks: list[Task]) -> Tensor:
    """Return targets (N, L), float32, for each row and task: 1, 0, or NaN where it does not count.

    Raises a GCDError if the table has no column `label`, or a task lacks positives or negatives.
    """
    if "label" not in table:
        raise GCDError("The labels file needs a column 'label' to train a classifier.")
    columns = []
    for task in tasks:
        column = [task.target(value) for value in table["label"]]
        if not {0.0, 1.0} <= set(column):
            raise GCDError(
                f"The label {task.name!r} needs positives {task.positives} and negatives "
                f"{task.negatives}; the table's labels are {sorted(set(table['label']))}."
            )
        columns.append(column)
    return torch.tensor(columns).T.contiguous()


def uncounted(table: dict[str, list[str]], tasks: list[Task]) -> list[str]:
    """A sentence for each task that some rows do not count for: how many, and their values."""
    told = []
    for task in tasks:
        left = Counter(value for value in table["label"] if math.isnan(task.target(value)))
        if left:
            values = ", ".join(f"{value!r} ({count})" for value, count in left.most_common(FEW))
            more = f" and {len(left) - FEW} other values" if len(left) > FEW else ""
            told.append(
                f"{task.name}: {left.total()} of {len(table['label'])} images do not count: their "
                f"label is {values}{more}."
            )
    return told


def class_weights(targets: Tensor) -> Tensor:
    """Return weights (2, L) of negatives and positives, so that both count the same in a task."""
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


def main(args: argparse.Namespace) -> None:
    """Train until the time is up; calibrate, export and measure the best averaged weights."""
    device, out = choose_device(args.device), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    tasks = [Task.parse(text) for text in args.label or LABELS]
    options = json.loads(args.options)
    names = ("architecture", "options", "size", "channels", "batch", "lr", "weight_decay", "ema")
    settings = {name: getattr(args, name) for name in (*names, "seed")}
    settings["label"] = args.label or LABELS

    shape = args.size, args.channels, args.fit
    images, table = load_split(args.data, args.labels, "train", *shape)
    held_out, held_out_table = load_split(args.data, args.labels, "val", *shape)
    test, test_table = load_split(args.data, args.labels, "test", *shape)
    check_patients(train=table, val=held_out_table, test=test_table)
    targets, held_out_targets = targets_of(table, tasks), targets_of(held_out_table, tasks)
    for split, rows in (("train", table), ("val", held_out_table), ("test", test_table)):
        for told in uncounted(rows, tasks):
            print(f"{split}: {told}", file=sys.stderr)

    torch.manual_seed(args.seed)
    network = build_network(args.architecture, args.channels, len(tasks), options).to(device)
    training = ClassifierTraining(
        args, network, tasks, (images, targets), (held_out, held_out_targets)
    )
    steps = args.epochs * training.steps_per_epoch
    plan = Plan.of(args, settings, steps=steps, log_every=training.steps_per_epoch, log_last=True)
    steps, minutes = run(training, plan)

    best = training.best_network()
    assert isinstance(best.classifier, nn.Linear)  # so every one of ARCHITECTURES
    fold_platt_scaling(best.classifier, predict(best, held_out, device), held_out_targets)
    classifier = load_classifier(export(best, out, settings, tasks, options), out, device)
    metrics: dict[str, Any] = {
        "epochs": steps / training.steps_per_epoch,
        "steps": steps,
        "best_step": training.best_step,
        "minutes": minutes,
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    labels = [task.name for task in tasks]
    metrics["val"], _ = measure(classifier, held_out, held_out_targets, labels)
    metrics["test"], curves = measure(classifier, test, targets_of(test_table, tasks), labels)
    metrics["test_robustness"] = robustness(classifier, test, labels)
    plot_reliability(out / "reliability.png", curves)
    plot_log(out / "log.csv", out / "curves.png")
    write_json(out / "metrics.json", metrics)
    print(json.dumps(metrics, indent=1))


class ClassifierTraining(Training):
    """Trains on balanced cross-entropy of disturbed images, and keeps the best averaged weights.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `train classifier`.
    network : nn.Module
        On the device to work on.
    tasks : list of Task
        What its outputs stand for.
    learned, held_out : tuple of Tensor
        Images (N, C, S, S), uint8, and targets (N, L): to learn from, and to choose the best by.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        network: nn.Module,
        tasks: list[Task],
        learned: tuple[Tensor, Tensor],
        held_out: tuple[Tensor, Tensor],
    ) -> None:
        self.args, self.tasks = args, tasks
        self.images, self.targets = learned
        self.held_out, self.held_out_targets = held_out
        self.weights = class_weights(self.targets)
        self.steps_per_epoch = max(1, len(self.images) // args.batch)
        self.network = network.to(memory_format=torch.channels_last)
        self.device = next(network.parameters()).device
        matrices = [p for p in network.parameters() if p.ndim > 1]
        vectors = [p for p in network.parameters() if p.ndim <= 1]
        optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": args.weight_decay}, {"params": vectors}],
            lr=args.lr,
            weight_decay=0.0,
        )
        self.learners = [Learner(network, optimiser, max_norm=5.0, warmup=0.05)]
        self.ema = EMA(network, args.ema)
        self.best_loss, self.best_step = math.inf, 0
        self.best_state = self.ema.module.state_dict()

    def losses(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the loss of the step's batch. Each image is disturbed anew."""
        seed, size = self.args.seed * 1_000_003, self.args.batch
        epoch, place = divmod(step, self.steps_per_epoch)
        shuffle = torch.Generator().manual_seed(seed + epoch)
        order = torch.randperm(len(self.images), generator=shuffle)
        chosen = order[place * size : (place + 1) * size]
        source = torch.Generator(self.device).manual_seed(seed + step)
        x = augment_strongly(self.images[chosen].to(self.device).float() / 255, source)
        with autocast(self.device):
            logits = self.network(normalise(x)).float()
        targets, weights = self.targets[chosen].to(self.device), self.weights.to(self.device)
        loss = masked_loss(logits, targets, weights, SMOOTHING)
        return [loss], {"train_loss": loss}

    def row(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """Return losses and held-out AUROCs; keep the averaged weights if they are the best yet."""
        logits = predict(self.ema.module, self.held_out, self.device)
        loss = masked_loss(logits, self.held_out_targets, self.weights).item()
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, step
            self.best_state = {k: v.clone() for k, v in self.ema.module.state_dict().items()}
        columns = zip(self.tasks, logits.T, self.held_out_targets.T, strict=True)
        aurocs = {f"val_auroc_{task.name}": auroc(column, own) for task, column, own in columns}
        epoch = round(step / self.steps_per_epoch, 2)
        return {"step": step, "epoch": epoch, **means, "val_loss": loss, **aurocs}

    def state(self) -> dict[str, Any]:
        """Return the best averaged weights so far."""
        return {"loss": self.best_loss, "step": self.best_step, "weights": self.best_state}

    def resume(self, state: dict[str, Any]) -> None:
        """Take over the best averaged weights so far."""
        self.best_loss, self.best_step = state["loss"], state["step"]
        self.best_state = state["weights"]

    def best_network(self) -> nn.Module:
        """The averaged network with its best weights."""
        self.ema.module.load_state_dict(self.best_state)
        return self.ema.module


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
    """Map images from [0, 1] to [-1, 1], as the networks take them."""
    return ((images - 0.5) / 0.5).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Return logits (N, L), float32, on the CPU, of uint8 images."""
    batches = (network(normalise(b.to(device).float() / 255)).cpu() for b in images.split(64))
    return torch.cat(list(batches))


def export(
    network: nn.Module, out: Path, settings: dict[str, Any], tasks: list[Task], options: dict
) -> dict[str, Any]:
    """Write `classifier.safetensors` and the table for domain.toml; return the table.

    Matrices are kept in half precision; vectors (biases, normalisation statistics) in full.
    """
    state = network.state_dict()
    halves = {k: v.half() if v.is_floating_point() and v.ndim > 1 else v for k, v in state.items()}
    with atomic_write(out / "classifier.safetensors") as place:
        save_file({k: v.cpu().contiguous() for k, v in halves.items()}, place)
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
    with atomic_write(out / "classifier.toml") as place:
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table
