"""Gradio's components for files, without the empty file that it leaves behind for each upload."""

from __future__ import annotations

import gradio as gr
from gradio.data_classes import FileData, ListFiles

from gradio.events import Dependency

class FileInput(gr.File):
    """A place for a visitor's files, whose value is their paths."""

    is_template = True  # to the browser it is Gradio's own

    def preprocess(self, payload: ListFiles | FileData | None) -> str | list[str] | None:
        """The path, or the paths where there may be several files."""
        return paths_of(payload, self.file_count == "single")
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


class FileButton(gr.UploadButton):
    """A button for a visitor's file, whose value is its path."""

    is_template = True

    def preprocess(self, value: ListFiles | FileData | None) -> str | list[str] | None:
        """The path, or the paths where there may be several files."""
        return paths_of(value, self.file_count == "single")
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


def paths_of(payload: ListFiles | FileData | None, single: bool) -> str | list[str] | None:
    """The paths of uploaded files, None where there is none."""
    if payload is None:
        return None
    files = list(payload) if isinstance(payload, ListFiles) else [payload]
    return files[0].path if single else [file.path for file in files]