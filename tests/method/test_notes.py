"""What a person says of directions: kept with them, and no more than a line."""

import pytest

from gcd_core.errors import GCDError
from gcd_core.method.notes import FIGURE, Note, notes_of, with_note


def test_a_note_is_kept_in_the_metadata_and_an_empty_one_goes() -> None:
    about = {"label": "a", "seed": 3}
    note = Note.of("wider heart", "seen in 3 of 4", "shortcut")
    told = with_note(about, "g", note)
    assert notes_of(told) == {"g": note} and about == {"label": "a", "seed": 3}
    both = with_note(told, "h1", Note.of("", "", "no idea"))
    assert notes_of(both) == {"g": note, "h1": Note(mark="no idea")}
    assert with_note(with_note(both, "g", Note()), "h1", Note()) == about
    assert note.sentence == "Marked as shortcut. seen in 3 of 4" and Note("x").sentence == ""


def test_what_is_typed_is_one_line_of_limited_length() -> None:
    note = Note.of(" wider\n\theart\x00 " + "x" * 99, "y" * 999, "")
    assert note.called.startswith("wider heart x") and len(note.called) == 40
    assert len(note.remark) == 300
    with pytest.raises(GCDError, match="one of true reason, shortcut, no idea"):
        Note.of("", "", "<b>")


def test_a_damaged_file_has_no_note() -> None:
    sound = {"called": "a", "remark": "b", "mark": ""}
    for damaged in (None, 3, [], {"g": None}, {"g": {}}, {"g": sound | {"x": "1"}}):
        assert notes_of({FIGURE: damaged}) == {}
    for wrong in ({"called": 3}, {"remark": None}, {"mark": "good"}, {"mark": ["shortcut"]}):
        assert notes_of({FIGURE: {"g": sound | wrong}}) == {}, wrong
    long = notes_of({FIGURE: {"g": sound | {"called": "x\n" * 99}}})
    assert len(long["g"].called) <= 40 and "\n" not in long["g"].called
