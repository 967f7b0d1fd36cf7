"""What a person has to know of a picture that was opened: said to whoever asked for it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gcd_core.images.limits import ImageWarning

_TOLD: ContextVar[list[str] | None] = ContextVar("told", default=None)


def note(text: str) -> None:
    """Say something of the picture that is being opened; once, however often it is opened.

    It goes to the innermost `noting` of this thread, or else becomes an `ImageWarning`.
    """
    told = _TOLD.get()
    if told is None:
        warnings.warn(text, ImageWarning, stacklevel=2)
    elif text not in told:
        told.append(text)


@contextmanager
def noting() -> Iterator[list[str]]:
    """Collect what `note` says within this context, in the list that it gives."""
    told: list[str] = []
    before = _TOLD.set(told)
    try:
        yield told
    finally:
        _TOLD.reset(before)
