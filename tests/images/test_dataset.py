"""Reading a data set: zip or folder, splits by patient, errors that say what to do."""

import csv
import io
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.errors import GCDError
from gcd_core.images.dataset import ImageFiles, load_split
from gcd_core.images.limits import MAX_BYTES
from gcd_core.images.reading import load_image
from tests.scans import dicom
from tests.training.radiographs import write_data_set

SIZE = 16
read_image = partial(load_image, size=SIZE, channels=1)


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


# -- the pixels of training are those of the page ------------------------------------------------


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()


def noise() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (97, 131), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def deep_ramp() -> bytes:
    """A ramp from 0 to 1 in 16 bits; its mean is a half."""
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64)
    return encoded(Image.fromarray(ramp.astype(np.uint16)), "PNG")


def lying() -> bytes:
    """A JPEG that is bright on top, stored on its side, with the orientation that puts it right."""
    stored = np.zeros((64, 48), dtype=np.uint8)
    stored[:, :24] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.fromarray(stored), "JPEG", exif=exif, quality=95)


def transparent() -> bytes:
    pixels = np.full((32, 32, 4), 255, dtype=np.uint8)
    pixels[16:, :, 3] = 0
    return encoded(Image.fromarray(pixels), "PNG")


def scan() -> bytes:
    return dicom(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), WindowCenter=1500.0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("picture", "name"),
    [
        (noise, "a.png"),
        (deep_ramp, "a.png"),
        (lying, "a.jpg"),
        (transparent, "a.png"),
        (scan, "a.dcm"),
    ],
)
def test_training_and_page_see_the_same_pixels(
    tmp_path: Path, picture, name: str, channels: int, packed: bool
) -> None:
    content = picture()
    if packed:
        data = tmp_path / "images.zip"
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr(name, content)
    else:
        data = tmp_path
        (data / name).write_bytes(content)
    images, table = load_split(data, None, "train", SIZE, channels)
    expected = (load_image(content, SIZE, channels) * 255).round()
    assert torch.equal(images.float(), expected)
    assert table == {"file": [name]}


def test_a_deep_ramp_is_half_bright_and_a_turned_picture_upright(tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(deep_ramp())
    (tmp_path / "turned.jpg").write_bytes(lying())
    deep, turned = load_split(tmp_path, None, "train", SIZE, 1)[0].float() / 255
    assert deep.mean().item() == pytest.approx(0.5, abs=0.01)
    assert turned[0, : SIZE // 2 - 2].min() > 0.9 and turned[0, SIZE // 2 + 2 :].max() < 0.1


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_over_the_limit_is_refused_by_name(tmp_path: Path, packed: bool) -> None:
    data = tmp_path / "images.zip" if packed else tmp_path / "images"
    huge = noise() + bytes(MAX_BYTES)  # a picture, and zeros that no decoder asks for
    if packed:
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("huge.png", huge)
    else:
        data.mkdir()
        (data / "huge.png").write_bytes(huge)
    with pytest.raises(GCDError, match=r"huge\.png in .* larger than 50 MB") as error:
        load_split(data, None, "train", SIZE, 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"\x89PNG and no more", b""])
def test_an_unreadable_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "good.png").write_bytes(noise())
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(GCDError, match=r"broken\.png in"):
        load_split(tmp_path, None, "train", SIZE, 1)


# -- the images of a measurement -----------------------------------------------------------------


def write_pictures(folder: Path, count: int) -> None:
    """Grey pictures 00.png, 01.png, ..., the later the brighter."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.new("L", (20, 20), 30 * index).save(folder / f"{index:02d}.png")


def pack(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, path.relative_to(folder))
    return archive


def test_images_of_a_folder_and_of_a_zip_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_pictures(folder, 3)
    (folder / "deep").mkdir()
    (folder / "02.png").rename(folder / "deep" / "02.png")
    (folder / "scan.DCM").write_bytes(scan())
    (folder / "notes.txt").write_text("no image")
    (folder / "._00.png").write_bytes(b"resource fork")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "00.png").write_bytes(b"resource fork")
    for source in (folder, pack(folder, tmp_path / "images.zip")):
        files = ImageFiles(source)
        loaded = dict(files.load(read_image))
        assert list(loaded) == ["00.png", "01.png", "deep/02.png", "scan.DCM"]
        assert not files.skipped
        assert all(image.shape == (1, 1, SIZE, SIZE) for image in loaded.values())
        assert load_split(source, None, "any", SIZE, 1)[1] == {"file": list(loaded)}


@pytest.mark.parametrize("packed", [False, True])
def test_a_table_names_an_image_in_full_or_by_its_file_name(tmp_path: Path, packed: bool) -> None:
    folder = tmp_path / "images"
    write_pictures(folder / "deep", 2)
    table = tmp_path / "labels.csv"
    table.write_text("file,split\n01.png,test\ndeep/00.png,test\n")
    source = pack(folder, tmp_path / "images.zip") if packed else folder
    assert load_split(source, table, "test", SIZE, 1)[0].amax((1, 2, 3)).tolist() == [30, 0]
    loaded = dict(ImageFiles(source, table, "test").load(read_image))
    assert [round(image.max().item() * 255) for image in loaded.values()] == [30, 0]


def test_a_table_and_a_limit_choose_images(tmp_path: Path) -> None:
    write_pictures(tmp_path, 8)
    table = tmp_path / "table.csv"
    with open(table, "w", newline="") as file:
        rows = [(f"{i:02d}.png", "test" if i % 2 else "train") for i in range(8)]
        csv.writer(file).writerows([("file", "split"), *rows, ("gone.png", "test")])
    files = ImageFiles(tmp_path, table, "test")
    assert files.names == ["01.png", "03.png", "05.png", "07.png", "gone.png"]
    assert len(list(files.load(read_image))) == 4
    assert "not in" in files.skipped["gone.png"]
    assert ImageFiles(tmp_path, table, "test", limit=2).names == ["01.png", "05.png"]
    assert ImageFiles(tmp_path, limit=3).names == ["00.png", "02.png", "05.png"]
    with pytest.raises(GCDError, match="split"):
        ImageFiles(tmp_path, split="test")
    with pytest.raises(GCDError, match="'val'"):
        ImageFiles(tmp_path, table, "val")


def test_unreadable_images_are_listed_and_skipped(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG and no more")
    files = ImageFiles(tmp_path)
    assert [name for name, _ in files.load(read_image)] == ["00.png", "01.png"]
    assert list(files.skipped) == ["broken.png"]


def test_a_damaged_zip_member_is_skipped_and_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, 2)
    archive = pack(tmp_path, tmp_path / "images.zip")
    content = bytearray(archive.read_bytes())
    content[content.index(b"IDAT") + 10] ^= 0xFF  # its checksum no longer holds
    archive.write_bytes(content)
    files = ImageFiles(archive)
    assert [name for name, _ in files.load(read_image)] == ["01.png"]
    assert list(files.skipped) == ["00.png"]
    with pytest.raises(GCDError, match=r"00\.png in"):
        load_split(archive, None, "train", SIZE, 1)


def test_no_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GCDError, match="has no image"):
        ImageFiles(tmp_path)
    with pytest.raises(GCDError, match="neither a folder nor a zip"):
        ImageFiles(tmp_path / "nowhere")
    (tmp_path / "broken.png").write_bytes(b"no")
    with pytest.raises(GCDError, match="could be read"):
        list(ImageFiles(tmp_path).load(read_image))
