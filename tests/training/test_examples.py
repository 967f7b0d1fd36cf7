"""Choosing example images: spread over the probability, or sure ones; lifelike ones first."""

import torch

from gcd_core.training.examples import choose, choose_sure
from tests.fakes import LinearDomain, unit


def test_every_band_of_the_probability_is_served() -> None:
    w = 4 * unit(8)
    domain = LinearDomain(lambda z: z @ w)
    z_sem = torch.linspace(-1.5, 1.5, 60)[:, None] * unit(8)
    pictures = domain.generator.draw(z_sem)
    chosen = choose(domain, pictures, 6)
    assert len(set(chosen)) == 6
    probability = domain.classifier.probability(domain.classifier(pictures[chosen]), "a")
    bands = (probability * 6).long().tolist()
    assert bands == [0, 1, 2, 3, 4, 5]


def test_sure_ones_come_in_turn_of_none_and_of_each_label() -> None:
    w = 4 * unit(8)
    domain = LinearDomain(lambda z: z @ w)
    z_sem = torch.linspace(-1.5, 1.5, 60)[:, None] * unit(8)
    pictures = domain.generator.draw(z_sem)
    chosen = choose_sure(domain, pictures, 6)
    assert len(set(chosen)) == 6
    probability = domain.classifier.probability(domain.classifier(pictures[chosen]), "a")
    assert (probability >= 0.5).tolist() == [False, True] * 3
    assert (probability - 0.5).abs().min() > 0.4
