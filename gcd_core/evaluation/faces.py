"""Figures of faces: FVA, FS, MNAC and CD, as those who introduced them define them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.published import CELEBA
from gcd_core.errors import GCDError
from gcd_core.images.table import read_csv

SAME = 0.5  # cosine above which two faces are one person's
SURE = 0.5  # probability from which on an attribute is there
IMAGE = "image_id"  # the column of CelebA's lists that names an image
TRAINING = "0"  # the partition's name in CelebA's list


def same_face(real: Tensor, made: Tensor) -> tuple[float, float]:
    """Return FVA and FS: how often, and how much, a face stays the same person's.

    FVA is the share of pairs whose features have a cosine above 0.5 (Rodriguez et al., ICCV 2021);
    FS the mean cosine (Jeanneret et al., CVPR 2023).

    Parameters
    ----------
    real, made : Tensor (N, D)
        Features of faces and of their counterfactuals.
    """
    cosines = F.cosine_similarity(real, made, dim=1)
    return (cosines > SAME).double().mean().item(), cosines.mean().item()


def attributes_changed(before: Tensor, after: Tensor) -> float:
    """Return MNAC: the mean number of attributes that change sides (Rodriguez et al., ICCV 2021).

    Parameters
    ----------
    before, after : Tensor (N, A)
        An oracle's probabilities.
    """
    return ((before > SURE) != (after > SURE)).sum(1).double().mean().item()


def correlation_difference(before: Tensor, after: Tensor, query: int, reference: Tensor) -> float:
    """Return CD: do attributes change together as they occur together (Jeanneret et al., 2022).

    The sum over the attributes of |c - r|: c the correlation of an attribute's change with that of
    the one that was to change, r that of the two over annotated images. A change that never
    differs has the correlation 0.

    Parameters
    ----------
    before, after : Tensor (N, A)
        An oracle's probabilities.
    query : int
        The attribute that was to change.
    reference : Tensor (A,)
        Correlations of all attributes with that one.
    """
    change = (after > SURE).double() - (before > SURE).double()
    change = change - change.mean(0)
    size = change.square().sum(0).sqrt()
    scale = size * size[query]
    own = (change * change[:, query : query + 1]).sum(0) / scale.clamp(min=1e-300)
    return (own.where(scale > 0, torch.zeros_like(own)) - reference).abs().sum().item()


def attribute_correlations(file: Path, partition: Path | None = None) -> Tensor:
    """Read CelebA's annotations, and correlate every two attributes over its training images.

    The lists are read as every table is (`read_csv`). Raises a GCDError if a file is not what it
    should be.

    Parameters
    ----------
    file : Path
        ``list_attr_celeba.csv``: image_id and 40 columns of 1 and -1.
    partition : Path, optional
        ``list_eval_partition.csv``; of its images only those of partition 0 count. Without one all
        do.

    Returns
    -------
    Tensor (40, 40)
        float64; 0 where an attribute never differs.
    """
    kept = None
    if partition is not None:
        parts = read_csv(partition, (IMAGE, "partition"))
        kept = {row[IMAGE] for row in parts if row["partition"] == TRAINING}
    listed = read_csv(file, (IMAGE,))
    try:
        values = [
            [float(row[name.lower()]) for name in CELEBA]
            for row in listed
            if kept is None or row[IMAGE] in kept
        ]
    except (KeyError, ValueError):
        raise GCDError(
            f"{file.name} is no list of CelebA's attributes: it needs image_id and the 40 columns."
        ) from None
    if len(values) < 2:
        raise GCDError(f"{file.name} has no two images to correlate attributes over.")
    table = torch.tensor(values, dtype=torch.float64)
    return torch.corrcoef(table.T).nan_to_num(0.0)
