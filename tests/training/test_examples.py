"""Choosing example images: spread over the probability, lifelike ones first."""

import torch

from gcd_core.training.examples import choose
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
