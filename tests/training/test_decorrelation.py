"""Codes of unit covariance, against what a covariance is."""

import torch
from torch import nn

from gcd_core.training.decorrelation import Decorrelation

D = 6


def codes(n: int = 4000) -> torch.Tensor:
    """Correlated codes of very unlike spread."""
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(D, D, generator=generator) * torch.tensor([10, 3, 1, 0.3, 0.1, 0.03])
    return torch.randn(n, D, generator=generator) @ mix.T + 5


def test_the_covariance_becomes_one() -> None:
    given = codes()
    made = Decorrelation.of(given)
    white = made(given)
    torch.testing.assert_close(white.mean(0), torch.zeros(D), atol=1e-2, rtol=0)
    largest = torch.linalg.eigvalsh(given.T.cov()).flip(0)
    share = largest / (largest + 1e-4 * largest.mean())  # what epsilon leaves of an axis
    torch.testing.assert_close(
        torch.linalg.eigvalsh(white.T.cov()).flip(0), share, atol=0.02, rtol=0
    )
    torch.testing.assert_close(made.matrix(), made.matrix().T)


def test_running_statistics_come_to_those_of_the_data() -> None:
    given = codes()
    running, exact = Decorrelation(D), Decorrelation.of(given)
    generator = torch.Generator().manual_seed(1)
    for step in range(3000):
        batch = given[torch.randint(len(given), (64,), generator=generator)]
        running.follow(batch, 0.1 if step < 100 else 0.005)
    torch.testing.assert_close(running.mean, exact.mean, atol=0.5, rtol=0.05)
    size = exact.covariance.norm()
    assert (running.covariance - exact.covariance).norm() < 0.1 * size


def test_folded_into_the_encoders_last_layer_it_gives_the_same() -> None:
    layer = nn.Conv2d(9, D, 1)
    features = torch.randn(20, 9, 1, 1)
    made = Decorrelation.of(codes())
    expected = made(layer(features).flatten(1))
    made.fold_into(layer)
    torch.testing.assert_close(layer(features).flatten(1), expected, atol=1e-3, rtol=1e-3)


def test_the_gradient_reaches_the_codes_and_not_the_statistics() -> None:
    made = Decorrelation.of(codes())
    given = codes(8).requires_grad_()
    made(given)[:, 0].sum().backward()
    assert given.grad is not None and given.grad.abs().sum() > 0
    torch.testing.assert_close(given.grad[0], made.matrix()[:, 0])
