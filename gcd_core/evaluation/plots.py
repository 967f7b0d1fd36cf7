"""The tables' pictures: curves over what an ablation changed, and bars of each direction."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gcd_core.evaluation.trials import Rows

# What is drawn of a table: its x, and its figures; of F1 one curve for each weight.
CURVES = {
    "3": ("probability", ("flip_rate", "map_correlation", "cosine")),
    "D2": ("alpha", ("lower", "median", "upper")),
    "4": ("samples", ("cosine_to_all", "flip_rate")),
    "D6": ("resolution", ("flip_rate", "lpips", "warned")),
    "F1": ("samples", ("cosine_to_all",)),
    "F2": ("lambda", ("flip_rate", "lpips", "cosine")),
    "F3": ("radius", ("flip_rate", "lpips")),
}
BARS = {"1": ("direction", ("flip_rate", "oracle_flip_rate"))}  # Fig. 3
DRAWN = CURVES.keys() | BARS.keys()


def draw_table(file: Path, name: str, title: str, rows: Rows) -> None:
    """Draw a table of `DRAWN` as a PNG."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    if name in BARS:
        _draw_bars(axes, name, rows)
    else:
        _draw_curves(axes, name, rows)
    axes.set(title=title)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=130)


def _draw_bars(axes: Axes, name: str, rows: Rows) -> None:
    """Draw bars beside each other for each row that has all of the figures."""
    x, figures = BARS[name]
    rows = [row for row in rows if row.get(figures[0]) is not None]
    width = 0.8 / len(figures)
    for i, figure in enumerate(figures):
        heights = [row[figure] or 0 for row in rows]
        axes.bar([at + i * width for at in range(len(rows))], heights, width, label=figure)
    axes.set_xticks([at + 0.4 - width / 2 for at in range(len(rows))], [row[x] for row in rows])
    axes.set(xlabel=x, ylim=(0, 1))


def _draw_curves(axes: Axes, name: str, rows: Rows) -> None:
    """Draw a table's figures over its x; of F1 a curve for each weight."""
    x, curves = CURVES[name]
    rows = sorted(rows, key=lambda row: row[x])
    weights = list(dict.fromkeys(row["lambda"] for row in rows)) if name == "F1" else [None]
    for curve in curves:
        for weight in weights:
            own = [row for row in rows if weight is None or row["lambda"] == weight]
            label = curve if weight is None else f"lambda {weight:g}"
            drawn = [(row[x], row[curve]) for row in own if row.get(curve) is not None]
            if drawn:
                axes.plot(*zip(*drawn, strict=True), ".-", label=label)
    if name not in ("3", "D2"):
        axes.set_xscale("log", base=2)
    axes.set(xlabel=x)
