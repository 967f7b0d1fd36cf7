"""Pictures of another kind than those that a question tells apart, known by their codes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

MIN_IMAGES = 100  # of a kind
MIN_VARIANCE = 1e-3  # of the mean variance, added to each axis: no axis is without any
ODD = 0.02  # probability of the question's own kinds, below which a picture is called another


@dataclass(frozen=True, eq=False)
class OtherKinds:
    """The kinds of a domain's images by their codes, by a linear discriminant (Fisher, 1936).

    The codes of each kind are taken as normal, all with one covariance, and all kinds as equally
    frequent. No code of a single image is kept.

    Attributes
    ----------
    names : tuple of str
        The k kinds, as the labels file has them.
    own : Tensor (k,)
        Bool: which of them the question makes sense for; some are, and some are not.
    means : Tensor (k, D)
    covariance : Tensor (D, D)
        Of codes about the mean of their kind.
    """

    names: tuple[str, ...]
    own: Tensor
    means: Tensor
    covariance: Tensor

    @classmethod
    def measured(
        cls, codes: Tensor, kinds: Sequence[str], own: Collection[str]
    ) -> OtherKinds | None:
        """Measure codes (N, D) of images, of which `kinds` says of what kind each is.

        `own` are the kinds that the question makes sense for. Kinds of fewer than 100 images are
        left out; None where no own kind or no other one is left.
        """
        names = tuple(sorted(name for name in set(kinds) if kinds.count(name) >= MIN_IMAGES))
        of_own = torch.tensor([name in own for name in names])
        if not len(names) or of_own.all() or not of_own.any():
            return None
        means, about = [], []
        for name in names:
            chosen = codes[torch.tensor([kind == name for kind in kinds])].double()
            means.append(chosen.mean(0))
            about.append(chosen - means[-1])
        apart = torch.cat(about)
        covariance = apart.T @ apart / (len(apart) - len(names))
        floor = MIN_VARIANCE * covariance.diagonal().mean()
        covariance = covariance + floor * torch.eye(len(covariance), dtype=covariance.dtype)
        return cls(names, of_own, torch.stack(means).float(), covariance.float())

    @cached_property
    def _weights(self) -> tuple[Tensor, Tensor]:
        """Slope (D, k) and offset (k,) of the logarithms of the kinds' densities."""
        means = self.means.double()
        slope = torch.linalg.solve(self.covariance.double(), means.T)
        return slope, -0.5 * (means * slope.T).sum(1)

    def shares(self, codes: Tensor) -> Tensor:
        """The probability of each kind (N, k) for codes (N, D)."""
        slope, offset = self._weights
        return (codes.double().cpu() @ slope + offset).softmax(1)

    def foreign(self, code: Tensor) -> str | None:
        """The kind that a picture of a code (1, D) is most likely of, if of none of the own."""
        shares = self.shares(code)[0]
        if float(shares[self.own].sum()) >= ODD:
            return None
        return self.names[int(shares.masked_fill(self.own, 0).argmax())]

    @property
    def is_sound(self) -> bool:
        """Whether the shapes fit each other and the numbers are some, as in a file they may not."""
        k = len(self.names)
        if self.means.ndim != 2 or len(self.means) != k or self.own.shape != (k,):
            return False
        size = self.means.shape[1]
        if self.covariance.shape != (size, size) or self.own.dtype != torch.bool:
            return False
        numbers = self.means, self.covariance
        if not all(v.dtype == torch.float32 and bool(v.isfinite().all()) for v in numbers):
            return False
        return bool(torch.linalg.cholesky_ex(self.covariance.double()).info == 0)
