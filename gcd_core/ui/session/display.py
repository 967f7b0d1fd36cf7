"""How a visitor looks at the pictures, and which of them the visitor's page has already."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from hashlib import blake2b
from typing import Any, NamedTuple

from gcd_core.method.composition import SOURCE

# Ends the address with which a page arrives, with the key of its browser tab behind a colon; other
# clients' addresses end otherwise.
FROM_PAGE = re.compile(r"#page(?::(?P<key>[0-9a-f]{32}))?$")
SAME_TONE = "same-tone"
KEYS_KEPT = 24  # of one page; its script keeps twice as many pictures
PICTURE = re.compile(r'src="(data:image/[^"]*)"')


class Display(NamedTuple):
    """How a visitor chose to see the pictures.

    Attributes
    ----------
    overlay : {"bb_lig", "cells", "difference", "none"}
        The map.
    opacity : float
        Of the map over the picture, in [0, 1].
    view : {"side", "slide"}
        Side by side, or before and after under a divider.
    detail : {"source", "decoded", "same-tone"}
        Whether the change is shown in the picture itself, as the generator draws it, or in the
        picture itself with its brightness and contrast kept.
    """

    overlay: str = "bb_lig"
    opacity: float = 0.6
    view: str = "side"
    detail: str = SOURCE

    def for_another_image(self) -> Display:
        """Return the same for another image: a kept tone was asked for of one image alone."""
        return self._replace(detail=SOURCE) if self.detail == SAME_TONE else self


class SentPictures:
    """The pictures that a visitor's page was sent, so that none is sent to it twice.

    The page's script keeps the pictures by key and puts them where an answer names a key only (see
    `gcd.filled`). A client of the API that is not the page keeps nothing: until `begin` is called,
    answers stay whole.
    """

    def __init__(self) -> None:
        self._keys: OrderedDict[str, None] | None = None
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Note that the page was loaded, or lacks a picture: all pictures are sent anew."""
        with self._lock:
            self._keys = OrderedDict()

    def only_new(self, html: str) -> str:
        """Return HTML for the page: pictures that it was sent before are named by their keys."""
        with self._lock:
            return html if self._keys is None else PICTURE.sub(self._keyed, html)

    def without_pictures(self, numbers: dict[str, Any]) -> dict[str, Any]:
        """Return numbers for machines, for the page without pictures: its HTML has them."""
        if self._keys is None:
            return numbers
        return {
            name: value
            for name, value in numbers.items()
            if not (isinstance(value, str) and value.startswith("data:"))
        }

    def _keyed(self, found: re.Match[str]) -> str:
        """What stands in the place of a picture's address; the lock is held."""
        assert self._keys is not None
        address = found[1]
        key = blake2b(address.encode(), digest_size=8).hexdigest()
        known = key in self._keys
        self._keys[key] = None
        self._keys.move_to_end(key)
        while len(self._keys) > KEYS_KEPT:
            self._keys.popitem(last=False)
        return f'src="gcd:{key}"' if known else f'src="gcd:{key} {address}"'
