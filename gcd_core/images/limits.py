"""How large a picture may be, and the error of one that cannot be used."""

import math

from gcd_core.errors import GCDError, GCDWarning

MAX_BYTES = 50 * 2**20
MAX_PIXELS = 64 * 10**6
MAX_SIDE = 20_000


class ImageError(GCDError):
    """A picture cannot be used; the message says why, and what to do."""


class ImageWarning(GCDWarning):
    """A picture was opened otherwise than its file says; the message says how, and why."""


def check_size(width: int, height: int) -> None:
    """Refuse what would take too much memory, or has no pixels."""
    if width < 1 or height < 1:
        raise ImageError("The picture has no pixels; export it again.")
    pixels = width * height
    if max(width, height) > MAX_SIDE:
        limit = f"more than {MAX_SIDE:,} on a side"
    elif pixels > MAX_PIXELS:
        limit = f"{math.ceil(pixels / 10**6):,} million in all, over {MAX_PIXELS // 10**6} million"
    else:
        return
    raise ImageError(
        f"The picture is {width:,} x {height:,} pixels, {limit}; shrink it, 2,000 on the longer "
        "side are plenty, and open it again."
    )
