"""Where the sliders stand: the directions that have one, their stops, and the stops near by."""

from __future__ import annotations

from collections.abc import Iterator

from gcd_core.method.directions import DirectionSet

POINTS = 25  # decoded pictures on a path, both ways and the middle
MAX_H = 8  # h-directions that the page has room for
SLIDERS = ("g", *(f"h{i}" for i in range(1, MAX_H + 1)))

Alphas = dict[str, float]  # how far along each direction; one that is left out stands at 0


def alpha_grid(alpha_max: float) -> list[float]:
    """POINTS positions from -alpha_max to +alpha_max; every slider stop has a decoded picture."""
    half = POINTS // 2
    return [round(alpha_max * i / half, 4) for i in range(-half, half + 1)]


def shown_names(directions: DirectionSet) -> list[str]:
    """The directions of a set that the page has a slider for."""
    return [name for name in SLIDERS if name in directions.names]


def rounded(alphas: Alphas, names: list[str]) -> Alphas:
    """Positions as they are compared and kept: of known directions, without zeros."""
    near = {name: round(float(alphas[name]), 4) for name in names if name in alphas}
    return {name: alpha for name, alpha in near.items() if alpha}


def neighbours(here: Alphas, names: list[str], moved: str, alpha_max: float) -> Iterator[Alphas]:
    """The stops next to a position, up and down along each direction, that of `moved` first."""
    stops = alpha_grid(alpha_max)
    for name in sorted(names, key=lambda name: name != moved):
        at = min(range(POINTS), key=lambda i: abs(stops[i] - here.get(name, 0.0)))
        for i in (at + 1, at - 1):
            if 0 <= i < POINTS:
                yield rounded(here | {name: stops[i]}, names)
