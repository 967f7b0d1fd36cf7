"""Which point of a path is its counterfactual, and how convincing it is to be."""

from __future__ import annotations

from gcd_core.errors import GCDError

SMALLEST = "smallest"  # the nearest point that convinces the classifier
LOWEST_LOSS = "lowest-loss"  # the paper's: the lowest CF loss among the flipped (Eq. 5, Alg. 3)
WHOLE = "whole"  # as far as the path goes
CHOICES = (SMALLEST, LOWEST_LOSS, WHOLE)
MARGIN = 0.25  # beyond the threshold: convincing from a probability of 0.75 on, or 0.25 down
MAX_MARGIN = 0.5  # no probability lies further beyond the threshold


def check_counterfactual(choice: str, margin: float) -> None:
    """Refuse a choice that is unknown, and a margin outside [0, 0.5]."""
    if choice not in CHOICES:
        raise GCDError(
            f"There is no counterfactual {choice!r}; choose one of {', '.join(CHOICES)}."
        )
    if not 0 <= margin <= MAX_MARGIN:
        raise GCDError(
            f"The margin {margin} is none that a probability can have beyond the threshold; take "
            f"0 to {MAX_MARGIN}."
        )
