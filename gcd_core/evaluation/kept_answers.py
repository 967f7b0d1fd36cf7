"""Answers of a long measurement, kept in a JSON file one by one, so that a run can go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gcd_core.errors import GCDError
from gcd_core.files import write_json


class KeptAnswers:
    """Answers by name; each is made once, and kept in the file as soon as it is there.

    Raises a GCDError if the file holds answers made with other settings, or is no such file.

    Parameters
    ----------
    file : Path, optional
        Without one, answers are kept for as long as this object lives.
    settings : dict, optional
        All that the answers hang on; JSON can hold it.
    """

    def __init__(self, file: Path | None = None, settings: dict[str, Any] | None = None) -> None:
        self._file, self._settings = file, settings or {}
        self._answers: dict[str, Any] = {}
        if file is None or not file.is_file():
            return
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            then, self._answers = found["settings"], dict(found["answers"])
        except (ValueError, KeyError, TypeError):
            raise GCDError(f"{file} holds no answers of `tables`; move it away.") from None
        if then != self._settings:
            both = then.keys() | self._settings.keys()
            changed = sorted(key for key in both if then.get(key) != self._settings.get(key))
            raise GCDError(
                f"{file} was made with other settings ({', '.join(changed)}); name another --out, "
                "or delete it to ask anew."
            )

    def __contains__(self, name: str) -> bool:
        """Whether the answer of this name is there."""
        return name in self._answers

    def __getitem__(self, name: str) -> Any:
        """The answer of this name."""
        return self._answers[name]

    def add(self, answers: Mapping[str, Any]) -> None:
        """Keep answers by their names; JSON can hold them."""
        self._answers.update(answers)
        if self._file is not None:
            write_json(self._file, {"settings": self._settings, "answers": self._answers})

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """The answer of this name; `make` is called where it is not there yet."""
        if name not in self:
            self.add({name: make()})
        return self[name]
