"""Reads a data set as people have it: classes, persons, splits, and what is no picture."""

from __future__ import annotations

import csv
import hashlib
import random
import re
import statistics
import tempfile
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.images.archive import Archive
from gcd_core.images.drawing import to_pil
from gcd_core.images.notes import noting
from gcd_core.images.reading import load_image, picture_size
from gcd_core.images.table import read_csv
from gcd_core.wording import enumerated

FEWEST = 300  # pictures that a generator learns anything from
FEWEST_HELD_OUT = 30  # of each of val and test
HELD_OUT = 0.1  # share of the pictures in each of val and test
SPLITS = ("train", "val", "test")
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# Words of a folder's name that say no class: "images", and beside a split's as in "auto_test".
NO_CLASS = frozenset(
    ["auto", "cropped", "data", "dataset", "folder", "image", "images", "img", "imgs", "raw"]
) | {"seg", "set", "split"}
MASKS = frozenset(("mask", "masks"))  # folders of what is no picture of the data set
MASK_OF = re.compile(r"(.+)[ _-]mask([ _-]?\d+)?$", re.IGNORECASE)  # the stem of a picture's mask
PERSONS = ("patient", "person", "subject")  # columns, with or without "_id"
TABLE = "labels.csv"
TABLES, FOLDERS = "table", "folders"  # what says which split a picture is of
REMEDIES = {  # of splits that are too small
    TABLES: "Leave the column 'split' out, and they are made here.",
    FOLDERS: "Put more pictures into the small one, or all into folders of their classes alone.",
}
LICENCES = ("license", "licence", "copying", "readme", "dataset_card")
FORBIDDEN = str.maketrans(dict.fromkeys(",:=+", "-"))  # what separates in the language of tasks
LOOKED_AT = 64  # pictures that are opened before the plan
COLOURED = 0.02  # mean distance of the channels from which on a picture is of colours
UNLIKE_SIZES = 4  # times that the large pictures are wider than the small ones


@dataclass(frozen=True)
class DataSet:
    """The pictures of a folder or zip.

    Attributes
    ----------
    source : Path
    rows : tuple of dict
        `file`, `label` ("" without classes), `split`, and `patient` where persons are known.
    unusable : dict of str to str
        Files that are no pictures, and why.
    split_by : str
        A sentence about where the splits come from.
    sides : tuple of (int, int)
        Width and height of each picture, in the rows' order.
    licence : str or None
        The file that may say what may be done with the data.
    """

    source: Path
    rows: tuple[dict[str, str], ...]
    unusable: dict[str, str]
    split_by: str
    sides: tuple[tuple[int, int], ...]
    licence: str | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The values of the labels, sorted; several of one picture stand between bars."""
        return tuple(sorted({part for row in self.rows for part in findings(row["label"])}))

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures each class has."""
        counts = Counter(part for row in self.rows for part in findings(row["label"]))
        return dict(sorted(counts.items()))

    def of_split(self, split: str) -> list[dict[str, str]]:
        """The rows of a split."""
        return [row for row in self.rows if row["split"] == split]

    def fingerprint(self) -> str:
        """A hash of the names, labels and splits, by which a changed data set is noticed."""
        told = "\n".join("\t".join(row.values()) for row in self.rows)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def look(self, size: int, most: int = LOOKED_AT) -> Tensor:
        """A few pictures (N, 3, size, size), float32, in [0, 1], drawn from the data set."""
        names = [row["file"] for row in self.draw(most)]
        return torch.cat([image for _, image in _read(self.source, names, size, 3, "stretch", {})])

    def draw(self, most: int) -> list[dict[str, str]]:
        """At most so many rows, always the same; classes may stand in any order."""
        rows = list(self.rows)
        return random.Random(0).sample(rows, min(most, len(rows)))

    def warnings(self) -> list[str]:
        """Sentences about what is unusual and can still be used."""
        told = []
        if self.unusable:
            named = ", ".join(list(self.unusable)[:5])
            more = len(self.unusable) - 5
            told.append(
                f"{len(self.unusable)} files are no pictures and left out: {named}"
                + (f" and {more} more (listed in unusable.txt)." if more > 0 else ".")
            )
        longest = sorted(max(pair) for pair in self.sides)
        small, large = longest[len(longest) // 20], longest[-1 - len(longest) // 20]
        if large > UNLIKE_SIZES * small:
            told.append(
                f"The pictures' longest sides go from {small} to {large} pixels: look whether they "
                "show the same kind of thing."
            )
        shapes = statistics.quantiles([w / h for w, h in self.sides], n=20)
        if shapes[-1] > 1.3 * shapes[0]:
            told.append(
                f"The pictures' shapes differ (width / height {shapes[0]:.2f} to {shapes[-1]:.2f}):"
                " --fit crop or pad may suit them better than stretch."
            )
        if self.licence is None:
            told.append(
                "There is no licence file beside the pictures: know what may be done with them "
                "before you share what was learned from them (card: --credit)."
            )
        return told


def findings(label: str) -> list[str]:
    """The classes that a label names, which are separated by bars."""
    return [part.strip() for part in label.split("|") if part.strip()]


def read_data(source: Path, labels: Path | None = None) -> DataSet:
    """Read what there is, without decoding the pictures.

    Parameters
    ----------
    source : Path
        A folder or zip. Without a table, the folder that a picture lies in is its class. Of a
        folder with one zip and no pictures, the zip is read.
    labels : Path, optional
        A CSV with a column `file`, and if possible `label`, `split` and `patient` (or `person`,
        `subject`). Default: `labels.csv` beside the zip, in the folder or in the zip.

    Raises
    ------
    GCDError
        If there are fewer than 300 pictures, or the table does not fit.
    """
    if not source.exists():
        raise GCDError(f"{source} does not exist; give a folder or a zip file of pictures.")
    archive = _with_pictures(Archive(source))
    source = archive.source
    table, where = _table_of(archive, labels)
    unusable = {name: "no picture" for name in archive.others if not _is_known(name)}
    if table:
        named = _rows_of_table(archive, table, where)
    else:
        masks = masks_among(archive.names)
        unusable |= dict.fromkeys(masks, "a mask, by its name")
        named = rows_of_folders([name for name in archive.names if name not in masks])
    rows, sides = [], []
    with archive.opened() as content_of:
        for row in named:
            try:
                with noting():
                    size = picture_size(content_of(row["file"]))
            except GCDError as error:
                unusable[row["file"]] = " ".join(str(error).split())
                continue
            rows.append(row)
            sides.append(size)
    if len(rows) < FEWEST:
        raise GCDError(
            f"{source} has {len(rows)} pictures; a generator learns little from fewer than "
            f"{FEWEST}. Give more of them."
        )
    if len({row["label"] for row in rows} - {""}) < 2:
        rows = [{**row, "label": ""} for row in rows]
    split, told = with_splits(rows, TABLES if table else FOLDERS)
    return DataSet(source, tuple(split), unusable, told, tuple(sides), _licence(archive))


def with_splits(
    rows: Sequence[dict[str, str]], given_by: str = TABLES
) -> tuple[list[dict[str, str]], str]:
    """Return the rows with a split each, and a sentence about where it is from.

    Splits that are there are kept. One that is missing takes a tenth of the pictures (30 at
    least), of persons where these are known: those whose hash comes first. Where folders are the
    splits, `val` or `test` of fewer than 30 pictures counts as missing, and its pictures as of
    `train`.

    Raises a GCDError if a person is in two splits, or a table's split is too small.

    Parameters
    ----------
    rows : sequence of dict
        `file`, `split` ("" where nobody says) and maybe `patient`.
    given_by : str
        What says the splits: `TABLES` or `FOLDERS`.
    """
    person = any(row.get("patient") for row in rows)
    present = Counter(row["split"] for row in rows)
    unknown = sorted(set(present) - {*SPLITS, ""})
    if unknown:
        raise GCDError(
            f"The column 'split' says {unknown[0]!r}; it may say train, val or test, or be empty."
        )
    small = [s for s in SPLITS[1:] if 0 < present[s] < FEWEST_HELD_OUT and given_by == FOLDERS]
    if small:
        rows = [row | {"split": "train" if row["split"] in small else row["split"]} for row in rows]
        present = Counter(row["split"] for row in rows)
    missing = [split for split in ("test", "val") if not present[split]]
    made = _with_missing(rows, missing)
    split_of: dict[str, str] = {}
    for row in made:
        name = row.get("patient")
        if name and split_of.setdefault(name, row["split"]) != row["split"]:
            raise GCDError(f"{name} is in two splits of the table; split by person.")
    counted = Counter(row["split"] for row in made)
    if min(counted[split] for split in SPLITS) < FEWEST_HELD_OUT:
        told = ", ".join(f"{split} {counted[split]}" for split in SPLITS)
        raise GCDError(
            f"The splits are too small ({told}; {FEWEST_HELD_OUT} of each at least). "
            f"{REMEDIES[given_by]}"
        )
    by = "person" if person else "file (nobody says which pictures are of one person)"
    how = f"{enumerated(missing)} made here by {by}" if missing else f"those of the {given_by}"
    kept = [split for split in SPLITS[1:] if split not in missing]
    if missing and kept:
        how += f", {kept[0]} that of the {given_by}"
    return made, f"splits {how}: " + ", ".join(f"{s} {counted[s]}" for s in SPLITS)


def _with_missing(rows: Sequence[dict[str, str]], missing: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows with those splits taken from what is of no split, or else of train."""
    free = "" if any(not row["split"] for row in rows) else "train"
    groups: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        if row["split"] in (free, ""):
            groups[row.get("patient") or row["file"]].append(index)
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode()).digest())
    wanted = max(round(HELD_OUT * len(rows)), FEWEST_HELD_OUT)
    made = [dict(row, split=row["split"] or "train") for row in rows]
    for split in missing:
        count = 0
        while order and count < wanted:
            members = groups[order.pop(0)]
            for index in members:
                made[index]["split"] = split
            count += len(members)
    return made


def is_coloured(pictures: Tensor) -> bool:
    """Whether a fifth or more of pictures (N, 3, H, W) in [0, 1] are of colours."""
    spread = (pictures.amax(1) - pictures.amin(1)).mean((1, 2))
    return bool((spread > COLOURED).float().mean() >= 0.2)


def prepare(
    data: DataSet,
    folder: Path,
    size: int,
    channels: int,
    fit: str,
    mirror: bool = False,
    most: tuple[int, int] | None = None,
) -> tuple[int, dict[str, str]]:
    """Decode every picture once, at the generator's size, into `images.zip`; write the tables.

    `labels.csv` is of `images.zip`, `original.csv` of the source. The zip is written first, so
    that its tables are only there once it is whole. With `mirror`, it has each picture of `train`
    a second time, left and right exchanged. With `most`, it has at most so many pictures of train
    and of each other split; `original.csv` has all of those others.

    Returns
    -------
    count : int
        Pictures that could be read.
    unusable : dict of str to str
        Others by name, and why.
    """
    rows_of = {row["file"]: row for row in chosen_rows(data, most)}
    left = [row for row in data.rows if row["file"] not in rows_of and row["split"] != "train"]
    kept: list[tuple[str, dict[str, str]]] = []
    mirrored: list[tuple[str, dict[str, str]]] = []
    unusable: dict[str, str] = {}
    with atomic_write(folder / "images.zip") as place, zipfile.ZipFile(place, "w") as archive:
        for name, image in _read(data.source, list(rows_of), size, channels, fit, unusable):
            kept.append((f"{len(kept):06d}.png", rows_of[name]))
            archive.writestr(kept[-1][0], _png(image))
            if mirror and rows_of[name]["split"] == "train":
                mirrored.append((f"mirrored-{kept[-1][0]}", rows_of[name]))
                archive.writestr(mirrored[-1][0], _png(image.flip(3)))
    if len(kept) < FEWEST:
        raise GCDError(f"Only {len(kept)} of {len(rows_of)} pictures could be read.")
    if unusable or data.unusable:
        listed = {**data.unusable, **unusable}
        lines = "".join(f"{name}\t{why}\n" for name, why in listed.items())
        (folder / "unusable.txt").write_text(lines, encoding="utf-8")
    write_table(folder / "original.csv", [row for _, row in kept] + left)
    write_table(folder / TABLE, [{**row, "file": name} for name, row in kept + mirrored])
    return len(kept), unusable


def chosen_rows(data: DataSet, most: tuple[int, int] | None) -> list[dict[str, str]]:
    """The rows to learn from: at most `most[0]` of train, `most[1]` of each other split; drawn."""
    if most is None:
        return list(data.rows)
    chosen = []
    for split in SPLITS:
        own, limit = data.of_split(split), most[split != "train"]
        chosen += own if len(own) <= limit else random.Random(0).sample(own, limit)
    return chosen


def _png(image: Tensor) -> bytes:
    """An image (1, C, H, W) as a file."""
    png = BytesIO()
    to_pil(image[0]).save(png, format="PNG", compress_level=1)
    return png.getvalue()


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows as CSV, whole."""
    with atomic_write(path) as place, open(place, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows that `write_table` wrote."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _read(
    source: Path, names: Iterable[str], size: int, channels: int, fit: str, failed: dict[str, str]
) -> Iterator[tuple[str, Tensor]]:
    """Yield each name with its picture (1, C, size, size); note those that cannot be read."""
    with Archive(source).opened() as content_of:
        for name in names:
            try:
                with noting():
                    image = load_image(content_of(name), size, channels, fit)
            except GCDError as error:
                failed[name] = " ".join(str(error).split())
                continue
            yield name, image


def _with_pictures(archive: Archive) -> Archive:
    """The archive itself, or the one zip in a folder that has no pictures."""
    zips = [name for name in archive.others if name.lower().endswith(".zip")]
    if archive.names or not archive.source.is_dir() or len(zips) != 1:
        return archive
    return Archive(archive.source / zips[0])


def _table_of(archive: Archive, labels: Path | None) -> tuple[list[dict[str, str]], str]:
    """The rows of the table that belongs to the pictures, and its name; none without one."""
    source = archive.source
    beside = (source if source.is_dir() else source.parent) / TABLE
    if labels is None and beside.is_file():
        labels = beside
    if labels is not None:
        return read_csv(labels, ("file",)), str(labels)
    inside = [name for name in archive.others if PurePosixPath(name).name == TABLE]
    if source.is_dir() or len(inside) != 1:
        return [], ""
    with _extracted(source, inside[0]) as path:
        return read_csv(path, ("file",)), f"{inside[0]} in {source}"


@contextmanager
def _extracted(source: Path, name: str) -> Iterator[Path]:
    """A table of a zip as a file, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TABLE
        try:
            with zipfile.ZipFile(source) as opened:
                path.write_bytes(opened.read(name))
        except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError) as error:
            raise GCDError(f"{name} in {source} cannot be read: {error}") from error
        yield path


def _rows_of_table(
    archive: Archive, table: Sequence[dict[str, str]], where: str
) -> list[dict[str, str]]:
    """The rows with the names of our columns; files that are not there are an error."""
    column = next((c for p in PERSONS for c in (p, f"{p}_id") if c in table[0]), None)
    rows, seen = [], set()
    for row in table:
        try:
            full = archive.find(row["file"])
        except GCDError as error:
            raise GCDError(f"{where}: {row['file']}: {error}") from error
        if full in seen:
            raise GCDError(f"{where}: {full} is in it twice.")
        seen.add(full)
        split = row.get("split", "").strip().lower()
        made = {
            "file": full,
            "label": row.get("label", "").strip().translate(FORBIDDEN),
            "split": SPLIT_NAMES.get(split, split),
        }
        rows.append(made | ({"patient": row[column].strip()} if column else {}))
    return rows


def rows_of_folders(names: Sequence[str]) -> list[dict[str, str]]:
    """Return rows from the folders that the pictures lie in: a split's name, and the class.

    A split is a folder called so ("Training", "val"), also beside words that name no class
    ("auto_test", "seg_train", "test images"). The class is the innermost of the others, before
    one that says nothing ("normal/images").
    """
    rows = []
    for name in names:
        splits = {folder: _split_of_folder(folder) for folder in PurePosixPath(name).parts[:-1]}
        others = [folder for folder, split in splits.items() if not split]
        classes = [folder for folder in others if _words(folder) - NO_CLASS] or others
        label = classes[-1].translate(FORBIDDEN) if classes else ""
        rows.append(
            {"file": name, "label": label, "split": next(filter(None, splits.values()), "")}
        )
    return rows


def masks_among(names: Sequence[str]) -> set[str]:
    """Return the files in folders of masks, and those called as the mask of another file."""
    paths = {name: PurePosixPath(name) for name in names}
    pictures = {str(path.with_suffix("")) for path in paths.values()}
    masks = set()
    for name, path in paths.items():
        own = MASK_OF.fullmatch(path.stem)
        if MASKS & {part.lower() for part in path.parts[:-1]} or (
            own and str(path.with_name(own[1])) in pictures
        ):
            masks.add(name)
    return masks


def _split_of_folder(name: str) -> str:
    """The split that a folder's name says; "" where it says none, or another word too."""
    words = _words(name)
    named = {SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES}
    others = words - SPLIT_NAMES.keys() - NO_CLASS
    return named.pop() if len(named) == 1 and not others else ""


def _words(name: str) -> set[str]:
    """The words of a folder's name, in small letters."""
    return set(re.findall(r"[^\W_]+", name.lower()))


def _is_known(name: str) -> bool:
    """Whether a file that is no picture belongs to a data set all the same."""
    path = PurePosixPath(name)
    return path.name == TABLE or path.stem.lower().startswith(LICENCES)


def _licence(archive: Archive) -> str | None:
    """The name of the file that says what may be done with the data; None without one."""
    source = archive.source
    beside = [] if source.is_dir() else [p.name for p in source.parent.iterdir() if p.is_file()]
    for name in [*archive.others, *beside]:
        if PurePosixPath(name).stem.lower().startswith(LICENCES[:3]):
            return name
    return None
