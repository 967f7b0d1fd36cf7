"""Which radius of the n-ball finds the best direction: the CF loss against the radius (F.3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.search import find_directions
from gcd_core.method.settings import BALL
from gcd_core.method.walk import walk_many


def measure_radii(
    domain: Domain,
    source: Tensor,
    images: Tensor,
    label: str,
    radii: Sequence[float],
    n_samples: int | None = None,
    seed: int = 0,
) -> list[dict]:
    """Find g from one image in balls of several radii and walk other images along it.

    Parameters
    ----------
    source : Tensor (1, C, S, S)
        The image to search from, in [0, 1].
    images : Tensor (N, C, S, S)
        The images to flip.
    n_samples, seed : optional
        As for `find_directions`.

    Returns
    -------
    list of dict
        For each radius: `sample_lpips` and `sample_logit_std` of the perturbations themselves;
        `cf_loss` (Eq. 1), `flip_rate`, `alpha` and `lpips`, means over the counterfactuals of
        the lowest CF loss.
    """
    rows = []
    for radius in radii:
        found = find_directions(
            domain,
            source,
            label,
            n_samples=n_samples,
            n_h=0,
            radius=radius,
            seed=seed,
            boundary=False,
            sampling=BALL,
        )
        paths = walk_many(domain, images, found.directions["g"], label, choice=LOWEST_LOSS)
        pairs = [(path, path.counterfactual) for path in paths]
        figures = {
            "radius": float(radius),
            "sample_lpips": found.samples.distances.mean().item(),
            "sample_logit_std": found.samples.logits.std().item(),
            "cf_loss": _mean([path.losses[i] for path, i in pairs]),
            "flip_rate": sum(path.counterfactual_flips for path in paths) / len(paths),
            "alpha": _mean([path.alphas[i].abs() for path, i in pairs]),
            "lpips": _mean([path.distances[i] for path, i in pairs]),
        }
        rows.append(figures)
    return rows


def _mean(values: list[Tensor]) -> float:
    return torch.stack(values).mean().item()
