"""Faults of Gradio 6.31 that the page works around; a test of each fails once Gradio mends it.

Remove a workaround when its test in `tests/ui/test_gradio_workarounds.py` says so.
"""

from __future__ import annotations

import copy
from datetime import datetime, timedelta
from typing import Any, TypeVar

import gradio as gr
from fastapi import FastAPI
from gradio.blocks import BlockFunction
from gradio.data_classes import FileData, ListFiles
from gradio.routes import App
from gradio.state_holder import SessionState
from starlette.routing import Mount

FileInput = TypeVar("FileInput", gr.File, gr.UploadButton)
# `launch` asks its own server for an answer, and gives up where the machine takes 3 seconds.
NO_SELF_CHECK = {"_frontend": False}


# Seconds between two looks for an event that waits. Gradio looks a thousand times a second: that
# takes a tenth of a core where nobody is there, and disturbs those who compute where many are.
LOOKS_EVERY = 0.004
LOOKS_FOR_PROGRESS_EVERY = 0.5  # of Gradio's own bars, which the page does not have


class PatchedBlocks(gr.Blocks):
    """A page of Gradio that answers at less cost, and that can forget who left."""

    def queue(self, *args: Any, **options: Any) -> gr.Blocks:
        """Let events wait in line, as Gradio does, but look for them less often."""
        super().queue(*args, **options)
        self._queue.sleep_when_free = LOOKS_EVERY
        self._queue.progress_update_sleep_when_free = LOOKS_FOR_PROGRESS_EVERY
        return self

    async def postprocess_data(
        self, block_fn: BlockFunction, predictions: Any, state: SessionState | None
    ) -> list[Any]:
        """Answer an event as Gradio does, without making anew each component that it leaves alone.

        A handler answers with values by component. For every component that it leaves out Gradio
        makes one anew, half a millisecond each on the thread that serves everybody; an answer of
        "prepare" leaves out dozens.
        """
        outputs = block_fn.outputs
        by_component = isinstance(predictions, dict) and predictions.keys() <= set(outputs)
        if not by_component:
            return await super().postprocess_data(block_fn, predictions, state)
        answers = {each._id: gr.skip() for each in outputs}
        if predictions:
            part = copy.copy(block_fn)
            part.outputs = list(predictions)
            values = await super().postprocess_data(part, predictions, state)
            answers |= {each._id: value for each, value in zip(predictions, values, strict=True)}
        return list(answers.values())

    def forget_sessions(self, idle_minutes: float) -> None:
        """Drop what Gradio keeps of visitors who left, or were idle: components and answers.

        It would keep the components, with their values, of ten thousand visitors, and answers that
        nobody heard, with all their pictures, of two thousand. What it lists as a visitor's events
        stays listed when they end after the visitor left.

        Parameters
        ----------
        idle_minutes : float
            After which a visitor is forgotten whose leaving Gradio did not notice, such as a
            program that only sends events.
        """
        holder, queue = self.app.state_holder, self._queue
        since = datetime.now() - timedelta(minutes=idle_minutes)
        for key, state in list(holder.session_data.items()):
            left = state.is_closed or holder.time_last_used.get(key, since) < since
            listed = queue.pending_event_ids_session.get(key, set())
            if left and listed.isdisjoint(queue.event_ids_to_events):  # else answers need a place
                kept = (
                    holder.session_data,
                    holder.time_last_used,
                    queue.pending_messages_per_session,
                    queue.pending_event_ids_session,
                    self.pending_streams,
                )
                for of_session in kept:
                    of_session.pop(key, None)


def mount(page: gr.Blocks, root_path: str, **settings: Any) -> FastAPI:
    """Return an application that serves a page below another one, as `launch` would serve it.

    `mount_gradio_app` leaves out two things. Without `app` the page does not end its connections
    when it is closed. Without `has_launched` a client may name any file of the server as its
    upload.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    gr.mount_gradio_app(app, page, path="", root_path=root_path, **settings)
    route = app.routes[-1]
    assert isinstance(route, Mount) and isinstance(route.app, App)
    page.app, page.has_launched = route.app, True
    return app


def without_temp_copy(component: FileInput) -> FileInput:
    """Return the component, whose value is now the path of the uploaded file, or a list of them.

    Gradio's own `preprocess` makes an empty temporary file for each, which nobody deletes. (This is
    no subclass, as Gradio writes a file of types beside each of those.)
    """
    single = component.file_count == "single"
    component.preprocess = lambda sent: paths_of(sent, single)  # type: ignore[assignment]
    return component


def paths_of(sent: ListFiles | FileData | None, single: bool) -> str | list[str] | None:
    """The paths of uploaded files, None where there is none."""
    if sent is None:
        return None
    files = list(sent) if isinstance(sent, ListFiles) else [sent]
    return files[0].path if single else [file.path for file in files]
