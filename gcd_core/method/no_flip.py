"""Why a direction does not flip a picture: how near it came, and whether more of it would."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gcd_core.method.path import Path
from gcd_core.wording import Worded, signed

FARTHER = 1.5  # times the walk's length, within which a flip is called probable
STILL = 0.05  # log-odds for each unit of alpha, below which the answer moves no more


@dataclass(frozen=True)
class NoFlip:
    """What a walk that does not flip says.

    Attributes
    ----------
    probability : float
        The label's, where it came nearest to the threshold on the way to the flip.
    alpha : float
        Where that was, signed.
    slope : float
        How fast the log-odds go on toward the flip at the walk's end, for each unit of alpha;
        negative where they turn back.
    needed : float or None
        The signed alpha where the flip is to be expected if they go on so; None where they do not.
    alpha_max : float
        How far the walk went.
    """

    probability: float
    alpha: float
    slope: float
    needed: float | None
    alpha_max: float

    @property
    def is_probable(self) -> bool:
        """Whether a walk half as far again would probably flip."""
        return self.needed is not None and abs(self.needed) <= FARTHER * self.alpha_max

    @property
    def sentence(self) -> str:
        """Whether a stronger walk would flip, for a person."""
        if self.is_probable and self.needed is not None:
            return Worded(
                f"The logit still moves at the end: a flip is to be expected at alpha "
                f"{signed(self.needed, 1)}.",
                "The answer still moves at the end: a stronger change would probably flip it.",
            )
        if self.needed is not None:
            return Worded(
                "The logit moves too slowly at the end: half as far again would not flip it.",
                "The answer moves too slowly at the end: a stronger change would hardly flip it.",
            )
        turns = "turns back" if self.slope < -STILL else "moves no more"
        return Worded(
            f"The logit {turns} at the end: a larger alpha would not flip it.",
            f"The answer {turns} at the end: a stronger change would not flip it.",
        )


def no_flip(path: Path) -> NoFlip | None:
    """Say why a path does not flip; None where it does, or does not go toward the flip."""
    toward = (path.alphas * path.sign >= 0).nonzero().flatten()
    if path.any_flip or len(toward) < 2:
        return None
    order = toward[path.alphas[toward].abs().argsort()]
    alphas, logits = path.alphas[order].double(), path.logits[order].double() * path.sign
    nearest, length = int(order[logits.argmax()]), float(alphas[-1].abs())
    slope = float((logits[-1] - logits[-2]) / (alphas[-1] - alphas[-2]).abs().clamp(min=1e-9))
    threshold = path.threshold
    edge = math.log(threshold / (1 - threshold)) * path.sign
    needed = None
    if slope > STILL:
        needed = path.sign * (length + (edge - float(logits[-1])) / slope)
    return NoFlip(
        probability=float(path.probabilities[nearest]),
        alpha=float(path.alphas[nearest]),
        slope=slope,
        needed=needed,
        alpha_max=length,
    )
