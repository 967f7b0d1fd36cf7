"""The latent: selecting, repeating, exchanging its semantic codes."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent


@pytest.fixture
def latent():
    return Latent(torch.arange(6.0).view(3, 2), torch.arange(12.0).view(3, 1, 2, 2))


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        (torch.tensor([2, 0]), [2, 0]),
        (torch.tensor([True, False, True]), [0, 2]),
    ],
)
def test_selection_is_always_a_batch(latent, index, rows):
    chosen = latent[index]
    assert len(chosen) == len(rows)
    assert torch.equal(chosen.z_sem, latent.z_sem[rows])
    assert torch.equal(chosen.z_T, latent.z_T[rows])


def test_index_beyond_the_batch(latent):
    with pytest.raises(IndexError):
        latent[3]


def test_iteration_gives_single_images(latent):
    assert [len(one) for one in latent] == [1, 1, 1]


def test_repeat(latent):
    copies = latent[1].repeat(4)
    assert copies.z_T.shape == (4, 1, 2, 2)
    assert torch.equal(copies.z_sem, latent.z_sem[1].expand(4, 2))
    with pytest.raises(GCDError, match="3 images"):
        latent.repeat(2)


def test_other_codes_keep_the_noise(latent):
    codes = torch.randn(5, 2)
    moved = latent[0].with_z_sem(codes)
    assert torch.equal(moved.z_sem, codes)
    assert torch.equal(moved.z_T, latent.z_T[:1].expand(5, -1, -1, -1))
    assert torch.equal(latent.with_z_sem(codes[:3]).z_T, latent.z_T)
    with pytest.raises(GCDError, match="same N"):
        latent.with_z_sem(codes)


def test_shapes_are_checked():
    with pytest.raises(GCDError, match="expected"):
        Latent(torch.zeros(2), torch.zeros(1, 1, 2, 2))
    with pytest.raises(GCDError, match="same N"):
        Latent(torch.zeros(2, 4), torch.zeros(3, 1, 2, 2))
