"""Calibration: scale logits so that probabilities match the observed frequencies."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BINS = 15


@torch.no_grad()
def fold_platt_scaling(last: nn.Linear, logits: Tensor, targets: Tensor) -> None:
    """Calibrate a network: fold a scale and a bias for each label into its last layer.

    Parameters
    ----------
    last : nn.Linear
        Gave the logits; gives ``scale * logit + bias`` from then on.
    logits, targets : Tensor (N, L)
        Of held-out images; a target is 1, 0, or NaN where it does not count.
    """
    for column in range(logits.shape[1]):
        counts = ~targets[:, column].isnan()
        scale, bias = platt(logits[counts, column].double(), targets[counts, column].double())
        last.weight[column] *= scale
        last.bias[column] = last.bias[column] * scale + bias


def platt(logits: Tensor, targets: Tensor) -> tuple[float, float]:
    """Return the scale and bias of logits (N,) with the lowest cross-entropy to targets (N,).

    Platt scaling (Platt, 1999), found by Newton's method. The targets are softened as he does, by
    one observation of each class, so that separable logits have a finite solution.
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


def reliability(probabilities: Tensor, targets: Tensor, bins: int = BINS) -> Tensor:
    """Return (bins, 3): mean probability, share of positives and count in each bin of [0, 1]."""
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
