"""Gradio's components for files, without the empty file that it leaves behind for each upload."""

from __future__ import annotations

from typing import TypeVar

import gradio as gr
from gradio.data_classes import FileData, ListFiles

Component = TypeVar("Component", gr.File, gr.UploadButton)


def leaving_nothing(component: Component) -> Component:
    """The component, whose value becomes the path of what was sent, or the paths, and no more.

    Gradio's own makes a temporary file beside it, which nobody deletes. (It is not derived from, as
    Gradio writes a file of types beside each class that is.)
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
