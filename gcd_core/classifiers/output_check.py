"""Whether a classifier's answers are what its table says: logits, or probabilities."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable

from torch import Tensor

from gcd_core.errors import GCDError, GCDWarning

MANY = 16  # images from which on their answers tell what they are
SPREADS = {0: 0.5, 64: 0.25}  # what probabilities fill of [0, 1] at least, by how many there are
SUMS_TO_ONE = 1e-3  # how far a softmax in half precision may be off
PROBABILITIES = (
    "All of the classifier's answers lie between 0 and 1, as probabilities do; if it ends in a "
    'sigmoid, write output = "probabilities" into its table of domain.toml.'
)
OF_A_SOFTMAX = (
    "The classifier's answers are probabilities already (none is negative, and each image's sum "
    'to 1), not logits; write output = "probabilities" into its table of domain.toml.'
)
OF_A_LOG_SOFTMAX = (
    "The classifier's answers are logarithms of probabilities that sum to 1 for each image, not "
    'logits of independent labels; write output = "softmax" into its table of domain.toml.'
)


class OutputCheck:
    """Looks at all answers of a classifier, and refuses or warns of what `output` contradicts.

    Parameters
    ----------
    output : {"sigmoid", "softmax", "probabilities", "numbers"}
        As of `Classifier`.

    Attributes
    ----------
    notice : str
        What a person has to know of the answers so far; "" where there is nothing.
    """

    def __init__(self, output: str) -> None:
        self.output = output
        self._alike: dict[str, int | None] = {}  # images so far by what they are; None if not all
        self._images, self._answers, self._low, self._high = 0, 0, math.inf, -math.inf
        self._warned = False
        self._lock = threading.Lock()

    def __call__(self, raw: Tensor) -> None:
        """Look at raw answers (N, L).

        Raises
        ------
        GCDError
            If they are probabilities of a softmax, or their logarithms, of two images or more,
            where logits are awaited; or no probabilities where these are. It says what to write.
        """
        if self.output == "probabilities":
            if raw.min() < -SUMS_TO_ONE or raw.max() > 1 + SUMS_TO_ONE:
                raise GCDError(
                    f"The classifier's answers go from {raw.min():.3g} to {raw.max():.3g}, so they "
                    'are no probabilities; if they are logits, write output = "softmax" (of '
                    'classes that exclude each other) or output = "sigmoid" into its table of '
                    "domain.toml."
                )
        elif self.output != "numbers":
            self._check_logits(raw)

    @property
    def notice(self) -> str:
        """`PROBABILITIES`, while logits of 16 images and more fill a part of [0, 1] and no more."""
        within = fill_probabilities(self._low, self._high, self._answers)
        return PROBABILITIES if within and self._images >= MANY else ""

    def _check_logits(self, raw: Tensor) -> None:
        self._refuse_all(raw, are_distributions, OF_A_SOFTMAX)
        if self.output == "sigmoid":  # of a softmax's logits, these are as good as any
            self._refuse_all(raw, are_log_distributions, OF_A_LOG_SOFTMAX)
        with self._lock:
            self._images, self._answers = self._images + len(raw), self._answers + raw.numel()
            self._low = min(self._low, raw.min().item())
            self._high = max(self._high, raw.max().item())
            tell = not self._warned and bool(self.notice)
            self._warned |= tell
        if tell:
            warnings.warn(self.notice, GCDWarning, stacklevel=2)

    def _refuse_all(self, raw: Tensor, is_so: Callable[[Tensor], bool], told: str) -> None:
        """Refuse what has been so of all images, and of two or more: one may be by chance."""
        count = self._alike.get(told, 0)
        if count is not None:
            count = self._alike[told] = count + len(raw) if is_so(raw) else None
        if (count or 0) > 1:
            raise GCDError(told)


def fill_probabilities(low: float, high: float, answers: int) -> bool:
    """Whether so many answers from the least to the greatest fill a part of [0, 1], and no more."""
    least = min(spread for count, spread in SPREADS.items() if answers >= count)
    return low >= 0 and high <= 1 and high - low >= least


def are_distributions(raw: Tensor) -> bool:
    """Whether answers (N, L) of two labels or more are all in [0, 1], and each row sums to 1."""
    if raw.shape[-1] < 2 or not len(raw):
        return False
    return bool((raw >= 0).all() and (raw.sum(-1) - 1).abs().max() < SUMS_TO_ONE)


def are_log_distributions(raw: Tensor) -> bool:
    """Whether answers (N, L) are the logarithms of what `are_distributions` knows."""
    return bool((raw <= 0).all()) and are_distributions(raw.exp())
