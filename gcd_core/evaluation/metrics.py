"""The figures that judge counterfactuals, heat maps and reconstructions, as plain functions."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox
from gcd_core.errors import GCDError
from gcd_core.method.loss import THRESHOLD


def flip_rate(flipped: Tensor) -> float:
    """Share of True in `flipped` (N,), bool: counterfactuals on the other side of the threshold.

    Raises a GCDError if there is no counterfactual.
    """
    if not len(flipped):
        raise GCDError("A rate needs one counterfactual at least; there is none.")
    return flipped.double().mean().item()


def oracle_flip_rate(
    flipped: Tensor,
    probabilities: Tensor,
    before: Tensor,
    after: Tensor,
    threshold: float = THRESHOLD,
) -> float | None:
    """Of the counterfactuals that flip the classifier, the share that flips the oracle too.

    A counterfactual flips the oracle if the oracle's prediction on it and the oracle's own
    prediction on the source image lie on different sides of the threshold. Images about which
    classifier and oracle disagree from the start are not counted: a flip that brings the classifier
    to the oracle's first opinion says nothing about the change.

    Parameters
    ----------
    flipped : Tensor (N,), bool
        Whether each counterfactual flips the classifier.
    probabilities : Tensor (N,)
        The classifier's of the label on the source images.
    before, after : Tensor (N,)
        The oracle's probability of the label on the source images and on the counterfactuals.
    threshold : float
        A probability of at least this counts as the label.

    Returns
    -------
    float or None
        In [0, 1]; None if nothing flips the classifier of what the two agreed about.
    """
    counted = flipped & ((probabilities >= threshold) == (before >= threshold))
    turned = (before >= threshold) != (after >= threshold)
    return turned[counted].double().mean().item() if counted.any() else None


def gini(heat: Tensor) -> float:
    """Sparseness of a heat map (any shape): its Gini index (Chalasani et al., ICML 2020).

    With v the d absolute values in ascending order, G = 1 - 2 sum_k v_k / |v|_1 (d - k + 1/2) / d.
    A map of equal values has 0, a single lit pixel 1 - 1/d; a map of zeros is given 0.
    """
    values = heat.detach().double().abs().flatten().sort().values
    total = values.sum()
    if total == 0:
        return 0.0
    d = len(values)
    weights = (d - torch.arange(1, d + 1, dtype=torch.float64, device=values.device) + 0.5) / d
    return (1 - 2 * (values / total * weights).sum()).item()


def complexity(heat: Tensor) -> float:
    """Entropy of a map's shares |v| / |v|_1, in nats (Bhatt et al., IJCAI 2020; as Quantus has it).

    0 for a single lit pixel, log d for d equal ones; a map of zeros is given 0. The lower, the
    simpler.
    """
    shares = heat.detach().double().abs().flatten()
    total = shares.sum()
    if total == 0:
        return 0.0
    shares = shares / total
    return -(shares * shares.clamp(min=1e-300).log()).sum().item()


def effective_complexity(heat: Tensor, eps: float = 1e-5) -> int:
    """Pixels of a map whose |v|, of a largest 1, is above `eps` (Nguyen & Martinez, 2020).

    As Quantus has it, with the map scaled to its largest; a map of zeros has none.
    """
    size = heat.detach().double().abs()
    return int((size > eps * size.max()).sum()) if size.max() > 0 else 0


def rank_correlation(a: Tensor, b: Tensor) -> float | None:
    """Spearman's correlation of two tensors' values, ties averaged; None if one is constant."""
    first, second = a.detach().flatten().cpu().numpy(), b.detach().flatten().cpu().numpy()
    if first.min() == first.max() or second.min() == second.max():
        return None
    return float(stats.spearmanr(first, second).statistic)


def cout(
    classifier: BlackBox,
    label: str,
    source: Tensor,
    counterfactual: Tensor,
    steps: int = 50,
    heat: Tensor | None = None,
) -> float:
    """Return the counterfactual transition score (COUT; Khorram & Fuxin, CVPR 2022).

    It asks whether the change is to the point. Pixels of the source are replaced by the
    counterfactual's in `steps` equal batches, those that differ most first, or those that a map
    finds most important. COUT is the area under the curve of the target side's probability less
    that of the side left, both by the trapezoid rule over [0, 1]: near 1 if the first pixels
    suffice. Raises a GCDError if there is no step, or the map is not of the images' size.

    Parameters
    ----------
    classifier : BlackBox
        Asked `steps` + 1 images.
    label : str
        The label that the counterfactual flips; the target is the side that it moves toward.
    source, counterfactual : Tensor (1, C, H, W)
        Images in [0, 1].
    steps : int
        Batches of pixels.
    heat : Tensor (H, W), optional
        A map of the change: the pixels come in the order of its absolute values, the highest
        first. With source and counterfactual changed over, it is deletion: how soon the prediction
        is back where it was, the most important pixels first.

    Returns
    -------
    float
        In [-1, 1].
    """
    if steps < 1:
        raise GCDError(f"COUT needs one step at least, not {steps}.")
    if heat is not None and heat.shape != source.shape[-2:]:
        raise GCDError(
            f"A map of {tuple(heat.shape)} ranks no pixels of {tuple(source.shape[-2:])}."
        )
    change = (counterfactual - source).abs().sum(dim=1) if heat is None else heat.abs()
    change = change.flatten()
    rank = torch.empty_like(change, dtype=torch.long)
    rank[change.argsort(descending=True, stable=True)] = torch.arange(
        len(change), device=change.device
    )
    shown = torch.linspace(0, len(change), steps + 1, device=change.device).round()
    masks = rank < shown[:, None]
    masks = masks.view(-1, 1, *source.shape[-2:])
    probability = classifier.probability(
        classifier(torch.where(masks, counterfactual, source)), label
    )
    if probability[-1] < probability[0]:
        probability = 1 - probability
    area = torch.trapezoid(probability.double(), dx=1 / steps).item()
    return 2 * area - 1


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known; None if none is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def mean_absolute_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each pair of images (N, C, H, W) to (N,)."""
    return (a - b).abs().flatten(1).mean(dim=1)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (Wang et al., IEEE TIP 2004) of images (N, C, H, W) in [0, 1] to (N,).

    Gaussian window of 11 pixels and standard deviation 1.5, K1 = 0.01, K2 = 0.03, averaged over the
    windows that fit in the image, and over the channels. Raises a GCDError if the shapes differ, or
    a side is shorter than the window.
    """
    if a.shape != b.shape or min(a.shape[-2:]) < 11:
        raise GCDError(
            f"SSIM compares images of one shape and of 11 pixels a side at least, not "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    offsets = torch.arange(11, dtype=torch.float64, device=a.device) - 5
    window = torch.exp(-(offsets**2) / (2 * 1.5**2))
    window = window / window.sum()
    kernel = torch.outer(window, window)[None, None]

    def local_mean(x: Tensor) -> Tensor:
        return F.conv2d(x, kernel)

    x = a.double().flatten(0, 1)[:, None]
    y = b.double().flatten(0, 1)[:, None]
    mean_x, mean_y = local_mean(x), local_mean(y)
    variance_x = local_mean(x * x) - mean_x**2
    variance_y = local_mean(y * y) - mean_y**2
    covariance = local_mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity.view(a.shape[0], -1).mean(dim=1).float()


def quantus_judges() -> tuple[str, dict[str, Callable[[Tensor], float]]]:
    """What judges a map's simplicity: Quantus where it is installed, else these definitions.

    Returns
    -------
    str
        Whose definitions: "Quantus" with its version, or "ours".
    dict
        Sparseness, complexity and effective complexity, each of a map (H, W).
    """
    own: dict[str, Callable[[Tensor], float]] = {
        "sparseness": gini,
        "complexity": complexity,
        "effective_complexity": effective_complexity,
    }
    try:
        import quantus
    except ImportError:
        return "ours", own
    quiet: dict[str, Any] = {"disable_warnings": True, "display_progressbar": False}
    theirs = (quantus.Sparseness, quantus.Complexity, quantus.EffectiveComplexity)

    def by(judge: Any) -> Callable[[Tensor], float]:
        def of(heat: Tensor) -> float:
            values = heat.detach().double().cpu().numpy()[None, None]
            nothing = values[:, 0, 0, 0]  # the labels, which these three do not look at
            return float(judge(None, values.copy(), nothing, a_batch=values.copy())[0])

        return of

    judges = {name: by(judge(**quiet)) for name, judge in zip(own, theirs, strict=True)}
    return f"Quantus {quantus.__version__}", judges
