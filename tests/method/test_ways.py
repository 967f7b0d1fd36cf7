"""Independent ways on functions whose ways are known."""

import pytest
import torch

from gcd_core.method.ways import independent_ways, orthogonal_part, within_cosine
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
    sign = 1 if float(logit(z_sem)) >= 0 else -1
    slope = torch.func.grad(lambda z: logit(z[None])[0])(z_sem[0])
    g = slope / slope.norm()
    settings = {"alpha_max": 4.0, "most": 6} | settings
    return g, independent_ways(Function(logit), z_sem, g, sign, **settings)


@pytest.mark.parametrize("max_cosine", [0.0, 0.3])
@pytest.mark.slow
def test_a_soft_or_of_four_has_three_ways_beside_g(max_cosine):
    g, ways = found(soft_or, max_cosine=max_cosine)
    assert len(ways) == 3, "with g, four unit vectors span what it reads"
    everything = torch.cat([g[None], ways])
    cosines = everything @ everything.T - torch.eye(4)
    assert cosines.abs().max() <= max_cosine + 1e-4
    torch.testing.assert_close(ways.norm(dim=1), torch.ones(3))
    raised = [int(way[:4].argmax()) for way in ways]
    assert len(set(raised)) == 3, "each turns on another of the four"
    for way in ways:
        assert soft_or(torch.zeros(1, D)) < 0 < soft_or(4.0 * way[None])


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


def test_turned_until_the_cosine_is_allowed():
    others = torch.stack([unit(D, 1), unit(D, 2)])
    vectors = torch.randn(50, D)
    turned = within_cosine(vectors, others, 0.2)
    assert (turned @ others.T).abs().max() <= 0.2 + 1e-5
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(50))
    already = turned[:5]
    torch.testing.assert_close(within_cosine(already, others, 0.3), already)
    assert (orthogonal_part(vectors, others) @ others.T).abs().max() < 1e-5
