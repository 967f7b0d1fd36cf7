"""Images of a data set: a folder or a zip, and a table of labels, patients and splits."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.archive import Archive
from gcd_core.images.limits import ImageWarning
from gcd_core.images.notes import noting
from gcd_core.images.reading import load_image
from gcd_core.images.table import read_csv

T = TypeVar("T")
FEW = 5  # files that are named where there are many


def load_split(
    data: str | Path,
    labels: str | Path | None,
    split: str,
    size: int,
    channels: int,
    fit: str = "stretch",
) -> tuple[Tensor, dict[str, list[str]]]:
    """Read one split of a data set into memory, each image as `load_image` reads it.

    Parameters
    ----------
    data : str or Path
        A zip file or a folder of images.
    labels : str or Path, optional
        A CSV file with the columns `file` and `split` at least (and `patient`, whose splits must
        not overlap). Default: `labels.csv` beside the zip or in the folder; without one, every
        image belongs to every split.
    split : str
        Rows to read: those whose `split` column says so.
    size, channels : int
        Images are resized to (size, size), with 1 (grey) or 3 (RGB) channels.
    fit : {"stretch", "pad", "crop"}
        How those that are no squares become so, as of `load_image`.

    Returns
    -------
    images : Tensor (N, channels, size, size), uint8
        Rounded from [0, 1] to 0 to 255.
    table : dict
        The CSV's columns for these N rows, as lists of strings.

    Raises
    ------
    GCDError
        If the data are missing, an image cannot be read (the message names it), the table lacks a
        column or an image, or a patient is in two splits.
    """
    data = Path(data)
    if not data.exists():
        raise GCDError(f"{data} does not exist; give a zip file or a folder of images.")
    archive = Archive(data)
    rows = read_table(archive, Path(labels) if labels else None)
    chosen = [row for row in rows if row.get("split", split) == split]
    if not chosen:
        splits = sorted({row.get("split", "") for row in rows})
        raise GCDError(f"{data} has no image in the split {split!r}; its splits are {splits}.")
    images = torch.empty(len(chosen), channels, size, size, dtype=torch.uint8)
    with archive.opened() as content_of, _told_of_many() as notes:
        for index, row in enumerate(chosen):
            try:
                with noting() as told:
                    image = load_image(content_of(row["file"]), size, channels, fit)
            except GCDError as error:
                raise GCDError(f"{row['file']} in {data} cannot be used: {error}") from error
            notes[row["file"]] = told
            images[index] = (image[0] * 255).round().to(torch.uint8)
    return images, {name: [row.get(name, "") for row in chosen] for name in chosen[0]}


def read_table(archive: Archive, labels: Path | None) -> list[dict[str, str]]:
    """Rows of the labels file of a folder or zip; without one, each image's `file` alone.

    Raises
    ------
    GCDError
        As of `read_csv`; and if the file is missing, two of its paths lead to one image, or a
        patient is in two splits.
    """
    source = archive.source
    beside = (source if source.is_dir() else source.parent) / "labels.csv"
    labels = labels or (beside if beside.is_file() else None)
    if labels is None:
        tell_others(archive)
        return [{"file": name} for name in archive.names]
    if not labels.is_file():
        raise GCDError(f"The labels file {labels} does not exist.")
    rows = read_csv(labels)
    _check_files(archive, rows, labels)
    split_of: dict[str, str] = {}
    for row in rows:
        patient = row.get("patient")
        if patient and split_of.setdefault(patient, row["split"]) != row["split"]:
            raise GCDError(f"{labels}: patient {patient} is in two splits; split by patient.")
    return rows


def _check_files(archive: Archive, rows: list[dict[str, str]], labels: Path) -> None:
    """Refuse a table of which two paths lead to the same image: it is of other images."""
    meant: dict[str, str] = {}
    for row in rows:
        try:
            full = archive.find(row["file"])
        except GCDError:  # told when the image is read, if it is
            continue
        if meant.setdefault(full, row["file"]) != row["file"]:
            raise GCDError(
                f"{labels}: {meant[full]} and {row['file']} both lead to {full} in "
                f"{archive.source}; give the folder that the table's paths begin in."
            )


def tell_others(archive: Archive) -> None:
    """Warn of the files that are no pictures and so are left out, but for a table of labels."""
    others = [name for name in archive.others if name != "labels.csv"]
    if others:
        warnings.warn(
            f"{archive.source}: {_count(others, 'file')} no picture and left out: "
            f"{_named(others)}.",
            ImageWarning,
            stacklevel=3,
        )


@contextmanager
def _told_of_many() -> Iterator[dict[str, list[str]]]:
    """Warn at the end of what was noted of images, in one sentence for each note."""
    notes: dict[str, list[str]] = {}
    yield notes
    names_of = defaultdict(list)
    for name, told in notes.items():
        for text in told:
            names_of[text].append(name)
    for text, names in names_of.items():
        warnings.warn(
            f"{len(names)} of {len(notes)} images ({_named(names)}): {text}",
            ImageWarning,
            stacklevel=4,
        )


def _count(names: Sequence[str], noun: str) -> str:
    return f"1 {noun} is" if len(names) == 1 else f"{len(names)} {noun}s are"


def _named(names: Sequence[str]) -> str:
    """The first few names, and how many there are besides."""
    shown, more = ", ".join(names[:FEW]), len(names) - FEW
    return f"{shown} and {more} more" if more > 0 else shown


class ImageFiles:
    """The images of a measurement, read one at a time; unreadable ones are noted and skipped.

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
    names : sequence of str, optional
        Chosen before; by default all there are.

    Attributes
    ----------
    names : list of str
        Sorted.
    split : str or None
        As given.
    labels : dict of str to str
        The table's column `label` of each image; empty without a table or such a column.
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
        names: Sequence[str] | None = None,
    ) -> None:
        self.source, self.split = source, split
        self.labels: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self._archive = Archive(source)
        self.names = self._archive.names if names is None else list(names)
        if labels or split:
            self.names = self._in_table(labels, split)
        elif names is None:
            tell_others(self._archive)
        if not self.names and names is None:
            where = f" in the split {split!r}" if split else ""
            raise GCDError(
                f"{source} has no image{where}; give one of PNG, JPEG, TIFF, WEBP, BMP, GIF or "
                "DICOM files."
            )
        if limit is not None and limit < len(self.names):
            count = len(self.names)
            self.names = [self.names[index * count // limit] for index in range(limit)]

    def load(self, load_image: Callable[[Path | bytes], T]) -> Iterator[tuple[str, T]]:
        """Yield each name with its image (1, C, H, W), putting the unreadable into `skipped`.

        Raises
        ------
        GCDError
            At the end, if not one could be read.
        """
        read = 0
        for name, image in self._each(self.names, load_image, self.skipped):
            read += 1
            yield name, image
        if not read:
            name, reason = next(iter(self.skipped.items()))
            raise GCDError(f"No image of {self.source} could be read; {name}: {reason}")

    def read(
        self, names: Sequence[str], load_image: Callable[[Path | bytes], T]
    ) -> tuple[list[str], list[T], dict[str, str]]:
        """Read some of the images: their names, themselves (1, C, H, W), and what could not be."""
        skipped: dict[str, str] = {}
        found = [*self._each(names, load_image, skipped)]
        return [name for name, _ in found], [image for _, image in found], skipped

    def _each(
        self,
        names: Sequence[str],
        load_image: Callable[[Path | bytes], T],
        skipped: dict[str, str],
    ) -> Iterator[tuple[str, T]]:
        with self._archive.opened() as content_of, _told_of_many() as notes:
            for name in names:
                try:
                    with noting() as notes[name]:
                        image = load_image(content_of(name))
                except GCDError as error:
                    skipped[name] = " ".join(str(error).split())
                    continue
                yield name, image

    def about(self) -> dict[str, Any]:
        """What they are, without a path: `source` by name, `split`, `n`, and counts by `labels`."""
        counts = Counter(self.labels[name] for name in self.names if name in self.labels)
        return {
            "source": self.source.resolve().name,
            "split": self.split,
            "n": len(self.names),
            "labels": dict(sorted(counts.items())),
        }

    def _in_table(self, labels: Path | None, split: str | None) -> list[str]:
        rows = read_table(self._archive, labels)
        if split and not all("split" in row for row in rows):
            raise GCDError(f"The split {split!r} needs --labels: a CSV with 'file' and 'split'.")
        chosen = [row for row in rows if split is None or row["split"] == split]
        self.labels = {row["file"]: row["label"] for row in chosen if row.get("label")}
        return sorted(row["file"] for row in chosen)
