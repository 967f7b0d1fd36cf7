"""The page's address: its query says which example, label and slider position are shown.

Anybody can write an address. Its values are parsed and bounded, and ignored where they are of no
use. Of a visitor's own image and directions it says only that there were some.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from gcd_core.ui.frames import SLIDERS, Alphas
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.session import Session

MAX_QUERY_LENGTH = 1000  # letters of a query that are read
GONE = "This address is of an own picture, which this tab does not have: open its file again."
OTHERS_GONE = (
    "The directions that you had found or loaded are gone too: these are the bundled ones."
)


class PageLocation(NamedTuple):
    """What can be used of an address."""

    example: int | None  # from 0; None if the address names none
    label: str | None
    alphas: Alphas  # the slider position, each alpha within +- `alpha_max`
    directions: str | None  # the name of the set; None if the address says nothing of it
    lost: list[str]  # what cannot be brought back, in sentences


def address_of(image: OpenImage) -> str:
    """Return the query, without "?", that leads back to an open image and its slider position."""
    own = ("own", "1") if image.example is None else ("example", str(image.example + 1))
    parts = [own, ("label", image.label)]
    if not image.bundled:
        parts.append(("directions", "own"))
    parts += [(name, f"{alpha:g}") for name, alpha in image.sliders.alphas.items()]
    return urlencode(parts)


def read_address(query: str, session: Session) -> PageLocation:
    """Read a query, with or without "?", for a session's domain."""
    domain, image = session.service.domain, session.image
    given = dict(parse_qsl(query.lstrip("?")[:MAX_QUERY_LENGTH]))
    example = _whole(given.get("example"))
    if example is not None and not 1 <= example <= len(domain.examples):
        example = None
    label = given.get("label")
    alphas = {}
    for name in SLIDERS:
        alpha = _number(given.get(name))
        if alpha is not None:
            alphas[name] = min(max(alpha, -domain.alpha_max), domain.alpha_max)
    known = label if label in domain.labels else None
    lost = []
    if "own" in given and (image is None or image.example is not None):
        lost.append(GONE)
    directions = None
    if "directions" in given:
        names = [call(known or session.label) for call in (session.sets.used, session.sets.newest)]
        directions = next((name for name in names if name != BUNDLED), BUNDLED)
        if directions == BUNDLED:
            lost.append(OTHERS_GONE)
    elif "example" in given or "own" in given:
        directions = BUNDLED
    if lost:  # the position belongs to another image, or to other directions
        alphas = {}
    return PageLocation(None if example is None else example - 1, known, alphas, directions, lost)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def restore(session: Session, query: str) -> list[str]:
    """Open what a query says, and move the sliders there.

    A new session opens the first example where the query names none.

    Returns
    -------
    list of str
        What could not be brought back, in sentences.
    """
    where = read_address(query, session)
    label = where.label or session.label
    if where.directions not in (None, session.sets.used(label)):
        session.use(label, where.directions)
    elif label != session.label:
        session.explain(label)
    if where.example is not None:
        if session.image is None or session.image.example != where.example:
            session.open_example(where.example)
    elif session.image is None and session.service.domain.examples:
        session.open_example(0)
    if session.image is not None and not where.lost:
        sliders = session.image.sliders
        alphas = {name: alpha for name, alpha in where.alphas.items() if name in sliders.names}
        if alphas != sliders.alphas:
            sliders.move(alphas)
    return where.lost
