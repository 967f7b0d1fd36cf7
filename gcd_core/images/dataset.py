"""Images for training: a zip or a folder, with a table that gives labels, patients and splits."""

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.reading import resize

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def load_split(
    data: str | Path,
    labels: str | Path | None,
    split: str,
    size: int,
    channels: int,
) -> tuple[Tensor, dict[str, list[str]]]:
    """Read one split of a data set into memory.

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

    Returns
    -------
    images : Tensor (N, channels, size, size), uint8
    table : dict
        The CSV's columns for these N rows, as lists of strings.

    Raises
    ------
    GCDError
        If the data are missing, the table lacks a column or an image, or a patient is in two
        splits.
    """
    data = Path(data)
    if not data.exists():
        raise GCDError(f"{data} does not exist; give a zip file or a folder of images.")
    rows = read_table(data, Path(labels) if labels else None)
    chosen = [row for row in rows if row.get("split", split) == split]
    if not chosen:
        splits = sorted({row.get("split", "") for row in rows})
        raise GCDError(f"{data} has no image in the split {split!r}; its splits are {splits}.")
    images = torch.empty(len(chosen), channels, size, size, dtype=torch.uint8)
    for index, (row, picture) in enumerate(zip(chosen, _pictures(data, chosen), strict=True)):
        try:
            with Image.open(picture) as opened:
                pixels = opened.convert("L" if channels == 1 else "RGB")
        except OSError as error:
            raise GCDError(f"{row['file']} in {data} is not a readable image: {error}") from error
        array = np.asarray(resize(pixels, size)).reshape(size, size, channels)
        images[index] = torch.from_numpy(array.copy()).permute(2, 0, 1)
    return images, {name: [row.get(name, "") for row in chosen] for name in chosen[0]}


def read_table(data: Path, labels: Path | None) -> list[dict[str, str]]:
    """Rows of the labels file of a folder or zip; without one, each image's `file` alone.

    Raises
    ------
    GCDError
        If the file is missing, lacks the columns `file` and `split`, or a patient is in two splits.
    """
    beside = (data if data.is_dir() else data.parent) / "labels.csv"
    labels = labels or (beside if beside.is_file() else None)
    if labels is None:
        return [{"file": name} for name in _names(data)]
    if not labels.is_file():
        raise GCDError(f"The labels file {labels} does not exist.")
    with open(labels, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "split"} <= rows[0].keys():
        raise GCDError(f"{labels} needs a header with the columns 'file' and 'split'.")
    split_of: dict[str, str] = {}
    for row in rows:
        patient = row.get("patient")
        if patient and split_of.setdefault(patient, row["split"]) != row["split"]:
            raise GCDError(f"{labels}: patient {patient} is in two splits; split by patient.")
    return rows


def _names(data: Path) -> list[str]:
    if data.is_dir():
        found = (p for p in data.rglob("*") if p.suffix.lower() in SUFFIXES)
        return sorted(str(p.relative_to(data)) for p in found)
    with zipfile.ZipFile(data) as archive:
        return sorted(n for n in archive.namelist() if Path(n).suffix.lower() in SUFFIXES)


def _pictures(data: Path, rows: list[dict[str, str]]) -> Iterator[Path | io.BytesIO]:
    """Yield what each row's image is read from; in a zip, by full name or by file name alone."""
    if data.is_dir():
        for row in rows:
            yield data / row["file"]
        return
    try:
        archive = zipfile.ZipFile(data)
    except zipfile.BadZipFile as error:
        raise GCDError(f"{data} is neither a folder nor a zip file.") from error
    with archive:
        members = {Path(name).name: name for name in archive.namelist()}
        members |= {name: name for name in archive.namelist()}
        for row in rows:
            if row["file"] not in members:
                raise GCDError(f"{row['file']} is in the labels file, but not in {data}.")
            yield io.BytesIO(archive.read(members[row["file"]]))
