"""Plots of the page as inline SVG and HTML, coloured by CSS variables for light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Points = Sequence[tuple[float, float]]


def percent(probability: float) -> str:
    """A probability in [0, 1] as a person reads it; never a false 0 or 100."""
    if probability < 0.005:
        return "&lt;&thinsp;1&thinsp;%" if probability > 0 else "0&thinsp;%"
    if 0.995 <= probability < 1:
        return "&gt;&thinsp;99&thinsp;%"
    return f"{100 * probability:.0f}&thinsp;%"


def signed(alpha: float) -> str:
    """An alpha with its sign, as a person writes it."""
    return "0" if abs(alpha) < 5e-4 else f"{alpha:+.2f}".replace("-", "\N{MINUS SIGN}")


def polyline(points: Points, css: str) -> str:
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{css}" points="{drawn}"/>'


def curve(
    measured: Points,
    proxy: Points,
    current: tuple[float, float] | None,
    alpha_max: float,
    ends: tuple[str, str],
    alone: bool,
    width: int = 520,
    height: int = 176,
) -> str:
    """The probability along one direction: decoded, the proxy's prediction, and where one is.

    measured, proxy: (alpha, probability); ends: words for probability 0 and 1; alone: False
    where other directions are added, so that the decoded curve is not the one walked on.
    """
    left, right, top, bottom = 44, 12, 10, 24

    def at(alpha: float, probability: float) -> tuple[float, float]:
        x = left + (alpha + alpha_max) / (2 * alpha_max) * (width - left - right)
        return x, top + (1 - probability) * (height - top - bottom)

    parts = []
    for level in (0.0, 0.25, 0.5, 0.75, 1.0):
        _, y = at(0, level)
        css = "threshold" if level == 0.5 else "grid"
        parts.append(
            f'<line class="{css}" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        if level in (0.0, 0.5, 1.0):
            parts.append(
                f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{level * 100:.0f} %</text>"
            )
    for alpha in (-alpha_max, -alpha_max / 2, 0.0, alpha_max / 2, alpha_max):
        x, y = at(alpha, 0)
        anchor = "start" if alpha == -alpha_max else "end" if alpha == alpha_max else "middle"
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{y + 16:.1f}" text-anchor="{anchor}">'
            f"{signed(alpha)}</text>"
        )
    if proxy:
        parts.append(polyline([at(*p) for p in proxy], "proxy"))
    if measured:
        parts.append(polyline([at(*p) for p in measured], "measured" if alone else "measured far"))
    if current is not None:
        x, y = at(*current)
        parts.append(
            f'<line class="here" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{height - bottom}"/>'
            f'<circle class="here" cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>'
        )
    _, half = at(0, 0.5)
    parts.append(
        f'<text class="note" x="{width - right - 4}" y="{half - 5:.1f}" text-anchor="end">'
        f"threshold</text>"
    )
    low, high = (escape(word) for word in ends)
    return (
        f'<svg class="gcd-plot" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Probability along the direction, from {low} to {high}">'
        f"{''.join(parts)}</svg>"
    )


def bars(rows: Sequence[tuple[str, str, float, float, bool]], moved: bool = True) -> str:
    """Before and after, for each label: (negative word, positive word, before, after, chosen).

    Without a move nothing is said to be flipped.
    """
    parts = []
    for negative, positive, before, after, chosen in rows:
        flipped = moved and (before >= 0.5) != (after >= 0.5)
        parts.append(
            f'<div class="gcd-bar{" chosen" if chosen else ""}">'
            f'<div class="words"><b>{escape(positive)}</b>'
            f"<span>{percent(before)} <i>&rarr;</i> <strong>{percent(after)}</strong></span></div>"
            f'<div class="track"><span class="before" style="width:{100 * before:.1f}%">'
            f'</span></div><div class="track"><span class="after" style="width:'
            f'{100 * after:.1f}%"></span><span class="half"></span></div>'
            f'<div class="ends"><span>{escape(negative)}</span>'
            f"{'<em>prediction flipped</em>' if flipped else ''}"
            f"<span>{escape(positive)}</span></div></div>"
        )
    return "".join(parts)


def losses(train: Sequence[float], validation: Sequence[float]) -> str:
    """The proxy's training and validation loss by epoch, on a logarithmic axis."""
    width, height, left, bottom = 420, 150, 40, 20
    values = [v for v in (*train, *validation) if v > 0]
    if len(values) < 2:
        return '<p class="gcd-quiet">The curve appears when the proxy starts to learn.</p>'
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
        f'aria-label="Loss of the proxy by epoch">'
        f'<line class="grid" x1="{left}" x2="{width - 10}" y1="{height - bottom}" '
        f'y2="{height - bottom}"/>'
        f'<line class="grid" x1="{left}" x2="{width - 10}" y1="10" y2="10"/>'
        f'<text class="tick" x="{left - 5}" y="14" text-anchor="end">{10**high:.2g}</text>'
        f'<text class="tick" x="{left - 5}" y="{height - bottom}" text-anchor="end">'
        f"{10**low:.2g}</text>"
        f'<text class="tick" x="{width - 10}" y="{height - 5}" text-anchor="end">'
        f"epoch {epochs}</text>"
        f"{line(train, 'proxy')}{line(validation, 'measured')}</svg>"
    )


def meter(fraction: float, words: str, detail: str) -> str:
    """A progress bar with a line of words and one of detail."""
    width = 100 * min(max(fraction, 0.0), 1.0)
    return (
        f'<div class="gcd-meter"><div class="words"><b>{escape(words)}</b>'
        f"<span>{escape(detail)}</span></div>"
        f'<div class="track" role="progressbar" aria-valuenow="{width:.0f}" aria-valuemin="0" '
        f'aria-valuemax="100"><span style="width:{width:.1f}%"></span></div></div>'
    )


def matrix(names: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """A table of pairwise distances; the farther apart, the deeper the colour."""
    most = max((v for row in values for v in row), default=0.0) or 1.0
    head = "".join(f"<th>{escape(n)}</th>" for n in names)
    rows = []
    for i, name in enumerate(names):
        cells = "".join(
            '<td class="self">&middot;</td>'
            if i == j
            else f'<td style="--heat:{100 * v / most:.0f}%">{v:.3f}</td>'
            for j, v in enumerate(values[i])
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return f'<table class="gcd-matrix"><tr><th></th>{head}</tr>{"".join(rows)}</table>'
