"""The finished parts of a job, each in a Parquet file that is written atomically."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from gcd_core.distributed.job import Part, PartsJob
from gcd_core.errors import GCDError
from gcd_core.files import atomic_write

FORMAT = "gcd-part-1"
NAME = re.compile(r"part-(\d{7})\.parquet")
ABOUT, FILE = b"gcd", b"gcd-file:"  # keys of the schema's metadata


def arrow() -> tuple[ModuleType, ModuleType]:
    """PyArrow and its Parquet. Raises a GCDError if it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise GCDError(
            "Parts are kept as Parquet, by PyArrow: pip install pyarrow (or ray[data], which "
            "brings it)."
        ) from None
    return pyarrow, pyarrow.parquet


class PartsFolder:
    """A folder of parts of one job.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    kind, settings, row
        The job's.
    """

    def __init__(self, folder: Path, kind: str, settings: dict[str, Any], row: type) -> None:
        arrow()
        self.folder, self.kind, self.row = folder, kind, row
        # As JSON gives them back: a tuple is a list.
        self.settings = json.loads(json.dumps(settings))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GCDError(f"{folder} cannot be made: {error.strerror}.") from error

    @classmethod
    def of(cls, folder: Path, job: PartsJob) -> PartsFolder:
        """The folder of a job's parts."""
        return cls(folder, job.kind, job.settings, job.row)

    def done(self) -> dict[int, Path]:
        """The parts that are there, by their numbers, in their order.

        Raises a GCDError if one is damaged or of another job.
        """
        found = {}
        for file in sorted(self.folder.iterdir()):
            if match := NAME.fullmatch(file.name):
                found[int(match[1])] = file
                check_same(file, header_of(file), self.kind, self.settings)
        return found

    def keep(self, number: int, part: Part) -> None:
        """Write a part."""
        pa, parquet = arrow()
        about = {"format": FORMAT, "kind": self.kind, "part": number, "settings": self.settings}
        metadata = {ABOUT: json.dumps(about | {"about": part.about}).encode()}
        metadata |= {FILE + name.encode(): content for name, content in part.files.items()}
        table = pa.Table.from_pylist(
            [asdict(row) for row in part.rows], self._schema.with_metadata(metadata)
        )
        with atomic_write(self.folder / f"part-{number:07d}.parquet") as place:
            parquet.write_table(table, place)

    def read(self, file: Path) -> Part:
        """Read a part that was kept."""
        table, about = read_table(file)
        return part_of(table, about, self.row)

    @cached_property
    def _schema(self) -> Any:
        return schema_of(self.row)


def check_same(file: Path, about: dict[str, Any], kind: str, settings: dict[str, Any]) -> None:
    """Refuse a part of another kind of job, or of a job with other settings."""
    if about["kind"] != kind:
        raise GCDError(f"{file} is a part of {about['kind']}, not of {kind}; name another folder.")
    then = about["settings"]
    changed = sorted(k for k in settings.keys() | then.keys() if settings.get(k) != then.get(k))
    if changed:
        raise GCDError(
            f"{file} was made with other settings ({', '.join(changed)}); name another folder, or "
            "delete this one to begin anew."
        )


def header_of(file: Path) -> dict[str, Any]:
    """What a part says of itself: its `kind`, its number `part`, `settings`, and `about`.

    Raises a GCDError if the file is no part.
    """
    pa, parquet = arrow()
    try:
        return _header(parquet.read_schema(file).metadata)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise GCDError(f"{file} is no part of a job; move it elsewhere.") from error


def read_table(file: Path) -> tuple[Any, dict[str, Any]]:
    """A part's table, and what it says of itself; raises as `header_of`."""
    pa, parquet = arrow()
    try:
        table = parquet.read_table(file, partitioning=None)
        return table, _header(table.schema.metadata)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise GCDError(f"{file} is no part of a job; move it elsewhere.") from error


def part_of(table: Any, about: dict[str, Any], row: type) -> Part:
    """The part that a table holds."""
    files = {
        key.removeprefix(FILE).decode(): content
        for key, content in table.schema.metadata.items()
        if key.startswith(FILE)
    }
    rows = TypeAdapter(list[row]).validate_python(table.to_pylist(maps_as_pydicts="strict"))  # type: ignore[valid-type]
    return Part(rows, about["about"], files)


def _header(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    about = json.loads((metadata or {})[ABOUT])
    if about["format"] != FORMAT:
        raise ValueError(about["format"])
    return {key: about[key] for key in ("kind", "part", "settings", "about")}


def files_in(folders: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All parts in some folders, with what they say of themselves."""
    for folder in folders:
        if not folder.is_dir():
            raise GCDError(f"{folder} is no folder; give those that --parts named.")
        for file in sorted(folder.iterdir()):
            if NAME.fullmatch(file.name):
                yield file, header_of(file)


# -- dataclasses as rows ---------------------------------------------------------------------------


def schema_of(row: type) -> Any:
    """The Arrow schema of a dataclass: floats are float64, so that none is rounded."""
    pa, _ = arrow()
    hints = get_type_hints(row)
    return pa.schema([(f.name, _arrow_type(hints[f.name])) for f in fields(row)])


def _arrow_type(hint: Any) -> Any:
    pa, _ = arrow()
    hint = _present(hint)
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        return pa.struct([(f.name, _arrow_type(hints[f.name])) for f in fields(hint)])
    if get_origin(hint) is list:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if get_origin(hint) is dict:
        return pa.map_(pa.string(), _arrow_type(get_args(hint)[1]))
    return {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}[hint]


def _present(hint: Any) -> Any:
    """A type such as `X | None` without the None."""
    if get_origin(hint) in (UnionType, typing.Union):
        (hint,) = (kind for kind in get_args(hint) if kind is not type(None))
    return hint
