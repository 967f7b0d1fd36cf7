"""Independent ways on functions whose ways are known."""

import pytest
import torch

from gcd_core.method.independent_directions import (
    SampleSplit,
    active_subspace,
    independent_ways,
    inner_offsets,
    orthogonal_to,
    orthonormal,
    plane_offsets,
)
from gcd_core.method.proxy import fit_proxy
from tests.fakes import unit

D = 8


class Function:
    """In the place of a proxy: a logit that is known, and a distance of no account."""

    networks = (None,)

    def __init__(self, logit):
        self.logit = logit

    def one(self, network, z):
        return self(z)

    def __call__(self, z):
        return torch.stack([self.logit(z), torch.zeros(len(z))], dim=1)


def soft_or(z):
    """Any of the first four numbers, large enough, makes it positive."""
    return torch.logsumexp(4 * (z[:, :4] - 1.5), dim=1) - 1


def found(logit, **settings):
    z_sem = torch.zeros(1, D)
    sign = -1 if float(logit(z_sem)) >= 0 else 1
    slope = torch.func.grad(lambda z: logit(z[None])[0])(z_sem[0])
    g = slope / slope.norm()
    settings = {"alpha_max": 4.0, "most": 6} | settings
    return g, independent_ways(Function(logit), z_sem, g, sign, **settings)


@pytest.mark.parametrize("max_cosine", [0.0, 0.3])
@pytest.mark.slow
def test_a_soft_or_of_four_has_three_ways_beside_g(max_cosine):
    g, ways = found(soft_or, max_cosine=max_cosine)
    assert len(ways) == 3, "with g, four unit vectors span what it reads"
    torch.testing.assert_close(ways @ g, torch.full((3,), max_cosine), atol=1e-4, rtol=0)
    wanted = torch.eye(3) * (1 - max_cosine**2) + max_cosine**2
    torch.testing.assert_close(ways @ ways.T, wanted, atol=1e-4, rtol=0)
    raised = [int(way[:4].argmax()) for way in ways]
    assert len(set(raised)) == 3, "each turns on another of the four"
    for way in ways:
        assert soft_or(torch.zeros(1, D)) < 0 < soft_or(4.0 * way[None])


def test_the_farthest_reaching_comes_first():
    def uneven(z):  # one of two numbers weighs more
        return torch.logsumexp(torch.stack([6 * (z[:, 0] - 1), 3 * (z[:, 1] - 1)]), 0) - 1

    _, ways = found(uneven, most=1)
    both = torch.stack([uneven(4.0 * w[None]) for w in found(uneven)[1]])
    assert len(ways) == 1 and torch.equal(both, both.sort(descending=True, dim=0).values)


def test_a_lean_toward_g_does_not_make_a_way_of_nothing():
    """What flips only because a direction contains some of g is no way of its own."""
    w, other = torch.eye(D)[:2]

    def logit(z):
        return 3 * (z @ w) - 2

    leaning = 0.3 * w + 0.91**0.5 * other
    assert logit(0 * w[None]) < 0 < logit(4.0 * leaning[None]) - 1.1, "it flips by the lean alone"
    assert found(logit, max_cosine=0.3)[1].shape == (0, D)


def test_what_g_has_missed_is_no_way():
    """The slope at the source is all g's, also where g was found with an error."""
    w, beside = unit(D), unit(D, 5)
    beside = beside - (beside @ w) * w
    crooked = w + 0.2 * beside / beside.norm()
    proxy = Function(lambda z: 8 * (z @ w) - 1)
    settings = {"sign": 1, "alpha_max": 4.0, "most": 2}
    ways = independent_ways(proxy, torch.zeros(1, D), crooked / crooked.norm(), **settings)
    assert len(ways) == 0


def test_who_reads_one_thing_has_one_way():
    w = unit(D)
    for max_cosine in (0.0, 0.3):
        _, ways = found(lambda z: 3 * (z @ w) - 2, max_cosine=max_cosine)
        assert ways.shape == (0, D)


def test_a_positive_source_is_taken_down():
    def either(z):  # positive until one of two numbers falls
        return -torch.logsumexp(4 * (-z[:, :2] - 1.5), dim=1) + 1

    _, ways = found(either)
    assert len(ways) == 1
    assert either(torch.zeros(1, D)) > 0 > either(-4.0 * ways[:1]), "-alpha lowers the logit"


def test_no_more_than_asked_and_the_same_each_time():
    _, two = found(soft_or, most=2, seed=5)
    assert len(two) == 2
    assert torch.equal(two, found(soft_or, most=2, seed=5)[1])
    assert len(found(soft_or, most=0)[1]) == 0


def test_sets_are_made_orthonormal_within_their_span():
    vectors = torch.randn(5, 3, D, generator=torch.Generator().manual_seed(0))
    made = orthonormal(vectors)
    torch.testing.assert_close(
        made @ made.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-4, rtol=0
    )
    for each, span in zip(made, vectors, strict=True):
        assert (each - each @ torch.linalg.pinv(span) @ span).abs().max() < 1e-4
    g = unit(D)
    basis = orthogonal_to(torch.cat([g[None], vectors[0]]), g)
    assert basis.shape == (3, D) and (basis @ g).abs().max() < 1e-5
    torch.testing.assert_close(basis @ basis.T, torch.eye(3), atol=1e-5, rtol=0)


def test_all_samples_are_shared_out():
    for n in (36, 100, 1023, 1024):
        parts = SampleSplit.of(n)
        assert sum(parts) == n and min(parts) >= 9


def test_samples_beside_g_have_nothing_of_it():
    g = unit(D)
    plane = plane_offsets(40, g, 2.0, 3)
    assert plane.shape == (40, D) and (plane @ g).abs().max() < 1e-5
    torch.testing.assert_close(plane[::2], -plane[1::2])
    assert 1.5 < plane.norm(dim=1).max() <= 3.0
    axes = orthogonal_to(torch.eye(D)[:4], g)
    inner = inner_offsets(200, axes, g, 4.0, 3)
    assert (inner @ g).abs().max() <= 0.3 * 4.0 and (inner @ g).abs().max() > 1.0
    within = inner - (inner @ g)[:, None] * g
    torch.testing.assert_close(within @ axes.T @ axes, within, atol=1e-5, rtol=0)
    assert 4.0 < within.norm(dim=1).max() <= 5.0
    assert torch.equal(plane, plane_offsets(40, g, 2.0, 3))


def test_two_that_flip_by_one_thing_are_one_way():
    """Of (a + b) and (a - b), where b does next to nothing, only one is a way."""

    def logit(z):
        return z[:, 1] ** 2 + 0.06 * z[:, 2] ** 2 - 3

    proxy, source = Function(logit), torch.zeros(1, D)
    ways = independent_ways(proxy, source, torch.eye(D)[0], sign=1, alpha_max=4.0, most=3)
    assert len(ways) == 1 and ways[0, 1].abs() > 0.9


@pytest.mark.slow
def test_the_axes_read_beside_g_are_found_from_samples_beside_it():
    size, g = 24, torch.eye(24)[0]
    plane = plane_offsets(800, g, 8.0, 0)
    logits = torch.logsumexp(3 * plane[:, 1:4], dim=1)  # reads the axes 1 to 3
    fitted = fit_proxy(plane, logits, torch.zeros(800), torch.zeros(1, size), 12.0, lam=0.0)
    axes = active_subspace(fitted.proxy, plane, g)
    assert axes.shape == (6, size) and axes[:, 0].abs().max() < 1e-5
    held = torch.linalg.svdvals(axes[:, 1:4])
    assert held.min() > 0.85, "they hold the three"
