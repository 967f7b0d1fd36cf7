"""Numbers as a person reads them: signs, and no false certainty."""

import pytest

from gcd_core.wording import duration, percent, signed


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.0, "0 %"),
        (0.001, "< 1 %"),
        (0.494, "49 %"),
        (0.497, "49.7 %"),
        (0.49999, "49.9 %"),
        (0.5, "50 %"),
        (0.50001, "50.1 %"),
        (0.503, "50.3 %"),
        (0.506, "51 %"),
        (0.994, "99 %"),
        (0.999, "> 99 %"),
        (1.0, "100 %"),
    ],
)
def test_only_a_certain_probability_is_0_50_or_100(probability: float, text: str) -> None:
    assert percent(probability) == text


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (-1.5, 2, "\N{MINUS SIGN}1.50"),
        (0.001, 2, "0"),
        (-0.001, 2, "0"),
        (0.001, 3, "+0.001"),
        (2.0, 2, "+2.00"),
    ],
)
def test_a_number_has_its_sign_unless_it_is_0(number: float, digits: int, text: str) -> None:
    assert signed(number, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (89, "89 s"), (90, "1 min 30 s"), (5399, "89 min 59 s"), (9429, "2 h 37 min")],
)
def test_a_duration_has_no_more_than_two_numbers(seconds: float, text: str) -> None:
    assert duration(seconds) == text
