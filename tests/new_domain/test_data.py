import csv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.errors import GCDError
from gcd_core.images.dataset import load_split
from gcd_core.new_domain import data as module
from gcd_core.new_domain.data import (
    is_coloured,
    masks_among,
    prepare,
    read_data,
    rows_of_folders,
    with_splits,
)
from tests.new_domain.squares import write_squares


def rows(count: int, split: str = "", persons: int = 0) -> list[dict[str, str]]:
    return [
        {"file": f"{i}.png", "label": "a", "split": split}
        | ({"patient": f"P{i % persons}"} if persons else {})
        for i in range(count)
    ]


def write_folders(folder: Path, classes: dict[str, int]) -> Path:
    for name, count in classes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.new("L", (8 + index % 3, 8), index % 250).save(folder / name / f"{index}.png")
    return folder


def test_classes_are_folders_and_splits_are_made_by_file(tmp_path) -> None:
    data = read_data(write_squares(tmp_path / "data.zip"))
    assert data.counts == {"plain": 160, "square": 160}
    assert data.licence == "LICENSE.txt"
    assert set(data.unusable) == {"notes.txt", "square/broken.png"}
    assert "by file (nobody says" in data.split_by
    again = read_data(write_squares(tmp_path / "again.zip"))
    assert [row["split"] for row in again.rows] == [row["split"] for row in data.rows]
    assert again.fingerprint() == data.fingerprint()


def test_a_persons_pictures_are_in_one_split(tmp_path) -> None:
    data = read_data(write_squares(tmp_path / "data.zip", persons=True))
    splits = {}
    for row in data.rows:
        splits.setdefault(row["patient"], set()).add(row["split"])
    assert all(len(own) == 1 for own in splits.values()) and len(splits) == 80
    assert "by person" in data.split_by


def test_the_tables_splits_are_kept(tmp_path) -> None:
    data = read_data(write_squares(tmp_path / "data.zip", splits=True))
    assert data.split_by == "splits those of the table: train 160, val 80, test 80"


def test_folders_of_splits_are_splits(tmp_path) -> None:
    folder = write_folders(
        tmp_path / "data",
        {f"{s}/{c}": n for s, n in (("train", 100), ("valid", 40), ("test", 40)) for c in "ab"},
    )
    data = read_data(folder)
    assert data.classes == ("a", "b")
    assert {row["split"] for row in data.rows} == {"train", "val", "test"}
    assert len(data.of_split("val")) == 80
    assert data.split_by == "splits those of the folders: train 200, val 80, test 80"


@pytest.mark.parametrize(
    ("folders", "split", "label"),
    [
        ("auto_test/3", "test", "3"),
        ("seg_train/seg_train/sea", "train", "sea"),
        ("brain/Training/glioma", "train", "glioma"),
        ("Test Images/b", "test", "b"),
        ("validation_set/a", "val", "a"),
        ("positive_test", "", "positive_test"),
        ("train_test/a", "", "a"),
        ("all/images", "", "all"),
        ("images", "", "images"),
        ("COVID/images", "", "COVID"),
        ("data/train/Lung_Opacity/images", "train", "Lung_Opacity"),
    ],
)
def test_folders_that_are_called_a_split_and_those_that_are_not(folders, split, label) -> None:
    (row,) = rows_of_folders([f"{folders}/1.png"])
    assert (row["split"], row["label"]) == (split, label)


def test_masks_beside_the_pictures_are_none(tmp_path) -> None:
    counts = {f"{c}/{kind}": 160 for c in ("COVID", "Normal") for kind in ("images", "masks")}
    data = read_data(write_folders(tmp_path / "data", counts))
    assert data.classes == ("COVID", "Normal") and len(data.rows) == 320
    assert set(data.unusable.values()) == {"a mask, by its name"} and len(data.unusable) == 320
    names = ["a/1.png", "a/1_mask.png", "a/1_mask_2.jpg", "a/2_mask.png", "b (1).png"]
    names += ["b (1)_MASK.png", "masked/3.png", "unmask.png", "Masks/4.png"]
    assert masks_among(names) == {"a/1_mask.png", "a/1_mask_2.jpg", "b (1)_MASK.png", "Masks/4.png"}


def test_a_folder_of_few_pictures_is_no_split(tmp_path) -> None:
    """As in the well-known zip of radiographs of children, whose `val` has 16."""
    counts = {f"{s}/{c}": n for s, n in (("train", 150), ("val", 8), ("test", 40)) for c in "ab"}
    data = read_data(write_folders(tmp_path / "data", counts))
    assert len(data.of_split("test")) == 80 and len(data.of_split("val")) == 40
    assert data.split_by == (
        "splits val made here by file (nobody says which pictures are of one person), test that "
        "of the folders: train 276, val 40, test 80"
    )
    assert {row["split"] for row in data.rows if row["file"].startswith("val/")} & {"train"}


def test_a_share_of_the_pictures_is_held_out() -> None:
    made, _ = with_splits(rows(2000))
    counts = {split: sum(row["split"] == split for row in made) for split in module.SPLITS}
    assert counts == {"train": 1600, "val": 200, "test": 200}  # a tenth each
    made, _ = with_splits(rows(301))
    assert sum(row["split"] == "val" for row in made) == 30  # and 30 at least


def test_a_missing_split_is_taken_from_train() -> None:
    given = [dict(row, split="test" if i < 100 else "train") for i, row in enumerate(rows(500))]
    made, told = with_splits(given)
    assert [row["split"] for row in made[:100]] == ["test"] * 100
    assert sum(row["split"] == "val" for row in made) == 50
    assert "splits val made here by" in told and ", test that of the table: " in told


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (rows(320, "holdout"), "'split' says 'holdout'"),
        (
            [dict(r, split=module.SPLITS[i % 3]) for i, r in enumerate(rows(320, persons=7))],
            "P0 is in two splits of the table; split by person",
        ),
        (
            [dict(r, split="test" if i < 5 else "train") for i, r in enumerate(rows(320))],
            "too small",
        ),
    ],
)
def test_splits_that_do_not_fit_are_refused(given, why) -> None:
    with pytest.raises(GCDError, match=why):
        with_splits(given)


def test_too_few_pictures_are_refused(tmp_path) -> None:
    folder = write_folders(tmp_path / "data", {"a": 200, "b": 99})
    with pytest.raises(GCDError, match=r"has 299 pictures; .*fewer than 300"):
        read_data(folder)
    Image.new("L", (8, 8)).save(folder / "a" / "one more.png")
    assert len(read_data(folder).rows) == 300


@pytest.mark.parametrize("name", ["nothing.zip", "text.zip"])
def test_what_is_no_data_is_refused(tmp_path, name) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(GCDError, match=r"folder or a zip|neither a folder nor a zip"):
        read_data(tmp_path / name)


def test_the_one_zip_of_a_folder_is_read(tmp_path) -> None:
    folder = tmp_path / "download"
    folder.mkdir()
    packed = write_squares(folder / "images.zip", splits=True)
    assert read_data(folder) == read_data(packed)
    (folder / "other.zip").write_bytes(packed.read_bytes())
    with pytest.raises(GCDError, match="has 0 pictures"):
        read_data(folder)


def test_a_table_that_names_absent_or_double_files_is_refused(tmp_path) -> None:
    folder = write_folders(tmp_path / "data", {"a": 300})
    for names, why in (
        (["a/0.png", "a/999.png"], r"a/999\.png: .*not in"),
        (["a/0.png", "0.png"], ""),
    ):
        with open(folder / "labels.csv", "w", newline="") as file:
            csv.writer(file).writerows([["file", "label"], *([name, "x"] for name in names)])
        if why:
            with pytest.raises(GCDError, match=why):
                read_data(folder)
        else:
            with pytest.raises(GCDError, match="twice"):
                read_data(folder)


def test_unlike_sizes_shapes_and_a_missing_licence_are_told(tmp_path) -> None:
    folder = write_folders(tmp_path / "data", {"a": 300})
    for index in range(60):
        Image.new("L", (90, 8)).save(folder / "a" / f"{index}.png")
    told = " ".join(read_data(folder).warnings())
    assert "longest sides go from 8 to 90 pixels" in told
    assert "shapes differ (width / height 1.00 to 11.25)" in told
    assert "no licence file" in told


def test_one_class_is_no_class(tmp_path) -> None:
    data = read_data(write_folders(tmp_path / "data", {"a": 300}))
    assert data.classes == () and data.counts == {}


def test_colours_are_seen() -> None:
    grey = torch.rand(10, 1, 8, 8).expand(-1, 3, -1, -1)
    colour = torch.rand(10, 3, 8, 8)
    assert not is_coloured(grey) and is_coloured(colour)
    assert is_coloured(torch.cat([grey[:8], colour[:2]]))  # a fifth
    assert not is_coloured(torch.cat([grey[:9], colour[:1]]))


def test_prepared_pictures_are_what_the_source_is(tmp_path) -> None:
    data = read_data(write_squares(tmp_path / "data.zip"))
    count, unusable = prepare(data, tmp_path, 16, 1, "stretch")
    assert (count, unusable) == (320, {})
    (tmp_path / "original").mkdir()
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        archive.extractall(tmp_path / "original")
    for split in module.SPLITS:
        own, table = load_split(tmp_path / "images.zip", tmp_path / "labels.csv", split, 16, 1)
        other, original = load_split(tmp_path / "original", tmp_path / "original.csv", split, 16, 1)
        assert torch.equal(own, other) and table["label"] == original["label"]


def test_mirrored_copies_are_of_train_alone(tmp_path) -> None:
    data = read_data(write_squares(tmp_path / "data.zip"))
    prepare(data, tmp_path, 16, 1, "stretch", mirror=True)
    images, table = load_split(tmp_path / "images.zip", tmp_path / "labels.csv", "train", 16, 1)
    half = len(images) // 2
    assert half == len(data.of_split("train"))
    assert np.array_equal(images[half:].numpy(), images[:half].numpy()[..., ::-1])
    assert table["label"][half:] == table["label"][:half]
    val, _ = load_split(tmp_path / "images.zip", tmp_path / "labels.csv", "val", 16, 1)
    assert len(val) == len(data.of_split("val"))


def test_so_many_are_learned_from_as_the_minutes_allow(tmp_path) -> None:
    data = read_data(write_squares(tmp_path / "data.zip", splits=True))  # 160, 80, 80
    count, _ = prepare(data, tmp_path, 16, 1, "stretch", most=(150, 78))
    assert count == 306
    for split, learned, known in (("train", 150, 150), ("val", 78, 80), ("test", 78, 80)):
        tables = [module.read_table(tmp_path / name) for name in ("labels.csv", "original.csv")]
        assert [sum(r["split"] == split for r in t) for t in tables] == [learned, known]


def test_a_picture_that_fails_only_when_decoded_is_left_out(tmp_path) -> None:
    path = write_squares(tmp_path / "data.zip")
    with zipfile.ZipFile(path) as archive:
        whole = archive.read("plain/0000.png")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("plain/cut.png", whole[: len(whole) // 2])
    data = read_data(path)
    _, unusable = prepare(data, tmp_path, 16, 1, "stretch")
    assert set(data.unusable) | set(unusable) >= {"plain/cut.png"}
    assert "plain/cut.png" in (tmp_path / "unusable.txt").read_text()
