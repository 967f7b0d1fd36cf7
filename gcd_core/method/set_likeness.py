"""Two sets of directions of one generator: how alike they are, direction by direction."""

from __future__ import annotations

from typing import NamedTuple

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet


class Match(NamedTuple):
    """A direction of one set, held against the other set."""

    name: str
    # With the direction of the same name, in [-1, 1]; None where the other set has none.
    cosine: float | None
    nearest: str  # the other set's whose cosine has the largest absolute value
    nearest_cosine: float


def matches(one: DirectionSet, other: DirectionSet) -> list[Match]:
    """Hold each direction of a set against those of another.

    Parameters
    ----------
    one, other : DirectionSet
        Unit vectors of codes of the same size; `other` has one or more.

    Returns
    -------
    list of Match
        In the order of `one`.

    Raises
    ------
    GCDError
        If the vectors differ in size, so that the sets belong to different generators.
    """
    if one.vectors.shape[1] != other.vectors.shape[1]:
        raise GCDError("These two sets belong to different generators: they cannot be compared.")
    found = []
    rows = (one.vectors.double() @ other.vectors.double().T).clamp(-1, 1)
    for name, cosines in zip(one.names, rows.tolist(), strict=True):
        nearest = max(range(len(cosines)), key=lambda i: abs(cosines[i]))
        same = cosines[other.names.index(name)] if name in other.names else None
        found.append(Match(name, same, other.names[nearest], cosines[nearest]))
    return found
