"""Which file of a folder or a zip a path means, and which files are images."""

import io
import unicodedata
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcd_core.errors import GCDError
from gcd_core.images.archive import Archive
from gcd_core.images.dataset import ImageFiles, load_split
from gcd_core.images.limits import ImageWarning
from gcd_core.images.reading import load_image
from tests.scans import dicom


def picture(value: int = 0, file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), value).save(buffer, file_format)
    return buffer.getvalue()


@pytest.fixture(params=["folder", "zip"])
def archive_of(request, tmp_path):
    """Make an archive of contents by name: a folder, and a zip of the same."""

    def made(files: dict[str, bytes]) -> Path:
        if request.param == "zip":
            with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content)
            return tmp_path / "images.zip"
        for name, content in files.items():
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tmp_path / "images"

    return made


PATIENTS = {
    f"train/patient{i}/study1/view1_frontal.png": picture(value)
    for i, value in enumerate((50, 120, 200), 1)
}


def greys(source: Path, tmp_path: Path, *names: str) -> list[int]:
    table = tmp_path / "table.csv"
    table.write_text("file,split\n" + "".join(f"{name},train\n" for name in names))
    images = load_split(source, table, "train", 8, 1)[0]
    return images.float().mean((1, 2, 3)).int().tolist()


@pytest.mark.parametrize(
    "prefix", ["", "CheXpert-v1.0-small/", "/data/CheXpert-v1.0/", "./", "../"]
)
def test_a_longer_path_means_the_file_that_ends_it(archive_of, tmp_path, prefix):
    source = archive_of(PATIENTS)
    assert greys(source, tmp_path, *(prefix + name for name in PATIENTS)) == [50, 120, 200]


def test_a_shorter_path_means_the_one_file_that_ends_so(archive_of, tmp_path):
    source = archive_of(PATIENTS)
    names = [name.removeprefix("train/") for name in PATIENTS]
    assert greys(source, tmp_path, *names) == [50, 120, 200]


@pytest.mark.parametrize(
    "name, words",
    [
        ("view1_frontal.png", ("may be", "patient1", "patient2")),
        ("study1/view1_frontal.png", ("may be", "patient1", "patient2")),
        ("train/patient9/study1/view1_frontal.png", ("not in",)),
        ("x/patient9/study1/view1_frontal.png", ("not in",)),
        ("patient1/study2/view1_frontal.png", ("not in",)),
        ("train/patient1/study1/view2_frontal.png", ("not in",)),
    ],
)
def test_what_is_not_unique_or_absent_is_refused(archive_of, tmp_path, name, words):
    source = archive_of(PATIENTS)
    with pytest.raises(GCDError) as caught:
        greys(source, tmp_path, name)
    assert all(word in str(caught.value) for word in words)
    table = tmp_path / "table.csv"
    files = ImageFiles(source, table, "train")
    with pytest.raises(GCDError):
        list(files.load(lambda content: content))
    assert list(files.skipped) == [name]


def test_one_patients_file_is_not_anothers(archive_of, tmp_path):
    source = archive_of({"train/patient1/study1/view1_frontal.png": picture(50)})
    with pytest.raises(GCDError, match="not in"):
        greys(source, tmp_path, "train/patient9/study1/view1_frontal.png")


def test_a_table_of_which_two_rows_lead_to_one_file_is_refused(archive_of, tmp_path):
    source = archive_of({"study1/view1_frontal.png": picture(50)})
    with pytest.raises(GCDError, match=r"patient1.* and .*patient2.* both lead to study1"):
        greys(source, tmp_path, *PATIENTS)


def test_class_folders_of_equal_names(archive_of, tmp_path):
    source = archive_of({f"{kind}/1.png": picture(i) for kind, i in (("sick", 9), ("well", 99))})
    assert greys(source, tmp_path, "well/1.png", "sick/1.png") == [99, 9]
    with pytest.raises(GCDError, match=r"may be sick/1\.png or well/1\.png"):
        greys(source, tmp_path, "1.png")


def test_the_longest_common_end_counts(archive_of, tmp_path):
    source = archive_of({"1.png": picture(1), "b/1.png": picture(2), "a/b/1.png": picture(3)})
    names = ["x/a/b/1.png", "y/b/1.png", "1.png"]
    assert greys(source, tmp_path, *names) == [3, 2, 1]


def test_both_forms_of_an_umlaut_are_one_name(archive_of, tmp_path):
    decomposed = unicodedata.normalize("NFD", "Müller.png")
    source = archive_of({decomposed: picture(7)})
    assert greys(source, tmp_path, "M\u00fcller.png") == [7]


SCAN = dicom(np.arange(256, dtype=np.uint16).reshape(16, 16))
PICTURES = {
    "1.2.840.113619.2.55": SCAN,
    "IM000001": SCAN,
    "a.dicom": SCAN,
    "b.ima": SCAN,
    "c.bin": SCAN[132:],
    "d.gif": picture(9, "GIF"),
    "e.jfif": picture(9, "JPEG"),
    "f": picture(9, "PNG"),
    "g.upload": picture(9, "TIFF"),
    "h.tmp": picture(9, "WEBP"),
    "i.dat": picture(9, "BMP"),
}
OTHERS = {
    "DICOMDIR": SCAN,
    "BMI.txt": b"BMI,age\n22,40\n",
    "notes.txt": b"no image",
    "empty": b"",
    "scan.nii": bytes(344) + b"n+1\0",
}


def test_pictures_are_found_by_their_content(archive_of):
    source = archive_of(PICTURES | OTHERS | {"._f": b"fork", ".hidden": SCAN})
    with pytest.warns(ImageWarning, match=r"5 files are no picture.*BMI\.txt.*notes\.txt"):
        files = ImageFiles(source)
    assert files.names == sorted(PICTURES)
    assert Archive(source).others == sorted(OTHERS)

    assert len(list(files.load(lambda content: load_image(content, 8, 1)))) == len(PICTURES)
    assert not files.skipped
    with pytest.warns(ImageWarning, match="5 files are no picture"):
        assert len(load_split(source, None, "any", 8, 1)[0]) == len(PICTURES)


def test_a_labels_table_in_the_folder_is_no_loss(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "labels.csv").write_text("file,split\na.png,train\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ImageFiles(tmp_path).names == ["a.png"]


def test_notes_of_many_images_are_one_warning(archive_of):
    beside = dicom(np.arange(256, dtype=np.uint16).reshape(16, 16), WindowCenter=9e6, WindowWidth=9)
    source = archive_of({f"{i}.dcm": beside for i in range(7)} | {"good.png": picture()})

    with pytest.warns(ImageWarning, match=r"7 of 8 images \(0\.dcm, .* and 2 more\): .*window"):
        load_split(source, None, "train", 8, 1)
    with pytest.warns(ImageWarning, match=r"7 of 8 images"):
        list(ImageFiles(source).load(lambda content: load_image(content, 8, 1)))
