"""What a second classifier, the oracle, which no search asks, says of a counterfactual."""

from __future__ import annotations

from collections.abc import Sequence

from gcd_core.method.loss import THRESHOLD, crosses

FOLLOWS = "follows"  # it agreed about the source, and changes sides as the classifier does
STAYS = "stays"  # it agreed about the source, and stays on that side
DISAGREED = "disagreed"  # it was on the other side of the source already


def second_opinion(
    probability: float, before: float, after: float, threshold: float = THRESHOLD
) -> str:
    """Say how the second opinion takes a flip of the classifier.

    Parameters
    ----------
    probability : float
        The classifier's of the label on the source, in [0, 1].
    before, after : float
        The oracle's of the label on the source and on the counterfactual, in [0, 1].
    threshold : float
        A probability of at least this counts as the label.

    Returns
    -------
    {"follows", "stays", "disagreed"}
        "disagreed" wherever the two differ about the source: then nothing that the oracle says of
        the counterfactual is a judgement of the change, and no rate counts it.
    """
    if crosses(probability, before, threshold):
        return DISAGREED
    return FOLLOWS if crosses(before, after, threshold) else STAYS


def share_that_follows(opinions: Sequence[str]) -> float | None:
    """Of the opinions of flips that are no "disagreed", the share that follows; None of none."""
    counted = [opinion for opinion in opinions if opinion != DISAGREED]
    return counted.count(FOLLOWS) / len(counted) if counted else None
