"""A folder or a zip of images: their names, and what each one is read from."""

import unicodedata
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from gcd_core.errors import GCDError
from gcd_core.images.limits import MAX_BYTES
from gcd_core.images.reading import HEAD_BYTES, looks_like_picture

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif"),
    *(".dcm", ".dicom", ".ima"),
}
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError)
INDEX = "DICOMDIR"  # a DICOM file that lists others and holds no picture


class Archive:
    """The images of a folder, searched through, or of a zip file.

    Parameters
    ----------
    source : Path
        The folder or zip.

    Attributes
    ----------
    names : list of str
        Of the images, sorted, with "/" between their parts: all files that end in one of
        `SUFFIXES`, or whose first bytes are those of a picture, and are not hidden.
    others : list of str
        Of the files that are no images, sorted; hidden ones do not count.

    Raises
    ------
    GCDError
        If the source is neither.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        if source.is_dir():
            present = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
        else:
            try:
                with zipfile.ZipFile(source) as opened:
                    present = [entry.filename for entry in opened.infolist() if not entry.is_dir()]
            except (OSError, zipfile.BadZipFile) as error:
                raise GCDError(
                    f"{source} is neither a folder nor a zip file; give one of images."
                ) from error
        visible = [name for name in sorted(present) if not _is_hidden(name)]
        self._present = set(present)
        self._by_file_name: dict[str, list[str]] = defaultdict(list)
        for name in visible:
            self._by_file_name[_parts(name)[-1]].append(name)
        self.names, self.others = self._images(visible)

    def _images(self, visible: list[str]) -> tuple[list[str], list[str]]:
        """Those that are images, by their ending or else by their first bytes, and the rest."""
        found: tuple[list[str], list[str]] = [], []
        with self._opened(HEAD_BYTES) as head_of:
            for name in visible:
                path = PurePosixPath(name)
                if path.name.upper() == INDEX:
                    is_image = False
                else:
                    is_image = path.suffix.lower() in SUFFIXES or _is_picture(head_of, name)
                found[0 if is_image else 1].append(name)
        return found

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Path | bytes]]:
        """Give a function from an image's name to what `load_image` reads of it.

        The name is resolved as by `find`. What the function returns is a path, or the bytes of a
        zip's member, which are too many by one at most; it raises a GCDError for a file that is
        missing, damaged, or one of several of that name.
        """
        if self.source.is_dir():
            yield lambda name: self.source / self.find(name)
        else:
            with self._opened(MAX_BYTES + 1) as bytes_of:
                yield lambda name: bytes_of(self.find(name))

    @contextmanager
    def _opened(self, most: int) -> Iterator[Callable[[str], bytes]]:
        """Give a function from a full name to the first `most` bytes."""
        if self.source.is_dir():
            yield lambda name: _first(self.source / name, most)
        else:
            with zipfile.ZipFile(self.source) as archive:
                yield partial(_member, archive, most=most)

    def find(self, name: str) -> str:
        r"""The full name of the one file that a path in a table means.

        A table's paths may begin above the folder, or below it: the one path has to be the end of
        the other. Of several files the one with the longest common end is taken. Parts may be
        separated by "/" or "\\".

        Raises
        ------
        GCDError
            If there is no such file, or several fit as well.
        """
        if name in self._present:
            return name
        wanted = _parts(name)
        if not wanted:
            raise GCDError("The table names no file.")
        fitting: dict[int, list[str]] = defaultdict(list)
        for full in self._by_file_name.get(wanted[-1], []):
            parts = _parts(full)
            shared = min(len(parts), len(wanted))
            if parts[-shared:] == wanted[-shared:]:
                fitting[shared].append(full)
        best = fitting[max(fitting)] if fitting else []
        if len(best) > 1:
            raise GCDError(
                f"It may be {best[0]} or {best[1]} in {self.source}; write the path in full."
            )
        if not best:
            raise GCDError(self._absent(wanted))
        return best[0]

    def _absent(self, wanted: tuple[str, ...]) -> str:
        """Say that a file is not there; and where there are others of its name."""
        told = f"It is in the table, but not in {self.source}"
        near = self._by_file_name.get(wanted[-1])
        return f"{told}; {near[0]} has its name, but another path." if near else f"{told}."


def _first(path: Path, most: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(most)
    except OSError as error:
        raise GCDError(f"{path} cannot be read: {error.strerror}.") from error


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    try:
        with archive.open(name) as member:
            return member.read(most)
    except DAMAGE as error:
        raise GCDError(" ".join(str(error).split()) or "It is damaged.") from error


def _is_picture(head_of: Callable[[str], bytes], name: str) -> bool:
    try:
        return looks_like_picture(head_of(name))
    except GCDError:  # what cannot be opened cannot be told from a text
        return False


def _parts(name: str) -> tuple[str, ...]:
    r"""The parts of a path with "/" or "\\", without "." and in one form of Unicode."""
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    return tuple(part for part in plain.split("/") if part not in ("", "."))


def _is_hidden(name: str) -> bool:
    """Whether a file, or a folder on the way to it, is hidden, or Finder's own in a zip."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
