"""Where a visitor is, as the query of the page's address: an example, a label, how far along what.

An address can be written by anybody: what it holds is parsed, bounded, and ignored where it fits
nothing. Of a visitor's own image and directions it says only that there were some.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from gcd_core.ui.frames import SLIDERS, Alphas
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.session import Session

MAX_QUERY_LENGTH = 1000  # letters of a query that is looked at
GONE = (
    "Your picture is not kept on the server once the page is closed or loaded anew: open it again."
)
OTHERS_GONE = (
    "The directions that you had found or loaded are gone too: these are the bundled ones."
)


class PageLocation(NamedTuple):
    """What an address says, as far as it can be used.

    Attributes
    ----------
    example : int or None
        From 0; None where none is named.
    label : str or None
    alphas : dict
        Along each direction, within +- `alpha_max`.
    lost : list of str
        What it speaks of that cannot be brought back, in sentences.
    """

    example: int | None
    label: str | None
    alphas: Alphas
    lost: list[str]


def address_of(session: Session) -> str:
    """The query, without "?", that leads back to where a session is; "" where nothing is open."""
    if session.opened is None:
        return ""
    parts: list[tuple[str, str]] = []
    if session.example is None:
        parts.append(("own", "1"))
    else:
        parts.append(("example", str(session.example + 1)))
    parts.append(("label", session.label))
    if session.sets.used(session.label) != BUNDLED:
        parts.append(("directions", "own"))
    parts += [(name, f"{alpha:g}") for name, alpha in session.alphas.items()]
    return urlencode(parts)


def read_address(query: str, session: Session) -> PageLocation:
    """Read a query, with or without "?", for a session's domain."""
    domain = session.service.domain
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
    if "own" in given and (session.opened is None or session.example is not None):
        lost.append(GONE)
    if "directions" in given and session.sets.used(known or session.label) == BUNDLED:
        lost.append(OTHERS_GONE)
    if lost:  # a place along other directions, or in another picture, is none in these
        alphas = {}
    return PageLocation(None if example is None else example - 1, known, alphas, lost)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def visit(session: Session, query: str) -> list[str]:
    """Bring a session to where a query says; return what could not be brought back, in sentences.

    Without a place in it, or any use of it, a session that is new begins with the first example.
    """
    where = read_address(query, session)
    if where.label is not None and where.label != session.label:
        session.explain(where.label)
    if where.example is not None and where.example != session.example:
        session.open_example(where.example)
    elif session.opened is None and session.service.domain.examples:
        session.open_example(0)
    alphas = {name: alpha for name, alpha in where.alphas.items() if name in session.names}
    if session.opened is not None and not where.lost and alphas != session.alphas:
        session.move(alphas)
    return where.lost
