"""Tensors to pictures: exact pixels, heat maps by their colours, sweeps frame by frame."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.images.drawing import (
    BRIGHTNESS,
    EVIDENCE,
    at_most,
    captioned,
    difference,
    encode_png,
    heat_colours,
    overlay,
    save_gif,
    save_png,
    to_pil,
)
from gcd_core.images.limits import ImageError
from tests.pil import from_pil


@pytest.mark.parametrize("channels", [1, 3])
def test_pil_and_back(channels):
    image = torch.randint(0, 256, (1, channels, 9, 7)) / 255
    picture = to_pil(image)
    assert picture.size == (7, 9) and picture.mode == {1: "L", 3: "RGB"}[channels]
    assert torch.equal(from_pil(picture), image)
    assert torch.equal(from_pil(to_pil(image[0])), image)
    again = Image.open(io.BytesIO(encode_png(image)))
    assert torch.equal(from_pil(again), image)


def test_to_pil_rounds_and_clamps():
    image = torch.tensor([-1.0, 0.4 / 255, 0.6 / 255, 2.0]).view(1, 1, 1, 4)
    assert list(to_pil(image).tobytes()) == [0, 0, 1, 255]


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 4), (4, 4)])
def test_to_pil_refuses_other_shapes(shape):
    with pytest.raises(ImageError, match="channels"):
        to_pil(torch.zeros(shape))


def test_difference_is_signed_and_averaged_over_channels():
    a, b = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    a[0, 0, 0, 0], b[0, 1, 1, 1] = 0.9, 0.3
    assert torch.allclose(difference(a, b), torch.tensor([[0.3, 0], [0, -0.1]]))
    with pytest.raises(ImageError, match="shape"):
        difference(a, b[..., :1])


def test_heat_is_red_above_blue_below_and_clear_at_zero():
    heat = torch.tensor([[2.0, -2.0], [0.0, 1.0]])
    rgba = heat_colours(heat, scale=2.0)
    red, blue = rgba[:3, 0, 0], rgba[:3, 0, 1]
    assert red[0] > red[2] + 0.5 and blue[2] > blue[0] + 0.5
    assert torch.allclose(rgba[3], torch.tensor([[1, 1], [0, 0.5]]))


@pytest.mark.parametrize("palette", [EVIDENCE, BRIGHTNESS])
@pytest.mark.parametrize(
    "under", [(0.45, 0.30, 0.60), (0.30, 0.25, 0.55), (0.85, 0.65, 0.75), (0.2,) * 3, (0.7,) * 3]
)
def test_both_ends_of_a_palette_show_on_stained_cells_and_on_radiographs(palette, under):
    image = torch.tensor(under).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    picture = overlay(image, torch.tensor([[-1.0, 1.0]]), 0.7, palette)
    low, high, was = (
        np.array(rgb_to_lab(tuple(pixel)))
        for pixel in [*np.asarray(picture)[0], *(255 * np.array([under]))]
    )
    # A CIE76 difference of 2.3 is just noticed; the two ends and what is under them are far apart.
    assert min(np.linalg.norm(low - was), np.linalg.norm(high - was)) > 25
    assert np.linalg.norm(low - high) > 40


def rgb_to_lab(pixel):
    """CIE 1976 L*a*b* of an sRGB pixel of bytes (IEC 61966-2-1, D65)."""
    c = np.array(pixel, dtype=float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    t = (xyz @ linear) / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def test_one_hot_pixel_does_not_hide_the_rest():
    heat = torch.full((32, 32), 0.1)
    heat[0, 0] = 100
    assert heat_colours(heat)[3].min() > 0.9
    alone = torch.zeros(32, 32)
    alone[0, 0] = 3.0
    assert heat_colours(alone)[3, 0, 0] == 1
    assert heat_colours(torch.zeros(4, 4))[3].max() == 0


def test_overlay_blends_by_strength_and_opacity():
    image = torch.full((1, 1, 4, 4), 0.5)
    heat = torch.zeros(4, 4)
    heat[0, 0], heat[1, 1] = 1.0, -1.0
    picture = np.asarray(overlay(image, heat, opacity=0.5), dtype=np.float32) / 255
    strong = heat_colours(heat, scale=1.0)[:3]
    assert np.allclose(picture[0, 0], 0.25 + 0.5 * strong[:, 0, 0].numpy(), atol=0.01)
    assert np.allclose(picture[1, 1], 0.25 + 0.5 * strong[:, 1, 1].numpy(), atol=0.01)
    assert np.allclose(picture[2, 2], 0.5, atol=0.01)
    clear = np.asarray(overlay(image, heat, opacity=0.0))
    assert (clear == 128).all()


def test_a_map_of_another_size_is_brought_to_the_images():
    image = torch.full((1, 1, 8, 12), 0.5)
    heat = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    picture = np.asarray(overlay(image, heat, opacity=1.0), dtype=np.float32)
    assert picture.shape == (8, 12, 3)
    red, blue = picture[:2].mean((0, 1)), picture[-2:].mean((0, 1))
    assert red[0] > red[2] and blue[2] > blue[0]


def test_the_sweep_plays_every_frame_forward_and_back(tmp_path):
    levels = torch.linspace(0, 1, 5)
    images = levels.view(5, 1, 1, 1).expand(5, 1, 16, 16)
    path = tmp_path / "sweep.gif"
    save_gif(images, path, size=24)
    with Image.open(path) as gif:
        assert gif.n_frames == 8 and gif.size == (24, 24) and gif.info["loop"] == 0
        seen = []
        for frame in range(8):
            gif.seek(frame)
            assert gif.info["duration"] == 600
            seen.append(np.asarray(gif.convert("L")).mean() / 255)
    wanted = [*levels.tolist(), *levels[1:-1].flip(0).tolist()]
    assert seen == pytest.approx(wanted, abs=0.005)


def test_the_sweep_in_colour_to_a_buffer():
    buffer = io.BytesIO()
    save_gif(torch.rand(2, 3, 8, 8), buffer)
    assert Image.open(io.BytesIO(buffer.getvalue())).n_frames == 2
    with pytest.raises(ImageError, match="sweep"):
        save_gif(torch.rand(3, 8, 8), buffer)


def test_captions_stand_below_a_picture_and_fit_it():
    picture = Image.new("L", (120, 60), 90)
    done = captioned(
        picture, ["SYNTHETIC", "a line that is far too long for a picture of this width"]
    )
    assert done.size == (120, 60 + 2 * 16 + 4) and done.mode == "L"
    pixels = np.asarray(done)
    assert (pixels[:60] == 90).all() and pixels[60:].max() > 200
    first, second = pixels[60:78], pixels[78:]
    assert (first[:, 4:].max(0) > 128).sum() > 20 and (second[:, 60:114].max(0) > 128).any()
    assert not pixels[60:, 116:].any(), "nothing is written over the edge"
    assert np.asarray(captioned(picture, [])).shape == (64, 120)
    for character in "\N{MIDDLE DOT}\N{MINUS SIGN}%\N{HORIZONTAL ELLIPSIS}":
        shown = np.asarray(captioned(picture, [character]))[60:]
        missing = np.asarray(captioned(picture, ["\uf8ff"]))[60:]
        assert not np.array_equal(shown, missing), f"{character!r} has no glyph"


def test_a_png_says_what_it_is_and_keeps_its_pixels(tmp_path: Path):
    image = torch.rand(1, 1, 8, 8)
    save_png(image, tmp_path / "x.png", {"Description": "SYNTHETIC \N{MIDDLE DOT} 87 %"})
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.text["Description"] == "SYNTHETIC \N{MIDDLE DOT} 87 %"
        assert np.array_equal(np.asarray(picture), np.asarray(to_pil(image)))


def test_a_sweep_can_have_captions(tmp_path: Path):
    path = tmp_path / "sweep.gif"
    save_gif(torch.rand(3, 1, 8, 8), path, size=64, captions=[["a"], ["b"], ["c"]])
    with Image.open(path) as gif:
        assert gif.size == (64, 64 + 20) and gif.n_frames == 4


@pytest.mark.parametrize("size, small", [((300, 200), (300, 200)), ((1024, 300), (512, 150))])
def test_a_picture_is_brought_down_to_a_limit_as_pillow_does(size, small):
    image = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0))
    made = at_most(image, 512)
    theirs = Image.fromarray(image[0, 0].numpy()).resize(small[::-1], Image.Resampling.BICUBIC)
    assert made.shape[-2:] == small
    np.testing.assert_allclose(made[0, 0], np.asarray(theirs).clip(0, 1), atol=1e-4)
