"""In a real browser: a change without its brightness, a wall's tile at its flip, legible axes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ui.conftest import Served, served
from tests.ui.test_browser import ARTEFACTS, browser, prepared, pytestmark, visit

__all__ = ["browser", "pytestmark", "served", "visit"]  # what pytest finds here
SMALLEST = """() => Math.min(...[...document.querySelectorAll('svg.gcd-plot text')]
    .filter(text => text.closest('svg').clientWidth)
    .map(text => parseFloat(getComputedStyle(text).fontSize)
        * text.closest('svg').getBoundingClientRect().width
        / text.closest('svg').viewBox.baseVal.width))"""


def test_the_change_is_seen_and_asked_about_without_its_brightness(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    told = page.locator(".gcd-exposure")
    told.get_by_text("Without it: Pneumonia").last.wait_for()
    assert "flips without it" in told.inner_text() or "no flip without it" in told.inner_text()
    assert "of the change is one brightness curve" in told.text_content()
    whole = page.locator("#pictures .changed img").first.get_attribute("src")
    page.get_by_role("button", name="Brightness kept").click()
    page.wait_for_selector("[data-detail=same-tone][aria-pressed=true]")
    assert page.locator("#pictures .changed img").first.get_attribute("src") != whole
    assert "Tone kept" in page.locator("#pictures .changed figcaption").inner_text()
    page.screenshot(path=ARTEFACTS / "tone-kept.png")
    page.get_by_role("button", name="As changed").click()
    page.wait_for_selector("[data-detail=source][aria-pressed=true]")
    assert "completeness error" in page.locator("#pictures .map").inner_text()


def test_a_page_loaded_anew_looks_at_its_picture_as_before(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.locator("#target").get_by_text("strongest").click()
    page.locator("#overlay").get_by_text("Difference").click()
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    page.get_by_role("button", name="Brightness kept").click()
    page.wait_for_selector("[data-detail=same-tone][aria-pressed=true]")
    page.wait_for_url("**&g=*")
    page.reload()
    page.wait_for_selector("[data-detail=same-tone][aria-pressed=true]")
    for name, value in {"target": "strongest", "overlay": "difference"}.items():
        page.wait_for_selector(f"#{name} input[value={value}]:checked")
    another = visit(served.address)
    prepared(another)
    assert not another.locator("#target input[value=strongest]").is_checked()


@pytest.mark.parametrize("width", [390, 800, 960, 1440])
def test_numbers_of_plots_are_legible(served: Served, visit, width: int):
    page = visit(served.address, width=width)
    prepared(page)
    assert page.evaluate(SMALLEST) >= 10


def test_a_tile_of_the_wall_opens_at_its_flip(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.get_by_role("tab", name="Globality").click()
    page.locator("#walk-images").click()
    page.locator(".gcd-tile.yes").first.wait_for()
    page.wait_for_selector(".gcd-means .scale")
    assert page.evaluate(SMALLEST) >= 10
    assert page.locator(".gcd-alike .gcd-card").evaluate_all(
        "all => all.every(one => one.scrollWidth <= one.clientWidth + 1)"
    )
    page.locator(".gcd-tile.yes").first.click()
    page.wait_for_selector("#pictures .flipped")
    assert float(page.locator("#slider-g input[type=number]").input_value()) != 0


def test_the_names_of_many_files_are_read(served: Served, visit, tmp_path: Path):
    names = ["a-slide-of-march.png", "another.png"]
    for name in names:
        shutil.copyfile(served.visitors.service.domain.examples[0], tmp_path / name)
    page = visit(served.address)
    prepared(page)
    page.get_by_role("tab", name="Globality").click()
    chosen = page.locator("#globality-files input[type=file]")
    chosen.set_input_files([tmp_path / name for name in names])
    page.locator("#globality-files td.filename").nth(1).wait_for()
    widths = page.locator("#globality-files td.filename .stem").evaluate_all(
        "all => all.map(one => [one.clientWidth, one.scrollWidth])"
    )
    assert all(0 < needed <= shown for shown, needed in widths)
