"""What a classifier answers to the training images, as something for their codes to say.

A generator that knows nothing of the classifier may leave what the classifier reads to the noise
code, where no direction reaches it. StylEx (Lang et al., "Explaining in Style", ICCV 2021) trains
its generator on the classifier's answers for that reason. Here a linear map of z_sem has to tell
them, beside all that the diffusion asks of z_sem. The classifier stays a black box: only its
answers are used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.images.table import read_csv


class AnswerMap(nn.Module):
    """Tells a classifier's answers from z_sem by a linear map.

    Parameters
    ----------
    size : int
        D, of z_sem.
    count : int
        L, answers to an image.
    """

    def __init__(self, size: int, count: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, count)

    def forward(self, z_sem: Tensor, answers: Tensor) -> Tensor:
        """Return the mean squared error of what codes (N, D) tell of answers (N, L)."""
        return F.mse_loss(self.linear(z_sem), answers)


def read_answers(path: Path, files: Sequence[str]) -> Tensor:
    """Read the answers to these images.

    Parameters
    ----------
    path : Path
        A CSV with a column `file` and one of log-odds for each question.
    files : sequence of str
        The images, in their order.

    Returns
    -------
    Tensor (N, L)
        Each question's answers less their mean, by their standard deviation. Questions whose
        answers are all the same are left out.

    Raises
    ------
    GCDError
        If the table lacks an image, holds something else than numbers, or nothing that differs.
    """
    rows = {row.pop("file"): row for row in read_csv(path, ("file",))}
    missing = [name for name in files if name not in rows]
    if missing:
        raise GCDError(f"{path} has no answer to {missing[0]} (missing: {len(missing)}).")
    try:
        table = [[float(value) for value in rows[name].values()] for name in files]
    except ValueError as error:
        raise GCDError(f"{path}: the answers are numbers (log-odds): {error}.") from error
    if not all(math.isfinite(value) for row in table for value in row):
        raise GCDError(f"{path} has an answer that is no finite number.")
    answers = torch.tensor(table)
    spread = answers.std(0)
    differ = spread > 0
    if not differ.any():
        raise GCDError(f"{path} has the same answer to every image; codes can learn nothing of it.")
    return ((answers - answers.mean(0)) / spread)[:, differ]
