"""The map over the changed picture: its colours, what they mean, and what is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from gcd_core.images.drawing import BRIGHTNESS, EVIDENCE, overlay
from gcd_core.method.directions import DirectionSet
from gcd_core.report.captions import map_meaning, maps_apart
from gcd_core.ui.session.display import Display
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.figures import figure, image_tag
from gcd_core.ui.views.payload import label_names
from gcd_core.ui.views.vocabulary import TERMS, explained, said, term, way_names
from gcd_core.wording import PLAIN, percent_of_all, signed, worded

STILL = "nothing moved yet"
LINE_NAMES = 3  # of a line's directions that are all named
WAITING = {
    "bb_lig": said("following the way", "following the direction"),
    "cells": "asking the classifier",
}


class MapPanel(NamedTuple):
    """The chosen map, as the page and the API show it."""

    picture: str | None  # the map over the source as a data address; None while it is still to come
    caption: str  # HTML
    numbers: dict[str, Any]  # what is known about the map, for the API
    completeness: str = ""  # HTML


def map_figure(image: OpenImage, kind: str, panel: MapPanel) -> str:
    """Return the map with its scale; before it is there, say that it is on its way."""
    title, waiting = term(kind, found_reasons(image, kind)), WAITING.get(kind, "")
    price = image.maps.price(kind)
    if panel.picture is None and price:
        body = f'<div class="gcd-wait"><p>{escape(price)}</p></div>'
    elif panel.picture is None:
        body = f'<div class="gcd-wait"><span></span>{waiting}</div>'
    else:
        body = image_tag(panel.picture, TERMS[kind].plain)
    below = map_scale(image, kind) + panel.completeness + disagreement(image, kind)
    return figure(title, panel.caption, body, "map", below)


def found_reasons(image: OpenImage, kind: str) -> str:
    """Say how well a map finds a known reason in this domain; "" where that was not measured."""
    mass = image.service.domain.map_mass.get(kind)
    if mass is None:
        return ""
    return (
        f"Where a test classifier read one part of the picture alone, {percent_of_all(mass)} of "
        "this map lay in that part."
    )


def disagreement(image: OpenImage, kind: str) -> str:
    """Return, as HTML, that the classifier's two maps point to different places, if so.

    In a few words beside what a map leaves out; the whole sentence stands in the tooltip.
    """
    whole = maps_apart(image.maps.agreement() if kind in ("bb_lig", "cells") else None)
    if not whole:
        return ""
    return f'<p class="apart">{explained("maps disagree", worded(whole, PLAIN), whole)}</p>'


def map_scale(image: OpenImage, kind: str) -> str:
    """Return a map's colours with what they mean, in one line: of evidence, for this change."""
    positive = label_names(image)[1]
    if kind == "difference":
        words = "<span>green: darker</span><i></i><span>yellow: brighter</span>"
        return f'<div class="scale brightness">{words}</div>'
    return f'<div class="scale"><i></i><span>{escape(map_meaning(positive))}</span></div>'


def map_panel(image: OpenImage, display: Display) -> MapPanel:
    """Return the chosen map's picture, its caption, and its numbers for the API."""
    heat, alphas = image.maps.get(display.overlay), image.sliders.alphas
    if heat is None:
        return MapPanel(None, "", {})
    if heat.kind == "difference":
        caption = "after minus before"
    elif heat.queries:
        caption = said(f"{heat.queries} mixtures", f"{heat.queries} queries")
    elif heat.kind == "bb_lig" and alphas:
        caption = said("", "along ") + line_words(list(alphas), image.directions)
    else:
        caption = STILL
    palette = BRIGHTNESS if heat.kind == "difference" else EVIDENCE
    picture = drawn(overlay(image.opened.pixels, heat.map, display.opacity, palette))
    facts = dict(heat.facts)
    if heat.kind in ("bb_lig", "cells"):
        facts["rank_correlation"] = image.maps.agreement()
    told = ""
    if heat.completeness_error is not None and alphas:
        told = completeness(heat.completeness_error, float(heat.map.sum()))
    return MapPanel(picture, caption, facts, told)


def completeness(error: float, total: float) -> str:
    """Return a map's completeness error as HTML, in plain words as a share of what it explains.

    Parameters
    ----------
    error : float
        The map's sum less the change that it explains.
    total : float
        The map's sum.
    """
    change = abs(total - error)
    share = percent_of_all(abs(error) / change) if change else signed(error)
    exact = "below 0.01" if 0 < abs(error) < 0.005 else signed(error)
    numbers = said(escape(share), exact)
    return f'<div class="gcd-completeness">{term("completeness")} <b>{numbers}</b></div>'


def line_words(names: Sequence[str], directions: DirectionSet) -> str:
    """Return the directions of a line as HTML, called as their sliders: "Main way + Lower left".

    Of more than three the first two are named, with how many there are besides.
    """
    plain = [way_names(name, directions)[0] for name in names]
    exact = list(names)
    if len(exact) <= LINE_NAMES:
        return said(escape(" + ".join(plain)), escape(" + ".join(exact)))
    rest = f" + {len(exact) - 2} more"
    return said(escape(" + ".join(plain[:2]) + rest), escape(" + ".join(exact[:2]) + rest))
