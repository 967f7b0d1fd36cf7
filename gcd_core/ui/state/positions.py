"""Where the sliders stand: the directions that have one, their stops, and the stops near by."""

from __future__ import annotations

from collections.abc import Iterator

from gcd_core.method.directions import DirectionSet

LINE_POINTS = 9  # decoded on a line along several directions, its ends included
POINTS = 25  # decoded pictures on a path, both ways and the middle
MAX_H, MAX_W = 8, 4  # h-directions and independent ways that the page has room for
SLIDERS = (
    "g",
    *(f"h{i}" for i in range(1, MAX_H + 1)),
    *(f"w{i}" for i in range(1, MAX_W + 1)),
)
# A direction folds away where the proxy's logit changes along it by less than both. 1 takes an even
# chance to 73 % at most. Where the proxy is mild about everything, so that g itself takes it little
# farther, a direction still counts that reaches a quarter as far as the farthest.
LEAST_REACH = 1.0  # log-odds
LEAST_SHARE = 0.25  # of the reach of the set's farthest-reaching direction

Alphas = dict[str, float]  # how far along each direction; one that is left out stands at 0


def alpha_grid(alpha_max: float) -> list[float]:
    """POINTS positions from -alpha_max to +alpha_max; every slider stop has a decoded picture."""
    half = POINTS // 2
    return [round(alpha_max * i / half, 4) for i in range(-half, half + 1)]


def shown_names(directions: DirectionSet) -> list[str]:
    """The directions of a set that the page has a slider for."""
    return [name for name in SLIDERS if name in directions.names]


def folded_names(directions: DirectionSet, alpha_max: float) -> list[str]:
    """The shown directions that hardly move the proxy's logit within `alpha_max`, never g.

    None of a set without a proxy, of which that is not known.
    """
    reach = directions.reach(alpha_max)
    if reach is None:
        return []
    bound = min(LEAST_REACH, LEAST_SHARE * float(reach.max()))
    far = dict(zip(directions.names, reach.tolist(), strict=True))
    return [name for name in shown_names(directions) if name != "g" and far[name] < bound]


def by_reach(directions: DirectionSet, alpha_max: float) -> list[str]:
    """The shown directions, those last that hardly move the proxy's logit."""
    folded = folded_names(directions, alpha_max)
    return sorted(shown_names(directions), key=lambda name: name in folded)


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
