"""What a person says of directions: a name, a remark, whether it is a true reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from gcd_core.errors import GCDError

FIGURE = "notes"  # among a set's metadata: what a person says of each direction, by its name
MAX_CALLED, MAX_REMARK = 40, 300  # letters
MARKS = ("true reason", "shortcut", "no idea")


@dataclass(frozen=True)
class Note:
    """What a person says of one direction; each may be empty.

    Attributes
    ----------
    called : str
        A name, of at most 40 letters.
    remark : str
        At most 300 letters.
    mark : {"", "true reason", "shortcut", "no idea"}
        What the person takes it for.
    """

    called: str = ""
    remark: str = ""
    mark: str = ""

    @classmethod
    def of(cls, called: str, remark: str, mark: str) -> Note:
        """Take what somebody typed: one line each, cut to its length.

        Raises a GCDError if the mark is none.
        """
        if mark not in ("", *MARKS):
            raise GCDError(
                f"A direction is marked as one of {', '.join(MARKS)}, not {mark[:40]!r}."
            )
        return cls(one_line(called, MAX_CALLED), one_line(remark, MAX_REMARK), mark)

    @property
    def sentence(self) -> str:
        """Mark and remark for a person; "" of neither."""
        told = [f"Marked as {self.mark}."] if self.mark else []
        return " ".join([*told, *([self.remark] if self.remark else [])])


def one_line(text: str, most: int) -> str:
    """Make a text one line of printable letters, at most so many."""
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return line[:most].strip()


def with_note(metadata: Mapping[str, Any], name: str, note: Note) -> dict[str, Any]:
    """Return a set's metadata with a note on one of its directions; an empty note takes it away."""
    notes = notes_of(metadata) | {name: note}
    kept = {one: asdict(said) for one, said in notes.items() if said != Note()}
    rest = {key: value for key, value in metadata.items() if key != FIGURE}
    return rest | ({FIGURE: kept} if kept else {})


def notes_of(metadata: Mapping[str, Any]) -> dict[str, Note]:
    """Return the notes of a set by direction; without those of which a file tells nonsense.

    They are texts of the file: cut to their length, and escaped where they are shown.
    """
    told = metadata.get(FIGURE)
    found: dict[str, Note] = {}
    for name, one in (told if isinstance(told, dict) else {}).items():
        if not isinstance(one, dict) or set(one) != {"called", "remark", "mark"}:
            continue
        if not all(isinstance(text, str) for text in one.values()):
            continue
        if one["mark"] in ("", *MARKS):
            found[str(name)] = Note.of(**one)
    return found
