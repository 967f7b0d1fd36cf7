"""A session as HTML: pictures, numbers, the curve, and the texts beside the sliders."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from torch import Tensor

from gcd_core.images.drawing import BRIGHTNESS, EVIDENCE, overlay
from gcd_core.method.composition import DECODED, SOURCE
from gcd_core.report.captions import caption, map_meaning
from gcd_core.ui.frames import Frame
from gcd_core.ui.session.deep_link import address_of
from gcd_core.ui.session.display import Display
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.session import Session
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.payload import (
    cautions_of,
    first_disagreement,
    flipped,
    label_names,
    measured_curve,
    missed_target,
    opinion_of_flip,
    place_on_line,
    premise_of,
    proxy_curve,
    proxy_here,
    question_of,
    reconstruction_caution,
)
from gcd_core.ui.views.vocabulary import (
    TERMS,
    opinion_words,
    said,
    term,
    told,
)
from gcd_core.wording import VOCABULARIES, way_name

DIVIDER = (
    '<input type="range" class="gcd-divider" min="0" max="100" value="50" '
    'aria-label="Divider between original and changed"><i></i>'
)
WINDOW = (
    '<details class="gcd-window"><summary title="Window and level" aria-label="Window and level">'
    "\N{CIRCLE WITH LEFT HALF BLACK}</summary><div><label>Level <output>128</output>"
    '<input type="range" name="level" min="0" max="255" value="128"></label>'
    "<label>Width <output>256</output>"
    '<input type="range" name="width" min="8" max="512" value="256"></label>'
    '<button type="button" data-do="window">As it was</button></div></details>'
)
TOOLS = (  # the action of the page's script, the button's sign, and its title
    (
        "region",
        '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2 12l1-3 7-7 2 2-7 7-3 1z"/></svg>',
        "Paint a region, and try whether it alone changes the answer",
    ),
    ("flicker", "\N{LEFT RIGHT ARROW}", "Before and after in turn (key F); hold B for before"),
    ("closer", "+", "Closer (wheel or pinch; drag to move)"),
    ("farther", "\N{MINUS SIGN}", "Farther"),
    ("whole", "\N{WHITE SQUARE}", "The whole picture (double click)"),
    ("pixels", "1:1", "One pixel of the picture on one of the page"),
    (
        "full",
        '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M1 5V1h4M9 1h4v4M13 9v4H9M5 13H1V9"/>'
        "</svg>",
        "Full screen",
    ),
)
SAVE = (
    '<button type="button" class="gcd-save" data-save title="Save as PNG" aria-label="Save as PNG">'
    '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M7 1v8M3.5 6 7 9.5 10.5 6M1.5 12.5h11"/>'
    "</svg></button>"
)
PROXY_GAP = 0.15  # between the proxy's and the classifier's probability, from which a line says so
DRAWINGS = {SOURCE: "In your picture", DECODED: "As the generator draws it"}
ASKED_ABOUT = "<p>Numbers and map are your picture&rsquo;s, not this drawing&rsquo;s.</p>"
STILL = "nothing moved yet"
WAITING = {
    "bb_lig": said("following the way", "following the direction"),
    "cells": "asking the classifier",
}


class MapPanel(NamedTuple):
    """The chosen map, as the page and the API show it."""

    picture: str | None  # the map over the source as a data address; None while it is still to come
    caption: str  # HTML
    numbers: dict[str, Any]  # what is known about the map, for the API


def image_tag(address: str, alt: str, css: str = "") -> str:
    """Return an image tag with a text for those who do not see the picture."""
    named = f' class="{css}"' if css else ""
    return f'<img{named} src="{address}" alt="{escape(alt)}" decoding="sync" draggable="false">'


def figure(title: str, note: str, body: str, css: str = "", below: str = "") -> str:
    """Return a framed picture with its title, a note, and more below; all arguments are HTML."""
    title = title if title.startswith("<b") else f"<b>{title}</b>"
    return (
        f'<figure class="{css}"><div class="frame">{body}</div>'
        f'<figcaption>{title}<span class="note">{note}</span>{SAVE}</figcaption>{below}</figure>'
    )


def image_name(image: Tensor) -> str:
    """Name an image (..., C, H, W): a grey one is called a radiograph."""
    return "radiograph" if image.shape[-3] == 1 else "image"


# -- pictures --------------------------------------------------------------------------------------


def pictures(session: Session, panel: MapPanel | None = None) -> str:
    """Return the original, the counterfactual and the map.

    They stand side by side, or the first two lie under a divider. Pictures that the visitor's page
    was sent before are named by their keys.

    Parameters
    ----------
    panel : MapPanel, optional
        The map, if it is drawn already.
    """
    image, domain = session.image, session.service.domain
    if image is None:
        grey = domain.generator.channels == 1
        return f'<p class="gcd-quiet">Open {"a radiograph" if grey else "an image"} to begin.</p>'
    display = session.display
    base = base_picture(image, display)
    figures = before_and_after(image, display.view, base is not None)
    if display.overlay != "none" and image.names:
        figures.append(map_figure(image, display.overlay, panel or map_panel(image, display)))
    count = len(figures)
    sliders = image.sliders
    probability, place = sliders.current.probabilities[image.index], list(sliders.alphas.items())
    told_below = domain, image.label, probability, place
    about, plain = (
        escape("\n".join(caption(*told_below, words, image.directions)))
        for words in VOCABULARIES[::-1]
    )
    if image.opened.compositions is not None:
        figures.append(drawing_switch(base is not None))
    if base is not None:
        figures.append(f'<img class="base" src="{drawn(base)}" alt="">')
    return session.sent_pictures.only_new(
        f'<div class="gcd-pictures n{count}" data-side="{image.opened.image.shape[-1]}" '
        f'data-address="{escape(address_of(image))}" data-name="{escape(image.opened.name)}" '
        f'data-about="{about}" data-plain-about="{plain}" '
        f'style="--shape: {image.opened.aspect:.4f}">'
        f"{''.join(figures)}</div>"
    )


def base_picture(image: OpenImage, display: Display) -> Tensor | None:
    """Return what the generator draws of the source, (1, C, S, S), where its drawings are shown.

    The page's script puts a film's changes into it. None where the change is shown in the picture
    itself, and where the domain shows nothing but drawings.
    """
    compositions = image.opened.compositions
    return None if compositions is None or display.detail == SOURCE else compositions[0].baseline


def before_and_after(image: OpenImage, view: str, as_drawn: bool = False) -> list[str]:
    """Return the source and the current picture as two figures, or as one with a divider.

    With `as_drawn` the current picture is what the generator draws, and not what it was put into.
    """
    positive, i, flip = escape(label_names(image)[1]), image.index, flipped(image)
    question = question_of(image)
    opened, current = image.opened, image.sliders.current

    def verdict(frame: Frame) -> str:
        return f"{positive} {charts.percent(frame.probabilities[i], question)}"

    moved = "counterfactual" if flip else "changed"
    at_rest = "reconstruction" if opened.compositions is None or as_drawn else "unchanged"
    shown = current.decoded if as_drawn and current.decoded is not None else current.picture
    title, note = term(moved if image.sliders.alphas else at_rest), verdict(current)
    missed = missed_target(image)
    css = "changed" + (" flipped" if flip else "") + (" missed" if missed else "")
    below = f'<p class="notice">{told(missed)}</p>' if missed else ""
    source = image_tag(drawn(opened.pixels), f"the opened {image_name(opened.image)}", "source")
    changed = image_tag(drawn(shown), f"the changed {image_name(opened.image)}")
    known = filter(None, (first_disagreement(image), opened.notice))
    warning = "".join(f'<p class="notice">{told(sentence)}</p>' for sentence in known)
    if view == "slide":
        body = f'{changed}<div class="before">{source}</div>{DIVIDER}'
        return [figure("Before | after", note, body, f"slide {css}", warning + below)]
    return [
        figure(original_title(image), verdict(opened.source), source, "original", warning),
        figure(f"<b data-moved>{title}</b>", note, changed, css, below),
    ]


def drawing_switch(as_drawn: bool) -> str:
    """Return the switch of what the changed picture shows, and of what the numbers are then.

    The page's script sends a click on.
    """
    buttons = "".join(
        f'<button type="button" data-detail="{detail}" '
        f'aria-pressed="{str((detail == DECODED) == as_drawn).lower()}">{words}</button>'
        for detail, words in DRAWINGS.items()
    )
    switch = f'<div class="gcd-drawing" role="group" aria-label="The change">{buttons}</div>'
    return f'<div class="gcd-detail">{switch}{ASKED_ABOUT if as_drawn else ""}</div>'


def tools(grey: bool) -> str:
    """Return the tools to look closer: zoom, flicker, full screen; for grey pictures the window."""
    return (WINDOW if grey else "") + "".join(
        f'<button type="button" data-do="{name}" title="{title}" aria-label="{title}">{text}'
        "</button>"
        for name, text, title in TOOLS
    )


def original_title(image: OpenImage) -> str:
    """Return the title of the opened image: whether it is synthetic, how networks see it.

    A picture that is shown whole is told with its size; that networks see it squeezed or padded to
    a square is in the tooltip.
    """
    synthetic = image.example is not None and image.service.domain.synthetic_examples
    title = "Original, synthetic" if synthetic else "Original"
    if not image.opened.fitted:
        return title
    how, _, size = image.opened.fitted.partition(" from ")
    whole = image.opened.compositions is not None and image.opened.aspect != 1
    words = f"The networks see it {image.opened.fitted}."
    seen = size.removesuffix(" pixels") if whole else how
    return f'{title}, <abbr title="{escape(words)}">{escape(seen)}</abbr>'


def map_figure(image: OpenImage, kind: str, panel: MapPanel) -> str:
    """Return the map with its scale; before it is there, say that it is on its way."""
    title, waiting = term(kind), WAITING.get(kind, "")
    price = image.maps.price(kind)
    if panel.picture is None and price:
        body = f'<div class="gcd-wait"><p>{escape(price)}</p></div>'
    elif panel.picture is None:
        body = f'<div class="gcd-wait"><span></span>{waiting}</div>'
    else:
        body = image_tag(panel.picture, TERMS[kind].plain)
    return figure(title, panel.caption, body, "map", map_scale(image, kind))


def map_scale(image: OpenImage, kind: str) -> str:
    """Return a map's colours with what they mean, in one line: of evidence, for this change."""
    i, current, positive = image.index, image.sliders.current, label_names(image)[1]
    if kind == "difference":
        words = "<span>green: darker</span><i></i><span>yellow: brighter</span>"
        return f'<div class="scale brightness">{words}</div>'
    if not image.sliders.alphas:
        words = f"<span>against</span><i></i><span>for {escape(positive)}</span>"
    else:
        up = current.probabilities[i] > image.opened.source.probabilities[i]
        words = f"<i></i><span>{escape(map_meaning(positive, up))}</span>"
    return f'<div class="scale">{words}</div>'


def map_panel(image: OpenImage, display: Display) -> MapPanel:
    """Return the chosen map's picture, its caption, and its numbers for the API."""
    heat, alphas = image.maps.get(display.overlay), image.sliders.alphas
    if heat is None:
        return MapPanel(None, "", {})
    if heat.kind == "difference":
        caption = "after minus before"
    elif heat.queries:
        caption = said(f"asked {heat.queries} times", f"{heat.queries} queries")
    elif heat.kind == "bb_lig" and alphas:
        caption = said("on the ", "along ") + line_words(list(alphas))
    else:
        caption = STILL
    palette = BRIGHTNESS if heat.kind == "difference" else EVIDENCE
    picture = drawn(overlay(image.opened.pixels, heat.map, display.opacity, palette))
    return MapPanel(picture, caption, heat.facts)


def line_words(names: Sequence[str]) -> str:
    """Return the directions of a line as HTML: "g + h1" and "main way + way 1"."""
    line = " + ".join(names)
    return said(way_name(line).lower(), escape(line))


# -- numbers to read -------------------------------------------------------------------------------


def readout(image: OpenImage) -> str:
    """Return bars for every label, and the picture's LPIPS to the source."""
    domain, opened, current = image.service.domain, image.opened, image.sliders.current
    rows = [
        (
            *label_names(image, label),
            opened.source.probabilities[i],
            current.probabilities[i],
            label == image.label,
        )
        for i, label in enumerate(domain.labels)
    ]
    questions = [question_of(image, label) for label in domain.labels]
    moved, premises = bool(image.sliders.alphas), [premise_of(image, x) for x in domain.labels]
    bars = charts.bars(rows, domain.labels, moved, questions, premises)
    return (
        f'<div class="gcd-card"><h2>{term("prediction")} <small>before &rarr; after</small></h2>'
        f"{bars}{second_opinion(image)}"
        f'<div class="gcd-number lpips"><span>{term("lpips")}</span>'
        f"<b>{current.distance:.3f}</b></div>{cautions_line(image)}</div>"
    )


def second_opinion(image: OpenImage) -> str:
    """Return what the oracle, a classifier that no search asked, says of the change."""
    first, second, i = image.opened.source.oracle, image.sliders.current.oracle, image.index
    before, after = (None if oracle is None else oracle[i] for oracle in (first, second))
    if before is None:
        return ""
    question = question_of(image)
    now = "&hellip;" if after is None else charts.percent(after, question)
    verdict = opinion_words(opinion_of_flip(image))
    return (
        f'<div class="gcd-number oracle"><span>{term("oracle")} {verdict}</span>'
        f"<b>{charts.number(before, question)} &rarr; {now}</b></div>"
    )


def cautions_line(image: OpenImage) -> str:
    """Return, as HTML, what must be known before a flip means anything; "" if nothing must."""
    return "".join(map(caution, (reconstruction_caution(image), *cautions_of(image))))


def caution(text: str) -> str:
    """Return one warning as HTML; "" of none."""
    return f'<p class="gcd-caution">{told(text)}</p>' if text else ""


def curve_card(image: OpenImage) -> str:
    """Return the curve of classifier and proxy on the line through the current picture."""
    if not image.names:
        return ""
    sliders, alphas = image.sliders, image.sliders.alphas
    proxy, probability = proxy_curve(image), sliders.current.probabilities[image.index]
    at, most = place_on_line(image)
    question = question_of(image)
    plot = charts.curve(
        measured_curve(image),
        proxy,
        (at, probability),
        most,
        label_names(image),
        sliders.moved if len(alphas) < 2 else "",
        question,
    )
    positive = escape(label_names(image)[1])
    name = said(" on the ", " along ") + line_words(list(alphas) or [sliders.moved])
    keys = f'<i class="measured"></i>{term("classifier")}'
    if proxy:
        keys += f'<i class="proxy"></i>{term("proxy")}'
    expected = proxy_here(image, proxy)
    gap = ""
    if expected is not None and abs(expected - probability) >= PROXY_GAP:
        gap = (
            f'<p class="gap">{said("The search", "The proxy")} expected '
            f"{charts.percent(expected, question)} here; the classifier says "
            f"{charts.percent(probability, question)}."
            "</p>"
        )
    return (
        f'<div class="gcd-card"><h2><span>{positive}{name}</span><small>{keys}</small>'
        f"{SAVE}</h2>{plot}{gap}</div>"
    )
