"""The plain autoencoder as a generator: the same latents and promises as the DiffAE's."""

import json

import pytest
import torch
from safetensors.torch import save_file

from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.autoencoder import Autoencoder
from gcd_core.generators.codec import VAE
from gcd_core.generators.whitening import Whitening

CONFIG = {"kind": "vae", "image_size": 32, "widths": [8, 8, 8], "latent_channels": 3}


@pytest.fixture
def generator() -> Autoencoder:
    torch.manual_seed(0)
    vae = VAE.from_config(CONFIG)
    vae.latent_mean.normal_()
    vae.latent_std.uniform_(0.5, 2)
    return Autoencoder(vae, Whitening.of(torch.randn(200, 48) @ torch.randn(48, 48), floor=40.0))


def test_decoding_an_images_own_latent_is_the_networks_reconstruction(generator) -> None:
    images = torch.rand(3, 1, 32, 32)
    latent = generator.encode(images)
    assert latent.z_sem.shape == (3, generator.z_sem_size)
    assert 0 < generator.z_sem_size < 48  # so that some of the latent is left to z_T
    with torch.no_grad():
        expected = generator.vae.decode(generator.vae.encode(images))
    torch.testing.assert_close(generator.decode(latent), expected, atol=1e-4, rtol=1e-4)


def test_z_t_holds_nothing_that_z_sem_could_say(generator) -> None:
    latent = generator.encode(torch.rand(3, 1, 32, 32))
    mean = generator.whitening.mean
    said = generator.whitening(latent.z_T.flatten(1) + mean)
    torch.testing.assert_close(said, torch.zeros_like(said), atol=1e-4, rtol=0)


def test_a_step_in_z_sem_moves_the_latent_by_the_whitening_basis(generator) -> None:
    latent = generator.encode(torch.rand(1, 1, 32, 32))
    step = torch.randn(1, generator.z_sem_size)
    with torch.no_grad():
        raw = generator.vae.encode(torch.zeros(1, 1, 32, 32))
        base = generator.whitening.undo(latent.z_sem).view_as(raw) + latent.z_T
        moved = base + (step @ generator.whitening.basis.T).view_as(raw)
        expected = generator.vae.decode(moved)
    found = generator.decode(latent.with_z_sem(latent.z_sem + step))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_evaluations_are_images_each_way(generator) -> None:
    latent = generator.encode(torch.rand(2, 1, 32, 32))
    assert generator.evaluations == 2
    generator.decode(latent.with_z_sem(latent.z_sem), batch_size=1)
    assert generator.evaluations == 4


def test_solver_and_steps_change_nothing(generator) -> None:
    images = torch.rand(1, 1, 32, 32)
    one, other = generator.encode(images), generator.encode(images, "ddim", 100)
    assert torch.equal(one.z_sem, other.z_sem)
    assert torch.equal(generator.decode(one, "dpm++2m", 3), generator.decode(one))


def test_misuse_is_refused(generator) -> None:
    with pytest.raises(GCDError, match="load them through the domain"):
        generator.encode(torch.rand(1, 3, 32, 32))
    latent = generator.encode(torch.rand(1, 1, 32, 32))
    with pytest.raises(GCDError, match="z_sem of shape"):
        generator.decode(latent.with_z_sem(torch.zeros(1, 5)))


def test_files(generator, tmp_path) -> None:
    state = {f"codec.{k}": v for k, v in generator.vae.state_dict().items()}
    state |= {f"whitening.{k}": v for k, v in generator.whitening.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    loaded = load_generator(tmp_path / "config.json", tmp_path / "weights.safetensors", "cpu")
    assert loaded.identity == generator.identity
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(
        loaded.decode(loaded.encode(images)), generator.decode(generator.encode(images))
    )
    with pytest.raises(GCDError, match="no generator of the kind 'gan'"):
        load_generator(CONFIG | {"kind": "gan"}, tmp_path / "weights.safetensors")
    del state["whitening.basis"]
    save_file(state, tmp_path / "lacking.safetensors")
    with pytest.raises(GCDError, match="whitening"):
        load_generator(CONFIG, tmp_path / "lacking.safetensors")
