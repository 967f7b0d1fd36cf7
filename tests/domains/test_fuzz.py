"""domain.toml made bad at random, as text and as values: what is wrong is told, in sentences."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gcd_core.domains.file import find_problems, read_domain_file
from gcd_core.errors import GCDError
from tests.mutations import IN_THE_SUITE, NIGHTLY, cases, mutated
from tests.tiny_domain import write_tiny_domain

COUNTS = pytest.mark.parametrize(
    "count", [2 * IN_THE_SUITE, pytest.param(2 * NIGHTLY, marks=pytest.mark.nightly)]
)
VALUES = st.recursive(
    st.none().flatmap(lambda _: st.booleans())
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["../../etc/passwd", "/dev/zero", "http://127.0.0.1/x", "hf://a/b/c", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


def check_told(problems: dict[str, list[str]]) -> None:
    for sentence in (each for found in problems.values() for each in found):
        assert sentence.rstrip().endswith((".", "?")) and "\n" not in sentence, sentence


@COUNTS
def test_bad_text(tmp_path: Path, count: int) -> None:
    folder = write_tiny_domain(tmp_path)
    whole = (folder / "domain.toml").read_bytes()

    @cases(count)
    @given(data=mutated(whole))
    def is_told(data: bytes) -> None:
        (folder / "domain.toml").write_bytes(data)
        try:
            table = read_domain_file(folder)
        except GCDError as error:
            assert "domain.toml" in str(error)
        else:
            check_told(find_problems(folder, table))

    is_told()


def places(table: dict[str, Any], before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Where a table has values, of inner tables and themselves."""
    found = []
    for key, value in table.items():
        found.append((*before, key))
        if isinstance(value, dict):
            found += places(value, (*before, key))
    return found


@COUNTS
def test_values_of_every_sort(tmp_path: Path, count: int) -> None:
    folder = write_tiny_domain(tmp_path)
    whole = tomllib.loads((folder / "domain.toml").read_text(encoding="utf-8"))

    @cases(count)
    @given(at=st.sampled_from(places(whole)), value=VALUES, name=st.none() | st.text(max_size=8))
    def is_told(at: tuple[str, ...], value: Any, name: str | None) -> None:
        table = copy.deepcopy(whole)
        inner = table
        for key in at[:-1]:
            inner = inner[key]
        inner[at[-1] if name is None else name] = value
        check_told(find_problems(folder, table))

    is_told()
