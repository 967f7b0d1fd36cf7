"""What the browser plays of a path, against the path."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from gcd_core.images.drawing import BRIGHTNESS, EVIDENCE, heat_colours
from gcd_core.method.attribution import explain_path
from gcd_core.method.composition import resample
from gcd_core.ui.engine.sprite_sheets import heat_levels, heat_scale, path_to_sprites, sheet
from gcd_core.ui.session.session import Session
from tests.pil import from_pil
from tests.ui.fakes import composed_path


def cell(film: dict, sheet: str, index: int) -> torch.Tensor:
    """A picture (H, W) of a sheet."""
    picture = from_pil(Image.open(io.BytesIO(base64.b64decode(sheet))).convert("RGB"))
    x, y = index % film["columns"] * film["size"], index // film["columns"] * film["size"]
    return picture[0, 0, y : y + film["size"], x : x + film["size"]]


def planes(film: dict, index: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`lost` (1, 1, S, S) and `offset` (1, C, S, S) of one point."""
    levels = [cell(film, sheet, index) for sheet in film["offsets"]]
    low, high = torch.tensor(film["low"]), torch.tensor(film["high"])
    parts = low[:, None, None] + (high - low)[:, None, None] * torch.stack(levels)
    offset = torch.einsum("ck,khw->chw", torch.tensor(film["basis"]), parts)[None]
    if "lost" not in film:
        return torch.ones_like(offset[:, :1]), offset
    return cell(film, film["lost"], index)[None, None], offset


@pytest.mark.parametrize("detail", ["source", "decoded"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(128, 128), (224, 224), (600, 400)])
def test_what_is_put_over_a_source_gives_the_servers_picture(
    size: tuple[int, int], channels: int, detail: str
) -> None:
    path = composed_path(size, channels, detail)
    film = json.loads(path_to_sprites(path))
    assert ("lost" in film) == (detail == "source") and len(film["offsets"]) == channels
    x = path.original
    for k in range(len(path.alphas)):
        lost, offset = planes(film, k)
        made = (1 - resample(lost, size).clamp(0, 1)) * x + resample(offset, size)
        assert (made.clamp(0, 1) - path.picture(k)).abs().mean() <= 1 / 255
    assert (path.picture(0) - x).abs().mean() > 5 / 255, "something changed"


def test_a_path_that_nobody_composed_is_played_as_it_is(session: Session) -> None:
    path = replace(session.image.sliders.path_now("g"), composition=None, decoded=None)
    film = json.loads(path_to_sprites(path))
    lost, offset = planes(film, 3)
    assert lost.min() == 1 and (offset - path.images[3]).abs().mean() <= 2 / 255  # of noise


def test_a_film_holds_the_paths_pictures_maps_and_numbers(session: Session) -> None:
    path = session.image.sliders.path_now("g")
    film = json.loads(path_to_sprites(path))
    assert film["alphas"] == pytest.approx(path.alphas.tolist(), abs=1e-4)
    assert film["lpips"] == pytest.approx(path.distances.tolist(), abs=1e-4)
    assert film["labels"] == list(path.labels) and film["direction"] == "g"
    torch.testing.assert_close(
        torch.tensor(film["probabilities"]), path.all_probabilities, atol=1e-4, rtol=0
    )
    end = len(path.alphas) - 1
    heat = explain_path(path, until=end).map
    levels = cell(film, film["maps"], end)
    strong = heat.abs() > 0.5 * heat.abs().quantile(0.99)
    agree = (levels[strong] > 0.5) == (heat[strong] > 0)
    assert agree.float().mean() > 0.95
    middle = int((path.alphas == 0).nonzero())
    assert (cell(film, film["maps"], middle) - 0.5).abs().max() < 0.03, "nothing moved there"


def test_the_maps_of_a_moving_slider_are_those_of_bb_lig(session: Session) -> None:
    path = session.image.sliders.path_now("g")
    film = json.loads(path_to_sprites(path))
    for k in range(len(path.alphas)):
        if float(path.alphas[k]):
            exact = heat_levels(explain_path(path, until=k).map) - 0.5
            shown = cell(film, film["maps"], k) - 0.5
            likeness = torch.cosine_similarity(exact.flatten(), shown.flatten(), dim=0)
            assert likeness > 0.97, f"the map at {float(path.alphas[k]):.2f}"


def test_the_scale_of_maps_is_that_of_the_servers_maps() -> None:
    heat = torch.tensor([[-1.0, -0.3, 0.0, 0.3, 1.0]])
    level = ((0.5 + 0.5 * heat) * 255).round().long()[0]
    for palette in (EVIDENCE, BRIGHTNESS):
        scale = torch.tensor(heat_scale(palette))
        expected = (255 * heat_colours(heat, 1.0, palette)[:, 0].T).round().int()
        assert (scale[level] - expected).abs().max() <= 2


def test_a_sheet_has_one_image_beside_the_other() -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1).expand(5, 1, 2, 2)
    expected = torch.tensor([[0, 1, 2], [3, 4, 0]]).float()
    assert torch.equal(sheet(images, 3)[0, ::2, ::2], expected)
