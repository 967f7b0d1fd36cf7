"""The page's terms, in plain words and in the field's, with their meanings.

The page holds both; a switch in its header shows one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import NamedTuple

from gcd_core.method.directions import DirectionSet
from gcd_core.method.notes import notes_of
from gcd_core.method.prior_search import places_of
from gcd_core.method.second_opinion import DISAGREED, FOLLOWS, STAYS
from gcd_core.method.verification import tried_of
from gcd_core.report.captions import direction_name, note_on, what_it_does
from gcd_core.ui.frames import SLIDERS
from gcd_core.wording import PLAIN, Worded, signed, way_name, worded


class Term(NamedTuple):
    """A term of the page, and what it means in one or two sentences; each in both vocabularies."""

    # For a clinician.
    plain: str
    plain_meaning: str
    # For a researcher.
    expert: str
    meaning: str


TERMS = {
    "directions": Term(
        "Ways to change the answer",
        "Each slider changes the picture in one way that was found by asking the classifier.",
        "Directions",
        "Unit vectors in the generator's semantic code z_sem along which the classifier's logit "
        "changes; alpha is the distance.",
    ),
    "counterfactual": Term(
        "What flips it",
        "The picture changed until the classifier answers otherwise. It is synthetic.",
        "Counterfactual",
        "The picture at alpha, where the prediction has crossed the threshold. It is synthetic.",
    ),
    "changed": Term(
        "Changed",
        "The picture changed, the answer still the same.",
        "Changed",
        "The picture at alpha; the prediction has not crossed the threshold.",
    ),
    "unasked": Term(
        "Changed",
        "The picture changed to the other side of a question that means nothing of the original: "
        "no flip, as there was no answer before.",
        "Changed",
        "The picture at alpha, past the threshold of a question that means nothing of the "
        "original: no flip, as there was no answer before.",
    ),
    "voided": Term(
        "Changed",
        "In the changed picture the classifier no longer sees what the question is asked of: no "
        "flip, as its answer means nothing there.",
        "Changed",
        "The picture at alpha, past the threshold of a question that means nothing of it: no flip, "
        "as the classifier no longer sees what the question is asked of.",
    ),
    "drawing": Term(
        "Generator’s",
        "What the generator draws for this change. Only the difference that it makes is put into "
        "the picture, and the classifier is asked about that one.",
        "Decoded",
        "What the generator decodes at alpha. Only its difference from the decoded source is put "
        "into the picture that the classifier is asked about.",
    ),
    "reconstruction": Term(
        "Drawn again",
        "The picture drawn again, nothing changed on purpose. What differs from the original here, "
        "the generator cannot draw.",
        "Reconstruction",
        "Encoded to z_sem and z_T, and decoded again at alpha 0. What differs from the original "
        "here, the generator cannot draw.",
    ),
    "unchanged": Term(
        "Unchanged",
        "The picture as it was opened.",
        "Unchanged",
        "The picture as it was opened: alpha is 0 along every direction.",
    ),
    "bb_lig": Term(
        "On the way",
        "What changed in the picture while the answer changed, on the way from the original to the "
        "picture shown. It cannot tell apart what changes together.",
        "BB-LIG",
        "Black-box latent integrated gradients: the change of the logit along the walk, given to "
        "the pixels that changed. It cannot tell apart what changes together.",
    ),
    "cells": Term(
        "Tested parts",
        "Which parts of the change make the answer: the classifier is asked about mixtures of "
        "both pictures, and each part gets its share.",
        "Cells",
        "Shapley values: the classifier is asked about mixtures of both pictures, and each cell "
        "gets its share of the change of the logit.",
    ),
    "completeness": Term(
        "not explained",
        "How far the map is from explaining the whole change of the answer; 0 explains all of it.",
        "completeness error",
        "How far the map's sum is from the change of the classifier's log-odds that it explains; 0 "
        "explains all of it.",
    ),
    "difference": Term(
        "What changed",
        "What is brighter and what is darker than in the original.",
        "Difference",
        "The picture shown minus the original.",
    ),
    "proxy": Term(
        "the search's guess",
        "What the search expected the classifier to answer. The ways were found by such guesses.",
        "proxy",
        "The small network that learned the logit and LPIPS from the code during the search; the "
        "directions are its gradient and curvature.",
    ),
    "slope": Term(
        "the search's guess",
        "What a straight line through the answers to the search says. No network guesses here.",
        "linear fit",
        "The logit's mean slope over z_sem, fitted to the answers of the search; no proxy network "
        "was trained.",
    ),
    "classifier": Term(
        "classifier",
        "What the classifier answered on the way, to quick drawings where the generator makes "
        "such; the dot is the picture shown.",
        "classifier",
        "What the classifier answered, measured at points of the walk, most of them drawn by the "
        "distilled decoder where there is one; the dot is the picture shown.",
    ),
    "lpips": Term(
        "How much changed",
        "How different the changed picture looks from the original, as a model of human sight "
        "sees it: 0 is the same, below 0.1 is a small change.",
        "Perceptual change (LPIPS)",
        "LPIPS between the changed picture and the original: 0 is the same, below 0.1 is a small "
        "change.",
    ),
    "exposure": Term(
        "brightness",
        "What one brightness curve for the whole picture explains: it makes each brightness "
        "another one, wherever it lies. Contrast that changes within parts of the picture is not "
        "in it. A flip that needs this may say more of the exposure than of a finding.",
        "brightness",
        "What one tone curve for the whole picture explains, wherever a brightness lies; local "
        "contrast is not in it. A flip that needs this may say more of the exposure than of a "
        "finding.",
    ),
    "colour_exposure": Term(
        "brightness, colour",
        "What one curve for red, green and blue each explains over the whole picture, wherever a "
        "colour lies. Contrast that changes within parts of the picture is not in it. A flip that "
        "needs this may say more of the stain than of a finding.",
        "brightness, colour",
        "What one tone curve a channel explains over the whole picture, wherever a colour lies; "
        "local contrast is not in it. A flip that needs this may say more of the stain than of a "
        "finding.",
    ),
    "same_tone": Term(
        "Brightness kept",
        "The same change, without what one brightness curve for the whole picture explains.",
        "Tone kept",
        "The same change, without what one tone curve for the whole picture explains.",
    ),
    "same_colour": Term(
        "Brightness kept",
        "The same change, without what one curve each for red, green and blue explains over the "
        "whole picture: over all of it brightness and stain as they were, not place by place.",
        "Tone kept",
        "The same change, without what one tone curve a channel explains over the whole picture.",
    ),
    "oracle": Term(
        "Second opinion",
        "Another classifier, which no search ever asks: where it changes its mind too, the change "
        "means more than a trick on the first.",
        "Second opinion",
        "An oracle of another architecture and seed, which no search ever asks: where its "
        "prediction flips too, the change is less likely to be adversarial to the first.",
    ),
    "prediction": Term(
        "Answer",
        "What the classifier answers to each question, before and after the change.",
        "Prediction",
        "The classifier's probability of each label, before and after the change.",
    ),
    "ways": Term(
        "Further ways",
        "Ways of an earlier search, beside the main one. What each did to examples was measured.",
        "Further directions",
        "Directions of an earlier search beside g and h; what each did to examples was measured.",
    ),
    "places": Term(
        "Place by place",
        "Ways that were looked for in one quarter of the picture each; they may change other "
        "places too.",
        "Directions by place",
        "Directions in z_sem that follow the proxy's slope by what they change in one quarter of "
        "the picture each; a change elsewhere costs more.",
    ),
    "diversity": Term(
        "How different the ways are",
        "How different the pictures look to which two ways lead: the larger the number, the more "
        "unlike.",
        "Diversity",
        "LPIPS between the counterfactuals of two directions: the larger, the more unlike.",
    ),
    "cosine": Term(
        "How alike the ways are",
        "0: two ways have nothing in common. 1: they are the same way. \N{MINUS SIGN}1: one is "
        "the other's reverse.",
        "Cosine",
        "Cosine of the angle between two directions in z_sem: 0 is at right angles, 1 or "
        "\N{MINUS SIGN}1 the same line.",
    ),
}
MEANINGS = {  # by a direction's first letter, in plain words and in the field's
    "g": (
        "The straightest way to another answer.",
        "The global counterfactual direction: the slope of the classifier's logit in z_sem, as the "
        "search learned it.",
    ),
    "h": (
        "Another way to change the picture, beside the main one.",
        "Along an eigenvector of the Hessian of the loss in z_sem; h1 has the largest eigenvalue.",
    ),
    "w": (
        "A further way to change the picture, beside the main one.",
        "A further direction of the search in z_sem, beside g and h.",
    ),
    "r": (
        "Another network draws the region anew, as this classifier wants it.",
        "A Schroedinger bridge fills in the region, led by the classifier's gradient (RCSB).",
    ),
}


TEXT = "\N{VARIATION SELECTOR-15}"  # draws an arrow as a letter, not as a picture
ARROWS = {
    "upper left": f"\N{NORTH WEST ARROW}{TEXT}",
    "upper right": f"\N{NORTH EAST ARROW}{TEXT}",
    "lower left": f"\N{SOUTH WEST ARROW}{TEXT}",
    "lower right": f"\N{SOUTH EAST ARROW}{TEXT}",
}


def said(plain: str, expert: str) -> str:
    """Return HTML that shows one of two texts, by the page's switch; both are HTML."""
    if plain == expert:
        return plain
    return f'<span class="plain">{plain}</span><span class="expert">{expert}</span>'


def term(name: str, more: str = "") -> str:
    """Return a term as HTML, with its meaning, and more of it, as a tooltip."""
    words = TERMS[name]
    body = said(escape(words.plain), escape(words.expert))
    meanings = (f"{meaning} {more}".strip() for meaning in (words.plain_meaning, words.meaning))
    return explained(body, *meanings)


def told(sentence: str) -> str:
    """Return a sentence as HTML, in both vocabularies where it has both."""
    return said(escape(worded(sentence, PLAIN)), escape(sentence))


def explained(body: str, plain: str, expert: str = "") -> str:
    """Return HTML with a tooltip that the pointer and the keyboard reach.

    Without `expert` both vocabularies have the same one.
    """
    plain, expert = escape(plain), escape(expert or plain)
    return (
        f'<span class="term" tabindex="0" data-tip="{expert}" data-plain-tip="{plain}">{body}'
        f'<i class="sr">{said(plain, expert)}</i></span>'
    )


def written(directions: DirectionSet, selector: str | None = None) -> str:
    """Return HTML that is not seen: what a choice calls directions by place, and named ones.

    The page's script writes it, as it does `WRITTEN`. `selector` is that of the choice's buttons;
    by default those in Globality.
    """
    known = {*places_of(directions.metadata), *notes_of(directions.metadata)}
    texts = {
        (selector or WALKED).format(name): way_names(name, directions)
        for name in directions.names
        if name in known
    }
    return f'<i hidden data-written="{escape(json.dumps(texts))}"></i>' if texts else ""


def captions() -> dict[str, str]:
    """Return as HTML, by name, the changed picture's titles, and what is said of work under way."""
    titles = ("counterfactual", "changed", "unasked", "voided", "reconstruction", "unchanged")
    flipping = said(
        "Looking for a small change that turns the answer",
        "Searching a near flip by the fast decoder, checked in full",
    )
    working = {name: said(*(escape(words) for words in both)) for name, both in WORK.items()}
    return {"flipping": flipping, **working, **{name: term(name) for name in titles}}


def way(
    name: str,
    directions: DirectionSet | None = None,
    positives: Mapping[str, str] | None = None,
    kinds: Mapping[str, str] | None = None,
) -> str:
    """Return a direction's name as HTML ("h1" and "Way 1"), with its meaning.

    A direction by place of a set is called by it (an arrow after "w1", and "Upper left"). Of a set,
    the meaning says what was measured on examples, what it does to pictures, which other direction
    it is nearly, and what a person says of it. `positives` and `kinds` are as of `what_it_does`.
    """
    plain, expert = MEANINGS.get(name[:1], ("", ""))
    if directions is None or name not in directions.names:
        return explained(short_way(name), plain, expert)
    place, one = places_of(directions.metadata).get(name), tried_of(directions.metadata).get(name)
    does = what_it_does(name, directions, positives, kinds)
    if place:
        quarter = f"{place.capitalize()} of the picture: looked for in this quarter."
        plain = expert = quarter
    more = [] if one is None else [f"{one.sentence}."]
    more += filter(None, [does, "" if does else likeness(name, directions)])
    more += filter(None, [note_on(name, directions).sentence])
    plain = " ".join([plain, *(worded(text, PLAIN) for text in more)])
    return explained(short_way(name, directions), plain, " ".join([expert, *more]))


def short_way(name: str, directions: DirectionSet | None = None) -> str:
    """Return a direction's name as HTML, as `way` does, without its meaning.

    Behind a quarter stands its arrow in both vocabularies: of a radiograph the picture's left is
    the patient's right.
    """
    plain, expert = way_names(name, directions)
    place = None if directions is None else places_of(directions.metadata).get(name)
    if place and not note_on(name, directions).called:
        plain = f"{plain} {ARROWS[place]}"
    return said(escape(plain), escape(expert))


def way_names(name: str, directions: DirectionSet | None = None) -> tuple[str, str]:
    """Return what a direction is called in plain words and in the field's."""
    place = None if directions is None else places_of(directions.metadata).get(name)
    arrow, called = f" {ARROWS[place]}" if place else "", note_on(name, directions).called
    expert = f"{name}{arrow}" + (f" {called}" if called else "")
    return direction_name(name, directions, PLAIN), expert


def likeness(name: str, directions: DirectionSet) -> str:
    """Say which direction before it a direction is much like; "" where it is like none."""
    found = directions.likeness(name)
    if found is None:
        return ""
    other, cosine = found
    (plain, expert), (like, nearly) = (way_names(one, directions) for one in (name, other))
    sign = "\N{MINUS SIGN}" if cosine < 0 else ""
    return Worded(
        f"{expert}: much like {sign}{nearly} (cosine {signed(cosine)}).",
        f"{plain} is much like {'the reverse of ' if sign else ''}{like}.",
    )


WALKED = "#globality-direction input[value={}] + span"
NOTED = "#noted input[value={}] + span"
LABEL, INFO = "[data-testid=block-info]", ".info-text"
# Texts of Gradio's own components by CSS selector, in plain words and in the field's.
WRITTEN = {
    "#overlay input[value=cells] + span": ("Tested", "Cells"),
    "#overlay input[value=bb_lig] + span": ("On the way", "BB-LIG"),
    "#overlay input[value=difference] + span": ("Changes", "Difference"),
    "#tabs [data-tab-id=find]": ("Find ways", "Find directions"),
    "#tabs [data-tab-id=compare]": ("Compare ways", "Compare directions"),
    "#tabs [data-tab-id=globality]": ("Many images", "Globality"),
    ".gcd-direction button": ("Flip", "To flip"),
    "#target > .sr-only": ("How sure", "To flip"),
    "#reset": ("Undo all", "Reset"),
    "#region-method input[value=gcd] + span": ("By the ways found", "Black box: directions"),
    "#region-method input[value=rcsb] + span": ("Drawn anew", "White box: bridge (RCSB)"),
    "#sweep:not(.busy)": ("Play", "Sweep"),
    "#back": ("Back to the bundled ways", "Back to the bundled directions"),
    "#start": ("Find ways", "Find directions"),
    "#use-so-far": ("Use this main way now", "Use this g now"),
    "#sampling label:last-child > span": (
        "Around this picture",
        "Around this picture, as in the paper",
    ),
    f"#samples {LABEL}": ("Pictures asked about", "Samples"),
    f"#radius {LABEL}": ("How far around", "Radius"),
    f"#lam {LABEL}": (
        "Weight of how much changes",
        "\N{GREEK SMALL LETTER LAMDA} of LPIPS",
    ),
    f"#k {LABEL}": ("Further ways", "h-directions (k)"),
    f"#n-ways {LABEL}": ("Ways by place", "Directions by place"),
    f"#seed {LABEL}": ("Seed: number of the draw", "Seed"),
    "#boundary .label-text": (
        "Search where the answer changes",
        "Search at the decision boundary",
    ),
    f"#boundary {INFO}": (
        "For a picture that the classifier is sure of: it is first changed until the answer is "
        "open, and the ways are looked for there.",
        "For an image that the classifier is sure of: a first g leads to the boundary, and the "
        "directions are looked for there.",
    ),
    "#settle .label-text": (
        "Stop early, once the main way has settled",
        "Stop early, once g has settled",
    ),
    f"#settle {INFO}": (
        "Asks less; further ways take longer to settle than the main one.",
        "Spares queries; the h-directions take longer to settle than g.",
    ),
    f"#steps {LABEL}": ("Drawing steps", "Steps"),
    f"#chosen {LABEL}": ("Ways", "Directions"),
    f"#globality-direction {LABEL}": ("Way", "Direction"),
}
WRITTEN |= {
    selector.format(name): (way_name(name), name)
    for name in SLIDERS
    for selector in (WALKED, NOTED, f"#slider-{{}} {LABEL}")
}
TOUR = (  # CSS selectors of what the tour points at, and its texts
    ("#strip", "Open a picture, or choose one of the examples. Nothing leaves this server."),
    (
        "#direction-g",
        "Drag a slider: the picture changes in one way, until the classifier changes its mind. "
        "Ctrl+Z takes back one move.",
    ),
    (
        "#pictures",
        "Left the original, then the changed picture, then where the change mattered. Zoom with "
        "the wheel, press F to flicker between before and after.",
    ),
    ("#readout", "How sure the classifier is, before and after, and all along the way."),
)


LOST = (
    "The server does not answer. The page shows what it was told last, and opens anew by itself "
    "once the server is back. A flip, a file, a search or a walk that was under way has then to be "
    "begun again."
)
WORK = {  # what is said of a file that is being made, and then; in plain words and in the field's
    "report": (
        "Making the report: drawing in full, testing parts",
        "Making the report: decoding in full, querying the map",
    ),
    "sweep": (
        "Making the animation: drawing the pictures in full",
        "Making the animation: decoding the walk in full",
    ),
    "file": ("Writing the file", "Writing the file"),
    "made": ("Ready: it is being downloaded.", "Ready: it is being downloaded."),
    "failed": ("it was not made: the message says why.", "it was not made: the message says why."),
    "lost": (LOST, LOST),
}
OPINIONS = {FOLLOWS: "follows", STAYS: "stays", DISAGREED: "disagreed from the start"}


def opinion_words(opinion: str | None, before: str = "") -> str:
    """What `second_opinion` says, in two words behind others, as HTML; "" where it says nothing."""
    if opinion is None:
        return ""
    return f'<em class="{"" if opinion == FOLLOWS else "not"}">{before}{OPINIONS[opinion]}</em>'
