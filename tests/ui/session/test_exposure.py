"""Brightness and contrast on the page: their share of the change, and the answer without them."""

from __future__ import annotations

import re
from types import SimpleNamespace

import gradio as gr
import pytest
import torch

from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.errors import GCDError
from gcd_core.method.exposure import exposure_share, fit_tone_curve
from gcd_core.ui.engine.worker import Runner
from gcd_core.ui.session.display import SAME_TONE
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.after_moves import AfterMoves
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.explore.handlers import ExploreHandlers
from gcd_core.ui.views.exports import report_of
from gcd_core.ui.views.html import CHECKING, pictures, readout
from gcd_core.ui.views.payload import flipped, state_payload
from tests.ui.fakes import SIZE, FakeClassifier, LargerClassifier, own_picture
from tests.ui.waiting import wait_for_paths

pytestmark = pytest.mark.slow

SHOWN = ("bb_lig", 0.6, "side")
REQUEST = SimpleNamespace(session_hash="owner")


class ReadsView(FakeClassifier):
    """Answers by the lungs, of pictures at the generator's size."""

    preprocessing = Preprocessing(size=(SIZE, SIZE))


class ReadsExposure(FakeClassifier):
    """Answers by the brightness of the whole picture, wherever it lies."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.queries += len(images)
        mean = images.mean((1, 2, 3))
        return torch.stack([60 * (mean - 0.41), 60 * (mean - 0.41)], 1)


@pytest.fixture
def handlers(visitors: Visitors) -> ExploreHandlers:
    with gr.Blocks():
        return ExploreTab(visitors).handlers


def after(handlers: ExploreHandlers) -> AfterMoves:
    """What follows a move by itself."""
    return AfterMoves(handlers.visitors, handlers.layout)


@pytest.fixture
def own(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Session:
    """A session with a picture of its own size, flipped along g."""
    domain = visitors.service.domain
    monkeypatch.setattr(domain, "detail", "source")
    monkeypatch.setattr(domain, "classifier", getattr(request, "param", ReadsView)())
    monkeypatch.setattr(visitors.service.ahead, "follow", lambda *_: None)
    session = visitors.session("owner")
    session.open_image(own_picture((300, 200), seed=4), "mine.png")
    wait_for_paths(session)  # they ask the classifier too
    session.image.sliders.move({"g": 5.0})
    assert flipped(session.image)
    return session


@pytest.mark.parametrize("own", [LargerClassifier, ReadsExposure], indirect=True)
def test_the_answer_without_them_is_asked_once(own: Session, handlers: ExploreHandlers):
    image, classifier = own.image, own.service.domain.classifier
    frame, source = image.sliders.current, image.opened.image
    share = exposure_share(source, frame.image)
    assert state_payload(own)["exposure"] == {
        "share": share,
        "without": None,
        "flips_without": None,
    }
    assert "of the change is" in readout(image) and "Without it" not in readout(image)
    before = classifier.queries
    answer = after(handlers).keep_tone(*SHOWN, REQUEST)
    place = image.changed_place.alone is not None
    asked_of_place = "about its place alone, and about all but that"
    assert classifier.queries == before + 1 + 2 * place, asked_of_place
    curve = fit_tone_curve(source, frame.image)
    own_source = image.opened.composition().source_for(classifier)
    asked = curve.without(own_source, frame.asked(classifier))
    expected = classifier.probability(classifier(asked), "pneumonia").item()
    facts = answer[handlers.layout.numbers]["exposure"]
    assert facts["without"]["pneumonia"] == pytest.approx(expected)
    flips = (expected >= 0.5) != (image.opened.source.probabilities[0] >= 0.5)
    assert facts["flips_without"] == flips
    words = f"Without it: Pneumonia {100 * expected:.0f}"
    told = "it still flips." if flips else "no flip."
    assert words in answer[handlers.layout.bars] and told in answer[handlers.layout.bars]
    assert ("doubtful" in answer[handlers.layout.bars]) == (share >= 0.25 or not flips)
    if isinstance(classifier, ReadsExposure):
        assert not flips, "nothing is left of what it reads"
        assert any("Without it" in warning for warning in report_of(own).warnings)
    before = classifier.queries
    assert after(handlers).keep_tone(*SHOWN, REQUEST) == {} and classifier.queries == before


def test_a_flip_is_no_good_news_before_it_is_known_without_them(
    own: Session, handlers: ExploreHandlers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(type(own.image.exposure), "share", 0.1)  # more is amber at once
    own.image.sliders.draw_in_full()
    assert "flipped checking" in pictures(own) and CHECKING in pictures(own)
    after(handlers).keep_tone(*SHOWN, REQUEST)
    assert "checking" not in pictures(own) and CHECKING not in pictures(own)
    own.image.sliders.move({"g": 4.9})
    monkeypatch.setattr(own.service, "runner", Runner())  # where it costs it is not asked
    assert "flipped" in pictures(own) and "checking" not in pictures(own)


def test_the_change_without_them_is_shown_where_it_is_chosen(
    own: Session, handlers: ExploreHandlers
):
    image, page = own.image, handlers.layout.pictures
    answer = handlers.change_drawing(SAME_TONE, REQUEST)
    kept = image.exposure.get()
    curve = fit_tone_curve(image.opened.image, image.sliders.current.image)
    torch.testing.assert_close(
        kept.picture, curve.without(image.opened.pixels, image.sliders.current.picture)
    )
    assert kept.picture.shape == (1, 1, 300, 200)
    assert "Tone kept" in answer[page] and "of the whole change" in answer[page]
    assert f'data-detail="{SAME_TONE}" title' in answer[page]
    image.sliders.move({"g": 0.5})
    there = handlers.change_view(*SHOWN, REQUEST)[page]
    assert "Tone kept" not in there, "of a new position nothing is known yet"
    assert "Tone kept" in after(handlers).keep_tone(*SHOWN, REQUEST)[page], (
        "it is asked where that is free"
    )
    assert "Tone kept" not in handlers.change_drawing("source", REQUEST)[page]
    image.sliders.move({})
    with pytest.raises(GCDError, match="move a slider first"):
        handlers.change_drawing(SAME_TONE, REQUEST)
    assert "Brightness kept" not in handlers.change_view(*SHOWN, REQUEST)[page]


@pytest.mark.parametrize("why", ["budget", "remote"])
def test_where_asking_costs_it_is_asked_on_demand(
    own: Session, handlers: ExploreHandlers, monkeypatch: pytest.MonkeyPatch, why: str
):
    classifier = own.service.domain.classifier
    if why == "budget":
        monkeypatch.setattr(classifier, "budget", classifier.queries + 100)
    else:
        monkeypatch.setattr(own.service, "runner", Runner())
    before = classifier.queries
    assert after(handlers).keep_tone(*SHOWN, REQUEST) == {} and classifier.queries == before
    answer = handlers.change_drawing(SAME_TONE, REQUEST)
    assert classifier.queries == before + 1
    assert answer[handlers.layout.numbers]["exposure"]["without"] is not None


def test_a_kept_tone_is_of_one_picture(own: Session, handlers: ExploreHandlers):
    handlers.change_drawing(SAME_TONE, REQUEST)
    own.explain("bacterial")
    assert own.display.detail == SAME_TONE  # the picture is the same
    own.open_example(1)
    wait_for_paths(own)
    own.image.sliders.move({"g": 5.0})
    own.image.exposure.ask()
    shown = pictures(own)
    assert 'data-detail="same-tone"' in shown and "<b data-moved>" in shown
    assert re.findall(r'data-detail="([^"]*)"[^>]*aria-pressed="true"', shown) == ["source"]
