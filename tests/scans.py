"""DICOM files and lossless JPEG streams, written plainly, for tests of how they are read."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

PATIENT = "Musterfrau^Erika"  # in every file, and never to be seen again
SECRETS = ("Musterfrau", "Erika", "4711-0815", "19640812", "Klinikum", "Sommerfeld")


def dicom(
    pixels: np.ndarray,
    syntax: uid.UID = uid.ExplicitVRLittleEndian,
    preamble: bool = True,
    frame: bytes | None = None,
    add: Iterable[tuple[str, str, object]] = (),
    **elements: object,
) -> bytes:
    """A file of these stored values; `frame` is their compressed form where the test makes it.

    `add` are elements whose value representation matters: keyword, representation, value.
    """
    colour = pixels.ndim == 3
    bits = 8 * pixels.itemsize
    dataset = Dataset()
    dataset.PatientName = PATIENT
    dataset.PatientID = "4711-0815"
    dataset.PatientBirthDate = "19640812"
    dataset.InstitutionName = "Klinikum am Park"
    dataset.ReferringPhysicianName = "Sommerfeld^Jo"
    dataset.SOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.Modality = "DX"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    for keyword, representation, value in add:
        dataset.add_new(keyword, representation, value)
    if "HighBit" not in elements:
        dataset.HighBit = max(dataset.BitsStored - 1, 0)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    if frame is not None:
        dataset.PixelData = encapsulate([frame])
    elif syntax.is_encapsulated:
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(
            buffer,
            implicit_vr=syntax == uid.ImplicitVRLittleEndian,
            little_endian=order == "<",
            enforce_file_format=preamble,
        )
    return buffer.getvalue()


def table(entries: list[int], first: int, bits: int) -> list[Dataset]:
    """A LUT sequence of one item."""
    item = Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    item.LUTData = entries
    item["LUTData"].VR = "US"
    return [item]


def jpeg_2000(pixels: np.ndarray) -> bytes:
    """A lossless codestream."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", irreversible=False, no_jp2=True)
    return buffer.getvalue()


def jpeg(pixels: np.ndarray, **options: object) -> bytes:
    """Baseline JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def lossless_jpeg(samples: np.ndarray, *options: int, **named: int) -> bytes:
    """Samples (rows, columns, components) by T.81, Annex H; the options are `LosslessJpeg`'s."""
    return LosslessJpeg(samples, *options, **named).stream()


@dataclass(frozen=True)
class LosslessJpeg:
    """An encoder; `band`: rows from restart to restart.

    Every category has a code of 5 bits (of 6 in the second table), which is all that is asked of
    a Huffman table.
    """

    samples: np.ndarray
    bits: int = 16
    predictor: int = 1
    transform: int = 0
    band: int = 0
    own_tables: bool = False
    one_scan: bool = True

    def stream(self) -> bytes:
        rows, columns, components = self.samples.shape
        header = bytes([self.bits]) + rows.to_bytes(2) + columns.to_bytes(2) + bytes([components])
        header += b"".join(bytes([c + 1, 0x11, 0]) for c in range(components))
        stream = b"\xff\xd8" + _segment(0xC3, header)
        stream += b"".join(_huffman_table(number) for number in range(1 + self.own_tables))
        if self.band:
            stream += _segment(0xDD, (self.band * columns).to_bytes(2))
        every = list(range(components))
        scans = [every] if self.one_scan else [[c] for c in every]
        return stream + b"".join(self._scan(components) for components in scans) + b"\xff\xd9"

    def _scan(self, components: list[int]) -> bytes:
        chosen = b"".join(bytes([c + 1, self._table(c) << 4]) for c in components)
        head = bytes([len(components)]) + chosen + bytes([self.predictor, 0, self.transform])
        out = _segment(0xDA, head)
        rows = len(self.samples)
        for part, top in enumerate(range(0, rows, self.band or rows)):
            if part:
                out += bytes([0xFF, 0xD0 + (part - 1) % 8])
            out += self._band(components, top, min(top + (self.band or rows), rows))
        return out

    def _band(self, components: list[int], top: int, end: int) -> bytes:
        """The entropy-coded data of the rows from `top` to `end`."""
        places = itertools.product(range(top, end), range(self.samples.shape[1]), components)
        text = "".join(
            _coded(self._at(y, x, c) - self._guess(y, x, c, top), 5 + self._table(c))
            for y, x, c in places
        )
        text += "1" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\x00")

    def _table(self, component: int) -> int:
        return component % 2 if self.own_tables else 0

    def _at(self, y: int, x: int, c: int) -> int:
        return int(self.samples[y, x, c]) >> self.transform

    def _guess(self, y: int, x: int, c: int, top: int) -> int:
        """The prediction of a sample (T.81, Table H.1)."""
        if y == top and x == 0:
            return 1 << (self.bits - self.transform - 1)
        if y == top:
            return self._at(y, x - 1, c)
        if x == 0:
            return self._at(y - 1, x, c)
        a, b, d = self._at(y, x - 1, c), self._at(y - 1, x, c), self._at(y - 1, x - 1, c)
        guesses = (a, b, d, a + b - d, a + ((b - d) >> 1), b + ((a - d) >> 1), (a + b) >> 1)
        return guesses[self.predictor - 1]


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2) + body


def _huffman_table(number: int) -> bytes:
    counts = [0] * 16
    counts[4 + number] = 17
    return _segment(0xC4, bytes([number, *counts, *range(17)]))


def _coded(difference: int, code_length: int) -> str:
    """The bits of a difference: its category's code, then the difference within the category."""
    value = (difference + 32767) % 65536 - 32767  # -32767 to 32768
    category = abs(value).bit_length()
    code = f"{category:0{code_length}b}"
    if category in (0, 16):
        return code
    return code + f"{value if value > 0 else value + 2**category - 1:0{category}b}"
