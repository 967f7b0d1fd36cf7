"""Numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


def percent(probability: float) -> str:
    """A probability as a person reads it; never a false 0, 50 or 100."""
    if f"{100 * probability:.0f}" == "50" and probability != 0.5:  # on one side of the threshold
        nearest = min(probability, 0.499) if probability < 0.5 else max(probability, 0.501)
        return f"{100 * nearest:.1f} %"
    return percent_of_all(probability)


def percent_of_all(share: float) -> str:
    """A share of a whole as a person reads it; never a false 0 or 100."""
    if 0 < share < 0.005:
        return "< 1 %"
    if 0.995 <= share < 1:
        return "> 99 %"
    return f"{100 * share:.0f} %"


def signed(number: float, digits: int = 2) -> str:
    """A number with its sign, as a person writes it."""
    if abs(number) < 0.5 * 10**-digits:
        return "0"
    return f"{number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def enumerated(names: Sequence[str]) -> str:
    """Names in a sentence: "g", "g and w1", "g, w1 and w2"; there must be one."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    seconds = round(seconds)
    if seconds < 90:
        return f"{seconds} s"
    if seconds < 5400:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


# -- two vocabularies ------------------------------------------------------------------------------

PLAIN, EXPERT = VOCABULARIES = "plain", "expert"
PLAIN_NAMES = {"g": "Main way", "h": "Way", "w": "Own way"}  # by a direction's first letter
BRIDGE = "rcsb"  # the name of a path that a bridge made


class Worded(str):
    """A sentence in the field's words, which has the same in plain words with it.

    Attributes
    ----------
    plain : str
        For a reader who knows no word of the field.
    """

    plain: str

    def __new__(cls, expert: str, plain: str = "") -> Self:
        """Take both; without plain words the sentence is the same in both vocabularies."""
        worded = super().__new__(cls, expert)
        worded.plain = plain or expert
        return worded


def worded(text: str, words: str = EXPERT) -> str:
    """Return a sentence in one of the `VOCABULARIES`; one without plain words stays as it is."""
    return text.plain if words == PLAIN and isinstance(text, Worded) else str(text)


def joined(*sentences: str) -> str:
    """Return sentences one after another, in both vocabularies; empty ones are left out."""
    expert, plain = (
        " ".join(filter(None, (worded(sentence, words) for sentence in sentences)))
        for words in (EXPERT, PLAIN)
    )
    return Worded(expert, plain)


def way_name(name: str, words: str = PLAIN) -> str:
    """Return what a direction is called in one of the `VOCABULARIES`: "h1" and "Way 1".

    A line along several, such as "g + h1", has the names of all.
    """
    if words == EXPERT:
        return name
    if " + " in name:
        return " + ".join(map(way_name, name.split(" + ")))
    if name == BRIDGE:
        return "Drawn anew"
    return f"{PLAIN_NAMES.get(name[:1], 'Way')} {name[1:]}".strip()
