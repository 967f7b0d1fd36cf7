"""How alike two sets of directions are, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.prior_search import PLACED
from gcd_core.method.set_likeness import matches

ABOUT = {"label": "a"}


def test_each_direction_is_held_against_its_namesake_and_the_nearest() -> None:
    angle = math.radians(60)
    tilted = torch.tensor([[math.cos(angle), math.sin(angle), 0.0], [0.0, 0.0, -1.0]])
    one = DirectionSet(["g", "h1", "h2"], torch.eye(3), ABOUT)
    other = DirectionSet(["g", "h1"], tilted, ABOUT)
    g, h1, h2 = matches(one, other)
    assert (g.name, g.nearest) == ("g", "g") and g.cosine == pytest.approx(0.5)
    assert h1.cosine == 0 and h1.nearest == "g"
    assert h1.nearest_cosine == pytest.approx(math.sin(angle))
    assert h2.cosine is None and (h2.nearest, h2.nearest_cosine) == ("h1", -1)


def test_a_set_is_its_own_likeness() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(4, 7), dim=1)
    found = DirectionSet(["g", "h1", "h2", "w1"], vectors, ABOUT)
    for match in matches(found, found):
        assert match.nearest == match.name
        assert match.cosine == match.nearest_cosine == pytest.approx(1, abs=1e-6)
        assert match.cosine <= 1


def test_sets_of_two_generators_are_refused() -> None:
    one = DirectionSet(["g"], torch.eye(3)[:1], ABOUT)
    other = DirectionSet(["g"], torch.eye(4)[:1], ABOUT)
    with pytest.raises(GCDError, match="different generators"):
        matches(one, other)


def test_directions_by_place_go_together_by_their_place() -> None:
    first, second = (
        {"w1": "upper left", "w2": "lower left"},
        {"w1": "lower left", "w3": "upper right"},
    )
    one = DirectionSet(["g", "w1", "w2"], torch.eye(4)[:3], ABOUT | {PLACED: first})
    other = DirectionSet(["g", "w1", "w3"], torch.eye(4)[[0, 2, 3]], ABOUT | {PLACED: second})
    assert [match.partner for match in matches(one, other)] == ["g", None, "w1"]
    assert [match.cosine for match in matches(one, other)] == [1, None, 1]
    assert [match.partner for match in matches(other, one)] == ["g", "w2", None]
