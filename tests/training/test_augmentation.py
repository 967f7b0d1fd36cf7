"""Augmentation: a little, repeatable from its generator, in range, never mirrored."""

import pytest
import torch

from gcd_core.training.augmentation import augment_gently, augment_strongly

RAMP = torch.linspace(0, 1, 64).expand(8, 1, 64, 64).contiguous()


@pytest.mark.parametrize(("augment", "most"), [(augment_gently, 0.08), (augment_strongly, 0.15)])
def test_augmentation_disturbs_a_little_and_repeatably(augment, most):
    def disturbed(seed: int) -> torch.Tensor:
        return augment(RAMP, torch.Generator().manual_seed(seed))

    assert torch.equal(disturbed(1), disturbed(1)) and not torch.equal(disturbed(1), disturbed(2))
    pictures = torch.cat([disturbed(seed) for seed in range(16)])
    assert pictures.min() >= 0 and pictures.max() <= 1
    left, right = pictures[..., 8:24].mean((1, 2, 3)), pictures[..., 40:56].mean((1, 2, 3))
    assert (right > left).all()  # never mirrored
    assert 0.005 < (pictures - RAMP.repeat(16, 1, 1, 1)).abs().mean() < most


def test_each_image_is_moved_in_its_own_way():
    found = augment_gently(RAMP[:2], torch.Generator().manual_seed(0))
    assert (found[0] - found[1]).abs().mean() > 0.005
