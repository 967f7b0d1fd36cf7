"""LPIPS against a second computation of the paper's formula from the same weights."""

from pathlib import Path

import lpips
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.perceptual import BACKBONE, LPIPS, pairwise_distances


def by_formula(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Zhang et al. 2018, Eq. 1, written out with plain convolutions; images in [0, 1], RGB."""
    weights = {k: v.float() for k, v in load_file(BACKBONE).items()}
    linear = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / "alex.pth",
        map_location="cpu",
        weights_only=True,
    )
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    # LPIPS states ImageNet's statistics for [-1, 1], rounded to three digits.
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)
    assert torch.allclose(shift, 2 * mean - 1, atol=2e-3)
    assert torch.allclose(scale, 2 * std, atol=2e-3)
    names = ["slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10"]
    geometry = [(4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False)]
    total = torch.zeros(len(a))
    x, y = ((2 * image - 1 - shift) / scale for image in (a, b))
    for layer, (name, (stride, padding, pool)) in enumerate(zip(names, geometry, strict=True)):
        if pool:
            x, y = F.max_pool2d(x, 3, 2), F.max_pool2d(y, 3, 2)
        kernel, bias = weights[f"net.{name}.weight"], weights[f"net.{name}.bias"]
        x = F.relu(F.conv2d(x, kernel, bias, stride, padding))
        y = F.relu(F.conv2d(y, kernel, bias, stride, padding))
        unit_x = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10)
        unit_y = y / (y.square().sum(1, keepdim=True).sqrt() + 1e-10)
        weighted = (unit_x - unit_y).square() * linear[f"lin{layer}.model.1.weight"]
        total += weighted.sum(1).mean((1, 2))
    return total


def test_equals_the_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 3, 3, 96, 96, generator=generator)
    b[1] = 0.9 * a[1] + 0.1 * b[1]
    found = LPIPS()(a, b)
    assert torch.allclose(found, by_formula(a, b), rtol=1e-4, atol=1e-6)
    assert found[1] < found[0]


def test_grey_is_rgb_with_equal_channels_and_one_image_serves_for_all() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(3, 1, 64, 64, generator=generator)
    perceptual = LPIPS()
    rgb = a.expand(-1, 3, -1, -1)
    assert torch.allclose(perceptual(a, a[:1]), by_formula(rgb, rgb[:1].expand(3, -1, -1, -1)))
    assert perceptual(a, a).abs().max() == 0


def test_the_backbone_is_a_photograph_network_and_not_random() -> None:
    """A shift by a pixel is nearer than another picture: holds for trained features alone."""
    rows = torch.linspace(0, 6.28, 128)
    stripes = (rows[None, :] * 3).sin() * (rows[:, None] * 2).cos() / 2 + 0.5
    other = ((rows[None, :] * 9).sin() > 0).float().expand(128, 128)
    a = stripes.expand(1, 1, 128, 128)
    perceptual = LPIPS()
    assert perceptual(a, a.roll(1, -1)) < 0.2 * perceptual(a, other.expand(1, 1, 128, 128))


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(GCDError, match="squeeze"):
        LPIPS("squeeze")


def test_it_is_the_packages_own_distance() -> None:
    perceptual, random = LPIPS(), torch.Generator().manual_seed(0)
    images = torch.rand(3, 1, 64, 64, generator=random)
    source = torch.rand(1, 1, 64, 64, generator=random)
    pairs = [(2 * x - 1).expand(3, 3, -1, -1) for x in (images, source)]
    with torch.no_grad():
        expected = perceptual.network(*pairs).flatten()
    torch.testing.assert_close(perceptual(images, source), expected)


def test_pairwise_distances_are_a_symmetric_matrix() -> None:
    def absolute(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - b).abs().mean(dim=(1, 2, 3))

    images = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    expected = torch.tensor([[0, 0.25, 1], [0.25, 0, 0.75], [1, 0.75, 0]])
    assert torch.equal(pairwise_distances(images, absolute), expected)
    assert pairwise_distances(images[:1], absolute).tolist() == [[0.0]]


def test_inside_a_mask_it_is_the_mean_of_the_authors_map():
    """Against the package's own `spatial=True`, averaged over the mask."""
    torch.manual_seed(0)
    a, b = torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64)
    masks = torch.rand(2, 64, 64) < 0.2
    ours = LPIPS()
    spatial = lpips.LPIPS(net="alex", pnet_rand=True, spatial=True, verbose=False).eval()
    spatial.load_state_dict(ours.network.state_dict())
    with torch.inference_mode():
        maps = spatial(*(image.expand(-1, 3, -1, -1) * 2 - 1 for image in (a, b)))[:, 0]
        expected = torch.stack([m[mask].mean() for m, mask in zip(maps, masks, strict=True)])
        torch.testing.assert_close(ours.inside(a, b, masks), expected, atol=1e-5, rtol=1e-4)
        assert ours.inside(a, a, masks).tolist() == [0, 0]


def test_a_source_is_looked_at_once() -> None:
    """The features of the second images are kept: the same distances, at fewer passes."""
    generator = torch.Generator().manual_seed(0)
    a, sources = torch.rand(2, 4, 1, 64, 64, generator=generator)
    perceptual, seen = LPIPS(), []
    perceptual.network.net.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    with torch.inference_mode():
        first = perceptual(a, sources)
        assert seen == [4, 4]
        again = perceptual(a, sources)
        assert seen[2:] == [4] and torch.equal(first, again)
        mixed = torch.cat([sources[2:3], a[:1], sources[2:3]])
        found = perceptual(a[:3], mixed)
        assert seen[3:] == [3, 1]
        moved = sources.clone()
        moved[0, 0, 5, 5] += 0.5
        assert perceptual(a, moved)[0] != first[0], "another picture has features of its own"
    seen.clear()
    torch.testing.assert_close(found, perceptual(a[:3], mixed))
    assert seen == [3, 3], "with autograd nothing is kept"
