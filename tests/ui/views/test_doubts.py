"""What is said of a flip that may mean nothing, and of a curve that misses the picture shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch

from gcd_core.domains.cautions import Caution
from gcd_core.generators.base import Latent
from gcd_core.method.composition import SOURCE
from gcd_core.method.proxy import Proxy
from gcd_core.method.second_opinion import DISAGREED, FOLLOWS, STAYS
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.views import html, payload
from gcd_core.ui.views.charts import ABOUT, Premise, percent
from gcd_core.ui.views.curve import curve_card, measured_curve, place_on_line, value_here
from gcd_core.ui.views.direction_rows import direction_titles
from gcd_core.ui.views.html import pictures, readout, second_opinion
from gcd_core.ui.views.payload import flipped, verdict
from gcd_core.ui.views.vocabulary import TERMS
from gcd_core.wording import percent as spoken
from tests.ui.answers import text_of
from tests.ui.fakes import CODE, FakeDomain, FakeGenerator
from tests.ui.waiting import wait_for_paths


class Strange:
    """Gives every picture one off-distribution score."""

    threshold = 2.8

    def __init__(self, score: float) -> None:
        self.score = score

    def score_of(self, distances: torch.Tensor, latent: Latent) -> torch.Tensor:
        return torch.full((len(distances),), self.score)


def own_flip(visitors: Visitors) -> Session:
    """A session with a picture of its own, at its flip along g."""
    session, domain = visitors.session("owner"), visitors.service.domain
    session.open_image(domain.load_image(domain.examples[1]).flip(-1), "mine.png")
    wait_for_paths(session)
    session.image.flips.to_flip("g", 0.25)
    assert flipped(session.image) and 'data-flip="g"' in pictures(session)
    return session


@pytest.mark.parametrize(("score", "unlike"), [(13.9, True), (3.0, False), (1.0, False)])
def test_a_flip_of_a_picture_that_the_models_do_not_know_is_no_good_news(
    visitors: Visitors, score: float, unlike: bool
) -> None:
    visitors.service.domain.off_distribution = Strange(score)
    session = own_flip(visitors)
    assert ('class="gcd-card unlike"' in readout(session.image)) == unlike
    figure = re.search(r'<figure[^>]*class="[^"]*changed[^"]*"', pictures(session))
    assert figure and "flipped" in figure[0]
    why = re.search(r'class="number" title="([^"]+)"', pictures(session))
    if unlike:
        assert "doubtful" in figure[0]
        assert "Amber: unlike the pictures that it is for" in text_of(readout(session.image))
        assert why is not None, "amber says why"


def test_an_example_of_another_kind_is_told_as_an_own_picture_is(
    visitors: Visitors, monkeypatch
) -> None:
    session, domain = visitors.session("somebody"), visitors.service.domain
    session.open_example(1)
    told = Caution("Unlike cells.", "It looks unlike cells.", "Unlike cells: may mean nothing.")
    monkeypatch.setattr(payload, "of_another_kind", lambda *_: told)
    assert not payload.is_unlike(session.image), "the question is of all pictures"
    label = replace(domain.label_info[session.label], only_for="cells")
    monkeypatch.setitem(domain.label_info, session.label, label)
    assert payload.is_unlike(session.image)
    assert "Unlike cells: may mean nothing." in text_of(pictures(session))


@pytest.mark.parametrize("lost", [True, False])
def test_a_flip_by_what_is_not_drawn_is_amber_beside_its_number(
    visitors: Visitors, lost: bool
) -> None:
    session = own_flip(visitors)
    image = session.image
    session.display = session.display._replace(detail=SOURCE)
    again = 1 - image.opened.source.probabilities[image.index] if lost else None
    if again is not None:
        drawn = replace(image.opened.reconstruction, probabilities=(again,) * 3)
        object.__setattr__(image.opened, "reconstruction", drawn)
    figure = re.search(r'<figure[^>]*class="[^"]*changed[^"]*"', pictures(session))
    why = re.search(r'class="number" title="([^"]+)"', pictures(session))
    assert ("Amber: drawing it again changes the answer" in text_of(readout(image))) == lost
    assert ("Drawing the picture again already changes" in readout(image)) == lost
    told = "Drawing the picture again already changes" in (why[1] if why else "")
    assert figure and told == lost and (not lost or "doubtful" in figure[0])


@pytest.mark.parametrize("doubtful", [True, False])
def test_with_an_amber_line_what_a_flip_changed_is_told_up_to_its_first_place(
    visitors: Visitors, monkeypatch, doubtful: bool
) -> None:
    clause = (
        "mostly more lucent in the centre of the picture, more opaque in the rest of the picture"
    )
    doubts = html.Doubts("mostly brightness", "59 % of it.") if doubtful else None
    monkeypatch.setattr(html, "flip_clause", lambda image: clause)
    monkeypatch.setattr(html, "flip_doubts", lambda *_: doubts)
    image = own_flip(visitors).image
    title = text_of(readout(image))
    first, _, rest = clause.partition(", ")
    shown = re.search(r'<small class="gcd-sentence".*?</small>', readout(image))
    assert shown and first in title and (f", {rest}" in shown[0]) != doubtful
    assert (f"{first}, \N{HORIZONTAL ELLIPSIS}" in title) == doubtful
    assert ("Amber: mostly brightness" in title) == doubtful
    monkeypatch.setattr(html, "flip_clause", lambda image: "if paler, less blue in the middle")
    assert "flips if paler, less blue in the middle" in text_of(readout(image)), "it has its room"


def test_a_clause_is_cut_behind_a_place_and_not_within_its_kinds() -> None:
    kinds = "if paler, less pink and less blue in the centre of the picture"
    assert html.shortened(kinds) == kinds
    more = f"{kinds}, darker in the rest of the picture"
    assert html.shortened(more) == f"{kinds}, \N{HORIZONTAL ELLIPSIS}"
    assert html.shortened("brighter overall") == "brighter overall"


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("stays", "the second opinion stays"),
        ("disagreed", "the second opinion disagreed before"),
        ("follows", ""),
    ],
)
def test_a_flip_that_the_second_opinion_does_not_share_is_amber(
    visitors: Visitors, monkeypatch, verdict: str, words: str
) -> None:
    said = {"stays": STAYS, "disagreed": DISAGREED, "follows": FOLLOWS}[verdict]
    monkeypatch.setattr(html, "opinion_of_flip", lambda image: said)
    monkeypatch.setattr(html, "flip_is_doubtful", lambda image: False)
    session = own_flip(visitors)
    figure = re.search(r'<figure[^>]*class="[^"]*changed[^"]*"', pictures(session))
    assert figure and ("doubtful" in figure[0]) == bool(words)
    assert (f"Amber: {words}" in text_of(readout(session.image))) == bool(words)


def test_a_share_of_brightness_is_told_and_never_called_most_of_it(
    visitors: Visitors, monkeypatch
) -> None:
    monkeypatch.setattr(html, "flip_is_doubtful", lambda image: True)
    monkeypatch.setattr(html, "flips_without", lambda image: True)
    image = own_flip(visitors).image
    shares = image.exposure.share
    assert html.flip_doubts(image).short == f"{100 * shares:.0f} % of it is brightness"
    monkeypatch.setattr(html, "flips_without", lambda image: False)
    assert html.flip_doubts(image).short == "no flip without its brightness"


class Weaker(FakeGenerator):
    """Its fast decoder changes the picture by half of what the full one does."""

    live_solver = "quick"

    def decode(self, latent: Latent, solver: str | None = None, *args, **kwargs) -> torch.Tensor:
        if solver == self.live_solver:
            latent = latent.with_z_sem(0.5 * latent.z_sem)
        return super().decode(latent, solver, *args, **kwargs)


@pytest.fixture
def weaker(tmp_path: Path) -> Iterator[Visitors]:
    domain = FakeDomain(tmp_path, examples=3)
    domain.generator, domain.detail, domain.walk_points = Weaker(), SOURCE, 9
    visitors = Visitors(domain)
    yield visitors
    visitors.close()


def test_a_curve_of_quick_drawings_says_where_it_misses_the_picture(weaker: Visitors) -> None:
    session = weaker.session("somebody")
    session.open_example(1)
    wait_for_paths(session)
    image = session.image
    assert 'class="gap"' not in curve_card(image), "at rest both are the picture itself"
    curve = [point for point in measured_curve(image) if abs(point[0]) > 1]
    alpha, there = min(curve, key=lambda point: abs(point[1] - 0.5))  # where it is steep
    image.sliders.move({"g": alpha}, "g")
    quick = percent(image.sliders.current.probabilities[image.index])
    assert re.search(f'<span class="number"[^>]*>{ABOUT}{re.escape(quick)}<', pictures(session))
    card = readout(image)
    assert "in full soon" in card and 'class="gcd-card quick"' in card
    image.sliders.draw_in_full()
    assert ABOUT not in pictures(session) and "in full soon" not in readout(image)
    title = direction_titles(session)["g"]
    assert f"turns {ABOUT}" in title
    full = image.sliders.current.probabilities[image.index]
    assert abs(full - there) > 0.05, "or nothing is tried here"
    gap = curve_card(image).split('class="gap"')[1]
    assert f"{spoken(there)} here; the picture in full gets {spoken(full)}." in gap
    with gr.Blocks():
        after = ExploreTab(weaker).after_moves
    request = SimpleNamespace(session_hash="somebody")
    answer = after.follow_in_full("bb_lig", 0.6, "side", request)
    assert 'class="gap"' not in answer[after.layout.curve], "it is drawn anew, in full"
    drawn = measured_curve(image)
    assert len(drawn) > 9 and value_here(image, drawn) == pytest.approx(full, abs=0.02)
    assert after.follow_in_full("bb_lig", 0.6, "side", request) == {}, "once"


def test_a_line_that_was_fitted_is_called_no_network(session: Session) -> None:
    for networks, name in ((0, "slope"), (1, "proxy")):
        found = replace(session.directions, proxy=Proxy(CODE, networks=networks))
        session.use("pneumonia", session.sets.keep("pneumonia", name, found))
        card = curve_card(session.image)
        assert TERMS[name].meaning.split(";")[0] in card.replace("&#x27;", "'")


def test_a_region_that_changes_nothing_says_so_in_plain_words(session: Session) -> None:
    class Path:
        """As far as the sentence reads it."""

        counterfactual, counterfactual_flips = 0, False
        probabilities = torch.tensor([0.98])

        def __init__(self, sign: int) -> None:
            self.sign = sign

    class Tried:
        """Likewise."""

        def __init__(self, sign: int) -> None:
            self.path = Path(sign)

    same = "Changing only this region does not change the answer: Eosinophil "
    told = [verdict(Tried(sign), was, "Eosinophil") for sign, was in ((-1, 0.99), (1, 0.01))]
    assert told[0] == f"{same}99 % falls to 98 %, and no further in what was tried."
    assert told[1] == f"{same}1 % rises to 98 %, and no further in what was tried."
    assert verdict(Tried(-1), 0.981, "Eosinophil") == f"{same}stays at 98 %."


def test_a_question_that_the_change_takes_away_has_no_second_opinion(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
):
    image = own_flip(visitors).image
    assert image is not None
    for frame in (image.opened.source, image.sliders.current):
        object.__setattr__(frame, "oracle", list(frame.probabilities))
    assert "<em" in second_opinion(image)
    kept, lost = (Premise("pneumonia", "Pneumonia", 0.9, after) for after in (0.8, 0.2))
    monkeypatch.setattr(html, "premise_of", lambda image, label: kept)
    assert "<em" in second_opinion(image)
    monkeypatch.setattr(html, "premise_of", lambda image, label: lost)
    told = second_opinion(image)
    assert "<em" not in told and "&rarr;" in told, "its numbers stay"


def test_a_second_slider_does_not_turn_the_curve_around(session: Session) -> None:
    image = session.image
    wait_for_paths(session)
    image.sliders.move({"g": -3.0})
    alone, _ = place_on_line(image)
    image.sliders.move({"g": -3.0, "h2": 1.0})
    both, most = place_on_line(image)
    assert alone == -3.0 and -most <= both < 0
    line = image.maps.line_now()
    points = measured_curve(image)
    assert points == sorted(points) and points[-1][0] == 0, "from the left to the image itself"
    assert points[0] == (pytest.approx(both), line.probabilities[-1].item())
    assert value_here(image, points) == pytest.approx(image.sliders.current.probabilities[0])
    image.flips.line_in_full(image.sliders.alphas)
    whole = measured_curve(image)
    assert whole[0][0] < both and whole[-1][0] > 0, "in full it goes on to either side"
    assert value_here(image, whole) == pytest.approx(value_here(image, points), abs=0.05)
