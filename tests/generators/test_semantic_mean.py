"""What a code says of its image by itself: the map, and a generator that diffuses the rest."""

import json
from pathlib import Path

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Latent
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.model import Architecture, DiffAEModel
from gcd_core.generators.semantic_mean import SemanticMean
from tests.tiny_domain import write_tiny_domain

SHAPE = (1, 8, 8)


def filled(size: int = 32, seed: int = 0) -> SemanticMean:
    """A map of random weights."""
    source = torch.Generator().manual_seed(seed)
    mean = SemanticMean(size, SHAPE)
    with torch.no_grad():
        mean.weight.copy_(0.05 * torch.randn(mean.weight.shape, generator=source))
        mean.bias.copy_(0.1 * torch.randn(mean.bias.shape, generator=source))
    return mean


def silent(mean: SemanticMean | None) -> DiffAE:
    """A DiffAE on pixels whose U-Net, as it begins, says that there is no noise."""
    torch.manual_seed(0)
    architecture = Architecture(8, 1, 1, 32, (1,), (1,), 1, 1, (), 32, 32)
    model = DiffAEModel(architecture)
    return DiffAE(model, clip_denoised=False, precision="fp32", semantic_mean=mean)


def test_least_squares_finds_the_map_that_made_the_images() -> None:
    source = torch.Generator().manual_seed(1)
    codes = 3 + torch.randn(500, 6, generator=source) @ torch.randn(6, 6, generator=source)
    made = filled(6)
    with torch.no_grad():
        noise = 1e-3 * torch.randn(500, *SHAPE, generator=source)
        found = SemanticMean.of(codes, made(codes) + noise)
        torch.testing.assert_close(found(codes), made(codes), atol=0.01, rtol=0)


def test_what_no_code_says_gets_no_weight() -> None:
    codes = torch.randn(300, 4, generator=torch.Generator().manual_seed(2))
    codes[:, 3] = 1.0  # constant
    found = SemanticMean.of(codes, torch.randn(300, *SHAPE))
    assert found.weight[:, 3].abs().max() < 1e-6
    assert found.weight.isfinite().all()


def test_a_move_of_z_sem_moves_the_image_by_what_the_map_says() -> None:
    """With a U-Net that leaves z_sem unread, nothing moved without a mean."""
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(3))
    step = torch.randn(3, 32, generator=torch.Generator().manual_seed(4))
    for mean in (None, filled()):
        generator = silent(mean)
        latent = generator.encode(images, "dpm++2m", 6)
        torch.testing.assert_close(
            generator.decode(latent, "dpm++2m", 6), images, atol=1e-4, rtol=0
        )
        moved = generator.decode(Latent(latent.z_sem + step, latent.z_T), "dpm++2m", 6)
        said = 0.0 if mean is None else (step @ mean.weight.T).view(-1, *SHAPE) / 2
        torch.testing.assert_close(moved, (images + said).clamp(0, 1), atol=1e-4, rtol=0)


def test_a_generator_with_a_mean_is_another_one() -> None:
    assert len({silent(mean).identity for mean in (None, filled(), filled(seed=1))}) == 3


def test_files_and_configuration_must_agree(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_tiny_domain(tmp_path / "tiny")
    config = json.loads((folder / "generator.json").read_text())
    index = folder / "generator.safetensors.index.json"
    with pytest.raises(GCDError, match=r"lacks a semantic mean.*'semantic_mean' is there"):
        load_generator(config | {"semantic_mean": True}, index, "cpu")
    plain = load_generator(config, index, "cpu", "fp32")
    size = plain.model.architecture.embed_channels
    state = load_file(next(folder.glob("generator-*.safetensors")))
    mean = SemanticMean(size, plain.latent_shape)
    state |= {f"semantic_mean.{name}": value for name, value in mean.state_dict().items()}
    save_file(state, folder / "whole.safetensors")
    with pytest.raises(GCDError, match="holds a semantic mean"):
        load_generator(config, folder / "whole.safetensors", "cpu")
    loaded = load_generator(config | {"semantic_mean": True}, folder / "whole.safetensors", "cpu")
    assert loaded.semantic_mean is not None
    state["semantic_mean.bias"] = torch.zeros(3)
    save_file(state, folder / "other.safetensors")
    with pytest.raises(GCDError, match="do not fit the semantic mean"):
        load_generator(config | {"semantic_mean": True}, folder / "other.safetensors", "cpu")
