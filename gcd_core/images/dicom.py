"""The picture in a DICOM file, as a viewer would show it, and nothing else that the file says.

Of the elements in a file only `WANTED` are read: none of them names a patient, a place or a day.
`patient_age` alone reads the patient's age; no picture says it.
"""

import io
import logging
import math
import re
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pydicom.uid as uids
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_dataset
from pydicom.pixels import pixel_array
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
COLOURS = ("Red", "Green", "Blue")
PALETTE = tuple(
    f"{segmented}{colour}PaletteColorLookupTable{part}"
    for colour in COLOURS
    for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
IN_GROUPS = {  # what enhanced objects say there, of which only the first frame counts
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    "PixelMeasuresSequence": ("PixelSpacing",),
}
WANTED = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration"),
    *("PhotometricInterpretation", "PixelRepresentation", "PixelPaddingValue"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelPaddingRangeLimit", "PixelData"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *(*PALETTE, *SPACINGS, *GROUPS),
)
PIXELS = Tag("PixelData")
TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in WANTED]
MAX_READS = 100_000  # of elements and items: a picture's file has some hundreds
MAX_VALUE = 2**20  # bytes of a value that is not the pixels; a LUT of 16 bits has 128 KiB
MAX_INFLATED = 4 * MAX_BYTES
CUT_OFF = (0.5, 99.5)  # percentiles that become black and white where the file has no window
DEPTHS = (8, 10, 12, 14, 16)  # of the entries of a table
LEAST_CONTRAST = 0.1  # of the range from black to white, that a window must give to the pixels
MOST_WINDOWS = 8  # of one file that are tried
MOST_ASPECT = 10.0  # of a pixel's sides: what is more is no measure
NEXT_WINDOW = (
    "The DICOM file's first window does not fit its pixels; another one that it offers is used."
)
NO_WINDOW = (
    "The DICOM file's window does not fit its pixels, of which it would show next to nothing; "
    "their own range is shown instead."
)

STRETCHED = (
    "The DICOM file has no window: its pixels are spread from black to white, which may look "
    "higher in contrast."
)


def read_dicom(data: bytes) -> Image.Image:
    """Decode the picture of a DICOM file.

    Stored values go through the modality LUT (or rescale slope and intercept) and then through the
    file's first VOI LUT, or else its first window (PS3.3, C.11.1 and C.11.2), that fits: one that
    spreads the pixels over a tenth of the range at least, and is no more than twice as wide as what
    the file's bits can hold. Where there is none, pictures of 8 bits or less keep their range, and
    deeper ones are stretched from their 0.5th to their 99.5th percentile; where that, or another
    window than the first, is taken, `info["note"]` of the picture says so. Of enhanced objects,
    what the first frame's functional groups say counts. Tables are as deep as their entries,
    whatever their descriptor says. MONOCHROME1, and MONOCHROME2 with the presentation LUT shape
    INVERSE, are inverted. Padding is black, colour of every sort becomes RGB, and where pixels are
    no squares, the picture is lengthened along its coarser side.

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


AGE = re.compile(r"(\d{3})([DWMY])")  # PS3.5, 6.2: value representation AS
YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


def patient_age(data: bytes) -> float | None:
    """The patient's age in years, as a DICOM file tells it (0010,1010); None where it does not."""
    _hush()
    try:
        told = AGE.fullmatch(str(_read(data, [Tag("PatientAge")]).get("PatientAge", "")).strip())
    except Exception:  # broken files raise every type
        return None
    return None if told is None else int(told[1]) * YEARS[told[2]]


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


def _read(data: bytes, tags: list[BaseTag | int] = TAGS) -> Dataset:
    """The elements of these tags, with the transfer syntax; inflated within a limit."""
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
    dataset = read_dataset(file, implicit, little, specific_tags=tags)
    _check_values(dataset)
    _take_from_groups(dataset)
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


def _take_from_groups(dataset: Dataset) -> None:
    """Bring what is wanted of the functional groups to the dataset itself, and drop the rest."""
    for name in GROUPS:
        for group in (dataset.get(name) or [])[:1]:
            for sequence, keywords in IN_GROUPS.items():
                for item in (group.get(sequence) or [])[:1]:
                    for keyword in set(keywords) & set(item.dir()):
                        dataset[keyword] = item[keyword]
        if name in dataset:
            del dataset[name]


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
        grey, told = _grey(stored, dataset)
        image = _with_square_pixels(Image.fromarray(grey), dataset)
        return _noted(Image.fromarray(np.asarray(image).clip(0, 1)), told)
    bits = dataset.BitsStored
    if kind == "PALETTE COLOR":
        stored, bits = _coloured(stored, dataset)
    levels = stored.astype(np.float32) * (255 / (2**bits - 1))
    image = Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))
    return _with_square_pixels(image, dataset)


def _noted(image: Image.Image, told: str) -> Image.Image:
    if told:
        image.info["note"] = told
    return image


def _with_square_pixels(image: Image.Image, dataset: Dataset) -> Image.Image:
    """The picture, along its coarser side made as long as it is in truth."""
    aspect = _aspect(dataset)
    width, height = image.size
    wanted = (width, round(height * aspect)) if aspect > 1 else (round(width / aspect), height)
    if abs(wanted[0] * wanted[1] / (width * height) - 1) < 0.01:
        return image
    check_size(*wanted)
    return image.resize(wanted, Image.Resampling.LANCZOS)


def _aspect(dataset: Dataset) -> float:
    """A pixel's height by its width, as the first element that says so."""
    for keyword in SPACINGS:
        sides = _numbers(dataset, keyword)
        if len(sides) == 2 and all(math.isfinite(side) and side > 0 for side in sides):
            aspect = sides[0] / sides[1]
            if 1 / MOST_ASPECT <= aspect <= MOST_ASPECT:
                return aspect
    return 1.0


# -- decoding ------------------------------------------------------------------------------------


def _pixels(dataset: Dataset) -> np.ndarray:
    """Stored values (rows, columns) or RGB (rows, columns, 3)."""
    return _of_stored_bits(_decoded(dataset), dataset)


def _of_stored_bits(words: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Values without the bits above those that are stored, which may be those of an overlay."""
    unused = 8 * words.itemsize - dataset.BitsStored
    return (words << unused) >> unused if unused > 0 else words


def _decoded(dataset: Dataset) -> np.ndarray:
    """Pixels as they come out of the file, whatever stands in their unused bits."""
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


def _grey(stored: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, str]:
    """Brightness (rows, columns), float32 in [0, 1], of stored values; what is to be told of it."""
    padding = _padding(stored, dataset)
    values, depth, span = _modality(stored, dataset)
    seen = values[~padding] if padding.any() and not padding.all() else values
    grey, told = _through_window(values, seen, span, dataset)
    if grey is not None:
        pass
    elif depth is not None and depth <= 8:
        grey = values.astype(np.float32) / (2**depth - 1)
    else:
        grey, told = _stretched(values.astype(np.float32), seen), told or STRETCHED
    grey = grey.clip(0, 1)
    inverse = str(dataset.get("PresentationLUTShape")).upper() == "INVERSE"
    if dataset.PhotometricInterpretation == "MONOCHROME1" or inverse:
        grey = 1 - grey
    grey[padding] = 0
    return grey, told


def _through_window(
    values: np.ndarray, seen: np.ndarray, span: float, dataset: Dataset
) -> tuple[np.ndarray | None, str]:
    """Values through the first of the file's tables and windows that fits, or None."""
    tables = (dataset.get("VOILUTSequence") or [])[:MOST_WINDOWS]
    ways: list[Callable[[np.ndarray], np.ndarray] | None] = [
        partial(_through_table, table=table, dataset=dataset) for table in tables
    ]
    for centre, width, function in _windows(dataset):
        window = partial(_in_window, centre=centre, width=width, function=function)
        ways.append(window if width <= 2 * span else None)
    ends = np.array([seen.min(), seen.max()])
    for number, way in enumerate(ways):
        if way is not None and (ends[0] == ends[1] or np.ptp(way(seen)) >= LEAST_CONTRAST):
            return way(values), NEXT_WINDOW if number else ""
    return None, NO_WINDOW if ways else ""


def _through_table(values: np.ndarray, table: Dataset, dataset: Dataset) -> np.ndarray:
    found, bits = _look_up(values, table, dataset)
    return found.astype(np.float32) / (2**bits - 1)


def _in_window(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    return apply_window(values.astype(np.float32), centre, width, function)


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Which pixels are no part of the picture (PS3.3, C.7.5.1.1.2)."""
    value = dataset.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = dataset.get("PixelPaddingRangeLimit")
    ends = [_as_stored(end, stored, dataset) for end in (value, value if limit is None else limit)]
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(value: int, stored: np.ndarray, dataset: Dataset) -> int:
    """A number of 16 bits as a pixel of these bits, whether it was written signed or not."""
    signed = stored.dtype.kind == "i"
    word = (value + 2**15) % 2**16 - 2**15 if signed else value % 2**16
    kept = np.array([word], dtype=np.int64).astype(stored.dtype)
    return int(_of_stored_bits(kept, dataset)[0])


def _modality(stored: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, int | None, float]:
    """Values after the modality LUT, their depth in bits where they begin at 0, and their span.

    The span is the range of all that the file's bits can hold.
    """
    tables = dataset.get("ModalityLUTSequence")
    if tables:
        values, depth = _look_up(stored, tables[0], dataset)
        return values, depth, 2.0**depth
    slope, intercept = _number(dataset, "RescaleSlope", 1), _number(dataset, "RescaleIntercept", 0)
    if not slope or not math.isfinite(slope) or not math.isfinite(intercept):
        raise ImageError(
            "The DICOM file's rescale slope or intercept is no usable number; export it again."
        )
    span = 2**dataset.BitsStored * abs(slope)
    if (slope, intercept) == (1, 0):
        return stored, None if dataset.PixelRepresentation else dataset.BitsStored, span
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept), None, span


def _numbers(dataset: Dataset, keyword: str) -> list[float]:
    """The values of an element as floats; NaN where one is no number."""
    value: Any = dataset.get(keyword)
    if value is None or value == "":
        return []
    return [_float(one) for one in ([value] if isinstance(value, int | float | str) else value)]


def _float(value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError, OverflowError):
        return math.nan


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    """The first value of an element as a float, if there is one."""
    try:
        return (_numbers(dataset, keyword) or [default])[0]
    except (ValueError, TypeError, OverflowError):
        return math.nan


def _windows(dataset: Dataset) -> list[tuple[float, float, str]]:
    """The windows that the file offers: centres, widths, and the function of all of them."""
    function = str(dataset.get("VOILUTFunction")).upper()
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        function = "LINEAR"
    least = 1 if function == "LINEAR" else float(np.finfo(np.float32).tiny)
    try:
        centres, widths = (_numbers(dataset, f"Window{name}") for name in ("Center", "Width"))
    except (ValueError, TypeError, OverflowError):  # an element that is no number at all
        return []
    return [
        (centre, width, function)
        for centre, width in list(zip(centres, widths, strict=False))[:MOST_WINDOWS]
        if math.isfinite(centre) and math.isfinite(width) and width >= least
    ]


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
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    answers = _entries(table.LUTData, _count(count), dataset)
    if not 8 <= bits <= 16 or not len(answers):
        raise ValueError("a LUT of a depth that DICOM does not know")
    return answers[_places(values, first, len(answers))], _depth(answers)


def _coloured(stored: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, int]:
    """Values through the palette (rows, columns, 3), and their depth (PS3.3, C.7.6.3.1.5)."""
    count, first, bits = (int(n) for n in dataset.RedPaletteColorLookupTableDescriptor)
    tables = []
    for colour in COLOURS:
        whole = dataset.get(f"{colour}PaletteColorLookupTableData")
        if whole is None:
            segments = dataset[f"Segmented{colour}PaletteColorLookupTableData"].value
            wide = 1 if bits == 8 else 2
            parts = _entries(segments, len(segments) // wide, dataset)
            tables.append(_expanded(parts.tolist(), wide, _count(count)))
        else:
            tables.append(_entries(whole, _count(count), dataset))
    shortest = min(len(table) for table in tables)
    palette = np.stack([table[:shortest] for table in tables], -1)
    return palette[_places(stored, first, shortest)], _depth(palette)


def _count(entries: int) -> int:
    """How many entries a table has: 0 stands for 65,536, and some write the number as signed."""
    return entries % 2**16 or 2**16


def _places(values: np.ndarray, first: int, count: int) -> np.ndarray:
    """Each value's place in a table that begins at `first`; beyond its ends, these."""
    if first >= 2**15 and values.min() < 0:  # a negative number read as an unsigned one
        first -= 2**16
    return (values.astype(np.int64) - first).clip(0, count - 1)


def _depth(entries: np.ndarray) -> int:
    """The least usual depth that holds all entries, whatever their descriptor says."""
    return next(bits for bits in DEPTHS if entries.max() < 2**bits)


def _entries(data: Any, count: int, dataset: Dataset) -> np.ndarray:
    """The entries of a table, of 8 or 16 bits; of 8, two are in a word, the lower first."""
    if isinstance(data, bytes):
        big = dataset.file_meta.TransferSyntaxUID == uids.ExplicitVRBigEndian
        words = np.frombuffer(data + bytes(len(data) % 2), dtype=">u2" if big else "<u2")
    else:
        words = np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if 2 * len(words) <= count + 1:
        words = words.astype("<u2").view("u1")
    return words[:count].astype(np.uint16)


def _expanded(parts: list[int], wide: int, count: int) -> np.ndarray:
    """A palette of `count` entries of its segments (PS3.3, C.7.9.2), of `wide` bytes each."""
    table: list[int] = []

    def add(at: int) -> int:
        """Add a discrete or linear segment; return the place after it."""
        kind, length = parts[at], parts[at + 1]
        if kind == 0:
            table.extend(parts[at + 2 : at + 2 + length])
            return at + 2 + length
        if kind != 1 or not table:
            raise ValueError("a segment that DICOM does not know, or that continues nothing")
        line = np.linspace(table[-1], parts[at + 2], length + 1)[1:]
        table.extend(line.round().astype(int).tolist())
        return at + 3

    at = 0
    while at + 2 < len(parts) and len(table) < count:
        if parts[at] != 2:
            at = add(at)
            continue
        offset = sum(
            part << (8 * wide * i) for i, part in enumerate(parts[at + 2 : at + 2 + 4 // wide])
        )
        inner = offset // wide
        for _ in range(parts[at + 1]):
            inner = add(inner)
            if len(table) >= count:
                break
        at += 2 + 4 // wide
    return np.array(table[:count], dtype=np.uint16)


def _stretched(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Values from the lower to the upper percentile of those seen, as 0 to 1."""
    sample = seen.ravel()[:: max(1, seen.size // 2**20)]
    low, high = np.percentile(sample, CUT_OFF) if sample.size else (0, 0)
    if high <= low:
        low, high = (sample.min(), sample.max()) if sample.size else (0, 0)
    return (values - np.float32(low)) / np.float32(max(high - low, 1e-12))
