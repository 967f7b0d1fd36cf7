"""Files that domain.toml names: in the domain's folder, on the hub, or to be fetched by hand."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from gcd_core.errors import GCDError
from gcd_core.hub import HubPath, NotOnHub, fetch, sha256_of

KEYS = {"file": str | list, "repo": str, "revision": str, "sha256": str, "by_hand": str}


@dataclass(frozen=True)
class Source:
    """A file that a domain needs."""

    # Its name, or the names that it may have, best first. One that lies in the domain's folder is
    # taken before the hub is asked.
    files: tuple[str, ...]
    # Where on the Hugging Face hub it is; None if it must be in the folder.
    repo: str | None = None
    revision: str | None = None
    sha256: str | None = None  # what it must be, in hexadecimal
    by_hand: str | None = None  # what a person is to look for and where, as in "fetch ... by hand".

    @classmethod
    def read(cls, value: str | Mapping[str, Any]) -> "Source":
        """Read what domain.toml says: a name, or a table of `KEYS`.

        Raises a GCDError if the table lacks `file`, or has a key that is unknown or of the wrong
        type.
        """
        if isinstance(value, str):
            return cls((value,))
        for key, given in value.items():
            if key not in KEYS:
                raise GCDError(f"there is no key {key!r}; a file's are {', '.join(KEYS)}.")
            if not isinstance(given, KEYS[key]):
                raise GCDError(f"the file's {key!r} must be text.")
        names = value.get("file")
        names = [names] if isinstance(names, str) else names
        if not names or not all(isinstance(name, str) and name for name in names):
            raise GCDError("a file needs its name, or names, under 'file'.")
        return cls(tuple(names), **{k: v for k, v in value.items() if k != "file"})

    def find(self, folder: Path) -> Path | None:
        """Return the file in the domain's folder; None where it is not there."""
        for name in self.files:
            path = inside(folder, name)
            if path.is_file():
                return path
        return None

    def problems(self, folder: Path) -> Iterator[str]:
        """Name why the file cannot be opened. That it must be downloaded is no problem."""
        try:
            found = self.find(folder)
        except GCDError as error:
            yield str(error)
            return
        if found is None and self.repo is None:
            if self.by_hand:
                yield (
                    f"There is no {self.files[0]} in {folder}: fetch {self.by_hand} by hand and "
                    f"put it there as {' or '.join(self.files)}."
                )
            else:
                yield f"{folder / self.files[0]}, which domain.toml names, does not exist."

    def waits(self, folder: Path) -> bool:
        """Whether the file must still be downloaded. The hub is not asked."""
        if self.repo is None or self.find(folder) is not None:
            return False
        return not any(
            isinstance(try_to_load_from_cache(self.repo, name, revision=self.revision), str)
            for name in self.files
        )

    def open(self, folder: Path) -> Path:
        """Return the file, downloaded where needed, and compared with `sha256` if that is given.

        Raises a GCDError if it is not to be had, or is another file than `sha256` says.
        """
        for problem in self.problems(folder):
            raise GCDError(problem)
        path = self.find(folder) or self._fetched(folder)
        if self.sha256 is not None and sha256_of(path) != self.sha256.lower():
            raise GCDError(
                f"{path} is not the file that domain.toml means: its SHA-256 is not "
                f"{self.sha256}; fetch it again, or correct domain.toml."
            )
        return path

    def _fetched(self, folder: Path) -> Path:
        """Fetch the file from the hub, by the first of its names that the repository has."""
        assert self.repo is not None, "what lies nowhere is one of the problems"
        try:
            for name in self.files[:-1]:
                try:
                    return fetch(HubPath(self.repo, name, self.revision))
                except NotOnHub:
                    continue
            return fetch(HubPath(self.repo, self.files[-1], self.revision))
        except GCDError as error:
            if not self.by_hand:
                raise
            raise GCDError(
                f"{error} Or fetch {self.by_hand} by hand and put it into {folder} as "
                f"{' or '.join(self.files)}."
            ) from error


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that a domain names; refuse one outside the domain's folder."""
    plain = os.path.normpath(name)
    if os.path.isabs(name) or plain.split(os.sep)[0] == os.pardir:
        raise GCDError(f"domain.toml names {name!r}, which is outside its folder.")
    return folder / name
