"""The codec's shapes, its normalisation, and the refusal of configurations that make no sense."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.generators.codec import VAE

SMALL = {"kind": "vae", "image_size": 32, "widths": [8, 8], "encoder_blocks": [0, 1]}


def small() -> VAE:
    torch.manual_seed(0)
    return VAE.from_config(SMALL | {"decoder_blocks": [1, 1], "latent_channels": 4}).eval()


def test_shapes_and_range() -> None:
    codec = small()
    images = torch.rand(2, 1, 32, 32)
    latents = codec.encode(images)
    assert latents.shape[1:] == codec.latent_shape() == (4, 8, 8)
    decoded = codec.decode(100 * latents)
    assert decoded.shape == images.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1


def test_the_normalisation_cancels_and_makes_unit_variance() -> None:
    codec = small()
    images = torch.rand(64, 1, 32, 32)
    plain = codec.encode(images)
    before = codec.decode(plain)
    codec.latent_mean.copy_(plain.mean((0, 2, 3)))
    codec.latent_std.copy_(plain.std((0, 2, 3)))
    latents = codec.encode(images)
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(4), atol=1e-3)
    assert torch.allclose(codec.decode(latents), before, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "gan"}, "'gan'"),
        ({"depth": 3}, "depth"),
        ({"decoder_blocks": [1]}, "differ in length"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_named(change: dict, message: str) -> None:
    with pytest.raises(GCDError, match=message):
        VAE.from_config(SMALL | change)
