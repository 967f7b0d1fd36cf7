"""The page's terms, in plain words and in the field's, with their meanings.

The page holds both; a switch in its header shows one of them.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from gcd_core.method.second_opinion import DISAGREED, FOLLOWS, STAYS


class Term(NamedTuple):
    """A term of the page."""

    # For a clinician and for a researcher.
    plain: str
    expert: str
    meaning: str  # one or two sentences, for both


TERMS = {
    "directions": Term(
        "Ways to change the answer",
        "Directions",
        "Each slider changes the picture in one way that was found to change the classifier's "
        "answer: unit vectors in the generator's code z_sem.",
    ),
    "alpha": Term(
        "strength",
        "alpha",
        "How far the picture is changed along a direction; 0 changes nothing, and the sign says "
        "which way.",
    ),
    "counterfactual": Term(
        "What flips it",
        "Counterfactual",
        "The picture changed until the classifier answers otherwise. It is synthetic.",
    ),
    "changed": Term("Changed", "Changed", "The picture changed, the answer still the same."),
    "reconstruction": Term(
        "As the generator draws it",
        "Reconstruction",
        "The picture encoded and decoded again, nothing changed on purpose. What differs from the "
        "original here, the generator cannot draw.",
    ),
    "unchanged": Term("Unchanged", "Unchanged", "The picture as it was opened."),
    "bb_lig": Term(
        "On the way",
        "BB-LIG heat map",
        "What changed in the picture while the answer changed, on the way from the original to the "
        "picture shown. It cannot tell apart what changes together.",
    ),
    "cells": Term(
        "Tested parts",
        "Cells (Shapley values)",
        "Which parts of the change make the answer: the classifier is asked about mixtures of "
        "both pictures, and each part gets its share.",
    ),
    "completeness": Term(
        "left unexplained",
        "completeness error",
        "How far the map's sum is from the change of the classifier's log-odds that it explains; 0 "
        "explains all of it.",
    ),
    "difference": Term("What changed", "Difference", "The picture shown minus the original."),
    "proxy": Term(
        "the search's guess",
        "proxy",
        "The small network that learned the classifier's answers during the search; the directions "
        "were read off it.",
    ),
    "classifier": Term("classifier", "classifier", "What the classifier answered, measured."),
    "lpips": Term(
        "How much changed (LPIPS)",
        "Perceptual change (LPIPS)",
        "The distance of the picture shown to the original as a network that models human sight "
        "sees it: 0 is the same, below 0.1 is a small change.",
    ),
    "exposure": Term(
        "brightness and contrast of the whole picture",
        "brightness and contrast (one tone curve)",
        "What one curve explains that makes each brightness another one, wherever it lies in the "
        "picture. A flip that needs this may say more of the exposure than of a finding.",
    ),
    "colour_exposure": Term(
        "brightness, contrast and colour of the whole picture",
        "brightness, contrast and colour (one tone curve a channel)",
        "What one curve for red, green and blue each explains, wherever a colour lies in the "
        "picture. A flip that needs this may say more of the stain than of a finding.",
    ),
    "same_tone": Term(
        "Brightness kept",
        "Tone kept",
        "The same change, with brightness and contrast of the original kept.",
    ),
    "oracle": Term(
        "Second opinion",
        "Second opinion",
        "Another classifier, which no search ever asks: where it changes its mind too, the change "
        "means more than a trick on the first.",
    ),
    "prediction": Term(
        "Answer",
        "Prediction",
        "What the classifier answers to each question, before and after the change.",
    ),
    "ways": Term(
        "Independent ways",
        "Independent ways",
        "Directions that flip the answer each on its own, by what no other one changes.",
    ),
    "places": Term(
        "Place by place",
        "Directions by place",
        "Directions that change the answer mostly by one quarter of the picture each.",
    ),
    "diversity": Term(
        "How different the ways are",
        "Diversity",
        "LPIPS between the counterfactuals of two directions: the larger, the more unlike.",
    ),
    "cosine": Term(
        "Angle between ways",
        "Cosine",
        "Of the angle between two directions: 0 is at right angles, 1 or -1 the same line.",
    ),
}
OTHER = {
    "g": "Main way",
    "h": "Way",
    "w": "Own way",
    "r": "The bridge",
}  # by a direction's first letter
MEANINGS = {
    "g": "The straightest way to another answer.",
    "h": "Along an eigenvector of the Hessian of the loss: another way, the first the most curved.",
    "w": "Found to flip the answer on its own, by what no other direction changes.",
    "r": "A Schroedinger bridge fills in the region, led by the classifier's gradient (RCSB).",
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
    plain, expert, meaning = TERMS[name]
    return explained(said(escape(plain), escape(expert)), f"{meaning} {more}".strip())


def explained(body: str, meaning: str) -> str:
    """Return HTML with a tooltip that the pointer and the keyboard reach."""
    text = escape(meaning)
    return (
        f'<span class="term" tabindex="0" data-tip="{text}">{body}<i class="sr">{text}</i></span>'
    )


def captions() -> dict[str, str]:
    """Return the titles of the changed picture as HTML, by what the picture is."""
    return {
        name: term(name) for name in ("counterfactual", "changed", "reconstruction", "unchanged")
    }


def way(name: str, place: str = "") -> str:
    """Return a direction's name as HTML ("h1" and "Way 1"), with its meaning.

    A direction by place is called by it (an arrow after "w1", and "Upper left").
    """
    if place:
        title = place.capitalize()
        meaning = f"{title}: changes this quarter of the picture most, as it is seen here."
        return explained(said(title, f"{escape(name)} {ARROWS[place]}"), meaning)
    return explained(said(plain_way(name), escape(name)), MEANINGS.get(name[:1], ""))


def plain_way(name: str) -> str:
    """Return a direction's name in plain words."""
    if name == "rcsb":
        return OTHER["r"]
    return f"{OTHER.get(name[:1], 'Way')} {name[1:]}".strip()


# Texts of Gradio's own components by CSS selector, in plain words and in the field's.
WRITTEN = {
    "#overlay input[value=cells] + span": ("Tested", "Cells"),
    "#overlay input[value=bb_lig] + span": ("On the way", "BB-LIG"),
    "#overlay input[value=difference] + span": ("Changes", "Difference"),
    "#tabs button[role=tab]:nth-of-type(2)": ("Find ways", "Find directions"),
    "#tabs button[role=tab]:nth-of-type(3)": ("Compare ways", "Compare directions"),
    "#tabs button[role=tab]:nth-of-type(4)": ("Many images", "Globality"),
    ".gcd-direction button": ("Flip", "To flip"),
    "#target > .sr-only": ("How sure", "To flip"),
    "#reset": ("Undo all", "Reset"),
    "#region-method input[value=gcd] + span": ("By the ways found", "Black box: directions"),
    "#region-method input[value=rcsb] + span": ("Drawn anew", "White box: bridge (RCSB)"),
    "#sweep:not(.busy)": ("Play", "Sweep"),
}
TOUR = (  # CSS selectors of what the tour points at, and its texts
    ("#strip", "Open a picture, or choose one of the examples. Nothing leaves this server."),
    (
        "#direction-g",
        "Drag a slider: the picture changes in one way, until the classifier changes its mind.",
    ),
    (
        "#pictures",
        "Left the original, then the changed picture, then where the change mattered. Zoom with "
        "the wheel, press F to flicker between before and after.",
    ),
    ("#readout", "How sure the classifier is, before and after, and all along the way."),
)


OPINIONS = {FOLLOWS: "follows", STAYS: "stays", DISAGREED: "disagreed from the start"}


def opinion_words(opinion: str | None, before: str = "") -> str:
    """What `second_opinion` says, in two words behind others, as HTML; "" where it says nothing."""
    if opinion is None:
        return ""
    return f'<em class="{"" if opinion == FOLLOWS else "not"}">{before}{OPINIONS[opinion]}</em>'
