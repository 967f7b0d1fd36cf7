"""The tables' pictures: curves over what an ablation changed, and bars of each direction."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gcd_core.evaluation.trials import Rows

# What is drawn of a table: its x, and its figures.
CURVES = {
    "3": ("probability", ("FR", "map_correlation", "cosine")),
    "S7": ("side", ("FR", "LPIPS", "warned")),
    "SF2": ("alpha", ("lower", "median", "upper")),
}
BARS = {
    "F3": ("direction", ("FR", "oracle")),
    "SF3": ("to", ("BB-LIG", "AD")),
}
PANELS = {"left": "lambda", "middle": "radius"}  # of S-Fig. 4: what each has a curve for
DRAWN = CURVES.keys() | BARS.keys() | {"SF4"}


def draw_table(file: Path, name: str, title: str, rows: Rows) -> None:
    """Draw a table of `DRAWN` as a PNG."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    if name == "SF4":
        for axes, panel in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
            _draw_losses(axes, panel, rows)
    else:
        axes = figure.subplots()
        (_draw_bars if name in BARS else _draw_curves)(axes, name, rows)
        axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(file, dpi=130)


def _draw_losses(axes: Axes, panel: str, rows: Rows) -> None:
    """Draw the CF loss against samples, a curve for each lambda or radius."""
    by = PANELS[panel]
    own = [row for row in rows if row["panel"] == panel]
    for value in dict.fromkeys(row[by] for row in own):
        drawn = [(row["samples"], row["CF loss"]) for row in own if row[by] == value]
        axes.plot(*zip(*drawn, strict=True), ".-", label=f"{by} {value:g}")
    axes.set(xlabel="samples", ylabel="CF loss")
    axes.legend(frameon=False)


def _draw_bars(axes: Axes, name: str, rows: Rows) -> None:
    """Draw bars beside each other for each row; of Fig. 3 g's flip rate is a line too."""
    x, figures = BARS[name]
    width = 0.8 / len(figures)
    for i, figure in enumerate(figures):
        heights = [row[figure] or 0 for row in rows]
        axes.bar([at + i * width for at in range(len(rows))], heights, width, label=figure)
    axes.set_xticks([at + 0.4 - width / 2 for at in range(len(rows))], [row[x] for row in rows])
    axes.set(xlabel="share of the pixels, up to" if name == "SF3" else x)
    for row in rows:
        if row.get("direction") == "g":
            axes.axhline(row["FR"], color="grey", linewidth=0.8)


def _draw_curves(axes: Axes, name: str, rows: Rows) -> None:
    """Draw a table's figures over its x, all as shares."""
    x, curves = CURVES[name]
    rows = sorted((row for row in rows if row.get("direction", "g") == "g"), key=lambda r: r[x])
    for curve in curves:
        share = 100 if curve == "FR" and name == "3" else 1
        drawn = [(row[x], row[curve] / share) for row in rows if row.get(curve) is not None]
        if drawn:
            axes.plot(*zip(*drawn, strict=True), ".-", label=curve)
    if name == "S7":
        axes.set_xscale("log", base=2)
    axes.set(xlabel=x)
