"""Figures as Markdown tables, for the terminal and for model cards."""

from collections.abc import Sequence


def markdown(rows: Sequence[dict], columns: Sequence[str], aligned: bool = True) -> str:
    """Lay out rows as a Markdown table of these columns.

    Numbers have three significant digits, rates and all; counts are whole; None is a dash. Where
    `aligned`, columns are as wide as their widest cell, for the terminal.
    """
    cells = [list(columns)] + [[_cell(row.get(name)) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) if aligned else 1 for i in range(len(columns))]

    def line(texts: Sequence[str]) -> str:
        padded = (text.ljust(width) for text, width in zip(texts, widths, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(cells[0]), rule, *map(line, cells[1:])])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, float | int) and not isinstance(value, bool):
        return f"{value:.0f}"
    return str(value)
