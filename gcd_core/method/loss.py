"""The counterfactual loss (Eq. 1), and which side of the threshold is which."""

from __future__ import annotations

from torch import Tensor

THRESHOLD = 0.5  # a label is predicted from this probability on


def crosses(before: float, after: float, threshold: float = THRESHOLD) -> bool:
    """Whether two probabilities, in [0, 1], lie on different sides of the threshold."""
    return (before >= threshold) != (after >= threshold)


def cf_loss(logits: Tensor, distances: Tensor, sign: int, lam: float = 1.0) -> Tensor:
    """Return the counterfactual loss (Eq. 1): lower is nearer the flip, or nearer the source.

    Parameters
    ----------
    logits : Tensor (N,)
        The label's log-odds.
    distances : Tensor (N,)
        LPIPS to the source.
    sign : {+1, -1}
        The way of the logit to the flip, as of `flip_sign`.
    lam : float
        Weight of the distance.
    """
    return lam * distances - sign * logits


def flip_sign(probability: float) -> int:
    """Return the way to the flip: the one convention of every `sign` in this package.

    -1 where the label is predicted: its logit must fall, and since +alpha of a direction raises
    the logit, a walk goes to -alpha. Otherwise +1.
    """
    return -1 if probability >= THRESHOLD else 1
