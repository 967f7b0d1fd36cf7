"""Warnings about a label that a reader needs before trusting its counterfactual."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

from torch import Tensor

from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.file import Label
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.composition import DECODED, SOURCE
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.wording import Worded, percent

MAX_LOG_ODDS = math.log((1 - 1e-6) / 1e-6)  # a probability says no more of its log-odds
REACTS = 2.0  # log-odds that encoding and decoding may move before something is lost
USUAL = 1.3  # `CodeStatistics.distance` to the nearer kind that a few per cent of its own lie above


class Caution(Worded):
    """A warning about a label.

    Attributes
    ----------
    short : str
        The same in a few words, for a place with little room.
    """

    short: str

    def __new__(cls, expert: str, plain: str = "", short: str = "") -> Self:
        """Take the sentence in the field's words and in plain ones, and the few words."""
        made = super().__new__(cls, expert, plain)
        made.short = short or made
        return made


def missing_premise(labels: Mapping[str, Label], label: str, before: Mapping[str, float]) -> str:
    """Return what a label is asked of only, where the original lacks it; else "".

    Then no change of the label's answer is a flip: there was no answer before.

    Parameters
    ----------
    labels, label, before
        As of `cautions`.
    """
    given = labels[label].given
    if given is None or before.get(given, THRESHOLD) >= THRESHOLD:
        return ""
    return labels[given].positive


def premise_between(
    labels: Mapping[str, Label], label: str, explained: str
) -> tuple[str, bool] | None:
    """Return the label that must hold for `label` to mean anything; None where nothing must.

    Of two labels that each tell two kinds apart, the one that is not explained means something
    where the explained one's answer is one of its two kinds.

    Returns
    -------
    (str, bool) or None
        The label, and whether it is its negative answer that must hold.
    """
    info, own = labels[label], labels[explained]
    if info.given is not None and info.given in labels:
        return info.given, False
    kinds = info.negative, info.positive
    if label == explained or not info.only_for or not own.only_for:
        return None
    if own.positive not in kinds and own.negative in kinds:
        return explained, True
    if own.negative not in kinds and own.positive in kinds:
        return explained, False
    return None


def cautions(
    labels: Mapping[str, Label],
    label: str,
    before: Mapping[str, float],
    after: Mapping[str, float] | None = None,
) -> list[Caution]:
    """Return warnings: the label's condition does not hold, or the classifier is weak at it.

    Parameters
    ----------
    labels : mapping
        The domain's, by name.
    label : str
        The explained one.
    before, after : mapping
        The classifier's probabilities of the image and of what became of it, by label; no `after`
        before a move.
    """
    info, found = labels[label], list[Caution]()
    if info.given is not None and info.given in before:
        condition = labels[info.given]
        was = before[info.given]
        shown = condition.question.shown
        if missing_premise(labels, label, before):
            told = (
                f"{info.title} is asked of {condition.positive} only; in the original the "
                f"classifier sees none ({shown(was)})."
            )
            found.append(Caution(told, short=f"The classifier sees no {condition.positive} here."))
        elif after is not None and after[info.given] < THRESHOLD:
            told = (
                f"In the changed picture the classifier sees no {condition.positive} any more "
                f"({shown(was)} to {shown(after[info.given])}), so it says nothing of {info.title}."
            )
            found.append(Caution(told, short=f"Changed, it sees no {condition.positive}."))
    if info.auroc is not None and info.is_weak:
        found.append(
            Caution(
                f"The classifier is weak here: AUROC {info.auroc:.2f} on its test images.",
                "The classifier is weak here: of two test images, one of each kind, it tells which "
                f"is which {percent(info.auroc)} of the time.",
                Worded(f"AUROC {info.auroc:.2f}.", "Often wrong at this question."),
            )
        )
    return found


def of_another_kind(only_for: str, statistics: CodeStatistics, z_sem: Tensor) -> Caution | None:
    """Return a warning of a picture unlike both kinds that a label tells apart; else None.

    Where other kinds are known, of a picture that is of one of them. Of all it is warned that lie
    far from both; where no others are known, kinds that resemble the two are mostly not noticed.
    Nothing where a label does not say of what it means something, or its kinds are unknown.

    Parameters
    ----------
    only_for : str
        As of `Label`.
    statistics : CodeStatistics
        Of the label.
    z_sem : Tensor (1, D)
        The picture's.
    """
    if not only_for:
        return None
    others = statistics.others
    foreign = None if others is None else others.foreign(z_sem)
    if others is not None and foreign is not None:
        share = float(others.shares(z_sem)[0, others.own].sum())
        why = f"by its z_sem rather {foreign!r}; {percent(share)} that it is one of these"
    elif statistics.kinds:
        distance = min(kind.distance(z_sem).item() for kind in statistics.kinds)
        if distance <= USUAL:
            return None
        why = f"distance of z_sem {distance:.2f}, usual up to {USUAL:g}"
    else:
        return None
    rest = f"unlike {only_for}: this answer may mean nothing."
    return Caution(
        f"The picture is {rest[:-1]} ({why}).",
        f"It looks {rest}",
        f"Unlike {only_for}.",
    )


def of_another_age(age: float | None, ages: tuple[float, float] | None) -> str:
    """Return a warning if a patient is much younger or older than those learned from; else "".

    A tenth beside the ages, and a year, is let pass.

    Parameters
    ----------
    age : float or None
        In years; None where nobody knows.
    ages : (float, float) or None
        The youngest and the oldest that the models learned from; None where nobody knows.
    """
    if age is None or ages is None:
        return ""
    youngest, oldest = ages
    if 0.9 * youngest - 1 <= age <= 1.1 * oldest + 1:
        return ""
    told = f"{age:.0f} years" if age >= 2 else f"{12 * age:.0f} months"
    return (
        f"The patient is {told} old; the models learned from people of {youngest:g} to {oldest:g} "
        "years: the answers may mean nothing."
    )


def unreproduced(before: float, again: float, question: Question = PLAIN) -> str:
    """Return a warning if encoding and decoding alone moves the classifier; else "".

    Of 48 radiographs none moves the bundled classifier by 2 log-odds; a marker in the corner, which
    the generator draws weaker, moves one that learned it by more on 94 % of the images.

    Parameters
    ----------
    before, again : float
        The label's probability of an image and of its reconstruction.
    question : Question
        What the label asks, in whose scale both are told.
    """
    change = f"{question.shown(before)} to {question.shown(again)}"
    moved = abs(_log_odds(before) - _log_odds(again))
    if (before >= THRESHOLD) != (again >= THRESHOLD):
        rest = (
            f"already changes the answer, {change}: this generator does not draw what the "
            "classifier saw."
        )
        return Worded(f"The reconstruction alone {rest}", f"Drawing the picture again {rest}")
    if moved >= REACTS:
        start = "The classifier reacts to something that the generator does not reproduce:"
        return Worded(
            f"{start} encoding and decoding alone moves its log-odds by {moved:.1f}.",
            f"{start} drawing the picture again moves its answer, {change}.",
        )
    return ""


def found_otherwise(directions: DirectionSet | None, detail: str) -> list[str]:
    """What must be known where directions were found in another detail than they are walked in.

    Nothing of files that do not say how they were found.
    """
    settings = None if directions is None else directions.metadata.get("settings")
    found = settings.get("detail") if isinstance(settings, dict) else None
    put_in = "the picture itself with the change put in"
    ways = {SOURCE: put_in, DECODED: "decoded images"}
    plain = {SOURCE: put_in, DECODED: "what the generator draws"}
    if found not in ways or found == detail:
        return []
    expert, other = (
        f"The search asked about {words[found]}; here the classifier sees {words[detail]}."
        for words in (ways, plain)
    )
    return [Worded(expert, other)]


def _log_odds(probability: float) -> float:
    """Return the log-odds of a probability, within plus and minus `MAX_LOG_ODDS`."""
    if not 0 < probability < 1:
        return math.copysign(MAX_LOG_ODDS, probability - 0.5)
    odds = math.log(probability / (1 - probability))
    return max(-MAX_LOG_ODDS, min(MAX_LOG_ODDS, odds))
