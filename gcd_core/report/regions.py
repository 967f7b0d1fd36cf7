"""A page of the report for regions that were tried alone: what changed inside each of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gcd_core.images.drawing import BRIGHTNESS, difference, outlined, overlay, to_pil
from gcd_core.report.content import Report, TriedRegion
from gcd_core.report.layout import GAP, INK, INNER, MARGIN, SOFT, Sheet
from gcd_core.wording import signed

REGIONS_A_PAGE = 3
TOP, HEIGHT = 42.0, 81.0  # where the first begins, and what each takes, in millimetres
SIDE = (INNER - 2 * GAP) / 3  # of a picture
TEXT_LINES = 3


def draw_regions(sheet: Sheet, report: Report, regions: Sequence[TriedRegion]) -> None:
    """Draw up to `REGIONS_A_PAGE` regions, one below the other.

    Of each the original, the picture that was changed inside its outline alone, and the difference.
    """
    sheet.text(MARGIN, 31, "Regions that were changed alone", 13, bold=True)
    rest = "On the other side of its outline each picture is the original."
    sheet.text(MARGIN, 36, rest, 8.5, SOFT)
    for row, region in enumerate(regions):
        _draw_region(sheet, report, region, TOP + row * HEIGHT)


def surrounds(mask: Tensor) -> bool:
    """Whether a mask (h, w) holds most of the picture's edge: its outline encloses the rest."""
    edge = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(edge.float().mean() > 0.5)


def _draw_region(sheet: Sheet, report: Report, region: TriedRegion, y: float) -> None:
    positive = report.labels[report.explained].positive
    moved = difference(region.changed, report.source)
    change = overlay(report.source, moved, palette=BRIGHTNESS)
    panels = [
        ("Original", f"{positive} {region.before}", to_pil(outlined(report.source, region.mask))),
        ("Changed", f"{positive} {region.after}", to_pil(outlined(region.changed, region.mask))),
        ("Change", "yellow brighter, green darker", change),
    ]
    side = "outside" if surrounds(region.mask) else "inside"
    sheet.text(MARGIN, y, f"{region.title}: changed {side} of the outline", 8.5, bold=True)
    by = f"by {report.direction(region.direction)}"
    if region.strength is not None:
        by += f", {report.say('strength', 'alpha')} {signed(region.strength)}"
    sheet.text(MARGIN + INNER, y, by, 8, SOFT, align="right", room=INNER / 2)
    for i, (title, note, image) in enumerate(panels):
        x = MARGIN + i * (SIDE + GAP)
        sheet.picture(x, y + 2, SIDE, image)
        at = y + 2 + SIDE + 4
        sheet.text(x, at, title, 8, bold=True, room=SIDE)
        start = sheet.width(title, 8, bold=True) + 2
        sheet.text(x + SIDE, at, note, 7, SOFT, align="right", room=SIDE - start)
    sheet.paragraph(MARGIN, y + SIDE + 10.5, region.told, INNER, 8, INK, 3.8, most=TEXT_LINES)
