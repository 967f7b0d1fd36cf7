"""The errors that this package raises on purpose, and the flag that asks for one of them."""

from typing import Protocol


class GCDError(ValueError):
    """Something the user gave (file, setting, image) cannot be used; the message says why."""


class Cancelled(Exception):
    """The user asked for the work to stop; nothing was lost that had been computed before."""


class Cancel(Protocol):
    """A threading.Event, or anything else that can say that it is set."""

    def is_set(self) -> bool:
        """Whether the work is to stop; asked before each batch and each epoch, never changed."""


class GCDWarning(UserWarning):
    """Something goes on otherwise than one would think; the message says what, and why."""
