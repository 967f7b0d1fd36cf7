"""A visitor's notes on directions: which set they are on, and what it is with them."""

from __future__ import annotations

from dataclasses import replace

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.notes import Note, with_note
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.session import Session


def named(session: Session, name: str) -> DirectionSet | None:
    """Return the explained label's set of a name, "" the newest; None where there is none.

    Raises a GCDError if no set has this name.
    """
    label, name = session.label, name or session.sets.newest(session.label)
    if name == BUNDLED:
        return session.sets.noted(label) or session.service.ready_directions(label)
    return session.sets.get(label, name)


def note(session: Session, name: str, direction: str, said: Note) -> DirectionSet:
    """Note something on a direction of a set of the explained label; return the set with it.

    Raises a GCDError if there is no such set or direction.
    """
    name = name or session.sets.newest(session.label)
    directions = named(session, name)
    if directions is None:
        raise GCDError("There are no directions to note anything on yet: find or load some first.")
    metadata = with_note(directions.metadata, directions[direction].name, said)
    noted = replace(directions, metadata=metadata)
    session.show_noted(name, noted)
    return noted
