"""The Compare tab, where another image is opened while it compares."""

from types import SimpleNamespace

import gradio as gr
import pytest

from gcd_core.errors import GCDError
from gcd_core.ui.compare import CompareTab
from gcd_core.ui.state.visitors import Visitors

SOMEBODY = SimpleNamespace(session_hash="somebody")


def test_another_image_ends_a_comparison_without_an_error(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)

    def left(name: str) -> None:
        session.open_example(1)
        raise GCDError(f"{name} was left")

    monkeypatch.setattr(session, "path_now", left)
    monkeypatch.setattr(session, "path", lambda name: object())
    assert [*tab.compare(SOMEBODY)] == []


def test_a_path_that_fails_is_told(visitors: Visitors, monkeypatch: pytest.MonkeyPatch) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)

    def failed(name: str) -> None:
        raise GCDError(f"{name} failed")

    monkeypatch.setattr(session, "path_now", failed)
    with pytest.raises(GCDError, match="g failed"):
        list(tab.compare(SOMEBODY))
