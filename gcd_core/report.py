"""One page to take home: what was changed in an image, and what the classifier made of it."""

from __future__ import annotations

import datetime
import functools
import io
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.imaging import NEGATIVE, POSITIVE, difference, overlay, to_pil

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

    from gcd_core.directions import DirectionSet
    from gcd_core.domains import Domain

FORMATS = ("pdf", "png")
DPI = 200  # of the PNG
PICTURE = 512  # pixels that a picture is enlarged to, so that every viewer shows it alike
MOST_LABELS, FEW_LABELS = 12, 5
NOTICE = (
    "Research use only. Not a medical device, not for diagnosis. The changed image is synthetic: "
    "it shows what this classifier reacts to, and is no forecast of a patient's course."
)

WIDTH, HEIGHT, MARGIN = 210.0, 297.0, 17.0  # A4, in millimetres, as every length below
INNER = WIDTH - 2 * MARGIN
GAP = 4.0
COLUMN = (INNER - 3 * GAP) / 2
ROW, LEAST_ROW, WIDE_ROW = 8.6, 7.6, 11.6  # one label's bars
HEAD_OF_BARS = 11.0
FOOT, NOTICE_LINE = 238.0, 277.0  # where the settings and the notice begin
INK, SOFT, FAINT, LINE, WELL = "#1b2229", "#59646e", "#98a2ab", "#d8dde2", "#eceff2"
BEFORE, ACCENT = "#a9b3bc", "#0b72a8"
FAMILIES = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")

_DRAWING = threading.Lock()  # matplotlib's caches of fonts are shared by all threads


@dataclass(frozen=True)
class LabelChange:
    """The classifier's probability of a label, before and after."""

    negative: str
    positive: str
    before: float
    after: float


@dataclass(frozen=True)
class Curve:
    """The label's probability along a direction, as (alpha, probability).

    `measured` was asked of the classifier and `proxy` predicted by the proxy (empty without one);
    `here` is where the changed image stands. `alone` is False where other directions are added, so
    that the measured curve is not the one walked on.
    """

    direction: str
    measured: Sequence[tuple[float, float]]
    proxy: Sequence[tuple[float, float]]
    here: tuple[float, float]
    alone: bool = True
    threshold: float = 0.5


@dataclass(frozen=True)
class Report:
    """What stands on the page; nothing of it names a patient or a file.

    Attributes
    ----------
    title : str
        What is asked, such as "Pneumonia".
    domain : str
        Title of the domain.
    labels : sequence of LabelChange
        In the domain's order.
    explained : int
        Which of them the directions are for.
    source, changed : Tensor (1, C, H, W)
        In [0, 1].
    heat : Tensor (H, W)
        A BB-LIG map of the walk along the curve's direction.
    alphas : sequence of (str, float)
        The position along each direction that was moved.
    distance : float
        LPIPS between the two images.
    curve : Curve
    completeness_error : float
        Of the map.
    settings, identities : sequence of (str, str)
        Name and value, as of `settings_of` and `identities_of`.
    warnings : sequence of str
        What the reader must know before anything else; two at most.
    notice : str
        The domain's own, beside the one that every report has.
    date : datetime.date or None
    """

    title: str
    domain: str
    labels: Sequence[LabelChange]
    explained: int
    source: Tensor
    changed: Tensor
    heat: Tensor
    alphas: Sequence[tuple[str, float]]
    distance: float
    curve: Curve
    completeness_error: float
    settings: Sequence[tuple[str, str]]
    identities: Sequence[tuple[str, str]]
    warnings: Sequence[str] = ()
    notice: str = ""
    date: datetime.date | None = None

    @property
    def flipped(self) -> bool:
        """Whether the prediction of the explained label changed sides."""
        label, threshold = self.labels[self.explained], self.curve.threshold
        return (label.before >= threshold) != (label.after >= threshold)


def write_report(target: str | Path | BinaryIO, report: Report, file_format: str = "pdf") -> None:
    """Draw a report on one A4 page.

    Parameters
    ----------
    target : str, Path or binary file
        A path appears whole or not at all.
    report : Report
    file_format : {"pdf", "png"}
        A PDF's text and curves are vectors, its text can be searched; a PNG has 200 dpi.

    Raises
    ------
    GCDError
        If the format is another one, or the file cannot be written.

    Examples
    --------
    >>> write_report("report.pdf", report)
    """
    if file_format not in FORMATS:
        raise GCDError(f"A report is written as one of {FORMATS}, not {file_format!r}.")
    buffer = io.BytesIO()
    from matplotlib import rc_context

    # Hinted letters of a PNG would be set wider or narrower than `_Page.width` says.
    with _DRAWING, rc_context({"text.hinting": "none"}):
        page = _Page(vectors=file_format == "pdf")
        _draw(page, report)
        about = {"Creator": "GCD Explorer", "Producer": None, "CreationDate": None}
        if file_format == "png":
            about = {"Software": "GCD Explorer"}
        page.figure.savefig(buffer, format=file_format, dpi=DPI, metadata=about)
    if not isinstance(target, str | Path):
        target.write(buffer.getvalue())
        return
    path = Path(target)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".report-") as folder:
            partial = Path(folder) / "report"
            partial.write_bytes(buffer.getvalue())
            os.replace(partial, path)
    except OSError as error:
        raise GCDError(f"{path} cannot be written: {error.strerror or error}.") from error


# -- what a domain and its directions say of themselves ------------------------------------------


def settings_of(
    domain: Domain, label: str, directions: DirectionSet, alphas: Sequence[tuple[str, float]]
) -> list[tuple[str, str]]:
    """The settings that a report lists: domain, label, position, solver, and how the search was."""
    rows = [
        ("Domain", domain.name),
        ("Label", label),
        ("Position", position(alphas)),
    ]
    sampling = getattr(domain.generator, "sampling", None)  # of those generators that have steps
    if sampling is not None:
        steps = f"{sampling.encode_steps} steps to encode, {sampling.decode_steps} to decode"
        rows.append(("Solver", f"{sampling.solver}, {steps}"))
    search = directions.metadata.get("settings")
    seed = directions.metadata.get("seed")
    words = {"n_samples": "samples", "radius": "radius", "lam": "λ", "steps": "steps"}
    told = [
        f"{word} {search[key]:g}"
        for key, word in words.items()
        if isinstance(search, dict) and type(search.get(key)) in (int, float)
    ]
    if type(seed) is int:
        told.append(f"seed {seed}")
    rows.append(("Directions found by", ", ".join(told) or "not recorded"))
    return rows


def identities_of(domain: Domain, directions: DirectionSet) -> list[tuple[str, str]]:
    """What tells the models and directions of a report from others."""
    made_with = directions.metadata.get("classifier")
    found_for = str(made_with)[:64] if made_with else "not recorded"
    if made_with == domain.classifier.identity:
        found_for = "this classifier"
    return [
        ("Generator", domain.generator.identity),
        ("Classifier", domain.classifier.identity),
        ("Perceptual distance", domain.perceptual.identity),
        ("Directions found for", found_for),
    ]


def percent(probability: float) -> str:
    """A probability as a person reads it; never a false 0 or 100."""
    if 0 < probability < 0.005:
        return "< 1 %"
    if 0.995 <= probability < 1:
        return "> 99 %"
    return f"{100 * probability:.0f} %"


def signed(number: float, digits: int = 2) -> str:
    """A number with its sign, as a person writes it."""
    if abs(number) < 0.5 * 10**-digits:
        return "0"
    return f"{number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def position(alphas: Sequence[tuple[str, float]]) -> str:
    """Where in the semantic space the changed image lies."""
    moved = [f"{signed(alpha)} {name}" for name, alpha in alphas]
    return ", ".join(moved) or "at the start: encoded and decoded only"


# -- the page ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def _advance(character: str, family: str, bold: bool) -> float:
    """How far a character moves the pen, as a share of the font's size."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    weight = "bold" if bold else "normal"
    font = get_font(findfont(FontProperties(family=family, weight=weight)))
    font.set_size(100, 72)
    return font.load_char(ord(character)).linearHoriAdvance / 65536 / 100


class _Page:
    """A figure of A4 size, drawn on in millimetres from its top left corner."""

    def __init__(self, vectors: bool) -> None:
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager

        self.vectors = vectors
        self.figure = Figure(figsize=(WIDTH / 25.4, HEIGHT / 25.4), facecolor="white")
        known = set(fontManager.get_font_names())
        self.family = next(family for family in FAMILIES if family in known)

    def font(self, size: float, bold: bool = False) -> FontProperties:
        from matplotlib.font_manager import FontProperties

        families = [self.family, FAMILIES[-1]]  # the last comes with matplotlib and has most signs
        return FontProperties(family=families, size=size, weight="bold" if bold else "normal")

    def width(self, text: str, size: float, bold: bool = False) -> float:
        """How long a line of text is."""
        ems = sum(_advance(character, self.family, bold) for character in text)
        return ems * size / 72 * 25.4

    def fitted(self, text: str, room: float, size: float, bold: bool = False) -> str:
        """A line of text, cut with an ellipsis where it is longer than the room there is."""
        text = " ".join(text.split()).replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
        if self.width(text, size, bold) <= room:
            return text
        while text and self.width(text + "\N{HORIZONTAL ELLIPSIS}", size, bold) > room:
            text = text[:-1]
        return text.rstrip() + "\N{HORIZONTAL ELLIPSIS}"

    def wrapped(self, text: str, room: float, size: float, most: int = 9) -> list[str]:
        """Lines of text as long as the room allows; the last of too many ends in an ellipsis."""
        lines = [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and self.width(longer, size) > room:
                lines.append(word)
            else:
                lines[-1] = longer
        if len(lines) > most:
            lines[most - 1] = " ".join(lines[most - 1 :])
        return [self.fitted(line, room, size) for line in lines[:most]]

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 8.0,
        colour: str = INK,
        bold: bool = False,
        align: str = "left",
        room: float = INNER,
    ) -> None:
        """One line whose baseline is at y; what does not fit is cut."""
        self.figure.text(
            x / WIDTH,
            1 - y / HEIGHT,
            self.fitted(text, room, size, bold),
            fontproperties=self.font(size, bold),
            color=colour,
            ha=align,
            va="baseline",
            parse_math=False,
        )

    def paragraph(
        self,
        x: float,
        y: float,
        text: str,
        room: float,
        size: float,
        colour: str,
        lead: float,
        most: int = 9,
    ) -> float:
        """Lines from the baseline y on; where the next would be."""
        for line in self.wrapped(text, room, size, most):
            self.text(x, y, line, size, colour, room=room)
            y += lead
        return y

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle."""
        from matplotlib.patches import Rectangle

        corner = (x / WIDTH, 1 - (y + height) / HEIGHT)
        self.figure.add_artist(
            Rectangle(
                corner,
                width / WIDTH,
                height / HEIGHT,
                facecolor=colour,
                edgecolor="none",
                transform=self.figure.transFigure,
                zorder=-1,
            )
        )

    def rule(self, y: float, x: float = MARGIN, width: float = INNER, colour: str = LINE) -> None:
        """A hairline."""
        self.box(x, y, width, 0.2, colour)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """An empty plot."""
        return self.figure.add_axes(
            (x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        )

    def picture(self, x: float, y: float, side: float, image: Image.Image) -> None:
        """A square picture."""
        self.box(x - 0.2, y - 0.2, side + 0.4, side + 0.4, LINE)
        large = image.convert("RGB").resize((PICTURE, PICTURE), Image.Resampling.BICUBIC)
        axes = self.axes(x, y, side, side)
        axes.imshow(np.asarray(large), interpolation="none" if self.vectors else "antialiased")
        axes.axis("off")

    def gradient(self, x: float, y: float, width: float, height: float) -> None:
        """The colours of a heat map, from the strongest below zero to the strongest above."""
        colours = np.concatenate([NEGATIVE.flip(0).numpy(), np.ones((1, 3)), POSITIVE.numpy()])
        steps = np.linspace(0, len(colours) - 1, 256)
        ramp = [np.interp(steps, range(len(colours)), channel) for channel in colours.T]
        axes = self.axes(x, y, width, height)
        axes.imshow(np.stack(ramp, -1)[None], aspect="auto", interpolation="none")
        axes.axis("off")


def _draw(page: _Page, report: Report) -> None:
    y = _head(page, report)
    y = _pictures(page, report, y)
    _predictions_and_curve(page, report, y)
    _foot(page, report)


def _head(page: _Page, report: Report) -> float:
    """Title, the finding in words, warnings; where the next part begins."""
    page.text(MARGIN, 17, "GCD EXPLORER", 7.5, ACCENT, bold=True)
    eyebrow = page.width("GCD EXPLORER", 7.5, bold=True) + 3
    page.text(MARGIN + eyebrow, 17, "Counterfactual report", 7.5, SOFT)
    if report.date is not None:
        day = f"{report.date.day} {report.date:%B %Y}"
        page.text(WIDTH - MARGIN, 17, day, 7.5, SOFT, align="right")
    page.rule(20)
    _title(page, report.title)
    page.text(MARGIN, 37.2, report.domain, 9, SOFT)
    label = report.labels[report.explained]
    outcome = "the prediction flips" if report.flipped else "the prediction stays as it was"
    steps = [f"{name} by {signed(alpha)}" for name, alpha in report.alphas]
    listed = " and ".join(filter(None, (", ".join(steps[:-1]), *steps[-1:])))
    how = f"changed along {listed}" if steps else "encoded and decoded without a change"
    finding = f"{label.positive} {percent(label.before)}; {how}, {percent(label.after)}: {outcome}."
    y = page.paragraph(MARGIN, 46, finding, INNER, 10, INK, 4.8, most=3)
    y += 1 if report.warnings else 0
    for warning in report.warnings[:2]:
        lines = page.wrapped(warning, INNER - 7, 8.5, most=2)
        page.box(MARGIN, y - 3.2, INNER, 4.2 * len(lines) + 2, WELL)
        page.box(MARGIN, y - 3.2, 0.9, 4.2 * len(lines) + 2, INK)
        y = page.paragraph(MARGIN + 4, y + 0.7, warning, INNER - 7, 8.5, INK, 4.2, most=2) + 2
    return y + 0.5


def _title(page: _Page, label: str) -> None:
    """As large as it fits on a line; of a very long label, what fits."""
    rest = ": what would change the classifier's mind"
    size = next((s for s in (17, 15, 13) if page.width(label + rest, s, bold=True) <= INNER), 11)
    label = page.fitted(label, INNER - page.width(rest, size, bold=True), size, bold=True)
    page.text(MARGIN, 31, label + rest, size, bold=True)


def _pictures(page: _Page, report: Report, y: float) -> float:
    """Original, counterfactual, difference, heat map; where the next part begins."""
    side = (INNER - 3 * GAP) / 4
    label = report.labels[report.explained]
    change = difference(report.changed, report.source)
    panels = [
        ("Original", f"{label.positive} {percent(label.before)}", to_pil(report.source)),
        (
            "Counterfactual" if report.flipped else "Changed",
            f"{label.positive} {percent(label.after)}",
            to_pil(report.changed),
        ),
        ("Difference", "changed minus original", overlay(report.source, change)),
        (
            "BB-LIG heat map",
            f"walked along {report.curve.direction}",
            overlay(report.source, report.heat),
        ),
    ]
    ends = [(), (), ("darker", "brighter"), ("against", f"for {label.positive}")]
    for i, (title, note, image) in enumerate(panels):
        x = MARGIN + i * (side + GAP)
        page.picture(x, y, side, image)
        page.text(x, y + side + 4.4, title, 8.5, bold=True, room=side)
        page.text(x, y + side + 8.2, note, 7.5, SOFT, room=side)
        if ends[i]:
            page.gradient(x, y + side + 10.4, side, 1.1)
            page.text(x, y + side + 14.4, ends[i][0], 6.5, SOFT, room=side / 2)
            page.text(
                x + side, y + side + 14.4, ends[i][1], 6.5, SOFT, align="right", room=side * 0.7
            )
    return y + side + 23


def _predictions_and_curve(page: _Page, report: Report, y: float) -> None:
    """Bars on the left, the curve on the right, and three numbers where there is room."""
    right, room = MARGIN + COLUMN + 3 * GAP, FOOT - 6 - y
    few = len(report.labels) <= FEW_LABELS
    if not few or HEAD_OF_BARS + len(report.labels) * WIDE_ROW + 38 > room:
        most = min(MOST_LABELS, int((room - HEAD_OF_BARS) / LEAST_ROW))
        which = shown_labels(report, most)
        _bars(page, report, y, which, min(ROW, (room - HEAD_OF_BARS) / len(which)))
        height = min(46, room - 60)
        _curve(page, report, right, y, height)
        _numbers(page, report, right, y + height + 30)
    else:
        below = _bars(page, report, y, shown_labels(report), WIDE_ROW)
        _curve(page, report, right, y, height=min(78, room - 24))
        below = _numbers(page, report, MARGIN, below + 8)
        _reading(page, report, below, FOOT - 6)


def shown_labels(report: Report, most: int = MOST_LABELS) -> list[int]:
    """Which labels have bars: all, or the explained one and those that change most."""
    if len(report.labels) <= most:
        return list(range(len(report.labels)))
    others = [i for i in range(len(report.labels)) if i != report.explained]
    others.sort(key=lambda i: -abs(report.labels[i].after - report.labels[i].before))
    return [report.explained, *others[: most - 1]]


def _bars(page: _Page, report: Report, y: float, which: list[int], row: float) -> float:
    """Before and after of some labels; where the next part begins."""
    page.text(MARGIN, y, "Prediction", 9.5, bold=True)
    if len(which) < len(report.labels):
        note = f"{len(which)} of {len(report.labels)} labels: those that change most"
        page.text(MARGIN + COLUMN, y, note, 7, SOFT, align="right", room=COLUMN - 20)
    y += 5.6
    for text, colour, x in (("before", BEFORE, MARGIN), ("after", ACCENT, MARGIN + 17)):
        page.box(x, y - 1.7, 4, 1.5, colour)
        page.text(x + 5.2, y - 0.2, text, 7, SOFT)
    y += 5.4
    threshold = report.curve.threshold
    for i in which:
        label = report.labels[i]
        chosen = i == report.explained
        flips = (label.before >= threshold) != (label.after >= threshold)
        numbers = f"{percent(label.before)} \N{RIGHTWARDS ARROW} {percent(label.after)}"
        numbers += " \N{MIDDLE DOT} flips" if flips else ""
        taken = page.width(numbers, 8, bold=chosen) + 3
        page.text(MARGIN, y, label.positive, 8, bold=chosen, room=COLUMN - taken)
        page.text(
            MARGIN + COLUMN, y, numbers, 8, ACCENT if flips else INK, bold=chosen, align="right"
        )
        for height, share, colour in ((1.4, label.before, BEFORE), (3.0, label.after, ACCENT)):
            page.box(MARGIN, y + height, COLUMN, 1.3, WELL)
            page.box(MARGIN, y + height, COLUMN * min(max(share, 0.004), 1), 1.3, colour)
        page.box(MARGIN + COLUMN * threshold - 0.1, y + 1.0, 0.2, 3.7, SOFT)
        y += row
    return y


def _curve(page: _Page, report: Report, x: float, y: float, height: float) -> None:
    curve, label = report.curve, report.labels[report.explained]
    page.text(x, y, f"{label.positive} along {curve.direction}", 9.5, bold=True, room=COLUMN)
    keys = [("classifier" if curve.alone else f"classifier, {curve.direction} alone", ACCENT, 0.7)]
    if curve.proxy:
        keys.append(("proxy", FAINT, 0.35))
    at = x
    for text, colour, thick in keys:
        page.box(at, y + 4.5 - thick / 2, 5, thick, colour)
        page.text(at + 6.4, y + 5.4, text, 7, SOFT)
        at += 12 + page.width(text, 7)
    left = 9.5
    axes = page.axes(x + left, y + 9.4, COLUMN - left, height)
    tick = page.font(7)
    places = [alpha for alpha, _ in (*curve.measured, *curve.proxy, curve.here)] or [0.0]
    low, high = min(places), max(places)
    room = 0.02 * (high - low or 1.0)
    axes.set(xlim=(low - room, high + room), ylim=(-0.04, 1.04))
    for level in (0, 0.25, 0.5, 0.75, 1):
        axes.axhline(level, color=WELL, linewidth=0.7, zorder=0)
    axes.axhline(curve.threshold, color=SOFT, linewidth=0.8, dashes=(4, 3), zorder=1)
    if curve.proxy:
        axes.plot(*zip(*curve.proxy, strict=True), color=FAINT, linewidth=1.0, zorder=2)
    if curve.measured:
        style = {"color": ACCENT, "linewidth": 1.8 if curve.alone else 1.0}
        axes.plot(*zip(*curve.measured, strict=True), **style, zorder=3)
    axes.axvline(curve.here[0], color=LINE, linewidth=0.8, zorder=0)
    axes.annotate(
        "threshold",
        (high + room, curve.threshold),
        xytext=(0, 2.5),
        textcoords="offset points",
        fontproperties=page.font(6.5),
        color=SOFT,
        ha="right",
    )
    axes.plot(
        *curve.here,
        "o",
        color=ACCENT,
        markersize=6,
        markeredgecolor="white",
        zorder=4,
        clip_on=False,
    )
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    marks = np.linspace(low, high, 5) if high > low else [low]
    axes.set_xticks(marks, [_short(mark) for mark in marks])
    axes.tick_params(length=0, labelcolor=SOFT, pad=3)
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        text.set_fontproperties(tick)
    for spine in axes.spines.values():
        spine.set_visible(False)
    down = y + 9.4 + height + 8
    arrow = "\N{LEFTWARDS ARROW} "
    page.text(x + left, down, arrow + label.negative, 7, SOFT, room=0.36 * COLUMN)
    page.text(x + left + (COLUMN - left) / 2, down, "alpha", 7, SOFT, align="center")
    page.text(
        x + COLUMN,
        down,
        label.positive + " \N{RIGHTWARDS ARROW}",
        7,
        SOFT,
        align="right",
        room=0.36 * COLUMN,
    )


def _short(alpha: float) -> str:
    """An alpha under the curve: signed, without zeros at its end."""
    text = signed(alpha)
    return text.rstrip("0").rstrip(".") if "." in text else text


def _numbers(page: _Page, report: Report, x: float, y: float) -> float:
    """Position, LPIPS and completeness error, and what they mean; where the next part begins."""
    rows = [
        ("Alpha", position(report.alphas), "the distance walked along each direction"),
        ("LPIPS", f"{report.distance:.3f}", "the perceptual change; 0 is the same image"),
        (
            "Completeness error",
            signed(report.completeness_error, 3),
            "the heat map's sum less the change of the logit; 0 explains all",
        ),
    ]
    for name, value, meaning in rows:
        page.rule(y - 4.4, x, COLUMN)
        page.text(x, y, name, 8, bold=True)
        taken = page.width(name, 8, bold=True) + 4
        page.text(x + COLUMN, y, value, 8, align="right", room=COLUMN - taken)
        page.text(x, y + 3.5, meaning, 6.8, SOFT, room=COLUMN)
        y += 10.2
    return y


def _reading(page: _Page, report: Report, y: float, end: float) -> None:
    """How to read the page, where there is room for it."""
    positive = report.labels[report.explained].positive
    text = (
        "The changed image is the original moved along a direction of the generator's semantic "
        "space: what differs between the two is what the direction stands for. In the heat map, "
        f"red marks what speaks for {positive} in the original, blue what speaks against it; "
        "clear parts did not matter. The curve is the classifier's answer at every step along the "
        "direction, and the dot is the changed image."
    )
    lines = page.wrapped(text, COLUMN, 7)
    if y + 4.5 + 3.5 * len(lines) <= end:
        page.rule(y - 4.4, MARGIN, COLUMN)
        page.text(MARGIN, y, "How to read this page", 8, bold=True)
        page.paragraph(MARGIN, y + 4.5, text, COLUMN, 7, SOFT, 3.5)


def _foot(page: _Page, report: Report) -> None:
    """Settings and identities side by side, then the notice."""
    page.rule(FOOT)
    y = FOOT + 6
    for x, title, rows in (
        (MARGIN, "Settings", report.settings),
        (MARGIN + COLUMN + 3 * GAP, "Models and directions", report.identities),
    ):
        page.text(x, y, title, 8.5, bold=True)
        at = y + 5
        for name, value in rows:
            left = round((NOTICE_LINE - 3 - at) / 4.1)  # lines that there is room for
            if left > 0:
                page.text(x, at, name, 7, SOFT, room=28)
                at = page.paragraph(x + 29, at, value, COLUMN - 29, 7, INK, 4.1, min(left, 2))
    page.rule(NOTICE_LINE)
    notice = " ".join(filter(None, (NOTICE, report.notice)))
    page.paragraph(MARGIN, NOTICE_LINE + 5, notice, INNER, 7.2, INK, 3.6, most=3)
