"""The picture that the browser puts together, against the server's."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Iterator

import pytest
import torch
from PIL import Image

from gcd_core.method.path import Path
from gcd_core.ui.engine.sprite_sheets import path_to_sprites
from gcd_core.ui.page import page_script, page_style
from gcd_core.ui.views.data_urls import drawn
from tests.pil import from_pil
from tests.ui.fakes import composed_path

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is missing")

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
SHADERS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
CARD = """
    const parameter = WebGL2RenderingContext.prototype.getParameter;
    WebGL2RenderingContext.prototype.getParameter = function (name) {
        return [0x1f01, 0x9246].includes(name) ? 'A card' : parameter.call(this, name);
    };"""  # of a renderer's name, so that shaders are not left to graphics cards
NO_CARD = """
    const context = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
        return kind.startsWith('webgl') ? null : context.call(this, kind, ...more);
    };"""
PAGE = """
    <div id="pictures"><div class="gcd-pictures">
    <figure class="original"><div class="frame"><img class="source" src="{source}"></div></figure>
    <figure class="changed"><div class="frame"><img src="{source}"></div><figcaption></figcaption>
    </figure>
    <figure class="map"><div class="frame"><img src="{source}"></div></figure>{base}</div></div>
    <div id="overlay"><input type="radio" value="difference" checked></div>
    <div id="tools"><button data-do="pixels"></button><button data-do="whole"></button></div>
    <div class="gcd-direction" id="direction-g">
    <input type="range" min="-6" max="6" step="any" value="0"></div>"""
MOVE = """alpha => {
    const input = document.querySelector('.gcd-direction input');
    input.value = alpha;
    input.dispatchEvent(new Event('input', { bubbles: true }));
}"""
LOADED = "film => gcd.film('g', { value: film }, () => {})"
PLAYED = "#pictures .changed canvas.film"
PLAIN_PASS = """() => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1024;
    const pen = canvas.getContext('2d');
    const drawn = pen.createImageData(1024, 1024);
    const source = new Uint8ClampedArray(drawn.data.length).fill(90);
    const change = new Float32Array(drawn.data.length).fill(0.5);
    window.pass = () => {
        for (let i = 0; i < source.length; i += 1) drawn.data[i] = source[i] + change[i];
        pen.putImageData(drawn, 0, 0);
    };
}"""
PASSES = 2  # plain ones that a move may cost; 0.7 to 0.9 were measured
AS_PNG = "canvas => canvas.toDataURL('image/png')"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *SHADERS])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser) -> Iterator:
    """Opens a path in a page with the frames and the slider alone, as large as its picture."""
    pages = []

    def opened(path: Path, hardware: bool, side: int = 1400, as_drawn: bool = False):
        page = browser.new_page(viewport={"width": max(2 * side, 1200), "height": 800})
        pages.append(page)
        page.add_init_script(CARD if hardware else NO_CARD)
        page.goto("about:blank")
        height, width = path.original.shape[-2:]
        base = f'<img class="base" src="{drawn(path.composition.baseline)}">' if as_drawn else ""
        page.set_content(
            f"<style>{page_style()} .gcd-pictures {{ display: block !important; --shape: "
            f"{width / height} }} .frame {{ width: {side}px }}</style>"
            + PAGE.format(source=drawn(path.original), base=base)
        )
        page.add_script_tag(content=page_script())
        page.evaluate("""() => {
            gcd.stage(document.querySelector('#pictures'), () => {});
            gcd.tools(document.querySelector('#tools'));
        }""")
        page.evaluate(LOADED, path_to_sprites(path))
        return page

    yield opened
    for page in pages:
        page.close()


def picture(page, selector: str = PLAYED) -> torch.Tensor:
    """The pixels (1, 3, H, W) of a canvas."""
    address = page.locator(selector).evaluate(AS_PNG)
    data = base64.b64decode(address.split(",", 1)[1])
    return from_pil(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("hardware", [True, False], ids=["shader", "loop"])
@pytest.mark.parametrize("detail", ["source", "decoded"])
@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
@pytest.mark.parametrize("size", [(224, 224), (300, 420), (90, 300)])
def test_the_browsers_picture_is_the_servers(
    opened, size: tuple[int, int], channels: int, detail: str, hardware: bool
):
    path = composed_path(size, channels, detail)
    page = opened(path, hardware)
    for k in (0, 3, 4, 8):
        page.evaluate(MOVE, float(path.alphas[k]))
        assert page.locator(PLAYED).evaluate("c => !!c.getContext('webgl2')") == hardware
        played = picture(page)
        assert played.shape[-2:] == size
        assert (played - path.picture(k)).abs().mean() <= 1 / 255
        if detail == "source" and not path.alphas[k]:
            assert torch.equal(played, path.original.expand_as(played)), "at rest it is the source"


def test_a_shader_and_a_loop_draw_the_same_between_points(opened):
    path = composed_path((300, 200), 3, "source")
    both = []
    for hardware in (True, False):
        page = opened(path, hardware)
        page.evaluate(MOVE, 2.3)
        both.append(picture(page))
    assert (both[0] - both[1]).abs().max() <= 1.5 / 255
    lower, upper = path.picture(6), path.picture(7)
    assert (both[0] - lower.lerp(upper, 0.3)).abs().mean() <= 1 / 255


@pytest.mark.parametrize("hardware", [True, False], ids=["shader", "loop"])
@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_the_generators_own_drawing_is_what_it_decoded(opened, channels: int, hardware: bool):
    path = composed_path((300, 200), channels, "source")
    page = opened(path, hardware, as_drawn=True)
    for k in (0, 3, 4, 8):
        page.evaluate(MOVE, float(path.alphas[k]))
        played = picture(page)
        assert played.shape[-2:] == path.decoded.shape[-2:]
        assert (played - path.decoded[k].clamp(0, 1)).abs().mean() <= 1 / 255
    assert page.locator("#pictures .map img.film").get_attribute("src") == drawn(path.original)


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])
def test_a_large_picture_costs_a_few_passes_over_its_pixels(opened, channels: int):
    """A move along the slider, beside one plain pass over as many pixels on the same thread.

    By the time that the page's thread computes, since others use the processor too.
    """
    page = opened(composed_path((1024, 1024), channels, "source"), hardware=False)
    page.evaluate(PLAIN_PASS)
    clock = page.context.new_cdp_session(page)
    clock.send("Performance.enable", {"timeDomain": "threadTicks"})

    def spent(work: str, *given: float) -> float:
        """Milliseconds of one call."""
        before = computed(clock)
        page.evaluate(work, *given)
        return computed(clock) - before

    pairs = [
        (spent(MOVE, alpha), spent("() => pass()"))
        for alpha in torch.linspace(-3.9, 3.9, 80).tolist()
    ]
    moves, passes = (sorted(times[20:]) for times in zip(*pairs, strict=True))  # after warming up
    assert 0 < moves[30] <= PASSES * passes[30]
    assert page.locator(PLAYED).evaluate("canvas => canvas.width") >= 128


def computed(clock) -> float:
    """Milliseconds that the page's thread has computed so far."""
    metrics = clock.send("Performance.getMetrics")["metrics"]
    return 1000 * {one["name"]: one["value"] for one in metrics}["TaskDuration"]


def test_without_a_card_no_more_pixels_are_made_than_are_seen(opened):
    path = composed_path((400, 600), 1, "source")
    page = opened(path, hardware=False, side=300)
    page.evaluate(MOVE, 3)
    size = page.locator(PLAYED).evaluate("canvas => [canvas.width, canvas.height]")
    assert size == [300, 200]
    page.locator("[data-do=pixels]").click()
    page.evaluate(MOVE, 3.1)
    assert picture(page).shape[-2:] == (400, 600)


def test_one_to_one_shows_the_pictures_own_pixels(opened):
    """Larger pictures are cut by their frame, smaller ones stand in its middle."""
    for size, side in (((400, 600), 300), ((128, 128), 300)):
        page = opened(composed_path(size, 1, "source"), hardware=True, side=side)
        page.locator("[data-do=pixels]").click()
        box = page.locator("#pictures img.source").bounding_box()
        assert (box["height"], box["width"]) == pytest.approx(size, abs=0.05)
        page.locator("[data-do=whole]").click()
        assert page.locator("#pictures img.source").bounding_box()["width"] == pytest.approx(side)


def test_a_map_of_the_difference_follows_over_the_opened_picture(opened):
    path = composed_path((400, 600), 1, "source")
    page = opened(path, hardware=True)
    page.evaluate(MOVE, float(path.alphas[8]))
    assert page.locator("#pictures .map img.film").get_attribute("src") == drawn(path.original)
    heat = picture(page, "#pictures .map canvas.film")
    change = (path.images[8] - path.source[0])[0]
    strong = change.abs() > 0.5 * change.abs().quantile(0.99)
    redder = heat[0, 0] > heat[0, 2]
    assert (redder[strong] == (change[strong] > 0)).float().mean() > 0.95
    assert json.loads(path_to_sprites(path))["differences"][4] == 0, "nothing moved at rest"
