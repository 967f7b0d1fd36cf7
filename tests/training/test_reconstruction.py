"""How much fine detail a reconstruction keeps: closed forms for pure sines."""

import math

import pytest
import torch
from torch import nn

from gcd_core.training.reconstruction import fine_power, measure_reconstruction

S = 64


def sine(cycles: int, amplitude: float = 0.25, axis: int = 1) -> torch.Tensor:
    """A picture (1, 1, S, S) around 0.5 with so many cycles across."""
    wave = amplitude * torch.sin(2 * math.pi * cycles * torch.arange(S) / S)
    return (0.5 + wave.expand(S, S) if axis else 0.5 + wave[:, None].expand(S, S))[None, None]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("cycles", [S // 4, S // 3, S // 2 - 1])
def test_a_sine_in_the_band_has_all_its_power_there(cycles, axis):
    expected = 0.25**2 / 2 * S**2  # half the squared amplitude, at every pixel (Parseval)
    found = fine_power(sine(cycles, axis=axis))
    assert found.shape == (1,) and found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("cycles", [1, S // 4 - 1])
def test_a_sine_below_the_band_has_none_there(cycles):
    assert fine_power(sine(cycles)).item() < 1e-6


def test_a_sine_at_half_the_sampling_rate_is_beyond_the_band():
    picture = (0.5 + 0.25 * (-1.0) ** torch.arange(S)).expand(1, 1, S, S)
    assert fine_power(picture).item() < 1e-6


def test_colours_count_by_their_mean():
    coloured = torch.cat([sine(S // 3), torch.full((1, 2, S, S), 0.5)], dim=1)
    assert fine_power(coloured).item() == pytest.approx(fine_power(sine(S // 3)).item() / 9)


class Halver(nn.Module):
    """A codec that gives back half of the contrast."""

    def encode(self, x):
        return 0.5 + (x - 0.5) / 2

    def decode(self, x):
        return x


def test_the_share_that_is_kept_is_of_the_images_power():
    images = (torch.cat([sine(S // 3), sine(3), sine(S // 4)]) * 255).round().byte()
    figures = measure_reconstruction(
        Halver(), images, lambda a, b: torch.zeros(len(a)), torch.device("cpu")
    )
    assert figures["fine_power"] == pytest.approx(0.25, rel=1e-3)
    x = images.float() / 255
    assert figures["mae"] == pytest.approx(((x - 0.5) / 2).abs().mean().item(), rel=1e-4)
    assert figures["lpips"] == 0
