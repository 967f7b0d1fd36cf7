"""Where something lies in a picture: named where it is sure, else not."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.places import (
    FRAME,
    GRID,
    Region,
    is_there,
    mask_of,
    on_grid,
    read_atlas,
    share_in,
    sure_place,
)

LUNG = {"right lower lung field": (Region(0.5, 0.88, 0.1, 0.46),)}
BOTH = {"lower lung fields": (*LUNG["right lower lung field"], Region(0.5, 0.88, 0.54, 0.9))}


@pytest.mark.parametrize("name", FRAME)
def test_what_lies_in_a_place_of_the_frame_is_named_so(name: str) -> None:
    mass = mask_of(FRAME[name]).float()
    found = sure_place(mass, {})
    assert found is not None
    boxes = FRAME[found]
    assert float(share_in(mass[None], boxes)) >= 0.6
    assert mask_of(boxes).sum() <= mask_of(FRAME[name]).sum(), "the smallest that holds enough"


@pytest.mark.parametrize("size", [8, 96, 128])
def test_a_square_in_the_upper_left_lies_there_at_any_size(size: int) -> None:
    mass = torch.zeros(1, size, size)
    mass[:, size // 8 : size // 4, size // 8 : size // 4] = 1
    assert sure_place(on_grid(mass)[0], {}) == "upper left of the picture"


def test_a_move_spread_evenly_and_noise_name_no_place() -> None:
    assert sure_place(torch.ones(GRID, GRID), LUNG | BOTH) is None
    noise = torch.rand(GRID, GRID, generator=torch.Generator().manual_seed(0))
    assert sure_place(noise, LUNG | BOTH) is None
    assert sure_place(torch.zeros(GRID, GRID), LUNG | BOTH) is None


def test_a_domains_place_comes_before_a_larger_one_of_the_frame() -> None:
    inside = mask_of(LUNG["right lower lung field"]).float()
    assert sure_place(inside, LUNG | BOTH) == "right lower lung field"
    assert sure_place(mask_of(BOTH["lower lung fields"]).float(), LUNG | BOTH) == (
        "lower lung fields"
    )
    assert sure_place(inside, {}) == "lower left of the picture"


def test_sixty_percent_are_enough_and_less_are_not() -> None:
    boxes = FRAME["upper left of the picture"]
    inside = mask_of(boxes).float()
    for share, named in ((0.62, True), (0.58, False)):
        mass = share * inside / inside.sum() + (1 - share) * (1 - inside) / (1 - inside).sum()
        assert is_there(float(share_in(mass[None], boxes)), boxes) is named
    half = FRAME["upper half of the picture"]
    assert not is_there(0.7, half) and is_there(0.76, half), "a half holds much by being large"


def test_an_atlas_is_read_from_boxes() -> None:
    box, other = [0.5, 0.88, 0.1, 0.46], [0.5, 0.88, 0.54, 0.9]
    assert read_atlas({"right lower lung field": box}) == LUNG
    assert read_atlas({"lower lung fields": [box, other]}) == BOTH
    assert read_atlas({}) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        "left",
        [],
        [[]],
        [0.1, 0.2, 0.3],
        [0.5, 0.4, 0, 1],
        [0, 1, 0.5, 0.5],
        [0, 2, 0, 1],
        [0, float("nan"), 0, 1],
        [0, True, 0, 1],
        [[0, 1, 0, 1], "x"],
        [[0, 1, 0, 1], [0, 1, 0]],
    ],
)
def test_what_is_no_box_is_refused(wrong: object) -> None:
    with pytest.raises(GCDError, match="'here' is a box"):
        read_atlas({"here": wrong})


@pytest.mark.parametrize("name", ["", "x" * 61, "two\nlines"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(GCDError, match="one line"):
        read_atlas({name: [0, 1, 0, 1]})
