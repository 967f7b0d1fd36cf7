"""Pages to take home: the pictures; what the classifier made of them, and how it was asked.

Regions that were tried alone have pages of their own behind these two.
"""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gcd_core.classifiers.questions import Question
from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.images.drawing import BRIGHTNESS, EVIDENCE, difference, overlay, to_pil
from gcd_core.method.second_opinion import DISAGREED, FOLLOWS, STAYS, second_opinion
from gcd_core.report.captions import DOT, SYNTHETIC, exposure_name, map_meaning, only_for_words
from gcd_core.report.content import Curve, Report, position
from gcd_core.report.layout import (
    ACCENT,
    BEFORE,
    COLUMN,
    DPI,
    FAINT,
    GAP,
    INK,
    INNER,
    LINE,
    MARGIN,
    SOFT,
    WELL,
    WIDTH,
    Sheet,
)
from gcd_core.report.regions import REGIONS_A_PAGE, draw_regions
from gcd_core.wording import PLAIN, percent, percent_of_all, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OPINIONS = {
    FOLLOWS: "which follows",
    STAYS: "which stays where it was",
    DISAGREED: "which disagreed from the start",
}
FORMATS, PAGES = ("pdf", "png"), 2
HALF = (INNER - GAP) / 2  # the width of the two large pictures
MAX_LABELS, FEW_LABELS, MAX_WARNINGS = 12, 5, 4
DISCLAIMER = "Research use only. Not a medical device, not for diagnosis."
NOTICE = (
    "The changed image is synthetic: it shows what this classifier reacts to, and is no forecast "
    "of a patient's course."
)
LARGE_ERROR = 0.2  # share of the change that a map leaves out, from which on the page warns of it
ROW, MIN_ROW, WIDE_ROW = 8.6, 7.6, 11.6  # one label's bars
HEAD_OF_BARS = 11.0
HEAD_OF_CURVE, LEFT_OF_CURVE = 9.4, 9.5  # its title and keys, its percentages
UNDER_CURVE, NARROW_CURVE = 10.0, 66.0  # its scale's numbers; its height beside many bars
FOOT, NOTICE_LINE = 190.0, 277.0  # where the settings and the notice begin
FOOT_LINE = 3.6  # of a line of the settings
_DRAWING = threading.Lock()  # matplotlib's caches of fonts are shared by all threads


def write_report(target: str | Path | BinaryIO, report: Report, file_format: str = "pdf") -> None:
    """Draw a report on A4 pages, two without tried regions; a PNG has one below the other.

    Raises a GCDError if the format is another one, or the file cannot be written.

    Parameters
    ----------
    target : str, Path or binary file
        A path appears whole or not at all.
    file_format : {"pdf", "png"}
        A PDF's text and curves are vectors, its text can be searched; a PNG has 200 dpi.

    Examples
    --------
    >>> write_report("report.pdf", report)
    """
    if file_format not in FORMATS:
        raise GCDError(f"A report is written as one of {FORMATS}, not {file_format!r}.")
    buffer = io.BytesIO()
    from matplotlib import rc_context

    # Hinted letters of a PNG would be set wider or narrower than `Sheet.width` says.
    with _DRAWING, rc_context({"text.hinting": "none"}):
        sheets = [Sheet(vectors=file_format == "pdf") for _ in range(page_count(report))]
        _draw_pictures(sheets[0], report)
        _draw_numbers(sheets[1], report)
        for number, sheet in enumerate(sheets[PAGES:], PAGES + 1):
            _eyebrow(sheet, report, number)
            first = (number - PAGES - 1) * REGIONS_A_PAGE
            draw_regions(sheet, report, report.regions[first : first + REGIONS_A_PAGE])
        if file_format == "pdf":
            _save_pdf(sheets, buffer)
        else:
            _save_png(sheets, buffer)
    if not isinstance(target, str | Path):
        target.write(buffer.getvalue())
        return
    with atomic_write(target) as place:
        place.write_bytes(buffer.getvalue())


def page_count(report: Report) -> int:
    """How many pages a report has."""
    return PAGES + math.ceil(len(report.regions) / REGIONS_A_PAGE)


def _save_pdf(sheets: Sequence[Sheet], target: BinaryIO) -> None:
    from matplotlib.backends.backend_pdf import PdfPages

    about = {"Creator": "GCD Explorer", "Producer": None, "CreationDate": None}
    with PdfPages(target, metadata=about) as pages:
        for sheet in sheets:
            pages.savefig(sheet.figure, dpi=DPI)


def _save_png(sheets: Sequence[Sheet], target: BinaryIO) -> None:
    drawn = []
    for sheet in sheets:
        buffer = io.BytesIO()
        sheet.figure.savefig(buffer, format="png", dpi=DPI)
        drawn.append(np.asarray(Image.open(buffer).convert("RGB")))
    about = PngInfo()
    about.add_text("Software", "GCD Explorer")
    Image.fromarray(np.concatenate(drawn)).save(target, "PNG", dpi=(DPI, DPI), pnginfo=about)


def _draw_pictures(sheet: Sheet, report: Report) -> None:
    """The first page: the finding, the pictures, the notice."""
    y = _head(sheet, report)
    _pictures(sheet, report, y)
    sheet.rule(NOTICE_LINE)
    sheet.paragraph(MARGIN, NOTICE_LINE + 5, notice(report), INNER, 7.2, INK, 3.6, most=3)


def _draw_numbers(sheet: Sheet, report: Report) -> None:
    """The second page: predictions, curve, numbers, settings."""
    _eyebrow(sheet, report, 2)
    _predictions_and_curve(sheet, report, 31)
    _foot(sheet, report)


def notice(report: Report) -> str:
    """The one disclaimer of a report: the domain's own, where that says it, or the usual one."""
    said = "medical device" in report.notice.lower()
    return " ".join(filter(None, ("" if said else DISCLAIMER, report.notice, NOTICE)))


def _eyebrow(sheet: Sheet, report: Report, number: int) -> None:
    """What stands above every page: whose report it is, of when, and which page."""
    sheet.text(MARGIN, 17, "GCD EXPLORER", 7.5, ACCENT, bold=True)
    at = MARGIN + sheet.width("GCD EXPLORER", 7.5, bold=True) + 3
    which = f"page {number} of {page_count(report)}"
    title = f"{report.say('Report', 'Counterfactual report')}, {which}"
    sheet.text(at, 17, title, 7.5, SOFT)
    at += sheet.width(title, 7.5) + 6
    day = ""
    if report.time is not None:
        time = report.time
        day = f"{time.day} {time:%B %Y, %H:%M} {time:%Z}".strip()
    end = WIDTH - MARGIN - sheet.width(day, 7.5)
    sheet.text(WIDTH - MARGIN, 17, day, 7.5, SOFT, align="right")
    sheet.text(end - 6, 17, report.name, 7.5, INK, bold=True, align="right", room=end - 6 - at)
    sheet.rule(20)


def _head(sheet: Sheet, report: Report) -> float:
    """Title, the finding in words, the target, warnings; where the next part begins."""
    _eyebrow(sheet, report, 1)
    _title(sheet, report.title)
    size = f"{report.source.shape[-1]} \N{MULTIPLICATION SIGN} {report.source.shape[-2]} pixels"
    room = INNER - sheet.width(DOT + size, 9)
    domain = sheet.fitted(report.domain, room, 9)
    sheet.text(MARGIN, 37.2, f"{domain}{DOT}{size}", 9, SOFT)
    label = report.labels[report.explained]
    finding = f"{label.positive} {label.was}; {_how(report)}, {label.now}: {_outcome(report)}."
    finding = " ".join(filter(None, (finding, report.target, only_for_words(report.only_for))))
    y = sheet.paragraph(MARGIN, 46, finding, INNER, 10, INK, 4.8, most=3)
    y += 1 if report.cautions else 0
    for warning in report.cautions[:MAX_WARNINGS]:
        lines = sheet.wrapped(warning, INNER - 7, 8.5, most=2)
        sheet.box(MARGIN, y - 3.2, INNER, 4.2 * len(lines) + 2, WELL)
        sheet.box(MARGIN, y - 3.2, 0.9, 4.2 * len(lines) + 2, INK)
        y = sheet.paragraph(MARGIN + 4, y + 0.7, warning, INNER - 7, 8.5, INK, 4.2, most=2) + 2
    return y + 0.5


def _outcome(report: Report) -> str:
    """What became of the explained answer, in words."""
    label, threshold = report.labels[report.explained], report.curve.threshold
    what = report.say("the answer", "the prediction")
    if report.flipped:
        return f"{what} flips"
    if label.premise is None or max(label.premise.before, label.premise.after) < threshold:
        told = f"{what} stays as it was"
        return f"{told}, and means nothing" if label.premise is not None else told
    if label.premise.after < threshold:
        return f"{what} means nothing any more"
    applies = label.premise.before < threshold
    return f"{what} now applies" if applies else f"{what} stays as it was"


def _how(report: Report) -> str:
    """How the image was changed, in words."""
    steps = [f"{report.direction(name)} by {signed(alpha)}" for name, alpha in report.alphas]
    listed = " and ".join(filter(None, (", ".join(steps[:-1]), *steps[-1:])))
    how = report.say("drawn again, unchanged", "encoded and decoded without a change")
    if steps:
        how = report.say(f"changed, {listed}", f"changed along {listed}")
    if report.steered:
        how = report.say("drawn anew", "drawn anew by the bridge")
    if report.region is not None:
        how += f", inside {percent_of_all(report.region)} of the picture alone"
    return how


def _title(sheet: Sheet, label: str) -> None:
    """As large as it fits on a line; of a very long label, what fits."""
    rest = ": what would change the classifier's mind"
    size = next((s for s in (17, 15, 13) if sheet.width(label + rest, s, bold=True) <= INNER), 11)
    label = sheet.fitted(label, INNER - sheet.width(rest, size, bold=True), size, bold=True)
    sheet.text(MARGIN, 31, label + rest, size, bold=True)


def _pictures(sheet: Sheet, report: Report, y: float) -> None:
    """Original and counterfactual, half of the width each; below them difference and heat map."""
    label = report.labels[report.explained]
    moved = difference(report.changed, report.source)
    change = overlay(report.source, moved, palette=BRIGHTNESS)
    panels = [
        (
            "Original, synthetic" if report.synthetic else "Original",
            f"{label.positive} {label.was}",
            to_pil(report.source),
        ),
        (
            report.say("What flips it", "Counterfactual") if report.flipped else "Changed",
            f"{SYNTHETIC}{DOT}{label.positive} {label.now}",
            to_pil(report.changed),
        ),
        (
            report.say("What changed", "Difference"),
            "changed minus original",
            change,
        ),
        (*_map_title(report), overlay(report.source, report.heat)),
    ]
    ends = [(), (), ("darker", "brighter"), map_meaning(label.positive).rsplit(", ", 1)]
    top, captions = y, (HALF + 13.5, 19.0)
    small = min(HALF, NOTICE_LINE - 2 - y - sum(captions))  # as much as warnings leave room for
    for i, (title, note, image) in enumerate(panels):
        side = HALF if i < 2 else small
        x, y = MARGIN + i % 2 * (HALF + GAP), top if i < 2 else top + captions[0]
        sheet.picture(x, y, side, image)
        sheet.text(x, y + side + 4.4, title, 8.5, bold=True, room=side)
        sheet.text(x, y + side + 8.2, note, 7.5, SOFT, room=side)
        if ends[i]:
            palette = BRIGHTNESS if i == 2 else EVIDENCE
            sheet.gradient(x, y + side + 10.4, side, 1.1, palette)
            sheet.text(x, y + side + 14.4, ends[i][0], 6.5, SOFT, room=side / 2)
            sheet.text(
                x + side, y + side + 14.4, ends[i][1], 6.5, SOFT, align="right", room=side * 0.7
            )


def _map_title(report: Report) -> tuple[str, str]:
    """What the map is, and what it was made of."""
    if report.map_method == "cells":
        return report.say("Tested parts", "Map of cells"), "which parts count"
    direction = report.direction(report.curve.direction)
    how = "on the way to it" if report.steered else f"{report.say('', 'walked along ')}{direction}"
    return report.say("On the way", "BB-LIG heat map"), how


def _predictions_and_curve(sheet: Sheet, report: Report, y: float) -> None:
    """Bars on the left, three or four numbers on the right, below both the curve.

    Of many labels the bars are long: then the curve stands above the numbers.
    """
    right, end = MARGIN + COLUMN + 3 * GAP, FOOT - 6
    if len(report.labels) > FEW_LABELS:
        room = end - y
        which = shown_labels(report, min(MAX_LABELS, int((room - HEAD_OF_BARS) / MIN_ROW)))
        _bars(sheet, report, y, which, min(ROW, (room - HEAD_OF_BARS) / len(which)))
        _curve(sheet, report, right, y, NARROW_CURVE, COLUMN)
        _numbers(sheet, report, right, y + NARROW_CURVE + HEAD_OF_CURVE + UNDER_CURVE + 10)
        return
    below = _bars(sheet, report, y, shown_labels(report), WIDE_ROW)
    sheet.text(right, y, report.say("In numbers", "Figures"), 9.5, bold=True)
    below = max(below, _numbers(sheet, report, right, y + 9)) + 4
    _curve(sheet, report, MARGIN, below, end - below - HEAD_OF_CURVE - UNDER_CURVE, INNER)


def shown_labels(report: Report, most: int = MAX_LABELS) -> list[int]:
    """Which labels have bars: all, or the explained one and those that change most."""
    if len(report.labels) <= most:
        return list(range(len(report.labels)))
    others = [i for i in range(len(report.labels)) if i != report.explained]
    others.sort(key=lambda i: -abs(report.labels[i].after - report.labels[i].before))
    return [report.explained, *others[: most - 1]]


def _bars(sheet: Sheet, report: Report, y: float, which: list[int], row: float) -> float:
    """Before and after of some labels; where the next part begins."""
    sheet.text(MARGIN, y, report.say("Answer", "Prediction"), 9.5, bold=True)
    if len(which) < len(report.labels):
        note = f"{len(which)} of {len(report.labels)} labels: those that change most"
        sheet.text(MARGIN + COLUMN, y, note, 7, SOFT, align="right", room=COLUMN - 20)
    y += 5.6
    for text, colour, x in (("before", BEFORE, MARGIN), ("after", ACCENT, MARGIN + 17)):
        sheet.box(x, y - 1.7, 4, 1.5, colour)
        sheet.text(x + 5.2, y - 0.2, text, 7, SOFT)
    y += 5.4
    threshold = report.curve.threshold
    for i in which:
        label = report.labels[i]
        chosen = i == report.explained
        flips, outcome = label.flips(threshold), label.outcome(threshold)
        numbers = f"{label.was} \N{RIGHTWARDS ARROW} {label.now}"
        numbers += f" \N{MIDDLE DOT} {outcome}" if outcome else ""
        room = COLUMN - sheet.width(numbers, 8, bold=chosen) - 3
        name = f"{label.positive} (often wrong)" if label.weak else label.positive
        sheet.text(MARGIN, y, name, 8, bold=chosen, room=room)
        sheet.text(
            MARGIN + COLUMN, y, numbers, 8, ACCENT if flips else INK, bold=chosen, align="right"
        )
        for height, share, colour in ((1.4, label.before, BEFORE), (3.0, label.after, ACCENT)):
            sheet.box(MARGIN, y + height, COLUMN, 1.3, WELL)
            sheet.box(MARGIN, y + height, COLUMN * min(max(share, 0.004), 1), 1.3, colour)
        sheet.box(MARGIN + COLUMN * threshold - 0.1, y + 1.0, 0.2, 3.7, SOFT)
        if row >= WIDE_ROW:
            sheet.text(MARGIN, y + 7.2, label.negative, 6.5, SOFT, room=COLUMN / 2)
            end = MARGIN + COLUMN
            sheet.text(end, y + 7.2, label.positive, 6.5, SOFT, align="right", room=COLUMN / 2)
        y += row
    return y


def _curve(sheet: Sheet, report: Report, x: float, y: float, height: float, width: float) -> None:
    """The label's probability along a direction: title, keys, and a plot of that height."""
    curve, label = report.curve, report.labels[report.explained]
    along = report.say(", ", "along ") + report.direction(curve.direction)
    along = "on the way to the change" if report.steered else along
    title = f"{label.positive} {along}".replace(" , ", ", ")
    sheet.text(x, y, title, 9.5, bold=True, room=width)
    keys = [("classifier", ACCENT, 0.7)]
    if curve.proxy:
        keys.append((report.say("the search's guess", "proxy"), FAINT, 0.35))
    at = x
    for name, colour, thick in keys:
        sheet.box(at, y + 4.5 - thick / 2, 5, thick, colour)
        sheet.text(at + 6.4, y + 5.4, name, 7, SOFT)
        at += 12 + sheet.width(name, 7)
    left, width = x + LEFT_OF_CURVE, width - LEFT_OF_CURVE
    axes = sheet.axes(left, y + HEAD_OF_CURVE, width, height)
    end = _scales(sheet, axes, curve, label.question)
    _lines(axes, curve)
    axes.annotate(
        "threshold",
        (end, curve.threshold),
        xytext=(0, 2.5),
        textcoords="offset points",
        fontproperties=sheet.font(6.5),
        color=SOFT,
        ha="right",
    )
    below = y + HEAD_OF_CURVE + height + 8
    scale = report.say("strength", "alpha")
    if len(report.alphas) > 1:
        scale = report.say("how far, all ways together", "distance in z_sem, along all together")
    sheet.text(left + width / 2, below, scale, 7, SOFT, align="center")


def _scales(sheet: Sheet, axes: Axes, curve: Curve, question: Question) -> float:
    """The plot's limits, grid and numbers; where alpha ends on the right."""
    alphas = [alpha for alpha, _ in (*curve.measured, *curve.proxy, curve.here)]
    low, high = min(alphas), max(alphas)
    room = 0.02 * (high - low or 1.0)
    axes.set(xlim=(low - room, high + room), ylim=(-0.04, 1.04))
    for level in (0, 0.25, 0.5, 0.75, 1):
        axes.axhline(level, color=WELL, linewidth=0.7, zorder=0)
    numbered = (0.0, 0.5, 1.0) if question.spread is None else (0.25, 0.5, 0.75)
    axes.set_yticks(numbered, [question.shown(level) for level in numbered])
    marks = np.linspace(low, high, 5) if high > low else [low]
    axes.set_xticks(marks, [_short(mark) for mark in marks])
    axes.tick_params(length=0, labelcolor=SOFT, pad=3)
    for number in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        number.set_fontproperties(sheet.font(7))
    for spine in axes.spines.values():
        spine.set_visible(False)
    return high + room


def _lines(axes: Axes, curve: Curve) -> None:
    """The threshold, what was predicted, what was measured, and where the changed image stands."""
    axes.axhline(curve.threshold, color=SOFT, linewidth=0.8, dashes=(4, 3), zorder=1)
    axes.axvline(curve.here[0], color=LINE, linewidth=0.8, zorder=0)
    if curve.proxy:
        axes.plot(*zip(*curve.proxy, strict=True), color=FAINT, linewidth=1.0, zorder=2)
    if curve.measured:
        axes.plot(*zip(*curve.measured, strict=True), color=ACCENT, linewidth=1.8, zorder=3)
    axes.plot(
        *curve.here,
        "o",
        color=ACCENT,
        markersize=6,
        markeredgecolor="white",
        zorder=4,
        clip_on=False,
    )


def _short(alpha: float) -> str:
    """An alpha under the curve: signed, without zeros at its end."""
    text = signed(alpha)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _numbers(sheet: Sheet, report: Report, x: float, y: float) -> float:
    """Position, LPIPS and completeness error, and what they mean; where the next part begins."""
    alphas = [(report.direction(name), alpha) for name, alpha in report.alphas]
    walked = ("Alpha", position(alphas), "the distance walked along each direction")
    if report.words == PLAIN:
        walked = ("Strength", position(alphas, PLAIN), "how far the picture was changed")
    if len(alphas) > 1:  # their names are longer than a line
        several = report.say(f"of {len(alphas)} ways", f"along {len(alphas)} directions")
        walked = walked[0], several, "each is listed below, under Settings"
    if report.steered:
        made = report.say("of what was drawn anew", "of what the bridge made")
        walked = ("Change", percent(abs(report.curve.here[0])), made)
    rows = [
        walked,
        (
            report.say("How much changed", "LPIPS"),
            f"{report.distance:.3f}",
            _distance_words(report),
        ),
        (
            report.say("What the map leaves out", "Completeness error"),
            report.say(percent_of_all(report.left_out), signed(report.completeness_error, 3)),
            _left_out_words(report),
        ),
    ]
    if report.oracle is not None:
        before, after = report.oracle
        shown = report.labels[report.explained].question.shown
        was, threshold = report.labels[report.explained].before, report.curve.threshold
        opinion = second_opinion(was, before, after, threshold)
        told = report.flipped or opinion == DISAGREED
        verdict = OPINIONS[opinion] if told else "which no search asks"
        rows.append(
            (
                "Second opinion",
                f"{shown(before)} \N{RIGHTWARDS ARROW} {shown(after)}",
                f"another classifier, {verdict}",
            )
        )
    for name, value, meaning in rows:
        sheet.rule(y - 4.4, x, COLUMN)
        sheet.text(x, y, name, 8, bold=True)
        room = COLUMN - sheet.width(name, 8, bold=True) - 4
        sheet.text(x + COLUMN, y, value, 8, align="right", room=room)
        sheet.text(x, y + 3.5, meaning, 6.8, SOFT, room=COLUMN)
        y += 10.2
    return y


def _left_out_words(report: Report) -> str:
    """What the completeness error is, or that it is large."""
    if report.left_out >= LARGE_ERROR:
        share = percent_of_all(report.left_out)
        return report.say(
            "large: do not rely on the map alone",
            f"large, {share} of the change of the logit: do not rely on the map alone",
        )
    return report.say(
        "of the change of the answer; 0 explains all",
        "the heat map's sum less the change of the logit; 0 explains all",
    )


def _distance_words(report: Report) -> str:
    """What LPIPS is, and how much of the change is brightness and contrast."""
    seen = report.say("how different the two look", "the perceptual change")
    if report.exposure is None:
        return f"{seen}; 0 is the same image"
    share = percent_of_all(report.exposure)
    name = exposure_name(report.source.shape[-3])
    verdict = {True: ": flips without", False: ": no flip without", None: ""}
    return f"{share} is {name}{verdict[report.flips_without]}"


def _map_in_words(report: Report) -> str:
    """The map of evidence, as its caption calls it."""
    if report.map_method == "cells":
        return report.say("the map of tested parts", "the map of cells")
    return report.say("the map of what counts on the way", "the heat map")


def _reading(sheet: Sheet, report: Report, x: float, y: float, end: float) -> None:
    """How to read both pages, in one column, where there is room for it."""
    positive = report.labels[report.explained].positive
    how = report.say(
        "The picture was changed in a way that changes this classifier's answer.",
        "The changed image is the original moved along a direction of the generator's semantic "
        "space: what differs between the two is what the direction stands for.",
    )
    if report.steered:
        how = (
            "In the changed image a region was drawn anew by a network that fills in pictures"
            + report.say("", ", led by the classifier's gradient")
            + "; all outside is the original's."
        )
    text = (
        f"{how} In {_map_in_words(report)}, blue marks the parts whose change leads toward "
        f"{positive}, red those that lead away from it. The curve is the classifier's answer at "
        "the steps that were drawn, and the dot is the changed image."
    )
    lines = sheet.wrapped(text, COLUMN, 7)
    if y + 4.5 + 3.5 * len(lines) <= end:
        sheet.text(x, y, "How to read this report", 8.5, bold=True)
        sheet.paragraph(x, y + 4.5, text, COLUMN, 7, SOFT, 3.5)


def _foot(sheet: Sheet, report: Report) -> None:
    """Settings and identities side by side; below the identities how to read the report."""
    sheet.rule(FOOT)
    y = FOOT + 6
    for x, title, rows in (
        (MARGIN, "Settings", report.settings),
        (
            MARGIN + COLUMN + 3 * GAP,
            report.say("Networks and ways", "Models and directions"),
            report.identities,
        ),
    ):
        sheet.text(x, y, title, 8.5, bold=True)
        at = y + 5
        for after, (name, value) in zip(range(len(rows) - 1, -1, -1), rows, strict=True):
            left = round((NOTICE_LINE - 3 - at) / FOOT_LINE)  # lines that there is room for
            if left > 0:
                sheet.text(x, at, name, 7, SOFT, room=28)
                most = max(left - after, 1)  # one is left for each row below
                room = COLUMN - 29
                at = sheet.paragraph(x + 29, at, value, room, 7, INK, FOOT_LINE, most)
    _reading(sheet, report, x, at + 5, NOTICE_LINE - 3)
