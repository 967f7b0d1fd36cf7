"""A picture that looks turned is told from one that stands as those of the domain do."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from gcd_core.domains.file import find_problems
from gcd_core.domains.opening import Domain, load_domain
from gcd_core.method.off_distribution import OffDistribution
from gcd_core.method.orientation import NEARER, USUAL, turned
from gcd_core.wording import PLAIN, worded

OFF = OffDistribution(
    torch.zeros(4), torch.ones(4), torch.zeros(3), torch.ones(3), threshold=1.0, generator="drawn"
)


class ReadsCorner:
    """A generator whose code is as long as the domain's where the top left corner is bright."""

    def __init__(self, lengths: dict[int, float]) -> None:
        self.lengths, self.batches = lengths, []

    def encode_semantic(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        corners = torch.stack(  # each is the top left after so many quarters against the clock
            [images[:, 0, 0, 0], images[:, 0, 0, -1], images[:, 0, -1, -1], images[:, 0, -1, 0]], 1
        )
        own = torch.tensor([self.lengths[k] for k in corners.argmax(1).tolist()])
        return own[:, None].expand(-1, 4)


def told(lengths: dict[int, float], quarters: int = 0) -> str:
    """What is said of a picture whose code has these lengths, by how far it is turned."""
    generator = ReadsCorner(lengths)
    image = torch.zeros(1, 1, 8, 8)
    image[..., 0, 0] = 1
    image = torch.rot90(image, -quarters, (-2, -1))
    own = generator.encode_semantic(image)
    sentence = turned(SimpleNamespace(generator=generator), OFF, image, own)
    assert generator.batches == [1, 4], "one more batch"
    return sentence


def test_each_turn_is_told_and_an_upright_picture_is_not():
    lengths = {0: 1.0, 1: 3.0, 2: 1.5, 3: 3.0}
    assert told(lengths, 0) == ""
    assert "(on its side)" in told(lengths, 1) and "(on its side)" in told(lengths, 3)
    upside_down = told(lengths, 2)
    assert "(upside down)" in upside_down and "1.00, as it is 1.50" in upside_down
    assert "z_sem" not in worded(upside_down, PLAIN)


def test_nothing_is_said_of_what_is_hardly_nearer_or_like_nothing_anyway():
    assert told({0: 1.0, 1: 1.0, 2: 0.98 * NEARER, 3: 1.0}, 2) == ""
    foreign = USUAL + 0.1
    assert told({0: foreign, 1: 9.0, 2: 9.0, 3: 9.0}, 2) == ""


@pytest.mark.slow
def test_the_bundled_radiographs():
    domain = load_domain("chest-xray", device="cpu")
    assert domain.upright and domain.off_distribution is not None
    shown = [said(domain, domain.load_image(file)) for file in domain.examples]
    assert not any(shown)
    over = [said(domain, domain.load_image(file).flip(-2, -1)) for file in domain.examples]
    assert sum("upside down" in one for one in over) >= 0.8 * len(over)
    aside = [said(domain, domain.load_image(file).mT) for file in domain.examples]
    assert all("on its side" in one for one in aside)


def said(domain: Domain, image: Tensor) -> str:
    assert domain.off_distribution is not None
    codes = domain.generator.encode_semantic(image)
    return turned(domain, domain.off_distribution, image, codes)


def test_a_domain_that_is_upright_needs_to_know_its_codes(tmp_path):
    found = find_problems(tmp_path, {"upright": True})["file"]
    assert any("'upright' needs 'off_distribution'" in one for one in found)
    assert replace(OFF, threshold=2.0).code_distance(torch.full((1, 4), 2.0)).item() == 2.0


class LikesDark:
    """A generator whose code is long where a picture is bright."""

    def encode_semantic(self, images: Tensor) -> Tensor:
        return (0.5 + 3 * images.mean((1, 2, 3)))[:, None].expand(-1, 4)


@pytest.mark.parametrize("channels, brightness, is_told", [(1, 0.9, 1), (1, 0.2, 0), (3, 0.9, 0)])
def test_a_negative_is_told_in_grey(channels: int, brightness: float, is_told: bool):
    domain, image = SimpleNamespace(generator=LikesDark()), torch.zeros(1, channels, 8, 8)
    image += brightness
    sentence = turned(domain, OFF, image, domain.generator.encode_semantic(image))
    assert ("a negative (black and white swapped)" in sentence) == bool(is_told)
    assert bool(sentence) == bool(is_told)
