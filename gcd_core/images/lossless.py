"""The lossless frames of DICOM files, RLE and JPEG, decoded in NumPy: broken ones do no harm.

The packages that could do this are under the GPL (pylibjpeg-libjpeg), end the process when a file
is malicious, or fill up streams that are cut short without a word (libjpeg-turbo, of imagecodecs).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

SOF_LOSSLESS = 0xC3
FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # of JPEG, and 0xF7 of JPEG-LS
DHT, SOI, EOI, SOS, DRI = 0xC4, 0xD8, 0xD9, 0xDA, 0xDD
CHUNK = 2**17  # bytes of entropy-coded data looked at together
NO_CODE = 255  # bits to skip where no Huffman code matches: more than any code has


class FrameError(ValueError):
    """A frame is damaged, or of a sort not decoded here; nothing of it is in the message."""


@dataclass(frozen=True)
class FrameHeader:
    """What a JPEG stream says of itself: marker (0xC0 to 0xCF or 0xF7), depth and size."""

    marker: int
    bits: int
    rows: int
    columns: int
    components: tuple[tuple[int, int], ...]  # of each, its number and its sampling factors


def jpeg_header(stream: bytes) -> FrameHeader:
    """Read the frame header of a JPEG or JPEG-LS stream.

    Raises
    ------
    FrameError
        If there is none.
    """
    for marker, body, _ in _segments(stream):
        if marker in FRAME_HEADERS:
            return _frame_header(marker, body)
    raise FrameError("a JPEG stream without a frame header")


def decode_rle(frame: bytes, rows: int, columns: int, samples: int, itemsize: int) -> np.ndarray:
    """Decode a frame of DICOM's RLE (PS3.5, Annex G).

    Parameters
    ----------
    frame : bytes
    rows, columns, samples : int
        Of the picture; `samples` is 1 or 3.
    itemsize : int
        Bytes of each sample.

    Returns
    -------
    ndarray (rows, columns, samples)
        Unsigned, `itemsize` bytes wide, little endian.

    Raises
    ------
    FrameError
        If the frame holds less than that, or another number of segments.
    """
    header = np.frombuffer(frame[:64], dtype="<u4")
    if len(header) != 16 or header[0] != samples * itemsize:
        raise FrameError("RLE with another number of segments than the picture has planes")
    starts = [*header[1 : 1 + samples * itemsize].tolist(), len(frame)]
    planes = np.empty((rows * columns, samples, itemsize), dtype=np.uint8)
    for i in range(samples * itemsize):  # the most significant byte of each sample comes first
        plane = _unpack_bits(frame[starts[i] : starts[i + 1]], rows * columns)
        planes[:, i // itemsize, itemsize - 1 - i % itemsize] = np.frombuffer(plane, dtype=np.uint8)
    return planes.view(f"<u{itemsize}").reshape(rows, columns, samples)


def _unpack_bits(segment: bytes, size: int) -> bytes:
    """The first `size` bytes of a segment of runs and literals; no more are ever made."""
    out, at = bytearray(), 0
    while len(out) < size:
        if at + 1 >= len(segment):
            raise FrameError("RLE cut short")
        head = segment[at]
        if head < 128:
            out += segment[at + 1 : at + 2 + head]
            at += 2 + head
        elif head > 128:
            out += segment[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    return bytes(out[:size])


def decode_lossless_jpeg(stream: bytes) -> np.ndarray:
    """Decode lossless JPEG (ITU-T T.81, Annex H: Huffman codes, predictors 1 to 7).

    Parameters
    ----------
    stream : bytes
        From SOI on. The caller has checked the size by `jpeg_header`.

    Returns
    -------
    ndarray (rows, columns, components)
        uint16.

    Raises
    ------
    FrameError
        If the stream is damaged, or of another kind of JPEG.
    """
    header = _lossless_header(stream)
    picture = np.empty((header.rows, header.columns, len(header.components)), dtype=np.uint16)
    tables: dict[int, _Table] = {}
    decoded: set[int] = set()
    interval = 0
    for marker, body, rest in _segments(stream):
        if marker == DHT:
            tables |= _huffman_tables(body)
        elif marker == DRI:
            interval = int.from_bytes(body[:2])
        elif marker == SOS:
            planes = _decode_scan(header, tables, interval, body, rest)
            if decoded & planes.keys():
                raise FrameError("a JPEG component that comes twice")
            for place, plane in planes.items():
                picture[..., place] = plane
            decoded |= planes.keys()
    if len(decoded) != len(header.components):
        raise FrameError("lossless JPEG cut short")
    return picture


def _lossless_header(stream: bytes) -> FrameHeader:
    """The frame header of a stream that holds one picture, lossless and without subsampling."""
    headers = []
    for marker, body, _ in _segments(stream):
        if marker in FRAME_HEADERS:
            headers.append(_frame_header(marker, body))
        elif marker == SOS and not headers:
            raise FrameError("a JPEG scan without a frame header")
    if not headers:
        raise FrameError("lossless JPEG cut short")
    header = headers[0]
    if len(headers) > 1 or header.marker != SOF_LOSSLESS:
        raise FrameError("another kind of JPEG than lossless, or two pictures in one")
    if any(factors != 0x11 for _, factors in header.components) or header.bits > 16:
        raise FrameError("lossless JPEG with subsampled components")
    return header


def _segments(stream: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Each marker with its body and, of a scan, the entropy-coded data that follows."""
    if stream[:2] != bytes((0xFF, SOI)):
        raise FrameError("no JPEG stream")
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            raise FrameError("a JPEG stream with bytes between its segments")
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == EOI:
            return
        length = int.from_bytes(stream[at + 2 : at + 4])
        body = stream[at + 4 : at + 2 + length]
        if length < 2 or len(body) != length - 2:
            raise FrameError("a JPEG segment cut short")
        at += 2 + length
        if marker == SOS:
            end = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search(stream, at)
            last = end.start() if end else len(stream)
            yield marker, body, stream[at:last]
            at = last
        else:
            yield marker, body, b""


def _frame_header(marker: int, body: bytes) -> FrameHeader:
    if len(body) < 6 or len(body) < 6 + 3 * body[5] or not body[5]:
        raise FrameError("a JPEG frame header cut short")
    components = tuple((body[6 + 3 * i], body[7 + 3 * i]) for i in range(body[5]))
    rows, columns = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    return FrameHeader(marker, body[0], rows, columns, components)


@dataclass(frozen=True)
class _Table:
    """A Huffman table, asked with the next 16 bits."""

    length: np.ndarray  # (65536,) of the code, 0 where there is none
    category: np.ndarray  # (65536,) how many bits of the difference follow; 16 stands for 32768
    skip: np.ndarray  # (65536,) of code and difference together


def _huffman_tables(body: bytes) -> dict[int, _Table]:
    """The tables of one DHT segment by their number."""
    tables, at = {}, 0
    while at < len(body):
        counts = body[at + 1 : at + 17]
        symbols = body[at + 17 : at + 17 + sum(counts)]
        if len(counts) < 16 or len(symbols) < sum(counts) or any(s > 16 for s in symbols):
            raise FrameError("a Huffman table that lossless JPEG cannot have")
        length, category = np.zeros(65536, dtype=np.uint8), np.zeros(65536, dtype=np.uint8)
        start, which = 0, 0
        for bits, count in enumerate(counts, 1):
            for _ in range(count):
                end = start + (1 << (16 - bits))
                if end > 65536:
                    raise FrameError("a Huffman table with more codes than bits allow")
                length[start:end], category[start:end] = bits, symbols[which]
                start, which = end, which + 1
        skip = length + np.where(category < 16, category, 0).astype(np.uint8)
        tables[body[at] & 15] = _Table(length, category, np.where(length > 0, skip, NO_CODE))
        at += 17 + sum(counts)
    return tables


def _decode_scan(
    header: FrameHeader, tables: dict[int, _Table], interval: int, body: bytes, data: bytes
) -> dict[int, np.ndarray]:
    """The planes (rows, columns) of the components in one scan, by their place in the frame."""
    count = body[0] if body else 0
    if not count or len(body) < 4 + 2 * count:
        raise FrameError("a JPEG scan header cut short")
    numbers = [number for number, _ in header.components]
    places, used = [], []
    for i in range(count):
        number, table = body[1 + 2 * i], body[2 + 2 * i] >> 4
        if number not in numbers or table not in tables:
            raise FrameError("a JPEG scan of an unknown component or table")
        places.append(numbers.index(number))
        used.append(tables[table])
    predictor, shift = body[1 + 2 * count], body[3 + 2 * count] & 15
    if not 1 <= predictor <= 7 or shift >= header.bits:
        raise FrameError("a JPEG predictor that does not exist")
    if interval % header.columns:
        raise FrameError("a JPEG restart within a line")
    lines = interval // header.columns or header.rows
    parts = re.split(rb"\xff[\xd0-\xd7]", data) if interval else [data]
    if len(parts) < -(-header.rows // lines):
        raise FrameError("lossless JPEG cut short")
    bands = []
    for top, part in zip(range(0, header.rows, lines), parts, strict=False):
        rows = min(lines, header.rows - top)
        coded = part.replace(b"\xff\x00", b"\xff")
        differences = _differences(coded, used, rows * header.columns * count)
        bands.append(differences.reshape(rows, header.columns, count))
    start = 1 << (header.bits - shift - 1)
    planes = {}
    for i, place in enumerate(places):
        restored = [_undo_prediction(band[..., i], predictor, start) for band in bands]
        planes[place] = np.concatenate(restored) << shift
    return planes


def _differences(coded: bytes, tables: list[_Table], count: int) -> np.ndarray:
    """Decode `count` differences (T.81, H.1.2.2), modulo 65536, of components that take turns.

    Where a code begins depends on all codes before it, how long it would be does not: that is
    looked up for every bit position at once, and a short loop follows the chain.
    """
    data = np.frombuffer(coded + bytes(8), dtype=np.uint8)
    out, done, at = np.empty(count, dtype=np.uint16), 0, 0
    while done < count and at < 8 * len(coded):
        first, turns = at // 8, len(tables)
        windows = _windows(data[first : first + CHUNK + 8])
        skips = [tables[(done + i) % turns].skip[windows].tobytes() for i in range(turns)]
        place, end, places = at - 8 * first, len(windows), []
        for skip in islice(cycle(skips), count - done):
            if place >= end:
                break
            places.append(place)
            place += skip[place]
        found = out[done : done + len(places)]
        for i, table in enumerate(tables):
            mine = slice((i - done) % turns, None, turns)
            found[mine] = _values(data[first:], windows, np.array(places)[mine], table)
        done, at = done + len(places), 8 * first + place
    if done < count or at > 8 * len(coded):
        raise FrameError("lossless JPEG cut short")
    return out


def _windows(data: np.ndarray) -> np.ndarray:
    """The 16 bits from every bit position on, of all bytes but the last 8, in order."""
    each = data.astype(np.uint32)
    wide = (each[:-8] << 16) | (each[1:-7] << 8) | each[2:-6]
    windows = np.empty((len(wide), 8), dtype=np.uint16)
    for bit in range(8):
        windows[:, bit] = wide >> (8 - bit) & 0xFFFF
    return windows.reshape(-1)


def _values(data: np.ndarray, windows: np.ndarray, places: np.ndarray, table: _Table) -> np.ndarray:
    """The differences whose codes begin at `places`, modulo 65536."""
    codes = windows[places]
    length, category = table.length[codes], table.category[codes].astype(np.int64)
    if not length.all():
        raise FrameError("lossless JPEG with bits that are no code")
    at = places + length
    byte, bit = at >> 3, at & 7
    wide = (data[byte].astype(np.int64) << 16) | (data[byte + 1].astype(np.int64) << 8)
    wide = (wide | data[byte + 2]) << bit & 0xFFFFFF
    bits = wide >> (24 - category)
    values = np.where(bits >> (category - 1).clip(0), bits, bits - (1 << category) + 1)
    values = np.where(category == 16, 32768, np.where(category == 0, 0, values))
    return values.astype(np.uint16)  # modulo 65536


def _undo_prediction(differences: np.ndarray, predictor: int, start: int) -> np.ndarray:
    """Samples (rows, columns) from differences, uint16 (T.81, Table H.1); `start` goes first."""
    rows = differences.astype(np.int64)
    rows[0, 0] += start
    if predictor == 1:
        rows[:, 0] = rows[:, 0].cumsum()
        return (rows.cumsum(1) & 0xFFFF).astype(np.uint16)
    rows[0] = rows[0].cumsum() & 0xFFFF
    for y in range(1, len(rows)):
        above, row = rows[y - 1], rows[y]
        row[0] += above[0]
        if predictor == 2:
            row[1:] += above[1:]
        elif predictor == 3:
            row[1:] += above[:-1]
        elif predictor in (4, 5):
            row[1:] += (above[1:] - above[:-1]) >> (predictor - 4)
            row[:] = row.cumsum()
        else:
            row[1:] = _serial(row, above, predictor)
        row &= 0xFFFF
    return rows.astype(np.uint16)


def _serial(row: np.ndarray, above: np.ndarray, predictor: int) -> list[int]:
    """The samples of one row after its first, where each needs the one before it halved."""
    last, out = int(row[0]) & 0xFFFF, []
    for difference, b, c in zip(
        row[1:].tolist(), above[1:].tolist(), above[:-1].tolist(), strict=True
    ):
        guess = b + ((last - c) >> 1) if predictor == 6 else (last + b) >> 1
        last = (guess + difference) & 0xFFFF
        out.append(last)
    return out
