"""A network as one program: the same numbers, any batch, and gradients by the network itself."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor, nn

from gcd_core.generators.base import EvaluationCounter
from gcd_core.generators.codec import VAE, decoding
from gcd_core.generators.diffae.unet import in_precision
from gcd_core.traced import Traced


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 1)).eval()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_it_computes_the_same_of_any_batch(network: nn.Module, n: int):
    traced, images = Traced(network), torch.rand(n, 3, 12, 12)
    with torch.inference_mode():
        assert torch.equal(traced(images), network(images))
        assert torch.equal(traced(images[:1]), network(images[:1]))


def test_python_does_not_run_the_network_again(network: nn.Module):
    calls: list[int] = []
    network[0].register_forward_hook(lambda *_: calls.append(1))
    traced = Traced(network)
    with torch.inference_mode():
        traced(torch.rand(1, 3, 8, 8))
        followed = len(calls)
        for _ in range(3):
            traced(torch.rand(2, 3, 8, 8))
    assert len(calls) == followed


def test_gradients_flow_through_the_network_itself(network: nn.Module):
    traced, image = Traced(network), torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        traced(image)
    own, through = (image.clone().requires_grad_() for _ in range(2))
    network(own).square().sum().backward()
    traced(through).square().sum().backward()
    assert torch.equal(own.grad, through.grad)


def test_threads_share_one_program(network: nn.Module):
    traced, image, found = Traced(network), torch.rand(2, 3, 8, 8), []

    def ask() -> None:
        with torch.inference_mode():
            found.append(traced(image))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with torch.inference_mode():
        assert len(found) == 4 and all(torch.equal(one, network(image)) for one in found)


def test_the_codec_in_half_precision_is_within_a_level_and_a_half():
    torch.manual_seed(0)
    codec = VAE(32, 1, 4, (16, 16)).eval()
    latents = torch.randn(3, *codec.latent_shape())
    with torch.inference_mode():
        whole, half = codec.decode(latents), decoding(codec, "bf16")(latents)
        assert decoding(codec, "fp32")(latents).equal(whole)
    apart = (whole - half).abs()
    assert half.dtype == torch.float32 and 0 < apart.max() < 1.5 / 255 and apart.mean() < 1 / 1000


class Unet(nn.Module):
    """As the solvers call it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, z_sem: Tensor) -> Tensor:
        return self.layer(x_t) * t[:, None, None, None] + z_sem.mean(1)[:, None, None, None]


def test_a_noise_network_in_half_precision_follows_its_times_and_codes():
    torch.manual_seed(0)
    network = in_precision(Unet().eval(), "bf16", EvaluationCounter())
    x, t, z_sem = torch.randn(3, 1, 8, 8), torch.tensor([1, 2, 3]), torch.randn(3, 4)
    with torch.inference_mode():
        network(x, torch.zeros(3, dtype=torch.long), torch.zeros(3, 4))
        own = network.unet.network(x.bfloat16(), t, z_sem.bfloat16()).float()
        assert torch.equal(network(x, t, z_sem), own)
