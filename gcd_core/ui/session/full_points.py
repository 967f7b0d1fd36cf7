"""A point of a quickly decoded path, drawn in full."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.loss import cf_loss
from gcd_core.method.walk import Path
from gcd_core.ui.frames import Frame, Opened

SAME_ALPHA = 1e-3  # two positions that are nearer than this are one


def with_full_point(
    path: Path, alpha: float, frame: Frame, opened: Opened, labels: tuple[str, ...], lam: float
) -> tuple[Path, int]:
    """Put a picture of the full decoder among the points of a path of the fast decoder.

    It takes the place of the point at the same alpha. Where the path's counterfactual is the
    smallest convincing change, it also takes that of the points nearer to 0 which only the fast
    decoder takes for convincing: the counterfactual is a picture that was drawn in full.

    Parameters
    ----------
    path : Path
        Its points are composed with what the fast decoder draws at alpha 0.
    alpha : float
        The picture's position.
    frame : Frame
        The picture, composed with what the full decoder draws at alpha 0.
    opened : Opened
        The image that both are of.
    labels : tuple of str
        Of the frame's probabilities.
    lam : float
        Weight of LPIPS in the CF loss.

    Returns
    -------
    (Path, int)
        The path, and the index of the picture.
    """
    assert path.decoded is not None and frame.decoded is not None
    same = (path.alphas - alpha).abs() <= SAME_ALPHA
    gone = same.clone()
    if path.choice == SMALLEST:
        toward = path.alphas * alpha > 0
        gone |= path.is_convincing & toward & (path.alphas.abs() < abs(alpha))
    keep = ~gone
    at = int((path.alphas[keep] < alpha).sum())

    def joined(ours: Tensor, new: Tensor) -> Tensor:
        ours = ours[keep]
        return torch.cat([ours[:at], new.to(ours), ours[at:]])

    own = dict(zip(labels, frame.probabilities, strict=True))
    every = Tensor([[own[label] for label in path.labels]])
    probability = Tensor([own[path.label]])
    logit = probability.double().clamp(1e-12, 1 - 1e-12).logit()
    distance = Tensor([frame.distance])
    walked = joined(path.is_walked, (same & path.is_walked).any()[None])
    full, fast = (opened.composition(quick).baseline for quick in (False, True))
    assert full is not None and fast is not None
    return replace(
        path,
        alphas=joined(path.alphas, Tensor([alpha])),
        images=joined(path.images, frame.image),
        logits=joined(path.logits, logit),
        probabilities=joined(path.probabilities, probability),
        all_probabilities=joined(path.all_probabilities, every),
        distances=joined(path.distances, distance),
        losses=joined(path.losses, cf_loss(logit, distance, path.sign, lam)),
        decoded=joined(path.decoded, frame.decoded - full + fast),
        refined=tuple((~walked).nonzero().flatten().tolist()),
    ), at
