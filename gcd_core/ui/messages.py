"""Errors as messages on the page."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import gradio as gr

from gcd_core.errors import GCDError

P = ParamSpec("P")
T = TypeVar("T")


def message(error: GCDError) -> gr.Error:
    """What Gradio shows of an error: its one sentence, for a while."""
    return gr.Error(str(error), title="That did not work", duration=8, print_exception=False)


def polite(handler: Callable[P, T]) -> Callable[P, T]:
    """Turns the library's one-sentence errors into a message; everything on the page stays.

    Parameters
    ----------
    handler : callable
        A handler of an event, or a generator of one's answers; Gradio sees its signature as before.
    """
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def streamed(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                yield from handler(*args, **kwargs)
            except GCDError as error:
                raise message(error) from None

        return streamed

    @functools.wraps(handler)
    def answered(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except GCDError as error:
            raise message(error) from None

    return answered
