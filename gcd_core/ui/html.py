"""A session as HTML: pictures, numbers to read, the curve, and what stands beside the sliders."""

from __future__ import annotations

from html import escape
from typing import Any, NamedTuple

from torch import Tensor

from gcd_core.images.drawing import overlay
from gcd_core.method.attribution import Attribution
from gcd_core.method.cells import CellAttribution
from gcd_core.ui import charts
from gcd_core.ui.addresses import drawn, end_thumbnail
from gcd_core.ui.numbers import (
    cautions_of,
    flipped,
    label_names,
    line_name,
    measured_curve,
    oracle_follows,
    place_on_line,
    proxy_curve,
    proxy_here,
    reconstruction_flips,
    ways_found,
)
from gcd_core.ui.state.frames import Frame, Opened
from gcd_core.ui.state.session import Session
from gcd_core.ui.whereabouts import address_of
from gcd_core.wording import signed

DIVIDER = (
    '<input type="range" class="gcd-divider" min="0" max="100" value="50" '
    'aria-label="Divider between original and changed"><i></i>'
)
ORACLE = "Another classifier, which no search ever asks"
GAP = 0.15  # between the proxy's probability and the classifier's, from which on it is said
ONE_WAY = (
    "This classifier knows one way: as far as the search&rsquo;s proxy sees, no direction "
    "independent of g flips it."
)
STILL = "nothing moved yet"
ATTRIBUTIONS = {  # title, and what is said while one waits
    "bb_lig": ("BB-LIG heat map", "following the direction"),
    "cells": ("Cells", "asking the classifier"),
}


class Display(NamedTuple):
    """How a visitor chose to see the pictures.

    Attributes
    ----------
    overlay : str
        The map: "bb_lig", "cells", "difference" or "none".
    opacity : float
        Of the map over the picture, in [0, 1].
    view : str
        "side": side by side; "slide": before and after under a divider.
    """

    overlay: str
    opacity: float
    view: str


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


def figure(title: str, note: str, body: str, css: str = "") -> str:
    """A framed picture over its title and a note; all are HTML already."""
    title = title if title.startswith("<b") else f"<b>{title}</b>"
    return (
        f'<figure class="{css}"><div class="frame">{body}</div>'
        f"<figcaption>{title}<span>{note}</span></figcaption></figure>"
    )


def image_name(image: Tensor) -> str:
    """What to call an image (..., C, H, W): a grey one is taken for a radiograph."""
    return "radiograph" if image.shape[-3] == 1 else "image"


# -- pictures --------------------------------------------------------------------------------------


def pictures(session: Session, display: Display, sweep: str | None = None) -> str:
    """Original, counterfactual and map: side by side, or the first two under a divider.

    Parameters
    ----------
    session : Session
    display : Display
    sweep : str or None
        The address of an animation to show in the changed picture's place.
    """
    opened, current = session.opened, session.current
    if opened is None or current is None:
        grey = session.explorer.domain.generator.channels == 1
        return f'<p class="gcd-quiet">Open {"a radiograph" if grey else "an image"} to begin.</p>'
    figures = before_and_after(session, opened, current, display.view, sweep)
    if display.overlay != "none" and session.directions is not None:
        figures.append(map_figure(session, display))
    address = escape(address_of(session))
    return (
        f'<div class="gcd-pictures n{len(figures)}" data-address="{address}">'
        f"{''.join(figures)}</div>"
    )


def before_and_after(
    session: Session, opened: Opened, current: Frame, view: str, sweep: str | None
) -> list[str]:
    """The source and what became of it: two figures, or one with a divider."""
    positive, i, flip = escape(label_names(session)[1]), session.index, flipped(session)

    def verdict(frame: Frame) -> str:
        return f"{positive} {charts.percent(frame.probabilities[i])}"

    if sweep is not None:
        title, note = "Sweep", f"along {session.moved}"
    else:
        moved = "Counterfactual" if flip else "Changed"
        title, note = moved if session.alphas else "Reconstruction", verdict(current)
    css = "changed flipped" if flip and sweep is None else "changed"
    source = image_tag(drawn(opened.image), f"the opened {image_name(opened.image)}", "source")
    changed = image_tag(sweep or drawn(current.image), f"the changed {image_name(opened.image)}")
    warning = f'<div class="notice">{escape(opened.notice)}</div>' if opened.notice else ""
    if view == "slide":
        body = f'{changed}<div class="before">{source}</div>{DIVIDER}{warning}'
        return [figure("Before | after", note, body, f"slide {css}")]
    return [
        figure(original_title(opened), verdict(opened.source), source + warning),
        figure(f"<b data-moved>{title}</b>", note, changed, css),
    ]


def original_title(opened: Opened) -> str:
    """What the opened image is called: where its shape was changed, how."""
    if not opened.fitted:
        return "Original"
    words = escape(opened.fitted)
    return f'Original, <abbr title="{words}">{words.split(" from ")[0]}</abbr>'


def map_figure(session: Session, display: Display) -> str:
    """The map with its scale, or that it is on its way."""
    panel = map_panel(session, display)
    if display.overlay in ATTRIBUTIONS:
        title, waiting = ATTRIBUTIONS[display.overlay]
        low, high = "against", f"for {escape(label_names(session)[1])}"
    else:
        title, waiting, low, high = "Difference", "", "darker", "brighter"
    price = session.price(display.overlay)
    if panel.picture is None and price:
        body = f'<div class="gcd-wait"><p>{escape(price)}</p></div>'
    elif panel.picture is None:
        body = f'<div class="gcd-wait"><span></span>{waiting}</div>'
    else:
        scale = f'<div class="scale"><span>{low}</span><i></i><span>{high}</span></div>'
        body = image_tag(panel.picture, title) + scale
    return figure(title, panel.caption, body, "map")


def map_panel(session: Session, display: Display) -> MapPanel:
    """The chosen map: its picture, its caption, and its numbers for machines."""
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
    caption = f"along {escape(line_name(session))}" if session.alphas else STILL
    return MapPanel(picture, caption, numbers)


# -- numbers to read -------------------------------------------------------------------------------


def readout(session: Session) -> str:
    """Bars for every label, and how far the picture is from the source."""
    opened, current = session.opened, session.current
    if opened is None or current is None:
        return ""
    domain = session.explorer.domain
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
        '<div class="gcd-card"><h3>Prediction <small>before &rarr; after</small></h3>'
        f"{charts.bars(rows, domain.labels, bool(session.alphas))}{second_opinion(session)}"
        '<div class="gcd-number lpips"><span>Perceptual change (LPIPS)</span>'
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
        f'<div class="gcd-number oracle"><span title="{ORACLE}">Second opinion{verdict}</span>'
        f"<b>{charts.percent(before)} &rarr; {now}</b></div>"
    )


def cautions_line(session: Session) -> str:
    """What must be known before a flip means anything, as HTML; nothing where nothing must."""
    told = "".join(f'<p class="gcd-caution">{escape(text)}</p>' for text in cautions_of(session))
    return reconstruction_line(session) + told


def reconstruction_line(session: Session) -> str:
    """That the classifier takes the image for another once it was encoded and decoded, if so."""
    if not reconstruction_flips(session):
        return ""
    return (
        '<p class="gcd-caution">The reconstruction alone already changes the answer: this '
        "generator does not draw what the classifier saw.</p>"
    )


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
    positive, name = escape(label_names(session)[1]), escape(line_name(session))
    keys = '<i class="measured"></i>classifier'
    if proxy:
        keys += '<i class="proxy"></i>proxy'
    expected = proxy_here(session, proxy)
    gap = ""
    if expected is not None and abs(expected - probability) >= GAP:
        gap = (
            f'<p class="gap">The proxy expected {charts.percent(expected)} here; the classifier '
            f"says {charts.percent(probability)}.</p>"
        )
    return (
        f'<div class="gcd-card"><h3>{positive} along {name}<small>{keys}</small></h3>'
        f"{plot}{gap}</div>"
    )


# -- beside the sliders ----------------------------------------------------------------------------


def heading(session: Session) -> str:
    """What stands over the sliders: which way is which, and how many paths are ready."""
    negative, positive = label_names(session)
    if session.directions is None:
        return (
            '<div class="gcd-heading"><h3>Directions</h3><div class="gcd-quiet">There are none for '
            "this label yet: search for some in <b>Find directions</b>, or load a file there."
            "</div></div>"
        )
    paths = session.paths
    used = escape(session.sets.used(session.label))
    state = ""
    if paths is not None and paths.ready < paths.total:
        state = f'<small class="busy">preparing {paths.ready} of {paths.total}</small>'
    return (
        f'<div class="gcd-heading"><h3>Directions <span class="set">{used}</span>{state}</h3>'
        f'<p>At its ends: <i class="no"></i>{escape(negative)} <i class="yes"></i>'
        f"{escape(positive)}</p></div>"
    )


def ways_line(session: Session) -> str:
    """What stands over the ways' sliders: what they are, and whether the search saw all it wanted.

    Nothing where no way was looked for and none is there to see.
    """
    if session.directions is None:
        return ""
    wanted, found = ways_found(session.directions)
    parts = []
    if any(name.startswith("w") for name in session.names if name not in session.folded):
        parts.append("<h3>Independent ways</h3><p>Each flips by what no other has.</p>")
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
    flips = sum(path is not None and bool(path.flipped) for path in paths)
    here = f" \N{MIDDLE DOT} {flips} flip{'s' if flips == 1 else ''} here" if flips else ""
    return (
        '<button type="button" class="gcd-fold" aria-expanded="false">'
        f"{count} more hardly move{'s' if count == 1 else ''} this classifier{here}</button>"
    )


def direction_title(session: Session, name: str) -> str:
    """A slider's label: the direction's name, and where the prediction flips first."""
    path = session.path(name)
    if path is None:
        return name
    if not path.flipped:
        return f"{name} \N{MIDDLE DOT} no flip"
    alphas = path.alphas[path.is_flipped]
    return f"{name} \N{MIDDLE DOT} flips from {signed(float(alphas[alphas.abs().argmin()]))}"


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
