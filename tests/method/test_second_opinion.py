"""What the second opinion says of a flip: three states, and a rate of two of them."""

import pytest

from gcd_core.method.second_opinion import second_opinion, share_that_follows


@pytest.mark.parametrize(
    ("probability", "before", "after", "said"),
    [
        (0.9, 0.8, 0.2, "follows"),
        (0.1, 0.2, 0.5, "follows"),  # the threshold itself is the label's side
        (0.9, 0.8, 0.6, "stays"),
        (0.1, 0.2, 0.49, "stays"),
        (0.1, 0.92, 0.99, "disagreed"),  # on the target's side before anything was changed
        (0.9, 0.1, 0.1, "disagreed"),
        (0.9, 0.1, 0.8, "disagreed"),  # it moved, but not from where the classifier was
    ],
)
def test_three_states(probability, before, after, said):
    assert second_opinion(probability, before, after) == said


def test_the_threshold_is_the_callers():
    assert second_opinion(0.35, 0.4, 0.2, threshold=0.3) == "follows"
    assert second_opinion(0.35, 0.2, 0.2, threshold=0.3) == "disagreed"


def test_a_rate_leaves_out_what_disagreed_from_the_start():
    assert share_that_follows(["follows", "stays", "disagreed", "follows", "stays"]) == 0.5
    assert share_that_follows(["disagreed"]) is None and share_that_follows([]) is None
