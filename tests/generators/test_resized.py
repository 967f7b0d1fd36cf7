"""A generator at another size: what goes in is brought to its own, what comes out back."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.generators.resized import Resized, resized
from tests.fakes import LinearGenerator


def test_the_inner_generator_sees_its_own_size() -> None:
    inner = LinearGenerator(8, 8)
    outer = Resized(inner, 32)
    small = inner.draw(0.1 * torch.randn(2, 8, generator=torch.Generator().manual_seed(0)))
    large = small.repeat_interleave(4, -1).repeat_interleave(4, -2)
    latent = outer.encode(large)
    assert latent.z_T.shape[-1] == 8
    torch.testing.assert_close(latent.z_sem, outer.encode_semantic(large))
    made = outer.decode(latent)
    assert made.shape == (2, 1, 32, 32)
    assert (outer.image_size, outer.z_sem_size, outer.identity) == (32, 8, "linear at 32")
    assert outer.evaluations == inner.evaluations == 4
    with pytest.raises(GCDError, match=r"\(N, 1, 32, 32\)"):
        outer.encode(small)


def test_even_pictures_stay_even_and_the_own_size_is_left_alone() -> None:
    even = torch.full((1, 3, 16, 16), 0.4)
    for size in (4, 16, 40):
        torch.testing.assert_close(resized(even, size), torch.full((1, 3, size, size), 0.4))
    assert resized(even, 16) is even


def test_detail_that_is_too_fine_is_averaged_and_none_leaves_the_range() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    board = board.float()[None, None]
    torch.testing.assert_close(
        resized(board, 4)[..., 1:-1, 1:-1], torch.full((1, 1, 2, 2), 0.5), atol=0.02, rtol=0
    )
    wide = resized(board, 32)
    assert wide.min() >= 0 and wide.max() <= 1
