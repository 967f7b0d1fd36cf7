"""FID, split FID and S3 against closed forms; the oracle's features against its own last layer."""

import math

import pytest
import torch

from gcd_core.classifiers.architectures import build_network
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.errors import GCDError
from gcd_core.evaluation import features, metrics
from gcd_core.evaluation.features import (
    frechet_distance,
    oracle_features,
    similarity,
    split_frechet,
)
from tests.evaluation.domain import linear_domain


def with_moments(mean, covariance, n=50, seed=0):
    """A set of points whose sample mean and covariance are exactly these."""
    x = torch.randn(
        n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    x = x - x.mean(0)
    whitened = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T)).T)
    return whitened @ torch.linalg.cholesky(covariance).T + mean


def test_of_two_gaussians_with_a_common_basis_it_is_known():
    """Diagonal covariances: |m|^2 + sum (s_a - s_b)^2."""
    first, second = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([0.5, 2.0, 3.0]).double()
    m = torch.tensor([1.0, -2.0, 0.0]).double()
    a = with_moments(torch.zeros(3).double(), torch.diag(first.square()))
    b = with_moments(m, torch.diag(second.square()), n=80, seed=1)
    expected = m.square().sum() + (first - second).square().sum()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), abs=1e-8)
    assert frechet_distance(b, a) == pytest.approx(expected.item(), abs=1e-8)


def test_of_any_two_gaussians_it_is_scipys_formula():
    linalg = pytest.importorskip("scipy.linalg")
    generator = torch.Generator().manual_seed(3)
    roots = [torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    covariances = [root @ root.T + 0.1 * torch.eye(4) for root in roots]
    a, b = (with_moments(torch.zeros(4).double(), c, seed=i) for i, c in enumerate(covariances))
    root = torch.from_numpy(linalg.sqrtm((covariances[0] @ covariances[1]).numpy()).real)
    expected = covariances[0].trace() + covariances[1].trace() - 2 * root.trace()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), abs=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-8)


def test_it_is_what_torch_fidelity_computes():
    library = pytest.importorskip("torch_fidelity.metric_fid")
    generator = torch.Generator().manual_seed(5)
    a, b = (torch.randn(60, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    b = 1.5 * b + 0.3
    statistics = [library.fid_features_to_statistics(x) for x in (a, b)]
    theirs = library.fid_statistics_to_metric(*statistics, verbose=False)
    theirs = theirs["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)


def test_more_features_than_images_are_no_trouble():
    a = torch.randn(6, 20, dtype=torch.float64)
    assert frechet_distance(a, a + 1) == pytest.approx(20, abs=1e-6)


def test_split_it_does_not_flatter_copies():
    real = torch.randn(40, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert frechet_distance(real, real) < 1e-9 < 0.1 < split_frechet(real, real)
    assert split_frechet(real, real + 5) > 25 * 8 * 0.9
    with pytest.raises(GCDError, match="four images"):
        split_frechet(real[:3], real[:3])
    with pytest.raises(GCDError, match="two images"):
        frechet_distance(real[:1], real)


@pytest.mark.parametrize(("n", "sizes"), [(40, [10] * 4), (9, [3, 2, 2, 2]), (5, [3, 2])])
def test_split_each_subset_is_held_against_all_others(n, sizes, monkeypatch):
    compared = []
    monkeypatch.setattr(features, "frechet_distance", lambda a, b: compared.append((a, b)) or 1.0)
    numbers = torch.arange(n, dtype=torch.float64)[:, None]
    assert split_frechet(numbers, numbers) == 1
    assert [len(own) for _, own in compared] == sizes
    for rest, own in compared:
        assert sorted(torch.cat([rest, own])[:, 0].tolist()) == list(range(n))


def test_similarity_is_a_mean_cosine():
    a = torch.tensor([[1.0, 0], [1, 1]])
    b = torch.tensor([[0.0, 2], [3, 3]])
    assert similarity(a, b) == pytest.approx(0.5)


def test_the_oracles_features_go_into_its_last_layer():
    torch.manual_seed(0)
    network = build_network("resnet", 1, 2, {"width": 8, "blocks": [1, 1]})
    oracle = TorchClassifier(network, ("a", "b"), "sigmoid", "o", 32, 1, batch_size=2)
    images = torch.rand(5, 1, 32, 32)
    features = oracle_features(oracle)
    found = features.of(images)
    assert features.name == "oracle" and found.dtype == torch.float64 and len(found) == 5
    torch.testing.assert_close(network.classifier(found.float()), oracle(images))
    assert not network.classifier._forward_pre_hooks
    with pytest.raises(GCDError, match="no oracle that runs here"):
        oracle_features(linear_domain().oracle)
    with pytest.raises(GCDError, match="no oracle"):
        oracle_features(None)


def test_complexity_is_the_entropy_of_the_shares():
    assert metrics.complexity(torch.tensor([0.0, -3.0, 0.0])) == 0
    assert metrics.complexity(torch.full((4, 4), -0.2)) == pytest.approx(math.log(16))
    shares = torch.tensor([1.0, 1.0, -2.0])
    assert metrics.complexity(shares) == pytest.approx(0.5 * math.log(4) + 0.5 * math.log(2))
    assert metrics.complexity(torch.zeros(3)) == 0


def test_effective_complexity_counts_what_is_lit():
    heat = torch.tensor([100.0, -1.0, 0.002, 0.0005, 0])
    assert metrics.effective_complexity(heat) == 3
    assert metrics.effective_complexity(heat, eps=0.5) == 1
    assert metrics.effective_complexity(torch.zeros(4)) == 0
