"""The menu of domains, and what is seen instead of one that is not open yet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import chain, count

from gcd_core.domains.finding import Entry

BELOW = "domains"  # where the pages of all domains but the first are


@dataclass(frozen=True)
class DomainLink:
    """Where the page of a domain is, and what the menu says of it."""

    title: str
    description: str
    name: str = ""  # its part of the address below BELOW; empty for the domain at the root

    @property
    def path(self) -> str:
        """The page's address from the root, which begins and ends without and with a slash."""
        return f"{BELOW}/{self.name}/" if self.name else ""

    def link_to(self, other: DomainLink) -> str:
        """The other page's address from this one's: it holds behind any proxy."""
        return "../" * self.path.count("/") + other.path or "./"


def domain_links(entries: Sequence[Entry]) -> list[DomainLink]:
    """Where the domains beside the first are: each under a name of its own."""
    places: dict[str, DomainLink] = {}
    for entry in entries:
        plain = re.sub("[^a-z0-9]+", "-", entry.name.lower()).strip("-") or "domain"
        names = chain([plain], (f"{plain}-{i}" for i in count(2)))
        name = next(name for name in names if name not in places)
        places[name] = DomainLink(entry.title, entry.description, name)
    return list(places.values())


def menu(places: Sequence[DomainLink], here: DomainLink) -> str:
    """The domains to choose from, as HTML; nothing where there is no choice."""
    if len(places) < 2:
        return ""
    links = "".join(
        f'<a href="{here.link_to(place)}"{" aria-current=page" if place is here else ""}>'
        f"<b>{escape(place.title)}</b><small>{escape(place.description)}</small></a>"
        for place in places
    )
    return (
        f'<details class="gcd-menu"><summary title="Choose a domain">{escape(here.title)}</summary>'
        f'<nav aria-label="Domains">{links}</nav></details>'
    )


def opening(
    places: Sequence[DomainLink], here: DomainLink, problem: str, style: str, script: str
) -> str:
    """The page of a domain that is being opened, or that could not be.

    Parameters
    ----------
    places : sequence of DomainLink
        For the menu.
    here : DomainLink
        The domain's.
    problem : str
        Why it could not be opened, in a sentence; empty while it is being opened.
    style, script : str
        The page's own, in full.
    """
    title = escape(here.title)
    if problem:
        body = (
            f'<section class="gcd-card gcd-opening"><h2>{title} could not be opened</h2>'
            f'<p role="alert">{escape(problem)}</p><a href="./?again">Try again</a></section>'
        )
    else:
        body = (
            '<section class="gcd-card gcd-opening waits" role="status">'
            f'<div class="gcd-wait"><span></span><b>Loading {title} &hellip;</b></div>'
            "<p>Nobody has opened it since this server started, so it takes a moment.</p>"
            "</section>"
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>GCD Explorer</title><style>{style}</style><script>\n{script}</script></head>"
        f'<body class="gcd-alone"><div class="gcd-header"><h1>GCD Explorer</h1>'
        f"{menu(places, here)}</div>{body}</body></html>"
    )
