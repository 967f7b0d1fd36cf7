"""The quartiles of many curves and the mean of many maps, against figures worked out by hand."""

import numpy as np
import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.curve_quantiles import curve_quantiles, mean_map


def test_quartiles_are_numpys_of_curves_filled_in_linearly():
    rng = np.random.default_rng(0)
    curves = []
    for _ in range(9):
        x = np.concatenate([[0], np.sort(rng.random(5)) * 2, [2]])
        curves.append([*zip(x.tolist(), rng.random(7).tolist(), strict=True)])
    spread = curve_quantiles(curves, points=11)
    assert spread.alphas.tolist() == pytest.approx(np.linspace(0, 2, 11).tolist())
    filled = np.stack([np.interp(np.linspace(0, 2, 11), *zip(*c, strict=True)) for c in curves])
    expected = np.quantile(filled, (0.25, 0.5, 0.75), axis=0)
    np.testing.assert_allclose(spread.quartiles.numpy(), expected, atol=1e-9)


def test_the_quartiles_end_where_the_shortest_curve_does():
    spread = curve_quantiles([[(0, 1.0), (2, 0.0)], [(1, 0.5), (0, 1.0)]], points=3)
    assert spread.alphas.tolist() == [0, 0.5, 1]
    assert spread.quartiles[1].tolist() == pytest.approx([1, 0.75, 0.5])


@pytest.mark.parametrize("curves", [[], [[(0, 1.0)]]])
def test_no_curve_has_no_quartiles(curves):
    with pytest.raises(GCDError):
        curve_quantiles(curves)


def test_a_strong_map_does_not_drown_the_others():
    weak, strong = torch.zeros(2, 2), torch.zeros(2, 2)
    weak[0, 0], strong[1, 1] = 0.1, -100.0
    assert mean_map([weak, strong]).tolist() == [[0.5, 0], [0, -0.5]]
    assert mean_map([torch.zeros(2, 2)]).tolist() == [[0, 0], [0, 0]]
    with pytest.raises(GCDError):
        mean_map([])
