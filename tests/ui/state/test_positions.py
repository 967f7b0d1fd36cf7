"""Where sliders stand, and what lies next to it."""

from __future__ import annotations

import torch

from gcd_core.ui.state.positions import POINTS, alpha_grid, neighbours


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
