"""The answers of the page's API as plain values, and how two records of them differ."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from PIL import Image
from safetensors import safe_open

READ_ALOUD = ("alt", "title", "data-address", "data-about")  # attributes that count as text
TIMES = {"eta"}  # keys whose values differ from run to run
MOST_NUMBERS = 64  # of a list that is recorded whole
TOLERANCE = 1e-3  # absolute and relative
FINGERPRINT = re.compile("[0-9a-f]{64}")
ROUNDED = re.compile(r"([-+\N{MINUS SIGN}]?\d+\.\d+|\d+(?=\s*%))")  # numbers as a text shows them


class _Text(HTMLParser):
    """Collects what an HTML answer says."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts += [value for name, value in attrs if name in READ_ALOUD and value]

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def text_of(html: str) -> str:
    """The text of an HTML answer, its pictures' names included, without tags and addresses."""
    parser = _Text()
    parser.feed(html)
    parser.close()
    return " ".join(" ".join(parser.parts).split())


def plain(value: Any) -> Any:
    """An answer without what differs from run to run or by the machine.

    A picture becomes its format, size and mean colour; HTML its text; a file its name and what it
    holds.
    """
    if isinstance(value, dict):
        return {
            key: None if key in TIMES else plain(item)
            for key, item in value.items()
            if key != "__type__"
        }
    if isinstance(value, list | tuple):
        return _numbers(value) or [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if not isinstance(value, str):
        return value
    if value.startswith("data:image/"):
        return picture(base64.b64decode(value.partition(",")[2]))
    if value.startswith('{"'):  # a film
        film = json.loads(value)
        shown = {name: film.pop(name) for name in ("lost", "maps") if name in film}
        shown |= {f"offset {i}": sheet for i, sheet in enumerate(film.pop("offsets"))}
        sheets = {name: picture(base64.b64decode(sheet)) for name, sheet in shown.items()}
        return plain(film) | sheets
    if value.startswith("/") and Path(value).is_file():
        return {"file": Path(value).name, "holds": contents(Path(value))}
    return text_of(value) if "<" in value else value


def _numbers(values: list | tuple) -> dict[str, Any] | None:
    """A long list of numbers, or of lists of them, in short; None of any other."""
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        return None
    if array.size <= MOST_NUMBERS:
        return None
    ends = {"first": array.flat[0].item(), "last": array.flat[-1].item()}
    return plain({"shape": list(array.shape), **ends, "mean": array.mean().item()})


def picture(data: bytes) -> dict[str, Any]:
    """A picture's format, size in pixels, and mean of each channel in [0, 1]."""
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image.convert("RGB"))
        return {
            "format": image.format,
            "size": list(image.size),
            "frames": getattr(image, "n_frames", 1),
            "mean": plain((pixels.mean((0, 1)) / 255).tolist()),
        }


def contents(file: Path) -> Any:
    """What a file to take home holds."""
    if file.suffix == ".csv":
        return [list(map(_cell, row)) for row in csv.reader(file.open(encoding="utf-8"))]
    if file.suffix == ".json":
        return plain(json.loads(file.read_text(encoding="utf-8")))
    if file.suffix == ".zip":
        with ZipFile(file) as archive:
            return archive.namelist()
    if file.suffix == ".safetensors":
        with safe_open(file, "np") as tensors:
            shapes = {name: list(tensors.get_tensor(name).shape) for name in sorted(tensors.keys())}
            return {"metadata": sorted(tensors.metadata() or {}), "tensors": shapes}
    if file.suffix in (".gif", ".png"):
        return picture(file.read_bytes())
    return file.read_bytes()[:4].decode("ascii")


def _cell(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def with_numbered_sets(value: Any, numbers: dict[str, str] | None = None) -> Any:
    """The value with "set 1", "set 2" ... in the place of fingerprints of directions.

    What a search finds differs in its last bits between processors, and so does its fingerprint.
    """
    numbers = {} if numbers is None else numbers
    if isinstance(value, list):
        return [with_numbered_sets(one, numbers) for one in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, one in value.items():
        if key == "directions" and isinstance(one, str) and FINGERPRINT.fullmatch(one):
            found[key] = numbers.setdefault(one, f"set {len(numbers) + 1}")
        else:
            found[key] = with_numbered_sets(one, numbers)
    return found


def differences(recorded: Any, now: Any, place: str = "") -> Iterator[str]:
    """What two plain values differ in, in sentences.

    Structure, texts and whole numbers are compared exactly; other numbers with `TOLERANCE`,
    absolute and relative; decimal numbers and percentages in a text may differ by one unit of
    their last digit.
    """
    if isinstance(recorded, dict) and isinstance(now, dict):
        for key in recorded.keys() | now.keys():
            if key not in now:
                yield f"{place}/{key} is gone"
            elif key not in recorded:
                yield f"{place}/{key} is new"
            else:
                yield from differences(recorded[key], now[key], f"{place}/{key}")
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for i, pair in enumerate(zip(recorded, now, strict=True)):
            yield from differences(*pair, f"{place}/{i}")
    elif not _same(recorded, now):
        yield f"{place}: {recorded!r} is now {now!r}"


def _same(recorded: Any, now: Any) -> bool:
    if {type(recorded), type(now)} in ({float}, {int, float}):
        return abs(recorded - now) <= TOLERANCE * max(1.0, abs(recorded))
    if isinstance(recorded, str) and isinstance(now, str):
        return _same_text(recorded, now)
    return type(recorded) is type(now) and recorded == now


def _same_text(recorded: str, now: str) -> bool:
    ours, theirs = ROUNDED.split(recorded), ROUNDED.split(now)
    if ours[::2] != theirs[::2]:
        return False
    for a, b in zip(ours[1::2], theirs[1::2], strict=True):
        digits = len(a.partition(".")[2])
        if digits != len(b.partition(".")[2]) or abs(_read(a) - _read(b)) > 1.01 * 10**-digits:
            return False
    return True


def _read(number: str) -> float:
    return float(number.replace("\N{MINUS SIGN}", "-"))
