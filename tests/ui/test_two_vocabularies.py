"""Plain words and the field's: each text of the page in one or the other, never mixed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gcd_core.ui.views.vocabulary import MEANINGS, TERMS, TOUR, WRITTEN
from gcd_core.wording import EXPERT, PLAIN, Worded, way_name, worded
from tests.fields_words import FIELDS_WORDS
from tests.ui.conftest import Served, serving
from tests.ui.fakes import FakeClassifier, PriorDomain
from tests.ui.test_browser import (
    ARTEFACTS,
    browser,
    prepared,
    pytestmark,
    visit,
    wait_until,
)

__all__ = ["browser", "pytestmark", "visit"]  # what pytest finds here
# Every text of the page that a reader in plain words meets: seen, or heard, or pointed at.
PLAIN_TEXTS = """() => {
    const body = document.body.cloneNode(true);
    const unread = '.expert, script, style, .gcd-about pre, footer, .visually-hidden';
    body.querySelectorAll(unread).forEach(element => element.remove());
    const told = [...body.querySelectorAll('*')].flatMap(element =>
        ['title', 'aria-label', 'alt', 'placeholder', 'data-plain-tip'].map(
            name => element.getAttribute(name)));
    const walker = document.createTreeWalker(body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) told.push(walker.currentNode.textContent);
    return told.filter(text => text && text.trim());
}"""


class Doubted(PriorDomain):
    """The drawn domain with a second opinion, whose searches know what codes draw."""

    def __init__(self, folder: Path, **options) -> None:
        super().__init__(folder, **options)
        self.oracle = FakeClassifier()


@pytest.fixture(scope="module")
def doubted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(Doubted(tmp_path_factory.mktemp("doubted"), examples=4)) as served:
        yield served


def fields_words(texts: list[str]) -> list[str]:
    """The texts that have a word of the field."""
    return [text.strip() for text in texts if FIELDS_WORDS.search(text)]


@pytest.mark.parametrize("word", ["BB-LIG", "along g", "z_sem", "the Hessian", "h1", "20 queries"])
def test_a_word_of_the_field_is_known_as_one(word: str) -> None:
    assert fields_words([word]) == [word]
    assert not fields_words(["The picture changes by a brighter ring, 128 x 128."])


def test_the_vocabulary_is_two_and_whole() -> None:
    plain = [text for term in TERMS.values() for text in (term.plain, term.plain_meaning)]
    plain += [meaning for meaning, _ in MEANINGS.values()]
    plain += [text for text, _ in WRITTEN.values()] + [text for _, text in TOUR]
    assert not fields_words(plain)
    expert = " ".join(term.meaning for term in TERMS.values())
    for word in ("z_sem", "z_T", "alpha", "LPIPS", "logit", "proxy", "Shapley"):
        assert word in expert
    assert "Hessian" in MEANINGS["h"][1] and "RCSB" in MEANINGS["r"][1]


def test_a_sentence_has_both_vocabularies() -> None:
    sentence = Worded("AUROC 0.78.", "It is weak.")
    assert worded(sentence, PLAIN) == "It is weak." and worded(sentence, EXPERT) == "AUROC 0.78."
    assert worded("The same.", PLAIN) == "The same." == Worded("The same.").plain
    assert way_name("g + h12") == "Main way + Way 12" and way_name("w1", EXPERT) == "w1"


def test_no_word_of_the_field_is_read_in_plain_words(doubted: Served, visit) -> None:
    page = visit(doubted.address, been_here=False)
    page.locator(".gcd-tour").get_by_role("button", name="Skip").click()
    prepared(page)
    seen: list[str] = []

    def look(name: str) -> None:
        page.screenshot(path=ARTEFACTS / f"plain-{name}.png")
        seen.extend(page.evaluate(PLAIN_TEXTS))

    look("explore")
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    look("flipped")
    page.locator("#slider-h1 input[type=range]").evaluate(
        "input => { input.value = 2; input.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    wait_until(page, lambda: "Main way + Way 1" in page.locator("#curve").inner_text())
    look("two-ways")
    for title in ("Tested", "Changes"):
        page.locator("#overlay").get_by_text(title, exact=True).click()
        page.wait_for_selector("#pictures .map img")
        look(title.lower())
    page.get_by_role("tab", name="Find ways").click()
    page.locator("#settings button").first.click()
    look("settings")
    page.locator("#sampling label").last.click()
    page.wait_for_selector("#boundary", state="visible")
    look("around")
    page.locator("#sampling label").first.click()
    page.locator("#start").click()
    wait_until(page, lambda: "Done" in page.locator("#progress").inner_text())
    look("found")
    page.locator("#use").click()
    prepared(page)
    look("placed")
    page.get_by_role("tab", name="Compare ways").click()
    page.wait_for_selector("#matrix table")
    look("compare")
    page.get_by_role("button", name="Two sets side by side").click()
    page.locator("#compare-sets").click()
    page.wait_for_function(
        "() => document.querySelector('.gcd-set-side') && "
        "!document.querySelector('#sets-result .gcd-wait')"
    )
    look("two-sets")
    page.get_by_role("tab", name="Many images").click()
    page.locator("#walk-images").click()
    wait_until(page, lambda: "Done" in page.locator("#globality-progress").inner_text())
    look("many")
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector(".gcd-about")
    look("about")
    assert not sorted(set(fields_words(seen)))
    assert any("Upper left" in text for text in seen), "directions by place were seen"


def test_an_experts_page_has_the_words_of_the_field(doubted: Served, visit) -> None:
    page = visit(doubted.address)
    prepared(page)
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    assert "Pneumonia along g" in page.locator("#curve").inner_text()
    assert "LPIPS" in page.locator("#bars").inner_text()
    tips = " ".join(page.locator("[data-tip]").evaluate_all("all => all.map(e => e.dataset.tip)"))
    for word in ("z_sem", "alpha", "LPIPS", "logit", "Hessian", "gradients"):
        assert word in tips
    page.locator("#direction-h1 .term").first.hover()
    assert "Hessian" in page.locator(".gcd-tip").inner_text()
    page.get_by_role("button", name="Plain").click()
    page.locator("#direction-h1 .term").first.hover()
    assert "Hessian" not in page.locator(".gcd-tip").inner_text()


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_every_tab_whole_in_the_chosen_words(
    doubted: Served, visit, width: int
) -> None:
    page = visit(doubted.address, width=width, height=844, been_here=False)
    page.locator(".gcd-tour").get_by_role("button", name="Skip").click()
    tabs = page.locator("#tabs [role=tab]")
    plain = ["Explore", "Find ways", "Compare ways", "Many images", "About"]
    wait_until(page, lambda: tabs.all_inner_texts() == plain)
    ends = tabs.evaluate_all("all => all.map(e => [e.scrollWidth - e.clientWidth, e.offsetLeft])")
    assert all(beyond <= 0 for beyond, _ in ends) and len({left for _, left in ends}) == 5
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.locator("#tabs .overflow-menu").is_visible()
    page.get_by_role("tab", name="Compare ways").click()
    page.wait_for_selector("#matrix table")
    page.screenshot(path=ARTEFACTS / "plain-phone-compare.png", full_page=True)
    page.get_by_role("button", name="Expert").click()
    wait_until(page, lambda: "Globality" in tabs.all_inner_texts())
    beyond = tabs.evaluate_all("all => all.map(e => e.scrollWidth - e.clientWidth)")
    assert len(beyond) == 5 and max(beyond) <= 0


@pytest.mark.parametrize("words", ["plain", "expert"])
@pytest.mark.parametrize("width", [1280, 1440])
def test_where_a_flip_begins_is_whole_beside_its_slider(
    doubted: Served, visit, width: int, words: str
) -> None:
    page = visit(doubted.address, width=width, been_here=words == "expert")
    if words == "plain":
        page.locator(".gcd-tour").get_by_role("button", name="Skip").click()
    prepared(page)
    cut = page.locator(".gcd-direction:not(.hide) .from").evaluate_all(
        """all => all.map(one => {
            const [own, row] = [one, one.closest('.gcd-direction')].map(
                element => element.getBoundingClientRect());
            return [one.textContent, one.scrollWidth > one.clientWidth + 1,
                    own.right > row.right + 1];
        })"""
    )
    assert cut and not [one for one in cut if one[1] or one[2]]


def test_only_the_mark_of_waiting_turns_and_not_its_words(doubted: Served, visit) -> None:
    page = visit(doubted.address)
    turning = page.evaluate("""() => {
        const spans = '<span></span><span class="plain">a</span><span class="expert">b</span>';
        document.body.insertAdjacentHTML(
            'beforeend', `<div class="gcd-wait" id="probe">${spans}</div>`);
        return [...document.querySelectorAll('#probe span')].map(
            one => getComputedStyle(one).animationName !== 'none');
    }""")
    assert turning == [True, False, False]
