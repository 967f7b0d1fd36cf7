"""Reading a data set: zip or folder, splits by patient, errors that say what to do."""

import zipfile
from pathlib import Path

import pytest

from gcd_core.errors import GCDError
from gcd_core.images.dataset import load_split
from tests.training.radiographs import write_data_set


def test_a_zip_and_the_folder_it_unpacks_to_read_the_same(tmp_path: Path) -> None:
    data = write_data_set(tmp_path, {"train": 6, "test": 2})
    images, table = load_split(data, None, "train", 16, 1)
    assert images.shape == (6, 1, 16, 16)
    assert table["label"] == ["normal", "bacterial"] * 3
    assert images[1::2].float().mean() > images[::2].float().mean()
    folder = tmp_path / "unpacked"
    with zipfile.ZipFile(data) as archive:
        for name in archive.namelist():
            (folder / Path(name).name).parent.mkdir(exist_ok=True)
            (folder / Path(name).name).write_bytes(archive.read(name))
    again, _ = load_split(folder, tmp_path / "labels.csv", "train", 16, 1)
    assert again.equal(images)


def test_colour_is_asked_for_by_channels(tmp_path: Path) -> None:
    data = write_data_set(tmp_path, {"train": 2})
    assert load_split(data, None, "train", 16, 3)[0].shape == (2, 3, 16, 16)


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    data = write_data_set(tmp_path, {"train": 2, "test": 2})
    labels = tmp_path / "labels.csv"
    labels.write_text(labels.read_text().replace("test-0,test", "train-0,test"))
    with pytest.raises(GCDError, match="train-0 is in two splits"):
        load_split(data, None, "train", 16, 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "images.zip").unlink(), "does not exist"),
        (lambda folder: (folder / "images.zip").write_bytes(b"no zip"), "neither a folder nor"),
        (lambda folder: (folder / "labels.csv").write_text("file\na.png\n"), "'split'"),
        (
            lambda folder: (folder / "labels.csv").write_text("file,split\nmissing.png,train\n"),
            "missing.png",
        ),
        (
            lambda folder: (folder / "labels.csv").write_text("file,split\na.png,val\n"),
            r"no image in the split 'train'.*\['val'\]",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, spoil, message: str) -> None:
    data = write_data_set(tmp_path, {"train": 2})
    spoil(tmp_path)
    with pytest.raises(GCDError, match=message):
        load_split(data, None, "train", 16, 1)
