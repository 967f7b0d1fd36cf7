"""Two sets of directions of one generator: how alike they are, direction by direction."""

from __future__ import annotations

from typing import NamedTuple

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.prior_search import places_of


class Match(NamedTuple):
    """A direction of one set, held against the other set."""

    name: str
    # What the other set calls the same one: its direction of the same place, where this one was
    # looked for in a place, else of the same name; None where it has none.
    partner: str | None
    cosine: float | None  # with that one, in [-1, 1]
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
    own, others = places_of(one.metadata), places_of(other.metadata)
    by_place = {place: name for name, place in others.items() if name in other.names}
    unplaced = {name: name for name in other.names if name not in others}
    rows = (one.vectors.double() @ other.vectors.double().T).clamp(-1, 1)
    for name, cosines in zip(one.names, rows.tolist(), strict=True):
        nearest = max(range(len(cosines)), key=lambda i: abs(cosines[i]))
        partner = by_place.get(own[name]) if name in own else unplaced.get(name)
        cosine = None if partner is None else cosines[other.names.index(partner)]
        found.append(Match(name, partner, cosine, other.names[nearest], cosines[nearest]))
    return found
