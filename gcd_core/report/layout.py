"""An A4 sheet to draw on in millimetres: text that fits, boxes, pictures, plots."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from gcd_core.images.drawing import EVIDENCE, Palette

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties

DPI = 200  # of the PNG
PICTURE = 512  # pixels that a picture is enlarged to, so that every viewer shows it alike
WIDTH, HEIGHT, MARGIN = 210.0, 297.0, 17.0  # A4, in millimetres, as every length below
INNER = WIDTH - 2 * MARGIN
GAP = 4.0
COLUMN = (INNER - 3 * GAP) / 2
INK, SOFT, FAINT, LINE, WELL = "#1b2229", "#59646e", "#98a2ab", "#d8dde2", "#eceff2"
BEFORE, ACCENT = "#a9b3bc", "#0b72a8"
FAMILIES = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")


# -- the page ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4096)
def advance(character: str, family: str, bold: bool) -> float:
    """How far a character moves the pen, as a share of the font's size."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    weight = "bold" if bold else "normal"
    font = get_font(findfont(FontProperties(family=family, weight=weight)))
    font.set_size(100, 72)
    return font.load_char(ord(character)).linearHoriAdvance / 65536 / 100


class Sheet:
    """A figure of A4 size, drawn on in millimetres from its top left corner."""

    def __init__(self, vectors: bool) -> None:
        from matplotlib.figure import Figure
        from matplotlib.font_manager import fontManager

        self.vectors = vectors
        self.figure = Figure(figsize=(WIDTH / 25.4, HEIGHT / 25.4), facecolor="white")
        known = set(fontManager.get_font_names())
        self.family = next(family for family in FAMILIES if family in known)

    def font(self, size: float, bold: bool = False) -> FontProperties:
        """The sheet's typeface, in points."""
        from matplotlib.font_manager import FontProperties

        families = [self.family, FAMILIES[-1]]  # the last comes with matplotlib and has most signs
        return FontProperties(family=families, size=size, weight="bold" if bold else "normal")

    def width(self, text: str, size: float, bold: bool = False) -> float:
        """How long a line of text is."""
        ems = sum(advance(character, self.family, bold) for character in text)
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

    def rule(self, y: float, x: float = MARGIN, width: float = INNER) -> None:
        """A hairline."""
        self.box(x, y, width, 0.2, LINE)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """An empty plot."""
        return self.figure.add_axes(
            (x / WIDTH, 1 - (y + height) / HEIGHT, width / WIDTH, height / HEIGHT)
        )

    def picture(self, x: float, y: float, side: float, image: Image.Image) -> None:
        """A picture in a square; one that is no square keeps its shape, white beside it."""
        self.box(x - 0.2, y - 0.2, side + 0.4, side + 0.4, LINE)
        room = (PICTURE, PICTURE)
        large = ImageOps.pad(image.convert("RGB"), room, Image.Resampling.BICUBIC, color="white")
        axes = self.axes(x, y, side, side)
        axes.imshow(np.asarray(large), interpolation="none" if self.vectors else "antialiased")
        axes.axis("off")

    def gradient(
        self, x: float, y: float, width: float, height: float, palette: Palette = EVIDENCE
    ) -> None:
        """The colours of a map, from the strongest below zero to the strongest above."""
        low, high = palette.negative.flip(0).numpy(), palette.positive.numpy()
        colours = np.concatenate([low, np.ones((1, 3)), high])
        steps = np.linspace(0, len(colours) - 1, 256)
        ramp = [np.interp(steps, range(len(colours)), channel) for channel in colours.T]
        axes = self.axes(x, y, width, height)
        axes.imshow(np.stack(ramp, -1)[None], aspect="auto", interpolation="none")
        axes.axis("off")
