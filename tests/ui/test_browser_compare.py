"""In a real browser: what was compared comes back, and two sets of directions side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gcd_core.method.directions import DirectionSet
from tests.ui.conftest import Served, served
from tests.ui.test_browser import (
    ARTEFACTS,
    browser,
    go_to,
    prepared,
    pytestmark,
    session_of,
    visit,
    wait_until,
)

__all__ = ["browser", "pytestmark", "served", "visit"]  # what pytest finds here


def other_set(served: Served) -> DirectionSet:
    """A g of one's own, and an h1 that is the reverse of the bundled one."""
    own = served.visitors.service.ready_directions("pneumonia")
    g = torch.nn.functional.normalize(own["g"].vector + 0.75 * own["h1"].vector, dim=0)
    vectors = torch.stack([g, -own["h1"].vector])
    return DirectionSet(["g", "h1"], vectors, own.metadata)


def test_a_page_that_is_loaded_anew_at_compare_shows_it(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.get_by_role("tab", name="Compare directions").click()
    page.wait_for_selector("#matrix table")
    before = page.locator("#cards").inner_text()
    page.reload()
    page.wait_for_selector("#matrix table")
    assert page.url.endswith("#compare") and page.locator("#cards").inner_text() == before
    assert page.locator(".toast-wrap .toast-body").count() == 0
    another = visit(served.address)
    another.goto(f"{served.address}/?example=2&label=pneumonia#compare")
    another.wait_for_selector("#matrix table")
    assert another.locator(".toast-wrap .toast-body").count() == 0


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_two_sets_stand_side_by_side(served: Served, visit, width: int):
    page = visit(served.address, width, 844)
    prepared(page)
    session_of(served, page).sets.keep("pneumonia", "mine", other_set(served))
    go_to(page, "compare")
    page.wait_for_selector("#matrix table")
    page.get_by_role("button", name="Two sets side by side").click()
    wait_until(page, lambda: page.locator("#second-set input").input_value() == "mine")
    page.locator("#compare-sets").click()
    cards = page.locator("#sets-result .gcd-set-side")
    wait_until(page, lambda: page.locator("#sets-result .gcd-set-side img").count() == 4)
    assert cards.count() == 4
    told = page.locator("#sets-result").inner_text()
    assert "g of bundled and mine: cosine +0." in told and "nearly the reverse" in told
    assert "only in bundled: nearest in mine" in told
    page.screenshot(path=ARTEFACTS / f"two-sets-{width}.png", full_page=True)
    out = page.evaluate(
        """() => [...document.querySelectorAll('#two-sets *')].filter(one => {
            const box = one.getBoundingClientRect();
            return box.width > 2 && !one.closest('.sr') && box.right > innerWidth + 1;
        }).map(one => one.outerHTML.slice(0, 90))"""
    )
    assert not out
    below = page.evaluate(  # as it is while its way is followed beside a card that is done
        """() => {
            const side = document.querySelector('#sets-result .gcd-set-side').cloneNode(true);
            side.querySelector('dl').remove();
            side.querySelector('img').outerHTML = '<div class="gcd-wait"><span></span>...</div>';
            const row = document.querySelector('#sets-result .gcd-set-row');
            row.querySelector('.gcd-set-side').replaceWith(side);
            const told = side.querySelector(':scope > .gcd-quiet').getBoundingClientRect();
            return told.bottom - side.getBoundingClientRect().bottom;
        }"""
    )
    assert below <= 1
    with page.expect_download() as saved:
        page.locator("#sets-json").click()
    numbers = json.loads(Path(saved.value.path()).read_text())
    assert saved.value.suggested_filename == "drawn-chest-pneumonia-two-sets.json"
    assert numbers["sets"] == ["bundled", "mine"] and numbers["state"] == "done"
    page.reload()  # and what was compared is there again
    wait_until(page, lambda: page.locator("#sets-result .gcd-set-side img").count() == 4)
    assert page.locator("#sets-result").inner_text() == told
