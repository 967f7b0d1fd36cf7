"""What the region tool draws."""

import torch

from gcd_core.images.drawing import OUTLINE, outlined


def test_an_outline_lies_within_the_region_at_every_size() -> None:
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[32:96, 40:80] = True
    for height, width in ((128, 128), (512, 384), (64, 64)):
        image = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
        drawn = outlined(image, mask)
        rows, columns = torch.arange(height) * 128 // height, torch.arange(width) * 128 // width
        inside = mask[rows][:, columns]
        assert torch.equal(drawn[..., ~inside], image.expand(1, 3, -1, -1)[..., ~inside])
        border = (drawn == OUTLINE[:, None, None]).all(1)[0]
        assert border[inside].any() and not border[height // 2, width // 2]
        thick = border[:, width // 2].sum().item()
        assert thick == 2 * max(1, max(height, width) // 128)
