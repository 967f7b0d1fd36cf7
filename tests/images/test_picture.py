"""Pictures at their own size: every pixel of the file, and what the generator sees of it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.images.limits import ImageError
from gcd_core.images.picture import load_picture
from gcd_core.images.reading import load_image


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def noise(*shape: int, levels: int = 256) -> np.ndarray:
    kind = np.uint8 if levels == 256 else np.uint16
    return np.random.default_rng(0).integers(0, levels, shape).astype(kind)


@pytest.mark.parametrize("shape", [(128, 128), (224, 224), (400, 600), (1, 1), (7, 900)])
def test_every_pixel_of_a_file_is_kept(shape: tuple[int, int]) -> None:
    pixels = noise(*shape)
    picture = load_picture(png(pixels), 128, 1)
    assert picture.bits == 8 and picture.size == shape
    np.testing.assert_array_equal((picture.pixels[0, 0] * 255).round().numpy(), pixels)
    assert torch.equal(picture.view, load_image(png(pixels), 128, 1))


def test_sixteen_bits_keep_their_range() -> None:
    pixels = noise(300, 200, levels=65536)
    picture = load_picture(png(pixels), 64, 1)
    assert picture.bits == 16
    np.testing.assert_array_equal((picture.pixels[0, 0].double() * 65535).round(), pixels)
    assert torch.equal(picture.view, load_image(png(pixels), 64, 1))


def test_colour_stays_and_a_grey_file_becomes_colour() -> None:
    pixels = noise(50, 40, 3)
    colour = load_picture(png(pixels), 32, 3)
    np.testing.assert_array_equal((colour.pixels[0].permute(1, 2, 0) * 255).round(), pixels)
    grey = load_picture(png(pixels[..., 0]), 32, 3)
    assert grey.pixels.shape == (1, 3, 50, 40)
    assert torch.equal(grey.pixels[0, 0], grey.pixels[0, 2])


@pytest.mark.parametrize(
    ("fit", "size"), [("stretch", (20, 50)), ("crop", (20, 20)), ("pad", (50, 50))]
)
def test_the_domains_fit_holds(fit: str, size: tuple[int, int]) -> None:
    pixels = noise(20, 50)
    picture = load_picture(png(pixels), 16, 1, fit)
    assert picture.size == size
    assert torch.equal(picture.view, load_image(png(pixels), 16, 1, fit))
    shown = (picture.pixels[0, 0] * 255).round().numpy()
    own = {"stretch": pixels, "crop": pixels[:, 15:35], "pad": np.pad(pixels, ((15, 15), (0, 0)))}
    np.testing.assert_array_equal(shown, own[fit])


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_a_large_picture_is_brought_down(fit: str) -> None:
    pixels = noise(300, 1500)
    picture = load_picture(png(pixels), 16, 1, fit)
    assert max(picture.size) == {"stretch": 1024, "crop": 300, "pad": 1024}[fit]
    if fit == "stretch":
        theirs = Image.fromarray(pixels).resize((1024, 205), Image.Resampling.LANCZOS)
        np.testing.assert_array_equal((picture.pixels[0, 0] * 255).round(), np.asarray(theirs))
    assert max(load_picture(png(pixels), 16, 1, fit, max_side=40).size) == 40


@pytest.mark.parametrize("side", [0, -1, 4097])
def test_a_limit_that_is_none_is_refused(side: int) -> None:
    with pytest.raises(ImageError, match="1 to 4096 pixels"):
        load_picture(png(noise(8, 8)), 8, 1, max_side=side)
