"""DICOM: the standard's closed forms for every step, every compression, and hostile files."""

import contextlib
import gzip
import io
import logging
import math
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut

from gcd_core.images import dicom as reader
from gcd_core.images import reading as imaging
from gcd_core.images.limits import ImageError
from gcd_core.images.notes import noting
from gcd_core.images.reading import (
    load_image,
    looks_like_photograph,
    picture_size,
    shown_name,
)
from tests.scans import SECRETS, dicom, jpeg, jpeg_2000, lossless_jpeg, table

SIZE = 32
DEEP = np.random.default_rng(0).integers(0, 4096, (SIZE, SIZE)).astype(np.uint16)  # 12 of 16 bits
SIGNED = (DEEP.astype(np.int32) - 1024).astype(np.int16)
FLAT = (DEEP >> 4).astype(np.uint8)
COLOUR = np.stack([FLAT, FLAT.T, 255 - FLAT], -1)
LINEAR = {"WindowCenter": 2048, "WindowWidth": 4096}  # 12 bits from end to end
LINEAR_8 = {"WindowCenter": 128, "WindowWidth": 256}


def opened(data: bytes) -> np.ndarray:
    """The picture (SIZE, SIZE), as the explorer sees it."""
    return load_image(data, SIZE, 1)[0, 0].numpy()


def linear(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """PS3.3, C.11.2.1.2.1, with black 0 and white 1."""
    x = values.astype(np.float64)
    y = (x - (centre - 0.5)) / (width - 1) + 0.5
    y = np.where(x <= centre - 0.5 - (width - 1) / 2, 0, y)
    return np.where(x > centre - 0.5 + (width - 1) / 2, 1, y)


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(data, SIZE, 1)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    assert not any(secret in message for secret in SECRETS)
    return message


def without(keyword: str) -> bytes:
    dataset = dcmread(get_testdata_file("MR_small.dcm"))
    delattr(dataset, keyword)
    return written(dataset)


def written(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


# -- from stored values to grey ------------------------------------------------------------------


@pytest.mark.parametrize("centre, width", [(2048, 4096), (1000, 500), (40.5, 1.5), (2000, 2)])
def test_the_linear_window(centre, width):
    data = dicom(DEEP, BitsStored=12, WindowCenter=centre, WindowWidth=width)
    assert np.abs(opened(data) - linear(DEEP, centre, width)).max() < 1e-5


def test_the_narrowest_window_is_a_step():
    data = dicom(DEEP, BitsStored=12, WindowCenter=2000, WindowWidth=1)
    assert (opened(data) == (DEEP > 1999.5)).all()


def test_other_functions():
    for centre, width in ((2048, 4096), (1000, 500)):
        elements = {"BitsStored": 12, "WindowCenter": centre, "WindowWidth": width}
        exact = ((DEEP - float(centre)) / width + 0.5).clip(0, 1)
        image = opened(dicom(DEEP, VOILUTFunction="LINEAR_EXACT", **elements))
        assert np.abs(image - exact).max() < 1e-5
        sigmoid = 1 / (1 + np.exp(-4 * (DEEP - float(centre)) / width))
        image = opened(dicom(DEEP, VOILUTFunction="SIGMOID", **elements))
        assert np.abs(image - sigmoid).max() < 1e-5


def test_rescale_comes_before_the_window():
    elements = {"BitsStored": 12, "RescaleSlope": 0.5, "RescaleIntercept": -1000}
    data = dicom(DEEP, **elements, WindowCenter=40, WindowWidth=400)
    assert np.abs(opened(data) - linear(DEEP * 0.5 - 1000, 40, 400)).max() < 1e-5
    falling = dicom(DEEP, BitsStored=12, RescaleSlope=-1, RescaleIntercept=4095, **LINEAR)
    assert np.abs(opened(falling) - linear(4095.0 - DEEP, 2048, 4096)).max() < 1e-5


@pytest.mark.parametrize("stored", [12, 16])
def test_signed_values(stored):
    values = (SIGNED // 2).astype(np.int16)  # 12 bits, of which one is the sign
    data = dicom(values, BitsStored=stored, WindowCenter=0, WindowWidth=1000)
    assert np.abs(opened(data) - linear(values, 0, 1000)).max() < 1e-5


def test_monochrome_1_is_the_inverse():
    plain = opened(dicom(DEEP, BitsStored=12, **LINEAR))
    inverse = opened(dicom(DEEP, BitsStored=12, PhotometricInterpretation="MONOCHROME1", **LINEAR))
    assert np.abs(plain + inverse - 1).max() < 1e-6


@pytest.mark.parametrize("first", [0, 100])
def test_modality_and_voi_tables(first):
    entries = [(7 * i) % 4001 for i in range(3000)]
    places = (DEEP.astype(int) - first).clip(0, 2999)
    mapped = np.array(entries)[places]
    modality = {"BitsStored": 12, "ModalityLUTSequence": table(entries, first, 12)}
    data = dicom(DEEP, **modality, WindowCenter=1500, WindowWidth=2000)
    assert np.abs(opened(data) - linear(mapped, 1500, 2000)).max() < 1e-5
    shown = opened(dicom(DEEP, BitsStored=12, VOILUTSequence=table(entries, first, 12), **LINEAR))
    assert np.abs(shown - mapped / 4095).max() < 1e-6, "the table goes before the window"
    both = dicom(DEEP, **modality, VOILUTSequence=table([*range(4096)][::-1], 0, 12))
    assert np.abs(opened(both) - (1 - mapped / 4095)).max() < 1e-6


def test_a_table_that_begins_below_zero():
    entries = list(range(4096))
    data = dicom(SIGNED, VOILUTSequence=table(entries, -1024, 12))
    assert np.abs(opened(data) - (SIGNED + 1024) / 4095).max() < 1e-6


def test_the_first_of_several_windows():
    data = dicom(DEEP, BitsStored=12, WindowCenter=[1000, 9], WindowWidth=[500, 9])
    assert np.abs(opened(data) - linear(DEEP, 1000, 500)).max() < 1e-5


def test_without_a_window():
    low, high = np.percentile(DEEP, (0.5, 99.5))
    expected = ((DEEP - low) / (high - low)).clip(0, 1)
    assert np.abs(opened(dicom(DEEP, BitsStored=12)) - expected).max() < 1e-5
    assert np.abs(opened(dicom(FLAT)) - FLAT / 255).max() < 1e-6, "8 bits are left as they are"
    constant = dicom(np.full((SIZE, SIZE), 700, dtype=np.uint16))
    assert opened(constant).max() == 0


@pytest.mark.parametrize("width", ["-400", "0", "0.5", "nan", ""])
def test_a_window_of_no_use_is_left_out(width):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dicom(DEEP, BitsStored=12, WindowCenter="40", WindowWidth=width)
    assert (opened(data) == opened(dicom(DEEP, BitsStored=12))).all()


def test_padding_is_black_and_does_not_count():
    padded = DEEP.copy()
    padded[:4], padded[-1] = 4095, 4000
    for kind in ("MONOCHROME1", "MONOCHROME2"):
        elements = {"BitsStored": 12, "PhotometricInterpretation": kind, "PixelPaddingValue": 4095}
        image = opened(dicom(padded, **elements))
        assert image[:4].max() == 0
        low, high = np.percentile(padded[4:], (0.5, 99.5))
        wanted = ((padded[4:-1] - low) / (high - low)).clip(0, 1)
        wanted = 1 - wanted if kind == "MONOCHROME1" else wanted
        seen = wanted < 1 if kind == "MONOCHROME1" else wanted > 0
        seen &= padded[4:-1] != 4095
        assert np.abs(image[4:-1][seen] - wanted[seen]).max() < 1e-5
        limited = opened(dicom(padded, PixelPaddingRangeLimit=4000, **elements))
        assert limited[-1].max() == 0


# -- every transfer syntax -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLSLossless,
    ],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("pixels", [FLAT, DEEP, SIGNED], ids=["8", "12 of 16", "signed"])
def test_lossless_ways_of_storing(syntax, pixels):
    centre, width = (100, 180) if pixels is FLAT else (500, 900)
    elements = {"WindowCenter": centre, "WindowWidth": width}
    if pixels is DEEP:
        elements["BitsStored"] = 12
    expected = linear(pixels, centre, width)
    assert np.abs(opened(dicom(pixels, syntax, **elements)) - expected).max() < 1e-5


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGLossless])
def test_lossless_jpeg(syntax):
    for pixels, bits in ((FLAT, 8), (DEEP, 12), (SIGNED, 16)):
        frame = lossless_jpeg(pixels.view(f"u{pixels.itemsize}")[..., None], bits)
        window = LINEAR_8 if bits == 8 else LINEAR
        data = dicom(pixels, syntax, frame=frame, BitsStored=bits, **window)
        assert np.abs(opened(data) - linear(pixels, *window.values())).max() < 1e-5


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEG2000])
def test_jpeg_2000(syntax):
    for pixels, bits in ((FLAT, 8), (DEEP, 16)):
        window = LINEAR_8 if bits == 8 else LINEAR
        data = dicom(pixels, syntax, frame=jpeg_2000(pixels), BitsStored=bits, **window)
        assert np.abs(opened(data) - linear(pixels, *window.values())).max() < 1e-5


def test_lossy_ways_of_storing():
    smooth = np.uint8(128 + 100 * np.sin(np.arange(SIZE) / 9)[:, None] * np.ones(SIZE))
    data = dicom(smooth, uid.JPEGBaseline8Bit, frame=jpeg(smooth))
    assert np.abs(opened(data) - smooth / 255).max() < 0.03
    for name in ("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm"):
        file = get_testdata_file(name)
        assert load_image(file, 10, 1).unique().numel() > 5


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_expb.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "MR_small_padded.dcm",
    ],
)
def test_other_programs_twins_of_one_picture(name):
    values = dcmread(get_testdata_file("MR_small.dcm")).pixel_array
    image = load_image(get_testdata_file(name), 64, 1)[0, 0].numpy()
    assert np.abs(image - linear(values, 600, 1600)).max() < 1e-5


# -- colour --------------------------------------------------------------------------------------


@pytest.mark.parametrize("planar", [0, 1])
def test_colour_stays_or_becomes_luminance(planar):
    pixels = COLOUR if planar == 0 else np.ascontiguousarray(COLOUR.transpose(2, 0, 1))
    data = dicom(COLOUR, PlanarConfiguration=planar)
    data = data.replace(COLOUR.tobytes(), pixels.tobytes())
    image = load_image(data, SIZE, 3)
    assert torch.equal(image, torch.from_numpy(COLOUR).permute(2, 0, 1)[None] / 255)
    luminance = COLOUR @ [0.299, 0.587, 0.114] / 255
    assert np.abs(opened(data) - luminance).max() < 1 / 255


def test_ybr():
    red, green, blue = np.moveaxis(COLOUR.astype(float), -1, 0)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    ybr = [brightness, 128 + (blue - brightness) / 1.772, 128 + (red - brightness) / 1.402]
    ybr = np.stack(ybr, -1).round().clip(0, 255).astype(np.uint8)
    data = dicom(ybr, PhotometricInterpretation="YBR_FULL")
    image = load_image(data, SIZE, 3)[0].permute(1, 2, 0).numpy()
    assert np.abs(image - COLOUR / 255).max() < 3 / 255


@pytest.mark.parametrize("name", ["SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_jpeg_gdcm.dcm"])
def test_colour_twins(name):
    plain = dcmread(get_testdata_file("SC_rgb_rle.dcm")).pixel_array
    image = load_image(get_testdata_file(name), 100, 3)[0].permute(1, 2, 0).numpy()
    assert np.abs(image - plain / 255).max() < 1e-6


def test_palette():
    shades = [(i * 257, 65535 - i * 257, 0) for i in range(256)]
    palette = {}
    for colour, entries in zip(("Red", "Green", "Blue"), np.array(shades).T, strict=True):
        name = f"{colour}PaletteColorLookupTable"
        palette[name + "Descriptor"] = [256, 0, 16]
        palette[name + "Data"] = entries.astype("<u2").tobytes()
    data = dicom(FLAT, PhotometricInterpretation="PALETTE COLOR", **palette)
    image = load_image(data, SIZE, 3)[0].numpy()
    assert np.abs(image - np.stack([FLAT, 255 - FLAT, 0 * FLAT]) / 255).max() < 1e-6


def test_photographs_in_dicom_are_noticed():
    assert looks_like_photograph(dicom(COLOUR))
    assert not looks_like_photograph(dicom(np.repeat(FLAT[..., None], 3, -1)))
    assert not looks_like_photograph(dicom(DEEP, BitsStored=12))


# -- how it is recognised, and what is refused ---------------------------------------------------


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_files_without_preamble(syntax):
    whole = dicom(DEEP, syntax, BitsStored=12, **LINEAR)
    meta_only = whole[132:]
    body = meta_only[meta_only.index(b"\x08\x00\x16\x00") :]
    expected = linear(DEEP, 2048, 4096)
    for data in (meta_only, body):
        assert np.abs(opened(data) - expected).max() < 1e-5


def test_the_files_name_is_not_shown(tmp_path):
    path = tmp_path / "Musterfrau_Erika.dcm"
    path.write_bytes(dicom(FLAT))
    assert shown_name(path.name, path.read_bytes()) == "DICOM" == shown_name(path.name, path)
    assert shown_name("mine.png", b"\x89PNG") == "mine.png"
    assert shown_name("mine.png", Image.new("L", (2, 2))) == "mine.png"


def test_several_frames_are_refused():
    film = dicom(np.concatenate([FLAT, FLAT]), NumberOfFrames=2, Rows=SIZE)
    assert "2 frames" in refusal(film) and "export one" in refusal(film)
    one = dicom(FLAT, NumberOfFrames=1)
    assert np.abs(opened(one) - FLAT / 255).max() < 1e-6


@pytest.mark.parametrize("name", ["test-SR.dcm", "rtplan.dcm", "rtstruct.dcm", "waveform_ecg.dcm"])
def test_what_is_no_picture_is_refused(name):
    with open(get_testdata_file(name), "rb") as file:
        assert "holds no picture" in refusal(file.read())


@pytest.mark.parametrize("keyword", ["PixelData", "Rows", "Columns"])
def test_missing_elements_of_the_picture(keyword):
    assert "holds no picture" in refusal(without(keyword))


@pytest.mark.parametrize("keyword", ["BitsAllocated", "BitsStored", "PhotometricInterpretation"])
def test_missing_elements_of_the_pixels(keyword):
    refusal(without(keyword))


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_a_compression_beside_the_list_is_named(name):
    with open(get_testdata_file(name), "rb") as file:
        assert "JPEG Extended" in refusal(file.read())


def test_an_unknown_transfer_syntax_is_not_quoted():
    dataset = dcmread(get_testdata_file("MR_small.dcm"))
    data = written(dataset).replace(b"1.2.840.10008.1.2.1\0", b"1.2.826.0.1.4711.08.")
    assert "4711" not in refusal(data) and "uncompressed" in refusal(data)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless])
def test_truncated_files(syntax, share):
    data = dicom(DEEP, syntax, BitsStored=12, **LINEAR)
    refusal(data[: int(len(data) * share)])


@pytest.mark.parametrize("rows, columns", [(65535, 65535), (30000, 1), (9000, 9000), (0, 32)])
def test_sizes_are_checked_before_pixels_are_decoded(rows, columns, monkeypatch):
    monkeypatch.setattr(reader, "_pixels", lambda dataset: pytest.fail("decoded"))
    message = refusal(dicom(FLAT, Rows=rows, Columns=columns))
    assert "shrink" in message or "no pixels" in message


@pytest.mark.parametrize("syntax", [uid.JPEGLosslessSV1, uid.JPEGBaseline8Bit, uid.JPEG2000])
def test_a_frame_of_another_size_is_not_decoded(syntax):
    large = np.zeros((64, 64), dtype=np.uint8)
    frame = {
        uid.JPEGLosslessSV1: lossless_jpeg(large[..., None].astype(np.uint16), 8),
        uid.JPEGBaseline8Bit: jpeg(large),
        uid.JPEG2000: jpeg_2000(large),
    }[syntax]
    assert "another size" in refusal(dicom(FLAT, syntax, frame=frame))


@pytest.mark.parametrize(
    "elements",
    [
        {"BitsAllocated": 64},
        {"BitsStored": 0},
        {"BitsStored": 9},
        {"HighBit": 3},
        {"SamplesPerPixel": 3},
        {"PhotometricInterpretation": "CMYK"},
        {"PhotometricInterpretation": "RGB"},
        {"RescaleSlope": "nan", "RescaleIntercept": "0"},
        {"RescaleSlope": "1", "RescaleIntercept": "inf"},
        {"RescaleSlope": "0", "RescaleIntercept": "0"},
        {"VOILUTSequence": table([1, 2], 0, 99)},
        {"VOILUTSequence": table([], 0, 8)},
    ],
    ids=str,
)
def test_what_cannot_be_understood_is_refused(elements):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refusal(dicom(FLAT, **elements))


def test_files_that_would_fill_the_memory(monkeypatch):
    whole = dicom(FLAT)[132:]
    meta = bytes(128) + b"DICM" + whole[: whole.index(b"\x08\x00\x16\x00")]
    short = struct.pack("<HH2sH", 8, 0x50, b"SH", 0)
    sequence = struct.pack("<HH2sHL", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    for flood in (short * 200_000, sequence + item + short * 200_000):
        assert "far more elements" in refusal(meta + flood)
    refusal(meta + (sequence + item) * 20_000)  # a nest
    window = struct.pack("<HH2sHL", 0x28, 0x1050, b"UT", 0, 2**21) + b"1\\" * 2**20
    assert "far too long" in refusal(meta + window)
    monkeypatch.setattr(reader, "MAX_INFLATED", 2**20)
    deflated = dicom(FLAT, uid.DeflatedExplicitVRLittleEndian)
    head = deflated[: deflated.index(uid.DeflatedExplicitVRLittleEndian.encode()) + 22]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    refusal(head + squeeze.compress(bytes(2**22)) + squeeze.flush())
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
    fragments = dicom(FLAT, uid.JPEGBaseline8Bit, frame=jpeg(FLAT)).partition(b"\xfe\xff\x00\xe0")
    assert "far more elements" in refusal(fragments[0] + item * 200_000)


def test_a_rle_frame_that_swells():
    swollen = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x81\x00" * 10**6
    assert opened(dicom(FLAT, uid.RLELossless, frame=swollen)).max() == 0


def test_too_many_bytes(monkeypatch):
    monkeypatch.setattr(imaging, "MAX_BYTES", 1000)
    assert "larger than" in refusal(dicom(DEEP))


def test_damaged_files_raise_nothing_else():
    rng = np.random.default_rng(0)
    files = [
        dicom(DEEP, uid.ExplicitVRLittleEndian, BitsStored=12, **LINEAR),
        dicom(FLAT, uid.RLELossless),
        dicom(FLAT, uid.JPEGLSLossless),
        dicom(FLAT, uid.JPEG2000, frame=jpeg_2000(FLAT)),
        dicom(FLAT, uid.JPEGBaseline8Bit, frame=jpeg(FLAT)),
        dicom(FLAT, uid.JPEGLosslessSV1, frame=lossless_jpeg(FLAT[..., None], 8)),
        dicom(SIGNED, VOILUTSequence=table(list(range(256)), -10, 8)),
    ]
    for data in files:
        for _ in range(40):
            broken = bytearray(data)
            for place in rng.integers(132, len(data), 4):
                broken[place] = rng.integers(0, 256)
            try:
                image = load_image(bytes(broken), 16, 1)
            except ImageError as error:
                assert not any(secret in str(error) for secret in SECRETS)
                continue
            assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1


def test_no_patients_name_is_read_said_or_logged(capfd, caplog):
    caplog.set_level(logging.DEBUG)
    files = [
        dicom(DEEP, BitsStored=12, **LINEAR),
        dicom(FLAT, PhotometricInterpretation="CMYK"),
        dicom(FLAT, NumberOfFrames=3),
        dicom(FLAT)[:-100],
        dicom(FLAT, uid.JPEG2000, frame=b"\xff\x4f\xff\x51" + bytes(200)),
        dicom(FLAT, uid.JPEGLSLossless, frame=b"\xff\xd8Musterfrau"),
    ]
    # the name where a number belongs, and in a place that is misread
    files += [
        data.replace(b"MONOCHROME2", b"Musterfrau ")
        for data in (files[0], dicom(FLAT, uid.ImplicitVRLittleEndian))
    ]
    files += [
        files[0].replace(b"1.2.840.10008.1.2.1\0", b"Musterfrau^Erika.1\0\0"),
        dicom(FLAT, SpecificCharacterSet="ISO_IR 100").replace(b"ISO_IR 100", b"Musterfrau"),
    ]
    files += [
        dicom(DEEP, **elements).replace(b"1234567890", b"Musterfrau")
        for elements in (
            {"WindowCenter": "1234567890", "WindowWidth": 1},
            {"RescaleSlope": "1234567890", "RescaleIntercept": 1},
        )
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for data in files:
            try:
                load_image(data, 16, 1)
            except ImageError as error:
                assert not any(secret in str(error) for secret in SECRETS)
                assert error.__cause__ is None
    printed = capfd.readouterr()
    said = printed.out + printed.err + caplog.text + " ".join(str(w.message) for w in caught)
    assert not any(secret in said for secret in SECRETS)
    dataset = reader._read(files[0])
    assert "PatientName" not in dataset and "Rows" in dataset
    assert not any(secret in str(dataset) for secret in SECRETS)


def test_wanted_elements_are_the_pictures_alone():
    groups = {tag >> 16 for tag in reader.TAGS}
    spacing, frames, shape = {0x0018}, {0x5200}, {0x2050}
    assert groups == {0x0028, 0x7FE0} | spacing | frames | shape, "of the picture's form"
    assert len(set(reader.TAGS)) == len(reader.WANTED) and None not in reader.TAGS


def test_the_sigmoid_does_not_overflow():
    data = dicom(DEEP, VOILUTFunction="SIGMOID", WindowCenter="0", WindowWidth="1e-30")
    image = opened(data)
    assert math.isclose(image.max(), 1) and np.isfinite(image).all()


def test_fragments_of_one_frame_are_joined():
    frame = jpeg_2000(FLAT)
    dataset_bytes = dicom(FLAT, uid.JPEG2000Lossless, frame=frame)
    split = encapsulate([frame], fragments_per_frame=3)
    dataset = dcmread(io.BytesIO(dataset_bytes))
    dataset.PixelData = split
    assert np.abs(opened(written(dataset)) - FLAT / 255).max() < 1e-6


def test_nifti_is_out_of_scope():
    for size, at, magic in ((348, 344, b"n+1\0"), (348, 344, b"ni1\0"), (540, 4, b"n+2\0")):
        header = bytearray(600)
        header[:4] = struct.pack("<i", size)
        header[at : at + 4] = magic
        for data in (bytes(header), gzip.compress(bytes(header))):
            message = refusal(data)
            assert "out of scope" in message and "slice" in message
    assert "out of scope" not in refusal(gzip.compress(b"something else" * 100))
    assert "out of scope" not in refusal(b"\x1f\x8b broken")


# -- files as people have them -------------------------------------------------------------------

RAMP = np.arange(SIZE * SIZE).reshape(SIZE, SIZE)
RAMP_8, RAMP_12 = (RAMP % 256).astype(np.uint8), (4 * RAMP).astype(np.uint16)
EVERY_WAY = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian]


def told(data: bytes) -> tuple[np.ndarray, list[str]]:
    """The picture, and what is said of it."""
    with noting() as notes:
        image = opened(data)
    return image, notes


@pytest.mark.parametrize("announced", [8, 10, 12, 16])
@pytest.mark.parametrize("holds", [8, 10, 12, 14, 16])
def test_a_voi_table_is_as_deep_as_its_entries(announced, holds):
    entries = np.linspace(0, 2**holds - 1, 4096).round().astype(int).tolist()
    data = dicom(RAMP_12, BitsStored=12, VOILUTSequence=table(entries, 0, announced))
    expected = np.array(entries)[RAMP_12] / (2**holds - 1)
    assert np.abs(opened(data) - expected).max() < 1e-6


@pytest.mark.parametrize("syntax", EVERY_WAY, ids=lambda syntax: syntax.name)
def test_tables_of_8_bits_packed_two_in_a_word(syntax):
    entries = np.arange(256)[::-1].astype(np.uint8)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [256, 0, 8])
    words = entries.view("<u2").astype(">u2" if syntax == uid.ExplicitVRBigEndian else "<u2")
    item.add_new("LUTData", "OW", words.tobytes())
    image = opened(dicom(RAMP_8, syntax, VOILUTSequence=[item]))
    assert np.abs(image - entries[RAMP_8] / 255).max() < 1e-6


@pytest.mark.parametrize("syntax", EVERY_WAY, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("holds, announced", [(16, 16), (8, 8), (8, 16), (16, 8), (12, 16)])
@pytest.mark.parametrize("first", [0, 40])
def test_palettes_of_every_byte_order_and_depth(syntax, holds, announced, first):
    top = 2**holds - 1
    shades = np.stack([np.linspace(0, top, 200), np.linspace(top, 0, 200), np.full(200, 0)], -1)
    shades = shades.round().astype(np.uint16)
    add = []
    for colour, entries in zip(("Red", "Green", "Blue"), shades.T, strict=True):
        name = f"{colour}PaletteColorLookupTable"
        order = ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
        packed = holds == announced == 8
        words = entries.astype(np.uint8).view("<u2") if packed else entries
        add.append((f"{name}Descriptor", "US", [200, first, announced]))
        add.append((f"{name}Data", "OW", words.astype(order).tobytes()))
    data = dicom(RAMP_8, syntax, PhotometricInterpretation="PALETTE COLOR", add=add)
    image = load_image(data, SIZE, 3)[0].permute(1, 2, 0).numpy()
    expected = shades[(RAMP_8.astype(int) - first).clip(0, 199)] / top
    assert np.abs(image - expected).max() < 1 / 255


def segmented(parts: list[int], bits: int = 16, entries: int = 256) -> bytes:
    words = np.array(parts, "<u2" if bits == 16 else "u1").tobytes()
    add = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        add.append((f"{name}Descriptor", "US", [entries, 0, bits]))
        add.append((f"Segmented{name}Data", "OW", words + bytes(len(words) % 2)))
    return dicom(RAMP_8, PhotometricInterpretation="PALETTE COLOR", add=add)


@pytest.mark.parametrize(
    "bits, parts",
    [
        (16, [0, 1, 0, 1, 255, 65535]),
        (16, [0, 3, 0, 9, 7000, 1, 100, 60000, 0, 2, 5, 65535, 1, 151, 65535]),
        (8, [0, 2, 0, 3, 1, 254, 255]),
    ],
)
def test_segmented_palettes_are_those_of_pydicom(bits, parts):
    data = segmented(parts, bits)
    dataset = dcmread(io.BytesIO(data))
    expected = apply_color_lut(dataset.pixel_array, dataset) / (2**bits - 1)
    image = load_image(data, SIZE, 3)[0].permute(1, 2, 0).numpy()
    assert np.abs(image - expected).max() < 1 / 255


def test_a_segment_may_repeat_others():
    parts = [0, 2, 100, 65535, 1, 62, 0, 2, 2, 0, 0]  # two entries, 62 down to 0, the same again
    image = load_image(segmented(parts, entries=128), SIZE, 3)[0, 0].numpy()
    once = np.concatenate([[100, 65535], np.linspace(65535, 0, 63)[1:]])
    expected = np.concatenate([once, once])[RAMP_8.clip(0, 127)] / 65535
    assert np.abs(image - expected).max() < 1 / 255


@pytest.mark.parametrize(
    "parts", [[1, 255, 65535], [9, 1, 1], [0, 1, 0] + [2, 65535, 0, 0] * 5000, [2, 5, 0, 0]]
)
def test_hostile_segments_are_refused_or_bounded(parts):
    with contextlib.suppress(ImageError):
        opened(segmented(parts))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("way", ["plain", "rle", "jpeg-ls", "jpeg 2000", "lossless jpeg"])
def test_overlays_in_unused_bits_are_no_picture(way, signed):
    plain = (RAMP_12.astype(np.int32) - 2048).astype(np.int16) if signed else RAMP_12
    words = (plain.view(np.uint16) & 0x0FFF) if signed else plain.copy()
    words[4:9, 4:9] |= 0x1000
    words[9:12, 9:12] |= 0x8000
    over = words.view(plain.dtype)
    window = {"WindowCenter": 0 if signed else 2048, "WindowWidth": 4096, "BitsStored": 12}
    syntax, frame = {
        "plain": (uid.ExplicitVRLittleEndian, None),
        "rle": (uid.RLELossless, None),
        "jpeg-ls": (uid.JPEGLSLossless, None),
        "jpeg 2000": (uid.JPEG2000Lossless, jpeg_2000(words)),
        "lossless jpeg": (uid.JPEGLosslessSV1, lossless_jpeg(words[..., None])),
    }[way]
    if way == "jpeg-ls":  # written as 16 bits, so that the encoder keeps them all
        data = dicom(words, syntax, **window | {"BitsStored": 16})
        data = data.replace(*(struct.pack("<HH2sHH", 0x28, 0x101, b"US", 2, n) for n in (16, 12)))
        data = data.replace(*(struct.pack("<HH2sHH", 0x28, 0x102, b"US", 2, n) for n in (15, 11)))
        tag = struct.pack("<HH2sH", 0x28, 0x103, b"US", 2)
        data = data.replace(tag + b"\0\0", tag + bytes([signed, 0]))
    else:
        data = dicom(over, syntax, frame=frame, **window)
    expected = linear(plain, window["WindowCenter"], 4096)
    assert np.abs(opened(data) - expected).max() < 1e-5


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", EVERY_WAY, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(
    "dtype, padding, representation, written",
    [
        (np.int16, -2000, "SS", -2000),
        (np.int16, -2000, "US", 63536),
        (np.uint16, 63536, "US", 63536),
        (np.uint16, 63536, "SS", -2000),
        (np.int32, -2000, "US", 63536),
        (np.uint8, 255, "US", 255),
    ],
)
def test_padding_is_of_the_pixels_sign(kind, syntax, dtype, padding, representation, written):
    scan = (RAMP % 200).astype(dtype)
    scan[:8] = padding
    window = {"WindowCenter": 100, "WindowWidth": 200}
    elements = {"PhotometricInterpretation": kind, **window}
    data = dicom(scan, syntax, add=[("PixelPaddingValue", representation, written)], **elements)
    expected = linear(scan, 100, 200)
    expected = 1 - expected if kind == "MONOCHROME1" else expected
    expected[:8] = 0
    assert np.abs(opened(data) - expected).max() < 1e-5


def test_a_window_beside_all_values_is_passed_over_and_told():
    high = (RAMP_12 + 20000).astype(np.uint16)
    low, top = np.percentile(high, (0.5, 99.5))
    stretched = ((high - low) / (top - low)).clip(0, 1)
    for window in ((50, 350), (60000, 100), (20.5, 1)):
        image, notes = told(dicom(high, WindowCenter=window[0], WindowWidth=window[1]))
        assert np.abs(image - stretched).max() < 1e-5
        assert notes == [reader.NO_WINDOW]
    image, notes = told(dicom(high, WindowCenter=[50, 22048], WindowWidth=[350, 4096]))
    assert np.abs(image - linear(high, 22048, 4096)).max() < 1e-5
    assert notes == [reader.NEXT_WINDOW]
    image, notes = told(dicom(high, WindowCenter=22048, WindowWidth=4096))
    assert np.abs(image - linear(high, 22048, 4096)).max() < 1e-5 and not notes


@pytest.mark.parametrize("window", [(2048, 4096), (600, 1600), (8192, 16384), (32768, 65536)])
def test_a_deeper_window_on_an_8_bit_copy_is_passed_over_and_told(window):
    image, notes = told(dicom(RAMP_8, WindowCenter=window[0], WindowWidth=window[1]))
    assert np.abs(image - RAMP_8 / 255).max() < 1e-6 and notes == [reader.NO_WINDOW]
    in_words = dicom(RAMP_8.astype(np.uint16), WindowCenter=window[0], WindowWidth=window[1])
    if window[1] > 2560:  # it would show a tenth of its range
        image, notes = told(in_words)
        assert image.std() > 0.25 and notes == [reader.NO_WINDOW]


def test_a_voi_table_beside_all_values_is_passed_over_and_told():
    beside = table(list(range(4096)), 30000, 12)
    image, notes = told(dicom(RAMP_12, BitsStored=12, VOILUTSequence=beside, **LINEAR))
    assert np.abs(image - linear(RAMP_12, 2048, 4096)).max() < 1e-5
    assert notes == [reader.NEXT_WINDOW]


def test_an_even_picture_keeps_its_window():
    even = np.full((SIZE, SIZE), 1000, np.uint16)
    image, notes = told(dicom(even, BitsStored=12, **LINEAR))
    assert np.abs(image - linear(even, 2048, 4096)).max() < 1e-5 and not notes


def group(**sequences: dict[str, object]) -> list[Dataset]:
    """One item of functional groups: sequences by keyword, of one item each."""
    outer = Dataset()
    for keyword, elements in sequences.items():
        inner = Dataset()
        for name, value in elements.items():
            setattr(inner, name, value)
        setattr(outer, keyword, [inner])
    outer.PatientName = "Musterfrau^Erika"
    return [outer]


@pytest.mark.parametrize("syntax", EVERY_WAY, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("where", ["Shared", "PerFrame"])
def test_functional_groups_of_one_frame(syntax, where):
    groups = group(
        PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": -1000},
        FrameVOILUTSequence={"WindowCenter": 3000, "WindowWidth": 5000},
        PixelMeasuresSequence={"PixelSpacing": [1, 1]},
    )
    data = dicom(
        RAMP_12,
        syntax,
        BitsStored=12,
        NumberOfFrames=1,
        **{f"{where}FunctionalGroupsSequence": groups},
    )
    image, notes = told(data)
    assert np.abs(image - linear(2.0 * RAMP_12 - 1000, 3000, 5000)).max() < 1e-5 and not notes
    dataset = reader._read(data)
    assert not any(secret in str(dataset) for secret in SECRETS)
    assert not any(name in dataset for name in reader.GROUPS)


def test_the_frames_own_group_goes_before_the_shared_one():
    shared = group(FrameVOILUTSequence={"WindowCenter": 100, "WindowWidth": 200})
    own = group(FrameVOILUTSequence={"WindowCenter": 2048, "WindowWidth": 4096})
    groups = {
        "SharedFunctionalGroupsSequence": shared,
        "PerFrameFunctionalGroupsSequence": own,
    }
    image = opened(dicom(RAMP_12, BitsStored=12, **groups))
    assert np.abs(image - linear(RAMP_12, 2048, 4096)).max() < 1e-5


@pytest.mark.parametrize("pixels", [FLAT, DEEP, COLOUR], ids=["8", "16", "RGB"])
@pytest.mark.parametrize(
    "elements, size",
    [
        ({"PixelSpacing": [0.4, 0.2]}, (32, 64)),
        ({"PixelSpacing": [0.2, 0.4]}, (64, 32)),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, (32, 48)),
        ({"NominalScannedPixelSpacing": [0.2, 0.3]}, (48, 32)),
        ({"PixelAspectRatio": [2, 1]}, (32, 64)),
        ({"PixelAspectRatio": [1, 2]}, (64, 32)),
        ({"PixelSpacing": [0.2, 0.2], "PixelAspectRatio": [2, 1]}, (32, 32)),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.4]}, (64, 32)),
        ({"PixelSpacing": [0.2001, 0.2]}, (32, 32)),
        ({"PixelSpacing": [1e9, 1]}, (32, 32)),
    ],
)
def test_pixels_that_are_no_squares(pixels, elements, size):
    data = dicom(pixels, **elements)
    assert picture_size(data) == size
    image = load_image(data, SIZE, 1)
    assert image.min() >= 0 and image.max() <= 1
    plain = load_image(dicom(pixels), SIZE, 1)
    assert (image - plain).abs().mean() < 0.05, "stretched to a square, it is the same"


def test_a_round_thing_is_round():
    yy, xx = np.mgrid[:40, :80]
    disc = (((xx - 40) / 2) ** 2 + (yy - 20) ** 2 < 225).astype(np.uint8) * 255
    data = dicom(disc, PixelSpacing=[0.4, 0.2])
    image = load_image(data, 80, 1, "pad")[0, 0] > 0.5
    wide, tall = image.any(0).sum().item(), image.any(1).sum().item()
    assert abs(wide - tall) <= 2 and wide >= 55


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", ["INVERSE", "IDENTITY", None])
def test_presentation_lut_shape(kind, shape):
    elements = {"PresentationLUTShape": shape} if shape else {}
    data = dicom(RAMP_12, BitsStored=12, PhotometricInterpretation=kind, **LINEAR, **elements)
    expected = linear(RAMP_12, 2048, 4096)
    inverted = kind == "MONOCHROME1" or shape == "INVERSE"
    assert np.abs(opened(data) - (1 - expected if inverted else expected)).max() < 1e-5


@pytest.mark.parametrize(
    ("told", "years"),
    [("045Y", 45), ("018M", 1.5), ("010W", 70 / 365.25), ("003D", 3 / 365.25), ("45", None)],
)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_the_patients_age_is_read_where_it_is_told(told, years, syntax):
    data = dicom(FLAT, syntax, PatientAge=told)
    assert reader.patient_age(data) == (None if years is None else pytest.approx(years))
    assert reader.patient_age(dicom(FLAT, syntax)) is None
    assert reader.patient_age(data[:150]) is None
