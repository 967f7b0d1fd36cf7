"""Another counterfactual than the one that is shown: what was shown before is held at 0."""

from __future__ import annotations

import threading

import gradio as gr
import pytest

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import GCDError
from gcd_core.method import notes
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.session.deep_link import address_of, restore
from gcd_core.ui.session.regions import WITHOUT
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.views.html import readout
from gcd_core.ui.views.payload import flipped, other_payload, other_sentence
from gcd_core.wording import PLAIN, worded
from tests.ui.fakes import FakeDomain
from tests.ui.session.test_tried_regions import CORNER, LUNGS
from tests.ui.waiting import wait_for


@pytest.fixture
def at_flip(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session whose sliders stand at the flip along g; nothing else asks the classifier."""
    monkeypatch.setattr(ModelService, "decodes_ahead", False)
    session.image.flips.to_flip("g", 0.25)
    session.image.set_away(True)
    wait_for(lambda: session.service.context.paths.idle)
    return session


def test_each_press_does_without_what_was_shown_before(at_flip: Session) -> None:
    image, classifier = at_flip.image, at_flip.service.domain.classifier
    shown = [image.sliders.alphas]
    for press in (1, 2):
        most, before = image.others.queries, classifier.queries
        frame = image.others.go_on(0.25)
        other = image.others.here
        assert frame is image.sliders.current and not frame.live
        assert len(other.avoided) == press and other.avoided[0] == "g"
        assert not set(other.avoided) & set(image.sliders.alphas)
        assert classifier.queries - before == other.queries <= most <= 64
        assert other.flips == flipped(image)
        assert image.sliders.alphas not in shown
        shown.append(image.sliders.alphas)
    image.others.clear()
    image.flips.to_flip("g", 0.25)
    image.others.go_on(0.25)
    assert image.others.here.avoided == ("g",), "after a reset it begins anew"


def test_what_came_of_it_is_told_as_long_as_it_is_shown(at_flip: Session) -> None:
    image = at_flip.image
    assert other_sentence(image) == "" and other_payload(image) is None
    image.others.go_on(0.25)
    told, facts = other_sentence(image), other_payload(image)
    assert "ithout g" in told and f"{image.others.here.queries} queries" in told
    plain = worded(told, PLAIN)
    assert "Main way" in plain and "queries" not in plain and told in readout(image)
    assert facts["avoided"] == ["g"] and facts["flipped"] == flipped(image)
    assert ("no flip" in told) == (not flipped(image))
    image.sliders.move({"g": 1.0})
    assert other_sentence(image) == "" and other_payload(image) is None


def test_what_is_avoided_has_the_name_that_its_row_has(at_flip: Session) -> None:
    image = at_flip.image
    note = {"called": "Haze", "remark": "", "mark": ""}
    image.directions.metadata[notes.FIGURE] = {"g": note}
    image.others.go_on(0.25)
    assert worded(other_sentence(image), PLAIN).startswith("Without Haze")


def test_strengths_are_as_exact_as_a_slider_shows(at_flip: Session) -> None:
    image = at_flip.image
    for _ in range(2):
        image.others.go_on(0.25)
        assert image.sliders.alphas
        for alpha in image.sliders.alphas.values():
            assert alpha == round(alpha, 2)


def test_its_place_is_in_the_address(at_flip: Session) -> None:
    at_flip.image.others.go_on(0.25)
    alphas, address = dict(at_flip.image.sliders.alphas), address_of(at_flip.image)
    at_flip.image.sliders.move({})
    restore(at_flip, address)
    assert at_flip.image.sliders.alphas == pytest.approx(alphas, abs=1e-3)


def test_without_a_change_there_is_nothing_to_avoid(session: Session) -> None:
    before = session.service.domain.classifier.queries
    with pytest.raises(GCDError, match="press \\*To flip\\* first"):
        session.image.others.go_on(None)
    assert session.service.domain.classifier.queries == before


def test_a_budget_is_kept(at_flip: Session) -> None:
    image, classifier = at_flip.image, at_flip.service.domain.classifier
    most, alphas = image.others.queries, dict(image.sliders.alphas)
    classifier.budget = classifier.queries + most - 1
    with pytest.raises(BudgetExceeded, match=f"up to {most} images"):
        image.others.go_on(0.25)
    assert classifier.queries == classifier.budget - most + 1 and image.sliders.alphas == alphas
    classifier.budget += 1
    assert image.others.go_on(0.25) is not None


def test_a_move_meanwhile_goes_first(at_flip: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    image, service = at_flip.image, at_flip.service
    began, may_go_on, another = threading.Event(), threading.Event(), service.another

    def held(*args: object, **options: object) -> object:
        began.set()
        assert may_go_on.wait(30)
        return another(*args, **options)

    monkeypatch.setattr(service, "another", held)
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(image.others.go_on(0.25)))
    asking.start()
    assert began.wait(30)
    image.sliders.intend()
    may_go_on.set()
    asking.join(30)
    assert answers == [None] and image.others.here is None


def test_a_region_that_is_to_stay_stays(at_flip: Session) -> None:
    image = at_flip.image
    job = image.regions.start(CORNER, WITHOUT)
    tried = job.ended.result(30)
    inside = tried.path.images[:, :, CORNER]
    assert (inside == image.opened.image[:, :, CORNER].expand_as(inside)).all()
    assert tried.path.flipped and (tried.mask == ~CORNER).all()
    with pytest.raises(GCDError, match="Outside of the region nothing moves the answer"):
        image.regions.start(LUNGS, WITHOUT).ended.result(30)  # they are all that is read here


@pytest.mark.parametrize("budget", [None, 500])
def test_the_button_says_what_it_may_cost(domain: FakeDomain, budget: int | None) -> None:
    domain.classifier.budget = budget
    visitors = Visitors(domain)
    try:
        with gr.Blocks():
            tab = ExploreTab(visitors)
        price = "" if budget is None else ": up to 64 questions to the classifier"
        assert tab.layout.another.value == f"Another way{price}"
    finally:
        visitors.close()
