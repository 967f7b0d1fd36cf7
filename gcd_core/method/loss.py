"""The counterfactual loss (Eq. 1), and which side of the threshold is which."""

from __future__ import annotations

from torch import Tensor

THRESHOLD = 0.5  # a label is predicted from this probability on


def cf_loss(logits: Tensor, distances: Tensor, sign: int, lam: float = 1.0) -> Tensor:
    """Return the counterfactual loss (Eq. 1): lower is nearer the flip, or nearer the source.

    Parameters
    ----------
    logits : Tensor (N,)
        The label's log-odds.
    distances : Tensor (N,)
        LPIPS to the source.
    sign : {+1, -1}
        +1 where the source is predicted to have the label (its logit must fall), otherwise -1.
    lam : float
        Weight of the distance.
    """
    return sign * logits + lam * distances


def cf_sign(probability: float) -> int:
    """The sign of the logit in the CF loss: +1 where the label is predicted, otherwise -1."""
    return 1 if probability >= THRESHOLD else -1
