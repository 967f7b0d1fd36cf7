"""The Explore tab, where another image is opened while one is being prepared."""

from types import SimpleNamespace

import gradio as gr
import pytest

from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import Answer

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
