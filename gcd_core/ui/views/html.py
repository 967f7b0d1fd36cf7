"""A session as HTML: pictures, numbers, the curve, and the texts beside the sliders."""

from __future__ import annotations

from html import escape

from torch import Tensor

from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.method.composition import DECODED, SOURCE
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import crosses
from gcd_core.method.prior_search import places_of
from gcd_core.method.repeatability import repeatability_of
from gcd_core.method.verification import tried_of
from gcd_core.method.walk import Path
from gcd_core.report.captions import caption
from gcd_core.ui.frames import shown_names
from gcd_core.ui.session.deep_link import address_of
from gcd_core.ui.session.display import SAME_TONE, Display
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.session import Session
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn, end_thumbnail
from gcd_core.ui.views.exposure import exposure_line
from gcd_core.ui.views.figures import SAVE, figure, image_tag
from gcd_core.ui.views.maps import MapPanel, line_words, map_figure, map_panel
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
from gcd_core.ui.views.vocabulary import explained, opinion_words, said, term, way
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
PROXY_GAP = 0.15  # between the proxy's and the classifier's probability, from which a line says so
DRAWINGS = {
    SOURCE: "In your picture",
    DECODED: "Generator&rsquo;s drawing",
    SAME_TONE: "Brightness kept",
}
KEEPS = (
    ' title="The same change with the original&rsquo;s brightness and contrast; '
    'asks the classifier once"'
)
NUMBERS_ARE_OF = {
    DECODED: "<p>Numbers and map are your picture&rsquo;s, not this drawing&rsquo;s.</p>",
    SAME_TONE: "<p>Bars and map are those of the whole change.</p>",
}


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
    figures = before_and_after(image, display)
    if display.overlay != "none" and image.names:
        figures.append(map_figure(image, display.overlay, panel or map_panel(image, display)))
    count = len(figures)
    sliders = image.sliders
    probability, place = sliders.current.probabilities[image.index], list(sliders.alphas.items())
    about = escape("\n".join(caption(domain, image.label, probability, place)))
    if image.opened.compositions is not None or sliders.alphas:
        figures.append(drawing_switch(image, display))
    if base is not None:
        figures.append(f'<img class="base" src="{drawn(base)}" alt="">')
    return session.sent_pictures.only_new(
        f'<div class="gcd-pictures n{count}" data-side="{image.opened.image.shape[-1]}" '
        f'data-address="{escape(address_of(image))}" '
        f'data-about="{about}" style="--shape: {image.opened.aspect:.4f}">'
        f"{''.join(figures)}</div>"
    )


def base_picture(image: OpenImage, display: Display) -> Tensor | None:
    """Return what the generator draws of the source, (1, C, S, S), where its drawings are shown.

    The page's script puts a film's changes into it. None where the change is shown in the picture
    itself, and where the domain shows nothing but drawings.
    """
    compositions = image.opened.compositions
    return None if compositions is None or display.detail != DECODED else compositions[0].baseline


def shown_detail(image: OpenImage, display: Display) -> str:
    """Return what the changed picture shows now, of `Display.detail`.

    What was chosen, but for a drawing where the domain shows nothing else, and for a kept tone that
    the classifier was not asked about.
    """
    if display.detail == SAME_TONE and image.exposure.get() is None:
        return SOURCE
    if display.detail == DECODED and image.opened.compositions is None:
        return SOURCE
    return display.detail


def before_and_after(image: OpenImage, display: Display) -> list[str]:
    """Return the source and the current picture as two figures, or as one with a divider.

    The current picture is shown in `shown_detail`.
    """
    positive, i, flip = escape(label_names(image)[1]), image.index, flipped(image)
    question, detail = question_of(image), shown_detail(image, display)
    opened, current = image.opened, image.sliders.current
    before, after = opened.source.probabilities[i], current.probabilities[i]
    moved = "counterfactual" if flip else "changed"
    at_rest = "reconstruction" if opened.compositions is None or detail == DECODED else "unchanged"
    title, shown = term(moved if image.sliders.alphas else at_rest), current.picture
    kept = image.exposure.get() if detail == SAME_TONE else None
    if kept is not None:
        after, shown, title = kept.probabilities[i], kept.picture, term("same_tone")
        flip = crosses(before, after)
    elif detail == DECODED and current.decoded is not None:
        shown = current.decoded
    note = f"{positive} {charts.percent(after, question)}"
    missed = missed_target(image)
    css = "changed" + (" flipped" if flip else "") + (" missed" if missed else "")
    below = f'<p class="notice">{escape(missed)}</p>' if missed else ""
    source = image_tag(drawn(opened.pixels), f"the opened {image_name(opened.image)}", "source")
    changed = image_tag(drawn(shown), f"the changed {image_name(opened.image)}")
    told = filter(None, (first_disagreement(image), opened.notice))
    warning = "".join(f'<p class="notice">{escape(sentence)}</p>' for sentence in told)
    if display.view == "slide":
        body = f'{changed}<div class="before">{source}</div>{DIVIDER}'
        return [figure("Before | after", note, body, f"slide {css}", warning + below)]
    own = f"{positive} {charts.percent(before, question)}"
    return [
        figure(original_title(image), own, source, "original", warning),
        figure(f"<b data-moved>{title}</b>", note, changed, css, below),
    ]


def drawing_switch(image: OpenImage, display: Display) -> str:
    """Return the switch of what the changed picture shows, and of what the numbers are then.

    The page's script sends a click on.
    """
    here = shown_detail(image, display)
    choices = dict(DRAWINGS)
    if image.opened.compositions is None:
        choices = {SOURCE: "As changed", SAME_TONE: DRAWINGS[SAME_TONE]}
    if not image.sliders.alphas:
        del choices[SAME_TONE]
    buttons = "".join(
        f'<button type="button" data-detail="{detail}"{KEEPS if detail == SAME_TONE else ""} '
        f'aria-pressed="{str(detail == here).lower()}">{words}</button>'
        for detail, words in choices.items()
    )
    switch = f'<div class="gcd-drawing" role="group" aria-label="The change">{buttons}</div>'
    return f'<div class="gcd-detail">{switch}{NUMBERS_ARE_OF.get(here, "")}</div>'


def tools(grey: bool) -> str:
    """Return the tools to look closer: zoom, flicker, full screen; for grey pictures the window."""
    return (WINDOW if grey else "") + "".join(
        f'<button type="button" data-do="{name}" title="{title}" aria-label="{title}">{text}'
        "</button>"
        for name, text, title in TOOLS
    )


def original_title(image: OpenImage) -> str:
    """Return the title of the opened image: whether it is synthetic, how it was made square."""
    synthetic = image.example is not None and image.service.domain.synthetic_examples
    title = "Original, synthetic" if synthetic else "Original"
    if not image.opened.fitted:
        return title
    words = escape(image.opened.fitted)
    seen = words.split(" from ")[0]
    return f'{title}, <abbr title="{words}">{seen}</abbr>'


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
        f"<b>{current.distance:.3f}</b></div>{exposure_line(image)}{cautions_line(image)}</div>"
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
    return f'<p class="gcd-caution">{escape(text)}</p>' if text else ""


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
    name = line_words(list(alphas) or [sliders.moved])
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
        f'<div class="gcd-card"><h2><span>{positive} along {name}</span><small>{keys}</small>'
        f"{SAVE}</h2>{plot}{gap}</div>"
    )


# -- beside the sliders ----------------------------------------------------------------------------


def heading(session: Session) -> str:
    """Return the text over the sliders: which end is which label, how many paths are ready."""
    negative, positive = label_names(session)
    if not session.names:
        return (
            f'<div class="gcd-heading"><h2>{term("directions")}</h2><div class="gcd-quiet">'
            "There are none for this label yet: search for some in <b>Find directions</b>, or load "
            "a file there.</div></div>"
        )
    used = escape(session.sets.used(session.label))
    state = ""
    if session.image is not None and session.image.paths.ready < session.image.paths.total:
        paths, of = session.image.paths, said("ways", "directions")
        text = f"preparing {paths.ready} of {paths.total} {of}{after_others(*paths.before)}"
        state = f'<small class="busy"><span>{text}</span></small>'
    return (
        f'<div class="gcd-heading"><h2>{term("directions")} <span class="set">{used}</span>{state}'
        "</h2>"
        f'<p>At its ends: <i class="no"></i>{escape(negative)} <i class="yes"></i>'
        f"{escape(positive)}</p></div>"
    )


def after_others(count: int, seconds: float | None) -> str:
    """Say how many paths of others come first, and how long they take; "" for one or none."""
    if count < 2:
        return ""
    wait = "" if seconds is None else f", about {duration(seconds)}"
    return f"; {count} of other visitors&rsquo; first{wait}"


def ways_line(session: Session) -> str:
    """Return the text over the sliders of the directions by place, or of independent ways.

    Sets of earlier searches have the latter: these do not tell a place. "" where none is shown.
    """
    shown = [name for name in session.names if name not in session.weak_directions]
    if not any(name.startswith("w") for name in shown):
        return ""
    placed = places_of(session.directions.metadata)
    title, text = "ways", "Each flips by what no other has."
    if placed:
        title, text = "places", "Each changes one quarter of the picture most."
    return f'<div class="gcd-ways"><h2>{term(title)}</h2><p>{text}</p></div>'


def told_of_g(found: DirectionSet) -> str:
    """Return what is known of g: the examples it flips, and whether another search would agree."""
    tried, confidence = tried_of(found.metadata).get("g"), repeatability_of(found)
    sentences = [f"{tried.sentence}."] if tried else []
    if confidence:
        sentences.append(confidence.sentence)
    level = confidence.level if confidence else ""
    text = escape(" ".join(sentences))
    return f'<p class="gcd-confidence {level}">{text}</p>' if sentences else ""


def tried_list(found: DirectionSet | None) -> str:
    """Return what each direction of a set did to examples; "" where that was not tried."""
    if found is None:
        return ""
    tried, placed = tried_of(found.metadata), places_of(found.metadata)
    names = [name for name in shown_names(found) if name in tried]
    if not names:
        return ""
    judged = any(tried[name].agreed is not None for name in names)
    head = f"<th>Tried on {tried[names[0]].n} examples</th><th>flip</th>"
    rows = [head + ("<th>second opinion follows</th>" if judged else "")]
    for name in names:
        one, place = tried[name], placed.get(name, "")
        cells = [way(name, place) + said("", f" {place}" if place else ""), str(one.flipped)]
        if judged:
            cells.append("" if one.agreed is None else str(one.agreed))
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    linear, line = found.metadata.get("figures", {}).get("explained"), ""
    if type(linear) is float:
        share = charts.percent(linear)
        line = f'<p class="gcd-info">One straight slope explains {share} of the answers.</p>'
    return f'<table class="gcd-tried">{table}</table>{line}'


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
    here = f" \N{MIDDLE DOT} {flips} flip{'s' if flips == 1 else ''} here" if flips else ""
    ending = "s" if count == 1 else ""
    tried = tried_of(session.directions.metadata)
    what = f"hardly move{ending} this classifier"
    if tried:
        least, most = (end(tried[name].flipped for name in weak) for end in (min, max))
        counts = f"{most}" if least == most else f"{least} to {most}"
        what = f"flip{ending} only {counts} of {tried[weak[0]].n} examples"
    return (
        '<button type="button" class="gcd-fold" aria-expanded="false">'
        f"{count} more {what}{here}</button>"
    )


def direction_title(directions: DirectionSet, name: str, path: Path | None) -> str:
    """Return a direction's name, the alpha of its nearest flip, and how many examples it flips.

    The second is there once the direction's path is decoded, the third where that was tried.
    """
    title = way(name, places_of(directions.metadata).get(name, ""))
    one = tried_of(directions.metadata).get(name)
    examples = ""
    if one is not None:
        share = explained(f"{one.flipped}/{one.n}", f"{one.sentence}.")
        examples = f'<small class="tried">{said("", share)}</small>'
    if path is None:
        return f"<b>{title}</b>{examples}"
    if not path.any_flip:
        return f'<b data-flips="no">{title}</b><small>no flip</small>{examples}'
    alphas = path.alphas[path.is_flipped]
    first = signed(float(alphas[alphas.abs().argmin()]))
    flips = '<span class="flips">flips </span>'
    return f"<b>{title}</b><small>{said('', flips)}from {first}</small>{examples}"


def end_picture(
    names: tuple[str, str], path: Path | None, end: int, question: Question = PLAIN
) -> str:
    """Return the thumbnail of one end of a direction.

    Parameters
    ----------
    names : (str, str)
        The label's negative and positive name.
    path : Path or None
        None before it is decoded.
    end : {0, -1}
        The first picture of the path or its last.
    question : Question
        In whose scale its probability is told.
    """
    if path is None:
        return '<span class="gcd-thumb waiting"></span>'
    predicted = float(path.probabilities[end]) >= path.threshold
    side = f"{names[predicted]} at alpha {signed(float(path.alphas[end]))}"
    picture = end_thumbnail(path.images, end)
    probability = charts.number(float(path.probabilities[end]), question)
    return (
        f'<span class="gcd-thumb {"yes" if predicted else "no"}"><img src="{picture}" '
        f'alt="{escape(side)}" title="{escape(side)}"><b>{probability}</b></span>'
    )
