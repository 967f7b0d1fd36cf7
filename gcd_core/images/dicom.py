"""The picture in a DICOM file, as a viewer would show it, and nothing else that the file says.

Of the elements in a file only `WANTED` are read: none of them names a patient, a place or a day.
"""

import io
import logging
import math
import warnings
import zlib
from typing import Any

import numpy as np
import pydicom.uid as uids
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from gcd_core.images.limits import MAX_BYTES, ImageError, check_size
from gcd_core.images.lossless import FrameHeader, decode_lossless_jpeg, decode_rle, jpeg_header

NATIVE = {
    uids.ImplicitVRLittleEndian,
    uids.ExplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.DeflatedExplicitVRLittleEndian,
}
LOSSLESS_JPEG = {uids.JPEGLossless, uids.JPEGLosslessSV1}
JPEG = {uids.JPEGBaseline8Bit, uids.JPEGExtended12Bit}
JPEG_2000 = {uids.JPEG2000Lossless, uids.JPEG2000}
JPEG_LS = {uids.JPEGLSLossless, uids.JPEGLSNearLossless}
PLUGINS = dict.fromkeys(JPEG | JPEG_2000, "pillow") | dict.fromkeys(JPEG_LS, "pyjpegls")
KNOWN = NATIVE | LOSSLESS_JPEG | PLUGINS.keys() | {uids.RLELossless}
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = tuple(
    f"{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for part in ("Descriptor", "Data")
)
WANTED = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration"),
    *("PhotometricInterpretation", "PixelRepresentation", "PixelPaddingValue"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelPaddingRangeLimit", "PixelData"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", *PALETTE),
)
PIXELS = Tag("PixelData")
TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in WANTED]
MAX_READS = 100_000  # of elements and items: a picture's file has some hundreds
MAX_VALUE = 2**20  # bytes of a value that is not the pixels; a LUT of 16 bits has 128 KiB
MAX_INFLATED = 4 * MAX_BYTES
CUT_OFF = (0.5, 99.5)  # percentiles that become black and white where the file has no window


def read_dicom(data: bytes) -> Image.Image:
    """Decode the picture of a DICOM file.

    Stored values go through the modality LUT (or rescale slope and intercept) and then through the
    file's first VOI LUT, or else its first window (PS3.3, C.11.1 and C.11.2). Where there is
    neither, or the window has no positive width, pictures of 8 bits or less keep their range, and
    deeper ones are stretched from their 0.5th to their 99.5th percentile. MONOCHROME1 is inverted,
    padding is black, colour of every sort becomes RGB.

    Parameters
    ----------
    data : bytes
        A file with or without preamble, uncompressed, deflated, or compressed by RLE, JPEG (8
        bits), lossless JPEG, JPEG-LS or JPEG 2000.

    Returns
    -------
    PIL image
        Mode "F" in [0, 1], or "RGB".

    Raises
    ------
    ImageError
        If the file holds no picture, several, one too large, or one that is damaged or compressed
        in another way. The message quotes nothing of the file but sizes.
    """
    _hush()
    try:
        dataset = _read(data)
        _check(dataset)
        return _picture(dataset)
    except ImageError:
        raise
    except Exception:  # broken files raise every type, with what they hold in the message
        raise ImageError(
            "The DICOM file is damaged or incomplete and cannot be decoded; export it again."
        ) from None


def _hush() -> None:
    """Silence pydicom's log and warnings, which quote the values of a file; any number of times."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=r"pydicom\.")


class _Bounded(io.BytesIO):
    """Bytes that may be read only so many times: no file can be made of a million elements."""

    left = MAX_READS

    def read(self, size: int | None = -1) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise ImageError(
                "The DICOM file has far more elements than a picture needs; export the picture "
                "alone, as DICOM or PNG."
            )
        return super().read(size)


def _read(data: bytes) -> Dataset:
    """The wanted elements, with the transfer syntax; deflated ones are inflated within a limit."""
    file = _Bounded(data)
    file.seek(132 if data[128:132] == b"DICM" else 0)
    meta = FileMetaDataset(
        read_dataset(
            file,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, vr, length: tag >> 16 != 2,
            specific_tags=[Tag("TransferSyntaxUID")],
        )
    )
    syntax = meta.get("TransferSyntaxUID") or _guessed_syntax(data[file.tell() :][:8])
    if syntax == uids.DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        file = _Bounded(inflater.decompress(data[file.tell() :], MAX_INFLATED))
        if not inflater.eof:
            raise ImageError(
                f"The DICOM file inflates to more than {MAX_INFLATED // 2**20} MB or is cut short; "
                "export it again without deflating it."
            )
    implicit = syntax == uids.ImplicitVRLittleEndian
    little = syntax != uids.ExplicitVRBigEndian
    dataset = read_dataset(file, implicit, little, specific_tags=TAGS)
    _check_values(dataset)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _check_values(dataset: Dataset) -> None:
    """Refuse what would take long to understand, before pydicom makes numbers and text of it."""
    for element in dataset.values():
        if isinstance(element.value, Sequence):
            for item in element.value:
                _check_values(item)
        elif element.tag != PIXELS and len(element.value or b"") > MAX_VALUE:
            raise ImageError(
                "The DICOM file has values far too long for a picture's; export it again."
            )


def _guessed_syntax(start: bytes) -> uids.UID:
    """That of a file which does not say: explicit where a value representation comes first."""
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return uids.ExplicitVRLittleEndian if explicit else uids.ImplicitVRLittleEndian


def _check(dataset: Dataset) -> None:
    """Refuse what is no single picture, or too large, before any pixel is decoded."""
    if "PixelData" not in dataset or "Rows" not in dataset or "Columns" not in dataset:
        raise ImageError(
            "The DICOM file holds no picture (a report, a plan or a waveform, for instance); "
            "choose the file of the radiograph itself."
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(
            f"The DICOM file holds {frames:,} frames; export one of them as DICOM or PNG."
        )
    check_size(dataset.Columns, dataset.Rows)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in KNOWN or (syntax == uids.JPEGExtended12Bit and dataset.BitsStored > 8):
        name = f" ({syntax.name})" if syntax.name != str(syntax) else ""
        raise ImageError(
            f"The DICOM file is compressed in a way{name} that cannot be read here; export it "
            "uncompressed, or as PNG."
        )
    kind, samples = dataset.PhotometricInterpretation, dataset.SamplesPerPixel
    wanted = 3 if kind in COLOUR else 1 if kind in (*GREY, "PALETTE COLOR") else None
    allocated, stored = dataset.BitsAllocated, dataset.BitsStored
    usual = allocated in (8, 16, 32) and 0 < stored <= allocated
    if samples != wanted or not usual or dataset.get("HighBit", stored - 1) != stored - 1:
        raise ImageError(
            "The DICOM file stores its pixels in a way that cannot be read here; export it as PNG."
        )


def _picture(dataset: Dataset) -> Image.Image:
    """Grey or colour in the range that Pillow expects."""
    stored = _pixels(dataset)
    kind = dataset.PhotometricInterpretation
    if kind in GREY:
        return Image.fromarray(_grey(stored, dataset))
    bits = dataset.BitsStored
    if kind == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        bits = 8 * stored.itemsize
    levels = stored.astype(np.float32) * (255 / (2**bits - 1))
    return Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))


# -- decoding ------------------------------------------------------------------------------------


def _pixels(dataset: Dataset) -> np.ndarray:
    """Stored values (rows, columns) or RGB (rows, columns, 3)."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in NATIVE:
        return pixel_array(dataset)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    rows, columns, samples = dataset.Rows, dataset.Columns, dataset.SamplesPerPixel
    if syntax == uids.RLELossless:
        return _as_native(
            decode_rle(frame, rows, columns, samples, dataset.BitsAllocated // 8), dataset
        )
    if syntax in JPEG_2000:
        with Image.open(io.BytesIO(frame), formats=("JPEG2000",)) as image:
            within = image.size == (columns, rows)
    else:
        header = jpeg_header(frame)
        within = (header.rows, header.columns) == (rows, columns) and _fits(header, dataset)
    if not within:
        raise ImageError(
            "The DICOM file's picture is of another size than the file says; export it again."
        )
    if syntax in LOSSLESS_JPEG:
        return _as_native(decode_lossless_jpeg(frame), dataset)
    return pixel_array(dataset, decoding_plugin=PLUGINS[syntax])


def _fits(header: FrameHeader, dataset: Dataset) -> bool:
    """Whether a JPEG frame holds samples of the number and depth that its file announces."""
    components, bits = dataset.SamplesPerPixel, dataset.BitsAllocated
    return len(header.components) == components and header.bits <= bits


def _as_native(pixels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Let pydicom treat decoded samples like uncompressed ones: signs, unused bits, colours."""
    bytes_each = dataset.BitsAllocated // 8
    dataset.PixelData = pixels.astype(f"<u{bytes_each}").tobytes()
    dataset.PlanarConfiguration = 0
    dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRLittleEndian
    return pixel_array(dataset)


# -- from stored values to grey ------------------------------------------------------------------


def _grey(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Brightness (rows, columns), float32 in [0, 1], of stored values."""
    padding = _padding(stored, dataset)
    values, depth = _modality(stored, dataset)
    window = _window(dataset)
    tables = dataset.get("VOILUTSequence")
    if tables:
        values, bits = _look_up(values, tables[0], dataset)
        grey = values.astype(np.float32) / (2**bits - 1)
    elif window is not None:
        grey = apply_window(values.astype(np.float32), *window)
    elif depth is not None and depth <= 8:
        grey = values.astype(np.float32) / (2**depth - 1)
    else:
        seen = values[~padding] if padding.any() else values
        grey = _stretched(values.astype(np.float32), seen)
    grey = grey.clip(0, 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    grey[padding] = 0
    return grey


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Which pixels are no part of the picture (PS3.3, C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _modality(stored: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, int | None]:
    """Values after the modality LUT, and their depth in bits where they begin at 0."""
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        return _look_up(stored, tables[0], dataset)
    slope, intercept = _number(dataset, "RescaleSlope", 1), _number(dataset, "RescaleIntercept", 0)
    if not slope or not math.isfinite(slope) or not math.isfinite(intercept):
        raise ImageError(
            "The DICOM file's rescale slope or intercept is no usable number; export it again."
        )
    if (slope, intercept) == (1, 0):
        return stored, None if dataset.PixelRepresentation else dataset.BitsStored
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept), None


def _number(dataset: Dataset, keyword: str, default: float = math.nan) -> float:
    """The first value of an element as a float; NaN where it is no number."""
    try:
        value: Any = dataset.get(keyword)
        if value is None or value == "":
            return default
        return float(value if isinstance(value, int | float) else value[0])
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan


def _window(dataset: Dataset) -> tuple[float, float, str] | None:
    """The first window that the file offers, or None where none of use."""
    centre, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    function = str(dataset.get("VOILUTFunction")).upper()
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    if not math.isfinite(centre) or not math.isfinite(width):
        return None
    if width < (1 if function == "LINEAR" else np.finfo(np.float32).tiny):
        return None
    return centre, width, function


def apply_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Map values to [0, 1] through a window (PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Parameters
    ----------
    values : ndarray
        float32.
    centre, width : float
        `width` is 1 at least where the function is "LINEAR", otherwise positive.
    function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
    """
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (values - centre) / width).clip(-80, 80)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:  # a step
        return (values > centre).astype(np.float32)
    return ((values - centre) / width + 0.5).clip(0, 1)


def _look_up(values: np.ndarray, table: Dataset, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Values through one item of a LUT sequence, and their depth in bits (PS3.3, C.11.1.1)."""
    entries, first, bits = (int(number) for number in table.LUTDescriptor)
    entries = entries or 2**16
    if first >= 2**15 and values.min() < 0:  # a negative number read as an unsigned one
        first -= 2**16
    data = table.LUTData
    if isinstance(data, bytes):
        big = dataset.file_meta.TransferSyntaxUID == uids.ExplicitVRBigEndian
        wide = ">u2" if big else "<u2"
        data = np.frombuffer(data, dtype="u1" if len(data) < 2 * entries else wide)
    answers = np.asarray(data)[:entries]
    if not 8 <= bits <= 16 or not len(answers):
        raise ValueError("a LUT of a depth that DICOM does not know")
    places = (values.astype(np.int64) - first).clip(0, len(answers) - 1)
    return answers[places], bits


def _stretched(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Values from the lower to the upper percentile of those seen, as 0 to 1."""
    sample = seen.ravel()[:: max(1, seen.size // 2**20)]
    low, high = np.percentile(sample, CUT_OFF) if sample.size else (0, 0)
    if high <= low:
        low, high = (sample.min(), sample.max()) if sample.size else (0, 0)
    return (values - np.float32(low)) / np.float32(max(high - low, 1e-12))
