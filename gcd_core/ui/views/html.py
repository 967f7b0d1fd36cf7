"""A session as HTML: pictures, numbers, the curve, and the texts beside the sliders."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from torch import Tensor

from gcd_core.method.composition import DECODED, SOURCE
from gcd_core.method.loss import THRESHOLD, crosses
from gcd_core.method.second_opinion import DISAGREED, STAYS
from gcd_core.report.captions import caption, only_for_words
from gcd_core.ui.session.deep_link import address_of
from gcd_core.ui.session.display import SAME_TONE, Display
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.session import Session
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.exposure import (
    exposure_caution,
    exposure_is_asked,
    exposure_line,
    flip_is_doubtful,
    flips_without,
)
from gcd_core.ui.views.figures import figure, image_tag
from gcd_core.ui.views.maps import MapPanel, map_figure, map_panel
from gcd_core.ui.views.payload import (
    cautions_of,
    crossed,
    first_disagreement,
    flip_clause,
    flip_sentence,
    flipped,
    is_unlike,
    label_cautions,
    label_names,
    missed_in_short,
    missed_target,
    moves_alone,
    opinion_of_flip,
    other_cautions,
    other_sentence,
    premise_missing,
    premise_of,
    question_of,
    reconstruction_caution,
    reconstruction_flips,
    takes_premise,
)
from gcd_core.ui.views.vocabulary import explained, opinion_words, said, term, told
from gcd_core.wording import PLAIN, VOCABULARIES, Worded, joined, percent_of_all, worded

TWO_LINES = 78  # letters, behind the card's title
NOT_FLIPPED = Worded(
    "Its flip is shown when it is asked for only: press To flip.",
    "Its flip is shown when it is asked for only: press Flip.",
)
CHECKING = "Green once it is known that it flips without its change of brightness, too."
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
DRAWINGS = {
    SOURCE: "In your picture",
    DECODED: "Generator&rsquo;s",
    SAME_TONE: "Brightness kept",
}
MEANT = {
    DECODED: "The picture as the generator draws it. Bars, curve and map are your picture&rsquo;s",
    SAME_TONE: "The same change without what one {} for the whole picture explains; asks the "
    "classifier once. Bars, target and map are those of the whole change",
}
CURVES = {1: "brightness curve", 3: "curve each for red, green and blue"}  # by channels
NUMBERS_ARE_OF = {
    DECODED: "<p>Numbers, curve and map: of your picture.</p>",
    SAME_TONE: "<p>Numbers and map: of the whole change.</p>",
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
    told_below = domain, image.label, probability, place
    about, plain = (
        escape("\n".join(caption(*told_below, words, image.directions)))
        for words in VOCABULARIES[::-1]
    )
    if image.opened.compositions is not None or sliders.alphas:
        figures.append(drawing_switch(image, display))
    if base is not None:
        figures.append(f'<img class="base" src="{drawn(base)}" alt="">')
    return session.sent_pictures.only_new(
        f'<div class="gcd-pictures n{count}" data-side="{image.opened.image.shape[-1]}" '
        f'data-address="{escape(address_of(image))}"{flip_shown(image)} '
        f"{'data-far ' if image.is_far else ''}"
        f'data-name="{escape(image.opened.name)}" '
        f'data-about="{about}" data-plain-about="{plain}" '
        f'style="--shape: {image.opened.aspect:.4f}">'
        f"{''.join(figures)}</div>"
    )


def flip_shown(image: OpenImage) -> str:
    """Return, as an attribute, the direction whose *To flip* led here, for the page's script."""
    sliders = image.sliders
    if sliders.target is None or len(sliders.alphas) != 1:
        return ""
    return f' data-flip="{escape(sliders.moved)}"'


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
    unasked = "voided" if takes_premise(image) else "unasked"
    moved = "counterfactual" if flip else unasked if crossed(image) else "changed"
    at_rest = "reconstruction" if opened.compositions is None or detail == DECODED else "unchanged"
    title, shown = term(moved if image.sliders.alphas else at_rest), current.picture
    kept = image.exposure.get() if detail == SAME_TONE else None
    if kept is not None:
        grey = opened.image.shape[-3] == 1
        after, shown = kept.probabilities[i], kept.picture
        title = term("same_tone" if grey else "same_colour")
        flip = crosses(before, after) and not premise_missing(image)
    percent = charts.roughly if current.live and kept is None else charts.percent
    answer = positive  # one picture over the other: what it was before stands here too
    if display.view == "slide":
        answer += f" {charts.percent(before, question)} \N{RIGHTWARDS ARROW}"
    note = answer_note(answer, percent(after, question))
    drawing = current.decoded if kept is None and detail == DECODED else None
    if drawing is not None:
        shown, note = drawing, answer_to_drawing(image)
        if image.sliders.alphas and opened.compositions is not None:
            title = term("drawing")
    moving = " data-moved" if drawing is None else ""
    missed = missed_target(image)
    doubts = flip_doubts(image, kept is not None) if flip else None
    css = "changed" + (" flipped" if flip else "") + (" missed" if missed else "")
    css += " kept" if kept is not None else ""
    css += " doubtful" if doubts else ""
    if doubts and kept is None and detail != DECODED:  # why it is amber
        why = worded(doubts.whole, PLAIN)
        note = answer_note(answer, percent(after, question), why)
    elif flip and kept is None and detail != DECODED and exposure_is_asked(image):
        css += " checking"
        note = answer_note(answer, percent(after, question), CHECKING)
    below = missed_notice(image, missed) if missed and kept is None else ""
    source = image_tag(drawn(opened.pixels), f"the opened {image_name(opened.image)}", "source")
    changed = image_tag(drawn(shown), f"the changed {image_name(opened.image)}")
    warning = original_notices(image)
    if display.view == "slide":
        body = f'{changed}<div class="before">{source}</div>{DIVIDER}'
        return [figure("Before | after", note, body, f"slide {css}", warning + below)]
    own = answer_note(positive, charts.percent(before, question))
    return [
        figure(original_title(image), own, source, "original", warning),
        figure(f"<b{moving}>{title}</b>", note, changed, css, below),
    ]


class Doubts(NamedTuple):
    """Why a flip's frame is amber: in a few words, and whole."""

    short: str
    whole: str


DOUBTED_BY = {
    STAYS: Doubts("the second opinion stays", "Another classifier does not follow this change."),
    DISAGREED: Doubts(
        "the second opinion disagreed before",
        "Another classifier saw the original otherwise; so it says nothing about this change.",
    ),
}


def flip_doubts(image: OpenImage, tone_kept: bool = False) -> Doubts | None:
    """Return why a flip is not to be relied on, the gravest reason alone; None where none is known.

    With the source's tone kept the change holds no brightness or contrast to doubt.
    """
    if unseen := reconstruction_caution(image):
        moves = "changes" if reconstruction_flips(image) else "moves"
        return Doubts(f"drawing it again {moves} the answer", unseen)
    if is_unlike(image):
        whole = "The picture is unlike those that the classifier is for."
        return Doubts("unlike the pictures that it is for", whole)
    if not tone_kept and flip_is_doubtful(image):
        short = f"{percent_of_all(image.exposure.share)} of it is brightness"
        if flips_without(image) is False:
            short = "no flip without its brightness"
        return Doubts(short, exposure_caution(image))
    premise = premise_of(image, image.label)
    if premise is not None and premise.after < THRESHOLD:  # the question means nothing now
        return None
    return DOUBTED_BY.get(opinion_of_flip(image) or "")


def original_notices(image: OpenImage) -> str:
    """Return, as HTML, what must be known of the original and of the question asked of it."""
    only_for = image.service.domain.label_info[image.label].only_for
    cautions, of_label = label_cautions(image), ""
    if cautions:  # in few words, as the row below is to stay on the page
        short = told(joined(*(one.short for one in cautions)))
        whole = joined(*cautions)
        of_label = f'<p class="notice">{explained(short, worded(whole, PLAIN), whole)}</p>'
    if only_for and not any(only_for in one for one in cautions):
        of_label = f'<p class="only-for">{escape(only_for_words(only_for))}</p>{of_label}'
    notice = image.opened.notice
    if image.is_far and image.names and not image.sliders.alphas:
        notice = joined(notice, NOT_FLIPPED)
    other = first_disagreement(image)
    known = [told(notice) if notice else "", explained(told(other.short), other) if other else ""]
    return of_label + "".join(f'<p class="notice">{one}</p>' for one in known if one)


def missed_notice(image: OpenImage, missed: str) -> str:
    """Return, as HTML in one line, that the target was missed; whole in its tooltip."""
    short = explained(escape(missed_in_short(image)), worded(missed, PLAIN), missed)
    return f'<p class="notice">{short}</p>'


def answer_note(positive: str, number: str, why: str = "") -> str:
    """Return what a picture's answer is, of HTML: on a narrow page the number has its own line.

    `why` says, in the number's tooltip, why it is not to be relied on.
    """
    title = f' title="{escape(why)}"' if why else ""
    return f'<span class="of">{positive}</span> <span class="number"{title}>{number}</span>'


def answer_to_drawing(image: OpenImage) -> str:
    """Return what the classifier says of the generator's drawing itself, asked at rest only."""
    if image.sliders.alphas:
        return '<span class="of">not asked about</span>'
    again = image.opened.reconstruction.probabilities[image.index]
    return answer_note(escape(label_names(image)[1]), charts.percent(again, question_of(image)))


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
    curves = CURVES[image.opened.image.shape[-3]]
    titles = {detail: MEANT.get(detail, words).format(curves) for detail, words in choices.items()}
    buttons = "".join(
        f'<button type="button" data-detail="{detail}" title="{titles[detail]}" '
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
    weak = {label for label, info in domain.label_info.items() if info.is_weak}
    bars = charts.bars(rows, domain.labels, moved, questions, premises, weak - {image.label})
    unseen, others = reconstruction_caution(image), other_cautions(image)
    cautions = caution(unseen, "unseen") + "".join(map(caution, others))
    css = (" unlike" if is_unlike(image) else "") + (" quick" if current.live else "")
    return (
        f'<div class="gcd-card{css}"><h2>{term("prediction")} {change_of(image)}</h2>'
        f"{bars}{second_opinion(image)}"
        f'<div class="gcd-number lpips"><span>{term("lpips")}</span>'
        f"<b>{current.distance:.3f}</b></div>{exposure_line(image)}{cautions}</div>"
    )


def change_of(image: OpenImage) -> str:
    """Return how a flipped picture changed, as HTML in one line: `flip_clause`.

    The whole sentence stands in the tooltip; the bars below have its numbers. What came of a search
    for another counterfactual takes its place. Why the picture's frame is amber comes behind it.
    """
    clause, other = flip_clause(image), other_sentence(image)
    if image.sliders.current.live:
        soon = said("drawn quickly; in full soon", "distilled decoder; in full soon")
        return f"<small>{soon}</small>"
    amber, doubts = "", flip_doubts(image) if flipped(image) else None
    if doubts is not None:
        short, whole = escape(doubts.short), doubts.whole
        words = explained(short, worded(whole, PLAIN), whole)
        amber = f'<small class="gcd-amber"><span>Amber: </span>{words}</small>'
    if not clause and not other:
        return f"<small>before &rarr; after</small>{amber}"
    title = escape(" ".join(filter(None, [worded(other, PLAIN), flip_sentence(image)])))
    flips = "flips " if clause.startswith("if ") else ""
    line = told(other) if other else escape(flips + clause)
    if not other and amber and len(flips + clause) > TWO_LINES:  # amber takes the third
        line = explained(escape(flips + shortened(clause)), flip_sentence(image))
    return f'<small class="gcd-sentence" title="{title}">{line}</small>{amber}'


def shortened(clause: str) -> str:
    """Return a clause up to its first place, and three dots for the others; whole if it has one."""
    where = clause.find(" in ")
    first, comma, _ = clause[where:].partition(", ") if where >= 0 else (clause, "", "")
    return clause[: max(where, 0)] + first + comma + "\N{HORIZONTAL ELLIPSIS}" if comma else clause


def second_opinion(image: OpenImage) -> str:
    """Return what the oracle, a classifier that no search asked, says of the change."""
    first, second, i = image.opened.source.oracle, image.sliders.current.oracle, image.index
    before, after = (None if oracle is None else oracle[i] for oracle in (first, second))
    if before is None:
        return ""
    question = question_of(image)
    now = "&hellip;" if after is None else charts.percent(after, question)
    premise, verdict = premise_of(image, image.label), opinion_words(opinion_of_flip(image))
    if premise is not None and premise.after < THRESHOLD:
        verdict = ""  # the question means nothing of the picture shown
    elif moves_alone(image):
        verdict = '<em class="not">changes sides alone</em>'
    return (
        f'<div class="gcd-number oracle"><span>{term("oracle")} {verdict}</span>'
        f"<b>{charts.number(before, question)} &rarr; {now}</b></div>"
    )


def cautions_line(image: OpenImage) -> str:
    """Return, as HTML, what must be known before a flip means anything; "" if nothing must."""
    return "".join(map(caution, (reconstruction_caution(image), *cautions_of(image))))


def caution(text: str, kind: str = "") -> str:
    """Return one warning as HTML, of a further CSS class; "" of none."""
    css = f"gcd-caution {kind}".strip()
    return f'<p class="{css}">{told(text)}</p>' if text else ""
