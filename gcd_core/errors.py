"""The errors that this package raises on purpose: what was wrong, and what to do."""


class GCDError(ValueError):
    """Something the user gave (file, setting, image) cannot be used; the message says why."""


class Cancelled(Exception):
    """The user asked for the work to stop; nothing was lost that had been computed before."""
