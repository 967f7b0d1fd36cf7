"""The images of a measurement: a folder or a zip, a table of splits, and what could not be read."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.dataset import SUFFIXES as PICTURES
from gcd_core.images.dataset import read_table
from gcd_core.images.limits import MAX_BYTES

SUFFIXES = PICTURES | {".dcm"}
UNREADABLE = (GCDError, OSError, zipfile.BadZipFile, zlib.error, RuntimeError)


class ImageFiles:
    """Names of images in a folder or a zip, and their contents one at a time.

    Parameters
    ----------
    source : Path
        A folder (searched through) or a zip.
    labels : Path, optional
        CSV with the columns `file` and `split`; only its images count. Needed for `split` unless
        `labels.csv` lies in the folder or beside the zip.
    split : str, optional
        Only the rows of this split.
    limit : int, optional
        At most so many images, evenly spread over the sorted names.

    Attributes
    ----------
    names : list of str
        Sorted.
    skipped : dict of str to str
        What `load` could not read, and why.

    Raises
    ------
    GCDError
        If the source is neither, has no image, or the table lacks the split.
    """

    def __init__(
        self,
        source: Path,
        labels: Path | None = None,
        split: str | None = None,
        limit: int | None = None,
    ) -> None:
        self.source = source
        self.skipped: dict[str, str] = {}
        if source.is_dir():
            present = {str(p.relative_to(source)): p for p in source.rglob("*") if p.is_file()}
        elif zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                present = {name: name for name in archive.namelist()}
        else:
            raise GCDError(f"{source} is neither a folder nor a zip file; give one of images.")
        self._members = {name: at for name, at in sorted(present.items()) if _is_image(name)}
        self._by_file_name = {Path(name).name: at for name, at in self._members.items()}
        self.names = list(self._members)
        if labels or split:
            self.names = self._in_table(labels, split)
        if not self.names:
            where = f" in the split {split!r}" if split else ""
            raise GCDError(f"{source} has no image{where}; its images end in {sorted(SUFFIXES)}.")
        if limit is not None and limit < len(self.names):
            count = len(self.names)
            self.names = [self.names[index * count // limit] for index in range(limit)]

    def load(self, load_image: Callable[[Path | bytes], Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Yield each name with its image (1, C, H, W), putting the unreadable into `skipped`.

        Raises
        ------
        GCDError
            At the end, if not one could be read.
        """
        read = 0
        for name in self.names:
            try:
                image = load_image(self._content(name))
            except UNREADABLE as error:
                self.skipped[name] = " ".join(str(error).split())
                continue
            read += 1
            yield name, image
        if not read:
            name, reason = next(iter(self.skipped.items()))
            raise GCDError(f"No image of {self.source} could be read; {name}: {reason}")

    def _in_table(self, labels: Path | None, split: str | None) -> list[str]:
        rows = read_table(self.source, labels)
        if split and not all("split" in row for row in rows):
            raise GCDError(f"The split {split!r} needs --labels: a CSV with 'file' and 'split'.")
        return sorted(row["file"] for row in rows if split is None or row["split"] == split)

    def _content(self, name: str) -> Path | bytes:
        """What `load_image` reads: a path, or a zip member's bytes, one too many at most."""
        member = self._members.get(name) or self._by_file_name.get(Path(name).name)
        if member is None:
            raise GCDError(f"It is in the table, but not in {self.source}.")
        if isinstance(member, Path):
            return member
        with zipfile.ZipFile(self.source) as archive, archive.open(member) as file:
            return file.read(MAX_BYTES + 1)


def _is_image(name: str) -> bool:
    path = Path(name)
    hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden
