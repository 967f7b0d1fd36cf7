"""Sets of directions side by side: their names, which is in use, and how many there are."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.ui.session.direction_sets import BUNDLED, MAX_SETS_KEPT, Sets, file_name, tidy


def made(label: str = "a") -> DirectionSet:
    return DirectionSet(["g"], torch.eye(2)[:1], {"label": label})


def test_sets_stand_side_by_side_and_the_bundled_one_is_used_first():
    sets, one, two = Sets(), made(), made()
    assert sets.used("a") == BUNDLED and sets.in_use("a") is None
    assert sets.keep("a", "mine", one) == "mine" and sets.keep("a", "mine", two) == "mine 2"
    assert sets.in_use("a") is None, "keeping is not using"
    assert sets.newest("a") == "mine 2" and sets.newest("b") == BUNDLED
    sets.use("a", "mine 2")
    assert sets.in_use("a") is two and sets.used("b") == BUNDLED
    assert sets.names("a") == ["mine", "mine 2"] and sets.names("b") == []
    assert sets.rename("a", "mine 2", "  other\n name ") == "other name"
    assert sets.in_use("a") is two and sets.get("a", "mine") is one
    assert sets.rename("a", "mine", "other name") == "other name 2"
    assert sets.rename("a", "other name", "other name") == "other name"
    sets.use("a", BUNDLED)
    assert sets.in_use("a") is None
    for broken in (sets.use, sets.get):
        with pytest.raises(GCDError, match="choose one of bundled, other name"):
            broken("a", "nothing")
    assert sets.keep("a", BUNDLED, one) == "bundled 2", "that name is taken"
    sets.clear()
    assert sets.names("a") == []


def test_the_oldest_go_but_not_the_one_in_use():
    sets = Sets()
    for i in range(MAX_SETS_KEPT):
        sets.keep("a", f"n{i}", made())
    sets.use("a", "n0")
    for i in range(3):
        sets.keep("b", f"m{i}", made("b"))
    assert sets.names("a") == ["n0", *(f"n{i}" for i in range(4, MAX_SETS_KEPT))]
    assert sets.names("b") == ["m0", "m1", "m2"] and sets.in_use("a") is not None


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("../../etc/passwd", "d-a-etc-passwd.safetensors"),
        ("from scan.png, seed 0", "d-a-from-scan.png-seed-0.safetensors"),
        ("...", "d-a-directions.safetensors"),
        (BUNDLED, "d-a.safetensors"),
    ],
)
def test_a_file_is_called_what_no_path_can_be(name: str, file: str):
    assert file_name("d", "a", name) == file


def test_names_are_one_short_line():
    assert tidy(" a\tb\nc\x00 ") == "a b c" and tidy("\n") == "directions"
    assert len(tidy("x" * 500)) == 40
