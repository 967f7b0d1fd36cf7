"""Parts in a folder: what is written comes back exactly, and nothing else is taken for it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from gcd_core.distributed import parts as module
from gcd_core.distributed.job import Part
from gcd_core.distributed.parts import PartsFolder, files_in, part_of, read_table
from gcd_core.errors import GCDError
from gcd_core.evaluation.outcomes import Outcome
from tests.distributed.jobs import Square

parquet = pytest.importorskip("pyarrow.parquet")


@dataclass(frozen=True)
class Inner:
    value: float | None


@dataclass(frozen=True)
class Whole:
    name: str
    count: int
    good: bool
    share: float | None
    inner: Inner
    maybe: Inner | None
    many: list[float | None] | None
    by_name: dict[str, Inner] | None


ROWS = [
    Whole("ä/b.png", 2**60, True, 1 / 3, Inner(0.1), None, [1e-300, None], {"a": Inner(None)}),
    Whole("", -1, False, None, Inner(None), Inner(-0.0), None, None),
]


def test_rows_come_back_to_the_last_bit(tmp_path: Path) -> None:
    folder = PartsFolder(tmp_path / "new", "whole", {"alphas": (1, 2)}, Whole)
    assert folder.done() == {}
    part = Part(ROWS, {"skipped": {"x": "y"}}, {"a/b.bin": bytes(range(256))})
    folder.keep(12, part)
    folder.keep(3, Part([]))
    again = PartsFolder(tmp_path / "new", "whole", {"alphas": [1, 2]}, Whole)
    assert list(again.done()) == [3, 12]
    assert again.read(again.done()[12]) == part and again.read(again.done()[3]) == Part([])
    assert {f.name for f in (tmp_path / "new").iterdir()} == {
        "part-0000003.parquet",
        "part-0000012.parquet",
    }


def test_anybody_reads_the_rows(tmp_path: Path) -> None:
    PartsFolder(tmp_path, "squares", {}, Square).keep(0, Part([Square(2, 4.0), Square(3, 9.0)]))
    table = parquet.read_table(tmp_path / "part-0000000.parquet")
    assert table.to_pydict() == {"number": [2, 3], "square": [4.0, 9.0], "read": [None, None]}
    assert str(table.schema.field("square").type) == "double"


def test_every_figure_of_an_outcome_has_a_column() -> None:
    names = module.schema_of(Outcome).names
    assert names == [f.name for f in fields(Outcome)] and names[-2:] == ["direction", "number"]


def test_parts_of_another_job_are_refused(tmp_path: Path) -> None:
    PartsFolder(tmp_path, "squares", {"label": "a", "margin": 0.1}, Square).keep(0, Part([]))
    with pytest.raises(GCDError, match=r"other settings \(label, margin\)"):
        PartsFolder(tmp_path, "squares", {"label": "b"}, Square).done()
    with pytest.raises(GCDError, match="a part of squares, not of evaluate"):
        PartsFolder(tmp_path, "evaluate", {}, Square).done()


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "text"])
def test_what_is_no_part_is_named(tmp_path: Path, damage: str) -> None:
    folder = PartsFolder(tmp_path, "squares", {}, Square)
    folder.keep(0, Part([Square(1, 1.0)]))
    file = tmp_path / "part-0000000.parquet"
    content = file.read_bytes()
    if damage == "other":
        table = parquet.read_table(file)
        parquet.write_table(table.replace_schema_metadata(None), file)
    else:
        file.write_bytes({"cut": content[:-20], "empty": b"", "text": b"hello"}[damage])
    for read in (folder.done, lambda: folder.read(file), lambda: list(files_in([tmp_path]))):
        with pytest.raises(GCDError, match="is no part of a job"):
            read()


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    folder = PartsFolder(tmp_path, "squares", {}, Square)

    def full(table, place):
        Path(place).write_bytes(b"PAR1 and no more")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parquet, "write_table", full)
    with pytest.raises(GCDError, match="No space left"):
        folder.keep(0, Part([Square(1, 1.0)]))
    assert not list(tmp_path.iterdir())


def test_a_table_and_its_row_give_the_part(tmp_path: Path) -> None:
    folder = PartsFolder(tmp_path, "squares", {"n": 1}, Square)
    folder.keep(7, Part([Square(7, 49.0)], {"seconds": 0.5}))
    ((file, about),) = files_in([tmp_path])
    assert about == {
        "kind": "squares",
        "part": 7,
        "settings": {"n": 1},
        "about": {"seconds": 0.5},
    }
    table, about = read_table(file)
    assert part_of(table, about, Square) == folder.read(file)
    with pytest.raises(GCDError, match="is no folder"):
        list(files_in([tmp_path / "absent"]))


def test_without_pyarrow_it_is_said_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(GCDError, match="pip install pyarrow"):
        PartsFolder(tmp_path, "squares", {}, Square)
