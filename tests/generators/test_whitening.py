"""z_sem in principal coordinates: unit covariance, exact where kept, files that fit."""

import json
from pathlib import Path

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.whitening import Whitening
from tests.tiny_domain import write_tiny_domain


def codes(n: int = 4000) -> torch.Tensor:
    """Codes (n, 6) that vary much along three axes, and hardly along the others."""
    source = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(6, 6, generator=source))[0]
    spread = torch.tensor([3.0, 1.0, 0.5, 0.01, 0.01, 0.01])
    return 2 + (torch.randn(n, 6, generator=source) * spread) @ axes.T


def test_what_varies_gets_unit_covariance_and_the_rest_is_left_out() -> None:
    whitening = Whitening.of(codes(), floor=0.1)
    white = whitening(codes())
    assert white.shape[1] == 3
    assert torch.allclose(white.T.cov(), torch.eye(3), atol=1e-3)
    assert torch.allclose(white.mean(0), torch.zeros(3), atol=1e-3)
    assert (whitening.undo(white) - codes()).abs().max() < 0.06
    # Largest variance first: the first coordinate is the axis of spread 3.
    assert torch.allclose(whitening.basis.norm(dim=0), torch.tensor([3.0, 1.0, 0.5]), rtol=0.05)


def test_undoing_and_doing_again_changes_nothing() -> None:
    whitening = Whitening.of(codes(), floor=0.1)
    white = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(whitening(whitening.undo(white)), white, atol=1e-5)


def test_a_generator_takes_and_gives_whitened_codes(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_tiny_domain(tmp_path / "tiny")
    plain = load_generator(
        folder / "generator.json", folder / "generator.safetensors.index.json", "cpu", "fp32"
    )
    images = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    raw = plain.encode_semantic(images)
    whitening = Whitening.of(raw, floor=1e-3 * raw.var(0).mean().item())
    shard = next(folder.glob("generator-*.safetensors"))
    state = load_file(shard)
    state |= {f"whitening.{k}": v for k, v in whitening.state_dict().items()}
    save_file(state, folder / "whole.safetensors")
    with pytest.raises(GCDError, match="whiten_z_sem"):
        load_generator(folder / "generator.json", folder / "whole.safetensors", "cpu")
    config = json.loads((folder / "generator.json").read_text()) | {"whiten_z_sem": True}
    white = load_generator(config, folder / "whole.safetensors", "cpu", "fp32")
    assert white.z_sem_size == whitening.basis.shape[1] < plain.z_sem_size
    assert white.identity != plain.identity
    latent = white.encode(images)
    assert torch.allclose(latent.z_sem, whitening(raw), atol=1e-3)
    x_t = torch.rand(8, 1, 32, 32)
    undone = whitening.undo(latent.z_sem)
    assert torch.allclose(
        white.predict_noise(x_t, 500, latent.z_sem),
        plain.predict_noise(x_t, 500, undone),
        atol=1e-3,
    )
