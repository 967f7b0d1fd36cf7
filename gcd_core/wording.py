"""Numbers as a person reads them."""

from __future__ import annotations


def percent(probability: float) -> str:
    """A probability as a person reads it; never a false 0 or 100."""
    if 0 < probability < 0.005:
        return "< 1 %"
    if 0.995 <= probability < 1:
        return "> 99 %"
    return f"{100 * probability:.0f} %"


def signed(number: float, digits: int = 2) -> str:
    """A number with its sign, as a person writes it."""
    if abs(number) < 0.5 * 10**-digits:
        return "0"
    return f"{number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 90 else f"{seconds // 60} min {seconds % 60:02d} s"
