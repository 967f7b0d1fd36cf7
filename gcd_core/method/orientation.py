"""Does an image lie on its side, upside down, or is it a negative? Codes of other images say."""

from __future__ import annotations

import torch
from torch import Tensor

from gcd_core.method.models import Models
from gcd_core.method.off_distribution import OffDistribution
from gcd_core.wording import Worded

NEARER = 1.05  # how many times nearer a turned image has to be
USUAL = 1.5  # the distance up to which a turned image counts as one of the domain's
WRONG = (  # what undoes it makes the image more like the others: 1, 2, 3 quarters, and 1 - image
    "turned (on its side): the right way up",
    "turned (upside down): the right way up",
    "turned (on its side): the right way up",
    "a negative (black and white swapped): swapped back",
)


@torch.inference_mode()
def turned(domain: Models, off: OffDistribution, image: Tensor, z_sem: Tensor) -> str:
    """Say in a sentence that an image looks turned, or a negative; "" where it does not.

    It is encoded in its three other positions, and in grey as its negative: z_sem alone, in one
    batch, without a solver. It looks so where one of these is an image like the domain's, and
    clearly more so than the image as it is. Means something where all images of the domain stand
    the same way up.

    Parameters
    ----------
    domain : Models
    off : OffDistribution
        Which knows what z_sem is like over the training images.
    image : Tensor (1, C, S, S)
        In [0, 1], as the generator sees it.
    z_sem : Tensor (1, D)
        The image's own.
    """
    others = [torch.rot90(image, k, (-2, -1)) for k in range(1, 4)]
    if image.shape[1] == 1:
        others.append(1 - image)
    distances = off.code_distance(domain.generator.encode_semantic(torch.cat(others))).tolist()
    nearest, own = min(distances), off.code_distance(z_sem).item()
    if nearest > USUAL or own < NEARER * nearest:
        return ""
    told = f"It may be {WRONG[distances.index(nearest)]} it is more"
    return Worded(
        f"{told} like the training images (distance of z_sem {nearest:.2f}, as it is {own:.2f}).",
        f"{told} like the pictures that the models learned from.",
    )
