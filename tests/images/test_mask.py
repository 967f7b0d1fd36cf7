"""Masks from files: what is marked, and what is no mask."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.images.limits import ImageError
from gcd_core.images.mask import load_mask

MARKED = np.zeros((8, 8), dtype=bool)
MARKED[2:5, 1:7] = True


def encoded(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **({"format": "PNG"} | options))
    return buffer.getvalue()


def painted(mode: str) -> Image.Image:
    """The mask as a drawing program saves it in a mode."""
    if mode == "RGBA":  # a red brush on nothing
        layers = np.zeros((8, 8, 4), dtype=np.uint8)
        layers[MARKED] = (255, 0, 0, 255)
        return Image.fromarray(layers)
    return Image.fromarray(MARKED.astype(np.uint8) * 255).convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA"])
def test_the_brighter_of_two_values_is_marked_and_paint_on_nothing(mode):
    for source in (encoded(painted(mode)), painted(mode)):
        assert torch.equal(load_mask(source, 8), torch.from_numpy(MARKED))


def test_a_mask_of_the_pictures_size_is_brought_to_the_networks():
    large = Image.fromarray(np.kron(MARKED, np.ones((3, 5))).astype(np.uint8) * 255)
    assert large.size == (40, 24)
    assert torch.equal(load_mask(encoded(large), 8, (40, 24)), torch.from_numpy(MARKED))
    with pytest.raises(
        ImageError, match="is 40 x 24 pixels; draw it on the picture, 8 x 8 or 24 x"
    ):
        load_mask(encoded(large), 8, (24, 40))
    with pytest.raises(ImageError, match=r"draw it on the picture, 8 x 8\."):
        load_mask(encoded(large), 8)


def test_empty_and_full_masks_are_what_they_are():
    assert not load_mask(encoded(Image.new("L", (8, 8))), 8).any()
    assert load_mask(encoded(Image.new("L", (8, 8), 255)), 8).all()


def test_what_is_no_mask_is_refused():
    soft = painted("L").resize((16, 16), Image.Resampling.BILINEAR)
    with pytest.raises(ImageError, match="two, black outside and white inside"):
        load_mask(encoded(soft), 16)
    frames = [painted("L"), painted("L").rotate(90)]
    moving = encoded(frames[0], format="GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="an animation"):
        load_mask(moving, 8)
    with pytest.raises(ImageError, match="not a picture"):
        load_mask(b"no picture", 8)


WHITE = np.where(MARKED[..., None], 255, 0).astype(np.uint8).repeat(3, -1)


def layered(colours: np.ndarray, alpha: np.ndarray | int) -> Image.Image:
    return Image.fromarray(np.dstack([colours, np.full((8, 8), alpha, np.uint8)]))


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_that_is_everywhere_the_same_says_nothing(alpha, mode):
    mask = layered(WHITE, alpha)
    if mode == "LA":
        mask = Image.merge("LA", [mask.getchannel("R"), mask.getchannel("A")])
    for source in (mask, encoded(mask), np.asarray(mask)):
        assert torch.equal(load_mask(source, 8), torch.from_numpy(MARKED))


def test_an_opaque_palette_and_an_opaque_key_say_nothing():
    palette = Image.fromarray(MARKED.astype(np.uint8))
    palette.putpalette([0, 0, 0, 255, 255, 255])
    for transparency in (bytes([255, 255]), 9):
        mask = encoded(palette, transparency=transparency)
        assert torch.equal(load_mask(mask, 8), torch.from_numpy(MARKED))


def test_sheets_that_nobody_painted_on():
    for colour in (0, 255):
        even = np.full((8, 8, 3), colour, np.uint8)
        assert not load_mask(layered(even, 0), 8).any()
        assert load_mask(layered(even, 255), 8).all().item() == (colour == 255)


def test_paint_of_any_colour_on_nothing_is_marked():
    for colour in (0, 90, 255):
        even = np.full((8, 8, 3), colour, np.uint8)
        alpha = np.where(MARKED, 255, 0).astype(np.uint8)
        assert torch.equal(load_mask(layered(even, alpha), 8), torch.from_numpy(MARKED))


@pytest.mark.parametrize("low, high", [(0, 65535), (256, 512), (0, 1), (1000, 60000)])
def test_masks_of_16_bits(low, high):
    mask = Image.fromarray(np.where(MARKED, high, low).astype(np.uint16))
    assert torch.equal(load_mask(encoded(mask), 8), torch.from_numpy(MARKED))
