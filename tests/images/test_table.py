"""Tables as Excel, Windows and other programs write them."""

import io

import numpy as np
import pytest
from PIL import Image

from gcd_core.errors import GCDError
from gcd_core.images.dataset import ImageFiles, load_split
from gcd_core.images.table import read_csv

PLAIN = "file,split,label\na.png,train,gesund\nb.png,test,entzündet\n"
ROWS = [
    {"file": "a.png", "split": "train", "label": "gesund"},
    {"file": "b.png", "split": "test", "label": "entzündet"},
]


def read(tmp_path, content: bytes | str) -> list[dict[str, str]]:
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv(path)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8 bom be"],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_delimiters(tmp_path, encoding, delimiter, end):
    text = PLAIN.replace(",", delimiter).replace("\n", end)
    if encoding == "utf-8 bom be":
        content = "\ufeff".encode("utf-16-be") + text.encode("utf-16-be")
    else:
        content = text.encode(encoding)
    assert read(tmp_path, content) == ROWS


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("file,split,label", "File , SPLIT,Label"),
        PLAIN.replace(",", " , "),
        PLAIN.replace(",", ', "', 0).replace("a.png", '"a.png"').replace("train", ' "train"'),
        "sep=;\n" + PLAIN.replace(",", ";"),
        PLAIN + "\n,,\n",
        "\n".join(f"{line}," for line in PLAIN.splitlines()),
        PLAIN.rstrip("\n"),
    ],
    ids=["capitals", "blanks", "quotes", "sep", "empty rows", "a comma more", "no last end"],
)
def test_headers_and_rows_of_other_programs(tmp_path, text):
    assert read(tmp_path, text) == ROWS


def test_an_index_column_without_a_name_is_left_out(tmp_path):
    text = ",file,split\n0,a.png,train\n1,b.png,test\n"
    assert read(tmp_path, text) == [{k: row[k] for k in ("file", "split")} for row in ROWS]


def test_a_short_row_has_empty_cells(tmp_path):
    assert read(tmp_path, "file,split,label\na.png,train\nb.png\n") == [
        {"file": "a.png", "split": "train", "label": ""},
        {"file": "b.png", "split": "", "label": ""},
    ]


def test_quoted_values_may_hold_the_delimiter_and_ends_of_lines(tmp_path):
    rows = read(tmp_path, 'file;split;label\n"a;1.png";train;"one\ntwo"\n')
    assert rows == [{"file": "a;1.png", "split": "train", "label": "one\ntwo"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "needs a header"),
        (b"\n\n", "needs a header"),
        (b"path,fold\na.png,train\n", "'file' and 'split'"),
        (b"file,split\n", "has a header, but no rows"),
        (b"file,split,file\na.png,train,b.png\n", "'file' twice"),
        (b"file,split\na.png,train,Edema,Mass\n", "row 2 has 4 cells, the header 2"),
        (b"file,split\n,train\n", "row 2 has no 'file'"),
        (b"PK\x03\x04" + bytes(50), "is a workbook"),
        (b"\xd0\xcf\x11\xe0" + bytes(50), "is a workbook"),
        (b"file,split\n\x81\x8d.png,train\n", "save it as UTF-8"),
        (b"\xff\xfef\0i\0l\0e", "needs a header|save it as UTF-8"),
    ],
)
def test_what_is_no_table_is_told_in_a_sentence(tmp_path, content, message):
    with pytest.raises(GCDError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_bytes_of_any_sort_are_read_or_refused(tmp_path):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(PLAIN.encode(), np.uint8)
    for _ in range(500):
        broken = whole.copy()
        broken[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        try:
            rows = read(tmp_path, broken.tobytes()[: rng.integers(0, len(whole) + 1)])
        except GCDError as error:
            assert "\n" not in str(error)
        else:
            assert all({"file", "split"} <= row.keys() for row in rows)


@pytest.mark.parametrize("sign", ["\u2028", "\u0085", "\x0b", "\x0c", "\x1e"])
def test_what_only_python_takes_for_the_end_of_a_line_is_none(tmp_path, sign):
    label = f"left{sign}right"
    rows = read(tmp_path, PLAIN.replace("gesund", label))
    assert rows == [ROWS[0] | {"label": label}, ROWS[1]]


@pytest.mark.parametrize("before", ["\n", "\r\n \r\n", "sep=,\r\n", "\nsep=,\n"])
def test_empty_lines_may_come_first(tmp_path, before):
    assert read(tmp_path, before + PLAIN) == ROWS


def test_a_table_that_cannot_be_opened(tmp_path):
    with pytest.raises(GCDError, match="cannot be read"):
        read_csv(tmp_path)


def test_windows_paths_find_their_images(tmp_path):
    for name, value in (("a", 50), ("b", 200)):
        (tmp_path / "images").mkdir(exist_ok=True)
        buffer = io.BytesIO()
        Image.new("L", (8, 8), value).save(buffer, "PNG")
        (tmp_path / "images" / f"{name}.png").write_bytes(buffer.getvalue())
    text = "file;split;label\r\nC:\\data\\images\\a.png;train;x\r\nimages\\b.png;train;\u00fc\r\n"
    (tmp_path / "labels.csv").write_bytes(text.encode("cp1252"))
    images, table = load_split(tmp_path, None, "train", 8, 1)
    assert images.float().mean((1, 2, 3)).tolist() == [50, 200]
    assert table["label"] == ["x", "\u00fc"]
    files = ImageFiles(tmp_path, tmp_path / "labels.csv", "train")
    assert sorted(files.labels.values()) == ["x", "\u00fc"]
