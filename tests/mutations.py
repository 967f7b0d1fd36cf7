"""Files made bad at random: by bits, by numbers that a reader trusts, by parts that move."""

from __future__ import annotations

import struct

from hypothesis import settings
from hypothesis import strategies as st

IN_THE_SUITE, NIGHTLY = 30, 300  # cases of one kind of file
WIDE = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
# What a byte or a number is replaced by: an edge of its range, or anything.
NUMBERS = st.sampled_from(WIDE) | st.integers(0, 2**32 - 1)
TEXTS = [b"nan", b"-1", b"1e999", b'"', b"\x00", b"\xff\xfe"]
FORMS = st.sampled_from(["<I", ">I", "<H", ">H", "B"])


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with up to six faults; more often near its beginning, where headers are."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 6))):
        if not data:
            break
        last = len(data) - 1
        at = draw(st.integers(0, min(last, 256)) | st.integers(0, last))
        kind = draw(st.sampled_from(["number", "bit", "cut", "drop", "repeat", "insert", "text"]))
        if kind == "number":
            form = draw(FORMS)
            size = struct.calcsize(form)
            data[at : at + size] = struct.pack(form, draw(NUMBERS) % 256**size)
        elif kind == "bit":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "repeat":
            part = data[at : at + draw(st.integers(1, 64))]
            data[at:at] = part * draw(st.integers(1, 8))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=32))
        else:
            data[at:at] = draw(st.sampled_from(TEXTS))
    return bytes(data)


def cases(count: int) -> settings:
    """So many cases, the same each time, however long one takes."""
    return settings(max_examples=count, deadline=None, database=None, derandomize=True)
