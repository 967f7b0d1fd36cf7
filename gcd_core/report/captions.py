"""What stands with every picture that leaves the page: that it is synthetic, and of what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.opening import Domain
from gcd_core.method.attribution import DISAGREE
from gcd_core.method.changes import (
    LITTLE,
    changes_of,
    likeness_word,
    nearest_direction,
    resembles_several,
)
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import crosses
from gcd_core.method.notes import Note, notes_of
from gcd_core.method.path import Path
from gcd_core.method.prior_search import places_of
from gcd_core.wording import EXPERT, Worded, percent_of_all, signed, way_name
from gcd_core.wording import PLAIN as PLAIN_WORDS

SYNTHETIC = "SYNTHETIC"
DOT = " \N{MIDDLE DOT} "


def direction_name(name: str, directions: DirectionSet | None, words: str) -> str:
    """Return what a direction of a set is called in one of the `VOCABULARIES`.

    A name that a person gave stands for it in plain words, and behind it in the field's. In plain
    words one by place is called by it; of several that change one place the later ones have a
    number.
    """
    if called := note_on(name, directions).called:
        return called if words == PLAIN_WORDS else f"{name} ({called})"
    places = {} if directions is None else places_of(directions.metadata)
    if words != PLAIN_WORDS or name not in places:
        return way_name(name, words)
    place, before = places[name], list(places)[: list(places).index(name)]
    number = 1 + sum(places[other] == place for other in before)
    return place.capitalize() + (f" {number}" if number > 1 else "")


def direction_names(directions: DirectionSet | None, words: str) -> dict[str, str]:
    """Return what each direction of a set is called in one of the `VOCABULARIES`."""
    names = [] if directions is None else directions.names
    return {name: direction_name(name, directions, words) for name in names}


def what_it_does(
    name: str,
    directions: DirectionSet | None,
    positives: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
    alpha: float = 0.0,
) -> str:
    """Return what a direction of a set does to pictures, in a sentence, as it was measured.

    Parameters
    ----------
    name : str
    directions : DirectionSet or None
    positives : mapping of str to str, optional
        The positive answer of each label.
    kinds : mapping of str to str, optional
        The domain's own words for kinds of change.
    alpha : float
        How far along it the picture was moved, where it was: a step back is said to be one.

    Returns
    -------
    str
        In both vocabularies (`Worded`); "" where it was not measured.
    """
    change = None if directions is None else changes_of(directions.metadata).get(name)
    if directions is None or change is None or name not in directions.names:
        return ""
    toward = (positives or {}).get(directions.label, directions.label.capitalize())
    start = "Moved the other way here; toward" if alpha < 0 else "Toward"
    told = f"{start} {toward}: {change.sentence(positives, kinds)}"
    place = places_of(directions.metadata).get(name)
    if place and not any(place in (part.place or "") for part in change.parts):
        told += f" (looked for in the picture's {place})"
    near = nearest_direction(directions.vectors, directions.names, name)
    if near is None:
        return f"{told}."
    other, cosine = near
    word, sign = likeness_word(cosine), "\N{MINUS SIGN}" if cosine <= -LITTLE else ""
    plain = f"{'the reverse of ' if sign else ''}{direction_name(other, directions, PLAIN_WORDS)}"
    shown = direction_name(other, directions, EXPERT)
    like = f"{word} {plain}" if abs(cosine) >= LITTLE else "little like any other way"
    if word == "rather like" and resembles_several(directions.vectors, directions.names, name):
        like = "rather like several other ways"
    return Worded(f"{told}; {word} {sign}{shown} (cosine {signed(cosine)}).", f"{told}; {like}.")


def about_direction(
    name: str,
    directions: DirectionSet | None,
    positives: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return columns of a table about a direction of a set: what it does, what a person says.

    `positives` and `kinds` are as of `what_it_does`.

    A text that a table program would take for a formula has an apostrophe before it.
    """
    said = note_on(name, directions)
    columns = {
        "called": said.called,
        "mark": said.mark,
        "remark": said.remark,
        "does": str(what_it_does(name, directions, positives, kinds)),
    }
    return {key: f"'{text}" if text[:1] in tuple("=+-@") else text for key, text in columns.items()}


def note_on(name: str, directions: DirectionSet | None) -> Note:
    """Return what a person says of a direction of a set; an empty note where nobody did."""
    return notes_of({} if directions is None else directions.metadata).get(name, Note())


def caption(
    domain: Domain,
    label: str,
    probability: float,
    alphas: Sequence[tuple[str, float]],
    words: str = EXPERT,
    directions: DirectionSet | None = None,
) -> list[str]:
    """Two lines about a decoded picture: its probability; where it lies, and in which domain."""
    _, positive = domain.label_names[label]
    told = domain.label_info[label].question.shown(probability)
    moved = [f"{direction_name(name, directions, words)} {signed(alpha)}" for name, alpha in alphas]
    place = DOT.join(moved) or "no change"
    return [f"{SYNTHETIC}{DOT}{positive} {told}", f"{place}{DOT}{domain.title}"]


def only_for_words(only_for: str) -> str:
    """A sentence that says of what pictures an answer means something; "" of all."""
    return f"Asked only of {only_for}." if only_for else ""


def map_meaning(positive: str) -> str:
    """What both colours of a map of evidence say of a change, in one short line.

    Red is where the change took the label's logit down, blue where it took it up.

    Parameters
    ----------
    positive : str
        The label's positive name.
    """
    return f"blue: toward {positive}, red: away from it"


def exposure_name(channels: int) -> str:
    """What a tone curve a channel is to a reader."""
    return "one brightness curve" if channels == 1 else "one curve of brightness and colour"


def exposure_words(share: float, channels: int, without: str = "") -> str:
    """How much of a change they are, in a sentence, and one of the change without them."""
    told = (
        f"{percent_of_all(share)} of the change is {exposure_name(channels)} for the whole picture."
    )
    return f"{told} {without}".strip()


def without_exposure_words(
    positive: str, before: float, after: float, flips: bool, question: Question = PLAIN
) -> str:
    """A sentence about a change whose brightness and contrast were taken out.

    Parameters
    ----------
    positive : str
        The label's positive name.
    before, after : float
        The label's probability of the source, and of the picture with its brightness and contrast.
    flips : bool
        Whether the whole change flips.
    question : Question
        In whose scale the probability is told.
    """
    told = f"Without it: {positive} {question.shown(after)}"
    if not flips:
        return f"{told}."
    if crosses(before, after):
        return f"{told}, it still flips."
    return f"{told}, no flip."


APART = "the classifier may read outside the part that is shown. Look at both."


def maps_apart(agreement: float | None) -> str:
    """A sentence where the two maps of one change point to different places; else "".

    Parameters
    ----------
    agreement : float or None
        As of `map_agreement`; None where only one of the maps is known.
    """
    if agreement is None or agreement >= DISAGREE:
        return ""
    return Worded(
        "BB-LIG and the map of cells point to different places (rank correlation "
        f"{signed(agreement)}): {APART}",
        f"The map on the way and that of tested parts point to different places: {APART}",
    )


def captions_of(
    domain: Domain, path: Path, words: str = EXPERT, directions: DirectionSet | None = None
) -> list[list[str]]:
    """The lines of each point that was walked on a path, in its order."""
    return [
        caption(domain, path.label, probability, [(path.direction_name, alpha)], words, directions)
        for alpha, probability, walked in zip(
            path.alphas.tolist(), path.probabilities.tolist(), path.is_walked.tolist(), strict=True
        )
        if walked
    ]
