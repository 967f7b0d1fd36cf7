"""The Explore tab: another image opened while one is being prepared, and what is drawn of it."""

import base64
import io
import re
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import Answer
from gcd_core.ui.views.charts import percent
from tests.pil import from_pil
from tests.ui.fakes import own_picture
from tests.ui.waiting import wait_for_paths

SHOWN = ("bb_lig", 0.6, "side")
SOMEBODY = SimpleNamespace(session_hash="somebody")


def test_what_was_drawn_of_the_image_before_is_not_sent(
    visitors: Visitors, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gr.Blocks():
        tab = ExploreTab(visitors)
    show_ends = tab.layout.show_ends

    def meanwhile(shown: Session) -> Answer:
        answer = show_ends(shown)
        session.open_example(1)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(tab.layout, "show_ends", meanwhile)
        assert list(tab.handlers.prepare(*SHOWN, SOMEBODY)) == [{}]
    preparing = tab.handlers.prepare(*SHOWN, SOMEBODY)
    assert next(preparing)[tab.layout.heading]
    session.open_example(0)
    assert list(preparing) == [{}], "Gradio sends the last answer once more at the end"


def shown(html: str, alt: str) -> Tensor | None:
    """The picture (1, 1, H, W) of an image tag with a text; None where there is none."""
    found = re.search(rf'src="data:image/png;base64,([^"]+)" alt="{alt}"', html)
    if found is None:
        return None
    return from_pil(Image.open(io.BytesIO(base64.b64decode(found[1]))))


def test_the_generators_drawing_is_shown_where_it_is_chosen(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visitors.service.domain, "detail", "source")
    monkeypatch.setattr(visitors.service.ahead, "follow", lambda *_: None)
    with gr.Blocks():
        tab = ExploreTab(visitors)
    handlers, page = tab.handlers, tab.layout.pictures
    session = visitors.session("somebody")
    session.open_image(own_picture((300, 200)), "mine.png")
    wait_for_paths(session)
    image, classifier = session.image, visitors.service.domain.classifier
    baseline, half = image.opened.compositions[0].baseline, 0.6 / 255
    image.sliders.move({"g": -5.0})
    asked, frame = classifier.queries, image.sliders.current
    drawn = handlers.change_drawing("decoded", SOMEBODY)[page]
    torch.testing.assert_close(
        shown(drawn, "the changed radiograph"), frame.decoded, atol=half, rtol=0
    )
    torch.testing.assert_close(shown(drawn, ""), baseline, atol=half, rtol=0)
    torch.testing.assert_close(
        shown(drawn, "the opened radiograph"), image.opened.pixels, atol=half, rtol=0
    )
    theirs = "of your picture.</p>"
    assert theirs in drawn and "not asked about" in drawn
    assert theirs in handlers.fade(*SHOWN, SOMEBODY)[page], "the choice is kept"
    image.sliders.move({})
    again = handlers.change_view(*SHOWN, SOMEBODY)[page]
    assert "Reconstruction" in again and "not asked about" not in again
    told = percent(image.opened.reconstruction.probabilities[image.index])
    assert f'<span class="number">{told}</span>' in again.split("Reconstruction")[1]
    within = handlers.change_drawing("source", SOMEBODY)[page]
    assert "Unchanged" in within and theirs not in within
    assert shown(within, "") is None
    assert torch.equal(shown(within, "the changed radiograph"), image.opened.pixels)
    assert classifier.queries == asked
    with pytest.raises(GCDError, match="source or decoded"):
        handlers.change_drawing("else", SOMEBODY)
