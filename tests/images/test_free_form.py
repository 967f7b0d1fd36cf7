"""Free-form masks: their areas, their kinds, the same by seed."""

import pytest
import torch

from gcd_core.images.free_form import free_form_masks


@pytest.mark.parametrize("side", [32, 128])
@pytest.mark.parametrize(("least", "most"), [(0.02, 0.5), (0.1, 0.2)])
def test_masks_cover_what_is_asked_for(side, least, most):
    masks = free_form_masks(200, side, torch.Generator().manual_seed(0), least, most)
    shares = masks.float().mean((1, 2))
    assert masks.dtype == torch.bool and masks.shape == (200, side, side)
    assert shares.max() < 1 and shares.min() > 0
    assert shares[::2].min() >= least  # strokes and boxes reach it, and may go beyond
    assert (shares > 1.7 * most).double().mean() < 0.02
    below, above = (shares < (least * most) ** 0.5).double().mean(), (shares > most).double().mean()
    assert 0.3 < below < 0.7 and above < 0.25


def test_every_second_one_is_of_whole_cells():
    masks = free_form_masks(40, 128, torch.Generator().manual_seed(0))
    cells = masks[1::2].unfold(1, 4, 4).unfold(2, 4, 4).float().mean((3, 4))
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    strokes = masks[::2].unfold(1, 4, 4).unfold(2, 4, 4).float().mean((3, 4))
    assert ((strokes > 0) & (strokes < 1)).flatten(1).any(1).double().mean() > 0.9


def test_the_seed_says_which():
    a, b, c = (free_form_masks(6, 32, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
