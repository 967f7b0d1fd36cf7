"""Why a direction does not flip, of walks whose logits are given."""

import math

import pytest
import torch

from gcd_core.method.no_flip import no_flip
from gcd_core.method.path import Path
from gcd_core.wording import PLAIN, worded


def path(logits: list[float], sign: int = -1, threshold: float = 0.5) -> Path:
    """A walk of unit steps from 0, toward -alpha where the sign says so."""
    values = torch.tensor(logits)
    n, probabilities = len(values), torch.sigmoid(values)
    return Path(
        alphas=sign * torch.arange(n).float(),
        images=torch.zeros(n, 1, 2, 2),
        logits=values,
        probabilities=probabilities,
        all_probabilities=probabilities[:, None],
        distances=torch.zeros(n),
        losses=torch.zeros(n),
        label="a",
        labels=("a",),
        direction_name="g",
        source=torch.zeros(1, 1, 2, 2),
        source_probability=float(probabilities[0]),
        sign=sign,
        threshold=threshold,
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_where_the_answer_still_moves_a_stronger_walk_would(sign: int) -> None:
    # 1 log-odds a step, and half a one is left: at alpha 4.5.
    found = no_flip(path([-sign * logit for logit in (4.5, 3.5, 2.5, 1.5, 0.5)], sign))
    assert found is not None and found.is_probable
    assert found.needed == pytest.approx(4.5 * sign) and found.slope == pytest.approx(1)
    assert found.alpha == 4 * sign
    assert found.probability == pytest.approx(1 / (1 + math.exp(0.5 * sign)))
    assert "expected at alpha" in found.sentence
    assert "would probably" in worded(found.sentence, PLAIN)


def test_where_it_moves_too_slowly_or_stands_or_turns_it_would_not() -> None:
    slow = no_flip(path([4.0, 3.0, 2.0, 1.9]))
    assert slow is not None and slow.needed is not None and not slow.is_probable
    assert "too slowly" in slow.sentence
    still = no_flip(path([4.0, 2.0, 1.0, 1.0]))
    assert still is not None and still.needed is None and "moves no more" in still.sentence
    turned = no_flip(path([4.0, 1.0, 0.5, 3.0]))
    assert turned is not None and "turns back" in turned.sentence
    assert (turned.alpha, turned.probability) == (-2.0, pytest.approx(1 / (1 + math.exp(-0.5))))


def test_a_walk_that_flips_or_goes_nowhere_says_nothing() -> None:
    assert no_flip(path([1.0, -1.0])) is None
    assert no_flip(path([1.0])) is None


def test_the_threshold_counts() -> None:
    found = no_flip(path([4.0, 3.0], threshold=0.9))
    assert found is not None and found.needed == pytest.approx(-1 - (3 - math.log(9)))
