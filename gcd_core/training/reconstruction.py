"""Measures how well a codec reconstructs pictures: pixels, LPIPS and fine detail."""

import torch
from torch import Tensor

from gcd_core.generators.codec import VAE
from gcd_core.perceptual import LPIPS


def fine_power(images: Tensor) -> Tensor:
    """Return the power (N,) of images (N, C, S, S) at a quarter to half of the sampling rate.

    The squares of the Fourier coefficients (of the channels' mean) whose distance from zero is at
    least 1/4 and below 1/2 cycles a pixel, summed and normed so that all coefficients together
    have the sum of the squared pixels (Parseval).
    """
    spectrum = torch.fft.fft2(images.double().mean(1), norm="ortho").abs().square()
    frequency = torch.fft.fftfreq(images.shape[-1], device=images.device, dtype=torch.float64)
    radius = torch.hypot(frequency[:, None], frequency[None, :])
    return (spectrum * ((radius >= 0.25) & (radius < 0.5))).sum((1, 2))


@torch.inference_mode()
def measure_reconstruction(
    codec: VAE, images: Tensor, perceptual: LPIPS, device: torch.device
) -> dict[str, float]:
    """Encode images (N, C, S, S), uint8, decode them, and compare.

    Returns
    -------
    mae : float
        Mean absolute error, in [0, 1].
    lpips : float
        Mean perceptual distance.
    fine_power : float
        Share of the images' power between a quarter and half of the sampling rate that the
        reconstructions have: below 1 they are smoother, above 1 noisier.
    """
    errors, distances, kept, had = [], [], [], []
    for batch in images.split(64):
        x = batch.to(device).float() / 255
        y = codec.decode(codec.encode(x))
        errors.append((y - x).abs().mean((1, 2, 3)))
        distances.append(perceptual(y, x))
        kept.append(fine_power(y))
        had.append(fine_power(x))
    before = torch.cat(had).sum().clamp(min=torch.finfo(torch.float64).tiny)
    return {
        "mae": torch.cat(errors).mean().item(),
        "lpips": torch.cat(distances).mean().item(),
        "fine_power": (torch.cat(kept).sum() / before).item(),
    }
