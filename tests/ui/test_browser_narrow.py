"""In a real browser, from a phone to a desk: nothing is cut, covered, or jumps."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gcd_core.images.drawing import to_pil
from gcd_core.ui.tabs import find
from tests.ui.conftest import Served, served
from tests.ui.fakes import draw
from tests.ui.test_browser import (
    ARTEFACTS,
    at_rest,
    browser,
    drag,
    go_to,
    prepared,
    pytestmark,
    session_of,
    visit,
    wait_until,
)
from tests.ui.waiting import Held

__all__ = ["browser", "pytestmark", "served", "visit"]  # what pytest finds here
WIDTHS = [(390, 844), (800, 1112), (960, 800), (1440, 900)]
NUMBERS = (
    ".gcd-title small, .gcd-thumb b, .gcd-pictures .number, #bars strong, #bars .words span, "
    "#bars .gcd-number b, #target label"
)
# Of these elements, those that reach out of something which cuts what it holds, or out of the page.
CUT = """selector => [...document.querySelectorAll(selector)].filter(element => {
    const box = element.getBoundingClientRect();
    if (!box.width) return false;
    let placed = false; // out of what it lies in, up to what is positioned
    for (let one = element; one.id !== 'tabs'; one = one.parentElement) {
        const { overflowX, display, position } = getComputedStyle(one);
        const around = one.getBoundingClientRect(), passed = placed && position === 'static';
        placed = position === 'absolute' || passed;
        if (passed || display === 'inline' || overflowX === 'visible') continue;
        if (box.left < around.left - 1 || box.right > around.right + 1) return true;
    }
    return box.left < 0 || box.right > innerWidth;
}).map(element => element.textContent)"""
# Pairs of what stands in these places, one over the other; and what reaches out of the page.
OVERLAPS = """places => [...document.querySelectorAll(places)].flatMap(holder => {
    const all = [...holder.querySelectorAll('*')].filter(one => one.offsetParent && one.matches(
        'h1, em, summary, button, label, input[type=range], input[type=number], .gcd-thumb, small'
    ) && one.offsetWidth > 2 && !one.closest('.sr, #examples, .hide, details div'));
    const found = [];
    for (const [i, one] of all.entries()) {
        const a = one.getBoundingClientRect();
        const name = one.outerHTML.slice(0, 90);
        if (a.left < -1 || a.right > innerWidth + 1) found.push(`${name} is out`);
        for (const other of all.slice(i + 1)) {
            if (one.contains(other) || other.contains(one)) continue;
            const b = other.getBoundingClientRect();
            const [x, y] = [Math.min(a.right, b.right) - Math.max(a.left, b.left),
                Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)];
            if (x > 2 && y > 2) found.push(`${name} | ${other.outerHTML.slice(0, 90)}`);
        }
    }
    return found;
})"""
FOCUS = """() => {
    const one = document.activeElement, box = one.getBoundingClientRect();
    const [x, y] = [box.left + box.width / 2, box.top + box.height / 2];
    const seen = document.elementFromPoint(x, y);
    const covered = box.width > 2 && !one.contains(seen) && !seen?.contains(one)
        && !one.closest('label')?.contains(seen);
    return [one.outerHTML.slice(0, 120), covered, one.matches('#slider-g input[type=range]')];
}"""
ROWS = "() => [...document.querySelectorAll('.gcd-direction:not(.hide)')].map(one => one.offsetTop)"


def opened(served: Served, visit, size: tuple[int, int], **options):
    """The page with a flip shown."""
    touch = {"has_touch": True, "is_mobile": True} if size[0] < 600 else {}
    page = visit(served.address, *size, **touch, **options)
    prepared(page)
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    page.locator("#bars .gcd-exposure").wait_for()  # the last that follows
    return page


def box(page, selector: str) -> dict[str, float]:
    return page.locator(selector).first.bounding_box()


def apart(one: dict[str, float], other: dict[str, float]) -> bool:
    """Whether two boxes have no point in common."""
    beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
    return (
        beside or one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
    )


@pytest.mark.parametrize("size", WIDTHS)
def test_nothing_is_cut_or_lies_over_another(served: Served, visit, size: tuple[int, int]):
    page = opened(served, visit, size)
    page.screenshot(path=ARTEFACTS / f"width-{size[0]}.png", full_page=True)
    number = page.locator("#slider-g input[type=number]")
    number.fill("-1.8438")
    assert number.evaluate("input => input.scrollWidth <= input.clientWidth")
    assert not page.evaluate(CUT, NUMBERS)
    places = ".gcd-header, #strip, #toolbar, .gcd-direction:not(.hide), #actions"
    assert not page.evaluate(OVERLAPS, places)
    page.get_by_role("button", name="Plain").click()
    page.wait_for_selector("body.plain")
    assert not page.evaluate(CUT, NUMBERS)
    assert not page.evaluate(OVERLAPS, places)


def test_on_a_phone_the_answer_stays_in_sight(served: Served, visit):
    page = opened(served, visit, (390, 844))
    pictures, strip = box(page, "#pictures"), box(page, "#strip")
    assert pictures["y"] + pictures["height"] <= strip["y"], "pictures come first"
    slider = page.locator("#slider-h4 input[type=range]")
    slider.evaluate("input => input.scrollIntoView({ block: 'center' })")
    slider.focus()
    assert page.evaluate("scrollY") > 0
    number = page.locator("#pictures .changed .number")
    before, frame = number.inner_text(), box(page, "#pictures .changed .frame")
    assert 0 <= frame["y"] < 40 and 0 <= box(page, "#pictures .changed .number")["y"] < 250
    slider.press("ArrowRight")
    slider.press("ArrowRight")
    wait_until(page, lambda: number.inner_text() != before)
    assert box(page, "#slider-h4")["y"] > box(page, "#pictures")["y"] + 100
    page.screenshot(path=ARTEFACTS / "phone-in-sight.png")


def test_on_a_phone_a_warning_of_two_lines_is_seen_whole(served: Served, visit):
    page = opened(served, visit, (390, 844))
    page.locator("#pictures figure.original").evaluate(
        "figure => figure.insertAdjacentHTML('beforeend', '<p class=notice>The second opinion "
        "disagrees about the original: Pneumonia 44 %, and more than one line says so.</p>')"
    )
    notice = page.locator("#pictures .original .notice").last
    height, needs = notice.evaluate("one => [one.offsetHeight, one.scrollHeight]")
    assert needs > 25, "two lines"
    assert height >= needs
    below = box(page, "#pictures")
    lies = notice.bounding_box()
    assert lies["y"] + lies["height"] <= below["y"] + below["height"] + 1


def test_the_first_slider_is_near_by_the_keyboard(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the sliders"
    stops = 1
    while not page.evaluate(FOCUS)[2] and stops < 40:
        page.keyboard.press("Tab")
        stops += 1
    assert stops <= 12
    page.keyboard.press("ArrowRight")
    wait_until(page, lambda: page.locator("#slider-g input[type=number]").input_value() == "0.1")
    page.get_by_role("tab", name="About").click()
    page.locator(".gcd-skip").focus()
    page.keyboard.press("Enter")
    wait_until(page, lambda: page.evaluate(FOCUS)[2])


def test_a_group_is_one_stop_and_the_arrows_go_on_in_it(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    for group in (
        "#examples button",
        "#tools > * [data-do]",
        "#tabs [role=tab]",
        "#actions button",
    ):
        stops = page.locator(group).evaluate_all(
            "all => all.filter(one => one.tabIndex === 0).length"
        )
        assert stops <= 1, group
    page.locator("#examples button.chosen").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#pictures [data-address^='example=2&']")
    page.keyboard.press("Tab")  # on to the choice of what is explained
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#pictures [data-address^='example=2&label=bacterial']")
    page.locator("#tabs [role=tab]").first.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    page.locator(".gcd-about").wait_for()


@pytest.mark.parametrize("size", [(390, 844), (1280, 560)])
def test_nothing_covers_what_has_the_focus(served: Served, visit, size: tuple[int, int]):
    page = visit(served.address, *size)
    prepared(page)
    for key in ("Tab", "Shift+Tab"):
        for _ in range(60):
            page.keyboard.press(key)
            what, covered, _ = page.evaluate(FOCUS)
            assert not covered, (key, what)


@pytest.mark.parametrize("size", [(390, 844), (800, 1112), (1440, 900)])
def test_a_message_covers_nothing_of_what_it_is_about(
    served: Served, visit, tmp_path: Path, size: tuple[int, int]
):
    page = visit(served.address, *size)
    prepared(page)
    bad = tmp_path / "bad.png"
    bad.write_text("not a picture")
    page.locator("#source input[type=file]").set_input_files(bad)
    toast = page.locator(".toast-wrap .toast-body")
    toast.get_by_text("not a picture").wait_for()
    page.wait_for_timeout(500)  # it slides in
    for about in ("#strip", "#pictures"):
        assert apart(toast.first.bounding_box(), box(page, about)), about
    page.locator("[data-testid=toast-close]").first.click()
    page.get_by_role("tab", name="Find directions").click()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Samples").fill("-5")
    page.locator("#start").click()
    page.locator(".toast-wrap").get_by_text("-5 samples").wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(500)
    toasts = toast.evaluate_all(  # at once: they go by themselves
        "all => all.map(one => { const { x, y, width, height } = one.getBoundingClientRect();"
        " return { x, y, width, height }; })"
    )
    assert toasts
    for about in ("#samples", "#start", "#subject", "#progress"):
        for one in toasts:
            assert apart(one, box(page, about)), about


@pytest.mark.parametrize("size", [(390, 844), (834, 1112), (1280, 800), (1440, 900)])
def test_no_row_moves_under_the_pointer(served: Served, visit, size: tuple[int, int]):
    """While an image is prepared, when it flips, and when it is put back."""
    page = visit(served.address, *size)
    page.locator("#examples button").nth(5).click()
    page.wait_for_selector("#pictures [data-address^='example=6&']")
    page.wait_for_selector("#direction-g .gcd-thumb img")
    rows, seen = page.evaluate(ROWS), []
    prepared(page)
    seen.append(page.evaluate(ROWS))
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    seen.append(page.evaluate(ROWS))
    page.locator("#bars .gcd-exposure").wait_for()
    drag(page, "h2", 0.6) if size[0] > 600 else page.locator("#flip-h1").click()
    page.wait_for_selector("#pictures [data-address*='h']")
    at_rest(page)
    seen.append(page.evaluate(ROWS))
    page.locator("#reset").click()
    page.wait_for_selector("#pictures [data-address='example=6&label=pneumonia']")
    seen.append(page.evaluate(ROWS))
    assert seen == [rows] * 4


def settled(page, look: Callable[[], list]) -> list:
    """What is seen once all of a tab is laid out, which may come in pieces."""
    seen: list[list] = [look()]

    def twice() -> bool:
        page.wait_for_timeout(300)
        seen.append(look())
        return seen[-1] == seen[-2]

    wait_until(page, twice)
    return seen[-1]


@pytest.mark.parametrize("size", [(390, 844), (800, 1112), (1280, 800)])
def test_nothing_of_a_search_moves_once_it_is_said_what_it_looks_at(
    served: Served, visit, monkeypatch, size: tuple[int, int]
):
    held = Held(find.subject)
    monkeypatch.setattr(find, "subject", held)
    page = visit(served.address, *size)
    prepared(page)
    tops = """all => all.filter(one => one.offsetParent).map(
        one => [one.innerText, Math.round(one.getBoundingClientRect().top)])"""
    page.get_by_role("tab", name="Find directions").click()
    wait_until(page, held.called.is_set)
    page.locator("#start").wait_for()
    before = settled(page, lambda: page.locator("#find-what button").evaluate_all(tops))
    held.go_on.set()
    page.locator("#subject p").wait_for()
    assert page.locator("#find-what button").evaluate_all(tops) == before


def test_a_tap_on_a_sliders_track_moves_it_there(served: Served, visit):
    page = visit(served.address, 390, 844, has_touch=True, is_mobile=True)
    prepared(page)
    slider = page.locator("#slider-g input[type=range]")
    slider.scroll_into_view_if_needed()
    track, most = slider.bounding_box(), float(slider.get_attribute("max"))
    page.touchscreen.tap(track["x"] + 0.75 * track["width"], track["y"] + track["height"] / 2)
    wait_until(page, lambda: float(slider.input_value()) != 0)
    assert 0.4 * most < float(slider.input_value()) < 0.7 * most, "3/4 of the way from -max to max"
    wait_until(page, lambda: "g=" in page.url)


SEEN = """() => [...document.querySelectorAll(
    '#tabs button, #tabs input, #tabs select, #pictures, #readout, #strip'
)].filter(one => one.offsetParent && one.offsetWidth > 2 && !one.closest('#readout'))
    .map(one => [one.id || one.value || one.textContent.slice(0, 20),
        Math.round(one.getBoundingClientRect().top + scrollY)])"""


@pytest.mark.parametrize("words", ["plain", "expert"])
@pytest.mark.parametrize("size", [(390, 844), (834, 1112)])
def test_a_flip_and_a_missed_target_have_their_room_before(
    served: Served, visit, size: tuple[int, int], words: str
):
    """Rows, toolbar and readout stay where they are, and a tablet need not scroll."""
    page = visit(served.address, *size)
    page.locator(f"[data-words={words}]").click()
    prepared(page)
    rows = page.locator(".gcd-direction:not(.hide), #actions, #readout")

    def tops() -> list[int]:
        page.evaluate("scrollTo(0, 0)")
        pictures = box(page, "#pictures")["y"]
        return rows.evaluate_all(
            "(all, top) => all.map(one => Math.round(one.getBoundingClientRect().top - top))",
            pictures,
        )

    def height() -> int:
        return page.evaluate("document.documentElement.scrollHeight")

    before = tops()
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    page.locator("#bars .gcd-exposure b", has_text="without it").wait_for()
    assert tops() == before and (size[0] < 600 or height() <= size[1])
    number, just = page.locator("#slider-g input[type=number]"), []
    just.append(number.input_value())
    page.locator("#target label").nth(2).click()  # flips along g anew
    wait_until(page, lambda: number.input_value() not in just)
    page.wait_for_selector("#flip-g:not([aria-busy=true])")
    page.locator("#flip-h4").click()
    missed = page.locator("#pictures .changed .notice")
    missed.wait_for()
    assert "was wanted" in missed.inner_text() and "is reached" in missed.inner_text()
    assert tops() == before and (size[0] < 600 or height() <= size[1])
    page.screenshot(path=ARTEFACTS / f"missed-{size[0]}-{words}.png", full_page=True)
    page.locator("#reset").click()
    missed.wait_for(state="detached")
    assert tops() == before


@pytest.mark.parametrize("tab", ["compare", "globality"])
@pytest.mark.parametrize("size", [(390, 844), (800, 1112), (1280, 800)])
def test_no_row_moves_with_a_tabs_first_answer(
    served: Served, visit, size: tuple[int, int], tab: str
):
    page = visit(served.address, *size)
    prepared(page)
    later: list = []  # requests, which come once the tab was looked at
    looked_at: list[bool] = []
    page.route(
        "**/queue/join*",
        lambda route: route.continue_() if looked_at else later.append(route),
    )
    go_to(page, tab)
    button = {"compare": "#compare-again", "globality": "#walk-images"}[tab]
    page.wait_for_selector(button)
    wait_until(page, lambda: bool(later))
    before = settled(page, lambda: page.evaluate(SEEN))
    looked_at.append(True)
    for route in later:
        route.continue_()
    if tab == "compare":
        page.wait_for_selector("#matrix table")
    else:
        page.wait_for_timeout(1500)  # the answer is what stands there already
    assert page.evaluate(SEEN) == before


def test_what_a_flip_does_is_said_while_it_lasts(served: Served, visit, monkeypatch):
    page = visit(served.address)
    prepared(page)
    session = session_of(served, page)
    held = Held(session.image.flips.to_flip)
    monkeypatch.setattr(session.image.flips, "to_flip", held)
    page.locator("#flip-g").click()
    told = page.locator("#pictures .changed .gcd-doing")
    told.get_by_text(re.compile(r"checked in full: [1-9]\d* s")).wait_for()
    assert page.locator("#flip-g").get_attribute("data-doing").endswith(" s")
    held.go_on.set()
    page.wait_for_selector("#pictures .flipped")
    told.wait_for(state="detached")
    assert page.locator("#flip-g").get_attribute("data-doing") is None


def agrees(page) -> bool:
    """Whether the address says what is shown, and which tab."""
    return page.evaluate(
        """() => {
            const shown = document.querySelector('#pictures [data-address]')?.dataset.address;
            const tab = document.querySelector('#tabs [role=tab][aria-selected=true]');
            const named = location.hash.slice(1) || 'explore';
            return location.search === `?${shown}` && named === tab?.dataset.tabId;
        }"""
    )


def test_the_address_agrees_after_going_back_quickly(served: Served, visit, monkeypatch):
    """Of two steps the first is still being opened when the second comes."""
    page = visit(served.address)
    prepared(page)
    for number in (2, 3, 4):
        page.locator("#examples button").nth(number - 1).click()
        page.wait_for_url(f"**/?example={number}&label=pneumonia")
    examples = served.visitors.service.examples
    held = Held(examples.open)
    monkeypatch.setattr(examples, "open", held)
    page.evaluate("history.back()")
    wait_until(page, held.called.is_set)
    page.evaluate("history.back()")
    page.wait_for_timeout(500)
    held.go_on.set()
    page.wait_for_selector("#pictures [data-address^='example=2&']")
    wait_until(page, lambda: agrees(page))
    page.wait_for_timeout(800)
    assert agrees(page) and "example=2" in page.url
    page.go_forward()
    page.wait_for_selector("#pictures [data-address^='example=3&']")
    page.go_forward()
    page.wait_for_selector("#pictures [data-address^='example=4&']")
    wait_until(page, lambda: agrees(page))


def test_the_address_agrees_where_nothing_can_be_brought_back(
    served: Served, visit, tmp_path: Path
):
    """A picture of one's own that was left for an example: the example stays, and is said."""
    page = visit(served.address)
    prepared(page)
    mine = tmp_path / "mine.png"
    to_pil(draw(torch.tensor([[1.5, 0.5, 1.0, 2.0, 0, 0, 0, 0]]))).save(mine)
    page.locator("#source input[type=file]").set_input_files(mine)
    page.wait_for_url("**/?own=1&label=pneumonia")
    page.locator("#examples button").nth(2).click()
    page.wait_for_url("**/?example=3&label=pneumonia")
    page.go_back()
    page.locator(".toast-wrap").get_by_text("open its file again").wait_for()
    wait_until(page, lambda: agrees(page))
    page.go_back()
    page.wait_for_selector("#pictures [data-address^='example=1&']")
    wait_until(page, lambda: agrees(page))


@pytest.mark.parametrize("width", [390, 1280])
def test_the_address_follows_the_tabs(served: Served, visit, width: int):
    page = visit(served.address, width, 844)
    prepared(page)
    page.get_by_role("tab", name="Compare directions").click()
    page.wait_for_selector("#matrix table")
    page.wait_for_url("**#compare")
    selected = page.locator("#tabs [role=tab][aria-selected=true]")
    assert selected.inner_text() == "Compare directions"
    page.get_by_role("tab", name="Explore").click()
    page.wait_for_url("**#explore")
    page.go_back()
    wait_until(page, lambda: agrees(page) and page.url.endswith("#compare"))
    page.reload()
    page.wait_for_selector("#pictures figure img", state="attached")
    wait_until(page, lambda: agrees(page) and page.url.endswith("#compare"))
    page.go_back()
    page.wait_for_selector("#work", state="visible")
    wait_until(page, lambda: agrees(page))
