"""The menu of domains: where their pages are, and what is seen before one is open."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest

from gcd_core.domains.finding import Entry
from gcd_core.ui.page import header
from gcd_core.ui.server.domain_menu import DomainLink, domain_links, menu, opening
from tests.ui.fakes import FakeDomain

CHEST = DomainLink("Chest radiographs", "Of children.")


def places() -> list[DomainLink]:
    names = ("blood-cells", "Blood cells", "../<b>", "***")
    return [CHEST, *domain_links([Entry("somewhere", name, f"<{name}>", "") for name in names])]


def test_every_domain_has_a_name_of_its_own_that_fits_an_address():
    names = [place.name for place in places()]
    assert names == ["", "blood-cells", "blood-cells-2", "b", "domain"]


@pytest.mark.parametrize("root", ["http://host/", "https://host/behind/a/proxy/"])
def test_the_links_lead_from_each_page_to_each_other(root: str):
    for here in places():
        for there in places():
            link = here.link_to(there)
            assert not link.startswith("/")
            assert urljoin(root + here.path, link) == root + there.path


def test_the_menu_shows_all_domains_and_marks_the_one_that_is_open():
    every = places()
    shown = menu(every, every[1])
    assert shown.count("<a ") == len(every) and "<b>&lt;blood-cells&gt;</b>" in shown
    (current,) = re.findall('<a href="([^"]*)" aria-current=page>', shown)
    assert current == "../../domains/blood-cells/"
    assert "<../" not in shown


def test_one_domain_needs_no_menu(tmp_path: Path):
    assert menu([CHEST], CHEST) == ""
    domain = FakeDomain(tmp_path, examples=0)
    assert "<span>Drawn chest<i>What would change" in header(domain)
    assert "Drawn chest" not in header(domain, menu(places(), CHEST))


def test_what_is_seen_while_a_domain_is_opened_and_after_it_failed():
    every = places()
    while_opened = opening(every, every[1], "", "b {}", "script;")
    assert "Loading &lt;blood-cells&gt; &hellip;" in while_opened and "waits" in while_opened
    assert "b {}" in while_opened and "script;" in while_opened and "again" not in while_opened
    failed = opening(every, every[1], "No <file>.", "", "")
    assert "No &lt;file&gt;." in failed and 'href="./?again"' in failed
    assert "Loading" not in failed and "waits" not in failed
    assert menu(every, every[1]) in failed
