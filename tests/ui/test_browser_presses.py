"""What a visitor presses before the picture is there waits for it, and says so."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.images.drawing import to_pil
from gcd_core.ui.session.flips import Flips
from tests.ui.conftest import Served
from tests.ui.fakes import draw
from tests.ui.test_browser import (
    browser,
    others_to_come,
    prepared,
    pytestmark,
    session_of,
    visit,
    wait_until,
)
from tests.ui.views.test_doubts import Strange
from tests.ui.waiting import Held

__all__ = ["browser", "pytestmark", "visit"]  # what pytest finds here


@pytest.fixture
def held(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """The opening of an example, which waits until it may go on."""
    examples = served.visitors.service.examples
    held = Held(examples.open)
    monkeypatch.setattr(examples, "open", held)
    yield held
    held.go_on.set()


def opening(page, held: Held, example: int) -> None:
    page.locator("#examples button").nth(example).click()
    wait_until(page, held.called.is_set)


@pytest.mark.parametrize("first_flip", ["on", "off"])
def test_another_way_waits_for_the_picture(served: Served, visit, held: Held, first_flip: str):
    held.go_on.set()
    page = visit(served.address)
    prepared(page)
    page.locator("[data-first-flip]").set_checked(first_flip == "on")
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    held.called.clear(), held.go_on.clear()
    opening(page, held, 4)
    page.locator("#flip-another").click()
    page.locator("#pictures .gcd-doing").wait_for()
    held.go_on.set()
    page.wait_for_selector("#pictures [data-address^='example=5&']")
    wait_until(page, lambda: "ithout g" in page.locator("#bars").inner_text())
    prepared(page)
    assert "&g=" not in page.locator("#pictures [data-address]").get_attribute("data-address")


def test_a_flip_that_was_asked_for_comes_in_the_place_of_the_first(
    served: Served, visit, held: Held
):
    held.go_on.set()
    page = visit(served.address)
    prepared(page)
    page.locator("[data-first-flip]").check()
    held.called.clear(), held.go_on.clear()
    opening(page, held, 5)
    page.locator("#flip-h1").click()
    held.go_on.set()
    page.wait_for_selector("#pictures [data-address^='example=6&'][data-address*='&h1=']")
    prepared(page)
    page.wait_for_timeout(600)  # the first flip comes 300 ms after its picture
    assert "&h1=" in page.locator("#pictures [data-address]").get_attribute("data-address")


def test_the_last_of_two_examples_opens(served: Served, visit, held: Held):
    held.go_on.set()
    page = visit(served.address)
    prepared(page)
    held.called.clear(), held.go_on.clear()
    opening(page, held, 6)
    page.locator("#examples button").nth(7).click()
    held.go_on.set()
    page.wait_for_selector("#pictures [data-address^='example=8&']")
    prepared(page)


def test_a_report_is_of_the_picture_that_is_being_opened(served: Served, visit, held: Held):
    held.go_on.set()
    page = visit(served.address)
    prepared(page)
    held.called.clear(), held.go_on.clear()
    opening(page, held, 2)
    with page.expect_download() as download:
        page.locator("#path-csv").click()
        held.go_on.set()
    page.wait_for_selector("#pictures [data-address^='example=3&']")
    session = session_of(served, page)
    assert session.image.example == 2
    path = session.image.paths.get("g")
    first = next(csv.DictReader(download.value.path().read_text().splitlines()))
    assert float(first["pneumonia"]) == pytest.approx(float(path.probabilities[0]), abs=1e-4)


def test_a_heartbeat_that_is_cut_off_stops_no_path(
    served: Served, visit, monkeypatch: pytest.MonkeyPatch
):
    generator = served.visitors.service.domain.generator
    monkeypatch.setattr(generator, "seconds_per_image", 0.1)
    page = visit(served.address)
    page.locator("#examples button").nth(8).click()
    page.wait_for_selector("#pictures [data-address^='example=9&']")
    others_to_come(page)
    session = session_of(served, page)
    (key,) = (key for (_, key), one in served.visitors._sessions.items() if one is session)
    served.visitors.leave(key)
    generator.seconds_per_image = 0.001
    prepared(page)
    assert not served.visitors._sessions[served.visitors.service, key].is_away


def test_the_first_flip_of_a_picture_comes_after_that_of_the_one_before(
    served: Served, visit, monkeypatch: pytest.MonkeyPatch
):
    """A picture is opened while the flip of the one before is looked for: nothing is lost."""
    flips = Held(Flips.to_flip)
    flips.go_on.set()
    monkeypatch.setattr(Flips, "to_flip", lambda self, *args: flips(self, *args))
    page = visit(served.address)
    prepared(page)
    page.locator("[data-first-flip]").check()
    flips.called.clear(), flips.go_on.clear()
    page.locator("#examples button").nth(9).click()
    wait_until(page, flips.called.is_set)
    page.locator("#examples button").nth(10).click()
    page.wait_for_selector("#pictures [data-address^='example=11&']")
    page.wait_for_timeout(600)  # longer than the page looks for its picture
    flips.go_on.set()
    page.wait_for_selector("#pictures [data-address^='example=11&'][data-address*='&g=']")
    assert not page.locator(".toast-body").count()


def test_a_flip_of_a_picture_that_is_open_no_more_says_nothing(
    served: Served, visit, monkeypatch: pytest.MonkeyPatch
):
    """Nor does its error, which is none of the visitor's."""

    def left(self: Flips, *args: object) -> None:
        others.go_on.wait(60)
        raise GCDError("Another image was opened meanwhile.")

    others = Held(left)
    monkeypatch.setattr(Flips, "to_flip", lambda self, *args: others(self, *args))
    page = visit(served.address)
    prepared(page)
    page.locator("[data-first-flip]").uncheck()
    others.called.clear(), others.go_on.clear()
    page.locator("#flip-g").click()
    wait_until(page, others.called.is_set)
    page.locator("#examples button").nth(8).click()
    page.wait_for_selector("#pictures [data-address^='example=9&']")
    others.go_on.set()
    prepared(page)
    page.wait_for_selector("#flip-g:not([aria-busy=true])")
    assert not page.locator(".toast-body").count()


@pytest.mark.parametrize("score, flips", [(1.0, True), (1000.0, False)])
def test_a_picture_of_another_kind_does_not_flip_by_itself(
    served: Served,
    visit,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    score: float,
    flips: bool,
):
    """The answer means nothing, and looking for a flip takes long; who asks for one gets it."""
    domain = served.visitors.service.domain
    monkeypatch.setattr(domain, "off_distribution", Strange(score))
    page = visit(served.address)
    prepared(page)
    page.locator("[data-first-flip]").check()
    file = tmp_path / "mine.png"
    to_pil(draw(torch.tensor([[score, 0.5, 1.0, 2.0, 0, 0, 0, 0]]).clamp(max=1.5))).save(file)
    page.locator("#source input[type=file]").set_input_files(file)
    page.wait_for_selector("#pictures [data-address^='own=1&']")
    prepared(page)
    if not flips:
        assert "&g=" not in page.locator("#pictures [data-address]").get_attribute("data-address")
        page.locator("#flip-g").click()
    page.wait_for_selector("#pictures [data-address^='own=1&'][data-address*='&g=']")


def test_another_choice_of_how_sure_flips_anew_and_moves_no_slider_else(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    alpha = page.locator("#slider-g input[type=number]")
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    wait_until(page, lambda: float(alpha.input_value()) != 0)
    sure = abs(float(alpha.input_value()))
    page.locator("#target").get_by_text("just flipped").click()
    wait_until(page, lambda: 0 < abs(float(alpha.input_value())) < sure)
    page.wait_for_selector("#pictures .flipped")
    alpha.fill("0.5")
    alpha.press("Enter")
    page.wait_for_selector("#pictures [data-address*='g=0.5']")
    page.locator("#target").get_by_text("strongest").click()
    page.wait_for_timeout(600)  # a flip would begin after 30 ms
    assert float(alpha.input_value()) == 0.5


def test_ctrl_z_takes_back_one_move_at_a_time(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    place = "document.querySelector('#pictures [data-address]').dataset.address"
    rest = page.evaluate(place)
    seen = [rest]
    for name in ("g", "h1"):
        page.locator(f"#flip-{name}").click()
        page.wait_for_selector(f"#pictures [data-address*='&{name}=']")
        page.wait_for_function(f"location.search.includes('&{name}=')")
        seen.append(page.evaluate(place))
    for before in reversed(seen[:-1]):
        page.keyboard.press("Control+z")
        page.wait_for_function(f"{place} === {before!r}")
        page.wait_for_function(f"location.search === '?{before}'")
    page.keyboard.press("Control+z")  # nothing is left to take back
    assert page.evaluate(place) == rest


def test_a_region_is_painted_by_the_keyboard(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    frame = page.locator("#pictures .changed .frame")
    assert frame.get_attribute("tabindex") is None, "no stop while nothing is painted"
    page.locator("#tools [data-do=region]").click()
    page.locator("[name=brush-size]").fill("12")
    frame.focus()
    share = page.locator(".gcd-painter .share")
    for key in (*["ArrowLeft"] * 2, "Enter", *["ArrowRight"] * 4, "Space"):
        page.keyboard.press(key)
    side = int(page.locator("#pictures .gcd-pictures").get_attribute("data-side"))
    spot = 100 * 3.14159 * 6**2 / side**2
    assert float(share.inner_text().split()[0]) == pytest.approx(2 * spot, rel=0.1, abs=0.6)
    page.locator("#tools [data-do=region]").click()
    assert frame.get_attribute("tabindex") is None
