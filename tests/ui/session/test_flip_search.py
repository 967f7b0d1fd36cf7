"""The search for a flip on few pictures, against answers that are known in closed form."""

import math

import pytest

from gcd_core.ui.frames import Frame
from gcd_core.ui.session.flip_search import Target, met_before, smallest_met

END = 192
CURVES = {  # what is missing at a place, which is met from the second number on
    "a straight line": (lambda k: 3.7 - 0.05 * k, 74),
    "at the first place": (lambda k: 0.1 - 0.5 * k, 1),
    "at the last place": (lambda k: 4.0 - 4.0 * k / END, END),
    "early, then flat": (lambda k: 2.0 - 2.5 * math.tanh(k / 20), 22),
    "late and steep": (lambda k: 5.0 - 10 / (1 + math.exp((150 - k) / 3)), 150),
    "a step": (lambda k: 1.0 if k < 101 else -1.0, 101),
    "slower and slower": (lambda k: 4.0 - math.sqrt(k), 16),
}


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("guess", [1, 48, END])
@pytest.mark.parametrize("within", [1, 8])
def test_the_smallest_place_is_found(name: str, guess: int, within: int) -> None:
    missing, smallest = CURVES[name]
    asked = []

    def ask(k: int) -> float:
        asked.append(k)
        return missing(k)

    found = smallest_met(ask, missing(0), guess, END, within)
    assert found is not None and missing(found) <= 0 and found - within < smallest <= found
    assert len(asked) == len(set(asked)) and set(asked) <= set(range(1, END + 1))
    assert len(asked) <= 3 * math.log2(
        END
    )  # it doubles up to the end, then halves every other time


def test_on_a_line_five_places_are_asked_about() -> None:
    """Half as far again at most, a tenth beyond the crossing, the crossing, and the one before."""
    asked = []
    smallest_met(lambda k: asked.append(k) or 3.7 - 0.05 * k, 3.7, 48, END)
    assert asked == [48, 72, 75, 74, 73]


def test_where_something_is_missing_to_the_end_there_is_none() -> None:
    asked = []
    assert smallest_met(lambda k: asked.append(k) or 5 - 0.02 * k, 5.0, 48, END) is None
    assert asked == [48, 72, 108, 162, END]
    assert smallest_met(lambda k: 1.0, 1.0, 48, END) is None
    assert smallest_met(lambda k: None, 1.0, 48, END) is None


@pytest.mark.parametrize(
    ("above", "margin", "answer", "met"),
    [
        (False, 0.25, 0.75, True),
        (False, 0.25, 0.74, False),
        (True, 0.25, 0.25, True),
        (True, 0.0, 0.5, False),  # from the threshold on a label is predicted
        (True, 0.0, 0.49, True),
        (False, 0.5, 1.0, True),
        (False, 0.5, 0.9999999, False),
        (True, 0.5, 1e-9, False),
    ],
)
def test_what_is_missing_is_told_in_log_odds(above, margin, answer, met) -> None:
    target, frame = Target(0, above, margin), Frame(None, (answer,), 0.0)
    assert target.met(frame) is met and (target.missing(frame) <= 0) is met
    if not met and margin == 0.25:
        assert target.missing(frame) == pytest.approx(math.log(3) - math.log(0.74 / 0.26))


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (lambda k: -1.5 - 0.1 * k, -15),  # a straight line: found at once
        (lambda k: -0.3 - 0.1 * k, 0),  # nearer by less than what is worth a picture
        (lambda k: -1.0 if k > -2 else 1.0, 0),  # nothing nearer suffices
    ],
)
def test_a_place_before_is_found(missing, expected: int) -> None:
    asked = []

    def ask(k: int) -> float:
        asked.append(k)
        return missing(k)

    assert met_before(ask, missing(0), (-100.0, missing(-100)), 4) == expected
    assert len(asked) <= 2


def test_where_the_first_place_lies_too_near_the_second_is_found() -> None:
    def missing(k: int) -> float:  # met from -40 on
        return -4 * math.tanh((k + 40) / 30)

    once, twice = (met_before(missing, missing(0), (-160.0, missing(-160)), 4, n) for n in (1, 2))
    assert once == 0 and -40 <= twice < -30
