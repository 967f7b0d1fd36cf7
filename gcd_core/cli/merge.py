"""`merge`: join the parts of a job from several folders, and print them as one run does."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gcd_core.cli import evaluate, find_many, sanity
from gcd_core.cli.options import check_writable, write_json
from gcd_core.distributed.job import Part
from gcd_core.distributed.parts import arrow, check_same, files_in, part_of, read_table
from gcd_core.distributed.searches import SearchRow
from gcd_core.errors import GCDError
from gcd_core.evaluation.outcomes import Outcome
from gcd_core.evaluation.part_jobs import VerdictRow
from gcd_core.files import atomic_write

# A job's rows, and what prints all of its parts.
KINDS: dict[str, tuple[type, Callable[..., dict[str, Any]]]] = {
    "evaluate": (Outcome, evaluate.summed_up),
    "find-many": (SearchRow, find_many.summed_up),
    "sanity": (VerdictRow, sanity.summed_up),
}
MAX_MISSING_NAMED = 10  # missing parts, at most


class FoundParts(NamedTuple):
    """The parts that are there."""

    kind: str  # the job's command
    settings: dict[str, Any]  # the job's
    files: dict[int, Path]  # by the parts' numbers, in their order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `merge`."""
    parser.add_argument("parts", nargs="+", type=Path, help="folders that --parts named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="also write all rows here, as one Parquet file"
    )
    parser.add_argument("--partial", action="store_true", help="do so though parts are missing")


def main(args: argparse.Namespace) -> None:
    """Print what all parts say together, and write it."""
    check_writable(args.json, args.rows)
    kind, settings, files = find(args.parts)
    missing = [part for part in range(settings["parts"]) if part not in files]
    if missing and not args.partial:
        listed = ", ".join(map(str, missing[:MAX_MISSING_NAMED])) + (
            ", ..." if len(missing) > MAX_MISSING_NAMED else ""
        )
        raise GCDError(
            f"{len(missing)} of {settings['parts']} parts are missing ({listed}): run their shares "
            "to the end, or give --partial."
        )
    row, summed_up = KINDS[kind]
    result = summed_up(settings, parts_of(files, row), args.parts[0])
    if missing:
        print(f"of {len(files)} of {settings['parts']} parts")
    note = {"missing": missing} if missing else {}
    write_json(args.json, {"domain": settings["domain"], **note, **result})
    if args.rows:
        write_rows(args.rows, files)


def find(folders: list[Path]) -> FoundParts:
    """The parts in some folders, which must be of one job; of two of a number, the first.

    Raises a GCDError if there is none, or they are of different jobs.
    """
    kind, settings, files = "", {}, dict[int, Path]()
    for file, about in files_in(folders):
        if not files:
            kind, settings = about["kind"], about["settings"]
        check_same(file, about, kind, settings)
        files.setdefault(about["part"], file)
    if not files:
        raise GCDError("There is no part in the folders; give those that --parts named.")
    if kind not in KINDS:
        raise GCDError(f"Parts of {kind!r} cannot be put together here: there are {list(KINDS)}.")
    return FoundParts(kind, settings, dict(sorted(files.items())))


def parts_of(files: dict[int, Path], row: type) -> Iterator[Part]:
    """The parts, read one after the other."""
    for file in files.values():
        table, about = read_table(file)
        yield part_of(table, about, row)


def write_rows(target: Path, files: dict[int, Path]) -> None:
    """Write the rows of all parts to one file, a row group for each part."""
    _, parquet = arrow()
    with atomic_write(target) as place:
        writer = None
        for file in files.values():
            table = read_table(file)[0].replace_schema_metadata(None)
            writer = writer or parquet.ParquetWriter(place, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
