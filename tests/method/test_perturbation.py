"""The ball is uniform and repeatable, and the models' answers come back in the right columns."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.perturbation import ask, check_image, check_label, sample_ball
from gcd_core.method.settings import check_steps
from tests.fakes import LinearDomain, unit


def draw(n, dim, radius=2.0, seed=0, **options):
    return sample_ball(n, dim, radius, torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("dim", [1, 3, 256])
def test_uniform_in_the_ball(dim):
    points = draw(20_000, dim)
    share = (points.norm(dim=1) / 2.0) ** dim  # uniform in [0, 1] where the points are in the ball
    assert share.max() <= 1 + 1e-5 * dim
    quantiles = share.quantile(torch.linspace(0.1, 0.9, 9))
    assert (quantiles - torch.linspace(0.1, 0.9, 9)).abs().max() < 0.02
    covariance = points.T @ points / len(points)
    expected = 2.0**2 / (dim + 2) * torch.eye(dim)  # of a uniform ball
    assert (covariance - expected).abs().max() < 0.06 * expected.max()
    assert points.mean(0).norm() < 0.05


def test_same_seed_same_points():
    assert torch.equal(draw(10, 5), draw(10, 5))
    assert not torch.equal(draw(10, 5), draw(10, 5, seed=1))


@pytest.mark.parametrize("n", [1, 6, 7])
def test_antithetic_pairs_lie_side_by_side(n):
    points = draw(n, 4, antithetic=True)
    assert points.shape == (n, 4)
    pairs = n // 2
    assert torch.equal(points[0 : 2 * pairs : 2], -points[1 : 2 * pairs : 2])


@pytest.mark.parametrize(
    ("n", "dim", "radius"), [(0, 3, 1.0), (3, 0, 1.0), (3, 3, 0.0), (3, 3, -1.0), (3, 3, torch.nan)]
)
def test_impossible_balls_are_refused(n, dim, radius):
    with pytest.raises(GCDError):
        draw(n, dim, radius)


def test_answers():
    w = unit(8)
    domain = LinearDomain(lambda z: 3 * z @ w)
    source = domain.image()
    images = domain.generator.draw(torch.stack([w, -2 * w]))
    answers = ask(domain, images, source, "a")
    torch.testing.assert_close(answers.logits, torch.tensor([3.0, -6.0]), atol=1e-4, rtol=0)
    assert answers.probabilities.shape == (2, 2)
    torch.testing.assert_close(answers.probabilities[:, 0], answers.logits.sigmoid())
    torch.testing.assert_close(answers.probabilities[:, 1], torch.tensor([-1.0, -1.0]).sigmoid())
    torch.testing.assert_close(
        answers.distances, ((images - source) ** 2).mean((1, 2, 3)).sqrt(), atol=1e-6, rtol=0
    )


def test_bad_input_is_refused_with_a_reason():
    domain = LinearDomain(lambda z: z[:, 0])
    check_image(domain, domain.image())
    with pytest.raises(GCDError, match=r"\(1, 1, 8, 8\), not \(2, 1, 8, 8\)"):
        check_image(domain, domain.image().repeat(2, 1, 1, 1))
    with pytest.raises(GCDError, match="not ndarray"):
        check_image(domain, domain.image().numpy())
    for wrong in (domain.image() * 255, domain.image() * torch.nan, (domain.image() * 0).long()):
        with pytest.raises(GCDError, match=r"\[0, 1\]"):
            check_image(domain, wrong)
    with pytest.raises(GCDError, match=r"cat.*\['a', 'b'\]"):
        check_label(domain, "cat")
    with pytest.raises(GCDError, match="1 solver step"):
        check_steps(1, None)
    with pytest.raises(GCDError, match="0 images"):
        check_steps(None, 0)
