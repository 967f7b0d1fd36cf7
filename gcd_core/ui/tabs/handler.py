"""What all tabs need: events, handlers whose errors become messages, and uploads."""

from __future__ import annotations

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.events import Dependency

from gcd_core.errors import GCDError
from gcd_core.ui.metrics import EVENTS
from gcd_core.ui.session.display import Display
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session

LOG = logging.getLogger(__name__)
UNEXPECTED = "That failed unexpectedly: check what was given, and try again."
P = ParamSpec("P")
T = TypeVar("T")
LIVE: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None}
# Answers of one event that a page takes after it seems to have gone, by which it is there: Gradio
# notices at the first that nobody hears it, and asks for no third.
TAKEN_BY_A_PAGE = 2
Answer = dict[Block, Any]  # of a handler: values by component; a component left out stays as it is


class Tab:
    """A part of the page: its handlers find the visitor's session by the request."""

    def __init__(self, visitors: Visitors) -> None:
        self.visitors, self.service = visitors, visitors.service
        self.domain = visitors.service.domain

    def session(self, request: gr.Request, *shown: Any) -> Session:
        """Return the visitor's session.

        Parameters
        ----------
        *shown
            Overlay, opacity and view, where the event sent them: the session keeps them.
        """
        session = self.visitors.session(request.session_hash)
        if shown:
            session.display = Display(*shown)._replace(detail=session.display.detail)
        return session

    def taken(self, count: int, session: Session, request: gr.Request) -> int:
        """Count the answers that a page has taken since it seems to have gone.

        After some of them it is there all the same, and its session goes on.
        """
        if count >= TAKEN_BY_A_PAGE:
            self.session(request)
        return count + 1 if session.is_away else 0

    def shows(self, image: OpenImage, session: Session, request: gr.Request) -> bool:
        """Whether an image is open still, in a session that no other page of the visitor has."""
        return session.image is image and self.visitors.holds(request.session_hash, session)


@contextmanager
def unless_left(session: Session, image: OpenImage) -> Iterator[None]:
    """Say nothing of what fails inside because another image was opened meanwhile."""
    try:
        yield
    except GCDError:
        if session.image is image:
            raise


def connect(
    event: Callable[..., Any],
    handler: Callable[..., Any],
    inputs: Any,
    outputs: Any,
    api_name: str | None = None,
    *,
    public: bool | None = None,
    newest_only: bool = False,
    together: bool = False,
    in_one_thread: bool = False,
    js: str | None = None,
) -> Dependency:
    """Bind a handler to an event of a component, such as `button.click`.

    Parameters
    ----------
    handler : callable
        Its errors become messages.
    inputs, outputs : components
        What the handler is given the values of, and what it answers with. The answer of the page's
        API lists the outputs in this order.
    public : bool, optional
        Whether the API shows the event; by default where it has a name.
    newest_only : bool
        Whether of the events that come while one is under way only the last is sent.
    together : bool
        Whether the event is sent while an earlier one of its kind is under way. By default it is
        dropped then.
    in_one_thread : bool
        Whether the inputs are checked in the handler's thread; see `report_errors`.
    js : str, optional
        A function of the page's script, from the inputs' values to those that are sent.
    """
    settings: dict[str, Any] = {**LIVE, "js": js}
    if api_name is not None:
        settings["api_name"] = api_name
    shown = api_name is not None if public is None else public
    settings["api_visibility"] = "public" if shown else "private"
    if newest_only:
        settings["trigger_mode"] = "always_last"
    elif together:
        settings["trigger_mode"] = "multiple"
    if in_one_thread:
        settings |= {"preprocess": False, "postprocess": False}
    checked = report_errors(handler, inputs if in_one_thread else ())
    return event(checked, inputs, outputs, **settings)


def told_while_it_lasts(work: Dependency, button: str) -> None:
    """End what `gcd.begun` of the page's script began: a button, by its id, says how long it works.

    Meanwhile it does nothing when pressed again.
    """
    for end in (work.success, work.failure):
        end(None, None, None, js=f"gcd.done('{button}')")


def connect_downloads(
    buttons: dict[str, gr.Button],
    handler: Callable[..., Any],
    inputs: Any,
    outputs: Any,
    name: str,
    work: str = "file",
) -> None:
    """Bind buttons that write what is shown to a file, whose download then begins.

    While it is being made the button says for how long, and does nothing when pressed again.

    Parameters
    ----------
    buttons : dict of str to gradio.Button
        By the format of the file, which the handler gets first, and then, where it takes them, the
        words that the page is read in. The first one's event is in the API, by its name.
    handler, inputs, outputs
        As `connect` has them. The last output is the button with the file.
    name : str
        Of the event in the API.
    work : {"file", "report", "sweep"}
        Which of the vocabulary's `WORK` is said meanwhile.
    """
    public = next(iter(buttons))
    for file_format, button in buttons.items():
        written = connect(
            button.click,
            handler,
            inputs,
            outputs,
            name if file_format == public else f"{name}_{file_format}",
            public=file_format == public,
            js=f"gcd.makes('{button.elem_id}', '{file_format}', '{work}')",
        )
        link = f"#{outputs[-1].elem_id}"
        written.success(None, None, None, js=f"gcd.made('{button.elem_id}', '{link}')")
        written.failure(None, None, None, js=f"gcd.notMade('{button.elem_id}')")


class SaveButtons:
    """Buttons that write what is shown to a file, one for each format, laid out where this is made.

    Parameters
    ----------
    place : str
        The buttons' ids begin with it.
    formats : sequence of str
        The API's default is the first.
    """

    def __init__(self, place: str, formats: Sequence[str]) -> None:
        self.file_format = gr.Textbox(formats[0], label="file_format", visible=False)
        self.buttons = {
            name: gr.Button(name.upper(), size="sm", elem_id=f"{place}-{name}") for name in formats
        }
        self.file = gr.DownloadButton(visible="hidden", elem_id=f"{place}-file")

    def bind(self, handler: Callable[..., Any], numbers: Component, name: str) -> None:
        """Connect the buttons; `handler` and `name` are as `connect_downloads` has them."""
        shown = [numbers, self.file]
        connect_downloads(self.buttons, handler, self.file_format, shown, name)


def html(label: str, value: str | None = None, **settings: Any) -> gr.HTML:
    """Lay out HTML without Gradio's style; its id on the page is the label unless another is given.

    Parameters
    ----------
    label : str
        Its name in the API's answers.
    **settings
        Of `gradio.HTML`.
    """
    settings = {"elem_id": label, "apply_default_css": False, **settings}
    return gr.HTML(value, label=label, **settings)


def message(error: GCDError) -> gr.Error:
    """What Gradio shows of an error: its one sentence, for a while."""
    return gr.Error(str(error), title="That did not work", duration=8, print_exception=False)


def report_errors(handler: Callable[P, T], checked: Sequence[Component] = ()) -> Callable[P, T]:
    """Wrap a handler: an error of the library becomes a message, and the page stays as it is.

    Parameters
    ----------
    handler : callable
        Of an event; it returns an answer, or yields several. Gradio sees its own signature.
    checked : sequence of Component
        The inputs that are checked here, as Gradio's components do it. Gradio would check them, and
        the outputs, one after the other in a thread each: many take long.
    """

    def given(args: tuple) -> tuple:
        values = [part.preprocess(value) for part, value in zip(checked, args, strict=False)]
        return (*values, *args[len(values) :])

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def streamed(*args: Any, **kwargs: Any) -> Any:
            with _noted(handler.__name__, args, kwargs):
                yield from handler(*given(args), **kwargs)

        return streamed

    @functools.wraps(handler)
    def answered(*args: Any, **kwargs: Any) -> T:
        with _noted(handler.__name__, args, kwargs):
            return handler(*given(args), **kwargs)

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
