"""Plots as inline SVG and HTML. CSS variables colour them, for the light and the dark page."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from html import escape
from typing import NamedTuple

from gcd_core import wording
from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.method.curve_quantiles import CurveQuantiles
from gcd_core.method.loss import THRESHOLD, crosses

ROOMY = 10  # up to as many rows a matrix has its usual size
WORDS_WIDTH = 70  # of what is written over the threshold's line
Points = Sequence[tuple[float, float]]


ABOUT = "&asymp;&thinsp;"  # before a number of what was drawn quickly


def percent(probability: float, question: Question = PLAIN) -> str:
    """Return a probability in [0, 1] as HTML, in the question's own scale, with thin spaces."""
    return escape(question.shown(probability)).replace(" ", "&thinsp;")


def roughly(probability: float, question: Question = PLAIN) -> str:
    """Return the same of what was drawn quickly: as about so, unless it says "> 99 %" itself."""
    told = percent(probability, question)
    return ABOUT + told if told[:1].isdigit() else told


def missed(probability: float, question: Question = PLAIN) -> str:
    """Return the same with a digit more, of what misses a target: rounded it may look reached."""
    if question.threshold is not None or not 0.005 <= probability < 0.995:
        return percent(probability, question)
    return f"{100 * probability:.1f}&thinsp;%"


def number(probability: float, question: Question = PLAIN) -> str:
    """Return the same without the number's unit."""
    return escape(question.number(probability)).replace(" ", "&thinsp;")


def polyline(points: Points, css: str) -> str:
    """Return a line through points (x, y) of the drawing."""
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{css}" points="{drawn}"/>'


class Premise(NamedTuple):
    """What must hold for a label to mean anything.

    Attributes
    ----------
    label, name : str
        The label that must hold, or must not, and what it is called then.
    before, after : float
        The probability that this is so, of the original and of the current picture.
    negated : bool
        Whether the label must not hold.
    """

    label: str
    name: str
    before: float
    after: float
    negated: bool = False


class Axes(NamedTuple):
    """Maps alphas in [-alpha_max, alpha_max] and probabilities to places in a drawing."""

    alpha_max: float
    width: int = 520
    height: int = 176
    left: int = 44
    top: int = 10

    @property
    def right(self) -> int:
        """The x of the largest alpha."""
        return self.width - 12

    @property
    def bottom(self) -> int:
        """The y of probability 0."""
        return self.height - 24

    def at(self, alpha: float, probability: float) -> tuple[float, float]:
        """Return the place (x, y) of an alpha and a probability."""
        x = self.left + (alpha + self.alpha_max) / (2 * self.alpha_max) * (self.right - self.left)
        return x, self.top + (1 - probability) * (self.bottom - self.top)


def levels(axes: Axes, question: Question = PLAIN) -> list[str]:
    """Return horizontal lines at five probabilities; the threshold's line stands out.

    The numbers beside them are in the question's own scale, which may have no ends; the threshold's
    words have its unit.
    """
    parts, numbered = [], (0.0, THRESHOLD, 1.0) if question.spread is None else (0.25, 0.5, 0.75)
    for level in sorted({0.0, 0.25, 0.5, 0.75, 1.0, THRESHOLD}):
        _, y = axes.at(0, level)
        css = "threshold" if level == THRESHOLD else "grid"
        parts.append(
            f'<line class="{css}" x1="{axes.left}" x2="{axes.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        if level in numbered:
            parts.append(
                f'<text class="tick" x="{axes.left - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{escape(question.number(level))}</text>"
            )
    return parts


def ticks(axes: Axes) -> list[str]:
    """Return the numbers of five alphas under the drawing, and what they are of."""
    parts = ((-1, "start"), (-0.5, "middle"), (0, "middle"), (0.5, "middle"), (1, "end"))
    alphas = [(part * axes.alpha_max, anchor) for part, anchor in parts]
    numbers = [
        tick(*axes.at(a, 0), anchor, wording.signed(a), " half" if i % 2 else "")
        for i, (a, anchor) in enumerate(alphas)
    ]
    x, y = axes.at(0.25 * axes.alpha_max, 0)
    place = f'x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle"'
    names = (("plain", "strength"), ("expert", "alpha"))
    return numbers + [f'<text class="tick {css}" {place}>{name}</text>' for css, name in names]


def tick(x: float, y: float, anchor: str, text: str, css: str = "") -> str:
    """Return a number under a place (x, y) of the drawing."""
    place = f'x="{x:.1f}" y="{y + 16:.1f}" text-anchor="{anchor}"'
    return f'<text class="tick{css}" {place}>{text}</text>'


def plot(axes: Axes, parts: Sequence[str], about: str, more: str = "") -> str:
    """Return a drawing of these parts, with a text for those who do not see it."""
    return (
        f'<svg class="gcd-plot" viewBox="0 0 {axes.width} {axes.height}"{more} role="img" '
        f'aria-label="{about}">{"".join(parts)}</svg>'
    )


def fan(curves: Sequence[Points], spread: CurveQuantiles, alpha_max: float) -> str:
    """Return many curves in one plot, with their median and the band between the quartiles.

    Parameters
    ----------
    curves : sequence of sequences of (alpha, probability)
        The alpha is the distance from the image, 0 or more. The probability is that of the class
        that is predicted for the image.
    spread : CurveQuantiles
        Their quartiles.
    alpha_max : float
        The axis goes from 0 to this value.
    """
    axes = Axes(alpha_max / 2, width=300, height=180)  # shifted, so that it begins at 0

    def place(alpha: float, probability: float) -> tuple[float, float]:
        return axes.at(alpha - alpha_max / 2, probability)

    parts = levels(axes)
    for part, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        parts.append(tick(*place(part * alpha_max, 0), anchor, f"{part * alpha_max:.2f}"))
    parts += [polyline([place(*point) for point in curve], "single") for curve in curves]
    low, median, high = (
        [place(a, p) for a, p in zip(spread.alphas.tolist(), row, strict=True)]
        for row in spread.quartiles.tolist()
    )
    band = " ".join(f"{x:.1f},{y:.1f}" for x, y in [*low, *reversed(high)])
    parts += [f'<polygon class="band" points="{band}"/>', polyline(median, "measured")]
    return plot(axes, parts, f"{len(curves)} curves, their middle and the band of half of them")


def rates(rows: Sequence[tuple[str, int, int]]) -> str:
    """Return bars of how many images each direction flips: (name as HTML, flips, images).

    Those of fewer than half are grey; those that no image was walked along yet have an ellipsis.
    """
    return "".join(
        f'<div class="gcd-rate{"" if 2 * flips >= count else " few"}"><span>{name}</span>'
        f'<i><b style="width:{100 * flips / max(count, 1):.0f}%"></b></i>'
        f"<em>{f'{flips} of {count}' if count else '&hellip;'}</em></div>"
        for name, flips, count in rows
    )


def curve(
    measured: Points,
    proxy: Points,
    current: tuple[float, float] | None,
    alpha_max: float,
    ends: tuple[str, str],
    direction: str = "",
    question: Question = PLAIN,
) -> str:
    """Return the plot of the probability along a line.

    Parameters
    ----------
    measured, proxy : sequence of (alpha, probability)
        The classifier's answers for the decoded pictures, and the proxy's prediction.
    current : (alpha, probability), or None
        Where the current picture is marked.
    alpha_max : float
        The axis goes from -alpha_max to alpha_max.
    ends : (str, str)
        The label's names for probability 0 and 1.
    direction : str
        The direction whose slider a click on the plot moves; "" for none.
    question : Question
        Whose threshold and scale are told.
    """
    axes = Axes(alpha_max)
    parts = [*levels(axes, question), *ticks(axes)]
    if proxy:
        parts.append(polyline([axes.at(*p) for p in proxy], "proxy"))
    if measured:
        parts.append(polyline([axes.at(*p) for p in measured], "measured"))
    if current is not None:
        x, y = axes.at(*current)
        parts.append(
            f'<line class="here" x1="{x:.1f}" x2="{x:.1f}" y1="{axes.top}" y2="{axes.bottom}"/>'
            f'<circle class="here" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'
        )
    points = [*measured, *proxy, *([current] if current is not None else [])]
    parts.append(threshold_words(axes, points, question))
    low, high = (escape(end) for end in ends)
    drag = ""
    if direction:
        drag = (
            f' data-direction="{escape(direction)}" data-most="{alpha_max}" '
            f'data-left="{axes.left / axes.width}" data-right="{axes.right / axes.width}" '
            f'data-top="{axes.top / axes.height}" data-bottom="{axes.bottom / axes.height}"'
        )
    what = "Probability" if question.spread is None else escape(question.scale) or "Number"
    return plot(axes, parts, f"{what} on the way, from {low} to {high}", drag)


def threshold_words(axes: Axes, points: Points, question: Question) -> str:
    """Return the words over the threshold's line: at its right end, or where it has more room.

    `points` are what else is drawn, as (alpha, probability).
    """
    _, line = axes.at(0, THRESHOLD)
    own = "" if question.threshold is None else f" {escape(question.shown(THRESHOLD))}"
    near = [x for x, y in (axes.at(*point) for point in points) if line - 20 < y < line + 8]
    taken = {
        "end": sum(x > axes.right - WORDS_WIDTH for x in near),
        "start": sum(x < axes.left + WORDS_WIDTH for x in near),
    }
    anchor = "start" if taken["start"] < taken["end"] else "end"
    x = axes.right - 4 if anchor == "end" else axes.left + 4
    return (
        f'<text class="note" x="{x}" y="{line - 5:.1f}" text-anchor="{anchor}">'
        f"threshold{own}</text>"
    )


def bars(
    rows: Sequence[tuple[str, str, float, float, bool]],
    labels: Sequence[str],
    moved: bool = True,
    questions: Sequence[Question] | None = None,
    premises: Sequence[Premise | None] | None = None,
    weak: Container[str] = (),
) -> str:
    """Return bars of the probability before and after, one for each label.

    Parameters
    ----------
    rows : sequence of (str, str, float, float, bool)
        Negative name, positive name, probability before and after, and whether it is explained.
    labels : sequence of str
        The labels' own names.
    moved : bool
        Without a move no bar is marked as flipped.
    questions : sequence of Question, optional
        The labels', whose scales are shown.
    premises : sequence of (Premise or None), optional
        For each label what must hold for it to mean anything; by default nothing must.
    weak : container of str, optional
        The labels at which the classifier is often wrong, which is said.
    """
    parts, questions = [], questions or [PLAIN] * len(labels)
    premises = premises or [None] * len(labels)
    for label, row, question, premise in zip(labels, rows, questions, premises, strict=True):
        negative, positive, before, after, chosen = row
        state, says = _state(row, moved, premise)
        css = "gcd-bar" + (" chosen" if chosen else "") + state
        against = f" <small>against {escape(negative)}</small>" if question.against else ""
        if label in weak:
            against += " <small>often wrong</small>"
        parts.append(
            f'<div class="{css}" data-label="{escape(label)}" '
            f'data-before="{before}"{_scale_of(question)}{_given(premise)}>'
            f'<div class="words"><b>{escape(positive)}</b>{against}'
            f"<span>{number(before, question)} <i>&rarr;</i> "
            f"<strong>{percent(after, question)}</strong></span></div>"
            f'<div class="track"><span class="before" style="width:{100 * before:.1f}%">'
            f'</span></div><div class="track"><span class="after" style="width:'
            f'{100 * after:.1f}%"></span><span class="half"></span></div>'
            f'<div class="ends"><span>{escape(negative)}</span>'
            f"<em>{says}</em>"
            f"<span>{escape(positive)}</span></div></div>"
        )
    return "".join(parts)


def _state(
    row: tuple[str, str, float, float, bool],
    moved: bool,
    premise: Premise | None,
) -> tuple[str, str]:
    """Return a bar's CSS class for its state, and what is written under the middle of the bar.

    What the original was not asked cannot flip: it applies now, or it still means nothing. A label
    that is not explained changes sides: the flip is the explained one's. The page's script says the
    same while a film plays.
    """
    negative, positive, before, after, chosen = row
    if premise is not None and premise.after < THRESHOLD:
        return " unfounded", f"asked only if {escape(premise.name)}"
    if premise is not None and moved and premise.before < THRESHOLD:
        return " applies", f"now applies: {escape(positive if after >= THRESHOLD else negative)}"
    flips = moved and crosses(before, after, THRESHOLD)
    return " flipped" if flips else "", "prediction flipped" if chosen else "changes sides"


def _given(premise: Premise | None) -> str:
    """What the page's script needs to know of a premise, as attributes."""
    if premise is None:
        return ""
    told = f' data-given="{escape(premise.label)}" data-given-name="{escape(premise.name)}"'
    return told + (" data-given-not" if premise.negated else "")


def _scale_of(question: Question) -> str:
    """What the browser needs to write a probability in a question's own scale, as attributes."""
    if question.threshold is None:
        return ""
    told = f' data-threshold="{question.threshold}"'
    if question.spread is not None:
        told += f' data-spread="{question.spread}" data-digits="{question.digits}"'
        told += f' data-scale="{escape(question.scale)}"'
    return told


def losses(train: Sequence[float], validation: Sequence[float]) -> str:
    """Return the plot of the proxy's loss by epoch, on a logarithmic axis; "" of fewer than two."""
    width, height, left, bottom = 420, 150, 40, 20
    values = [v for v in (*train, *validation) if v > 0]
    if len(values) < 2:
        return ""
    low, high = math.log10(min(values)), math.log10(max(values))
    span = max(high - low, 1e-6)
    epochs = max(len(train), len(validation), 2)

    def line(losses: Sequence[float], css: str) -> str:
        return polyline(
            [
                (
                    left + i / (epochs - 1) * (width - left - 10),
                    10 + (high - math.log10(max(v, 1e-12))) / span * (height - 10 - bottom),
                )
                for i, v in enumerate(losses)
            ],
            css,
        )

    return (
        f'<svg class="gcd-plot" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="How well the search guesses, round by round">'
        f'<line class="grid" x1="{left}" x2="{width - 10}" y1="{height - bottom}" '
        f'y2="{height - bottom}"/>'
        f'<line class="grid" x1="{left}" x2="{width - 10}" y1="10" y2="10"/>'
        f'<text class="tick" x="{left - 5}" y="14" text-anchor="end">{10**high:.2g}</text>'
        f'<text class="tick" x="{left - 5}" y="{height - bottom}" text-anchor="end">'
        f"{10**low:.2g}</text>"
        f'<text class="tick" x="{width - 10}" y="{height - 5}" text-anchor="end">'
        f'<tspan class="plain">round</tspan><tspan class="expert">epoch</tspan> {epochs}</text>'
        f"{line(train, 'proxy')}{line(validation, 'measured')}</svg>"
    )


def meter(fraction: float, title: str, detail: str) -> str:
    """Return a progress bar for a fraction in [0, 1], with a title and a line of detail."""
    width = 100 * min(max(fraction, 0.0), 1.0)
    return (
        f'<div class="gcd-meter"><div class="words"><b>{escape(title)}</b>'
        f"<span>{escape(detail)}</span></div>"
        f'<div class="track" role="progressbar" aria-label="{escape(title)}" '
        f'aria-valuenow="{width:.0f}" aria-valuemin="0" aria-valuemax="100">'
        f'<span style="width:{width:.1f}%"></span></div></div>'
    )


def matrix(names: Sequence[str], values: Sequence[Sequence[float | None]], digits: int = 3) -> str:
    """Return a table of values for every pair of names; a larger value has a deeper colour.

    Parameters
    ----------
    names : sequence of str
        As HTML.
    values : sequence of sequence of (float or None)
        One row for each name. None leaves a cell empty.
    digits : int
        After the decimal point.
    """
    most = max((abs(v) for row in values for v in row if v is not None), default=0.0) or 1.0
    head = "".join(f"<th>{name}</th>" for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = "".join(_cell(v, i == j, most, digits) for j, v in enumerate(values[i]))
        rows.append(f"<tr><th>{name}</th>{cells}</tr>")
    css = "gcd-matrix many" if len(names) > ROOMY else "gcd-matrix"
    return f'<table class="{css}"><tr><td class="corner"></td>{head}</tr>{"".join(rows)}</table>'


def _cell(value: float | None, itself: bool, most: float, digits: int) -> str:
    """Return a cell; its colour is as deep as its value is large, relative to `most`."""
    if itself:
        return '<td class="self">&middot;</td>'
    if value is None:
        return '<td class="none">&ndash;</td>'
    value = round(value, digits) + 0.0  # no -0.00
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f'<td style="--heat:{100 * abs(value) / most:.0f}%">{text}</td>'
