"""Where sliders stand, and what lies next to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcd_core.method.directions import DirectionSet
from gcd_core.method.verification import Tried, with_tried
from gcd_core.ui.frames import (
    FRAME_BYTES_KEPT,
    FRAMES_KEPT,
    POINTS,
    Frame,
    KeptFrames,
    alpha_grid,
    neighbours,
    shown_names,
    weak_direction_names,
    weak_last,
)


def test_alpha_grid_is_even_and_has_rest_and_ends():
    grid = alpha_grid(6.0)
    assert len(grid) == POINTS
    assert grid[0] == -6.0 and grid[POINTS // 2] == 0.0 and grid[-1] == 6.0
    assert torch.tensor(grid).diff().std() < 1e-4


def test_the_stops_next_to_a_position_begin_with_the_direction_that_moved():
    here, stop = {"g": 1.0, "h2": -6.0}, 0.5
    near = list(neighbours(here, ["g", "h1", "h2"], "h2", alpha_max=6.0))
    assert near == [
        {"g": 1.0, "h2": -6.0 + stop},  # there is none below
        {"g": 1.0 + stop, "h2": -6.0},
        {"g": 1.0 - stop, "h2": -6.0},
        {"g": 1.0, "h1": stop, "h2": -6.0},
        {"g": 1.0, "h1": -stop, "h2": -6.0},
    ]


class Linear:
    """A proxy whose logit rises along each axis by a slope of its own."""

    def __init__(self, *slopes: float) -> None:
        self.slopes = torch.tensor(slopes)

    def __call__(self, z_sem: torch.Tensor) -> torch.Tensor:
        logit = z_sem @ self.slopes
        return torch.stack([logit, 0 * logit], 1)


def along_axes(*slopes: float, names: list[str]) -> DirectionSet:
    """A set whose directions are the axes."""
    axes = torch.eye(len(names))
    source = torch.zeros(1, len(names))
    return DirectionSet(names, axes, {"label": "a"}, z_sem=source, proxy=Linear(*slopes))


def test_what_moves_the_logit_by_less_than_1_folds_away():
    names = ["g", "h1", "h2", "w1", "w2"]
    directions = along_axes(3.0, 0.6, 0.4, -0.55, 0.1, names=names)  # the reach is twice the slope
    assert weak_direction_names(directions, alpha_max=2.0) == ["h2", "w2"]
    assert weak_direction_names(directions, alpha_max=20.0) == []
    assert shown_names(directions) == names


def test_of_a_mild_label_a_quarter_of_the_farthest_reach_is_enough():
    directions = along_axes(0.4, 0.11, 0.09, names=["g", "h1", "h2"])
    assert weak_direction_names(directions, alpha_max=2.0) == ["h2"]


def test_g_never_folds_and_nothing_does_without_a_proxy():
    directions = along_axes(0.01, 3.0, 0.01, names=["g", "h1", "w1"])
    assert weak_direction_names(directions, alpha_max=2.0) == ["w1"]
    bare = DirectionSet(["g", "h1"], torch.eye(2), {"label": "a"})
    assert weak_direction_names(bare, alpha_max=2.0) == []


def test_what_was_tried_decides_in_the_place_of_the_proxy():
    directions = along_axes(3.0, 0.1, 3.0, 3.0, names=["g", "h1", "h2", "w1"])
    flips = {"g": (1, 0), "h1": (3, 0), "h2": (2, 2), "w1": (0, 4)}  # of 4 on each side
    tried = {
        name: Tried(4, ill, 4, well, agreed=None, lpips=0.1, distance=1.0)
        for name, (ill, well) in flips.items()
    }
    told = replace(directions, metadata=with_tried(directions.metadata, tried))
    assert weak_direction_names(told, alpha_max=2.0) == ["h1", "h2"]  # 3 of 8, half of each; not g
    assert weak_last(told, alpha_max=2.0) == ["g", "w1", "h1", "h2"]
    assert weak_direction_names(directions, alpha_max=2.0) == ["h1"]


def test_there_is_room_for_eight_h_and_four_ways():
    names = ["w5", "w4", "w1", "h9", "h8", "g"]
    directions = DirectionSet(names, torch.eye(6), {"label": "a"})
    assert shown_names(directions) == ["g", "h8", "w1", "w4"]


@pytest.mark.parametrize(
    ("side", "count"), [(8, FRAMES_KEPT), (512, FRAME_BYTES_KEPT // (4 * 512**2)), (4096, 2)]
)
def test_only_so_many_frames_are_kept_and_the_one_at_rest_always(side: int, count: int) -> None:
    frame = Frame(torch.zeros(1, 1, side, side), (0.5,), 0.0)
    kept, positions = KeptFrames(frame), [{"g": 0.1 * i} for i in range(1, count + 3)]
    for alphas in positions:
        kept.keep(alphas, frame)
    assert [alphas in kept for alphas in positions] == [False] * 2 + [True] * count
    assert kept.get({}) is frame and kept.get(positions[0]) is None


def test_a_frame_that_is_looked_at_stays_longest() -> None:
    frame = Frame(torch.zeros(1, 1, 4096, 4096), (0.5,), 0.0)
    kept = KeptFrames(frame)
    for alphas in ({"g": 1.0}, {"g": 2.0}):
        kept.keep(alphas, frame)
    assert kept.get({"g": 1.0}) is frame
    kept.keep({"g": 3.0}, frame)
    assert {"g": 1.0} in kept and {"g": 2.0} not in kept
