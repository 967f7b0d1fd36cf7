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
