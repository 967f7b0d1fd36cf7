"""Pictures of every kind made bad at random: opened, or refused in one sentence."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset

from gcd_core.errors import GCDError
from gcd_core.images.limits import ImageError
from gcd_core.images.sandbox import GAVE_UP, IsolatedReader
from gcd_core.images.sandbox_worker import DAMAGED
from gcd_core.images.table import read_csv
from tests.mutations import IN_THE_SUITE, NIGHTLY, cases, mutated
from tests.scans import SECRETS, dicom, jpeg, jpeg_2000, lossless_jpeg, table

SIDE = 24
DEEP = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE)).astype(np.uint16)
FLAT = (DEEP >> 4).astype(np.uint8)
COLOUR = np.stack([FLAT, FLAT.T, 255 - FLAT], -1)


def picture(pixels: np.ndarray, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def animation() -> bytes:
    frames = [Image.fromarray(FLAT), Image.fromarray(FLAT.T.copy())]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def palette() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(COLOUR).quantize(16).save(buffer, "PNG", transparency=3)
    return buffer.getvalue()


def large_text() -> bytes:
    """A PNG with a text that unpacks to more than Pillow takes."""
    whole = picture(COLOUR, "PNG")
    body = b"zTXt" + b"k\0\0" + zlib.compress(bytes(2_000_000))
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    place = whole.index(b"IDAT") - 4
    return whole[:place] + chunk + whole[place:]


def tiff(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def palettes(segmented: bool, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> bytes:
    """DICOM in colours of a palette, whole or in segments."""
    whole = np.arange(0, 65536, 256)
    parts = [0, 2, 0, 256, 1, 128, 65535, 2, 1, 0, 0]
    order = ">u2" if syntax == uid.ExplicitVRBigEndian else "<u2"
    data = np.array(parts if segmented else whole, order).tobytes()
    add = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        add.append((f"{name}Descriptor", "US", [256, 0, 16]))
        add.append((f"{'Segmented' * segmented}{name}Data", "OW", data))
    return dicom(FLAT, syntax, add=add, PhotometricInterpretation="PALETTE COLOR")


def groups() -> list[Dataset]:
    """Functional groups with a window, a rescale and pixels that are no squares."""
    group = Dataset()
    for keyword, elements in {
        "FrameVOILUTSequence": {"WindowCenter": [2048, 9], "WindowWidth": [4096, 9]},
        "PixelValueTransformationSequence": {"RescaleSlope": 2, "RescaleIntercept": -9},
        "PixelMeasuresSequence": {"PixelSpacing": [0.2, 0.1]},
    }.items():
        item = Dataset()
        for name, value in elements.items():
            setattr(item, name, value)
        setattr(group, keyword, [item])
    return [group]


FILES = {
    "PNG": picture(COLOUR, "PNG"),
    "PNG with a large text": large_text(),
    "PNG of 16 bits": picture(DEEP, "PNG"),
    "PNG of a palette": palette(),
    "JPEG": jpeg(COLOUR),
    "JPEG, progressive": jpeg(FLAT, progressive=True, exif=b"Exif\x00\x00MM\x00*" + bytes(40)),
    "TIFF": picture(COLOUR, "TIFF"),
    "TIFF, LZW": picture(FLAT, "TIFF", compression="tiff_lzw"),
    "TIFF, deflated": picture(FLAT, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF of half floats": tiff(FLAT.astype(np.float16) / 255, photometric="minisblack"),
    "TIFF of double RGB": tiff(COLOUR / 255, photometric="rgb", compression="zlib"),
    "TIFF of signed bytes": tiff((FLAT.astype(int) - 128).astype(np.int8)),
    "TIFF of fractions": picture(FLAT.astype(np.float32) / 255, "TIFF"),
    "WEBP": picture(COLOUR, "WEBP"),
    "WEBP, lossless": picture(COLOUR, "WEBP", lossless=True),
    "BMP": picture(COLOUR, "BMP"),
    "GIF": animation(),
    "DICOM": dicom(DEEP, BitsStored=12, WindowCenter=2048, WindowWidth=4096),
    "DICOM, implicit": dicom(DEEP, uid.ImplicitVRLittleEndian, BitsStored=12),
    "DICOM, big-endian": dicom(DEEP, uid.ExplicitVRBigEndian, BitsStored=12),
    "DICOM, deflated": dicom(DEEP, uid.DeflatedExplicitVRLittleEndian, BitsStored=12),
    "DICOM without preamble": dicom(DEEP, preamble=False, BitsStored=12),
    "DICOM of colour": dicom(COLOUR),
    "DICOM with tables": dicom(
        DEEP,
        BitsStored=12,
        ModalityLUTSequence=table(list(range(4096)), 0, 16),
        VOILUTSequence=table(list(range(0, 4096, 16)), 0, 12),
    ),
    "DICOM of a palette": palettes(False),
    "DICOM of a palette, big-endian": palettes(False, uid.ExplicitVRBigEndian),
    "DICOM of a segmented palette": palettes(True),
    "DICOM, enhanced": dicom(
        DEEP, BitsStored=12, NumberOfFrames=1, SharedFunctionalGroupsSequence=groups()
    ),
    "DICOM with padding and windows": dicom(
        DEEP.astype(np.int16),
        add=[("PixelPaddingValue", "US", 65000)],
        WindowCenter=[30000, 2048],
        WindowWidth=[10, 4096],
        PixelSpacing=[0.1, 0.2],
        PresentationLUTShape="INVERSE",
    ),
    "DICOM, RLE": dicom(DEEP, uid.RLELossless, BitsStored=12),
    "DICOM, JPEG": dicom(FLAT, uid.JPEGBaseline8Bit, frame=jpeg(FLAT)),
    "DICOM, JPEG extended": dicom(FLAT, uid.JPEGExtended12Bit, frame=jpeg(FLAT)),
    "DICOM, lossless JPEG": dicom(DEEP, uid.JPEGLossless, frame=lossless_jpeg(DEEP[..., None])),
    "DICOM, lossless JPEG SV1": dicom(
        DEEP, uid.JPEGLosslessSV1, frame=lossless_jpeg(DEEP[..., None])
    ),
    "DICOM, JPEG-LS": dicom(DEEP, uid.JPEGLSLossless, BitsStored=12),
    "DICOM, JPEG-LS near": dicom(DEEP, uid.JPEGLSNearLossless, BitsStored=12),
    "DICOM, JPEG 2000": dicom(FLAT, uid.JPEG2000, frame=jpeg_2000(FLAT)),
    "DICOM, JPEG 2000 lossless": dicom(FLAT, uid.JPEG2000Lossless, frame=jpeg_2000(FLAT)),
}
MARKED = (FLAT > 128).astype(np.uint8) * 255
MASKS = {
    "grey": picture(MARKED, "PNG"),
    "opaque": picture(np.dstack([MARKED, MARKED, MARKED, np.full_like(MARKED, 255)]), "PNG"),
    "16 bits": picture(MARKED.astype(np.uint16) * 257, "PNG"),
}
TABLE = 'file;split;label\r\na.png;train;\u00fc\r\n"b;c.png";test;x|y\r\n'
TABLES = {name: TABLE.encode(name) for name in ("utf-8-sig", "cp1252", "utf-16", "utf-16-le")}


@pytest.fixture(scope="module")
def reader():
    reader = IsolatedReader()
    yield reader
    reader.close()


def check_sentence(error: ImageError) -> None:
    """One sentence, of what a reader foresaw, and nothing in it of what the file says."""
    told = str(error)
    assert told.endswith(".") and "\n" not in told and 20 < len(told) < 300, told
    assert told not in (DAMAGED, GAVE_UP)
    assert not any(secret in told for secret in SECRETS)


@pytest.mark.parametrize("kind", FILES)
def test_before_it_is_made_bad_each_opens(reader: IsolatedReader, kind: str) -> None:
    found = reader.picture(FILES[kind], SIDE, 1)
    view = found.picture.view
    assert view.shape == (1, 1, SIDE, SIDE) and view.std() > 0.1
    assert found.dicom == kind.startswith("DICOM")


@pytest.mark.parametrize("count", [IN_THE_SUITE, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("kind", FILES)
def test_a_bad_picture_opens_or_is_refused_in_a_sentence(
    reader: IsolatedReader, kind: str, count: int
) -> None:
    @cases(count)
    @given(data=mutated(FILES[kind]), channels=st.sampled_from([1, 3]))
    def opens_or_is_refused(data: bytes, channels: int) -> None:
        try:
            image = reader.picture(data, SIDE, channels).picture.view
        except ImageError as error:
            check_sentence(error)
        else:
            assert image.shape == (1, channels, SIDE, SIDE)
            assert image.min() >= 0 and image.max() <= 1

    opens_or_is_refused()


@pytest.mark.parametrize("count", [IN_THE_SUITE, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("kind", TABLES)
def test_a_bad_table_is_read_or_refused_in_a_sentence(
    tmp_path: Path, kind: str, count: int
) -> None:
    path = tmp_path / "labels.csv"

    @cases(count)
    @given(data=mutated(TABLES[kind]))
    def is_read_or_refused(data: bytes) -> None:
        path.write_bytes(data)
        try:
            rows = read_csv(path)
        except GCDError as error:
            assert str(error).endswith(".") and "\n" not in str(error)
        else:
            assert rows and all(row["file"] and "split" in row for row in rows)

    is_read_or_refused()


@pytest.mark.parametrize("count", [IN_THE_SUITE, pytest.param(NIGHTLY, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("kind", MASKS)
def test_a_bad_mask_opens_or_is_refused_in_a_sentence(
    reader: IsolatedReader, kind: str, count: int
) -> None:
    @cases(count)
    @given(data=mutated(MASKS[kind]))
    def opens_or_is_refused(data: bytes) -> None:
        try:
            assert reader.mask(data, SIDE).shape == (SIDE, SIDE)
        except ImageError as error:
            check_sentence(error)

    opens_or_is_refused()
