"""Files that appear whole or not at all, and the folders that come with this project."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from gcd_core.errors import GCDError


@contextmanager
def atomic_write(path: str | Path, make_folder: bool = False) -> Iterator[Path]:
    """Give a place to write a file or folder to, and move it to `path` once that is done.

    A reader meets what was at `path` before or what was written, whole; where the block raises,
    nothing at `path` has changed and nothing is left beside it. With `make_folder`, folders that
    are missing on the way to it are made. Raises a GCDError if the file cannot be written.

    Examples
    --------
    >>> with atomic_write("result.json") as place:
    ...     place.write_text("{}")
    """
    path = Path(path)
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".gcd-") as folder:
            place = Path(folder) / path.name
            yield place
            os.replace(place, path)
    except OSError as error:
        raise GCDError(f"{path} cannot be written: {error.strerror or error}.") from error


def write_json(path: str | Path, table: Mapping[str, Any], indent: int = 1) -> None:
    """Write a table as JSON, whole; raises as `atomic_write`."""
    with atomic_write(path) as place:
        place.write_text(json.dumps(table, indent=indent) + "\n", encoding="utf-8")


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the metadata and the tensors of a safetensors file.

    Raises a SafetensorError, OSError if the file is missing, cut short or of another kind.
    """
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def bundled(folder: str) -> Path:
    """The folder of what comes with this project: "assets" or "checkpoints".

    It lies beside the package in a checkout, and inside of it where the package is installed.
    """
    inside = Path(__file__).resolve().parent / folder
    return inside if inside.is_dir() else inside.parents[1] / folder
