"""What the page says of a flip: how the picture changed and where, and "if" only where tested."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest
import torch

from gcd_core.method.changes import Part
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.views.html import readout
from gcd_core.ui.views.payload import flip_clause, flip_sentence, flipped, state_payload
from gcd_core.wording import percent
from tests.ui.fakes import FakeClassifier

WHERE = "lower left of the picture"  # the patch of the code's second number
MOVED = {"g": 6.0}


class ReadsElsewhere(FakeClassifier):
    """Answers by the border of the heart in the right half, which hardly moves along g."""

    level = 0.0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.queries += len(images)
        logit = 4000 * (images[:, 0, 60:110, 70:].mean((1, 2)) - self.level)
        return torch.stack([logit, logit], 1)


@pytest.fixture(autouse=True)
def asked(visitors: Visitors, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The pictures that were asked about one by one."""
    found, ask = list[torch.Tensor](), visitors.service.ask
    monkeypatch.setattr(visitors.service, "ask", lambda image: (found.append(image), ask(image))[1])
    return found


def opened(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch, classifier: FakeClassifier
) -> Session:
    """A session of whose picture one quarter becomes brighter along g."""
    if isinstance(classifier, ReadsElsewhere):
        source = visitors.service.domain.load_image(visitors.service.domain.examples[1])
        classifier.level = source[0, 0, 60:110, 70:].mean().item() + 0.0005
    monkeypatch.setattr(visitors.service.domain, "classifier", classifier)
    monkeypatch.setattr(visitors.service.ahead, "follow", lambda *_: None)
    session = visitors.session("owner")
    session.open_example(1)
    session.explain("bacterial")
    session.image.set_away(True)  # its paths ask the same classifier
    assert flip_sentence(session.image) == "" and "gcd-sentence" not in readout(session.image)
    session.image.sliders.move(MOVED)
    session.image.sliders.draw_in_full()
    assert flipped(session.image)
    return session


def answer_of(visitors: Visitors) -> dict:
    """What the page is told once a flip is shown."""
    with gr.Blocks():
        tab = ExploreTab(visitors)
    return tab.after_moves.keep_tone("bb_lig", 0.6, "side", SimpleNamespace(session_hash="owner"))


def test_if_is_said_where_the_change_in_that_place_alone_flips(visitors, monkeypatch, asked):
    session = opened(visitors, monkeypatch, FakeClassifier())
    image = session.image
    assert image.changed_place.parts == (Part("brighter", WHERE),)
    assert flip_clause(image) == f"mostly brighter in the {WHERE}", "not asked yet"
    image.exposure.ask()
    asked.clear()
    assert answer_of(visitors) and [len(images) for images in asked] == [2]
    moved = (asked[0] - image.opened.image).abs()[:, 0]
    assert moved[0, :50].max() == 0 == moved[0, :, 80:].max() < moved[0, 80:100, 30:50].max()
    whole = image.sliders.current.image - image.opened.image
    torch.testing.assert_close(moved.sum(0), whole.abs()[0, 0])
    assert flip_clause(image) == f"if brighter in the {WHERE}"
    sentence = state_payload(session)["sentence"]
    assert sentence.startswith("Bacterial ") and sentence.endswith(f" if brighter in the {WHERE}.")
    assert f'title="{sentence}">flips if brighter in the {WHERE}</small>' in readout(image)
    monkeypatch.setattr(image.service.domain, "change_words", {"brighter": "more opaque"})
    assert flip_clause(image) == f"if more opaque in the {WHERE}"
    monkeypatch.undo()
    assert answer_of(visitors) == {} and len(asked) == 1, "once an answer"
    image.sliders.move({"g": 5.5})
    assert image.changed_place.alone is None and not flip_clause(image).startswith("if")


def test_no_if_where_the_classifier_reads_another_place(visitors, monkeypatch):
    session = opened(visitors, monkeypatch, ReadsElsewhere())
    image = session.image
    assert image.changed_place.parts == (Part("brighter", WHERE),)
    answer_of(visitors)
    alone = image.changed_place.alone
    assert alone is not None and alone[1] < 0.5
    clause = f"mostly brighter in the {WHERE}"
    assert flip_clause(image) == clause and " if " not in flip_sentence(image)
    assert f"; {clause}. That place alone: " in flip_sentence(image)


def test_no_if_where_the_rest_of_the_change_flips_as_well(visitors, monkeypatch):
    image = opened(visitors, monkeypatch, FakeClassifier()).image
    answer_of(visitors)
    i, known = image.index, image.changed_place
    assert flip_clause(image).startswith("if ") and known.rest[i] < 0.5 <= known.alone[i]
    monkeypatch.setattr(type(known), "rest", property(lambda _: known.alone))
    clause, told = f"mostly brighter in the {WHERE}", percent(known.alone[i])
    assert flip_clause(image) == clause
    ending = f"That place alone: {told}; all but that place: {told}."
    assert flip_sentence(image).endswith(ending)


def test_a_query_that_costs_money_is_never_asked_for_a_sentence(visitors, monkeypatch, asked):
    session = opened(visitors, monkeypatch, FakeClassifier())
    session.service.domain.classifier.budget = 10_000
    assert answer_of(visitors) == {} and asked == []
    assert flip_clause(session.image).startswith("mostly ")


def test_a_change_of_the_whole_picture_is_never_a_reason(visitors, monkeypatch, asked):
    session = opened(visitors, monkeypatch, FakeClassifier())
    image, known = session.image, session.image.changed_place
    source = session.image.opened.image
    frame = image.sliders.current
    monkeypatch.setattr(image.sliders, "current", type(frame)(source - 0.1, (0.0, 0.0), 0.1))
    assert known.parts == (Part("darker"),) and not known.ask()
    assert asked == []
