"""In a real browser: a file that is being made says so, and what is shown stays in its place."""

from __future__ import annotations

import pytest

from gcd_core.errors import GCDError
from gcd_core.method.another import NothingLeft
from gcd_core.ui.session import heatmaps
from gcd_core.ui.session.others import Others
from gcd_core.ui.tabs.explore import handlers
from tests.ui.conftest import Served, served
from tests.ui.test_browser import browser, prepared, pytestmark, visit, wait_until
from tests.ui.test_browser_narrow import opened
from tests.ui.waiting import Held

__all__ = ["browser", "pytestmark", "served", "visit"]  # what pytest finds here
SIZES = [(390, 844), (834, 1112), (1280, 800), (1440, 900)]
# What would scroll or cut what it holds, of the choice how sure a flip is to be.
SCROLLS = """() => [document.querySelector('#target'), ...document.querySelectorAll('#target *')]
    .filter(one => !one.matches('.sr-only, .hide') && one.clientWidth && (
        one.scrollWidth > one.clientWidth || one.scrollHeight > one.clientHeight
    )).map(one => one.outerHTML.slice(0, 90))"""


def refuse(*_: object) -> None:
    raise GCDError("The disk is full.")


@pytest.mark.parametrize("size", [SIZES[0], SIZES[2]])
def test_a_report_says_that_it_is_being_made(
    served: Served, visit, monkeypatch, size: tuple[int, int]
):
    held = Held(handlers.save_report)
    monkeypatch.setattr(handlers, "save_report", held)
    page = visit(served.address, *size)
    prepared(page)
    report, told = page.locator("#report-pdf"), page.locator("#actions .gcd-making")
    report.scroll_into_view_if_needed()
    place = report.bounding_box()
    with page.expect_download() as download:
        report.click()
        wait_until(page, lambda: told.count() and "Making the report" in told.inner_text())
        assert report.get_attribute("aria-busy") == "true"
        assert report.get_attribute("data-doing").endswith(" s")
        moved = report.bounding_box()
        assert abs(moved["y"] - place["y"]) < 1 and abs(moved["x"] - place["x"]) < 1
        other, line = page.locator("#flip-another").bounding_box(), told.bounding_box()
        beside = line["x"] + line["width"] <= other["x"] or other["x"] + other["width"] <= line["x"]
        above = (
            line["y"] + line["height"] <= other["y"] or other["y"] + other["height"] <= line["y"]
        )
        assert beside or above, "what is said lies over no button"
        report.click()  # does nothing, while one is being made
        held.go_on.set()
    assert download.value.suggested_filename == "report-pneumonia.pdf"
    told.get_by_text("Ready").wait_for()
    assert report.get_attribute("aria-busy") is None and report.get_attribute("data-doing") is None
    told.wait_for(state="detached")


def test_a_report_that_was_not_made_says_so_until_the_next(served: Served, visit, monkeypatch):
    page = visit(served.address)
    prepared(page)
    made = handlers.save_report
    monkeypatch.setattr(handlers, "save_report", refuse)
    page.locator("#report-pdf").click()
    page.locator(".toast-wrap").get_by_text("The disk is full.").wait_for()
    told = page.locator("#actions .gcd-making")
    told.get_by_text("Report: it was not made").wait_for()
    assert page.locator("#report-pdf").get_attribute("aria-busy") is None
    monkeypatch.setattr(handlers, "save_report", made)
    with page.expect_download():
        page.locator("#report-pdf").click()
    assert not told.get_by_text("It was not made").count()


def test_a_search_for_another_way_that_finds_none_ends_and_says_so(
    served: Served, visit, monkeypatch
):
    page = visit(served.address)
    prepared(page)
    page.locator("#flip-g").click()
    other = page.locator("#flip-another")
    other.wait_for()
    held = Held(refuse)
    monkeypatch.setattr(Others, "go_on", lambda self, margin: held())
    other.click()
    page.locator("#pictures .gcd-doing").wait_for()
    assert other.get_attribute("aria-busy") == "true"
    held.go_on.set()
    page.locator(".toast-wrap").get_by_text("The disk is full.").wait_for()
    page.locator("#pictures .gcd-doing").wait_for(state="detached")
    assert other.get_attribute("aria-busy") is None


@pytest.mark.parametrize(
    ("why", "words"),
    [(NothingLeft, "The picture stays as it is"), (GCDError, "The disk is full.")],
)
def test_a_map_that_is_waited_for_comes_though_no_other_way_is_found(
    served: Served, visit, monkeypatch, why: type[GCDError], words: str
):
    asked = Held(heatmaps.explain_cells)
    monkeypatch.setattr(heatmaps, "explain_cells", asked)

    def finds_none(others: Others, margin: float | None) -> None:
        others._sliders.intend()  # as any search does; it ends what is asked for the picture
        raise why(words)

    monkeypatch.setattr(Others, "go_on", finds_none)
    page = visit(served.address)
    prepared(page)
    page.locator("#overlay label", has=page.locator("input[value=cells]")).click()
    page.locator("#pictures figure.map .scale").wait_for()
    page.locator("#flip-g").click()
    page.locator("#pictures figure.map .gcd-wait").wait_for()
    page.locator("#flip-another").click()
    page.locator(".toast-wrap").get_by_text(words).wait_for()
    asked.go_on.set()
    page.locator("#pictures figure.map img").wait_for()


@pytest.mark.parametrize("size", [SIZES[0], SIZES[2], SIZES[3]])  # a tablet has one line for it
@pytest.mark.parametrize("amber", [True, False])
def test_how_a_flip_changed_the_picture_is_read_whole_and_moves_no_row(
    served: Served, visit, size: tuple[int, int], amber: bool
):
    page = opened(served, visit, size)
    words = (
        "mostly more lucent in the centre of the picture, more opaque in the rest of the picture"
    )
    if amber:
        assert page.locator("#bars .gcd-amber").is_visible()
        page.evaluate("""() => document.querySelector('#bars .gcd-amber .term').firstChild
            .textContent = 'drawing it again changes the answer'""")  # the longest there is
        words = words.partition(", ")[0] + ", \N{HORIZONTAL ELLIPSIS}"
    else:
        page.locator("#bars .gcd-amber").evaluate("line => line.remove()")
    told = page.evaluate(
        """words => {
            const [line, bar] = ['h2 small', '.gcd-bar'].map(part =>
                document.querySelector(`#bars .gcd-card ${part}`));
            const top = () => bar.getBoundingClientRect().top + scrollY;
            const before = top();
            line.className = 'gcd-sentence';
            line.textContent = words;
            const drawn = document.createRange();
            drawn.selectNodeContents(line);
            const [text, card] = [drawn, line.closest('.gcd-card')].map(one =>
                one.getBoundingClientRect());
            const whole = text.right <= card.right && text.bottom + scrollY <= top();
            return [top() - before, whole];
        }""",
        words,
    )
    assert told == [0, True]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("words", ["Plain", "Expert"])
def test_how_sure_a_flip_is_to_be_is_whole(
    served: Served, visit, size: tuple[int, int], words: str
):
    page = opened(served, visit, size)
    page.get_by_role("button", name=words).click()
    assert not page.evaluate(SCROLLS)
    page.add_style_tag(content="#directions { padding-right: 40px !important; }")  # or a scrollbar
    assert not page.evaluate(SCROLLS)


def test_scrollbars_are_of_the_pages_theme(served: Served, visit):
    page = visit(served.address, scheme="dark")
    drawn = "() => [getComputedStyle(document.documentElement), "
    drawn += "getComputedStyle(document.querySelector('#directions'))].map(one => "
    drawn += "[one.colorScheme, one.scrollbarColor])"
    seen = {}
    for _ in range(2):
        dark = page.evaluate("document.body.classList.contains('dark')")
        (scheme, colour), inner = page.evaluate(drawn)
        assert scheme == ("dark" if dark else "light") and inner == [scheme, colour]
        seen[dark] = colour
        page.locator("#theme").click()
    assert len(seen) == 2 and seen[True] != seen[False]


def test_on_a_phone_what_one_needs_first_comes_first(served: Served, visit):
    page = opened(served, visit, (390, 844))
    places = ("#pictures .changed .frame", "#pictures .changed .number", "#slider-g", "#bars")
    places += ("#curve", "#toolbar")
    tops = [page.locator(place).first.bounding_box()["y"] for place in places]
    assert tops == sorted(tops)
    assert tops[2] < 844 - 60, "the first slider needs no scrolling"


@pytest.mark.parametrize("size", SIZES)
def test_nothing_moves_when_the_tone_is_kept(served: Served, visit, size: tuple[int, int]):
    page = opened(served, visit, size)
    places = ("#pictures .original .frame", "#pictures .map .frame", "#directions", "#bars")
    places += ("#curve", "#strip")

    def boxes() -> list:
        return [page.locator(place).first.bounding_box() for place in places]

    before = boxes()
    # By the mouse: nothing lies over the button.
    page.get_by_role("button", name="Brightness kept").click()
    page.wait_for_selector("[data-detail=same-tone][aria-pressed=true]")
    told = page.get_by_text("Numbers and map: of the whole change")
    told.wait_for()
    assert boxes() == before
    number = page.locator("#pictures .kept figcaption .number")
    title = page.locator("#pictures .kept figcaption b")
    for one, text in ((told, "Numbers and map"), (number, ""), (title, "")):  # nothing covers it
        box = one.bounding_box()
        for part in (0.1, 0.5, 0.9):
            at = box["x"] + part * box["width"], box["y"] + box["height"] / 2
            seen = page.evaluate("at => document.elementFromPoint(...at).textContent", at)
            assert seen.startswith(text) and one.inner_text().split("\n")[0] in seen
        assert one.evaluate("e => e.scrollWidth <= e.clientWidth + 1 || !e.clientWidth")
    if size[0] > 600:  # it lies on the picture
        box, frame = told.bounding_box(), page.locator("#pictures .kept .frame").bounding_box()
        assert frame["x"] <= box["x"] and frame["y"] <= box["y"]
        assert box["x"] + box["width"] <= frame["x"] + frame["width"]
        assert box["y"] + box["height"] <= frame["y"] + frame["height"]
    page.get_by_role("button", name="As changed").click()
    page.wait_for_selector("[data-detail=source][aria-pressed=true]")
    assert boxes() == before


def test_a_server_that_does_not_answer_is_told_and_nothing_seems_under_way(
    served: Served, visit, monkeypatch
):
    """It says what that means, ends what counts seconds, and takes no press that would wait."""
    held = Held(handlers.save_report)
    monkeypatch.setattr(handlers, "save_report", held)
    page = visit(served.address)
    prepared(page)
    report, made = page.locator("#report-pdf"), page.locator("#actions .gcd-making")
    report.click()
    wait_until(page, lambda: made.count() and "Making the report" in made.inner_text())
    page.context.set_offline(True)
    page.locator("#flip-g").click()
    told = page.locator(".gcd-lost-words")
    told.get_by_text("The server does not answer").wait_for()
    assert told.get_attribute("role") == "alert" and not page.locator(".toast-body").is_visible()
    assert "it was not made" in made.inner_text() and "Ready" not in made.inner_text()
    page.locator("#flip-h1").click()
    page.wait_for_timeout(500)  # longer than a press waits until it tells that it is under way
    assert page.locator("[aria-busy=true], .gcd-doing").count() == 0
    held.go_on.set()
    with page.expect_navigation():
        page.context.set_offline(False)
    page.wait_for_selector("#pictures figure")
    assert told.count() == 0
