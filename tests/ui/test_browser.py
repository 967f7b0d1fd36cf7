"""The page in a real browser, as a person uses it; screenshots are kept in tests/artefacts."""

from __future__ import annotations

import base64
import io
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from gcd_core.domains.finding import bundled_domains
from gcd_core.domains.opening import load_domain
from gcd_core.images.drawing import to_pil
from gcd_core.method.directions import load_directions
from gcd_core.ui.page import ExplorerPage, launch_settings
from gcd_core.ui.session.display import PICTURE, SentPictures
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.data_urls import drawn
from tests.pil import from_pil
from tests.ui.conftest import Hosted, Served, free_port, serving
from tests.ui.fakes import FakeDomain, WithoutExamples, draw, save_ways
from tests.ui.waiting import Held

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")

INPUT = " input.dispatchEvent(new Event('input', { bubbles: true })); }"
TOURS_BEGUN_AGAIN = """() => {
    let begun = 0;
    const [seen, later] = [localStorage.getItem('gcd-tour'), window.setTimeout];
    window.setTimeout = () => begun++;
    localStorage.removeItem('gcd-tour');
    gcd.begin(document.querySelector('#pictures'));
    localStorage.setItem('gcd-tour', seen);
    window.setTimeout = later;
    return begun;
}"""
SEEN_BY_AN_EXPERT = (
    "localStorage.setItem('gcd-words', 'expert'); localStorage.setItem('gcd-tour', 'seen')"
)
AT_REST = "localStorage.setItem('gcd-first-flip', localStorage.getItem('gcd-first-flip') ?? 'off')"
AS_PNG = "canvas => canvas.toDataURL('image/png')"
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
ARTEFACTS = Path(__file__).resolve().parents[1] / "artefacts"
PATIENCE = 120_000  # milliseconds; a slow machine is no failure

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    ARTEFACTS.mkdir(exist_ok=True)
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser) -> Iterator[Callable]:
    """Opens an address in a window of its own; fails where a page asked another host."""
    contexts, strangers = [], []

    def visit(
        address: str,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        been_here: bool = True,
        wait: bool = True,
        **options,
    ):
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            accept_downloads=True,
            **options,
        )
        context.add_init_script(AT_REST)  # a picture that opens does not flip by itself
        if been_here:  # as an expert, who has seen the tour
            context.add_init_script(SEEN_BY_AN_EXPERT)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        own = (address, "data:", "blob:", address.replace("127.0.0.1", "localhost"))
        page.on("request", lambda r: None if r.url.startswith(own) else strangers.append(r.url))
        page.goto(address)
        if wait:
            page.wait_for_selector("#pictures figure img")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not strangers


def changed_picture(page) -> str:
    """The address of the second picture."""
    return page.locator("#pictures figure").nth(1).locator("img").get_attribute("src")


def original(page) -> str:
    return page.locator("#pictures figure").nth(0).locator("img").get_attribute("src")


def picture_of(address: str) -> torch.Tensor:
    """The grey pixels (H, W) of a data address."""
    data = base64.b64decode(address.split(",", 1)[1])
    return from_pil(Image.open(io.BytesIO(data)).convert("L"))[0, 0]


def marker(page) -> str:
    return page.locator("#curve circle.here").get_attribute("cx")


def wait_until(page, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        page.wait_for_timeout(50)


def session_of(served: Served, page) -> Session:
    """The session of a page; one of a page that was closed may still be there beside it."""
    key = page.evaluate("sessionStorage.getItem('gcd-visit')")
    (session,) = [s for s in served.visitors._sessions.values() if s.return_key == key]
    return session


def at_rest(page) -> None:
    """Waits until the server's picture of where the sliders stand is shown, and in the address."""
    page.wait_for_function(
        """() => {
            const shown = document.querySelector('#pictures [data-address]').dataset.address;
            const places = new URLSearchParams(shown);
            const rows = [...document.querySelectorAll('.gcd-direction:not(.hide)')];
            return location.search === `?${shown}`
                && !document.querySelector('#pictures canvas.film') && rows.every(row => {
                    const at = places.get(row.id.replace('direction-', '')) ?? 0;
                    return Math.abs(row.querySelector('input[type=range]').value - at) < 0.005;
                });
        }"""
    )


def asked_without_tone(page) -> None:
    """Waits for the last answer that follows a flip, which draws pictures and numbers anew."""
    page.locator("#bars .gcd-exposure").wait_for()


def plays(page) -> None:
    """Waits until the page moves along g by itself, and puts the slider back."""
    slider, places = page.locator("#slider-g input[type=range]"), itertools.cycle(("0.5", "1"))

    def playing() -> bool:
        slider.evaluate("(input, alpha) => { input.value = alpha;" + INPUT, next(places))
        return page.locator("#pictures .changed canvas").count() == 1

    wait_until(page, playing)
    page.wait_for_selector("#pictures .changed canvas", state="detached")
    page.locator("#reset").click()
    page.wait_for_selector("#pictures [data-address='example=1&label=pneumonia']")
    at_rest(page)


def go_to(page, tab: str) -> None:
    """Opens a tab as its address does, also where a narrow page has it in a menu."""
    page.evaluate("name => { location.hash = name; }", tab)


def drag(page, name: str, share: float) -> None:
    """Drags a direction's slider to a share of its width."""
    box = page.locator(f"#slider-{name} input[type=range]").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for i in range(1, 9):
        page.mouse.move(box["x"] + box["width"] * (0.5 + (share - 0.5) * i / 8), y)
    page.mouse.up()


def prepared(page, patience: float = PATIENCE) -> None:
    """Waits until every path of the opened image is there."""
    page.wait_for_function(
        "() => document.querySelectorAll('.gcd-direction:not(.hide) .gcd-thumb img').length >= 10"
        " && !document.querySelector('.gcd-heading .busy')",
        timeout=patience,
    )


def others_to_come(page) -> None:
    """Waits until the first direction of an image is prepared, and others are not."""
    page.wait_for_function(
        "() => document.querySelector('#direction-g .gcd-thumb img')"
        " && document.querySelector('.gcd-heading .busy')"
    )


def shoot(page, name: str) -> None:
    page.screenshot(path=ARTEFACTS / f"{name}.png")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
def test_explore_fits_a_laptop_without_scrolling(served: Served, visit, scheme: str):
    page = visit(served.address, scheme=scheme)
    prepared(page)
    shoot(page, f"explore-{scheme}")
    page.get_by_text("Kind of pneumonia").click()  # has eight h-directions, as many as fit
    page.wait_for_selector("#direction-h8 .gcd-thumb img")
    prepared(page)
    shoot(page, f"explore-full-{scheme}")
    height, width = page.evaluate(
        "[document.documentElement.scrollHeight, document.documentElement.scrollWidth]"
    )
    assert height <= 800 and width <= 1280


def test_explore_fits_a_tablets_width(served: Served, visit):
    page = visit(served.address, 834, 1112)
    prepared(page)
    page.screenshot(path=ARTEFACTS / "explore-tablet.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 834
    for i in range(3):  # large enough to look at, and all in one row
        box = page.locator("#pictures .frame").nth(i).bounding_box()
        assert box["width"] > 220 and box["y"] < 400
    assert page.evaluate("document.documentElement.scrollHeight") <= 1112


def test_dragging_a_slider_changes_image_and_curve(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    picture, place, source = changed_picture(page), marker(page), original(page)
    drag(page, "g", 0.95)
    wait_until(page, lambda: changed_picture(page) != picture and marker(page) != place)
    assert original(page) == source
    assert "Reconstruction" not in page.locator("#pictures").inner_text()
    drag(page, "h2", 0.2)
    wait_until(page, lambda: "along g + h2" in page.locator("#curve").inner_text())
    at_rest(page)
    shoot(page, "moved")
    page.locator("#reset").click()
    wait_until(page, lambda: changed_picture(page) == picture)


def test_to_flip_before_after_and_sweep(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    assert "prediction flipped" in page.locator("#bars").inner_text()
    asked_without_tone(page)
    page.get_by_text("Before | after").first.click()
    page.wait_for_selector("#pictures .slide .gcd-divider")
    page.locator("#pictures .gcd-divider").fill("20")
    page.wait_for_function(
        "() => document.querySelector('#pictures [style*=\"--at: 20%\"]') !== null"
    )
    shoot(page, "before-after")
    page.get_by_text("Side by side").first.click()
    page.wait_for_selector("#pictures .slide", state="detached")
    page.get_by_text("Before | after").first.click()
    page.wait_for_selector("#pictures .slide .gcd-divider")
    assert page.locator("#pictures .gcd-divider").input_value() == "20"
    with page.expect_download() as download:
        page.locator("#gif").click()
    assert download.value.suggested_filename == "sweep-pneumonia-g.gif"


def test_another_way_is_offered_beside_a_flip(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    button = page.locator("#flip-another")
    assert button.is_visible(), "it has its place before a flip, too"
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    flip = changed_picture(page)
    words = page.evaluate(
        """() => {
            const range = document.createRange();
            range.selectNodeContents(document.querySelector('#first-flip label'));
            return range.getBoundingClientRect().right;
        }"""
    )
    assert words <= button.bounding_box()["x"], "nothing lies over another"
    button.click()
    wait_until(page, lambda: "ithout g" in page.locator("#bars").inner_text())
    assert "queries" in page.locator("#bars").inner_text() and changed_picture(page) != flip
    assert float(page.locator("#slider-g input[type=range]").input_value()) == 0
    wait_until(page, lambda: "h1=" in page.url and "&g=" not in page.url)
    shoot(page, "another-way")
    assert page.evaluate("document.documentElement.scrollHeight") <= 800
    page.locator("#reset").click()
    wait_until(page, lambda: "ithout g" not in page.locator("#bars").inner_text())


NOTIFIED = """() => {
    window.Notification = class {
        static permission = 'default';
        static asked = 0;
        static told = [];
        static async requestPermission() {
            this.asked += 1;
            this.permission = 'granted';
        }
        constructor(title) {
            this.constructor.told.push(title);
        }
    };
    Object.defineProperty(document, 'hidden', { get: () => true });
}"""
ENDED = "document.querySelector('#progress').innerHTML = '<i data-found></i>', gcd.found()"


def test_the_browser_tells_of_a_searchs_end_only_who_asked_for_it(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.evaluate(NOTIFIED)
    page.get_by_role("tab", name="Find directions").click()
    page.evaluate(ENDED)
    assert page.title().startswith("\u2713")
    assert page.evaluate("[Notification.asked, Notification.told.length]") == [0, 0]
    page.locator("#tell-me input").check()
    wait_until(page, lambda: page.evaluate("Notification.asked") == 1)
    page.evaluate(ENDED)
    assert page.evaluate("Notification.told") == ["Directions found"]
    page.locator("#tell-me input").uncheck()
    page.evaluate(ENDED)
    page.evaluate("document.querySelector('#progress').innerHTML = '', gcd.found()")
    assert page.evaluate("Notification.told.length") == 1, "nor where nothing was found"


def test_a_sweep_moves_slider_picture_and_curve_until_it_is_stopped(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    plays(page)
    number = page.locator("#slider-g input[type=number]")
    page.locator("#sweep").click()
    page.wait_for_selector("#pictures .changed canvas")
    seen = set()
    wait_until(page, lambda: seen.add((number.input_value(), marker(page))) or len(seen) > 3)
    assert page.locator("#sweep").inner_text() == "Stop"
    page.locator("#sweep").click()
    wait_until(page, lambda: page.locator("#sweep").inner_text() == "Sweep")
    page.wait_for_selector("#pictures canvas", state="detached")
    here, session = number.input_value(), session_of(served, page)
    wait_until(page, lambda: session.image.sliders.alphas.get("g", 0.0) == float(here))
    assert number.input_value() == here


def test_a_first_visitor_is_shown_around_and_reads_plain_words(served: Served, visit):
    page = visit(served.address, been_here=False)
    card = page.locator(".gcd-tour")
    card.wait_for()
    prepared(page)
    assert page.evaluate(TOURS_BEGUN_AGAIN) == 0, "more pictures begin no second tour"
    shoot(page, "tour")
    for _ in range(3):
        card.get_by_role("button", name="Next").click()
    card.get_by_role("button", name="Begin").click()
    assert card.count() == 0
    assert "Ways to change the answer" in page.locator("#heading").inner_text()
    assert "Main way" in page.locator("#direction-g").inner_text()
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    asked_without_tone(page)
    words = page.locator("#pictures").inner_text()
    assert "On the way" in words and "BB-LIG" not in words and "What flips it" in words
    page.locator("#bars .lpips .term").hover()
    assert "human sight" in page.locator(".gcd-tip").inner_text()
    shoot(page, "plain")
    page.get_by_role("button", name="Expert").click()
    assert "BB-LIG" in page.locator("#pictures").inner_text()
    assert page.get_by_role("tab", name="Compare directions").count() == 1
    page.reload()
    page.wait_for_selector("#pictures figure img")
    wait_until(page, lambda: "Directions" in page.locator("#heading").inner_text())
    page.wait_for_timeout(1000)
    assert card.count() == 0, "the tour is for the first visit"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(served: Served, visit, scheme: str):
    package = pytest.importorskip("axe_playwright_python")
    page = visit(served.address, scheme=scheme)
    prepared(page)
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    asked_without_tone(page)
    page.evaluate((Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    tabs = {
        "Explore": "#pictures figure img",
        "Find directions": "#subject img",
        "Compare directions": "#matrix table",
        "About": ".gcd-about",
    }
    for name, selector in tabs.items():
        page.get_by_role("tab", name=name).click()
        page.wait_for_selector(selector)
        page.wait_for_timeout(300)  # for what fades in
        found = page.evaluate("rules => axe.run(document, { runOnly: rules })", rules)
        faults = [
            (fault["id"], fault["impact"], [node["html"][:120] for node in fault["nodes"]][:3])
            for fault in found["violations"]
        ]
        assert not faults, name


def test_pictures_are_looked_at_closely(served: Served, visit):
    """Zoom and pan of all together, window and level, flicker, and fewer are larger."""
    page = visit(served.address)
    prepared(page)
    width = page.locator("#pictures .frame").first.bounding_box()["width"]
    page.locator("#pictures .frame").nth(1).hover()
    page.mouse.wheel(0, -400)
    page.wait_for_selector("#pictures.zoomed, #pictures .zoomed")
    shown = "images => images.map(image => getComputedStyle(image).transform)"
    transforms = page.locator("#pictures .frame > img").evaluate_all(shown)
    assert len(set(transforms)) == 1 and transforms[0] != "matrix(1, 0, 0, 1, 0, 0)"
    box = page.locator("#pictures .frame").first.bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 90, steps=4)
    page.mouse.up()
    assert page.locator("#pictures .frame > img").evaluate_all(shown) != transforms
    page.locator("#tools summary").click()
    page.locator("#tools [name=width]").fill("100")
    slope = page.locator("#gcd-window-filter feFuncR").get_attribute("slope")
    assert float(slope) == pytest.approx(2.55)
    shoot(page, "closer")
    page.locator("#tools summary").click()
    page.locator("#tools [data-do=whole]").click()
    page.keyboard.press("f")
    page.wait_for_selector("#pictures .changed .over")
    page.wait_for_selector("#pictures .changed .over", state="detached")
    page.keyboard.press("f")
    page.keyboard.down("b")
    assert page.locator("#pictures .changed .over").count() == 1
    page.keyboard.up("b")
    assert page.locator("#pictures .changed .over").count() == 0
    page.locator("#overlay").get_by_text("None").click()
    page.wait_for_selector("#pictures figure.map", state="detached")
    assert page.locator("#pictures .frame").first.bounding_box()["width"] > 1.4 * width
    page.get_by_text("Before | after").first.click()
    page.wait_for_selector("#pictures .slide")
    assert page.locator("#pictures .frame").first.bounding_box()["width"] > 1.9 * width


def test_a_region_is_painted_and_tried(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.locator("#tools [data-do=region]").click()
    page.locator("[data-paint=box]").click()
    box = page.locator("#pictures .frame").first.bounding_box()

    def at(x: float, y: float) -> tuple[float, float]:
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    page.mouse.move(*at(0.15, 0.25))
    page.mouse.down()
    page.mouse.move(*at(0.85, 0.8), steps=4)
    page.mouse.up()
    assert page.locator("#pictures canvas.outline").count() == 3
    assert 36 <= int(page.locator(".gcd-painter .share").inner_text().split()[0]) <= 41
    page.locator("#try-region").click()
    page.wait_for_selector("#try-region[aria-busy=true]")
    page.wait_for_selector(".gcd-region.yes")
    page.wait_for_selector("#try-region:not([aria-busy])")
    assert "Changing only this region turns Pneumonia" in page.locator("#regions").inner_text()
    page.locator("#region-method input[value=rcsb]").check()
    second = page.locator(".gcd-region >> nth=1")

    def tried_again() -> bool:  # a press is dropped until the server has ended the one before
        page.locator("#try-region").click()
        page.wait_for_timeout(1000)
        return second.count() or page.get_by_text("Trying the region").count()

    wait_until(page, tried_again)
    second.wait_for(state="attached")
    assert page.get_by_text("The region tried before").is_visible() and not second.is_visible()
    assert "rcsb" in page.locator(".gcd-region").first.inner_text()
    outside = page.locator("[data-paint=invert]")
    tint = """() => [0.5, 0.05].map(part => {
        const all = document.querySelector('#pictures canvas.outline'), at = part * all.width;
        return all.getContext('2d').getImageData(at, at, 1, 1).data[3] > 0;
    })"""
    assert page.evaluate(tint) == [True, False] and outside.get_attribute("aria-pressed") == "false"
    outside.click()
    assert page.evaluate(tint) == [False, True] and outside.get_attribute("aria-pressed") == "true"
    assert 59 <= int(page.locator(".gcd-painter .share").inner_text().split()[0]) <= 64
    page.locator("[data-paint=undo]").click()
    assert page.evaluate(tint) == [True, False] and outside.get_attribute("aria-pressed") == "false"
    page.locator("[data-paint=clear]").click()
    assert page.locator("#pictures canvas.outline").count() == 0
    page.locator("[data-paint=undo]").click()
    assert page.locator("#pictures canvas.outline").count() == 3
    page.locator("[data-paint=clear]").click()
    page.locator("#try-region").click()
    page.get_by_text("Nothing is painted yet").wait_for()
    page.screenshot(path=ARTEFACTS / "region.png", full_page=True)
    tops = """[...document.querySelectorAll('#regions, #readout')].sort((a, b) =>
        a.getBoundingClientRect().top - b.getBoundingClientRect().top).map(e => e.id)"""
    assert page.evaluate(tops) == ["regions", "readout"]
    page.locator("#tools [data-do=region]").click()
    assert page.evaluate(tops) == ["readout", "regions"], "the answer first, where none is painted"


def test_the_examples_are_walked_and_one_of_them_opened(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.get_by_role("tab", name="Globality").click()
    page.locator("#walk-images").click()
    page.locator("#globality-progress").get_by_text("Done").wait_for()
    count = len(served.visitors.service.domain.examples)
    assert page.locator(".gcd-tile").count() == count
    assert page.locator(".gcd-plot polyline.single").count() == count
    assert page.locator(".gcd-plot polygon.band").count() == 1
    assert f"of {count} images flip" in page.locator("#globality-summary").inner_text()
    assert page.locator(".gcd-rate").count() == 5
    page.screenshot(path=ARTEFACTS / "globality.png", full_page=True)
    with page.expect_download() as saved:
        page.locator("#globality-csv").click()
    assert saved.value.suggested_filename == "many-images-pneumonia-g.csv"
    page.locator(".gcd-tile").nth(2).click()
    page.locator("#pictures img.source").wait_for()
    assert page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"


def test_any_picture_and_chart_is_saved_with_what_it_shows(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    prepared(page)
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    asked_without_tone(page)
    for place, name in (("#pictures .changed", "counterfactual"), ("#curve", "pneumonia-along-g")):
        with page.expect_download() as download:
            page.locator(f"{place} [data-save]").click()
        assert download.value.suggested_filename == f"{name}.png"
        download.value.save_as(tmp_path / "saved.png")
        saved = from_pil(Image.open(tmp_path / "saved.png").convert("L"))[0, 0]
        assert saved.shape[1] >= 640 and saved.std() > 0.05
        assert saved[-60:].max() > 0.9 and saved[-60:].median() == 0, "white words on black"


def test_a_phone_has_everything_in_reach(served: Served, visit):
    page = visit(served.address, 360, 740, has_touch=True, is_mobile=True)
    prepared(page)
    page.screenshot(path=ARTEFACTS / "explore-phone-360.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for name in ("g", "h1", "h4"):
        assert page.locator(f"#slider-{name} input[type=range]").bounding_box()["width"] >= 100
    for tab in page.locator("#tabs [role=tab]").all():
        box = tab.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    slider = page.locator("#slider-g input[type=range]")
    slider.scroll_into_view_if_needed()
    box, at = slider.bounding_box(), page.evaluate("scrollY")
    x, y = box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2
    touch = page.context.new_cdp_session(page)
    touch.send(
        "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    )
    for moved in range(10, 130, 10):
        points = [{"x": x, "y": y - moved}]
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": points})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_until(page, lambda: page.evaluate("scrollY") > at + 60)  # the finger scrolls
    assert float(slider.input_value()) == 0, "and moves no slider that it began on"


def test_a_slider_stands_between_its_stops(served: Served, visit):
    """Where To flip put it, while another is dragged; and where it is typed."""
    page = visit(served.address)
    prepared(page)
    session = session_of(served, page)
    number = page.locator("#slider-g input[type=number]")
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    flip = session.image.sliders.alphas["g"]
    assert flip % 0.5 > 1e-3, "no stop is there"
    wait_until(page, lambda: float(number.input_value()) == flip)
    drag(page, "h2", 0.7)
    wait_until(page, lambda: "h2" in session.image.sliders.alphas)
    assert session.image.sliders.alphas["g"] == flip
    number.fill("1.03")
    number.press("Enter")
    wait_until(page, lambda: session.image.sliders.alphas["g"] == 1.03)


def test_the_curve_is_dragged_and_the_arrow_keys_step(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    plot = page.locator("#curve svg.gcd-plot")
    ends = [float(plot.get_attribute(f"data-{name}")) for name in ("left", "right")]
    box = plot.bounding_box()

    def at(share: float) -> tuple[float, float]:  # of the way from -6 to +6
        return box["x"] + box["width"] * (ends[0] + share * (ends[1] - ends[0])), box["y"] + 40

    before, drawn = marker(page), changed_picture(page)
    page.mouse.move(*at(0.5))
    page.mouse.down()
    page.mouse.move(*at(0.6), steps=3)
    page.mouse.move(*at(0.75), steps=3)
    page.mouse.up()
    number = page.locator("#slider-g input[type=number]")
    wait_until(page, lambda: float(number.input_value()) == pytest.approx(3.0, abs=0.06))
    wait_until(page, lambda: marker(page) != before and changed_picture(page) != drawn)
    number.fill("1.23")
    number.press("Enter")
    wait_until(page, lambda: float(number.input_value()) == 1.23)
    page.locator("#slider-g input[type=range]").press("ArrowRight")
    wait_until(page, lambda: float(number.input_value()) == 1.33)
    page.locator("#slider-g input[type=range]").press("Shift+ArrowLeft")
    wait_until(page, lambda: float(number.input_value()) == 1.32)


def test_one_direction_moves_without_the_server(served: Served, visit):
    """Picture, map, numbers and curve; at rest the server's own take their place.

    Gradio loads the page anew once the connection is back: the sliders stand where they were left.
    """
    page = visit(served.address)
    prepared(page)
    plays(page)
    page.context.set_offline(True)
    number = page.locator("#bars .gcd-bar.chosen strong")
    before, dot = number.inner_text(), marker(page)
    slider = page.locator("#slider-g input[type=range]")
    moved = "(input, alpha) => { input.value = alpha;" + INPUT
    slider.evaluate(moved, "2.2")
    slider.evaluate(moved, "3")
    played = picture_of(page.locator("#pictures .changed canvas").evaluate(AS_PNG))
    assert page.locator("#pictures .map canvas").count() == 1
    assert page.locator("#pictures .changed").get_attribute("class").split()[-1] == "flipped"
    assert number.inner_text() != before and marker(page) != dot
    told = number.inner_text(), float(marker(page))
    page.wait_for_timeout(3000)  # until the page has noticed
    page.wait_for_function("() => location.search.includes('g=3')")
    with page.expect_navigation():
        page.context.set_offline(False)
    page.wait_for_selector("#pictures .changed.flipped:not(:has(canvas)) img")
    drawn = picture_of(changed_picture(page))
    change = (picture_of(original(page)) - drawn).abs().mean()
    assert (played - drawn).abs().mean() < 0.5 * change
    assert (number.inner_text(), float(marker(page))) == (told[0], pytest.approx(told[1], abs=0.5))


def test_a_picture_that_did_not_arrive_is_sent_again(served: Served, visit, monkeypatch):
    page = visit(served.address)
    prepared(page)
    before, whole = changed_picture(page), SentPictures.only_new
    lost = []

    def loses(sent: SentPictures, html: str) -> str:
        """What an answer holds, whose pictures the page was never sent."""
        monkeypatch.setattr(SentPictures, "only_new", whole)
        lost.append(PICTURE.sub('src="gcd:0123456789abcdef"', html))
        return lost[-1]

    monkeypatch.setattr(SentPictures, "only_new", loses)
    drag(page, "g", 0.9)
    session = session_of(served, page)
    wait_until(page, lambda: bool(lost) and changed_picture(page) not in (None, before))
    wait_until(page, lambda: changed_picture(page) == drawn(session.image.sliders.current.image))
    assert original(page) == drawn(session.image.opened.image)


def test_several_directions_have_one_line_map_and_curve(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    assert "nothing moved yet" in page.locator("#pictures").inner_text()
    drag(page, "g", 0.2)
    page.wait_for_function("() => document.querySelector('#pictures .map img')")
    drag(page, "h1", 0.7)
    page.wait_for_function(  # a place on the way has a line too, which goes when one moves on
        "() => { const at = query => document.querySelector('#curve ' + query);"
        " const line = at('polyline.measured'), dot = at('circle.here');"
        " if (!line || !dot || !document.querySelector('#pictures .map img')) return false;"
        " const points = line.getAttribute('points').split(' ').map(point => point.split(','));"
        " const [cx, cy] = ['cx', 'cy'].map(name => dot.getAttribute(name));"
        " const [x, y] = Number(cx) < (points[0][0] - 0 + (points.at(-1)[0] - 0)) / 2"
        "   ? points[0] : points.at(-1);"  # the line's end on the dot's side
        " return document.querySelector('#curve').innerText.includes('along g + h1')"
        " && Math.hypot(x - cx, y - cy) <= 1; }"
    )
    assert page.locator("#curve svg.gcd-plot").get_attribute("data-direction") is None
    page.screenshot(path=ARTEFACTS / "explore-line.png")


def test_a_flip_goes_as_far_as_its_target(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    number = page.locator("#slider-g input[type=number]")
    reached = []
    for target in ("just flipped", "75 %", "strongest"):
        page.locator("#target").get_by_text(target, exact=True).click()
        page.click("#flip-g")
        page.wait_for_function("() => document.querySelector('#pictures .flipped')")
        if reached:
            wait_until(page, lambda: abs(float(number.input_value())) > reached[-1])
        page.wait_for_selector("#flip-g:not([aria-busy=true])")
        reached.append(abs(float(number.input_value())))
    assert 0 < reached[0] < reached[1] < reached[2] <= 6


def test_an_example_opens_and_is_marked(served: Served, visit):
    page = visit(served.address)
    prepared(page)  # so that no answer draws the pictures anew
    before, chosen = original(page), page.locator("#examples button.chosen")
    assert chosen.get_attribute("data-index") == "0"
    fade = "() => [gcd.fade(1, 'side'), document.querySelectorAll('.gcd-pictures.busy').length]"
    assert page.evaluate(fade) == [[1, "side"], 1]  # as the click does, but to be seen
    page.locator("#examples button").nth(1).click()
    wait_until(page, lambda: original(page) != before)
    assert chosen.count() == 1 and chosen.get_attribute("data-index") == "1"
    assert page.locator(".gcd-pictures.busy").count() == 0


def test_reload_back_and_forward_lead_where_one_was(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    prepared(page)
    page.wait_for_url("**/?example=1&label=pneumonia")
    first = original(page)
    page.locator("#examples button").nth(2).click()
    page.wait_for_url("**/?example=3&label=pneumonia")
    prepared(page)
    drag(page, "g", 0.75)
    at_rest(page)
    third, moved = original(page), changed_picture(page)
    page.reload()
    page.wait_for_selector("#pictures figure img")
    assert original(page) == third
    wait_until(page, lambda: changed_picture(page) == moved)
    page.get_by_role("tab", name="About").click()
    page.wait_for_url("**#about")
    page.go_back()
    page.wait_for_selector("#work", state="visible")
    page.go_back()
    wait_until(page, lambda: original(page) == first)
    page.go_forward()
    wait_until(page, lambda: original(page) == third)
    file = tmp_path / "Musterfrau.png"
    to_pil(draw(torch.tensor([[1.0, 0.5, 0.2, 1.0, 0, 0, 0, 0]]))).save(file)
    page.locator("#source input[type=file]").set_input_files(file)
    page.wait_for_url("**/?own=1&label=pneumonia*")
    assert "Musterfrau" not in page.url
    own = original(page)
    prepared(page)
    drag(page, "g", 0.75)
    at_rest(page)
    moved = changed_picture(page)
    page.reload()
    page.wait_for_selector("#pictures figure img")
    wait_until(page, lambda: (original(page), changed_picture(page)) == (own, moved))
    another = visit(served.address)
    another.goto(page.url)  # the address alone
    another.locator(".toast-wrap").get_by_text("open its file again").wait_for()
    wait_until(another, lambda: original(another) == first)
    page.get_by_role("tab", name="About").click()
    page.get_by_role("button", name="Forget me").click()
    wait_until(page, lambda: "own=1" not in page.url)
    wait_until(page, lambda: original(page) == first)


def test_a_search_goes_on_while_the_page_is_loaded_anew(served: Served, visit, monkeypatch):
    page = visit(served.address)
    prepared(page)
    monkeypatch.setattr(served.visitors.service.domain.generator, "seconds_per_image", 0.02)
    page.get_by_role("tab", name="Find directions").click()
    page.locator("#start").click()
    wait_until(page, lambda: "of 1" in page.locator("#progress").inner_text())
    (session,) = [s for s in served.visitors._sessions.values() if s.search is not None]
    page.reload()
    page.get_by_role("tab", name="Find directions").click()
    wait_until(page, lambda: page.locator("#cancel").is_enabled())
    assert session.search.running and session in served.visitors._sessions.values()
    page.locator("#cancel").click()
    wait_until(page, lambda: "Cancelled" in page.locator("#progress").inner_text())


def test_a_copied_tab_is_a_visit_of_its_own(served: Served, visit):
    page = visit(served.address)
    key = page.evaluate("sessionStorage.getItem('gcd-visit')")
    assert len(key) == 32
    copy = page.context.new_page()
    copy.add_init_script(f"sessionStorage.setItem('gcd-visit', '{key}')")
    copy.goto(served.address)
    copy.wait_for_selector("#pictures figure img")
    assert copy.evaluate("sessionStorage.getItem('gcd-visit')") != key
    page.locator("#examples button").nth(1).click()
    page.wait_for_selector("#pictures [data-address^='example=2&']")


def test_the_header_switches_light_and_dark(served: Served, visit):
    page = visit(served.address)
    assert not page.evaluate("document.body.classList.contains('dark')")
    for dark in (True, False):
        page.locator("#theme").click()
        assert page.evaluate("document.body.classList.contains('dark')") == dark


@pytest.mark.parametrize("file_format, begin", [("pdf", b"%PDF"), ("png", b"\x89PNG")])
def test_a_report_to_take_home(served: Served, visit, file_format: str, begin: bytes):
    page = visit(served.address)
    prepared(page)
    drag(page, "g", 0.9)
    with page.expect_download() as download:
        page.locator(f"#report-{file_format}").click()
    assert download.value.suggested_filename == f"report-pneumonia.{file_format}"
    assert Path(download.value.path()).read_bytes().startswith(begin)


def test_the_map_can_be_changed_and_taken_away(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    assert "BB-LIG" in page.locator("#pictures").inner_text()
    page.locator("#overlay").get_by_text("Difference").click()
    wait_until(page, lambda: "after minus before" in page.locator("#pictures").inner_text())
    page.locator("#overlay").get_by_text("Cells").click()
    wait_until(page, lambda: "nothing moved" in page.locator("#pictures").inner_text())
    drag(page, "g", 0.1)
    wait_until(page, lambda: "512 queries" in page.locator("#pictures").inner_text())
    page.screenshot(path=ARTEFACTS / "cells.png")
    page.locator("#overlay").get_by_text("None").click()
    wait_until(page, lambda: page.locator("#pictures figure").count() == 2)


def beside_sliders(page) -> list[str]:
    """The thumbnails at the sliders' ends, and from where on each direction flips."""
    row = ".gcd-direction:not(.hide)"
    found = f"[...document.querySelectorAll('{row} .gcd-thumb img, {row} .gcd-title small')]"
    return page.evaluate(f"() => {found}.map(each => each.src ?? each.textContent)")


def test_a_press_waits_for_the_example_that_is_being_opened(
    served: Served, visit, monkeypatch: pytest.MonkeyPatch
):
    """And nothing of the example before, which was still being prepared, stays beside it."""
    service = served.visitors.service
    monkeypatch.setattr(service.domain.generator, "seconds_per_image", 0.05)
    page = visit(served.address)
    page.locator("#examples button").nth(9).click()
    page.wait_for_selector("#pictures [data-address^='example=10&']")
    others_to_come(page)
    held = Held(service.examples.open)
    monkeypatch.setattr(service.examples, "open", held)
    page.locator("#examples button").nth(10).click()
    wait_until(page, held.called.is_set)
    page.locator("#flip-g").click()
    monkeypatch.setattr(service.domain.generator, "seconds_per_image", 0.001)
    held.go_on.set()
    page.wait_for_selector("#pictures [data-address^='example=11&'][data-address*='&g=']")
    wait_until(page, lambda: float(page.locator("#slider-g input[type=number]").input_value()) != 0)
    prepared(page)
    again = visit(served.address)
    again.locator("#examples button").nth(10).click()
    again.wait_for_selector("#pictures [data-address^='example=11&']")
    prepared(again)
    wait_until(again, lambda: beside_sliders(page) == beside_sliders(again))


def test_a_press_waits_for_the_picture_that_the_page_opens_first(
    served: Served, visit, monkeypatch: pytest.MonkeyPatch
):
    prepared(visit(served.address))  # so that the first picture is there when somebody else comes
    examples = served.visitors.service.examples
    held = Held(examples.open)
    monkeypatch.setattr(examples, "open", held)
    page = visit(served.address, wait=False)
    page.locator("#flip-g").wait_for()
    wait_until(page, held.called.is_set)
    page.locator("#flip-g").click()
    held.go_on.set()
    page.wait_for_selector("#pictures [data-address*='&g=']")
    prepared(page)
    assert page.locator("#pictures .flipped").count()


def test_a_picture_flips_first_unless_that_was_switched_off(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    page.evaluate("localStorage.setItem('gcd-first-flip', 'on')")
    page.reload()
    page.wait_for_selector("#pictures [data-address^='example=1&'][data-address*='&g=']")
    page.wait_for_selector("#pictures .flipped")
    mine = tmp_path / "mine.png"
    to_pil(draw(torch.tensor([[1.5, 0.5, 1.0, 2.0, 0, 0, 0, 0]]))).save(mine)
    page.locator("#source input[type=file]").set_input_files(mine)
    page.wait_for_selector("#pictures [data-address^='own=1&'][data-address*='&g=']")
    page.locator("#reset").click()
    page.wait_for_selector("#pictures [data-address='own=1&label=pneumonia']")
    page.locator("#label").get_by_text("Kind of pneumonia", exact=True).click()
    page.wait_for_selector("#pictures [data-address^='own=1&label=bacterial&g=']")
    page.get_by_label("Show a flip when a picture opens").uncheck()
    page.locator("#examples button").nth(1).click()
    page.wait_for_selector("#pictures [data-address^='example=2&']")
    prepared(page)
    assert "&g=" not in page.locator("#pictures [data-address]").get_attribute("data-address")
    page.reload()
    page.wait_for_selector("#pictures figure img")
    assert not page.get_by_label("Show a flip when a picture opens").is_checked()


def test_a_press_waits_for_the_file_that_is_being_sent(served: Served, visit, tmp_path: Path):
    """Where the file cannot be opened, the press is dropped."""
    page = visit(served.address)
    prepared(page)
    mine, bad = tmp_path / "mine.png", tmp_path / "bad.png"
    to_pil(draw(torch.tensor([[1.5, 0.5, 1.0, 2.0, 0, 0, 0, 0]]))).save(mine)
    bad.write_text("not a picture")
    uploads, asked = [], []
    page.route("**/upload?*", lambda route: uploads.append(route))
    page.on("request", lambda request: asked.append(request.post_data or ""))
    for file, press in ((mine, "#flip-g"), (bad, "#flip-h1")):
        page.locator("#source input[type=file]").set_input_files(file)
        wait_until(page, lambda: bool(uploads))
        page.locator(press).click()
        uploads.pop().continue_()
        page.wait_for_selector("#pictures [data-address^='own=1&label=pneumonia&g=']")
    page.locator(".toast-wrap").get_by_text("not a picture").wait_for()
    page.wait_for_selector("#source input[type=file]", state="attached")
    page.wait_for_selector("#flip-h1:not([aria-busy=true])")
    page.locator("#flip-h2").click()
    page.wait_for_selector("#pictures [data-address*='&h2=']")
    assert any('["g"' in data for data in asked) and not any('["h1"' in data for data in asked)


def test_upload_and_a_bad_file(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    prepared(page)
    before = original(page)
    good, bad = tmp_path / "mine.png", tmp_path / "bad.png"
    to_pil(draw(torch.tensor([[1.5, 0.5, 1.0, 2.0, 0, 0, 0, 0]]))).save(good)
    bad.write_text("not a picture")
    page.locator("#source input[type=file]").set_input_files(good)
    wait_until(page, lambda: original(page) != before)
    mine = original(page)
    page.locator("#source input[type=file]").set_input_files(bad)
    message = page.locator(".toast-wrap").get_by_text("not a picture that can be opened")
    message.wait_for()
    shoot(page, "bad-file")
    assert original(page) == mine
    assert "Traceback" not in page.locator("body").inner_text()
    drag(page, "g", 0.1)
    wait_until(page, lambda: "Reconstruction" not in page.locator("#pictures").inner_text())


def test_back_puts_no_slider_of_one_own_picture_on_another(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    prepared(page)
    pictures = []
    for name, code in (("first.png", 1.5), ("second.png", -1.0)):
        before, file = original(page), tmp_path / name
        to_pil(draw(torch.tensor([[code, 0.5, 1.0, 2.0, 0, 0, 0, 0]]))).save(file)
        page.locator("#source input[type=file]").set_input_files(file)
        wait_until(page, lambda before=before: original(page) != before)
        pictures.append(original(page))
        prepared(page)
        if name == "first.png":
            drag(page, "g", 0.75)
            at_rest(page)
            page.locator("#label").get_by_text("Kind of pneumonia", exact=True).click()
            page.wait_for_url("**/?own=1&label=bacterial")
            prepared(page)
    page.go_back()
    wait_until(page, lambda: original(page) == pictures[0])
    prepared(page)
    assert session_of(served, page).image.sliders.alphas == {}


def test_own_pictures_are_tiles_under_their_files_names(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    prepared(page)
    pictures = {}
    for name, code in (("Frau Muster.png", 1.5), ("second.png", -1.0)):
        before, file = original(page), tmp_path / name
        to_pil(draw(torch.tensor([[code, 0.5, 1.0, 2.0, 0, 0, 0, 0]]))).save(file)
        page.locator("#source input[type=file]").set_input_files(file)
        wait_until(page, lambda before=before: original(page) != before)
        page.locator(".gcd-own.chosen").get_by_text(name, exact=True).wait_for()
        pictures[name] = original(page)
    assert page.locator(".gcd-own").all_inner_texts() == ["second.png", "Frau Muster.png"]
    shoot(page, "own")
    page.locator("#examples button").nth(1).click()
    wait_until(page, lambda: original(page) not in pictures.values())
    wait_until(page, lambda: page.locator(".gcd-own.chosen").count() == 0)
    page.locator(".gcd-own").last.click()
    wait_until(page, lambda: original(page) == pictures["Frau Muster.png"])
    wait_until(page, lambda: page.locator(".gcd-own.chosen").inner_text() == "Frau Muster.png")
    assert len(asked) > 10 and not [url for url in (*asked, page.url) if "Muster" in url]
    bad = tmp_path / "bad.png"
    bad.write_text("not a picture")
    page.locator("#source input[type=file]").set_input_files(bad)
    page.locator(".toast-wrap").get_by_text("not a picture that can be opened").wait_for()
    assert "bad.png" not in page.locator("#strip").inner_text()


def test_no_picture_stays_in_the_browser(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    file = tmp_path / "mine.png"
    to_pil(draw(torch.tensor([[1.0, 0.5, 0.2, 1.0, 0, 0, 0, 0]]))).save(file)
    source = original(page)
    page.locator("#source input[type=file]").set_input_files(file)
    wait_until(page, lambda: original(page) != source)
    picture = changed_picture(page)
    drag(page, "g", 0.9)
    wait_until(page, lambda: changed_picture(page) != picture)
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert "data:" not in kept and "mine" not in kept and len(kept) < 10_000


def test_a_pasted_picture_opens(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    before = original(page)
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(64, 64);
            const context = canvas.getContext('2d');
            context.fillStyle = '#777'; context.fillRect(8, 8, 40, 40);
            const blob = await canvas.convertToBlob({ type: 'image/png' });
            const transfer = new DataTransfer();
            transfer.items.add(new File([blob], 'pasted.png', { type: 'image/png' }));
            document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer }));
        }"""
    )
    wait_until(page, lambda: original(page) != before)


def test_finding_directions_keeps_them_until_they_are_used(served: Served, visit, tmp_path: Path):
    page = visit(served.address)
    prepared(page)
    drag(page, "g", 0.9)
    assert page.locator("#direction-h4").is_visible()
    page.get_by_role("tab", name="Find directions").click()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Samples").fill("64")
    page.get_by_label("h-directions (k)").fill("2")
    page.locator("#start").click()
    page.wait_for_selector(".gcd-newest img")
    shoot(page, "find")
    page.get_by_role("tab", name="About").click()
    page.locator(".toast-wrap").get_by_text("Found, and kept").wait_for()
    assert page.locator(".gcd-about").is_visible(), "nobody is taken away from where they are"
    page.get_by_role("tab", name="Explore").click()
    assert float(page.locator("#slider-g input[type=number]").input_value()) != 0
    assert "bundled" in page.locator("#heading").inner_text()
    page.locator("[data-first-flip]").check()
    page.get_by_role("tab", name="Find directions").click()
    page.wait_for_selector("#losses polyline")
    shoot(page, "found")
    page.locator("#use").click()
    page.wait_for_selector("#work", state="visible")
    page.wait_for_selector("#pictures [data-address*='&g=']")  # they flip the picture first
    page.wait_for_function(
        "() => document.querySelectorAll('.gcd-direction:not(.hide) .gcd-thumb img').length === 6"
    )
    assert not page.locator("#direction-h4").is_visible()
    assert "from Example 1, seed 0" in page.locator("#heading").inner_text()
    page.get_by_role("tab", name="Find directions").click()
    with page.expect_download() as download:
        page.locator("#save").click()
    saved = tmp_path / download.value.suggested_filename
    download.value.save_as(saved)
    assert load_directions(saved).names == ["g", "h1", "h2"]
    page.get_by_role("tab", name="Explore").click()
    assert page.locator("#curve polyline.proxy").count() == 1
    page.locator("#back").click()
    page.wait_for_selector("#direction-h4")
    assert "bundled" in page.locator("#heading").inner_text()
    shoot(page, "found")


@pytest.mark.parametrize(
    "width, height", [(1440, 900), pytest.param(390, 844, marks=pytest.mark.nightly)]
)
def test_without_a_picture_a_g_is_found_and_used_before_the_search_ends(
    browser, tmp_path: Path, width: int, height: int
):
    domain = WithoutExamples(tmp_path, examples=8)
    domain.search = domain.search.changed(n_samples=512, n_h=1)
    with serving(domain) as served:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.add_init_script(SEEN_BY_AN_EXPERT)
        page.add_init_script(AT_REST)
        page.set_default_timeout(PATIENCE)
        page.goto(served.address)
        page.get_by_text("Open a radiograph to begin").wait_for()
        page.get_by_role("tab", name="Find directions").click()
        page.get_by_text("No picture need be open").wait_for()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Samples").wait_for()
        assert not page.get_by_label("Radius").is_visible()
        page.get_by_text("Around this picture").click()
        page.get_by_label("Radius").wait_for()
        page.get_by_text("What the images are like").click()
        page.get_by_label("Radius").wait_for(state="hidden")
        page.get_by_label("Samples").fill("512")
        domain.generator.seconds_per_image = 0.02
        page.locator("#start").click()
        now = page.get_by_role("button", name="Use this g now")
        now.wait_for()
        domain.generator.seconds_per_image = 0.1  # there is time to look, before it ends by itself
        told = page.locator("#progress").inner_text()
        assert "there is a g to use" in told and "of 8 examples flip" in told
        page.screenshot(path=ARTEFACTS / f"usable-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        now.click()
        page.wait_for_selector("#work", state="visible")
        wait_until(page, lambda: "answers, seed 0" in page.locator("#heading").inner_text())
        wait_until(page, lambda: rows(page) == ["g"])
        page.get_by_role("tab", name="Find directions").click()
        wait_until(page, lambda: "Tried on 8" in page.locator("#tried").inner_text())
        page.locator("#cancel").click()
        wait_until(page, lambda: "Cancelled" in page.locator("#progress").inner_text())
        page.close()


def rows(page) -> list[str]:
    """The directions whose rows can be seen, from top to bottom."""
    return page.evaluate(
        """() => [...document.querySelectorAll('.gcd-direction')]
            .filter(row => row.checkVisibility())
            .sort((a, b) => a.getBoundingClientRect().top - b.getBoundingClientRect().top)
            .map(row => row.id.replace('direction-', ''))"""
    )


@pytest.mark.parametrize(
    "width, height", [(1280, 800), pytest.param(390, 844, marks=pytest.mark.nightly)]
)
def test_ways_have_sliders_and_what_hardly_moves_folds_away(
    served: Served, visit, tmp_path: Path, width: int, height: int
):
    page = visit(served.address, width, height)
    prepared(page)
    assert rows(page) == ["g", "h1", "h2", "h3", "h4"]
    assert not page.locator(".gcd-fold").count() and not page.locator(".gcd-ways").count()
    save_ways(tmp_path / "ways.safetensors")
    page.get_by_role("tab", name="Find directions").click()
    page.locator("input[type=file][accept*=safetensors]").set_input_files(
        tmp_path / "ways.safetensors"
    )
    page.wait_for_selector("#work", state="visible")
    wait_until(page, lambda: rows(page) == ["g", "w1"])
    told = page.locator("#ways").inner_text()
    assert "Further directions" in told
    fold = page.get_by_role("button", name="2 more hardly move this classifier")
    assert fold.get_attribute("aria-expanded") == "false"
    page.wait_for_selector("#direction-w2 .gcd-thumb img", state="attached")
    fold.click()
    assert fold.get_attribute("aria-expanded") == "true"
    assert rows(page) == ["g", "w1", "h1", "w2"]
    page.screenshot(path=ARTEFACTS / f"ways-{width}.png", full_page=True)
    page.locator("#slider-w2").scroll_into_view_if_needed()
    drag(page, "w2", 0.9)
    wait_until(page, lambda: "along w2" in page.locator("#curve").inner_text())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    fold.click()
    assert rows(page) == ["g", "w1"]
    page.locator("#flip-w1").click()
    wait_until(page, lambda: "along w1" in page.locator("#curve").inner_text())
    page.get_by_text("Kind of pneumonia").click()  # its set has no proxy, and nothing to fold
    wait_until(page, lambda: len(rows(page)) == 9)
    assert not page.locator(".gcd-fold").count() and not page.locator(".gcd-ways").count()
    page.locator("#label").get_by_text("Pneumonia", exact=True).click()
    wait_until(page, lambda: rows(page) == ["g", "w1"])
    assert page.locator("#slider-w1 input[type=range]").input_value() == "0"


def test_a_search_can_be_cancelled_while_the_page_stays_usable(served: Served, visit):
    generator = served.visitors.service.domain.generator
    page = visit(served.address)
    prepared(page)
    generator.seconds_per_image = 0.02
    try:
        page.get_by_role("tab", name="Find directions").click()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Samples").fill("4096")
        page.set_viewport_size({"width": 1280, "height": 420})
        page.locator("#start").scroll_into_view_if_needed()
        page.locator("#start").click()
        page.wait_for_selector(".gcd-newest img")
        told = page.locator("#progress").bounding_box()
        assert told["y"] >= 0 and told["y"] + told["height"] <= 420, "in sight, wherever the button"
        page.get_by_role("tab", name="Explore").click()
        picture = changed_picture(page)
        drag(page, "g", 0.9)
        wait_until(page, lambda: changed_picture(page) != picture)
        page.get_by_role("tab", name="Find directions").click()
        page.locator("#cancel").click()
        wait_until(page, lambda: "Cancelled" in page.locator("#progress").inner_text())
        wait_until(page, lambda: page.locator("#start").is_enabled())
        shoot(page, "cancelled")
    finally:
        generator.seconds_per_image = 0.001


def test_a_bad_setting_leaves_find_as_it_was(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.get_by_role("tab", name="Find directions").click()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Samples").fill("-5")
    page.locator("#start").click()
    wait_until(page, lambda: "-5 samples" in page.locator("#progress").inner_text())
    page.locator(".toast-wrap").get_by_text("-5 samples").wait_for()
    assert page.locator("#start").is_enabled() and not page.locator("#cancel").is_enabled()
    page.get_by_label("Samples").fill("16")
    page.locator("#start").click()
    wait_until(page, lambda: "Done" in page.locator("#progress").inner_text())


def test_compare_and_about(served: Served, visit):
    page = visit(served.address)
    prepared(page)
    page.get_by_role("tab", name="Compare directions").click()
    page.wait_for_selector("#matrix table")
    assert page.locator("#cards article").count() == 5
    assert page.locator("#matrix tr + tr td").count() == 2 * 25  # distances, and cosines
    shoot(page, "compare")
    page.get_by_role("tab", name="About").click()
    page.get_by_text("not a medical device").last.wait_for()
    shoot(page, "about")


def test_what_a_drag_drew_quickly_is_drawn_in_full_when_it_rests(visit, tmp_path: Path):
    domain = FakeDomain(tmp_path, seconds_per_image=0.005, examples=2)
    domain.generator.live_solver = "quick"
    page = ExplorerPage(domain)
    port = free_port()
    place = {"server_name": "127.0.0.1", "server_port": port}
    page.launch(**place, prevent_thread_lock=True, quiet=True, **launch_settings())
    try:
        window = visit(f"http://127.0.0.1:{port}")
        prepared(window)
        (session,) = page.visitors._sessions.values()
        sliders = session.image.sliders
        drag(window, "g", 0.7)
        for share in (0.9, 0.1, 0.8):
            drag(window, "h2", share)
        at_rest(window)
        assert set(sliders.alphas) == {"g", "h2"} and sliders.alphas["h2"] > 3
        wait_until(
            window,
            lambda: (
                not sliders.current.live and changed_picture(window) == drawn(sliders.current.image)
            ),
        )
    finally:
        page.close()
        page.visitors.close()


@pytest.mark.parametrize(
    "width, height", [(1400, 900), pytest.param(390, 844, marks=pytest.mark.nightly)]
)
def test_the_menu_opens_another_domain_and_leads_back(
    hosted: Hosted, visit, width: int, height: int
):
    page = visit(hosted.address, width, height)
    prepared(page)
    first, menu = original(page), page.locator(".gcd-menu")

    def fits() -> bool:
        return page.evaluate("document.documentElement.scrollWidth") <= width

    assert not page.get_by_role("link", name="Blood cells").is_visible()
    menu.locator("summary").click()
    link = page.get_by_role("link", name="Blood cells")
    assert link.is_visible() and fits()
    shoot(page, f"menu-{width}")
    page.keyboard.press("Escape")
    assert not link.is_visible()
    menu.locator("summary").click()
    page.locator("#heading").click(position={"x": 2, "y": 2})
    assert not link.is_visible()
    menu.locator("summary").click()
    link.click()
    page.get_by_text("Loading Blood cells").wait_for()
    assert page.url.partition("?")[0] == hosted.cells and fits()
    shoot(page, f"menu-loading-{width}")
    hosted.loader.may.set()
    page.wait_for_selector("#pictures figure img")
    assert page.url.split("?")[0] == hosted.cells and fits()
    assert menu.locator("summary").inner_text() == "Blood cells"
    assert page.locator("#examples button").count() == 2 and original(page) != first
    drop = "#source .wrap[data-testid='upload-text']"
    text = page.evaluate(
        "drop => getComputedStyle(document.querySelector(drop), '::before').content", drop
    )
    assert text == '"Open an image"'
    assert "radiograph" not in page.locator("body").inner_html()
    shoot(page, f"menu-second-{width}")
    wait_until(page, lambda: not len(hosted.site.root.visitors))
    cells = original(page)
    page.locator("#examples button").nth(1).click()
    wait_until(page, lambda: original(page) != cells)
    menu.locator("summary").click()
    page.get_by_role("link", name="Drawn chest").click()
    page.wait_for_selector("#direction-h4", state="attached")
    page.wait_for_selector("#pictures figure img")
    assert page.url.split("?")[0] == f"{hosted.address}/" and original(page) == first
    wait_until(page, lambda: not len(hosted.visitors()))
    assert hosted.loader.loaded == ["cells"]


def test_a_domain_that_could_not_be_loaded_can_be_tried_again(hosted: Hosted, visit):
    hidden = (hosted.folder / "classifier.safetensors").rename(hosted.folder / "hidden")
    hosted.loader.may.set()
    page = visit(hosted.address)
    page.locator(".gcd-menu summary").click()
    page.get_by_role("link", name="Blood cells").click()
    assert "classifier.safetensors" in page.get_by_role("alert").inner_text()
    shoot(page, "menu-failed")
    hidden.rename(hosted.folder / "classifier.safetensors")
    page.get_by_role("link", name="Try again").click()
    page.wait_for_selector("#pictures figure img")
    assert page.url.partition("?")[0] == hosted.cells


@pytest.fixture
def bundled_page() -> Iterator[str]:
    """The address of the first bundled domain's page."""
    page = ExplorerPage(load_domain("chest-xray", device="cpu"))
    port = free_port()
    page.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        **launch_settings(),
    )
    yield f"http://127.0.0.1:{port}"
    page.close()
    page.visitors.close()


@pytest.mark.bundled
@pytest.mark.skipif("chest-xray" not in bundled_domains(), reason="no chest-xray domain here")
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_the_bundled_domain_flips(bundled_page: str, visit, whole: bool):
    """Also, once all of its paths are there, for the picture in the README."""
    window = visit(bundled_page)
    picture = changed_picture(window)
    window.locator("#flip-g").click()
    wait_until(window, lambda: changed_picture(window) != picture)
    window.wait_for_selector("#pictures .flipped")
    if whole:
        prepared(window, 10 * PATIENCE)
        shoot(window, "readme")
    shoot(window, "bundled-flip")
    assert window.evaluate("document.documentElement.scrollHeight") <= 800
