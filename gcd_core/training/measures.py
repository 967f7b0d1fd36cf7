"""Measures a classifier (ranking, calibration, robustness), and draws plots of it."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox
from gcd_core.method.loss import THRESHOLD
from gcd_core.training.calibration import calibration_error, reliability


def auroc(scores: Tensor, targets: Tensor) -> float:
    """Return the area under the ROC curve; ties count half.

    From the ranks' sum (Mann & Whitney, 1947). Scores (N,); targets (N,) are 1, 0, or NaN where
    they do not count. NaN where one side is empty.
    """
    counts = ~targets.isnan()
    positive = (targets[counts] == 1).numpy()
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return math.nan
    ranks = stats.rankdata(scores[counts].double().numpy())
    above = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def measure(
    classifier: BlackBox, images: Tensor, targets: Tensor, labels: Sequence[str]
) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """Return AUROC, accuracy, Brier score and calibration of each label, and reliability curves."""
    logits = classifier(images.float() / 255)
    figures, curves = {}, {}
    for i, label in enumerate(labels):
        counts = ~targets[:, i].isnan()
        target = targets[counts, i]
        probability = classifier.probability(logits[counts], label)
        curve = curves[label] = reliability(probability, target)
        right = (probability >= THRESHOLD) == (target == 1)
        figures[label] = {
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
    classifier: BlackBox, images: Tensor, labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return the share of images whose prediction stays the same under small disturbances."""
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
    agreement: dict[str, dict[str, float]] = {label: {} for label in labels}
    for name, pictures in disturbed.items():
        after = classifier(pictures.clamp(0, 1))
        for label in labels:
            column = classifier.index(label)
            same = (after[:, column] > 0) == (before[:, column] > 0)
            agreement[label][name] = same.double().mean().item()
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
