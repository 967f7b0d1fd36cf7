"""A session as HTML: pictures, numbers to read, the curve, and what stands beside the sliders."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

from torch import Tensor

from gcd_core.images.drawing import overlay
from gcd_core.method.attribution import Attribution
from gcd_core.method.cells import CellAttribution
from gcd_core.report.captions import caption
from gcd_core.ui.frames import Frame, Opened
from gcd_core.ui.session.deep_link import address_of
from gcd_core.ui.session.session import Session
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn, end_thumbnail
from gcd_core.ui.views.payload import (
    cautions_of,
    flipped,
    label_names,
    measured_curve,
    oracle_follows,
    place_on_line,
    proxy_curve,
    proxy_here,
    reconstruction_caution,
    ways_found,
)
from gcd_core.ui.views.vocabulary import TERMS, plain_way, said, term, way
from gcd_core.wording import duration, signed

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
TOOLS = (  # what the page's script does, the sign, and what it is called
    (
        "region",
        '<svg viewBox="0 0 14 14" aria-hidden="true"><path d="M2 12l1-3 7-7 2 2-7 7-3 1z"/></svg>',
        "Paint a region, and try whether it alone changes the answer",
    ),
    ("flicker", "\N{LEFT RIGHT ARROW}", "Before and after in turn (key F); hold B for before"),
    ("closer", "+", "Closer (wheel or pinch; drag to move)"),
    ("farther", "\N{MINUS SIGN}", "Farther"),
    ("whole", "1:1", "The whole picture (double click)"),
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
PROXY_GAP = 0.15  # between the proxy's probability and the classifier's, from which on it is said
ONE_WAY = (
    "This classifier knows one way: as far as the search&rsquo;s proxy sees, no direction "
    "independent of g flips it."
)
STILL = "nothing moved yet"
WAITING = {"bb_lig": "following the direction", "cells": "asking the classifier"}


class MapPanel(NamedTuple):
    """The map panel.

    Attributes
    ----------
    picture : str or None
        The map over the source as a data address; None while it is still to come.
    caption : str
        As HTML.
    numbers : dict
        What machines read of it.
    """

    picture: str | None
    caption: str
    numbers: dict[str, Any]


def image_tag(address: str, alt: str, css: str = "") -> str:
    """A picture with words for those who do not see it."""
    named = f' class="{css}"' if css else ""
    return f'<img{named} src="{address}" alt="{escape(alt)}" decoding="sync" draggable="false">'


def figure(title: str, note: str, body: str, css: str = "", below: str = "") -> str:
    """A framed picture over its title and a note, and what is below them; all are HTML already."""
    title = title if title.startswith("<b") else f"<b>{title}</b>"
    return (
        f'<figure class="{css}"><div class="frame">{body}</div>'
        f'<figcaption>{title}<span class="note">{note}</span>{SAVE}</figcaption>{below}</figure>'
    )


def image_name(image: Tensor) -> str:
    """What to call an image (..., C, H, W): a grey one is taken for a radiograph."""
    return "radiograph" if image.shape[-3] == 1 else "image"


# -- pictures --------------------------------------------------------------------------------------


def pictures(session: Session, panel: MapPanel | None = None) -> str:
    """Original, counterfactual and map: side by side, or the first two under a divider.

    Pictures that the visitor's page was sent before are named by their keys.

    Parameters
    ----------
    session : Session
    panel : MapPanel, optional
        The map, where it is drawn already.
    """
    opened, current = session.opened, session.current
    if opened is None or current is None:
        grey = session.service.domain.generator.channels == 1
        return f'<p class="gcd-quiet">Open {"a radiograph" if grey else "an image"} to begin.</p>'
    figures = before_and_after(session, opened, current, session.display.view)
    if session.display.overlay != "none" and session.directions is not None:
        figures.append(map_figure(session, panel or map_panel(session)))
    address = escape(address_of(session))
    place = list(session.alphas.items())
    probability = current.probabilities[session.index]
    domain = session.service.domain
    about = escape("\n".join(caption(domain, session.label, probability, place)))
    return session.sent_pictures.only_new(
        f'<div class="gcd-pictures n{len(figures)}" data-address="{address}" '
        f'data-about="{about}" style="--shape: {opened.aspect:.4f}">'
        f"{''.join(figures)}</div>"
    )


def before_and_after(session: Session, opened: Opened, current: Frame, view: str) -> list[str]:
    """The source and what became of it: two figures, or one with a divider."""
    positive, i, flip = escape(label_names(session)[1]), session.index, flipped(session)

    def verdict(frame: Frame) -> str:
        return f"{positive} {charts.percent(frame.probabilities[i])}"

    moved = "counterfactual" if flip else "changed"
    title, note = term(moved if session.alphas else "reconstruction"), verdict(current)
    css = "changed flipped" if flip else "changed"
    source = image_tag(drawn(opened.image), f"the opened {image_name(opened.image)}", "source")
    changed = image_tag(drawn(current.image), f"the changed {image_name(opened.image)}")
    warning = f'<p class="notice">{escape(opened.notice)}</p>' if opened.notice else ""
    if view == "slide":
        body = f'{changed}<div class="before">{source}</div>{DIVIDER}'
        return [figure("Before | after", note, body, f"slide {css}", warning)]
    return [
        figure(original_title(opened), verdict(opened.source), source, "original", warning),
        figure(f"<b data-moved>{title}</b>", note, changed, css),
    ]


def tools(grey: bool) -> str:
    """What one looks closer with: zoom, flicker, full screen; of grey pictures the window too."""
    return (WINDOW if grey else "") + "".join(
        f'<button type="button" data-do="{name}" title="{title}" aria-label="{title}">{text}'
        "</button>"
        for name, text, title in TOOLS
    )


def original_title(opened: Opened) -> str:
    """What the opened image is called: where its shape was changed, how."""
    if not opened.fitted:
        return "Original"
    words = escape(opened.fitted)
    return f'Original, <abbr title="{words}">{words.split(" from ")[0]}</abbr>'


def map_figure(session: Session, panel: MapPanel) -> str:
    """The map with its scale, or that it is on its way."""
    kind = session.display.overlay
    title, waiting = term(kind), WAITING.get(kind, "")
    low, high = "darker", "brighter"
    if waiting:
        low, high = "against", f"for {escape(label_names(session)[1])}"
    price = session.price(kind)
    if panel.picture is None and price:
        body = f'<div class="gcd-wait"><p>{escape(price)}</p></div>'
    elif panel.picture is None:
        body = f'<div class="gcd-wait"><span></span>{waiting}</div>'
    else:
        body = image_tag(panel.picture, TERMS[kind].expert)
    scale = f'<div class="scale"><span>{low}</span><i></i><span>{high}</span></div>'
    return figure(title, panel.caption, body, "map", scale)


def map_panel(session: Session) -> MapPanel:
    """The chosen map: its picture, its caption, and its numbers for machines."""
    display = session.display
    opened, heat = session.opened, session.heat(display.overlay)
    if opened is None or heat is None:
        return MapPanel(None, "", {})
    if isinstance(heat, CellAttribution):
        cells = {"queries": heat.queries, "completeness_error": heat.completeness_error}
        caption = f"{heat.queries} queries" if heat.queries else STILL
        return MapPanel(drawn(overlay(opened.image, heat.map, display.opacity)), caption, cells)
    if not isinstance(heat, Attribution):
        picture = drawn(overlay(opened.image, heat, display.opacity))
        return MapPanel(picture, "after minus before", {})
    numbers = {
        "baseline_probability": float(heat.baseline_probability),
        "reached": bool(heat.reached),
        "completeness_error": float(heat.completeness_error),
    }
    picture = drawn(overlay(opened.image, heat.map, display.opacity))
    caption = f"along {line_words(list(session.alphas))}" if session.alphas else STILL
    return MapPanel(picture, caption, numbers)


def line_words(names: Sequence[str]) -> str:
    """What a line is along, as HTML: "g + h1"."""
    plain = " + ".join(plain_way(name).lower() for name in names)
    return said(plain, escape(" + ".join(names)))


# -- numbers to read -------------------------------------------------------------------------------


def readout(session: Session) -> str:
    """Bars for every label, and how far the picture is from the source."""
    opened, current = session.opened, session.current
    if opened is None or current is None:
        return ""
    domain = session.service.domain
    rows = [
        (
            *label_names(session, label),
            opened.source.probabilities[i],
            current.probabilities[i],
            label == session.label,
        )
        for i, label in enumerate(domain.labels)
    ]
    return (
        f'<div class="gcd-card"><h2>{term("prediction")} <small>before &rarr; after</small></h2>'
        f"{charts.bars(rows, domain.labels, bool(session.alphas))}{second_opinion(session)}"
        f'<div class="gcd-number lpips"><span>{term("lpips")}</span>'
        f"<b>{current.distance:.3f}</b></div>{cautions_line(session)}</div>"
    )


def second_opinion(session: Session) -> str:
    """What the oracle, a classifier that no search asked, says of the change."""
    opened, current, i = session.opened, session.current, session.index
    if opened is None or current is None or opened.source.oracle is None:
        return ""
    before = opened.source.oracle[i]
    if before is None:
        return ""
    after = None if current.oracle is None else current.oracle[i]
    now = "&hellip;" if after is None else charts.percent(after)
    follows = oracle_follows(session)
    verdict = ""
    if follows is not None:
        verdict = " <em>flips too</em>" if follows else ' <em class="not">does not follow</em>'
    return (
        f'<div class="gcd-number oracle"><span>{term("oracle")}{verdict}</span>'
        f"<b>{charts.percent(before)} &rarr; {now}</b></div>"
    )


def cautions_line(session: Session) -> str:
    """What must be known before a flip means anything, as HTML; nothing where nothing must."""
    told = "".join(f'<p class="gcd-caution">{escape(text)}</p>' for text in cautions_of(session))
    return reconstruction_line(session) + told


def reconstruction_line(session: Session) -> str:
    """What must be known of the image's reconstruction before anything else, if there is such."""
    told = reconstruction_caution(session)
    return f'<p class="gcd-caution">{escape(told)}</p>' if told else ""


def curve_card(session: Session) -> str:
    """The probability on the line through the current picture, and what the proxy makes of it."""
    current = session.current
    if session.opened is None or current is None or session.directions is None:
        return ""
    proxy, probability = proxy_curve(session), current.probabilities[session.index]
    at, most = place_on_line(session)
    plot = charts.curve(
        measured_curve(session),
        proxy,
        (at, probability),
        most,
        label_names(session),
        session.moved if len(session.alphas) < 2 else "",
    )
    positive = escape(label_names(session)[1])
    name = line_words(list(session.alphas) or [session.moved])
    keys = f'<i class="measured"></i>{term("classifier")}'
    if proxy:
        keys += f'<i class="proxy"></i>{term("proxy")}'
    expected = proxy_here(session, proxy)
    gap = ""
    if expected is not None and abs(expected - probability) >= PROXY_GAP:
        gap = (
            f'<p class="gap">{said("The search", "The proxy")} expected '
            f"{charts.percent(expected)} here; the classifier says {charts.percent(probability)}."
            "</p>"
        )
    return (
        f'<div class="gcd-card"><h2><span>{positive} along {name}</span><small>{keys}</small>'
        f"{SAVE}</h2>{plot}{gap}</div>"
    )


# -- beside the sliders ----------------------------------------------------------------------------


def heading(session: Session) -> str:
    """What stands over the sliders: which way is which, and how many paths are ready."""
    negative, positive = label_names(session)
    if session.directions is None:
        return (
            f'<div class="gcd-heading"><h2>{term("directions")}</h2><div class="gcd-quiet">'
            "There are none for this label yet: search for some in <b>Find directions</b>, or load "
            "a file there.</div></div>"
        )
    paths = session.paths
    used = escape(session.sets.used(session.label))
    state = ""
    if paths is not None and paths.ready < paths.total:
        of = said("ways", "directions")
        text = f"preparing {paths.ready} of {paths.total} {of}{after_others(*paths.before)}"
        state = f'<small class="busy"><span>{text}</span></small>'
    return (
        f'<div class="gcd-heading"><h2>{term("directions")} <span class="set">{used}</span>{state}'
        "</h2>"
        f'<p>At its ends: <i class="no"></i>{escape(negative)} <i class="yes"></i>'
        f"{escape(positive)}</p></div>"
    )


def after_others(count: int, seconds: float | None) -> str:
    """How many of others' paths come before, and how long that takes; nothing of one or none."""
    if count < 2:
        return ""
    wait = "" if seconds is None else f", about {duration(seconds)}"
    return f"; {count} of other visitors&rsquo; first{wait}"


def ways_line(session: Session) -> str:
    """What stands over the ways' sliders: what they are, and whether the search saw all it wanted.

    Nothing where no way was looked for and none is there to see.
    """
    if session.directions is None:
        return ""
    wanted, found = ways_found(session.directions)
    parts = []
    if any(name.startswith("w") for name in session.names if name not in session.folded):
        parts.append(f"<h2>{term('ways')}</h2><p>Each flips by what no other has.</p>")
    if not found and wanted > 0:
        parts.append(f"<p>{ONE_WAY}</p>")
    elif found < wanted:
        were = "independent way was" if found == 1 else "independent ways were"
        parts.append(f"<p>{found} {were} found; the search saw no further one.</p>")
    return f'<div class="gcd-ways">{"".join(parts)}</div>' if parts else ""


def fold_line(session: Session) -> str:
    """The line that directions which hardly move the classifier are folded away under.

    It says how many of them flip the opened image all the same, once their paths are decoded.
    """
    if not session.folded:
        return ""
    count = len(session.folded)
    paths = [session.path(name) for name in session.folded]
    flips = sum(path is not None and path.any_flip for path in paths)
    here = f" \N{MIDDLE DOT} {flips} flip{'s' if flips == 1 else ''} here" if flips else ""
    return (
        '<button type="button" class="gcd-fold" aria-expanded="false">'
        f"{count} more hardly move{'s' if count == 1 else ''} this classifier{here}</button>"
    )


def direction_title(session: Session, name: str | None) -> str:
    """What stands over a slider: the direction's name, and where the prediction flips first."""
    if name is None:
        return ""
    path = session.path(name)
    if path is None:
        return f"<b>{way(name)}</b>"
    if not path.any_flip:
        return f'<b data-flips="no">{way(name)}</b><small>no flip</small>'
    alphas = path.alphas[path.is_flipped]
    first = signed(float(alphas[alphas.abs().argmin()]))
    flips = '<span class="flips">flips </span>'
    return f"<b>{way(name)}</b><small>{said('', flips)}from {first}</small>"


def end_picture(session: Session, name: str | None, end: int) -> str:
    """The thumbnail of one end of a direction: 0 for its first picture, -1 for its last."""
    path = None if name is None else session.path(name)
    if path is None:
        return '<span class="gcd-thumb waiting"></span>'
    predicted = float(path.probabilities[end]) >= path.threshold
    negative, positive = label_names(session)
    side = f"{positive if predicted else negative} at alpha {signed(float(path.alphas[end]))}"
    picture = end_thumbnail(path.images, end)
    probability = charts.percent(float(path.probabilities[end]))
    return (
        f'<span class="gcd-thumb {"yes" if predicted else "no"}"><img src="{picture}" '
        f'alt="{escape(side)}" title="{escape(side)}"><b>{probability}</b></span>'
    )
