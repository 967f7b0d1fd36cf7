"""A folder or a zip of images: their names, and what each one is read from."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from gcd_core.errors import GCDError
from gcd_core.images.limits import MAX_BYTES

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".dcm"}
DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError)  # what a member may raise


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
        `SUFFIXES` and are not hidden.

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
        self._by_file_name = {PurePosixPath(name).name: name for name in visible}
        self.names = [n for n in visible if PurePosixPath(n).suffix.lower() in SUFFIXES]

    @contextmanager
    def opened(self) -> Iterator[Callable[[str], Path | bytes]]:
        """Give a function from an image's name to what `load_image` reads of it.

        The name is that in the folder or zip, or the file's name alone. What the function returns
        is a path, or the bytes of a zip's member, which are too many by one at most; it raises a
        GCDError for a file that is missing or damaged.
        """
        if self.source.is_dir():
            yield self._path
        else:
            with zipfile.ZipFile(self.source) as archive:
                yield partial(self._member, archive)

    def _path(self, name: str) -> Path:
        path = self.source / name
        return path if path.is_file() else self.source / self._full_name(name)

    def _member(self, archive: zipfile.ZipFile, name: str) -> bytes:
        try:
            with archive.open(self._full_name(name)) as member:
                return member.read(MAX_BYTES + 1)
        except DAMAGE as error:
            raise GCDError(" ".join(str(error).split()) or "It is damaged.") from error

    def _full_name(self, name: str) -> str:
        found = name if name in self._present else None
        found = found or self._by_file_name.get(PurePosixPath(name).name)
        if found is None:
            raise GCDError(f"It is in the table, but not in {self.source}.")
        return found


def _is_hidden(name: str) -> bool:
    """Whether a file, or a folder on the way to it, is hidden, or Finder's own in a zip."""
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)
