"""What stands beside the sliders, as HTML: each direction's name, ends, and what it did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from gcd_core.classifiers.questions import PLAIN as PLAIN_QUESTION
from gcd_core.classifiers.questions import Question
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.path import Path
from gcd_core.method.prior_search import places_of
from gcd_core.method.repeatability import repeatability_of
from gcd_core.method.verification import Tried, tried_of
from gcd_core.report.captions import note_on, what_it_does
from gcd_core.ui.frames import End, shown_names
from gcd_core.ui.session.session import Session
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import end_thumbnail
from gcd_core.ui.views.payload import (
    answers_yes,
    label_names,
    positives_of,
    premise_missing,
    why_no_flip,
)
from gcd_core.ui.views.vocabulary import (
    LABEL,
    explained,
    likeness,
    said,
    short_way,
    term,
    told,
    way,
    written,
)
from gcd_core.wording import PLAIN, duration, percent_of_all, signed, worded

TURNS = "Where the answer turns on the curve; To flip goes on until it is as sure as wanted"
SLIDER = f"#slider-{{}} {LABEL}"  # the label of a direction's slider
TURNED = " (flips)"  # the end that the answer turns to
FIND = said("Find ways", "Find directions")


def heading(session: Session) -> str:
    """Return the text over the sliders: which end is which label, how many paths are ready."""
    negative, positive = label_names(session)
    if not session.names:
        return (
            f'<div class="gcd-heading"><h2>{term("directions")}</h2><div class="gcd-quiet">'
            f"There are none for this label yet: search for some in <b>{FIND}</b>, or load a file "
            "there.</div></div>"
        )
    used = escape(session.sets.used(session.label))
    state, turned = "", ("", "")
    if session.image is not None and not premise_missing(session.image):
        turned = (TURNED, "") if answers_yes(session.image) else ("", TURNED)
    if session.image is not None and session.image.paths.ready < session.image.paths.total:
        paths, of = session.image.paths, said("ways", "directions")
        text = f"preparing {paths.ready} of {paths.total} {of}{after_others(*paths.before)}"
        css = "busy"
        if paths.finished:
            why = escape(paths.error or "stopped")
            css, text = "", f"{paths.ready} of {paths.total} {of}: {why}"
        state = f'<small class="{css}"><span>{text}</span></small>'
    return (
        f'<div class="gcd-heading">{written(session.directions, SLIDER)}'
        f'<h2>{term("directions")} <span class="set">{used}</span>{state}</h2>'
        f'<p>At its ends: <i class="no"></i>{escape(negative)}{turned[0]} <i class="yes"></i>'
        f"{escape(positive)}{turned[1]}</p></div>"
    )


def after_others(count: int, seconds: float | None) -> str:
    """Say how many paths of others come first, and how long they take; "" for one or none."""
    if count < 2:
        return ""
    wait = "" if seconds is None else f", about {duration(seconds)}"
    return f"; {count} of other visitors&rsquo; first{wait}"


def ways_line(session: Session) -> str:
    """Return the text over the sliders of the directions by place, or of further ones.

    Sets of earlier searches have the latter: these do not tell a place. It says what they did to
    examples, and which are much like another. "" where none is shown.
    """
    found = session.directions
    names = [name for name in session.names if name not in session.weak_directions]
    ways = [name for name in names if name.startswith("w")]
    if not ways:
        return ""
    tried, placed = tried_of(found.metadata), places_of(found.metadata)
    sentences = ["Each was looked for in one quarter of the picture."] if placed else []
    measured = [tried[name].flipped for name in ways if name in tried]
    if measured:
        flips = span(measured)
        which = "it flips" if len(measured) == 1 else "each flips"
        sentences.append(f"Tried on {tried[ways[0]].n} examples: {which} {flips}.")
    else:
        sentences.append("What they do was not tried on examples.")
    sentences += filter(None, (likeness(name, found) for name in ways))
    title, text = term("places" if placed else "ways"), " ".join(map(told, sentences))
    return f'<div class="gcd-ways"><h2>{title}</h2><p>{text}</p></div>'


def span(counts: Sequence[int]) -> str:
    """Return the least and the most of some counts: "6", "6 or 7", "4 to 7"."""
    least, most = min(counts), max(counts)
    if least == most:
        return f"{most}"
    return f"{least} {'or' if most == least + 1 else 'to'} {most}"


def told_of_g(found: DirectionSet) -> str:
    """Return what is known of g: the examples it flips, and whether another search would agree."""
    tried, confidence = tried_of(found.metadata).get("g"), repeatability_of(found)
    sentences = [f"{tried.sentence}."] if tried else []
    if confidence:
        sentences.append(confidence.sentence)
    level = confidence.level if confidence else ""
    text = " ".join(map(told, sentences))
    return f'<p class="gcd-confidence {level}">{text}</p>' if sentences else ""


def does_list(
    found: DirectionSet,
    positives: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> str:
    """Return what each direction of a set does to pictures, and what a person says; "" if unknown.

    `positives` and `kinds` are as of `what_it_does`.
    """
    rows = []
    for name in shown_names(found):
        does = what_it_does(name, found, positives, kinds)
        texts = filter(None, [does, note_on(name, found).sentence])
        if line := " ".join(map(told, texts)):
            rows.append(f"<dt>{short_way(name, found)}</dt><dd>{line}</dd>")
    return f'<dl class="gcd-does">{"".join(rows)}</dl>' if rows else ""


def tried_list(
    found: DirectionSet | None,
    positives: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> str:
    """Return what each direction of a set did to examples, and does; "" where that is unknown."""
    if found is None:
        return ""
    tried, placed = tried_of(found.metadata), places_of(found.metadata)
    names = [name for name in shown_names(found) if name in tried]
    does = does_list(found, positives, kinds)
    if not names:
        return does
    judged = any(tried[name].agreed is not None for name in names)
    head = f"<th>Tried on {tried[names[0]].n} examples, as a search draws</th><th>flip</th>"
    rows = [head + ("<th>second opinion follows</th>" if judged else "")]
    for name in names:
        one, place = tried[name], placed.get(name, "")
        cells = [
            way(name, found, positives, kinds) + said("", f" {place}" if place else ""),
            str(one.flipped),
        ]
        if judged:
            cells.append(followed(one))
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    linear, line = found.metadata.get("figures", {}).get("explained"), ""
    if type(linear) is float:
        share = percent_of_all(linear)
        said_of = f"A straight line explains {share} of what the classifier answered to the search."
        line = f'<p class="gcd-info">{said_of}</p>'
    return f'<table class="gcd-tried">{table}</table>{line}{does}'


def followed(one: Tried) -> str:
    """Return in how many flips the second opinion followed, of those that it could follow in."""
    if one.agreed is None:
        return ""
    if not one.flipped:
        return "not asked"
    asked = one.flipped - one.disagreed
    return f"{one.agreed} of {asked}" if asked else "disagreed from the start"


def decoded(session: Session) -> dict[str, Path]:
    """Return the decoded paths of the open image by direction; empty where none is open."""
    return {} if session.image is None else session.image.ready_paths()


def fold_line(session: Session) -> str:
    """Return the line under which the weak directions are folded away.

    It says how many of the examples they flip, where that was tried, and how many of their decoded
    paths flip the opened image all the same.
    """
    weak, paths = session.weak_directions, decoded(session)
    if not weak:
        return ""
    count = len(weak)
    flips = sum(name in paths and paths[name].any_flip for name in weak)
    here = ""
    if flips:
        which = f"{flips} " if flips < count else "all " if count > 1 else ""
        here = f" \N{MIDDLE DOT} {which}flip{'s' if flips == 1 else ''} here"
    ending = "s" if count == 1 else ""
    tried = tried_of(session.directions.metadata)
    what = f"hardly move{ending} this classifier"
    if tried:
        flipped = [tried[name].flipped for name in weak]
        counts, each = span(flipped), " each" if count > 1 and len(set(flipped)) == 1 else ""
        what = f"flip{ending} only {counts} of {tried[weak[0]].n} examples{each}"
    return (
        '<button type="button" class="gcd-fold" aria-expanded="false">'
        f"{count} more {what}{here}</button>"
    )


def direction_titles(session: Session) -> dict[str, str]:
    """Return the title of each shown direction, as far as its path is decoded."""
    found, positives, paths = session.directions, positives_of(session), decoded(session)
    kinds = session.service.domain.change_words
    why = {
        name: why_no_flip(path, session.image)
        for name, path in paths.items()
        if session.image is not None
    }
    return {
        name: direction_title(
            found, name, paths.get(name), positives, why.get(name, ""), kinds, is_quick(session)
        )
        for name in session.names
    }


def is_quick(session: Session) -> bool:
    """Whether the paths are the fast decoder's: in full their answers may differ a little."""
    return session.service.has_fast_paths


def direction_title(
    directions: DirectionSet,
    name: str,
    path: Path | None,
    positives: Mapping[str, str] | None = None,
    why: str = "",
    kinds: Mapping[str, str] | None = None,
    quick: bool = False,
) -> str:
    """Return a direction's name, the alpha of its nearest flip, and how many examples it flips.

    The second is there once the direction's path is decoded, the third where that was tried. `why`
    says why the path does not flip; `positives` and `kinds` are as of `what_it_does`. Of a `quick`
    path the alpha is about so.
    """
    title = way(name, directions, positives, kinds)
    one = tried_of(directions.metadata).get(name)
    examples = ""
    if one is not None:
        share = explained(f"{one.flipped}/{one.n}", f"As a search draws them, {one.sentence}.")
        examples = f'<small class="tried">{said("", share)}</small>'
    if path is None:
        return f"<b>{title}</b>{examples}"
    if not path.any_flip:
        text = explained("no flip", worded(why, PLAIN), why) if why else "no flip"
        return f'<b data-flips="no">{title}</b><small class="from">{text}</small>{examples}'
    first = signed(first_flip_at(path))
    about = charts.ABOUT if quick else ""
    where = f'<small class="from" title="{TURNS}">{said("", f"turns {about}{first}")}</small>'
    return f"<b>{title}</b>{where}{examples}"


def first_flip_at(path: Path) -> float:
    """Return where a path flips nearest to 0, between two of its points by the straight line."""
    flips = path.is_flipped.nonzero().flatten()
    i = int(flips[path.alphas[flips].abs().argmin()])
    end, p = float(path.alphas[i]), float(path.probabilities[i])
    between = (path.alphas * math.copysign(1, end) >= 0) & (path.alphas.abs() < abs(end))
    nearer = between.nonzero().flatten()
    if not len(nearer):
        return end
    j = int(nearer[path.alphas[nearer].abs().argmax()])
    before, q = float(path.alphas[j]), float(path.probabilities[j])
    share = min(max((path.threshold - q) / (p - q), 0.0), 1.0) if p != q else 1.0
    return before + share * (end - before)


def end_picture(
    names: tuple[str, str],
    end: End | None,
    question: Question = PLAIN_QUESTION,
    quick: bool = False,
) -> str:
    """Return the thumbnail of one end of a direction.

    Parameters
    ----------
    names : (str, str)
        The label's negative and positive name.
    end : End or None
        None before it is drawn.
    question : Question
        In whose scale its probability is told.
    quick : bool
        Whether the fast decoder drew it: then it is told as about so.
    """
    if end is None:
        return '<span class="gcd-thumb waiting"></span>'
    predicted = end.probability >= THRESHOLD
    side = f"{names[predicted]} at {signed(end.alpha)}"
    picture = end_thumbnail(end.image)
    probability = charts.number(end.probability, question)
    if quick and probability[:1].isdigit():  # "> 99" says so itself
        probability = charts.ABOUT + probability
    return (
        f'<span class="gcd-thumb {"yes" if predicted else "no"}"><img src="{picture}" '
        f'alt="{escape(side)}" title="{escape(side)}"><b>{probability}</b></span>'
    )
