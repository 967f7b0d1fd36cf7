"""Tables of images as people save them: comma, semicolon or tab, and any usual encoding."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gcd_core.errors import GCDError

DELIMITERS = (",", ";", "\t", "|")
IMAGES = ("file", "split")  # columns of a table of images
MARKS = (  # byte order marks, the longer ones first
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, .xls


def read_csv(path: Path, needed: Sequence[str] = IMAGES) -> list[dict[str, str]]:
    """Rows of a table by column.

    The delimiter is the comma, semicolon, tab or bar that makes the needed columns of the header,
    by default `file` and `split`; the first of them has a value in each row. Names of columns are
    taken in small letters; blanks around names and values are left out, and so are empty rows. Text
    is Unicode, as its byte order mark says or else as UTF-8, and otherwise Windows-1252. Cells that
    a row lacks are empty.

    Raises
    ------
    GCDError
        If the file cannot be read as a table, lacks these columns, or has a column twice, or a
        row has more cells than the header, or none in the first column that is needed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise GCDError(f"The table {path} cannot be read: {error.strerror}.") from error
    if data.startswith(WORKBOOKS):
        raise GCDError(f"{path} is a workbook, not a text; save it as CSV.")
    lines = [*io.StringIO(_text(data, path), newline="")]
    while lines and lines[0].strip().lower()[:4] in ("", "sep="):  # the latter is Excel's own
        lines = lines[1:]
    for delimiter in DELIMITERS:
        header = [name.strip().lower() for name in _cells(lines[:1], delimiter, path)[:1][0]]
        if set(header) >= set(needed):
            return _rows(lines, delimiter, header, path, needed[0])
    columns = " and ".join(repr(name) for name in needed)
    noun = "column" if len(needed) == 1 else "columns"
    raise GCDError(f"{path} needs a header with the {noun} {columns}.")


def _rows(
    lines: list[str], delimiter: str, header: list[str], path: Path, key: str
) -> list[dict[str, str]]:
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise GCDError(f"{path} has the column {twice[0]!r} twice; rename one of them.")
    rows = []
    for number, cells in enumerate(_cells(lines, delimiter, path)[1:], 2):
        values = [cell.strip() for cell in cells]
        if not any(values):
            continue
        if any(values[len(header) :]):
            raise GCDError(
                f"{path}: row {number} has {len(values)} cells, the header {len(header)}; put a "
                "value that holds the delimiter into double quotes."
            )
        row = dict.fromkeys(header, "") | dict(zip(header, values, strict=False))
        row.pop("", None)
        if not row[key]:
            raise GCDError(f"{path}: row {number} has no {key!r}.")
        rows.append(row)
    if not rows:
        raise GCDError(f"{path} has a header, but no rows.")
    return rows


def _cells(lines: list[str], delimiter: str, path: Path) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True)) or [[]]
    except csv.Error as error:
        raise GCDError(f"{path} is not a table that can be read: {error}.") from error


def _text(data: bytes, path: Path) -> str:
    """The text of a file; NUL bytes in it tell UTF-16 without a mark from one byte a letter."""
    names = [name for mark, name in MARKS if data.startswith(mark)]
    if not names:
        half = max(1, len(data) // 4)
        even, odd = data[::2].count(0), data[1::2].count(0)
        wide = "utf-16-le" if odd > half else "utf-16-be" if even > half else None
        names = [wide] if wide else ["utf-8", "cp1252"]
    for name in names[:2]:
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    raise GCDError(f"{path} is not text in UTF-8, UTF-16 or Windows-1252; save it as UTF-8.")
