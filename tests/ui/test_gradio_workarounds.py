"""What Gradio does wrong, and that the page does not.

Where a test fails at a line that is marked as a fault, Gradio has mended it: remove the workaround.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import pytest
from fastapi import FastAPI
from gradio import networking
from gradio.data_classes import FileData, ListFiles
from gradio.state_holder import SessionState, StateHolder

from gcd_core.ui.gradio_workarounds import (
    NO_SELF_CHECK,
    PatchedBlocks,
    mount,
    without_temp_copy,
)
from tests.ui.conftest import free_port
from tests.ui.waiting import wait_for

QUIET = {"prevent_thread_lock": True, "quiet": True}


@pytest.fixture
def page() -> Iterator[PatchedBlocks]:
    """A page with two texts, of which an event answers with the first."""
    with PatchedBlocks(analytics_enabled=False) as page:
        first, second = gr.Textbox(), gr.HTML()
        first.submit(lambda text: {first: text}, first, [first, second], api_name="echo")
    yield page
    page.close(verbose=False)


def test_a_page_looks_for_events_less_often_than_gradio_does() -> None:
    theirs, ours = gr.Blocks().queue()._queue, PatchedBlocks().queue()._queue
    assert theirs.sleep_when_free <= 0.001  # fault
    assert theirs.progress_update_sleep_when_free <= 0.01  # fault
    assert 0.002 < ours.sleep_when_free < 0.01 < ours.progress_update_sleep_when_free


def test_a_component_without_a_new_value_is_not_made_anew(page: PatchedBlocks) -> None:
    (event,) = page.fns.values()
    first, second = event.outputs

    def answered(postprocess, values) -> tuple[list, SessionState]:
        state = SessionState(page)
        return asyncio.run(postprocess(page, event, values, state)), state

    theirs, made = answered(gr.Blocks.postprocess_data, {first: "a"})
    assert made[second._id] is not second  # fault
    ours, kept = answered(PatchedBlocks.postprocess_data, {first: "a"})
    assert kept[second._id] is second
    assert ours[0] == theirs[0] and ours[1] == gr.skip()
    assert answered(PatchedBlocks.postprocess_data, {})[0] == [gr.skip()] * 2
    every = {second: "b", first: "a"}
    assert answered(PatchedBlocks.postprocess_data, every)[0] == ["a", "b"]
    with pytest.raises(ValueError, match="not specified as output"):
        answered(PatchedBlocks.postprocess_data, {gr.Textbox(): "a"})


def test_who_left_is_forgotten_with_the_answers_that_nobody_heard(page: PatchedBlocks) -> None:
    port = free_port()
    page.launch(server_port=port, **QUIET)
    address, queue = f"http://127.0.0.1:{port}/gradio_api", page._queue
    kept = (
        page.app.state_holder.session_data,
        page.app.state_holder.time_last_used,
        queue.pending_messages_per_session,
        queue.pending_event_ids_session,
    )

    def ask(key: str) -> None:
        asked = {"data": ["a"], "fn_index": 0, "session_hash": key}
        event = httpx.post(f"{address}/queue/join", json=asked).json()["event_id"]
        wait_for(lambda: event not in queue.event_ids_to_events)

    with httpx.stream("GET", f"{address}/heartbeat/guest", timeout=30) as here:
        beats = here.iter_bytes()
        next(beats)
        ask("guest")
        ask("program")
        page.forget_sessions(idle_minutes=60)
        assert all({"guest", "program"} <= of_session.keys() for of_session in kept)
    wait_for(lambda: kept[0]["guest"].is_closed)
    assert queue.pending_messages_per_session["guest"].qsize() > 1  # fault
    assert queue.pending_event_ids_session["guest"]  # fault
    page.forget_sessions(idle_minutes=60)
    assert all(of_session.keys() == {"program"} for of_session in kept)
    page.forget_sessions(idle_minutes=0)
    assert not any(kept)


def test_of_who_left_what_is_under_way_may_end(page: PatchedBlocks) -> None:
    page.app = SimpleNamespace(state_holder=StateHolder())
    page.app.state_holder.set_blocks(page)
    page.app.state_holder["guest"].is_closed = True
    page._queue.pending_event_ids_session["guest"] = {"event"}
    page._queue.event_ids_to_events["event"] = object()
    page.forget_sessions(idle_minutes=60)
    assert "guest" in page.app.state_holder
    del page._queue.event_ids_to_events["event"]
    page.forget_sessions(idle_minutes=60)
    assert "guest" not in page.app.state_holder


def test_a_mounted_page_is_as_a_launched_one(page: PatchedBlocks) -> None:
    unmended = FastAPI()
    gr.mount_gradio_app(unmended, page, path="")
    assert not page.has_launched and page.app is not unmended.routes[-1].app  # fault
    app = mount(page, "/below")
    assert page.has_launched and page.app is app.routes[-1].app
    assert page.root_path == "/below"


def test_a_slow_machine_may_launch(page: PatchedBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networking, "url_ok", lambda url: False)  # as after three seconds
    with pytest.raises(ValueError, match="shareable link"):  # fault
        page.launch(server_port=free_port(), **QUIET)
    page.close(verbose=False)
    page.launch(server_port=free_port(), **QUIET, **NO_SELF_CHECK)


@pytest.mark.parametrize("kind", [gr.File, gr.UploadButton])
def test_an_upload_leaves_no_empty_file(kind: type, tmp_path: Path) -> None:
    sent, cache = tmp_path / "mine.png", tmp_path / "cache"
    sent.write_bytes(b"pixels")
    cache.mkdir()
    file = FileData(path=str(sent))

    def component(count: str):
        made = kind(file_count=count)
        made.GRADIO_CACHE = str(cache)
        return made

    assert component("single").preprocess(file) == str(sent)
    (left,) = cache.iterdir()
    assert left.stat().st_size == 0  # fault
    left.unlink()
    own, several = (without_temp_copy(component(count)) for count in ("single", "multiple"))
    assert own.preprocess(file) == own.preprocess(ListFiles([file])) == str(sent)
    assert several.preprocess(file) == several.preprocess(ListFiles([file])) == [str(sent)]
    assert own.preprocess(None) is several.preprocess(None) is None
    assert not list(cache.iterdir())
