"""Errors as messages on the page."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.components import Component
from gradio.data_classes import FileData, ListFiles

from gcd_core.errors import GCDError
from gcd_core.ui.metrics import EVENTS

LOG = logging.getLogger(__name__)
IN_ONE_THREAD: dict[str, Any] = {"preprocess": False, "postprocess": False}
UNEXPECTED = "That failed unexpectedly: check what was given, and try again."
P = ParamSpec("P")
T = TypeVar("T")


def message(error: GCDError) -> gr.Error:
    """What Gradio shows of an error: its one sentence, for a while."""
    return gr.Error(str(error), title="That did not work", duration=8, print_exception=False)


def report_errors(handler: Callable[P, T]) -> Callable[P, T]:
    """Turns the library's one-sentence errors into a message; everything on the page stays.

    Parameters
    ----------
    handler : callable
        A handler of an event, or a generator of one's answers; Gradio sees its signature as before.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def streamed(*args: P.args, **kwargs: P.kwargs) -> Any:
            with _noted(handler.__name__, args, kwargs):
                yield from handler(*args, **kwargs)

        return streamed

    @functools.wraps(handler)
    def answered(*args: P.args, **kwargs: P.kwargs) -> T:
        with _noted(handler.__name__, args, kwargs):
            return handler(*args, **kwargs)

    return answered


def preprocess_in_thread(handler: Callable[P, T], inputs: Sequence[Component]) -> Callable[P, T]:
    """Lets a handler check its inputs itself, as their components do.

    Gradio does so in a thread for each input and each output, one after the other: where many are
    here, each waits. For events bound with `IN_ONE_THREAD`.

    Parameters
    ----------
    handler : callable
        As `report_errors` has it.
    inputs : sequence of Component
        What its first arguments are the values of.
    """

    def values_of(args: tuple) -> tuple:
        given = [part.preprocess(value) for part, value in zip(inputs, args, strict=False)]
        return (*given, *args[len(inputs) :])

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def streamed(*args: Any, **kwargs: Any) -> Any:
            yield from handler(*values_of(args), **kwargs)

        return streamed

    @functools.wraps(handler)
    def answered(*args: Any, **kwargs: Any) -> T:
        return handler(*values_of(args), **kwargs)

    return answered


@contextmanager
def _noted(event: str, args: tuple, kwargs: dict[str, Any]) -> Iterator[None]:
    """Count and log what happens inside, and turn the library's errors into messages."""
    began, outcome = time.perf_counter(), "failed"
    asked = (value for value in (*args, *kwargs.values()) if isinstance(value, gr.Request))
    key = getattr(next(asked, None), "session_hash", None)
    try:
        yield
        outcome = "done"
    except GeneratorExit:  # the visitor left, or a newer event took this one's place
        outcome = "done"
        raise
    except GCDError as error:
        outcome = "refused"
        raise message(error) from None
    except gr.Error:
        outcome = "refused"
        raise
    except Exception:  # whatever it is, the visitor reads a sentence and the operator the reason
        LOG.exception("The event %s failed.", event)
        raise message(GCDError(UNEXPECTED)) from None
    finally:
        EVENTS.note(event, time.perf_counter() - began, outcome, key)


FileInput = TypeVar("FileInput", gr.File, gr.UploadButton)


def without_temp_copy(component: FileInput) -> FileInput:
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
