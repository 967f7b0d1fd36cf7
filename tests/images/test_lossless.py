"""RLE and lossless JPEG: exact on what others and a plain encoder wrote, calm on the rest."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from gcd_core.images.lossless import FrameError, decode_lossless_jpeg, decode_rle, jpeg_header
from tests.scans import jpeg, lossless_jpeg

RNG = np.random.default_rng(0)
SMOOTH = (
    2000
    + 1500 * np.sin(np.arange(23)[:, None] / 5) * np.cos(np.arange(17) / 7)
    + RNG.normal(0, 9, (23, 17))
).astype(np.uint16)[..., None]
NOISE = RNG.integers(0, 2**16, (9, 31, 1)).astype(np.uint16)
COLOUR = RNG.integers(0, 2**8, (7, 12, 3)).astype(np.uint16)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("samples", [SMOOTH, NOISE], ids=["smooth", "noise"])
def test_every_predictor(samples, predictor):
    assert (decode_lossless_jpeg(lossless_jpeg(samples, 16, predictor)) == samples).all()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_depths(bits):
    samples = (NOISE >> (16 - bits)).astype(np.uint16)
    stream = lossless_jpeg(samples, bits)
    assert jpeg_header(stream).bits == bits
    assert (decode_lossless_jpeg(stream) == samples).all()


def test_the_steps_that_wrap_around():
    samples = np.uint16([[0, 32768, 0, 65535, 0, 32767, 65535, 1]])[..., None]
    assert (decode_lossless_jpeg(lossless_jpeg(samples)) == samples).all()


@pytest.mark.parametrize("own_tables", [False, True])
@pytest.mark.parametrize("one_scan", [False, True])
def test_colour(own_tables, one_scan):
    stream = lossless_jpeg(COLOUR, 8, own_tables=own_tables, one_scan=one_scan)
    assert (decode_lossless_jpeg(stream) == COLOUR).all()


@pytest.mark.parametrize("predictor", [1, 4, 7])
@pytest.mark.parametrize("band", [1, 5, 23])
def test_restarts(predictor, band):
    stream = lossless_jpeg(SMOOTH, 12, predictor, band=band)
    assert (decode_lossless_jpeg(stream) == SMOOTH).all()


def test_point_transform():
    assert (decode_lossless_jpeg(lossless_jpeg(NOISE, transform=3)) == NOISE >> 3 << 3).all()


def test_pictures_larger_than_a_chunk(monkeypatch):
    monkeypatch.setattr("gcd_core.images.lossless.CHUNK", 40)
    for samples in (NOISE, SMOOTH):
        assert (decode_lossless_jpeg(lossless_jpeg(samples)) == samples).all()
    assert (decode_lossless_jpeg(lossless_jpeg(COLOUR, 8, own_tables=True)) == COLOUR).all()


def first_frame(name: str) -> tuple[bytes, np.ndarray]:
    """A frame of one of pydicom's files, and what pydicom's own reader makes of its twin."""
    dataset = dcmread(get_testdata_file(name))
    return get_frame(dataset.PixelData, 0, number_of_frames=1), dataset


def test_a_stream_that_another_program_wrote():
    frame, _ = first_frame("SC_rgb_jpeg_gdcm.dcm")
    twin = dcmread(get_testdata_file("SC_rgb_rle.dcm")).pixel_array
    assert (decode_lossless_jpeg(frame) == twin).all()


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "SC_rgb_rle.dcm", "SC_rgb_rle_16bit.dcm", "SC_rgb_rle_32bit.dcm"]
)
def test_rle_as_pydicom_reads_it(name):
    frame, dataset = first_frame(name)
    size = dataset.BitsAllocated // 8
    pixels = decode_rle(frame, dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, size)
    expected = dataset.pixel_array
    assert (pixels.view(expected.dtype).reshape(expected.shape) == expected).all()


def test_rle_by_hand():
    def frame(*segments: bytes) -> bytes:
        starts = np.cumsum([64, *map(len, segments)])[: len(segments)]
        header = [len(segments), *starts, *[0] * (15 - len(segments))]
        return np.array(header, dtype="<u4").tobytes() + b"".join(segments)

    # -2: the next byte three times; 1: two bytes as they are; -128: nothing
    high, low = bytes([254, 7, 128, 1, 8, 9]), bytes([4, 1, 2, 3, 4, 5])
    wanted = [[7 * 256 + 1, 7 * 256 + 2, 7 * 256 + 3, 8 * 256 + 4, 9 * 256 + 5]]
    assert decode_rle(frame(high, low), 1, 5, 1, 2)[..., 0].tolist() == wanted
    bomb = frame(bytes([129, 0]) * 10**6)  # 128 MB, of which a picture wants 5 bytes
    assert decode_rle(bomb, 1, 5, 1, 1).tolist() == np.zeros((1, 5, 1)).tolist()
    for broken in (frame(high), frame(high, low[:4]), frame(high, b""), b"", bytes(64)):
        with pytest.raises(FrameError):
            decode_rle(broken, 1, 5, 1, 2)


def test_other_streams_are_refused():
    lossy = jpeg(np.zeros((8, 8), dtype=np.uint8))
    assert (jpeg_header(lossy).rows, jpeg_header(lossy).marker) == (8, 0xC0)
    good = lossless_jpeg(SMOOTH)
    for stream in (b"", b"\xff\xd8", lossy, good[:200], good[:-40], good[:2] + good[-2:]):
        with pytest.raises(FrameError):
            decode_lossless_jpeg(stream)
    with pytest.raises(FrameError):
        jpeg_header(b"\xff\xd8\xff\xd9")


@pytest.mark.parametrize("seed", range(3))
def test_damage_raises_one_sort_of_error_or_none(seed):
    rng = np.random.default_rng(seed)
    streams = [lossless_jpeg(SMOOTH, 12, 1, band=5), lossless_jpeg(COLOUR, 8, 6, own_tables=True)]
    refused = 0
    for stream in streams * 40:
        broken = bytearray(stream)
        for place in rng.integers(2, min(len(stream), 200), 3):
            broken[place] = rng.integers(0, 256)
        header = None
        try:
            header = jpeg_header(bytes(broken))
            if header.rows * header.columns <= 10**5:  # as the caller sees to
                assert decode_lossless_jpeg(bytes(broken)).dtype == np.uint16
        except FrameError:
            refused += 1
    assert 0 < refused <= 80
