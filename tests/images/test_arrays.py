"""Numbers of every type as pictures: arrays, and the TIFFs that tifffile writes of them."""

import io

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from gcd_core.images.limits import ImageError
from gcd_core.images.mask import load_mask
from gcd_core.images.reading import load_image, looks_like_photograph, picture_size, shown_name

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)
COLOUR = np.stack([RAMP, RAMP.T, 1 - RAMP], -1)
TYPES = ["uint8", "uint16", "uint32", "int16", "int32", "float16", "float32", "float64"]


def tiff(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **{"photometric": "minisblack"} | options)
    return buffer.getvalue()


def pixels(source: object, channels: int = 1) -> np.ndarray:
    image = load_image(source, 64, channels)[0].permute(1, 2, 0).numpy()
    return image[..., 0] if channels == 1 else image


def refusal(source: object) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, 64, 1)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
    assert "damaged" not in str(caught.value)
    return str(caught.value)


def as_type(values: np.ndarray, dtype: str) -> np.ndarray:
    """Fractions as the whole range of a type, or as fractions."""
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return values.astype(kind)
    full = kind.kind == "u" and kind.itemsize < 8
    return (values * (np.iinfo(kind).max if full else 4095)).astype(kind)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_grey_tiffs_of_every_type(dtype, order, compression):
    data = tiff(as_type(RAMP, dtype), byteorder=order, compression=compression)
    assert np.abs(pixels(data) - RAMP).max() < 5e-3


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "float16", "float32", "float64"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_tiffs_of_every_type(dtype, planar):
    values = as_type(COLOUR, dtype)
    stored = values if planar == "contig" else np.moveaxis(values, -1, 0)
    data = tiff(stored, photometric="rgb", planarconfig=planar)
    assert np.abs(pixels(data, 3) - COLOUR).max() < 5e-3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_white_is_zero_and_orientation_of_float_tiffs(dtype):
    data = tiff((1 - RAMP).astype(dtype), photometric="miniswhite")
    assert np.abs(pixels(data) - RAMP).max() < 1e-5
    turned = tiff(np.ascontiguousarray(RAMP.T).astype(dtype), extratags=[(274, 3, 1, 5, True)])
    assert np.abs(pixels(turned) - RAMP).max() < 1e-5


def test_alpha_of_float_tiffs():
    alpha = np.ones_like(RAMP)
    alpha[:32] = 0
    layers = np.dstack([COLOUR, alpha]).astype(np.float32)
    data = tiff(layers, photometric="rgb", extrasamples=["unassalpha"])
    image = pixels(data, 3)
    assert not image[:32].any() and np.abs(image[32:] - COLOUR[32:]).max() < 5e-3
    spare = tiff(layers, photometric="rgb", extrasamples=[0])
    assert np.abs(pixels(spare, 3) - COLOUR).max() < 5e-3


@pytest.mark.parametrize(
    "data, word",
    [
        (tiff(np.zeros((8, 8), np.complex64)), "complex64"),
        (tiff(np.zeros((8, 8, 5), np.float32), planarconfig="contig"), "5 values"),
        (tiff(np.full((8, 8), np.nan)), "NaN"),
        (tiff(np.full((8, 8), np.inf, np.float16)), "NaN"),
    ],
)
def test_tiffs_that_are_no_picture_are_named(data, word):
    assert word in refusal(data)


def test_a_signed_byte_is_signed():
    values = (RAMP * 255 - 128).round().astype(np.int8)
    assert np.abs(pixels(tiff(values)) - RAMP).max() < 5e-3


# -- fractions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("beyond", [1.0001, 1.01, 1.1, 1.3, 1.9, -1e-6, -0.01, -0.2])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_small_overshoot_of_fractions_is_clipped(beyond, dtype):
    values = RAMP.astype(dtype)
    values[0, 0] = beyond
    for source in (values, tiff(values)):
        image = pixels(source)
        assert np.abs(image - values.astype(float).clip(0, 1)).max() < 1e-3


@pytest.mark.parametrize("filter", [Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
@pytest.mark.parametrize("top", [1, 255, 4095, 65535])
def test_what_a_sharp_filter_makes_of_edges_is_clipped(filter, top):
    edges = np.kron(np.random.default_rng(0).integers(0, 2, (4, 4)), np.ones((8, 8))) * top
    resized = Image.fromarray(edges.astype(np.float32)).resize((64, 64), filter)
    values = np.asarray(resized)
    assert values.min() < 0 and values.max() > top, "it goes beyond"
    assert np.abs(pixels(values) - (values / top).clip(0, 1)).max() < 1e-5


@pytest.mark.parametrize("low, high", [(-1, 1), (-0.5, 0.5), (-1000, 2000), (-1.5, 4), (-100, 255)])
def test_numbers_around_zero_are_stretched(low, high):
    values = (low + (high - low) * RAMP).astype(np.float32)
    assert np.abs(pixels(values) - RAMP).max() < 1e-4


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_floats_of_a_bit_depth(bits):
    values = (RAMP * (2**bits - 1)).astype(np.float32)
    assert np.abs(pixels(values) - RAMP).max() < 1e-5


# -- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*TYPES, "uint64", "int64", ">u2", ">f4"])
def test_arrays_of_every_type(dtype):
    values = as_type(RAMP, dtype)
    for source in (values, values[..., None], np.asfortranarray(values)):
        assert np.abs(pixels(source) - RAMP).max() < 5e-3
    image = pixels(as_type(COLOUR, dtype), 3)
    assert np.abs(image - COLOUR).max() < 5e-3


def test_arrays_of_truth_and_of_alpha():
    assert (pixels(RAMP > 0.5) == (RAMP > 0.5)).all()
    flat = (RAMP * 255).astype(np.uint8)
    half = np.dstack([flat, np.where(RAMP > 0.5, 255, 0).astype(np.uint8)])
    assert np.abs(pixels(half) - np.where(RAMP > 0.5, flat / 255, 0)).max() < 1e-6
    four = np.dstack([(COLOUR * 255).astype(np.uint8), np.full((64, 64), 255, np.uint8)])
    assert np.abs(pixels(four, 3) - COLOUR).max() < 5e-3


def test_an_array_is_what_a_file_of_it_is():
    values = (COLOUR * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    for channels in (1, 3):
        assert torch.equal(
            load_image(values, 32, channels), load_image(buffer.getvalue(), 32, channels)
        )
    assert picture_size(values[:, :40]) == (40, 64)
    assert looks_like_photograph(values) and shown_name("mine", values) == "mine"
    mask = np.zeros((8, 8), bool)
    mask[2:4] = True
    assert torch.equal(load_mask(mask, 8), torch.from_numpy(mask))


@pytest.mark.parametrize(
    "source, words",
    [
        (np.zeros((3, 64, 64)), ("(3, 64, 64)", "(height, width, 3)")),
        (np.zeros((1, 64, 64, 3)), ("(1, 64, 64, 3)",)),
        (np.zeros(8), ("(8,)",)),
        (np.zeros((0, 8)), ("no pixels",)),
        (np.zeros((8, 8), complex), ("complex128",)),
        (np.full((8, 8), "a"), ("str",)),
        (np.full((8, 8), None), ("object",)),
        (np.full((8, 8), np.nan), ("NaN",)),
        (torch.zeros(3, 8, 8), ("Tensor", "NumPy array")),
        (None, ("NoneType",)),
        ([[1, 2], [3, 4]], ("list",)),
        (5, ("int",)),
        (io.StringIO("text"), ("StringIO",)),
    ],
)
def test_what_is_no_picture_is_refused_by_its_name(source, words):
    told = refusal(source)
    assert all(word in told for word in words)


def test_bytes_of_other_types():
    buffer = io.BytesIO()
    Image.fromarray((RAMP * 255).astype(np.uint8)).save(buffer, "PNG")
    whole = load_image(buffer.getvalue(), 64, 1)
    assert torch.equal(load_image(bytearray(buffer.getvalue()), 64, 1), whole)
    assert torch.equal(load_image(memoryview(buffer.getvalue()), 64, 1), whole)
