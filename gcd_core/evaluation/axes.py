"""Which axes of z_sem a generator uses: how much a move along each changes the picture."""

from collections.abc import Callable

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.evaluation.outcomes import NamedImages
from gcd_core.method.models import Models

MOVE = 2.0  # deviations of the data, where z_sem is whitened
USABLE = 0.03  # LPIPS from which on a move is one that a person sees


@torch.inference_mode()
def measure_axes(
    domain: Models,
    images: NamedImages,
    move: float = MOVE,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Mean LPIPS between reconstructions and the same with one number of z_sem moved.

    Raises a GCDError if there is no image, or a move of nothing.

    Parameters
    ----------
    images : iterable of (str, Tensor (1, C, H, W))
        Names and images in [0, 1]; each is decoded once for each axis and each way.
    move : float
        How far, up and down; in units of the data's spread where z_sem is whitened.
    progress : callable, optional
        Called with 1 after each image.

    Returns
    -------
    Tensor (D,)
        For each axis, over images and both ways. An axis is usable where it is `USABLE` or more.
    """
    if not move > 0:
        raise GCDError(f"A move of {move} moves nothing; take a positive one.")
    rows = []
    for _, image in images:
        latent = domain.generator.encode(image)
        rest = domain.generator.decode(latent)
        size = latent.z_sem.shape[1]
        steps = move * torch.cat([torch.eye(size), -torch.eye(size)]).to(latent.z_sem)
        moved = domain.generator.decode(latent.with_z_sem(latent.z_sem + steps))
        distances = domain.perceptual(moved, rest).float().cpu()
        rows.append(distances.view(2, size).mean(0))
        if progress is not None:
            progress(1)
    if not rows:
        raise GCDError("There is no image to measure the axes of z_sem on.")
    return torch.stack(rows).mean(0)
