"""A walk over a linear classifier of a linear generator has a closed form at each point."""

from dataclasses import replace

import pytest
import torch

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.directions import Direction
from gcd_core.method.loss import cf_loss, cf_sign
from gcd_core.method.walk import walk
from tests.fakes import Flag, LinearDomain, unit

W = unit(8)
SLOPE = 2.0


@pytest.fixture
def domain():
    return LinearDomain(lambda z: SLOPE * z @ W)


def source_logit(domain, image):
    return float(SLOPE * domain.generator.encode_semantic(image)[0] @ W)


def images_on_both_sides(domain):
    """One image that is predicted to have the label, one that is not."""
    images = [domain.image(seed) for seed in range(10)]
    images.sort(key=lambda image: source_logit(domain, image))
    assert source_logit(domain, images[0]) < 0 < source_logit(domain, images[-1])
    return {+1: images[-1], -1: images[0]}


def test_cf_loss():
    logits, distances = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.25])
    assert cf_loss(logits, distances, +1, 2.0).tolist() == [3.0, -0.5]
    assert cf_loss(logits, distances, -1, 2.0).tolist() == [-1.0, 1.5]
    assert (cf_sign(0.5), cf_sign(0.49)) == (1, -1)


@pytest.mark.parametrize("side", [+1, -1])
def test_default_walk_goes_to_the_flip(domain, side):
    image = images_on_both_sides(domain)[side]
    path = walk(domain, image, Direction("h3", W, "a"), "a")
    assert path.sign == -side
    torch.testing.assert_close(path.alphas, -side * torch.linspace(0, 3, 7))
    assert not torch.signbit(path.alphas[0])
    start = source_logit(domain, image)
    expected = start + SLOPE * path.alphas
    torch.testing.assert_close(path.logits, expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(path.probabilities, expected.sigmoid(), atol=1e-4, rtol=0)
    torch.testing.assert_close(path.all_probabilities[:, 0], path.probabilities)
    # the generator moves 8 x 8 pixels by 0.2 * alpha in all
    torch.testing.assert_close(path.distances, 0.2 / 8 * path.alphas.abs(), atol=1e-5, rtol=0)
    torch.testing.assert_close(path.losses, side * path.logits + path.distances)
    assert path.source_probability == pytest.approx(torch.tensor(start).sigmoid().item(), abs=1e-5)
    assert path.flipped
    assert path.counterfactual == 6
    assert (path.label, path.labels, path.direction_name) == ("a", ("a", "b"), "h3")
    assert torch.equal(path.source, image)
    torch.testing.assert_close(path.images[:1], image, atol=1e-6, rtol=0)


def test_both_ways(domain):
    image = domain.image()
    path = walk(domain, image, W, "a", both=True)
    torch.testing.assert_close(path.alphas, torch.linspace(-3, 3, 13))
    assert path.alphas[6] == 0
    assert path.direction_name == "direction"
    start = source_logit(domain, image)
    torch.testing.assert_close(path.logits, start + SLOPE * path.alphas, atol=1e-4, rtol=0)
    assert len(walk(domain, image, W, "a", n=5, both=True).alphas) == 5


def test_given_alphas_are_taken_as_they_are(domain):
    path = walk(domain, domain.image(), W, "a", alphas=torch.tensor([1.0, -0.5]))
    assert path.alphas.tolist() == [1.0, -0.5]


def test_the_way_in_does_not_matter(domain):
    image = domain.image()
    path = walk(domain, image, W, "a")
    latent = domain.generator.encode(image)
    for other in (
        walk(domain, image, W, "a", latent=latent),
        walk(domain, latent, W, "a"),
        walk(domain, image, W, "a", batch_size=3),
    ):
        torch.testing.assert_close(other.images, path.images)
        torch.testing.assert_close(other.logits, path.logits)
    before = domain.generator.evaluations
    walk(domain, image, W, "a", latent=latent)
    assert domain.generator.evaluations - before == 7


def test_source_probability_is_the_source_images_own(domain):
    image = images_on_both_sides(domain)[+1]
    other = domain.generator.encode(images_on_both_sides(domain)[-1])  # reconstructs another image
    path = walk(domain, image, W, "a", latent=other)
    assert path.source_probability > 0.5 > path.probabilities[0]
    assert path.sign == -1
    assert path.flipped


def test_counterfactual_is_sought_among_the_flipped(domain):
    image = images_on_both_sides(domain)[+1]
    start = source_logit(domain, image)
    alphas = torch.tensor([0.0, -1.01 * start / SLOPE, -1.0 - start / SLOPE])
    flipped = walk(domain, image, W, "a", alphas=alphas, lam=1e3)
    assert flipped.is_flipped.tolist() == [False, True, True]
    assert flipped.losses.argmin() == 0  # the source itself, as the distance is all that counts
    assert flipped.counterfactual == 1
    stays = walk(domain, image, W, "a", alphas=torch.tensor([0.0, 1.0, 0.5]))
    assert not stays.flipped
    assert stays.counterfactual == 0


def test_progress_and_cancel(domain):
    told = []
    walk(domain, domain.image(), W, "a", batch_size=3, progress=lambda *now: told.append(now))
    assert told == [(3, 7), (6, 7), (7, 7)]
    before = domain.classifier.queries
    with pytest.raises(Cancelled):
        walk(domain, domain.image(), W, "a", batch_size=3, cancel=Flag(after=1))
    assert domain.classifier.queries - before == 1 + 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "cat"}, "cat"),
        ({"direction": unit(9)}, r"\(9,\).*8 numbers"),
        ({"direction": W * torch.nan}, "no number"),
        ({"n": 1}, "1 points"),
        ({"n": 4, "both": True}, "odd"),
        ({"alphas": torch.tensor([])}, "alphas"),
        ({"alphas": torch.tensor([torch.inf])}, "alphas"),
        ({"steps": 1}, "step"),
        ({"batch_size": 0}, "batch"),
        ({"image": torch.zeros(1, 3, 8, 8)}, r"\(1, 3, 8, 8\)"),
    ],
)
def test_refused_before_any_work(domain, change, message):
    settings = {"image": domain.image(), "direction": W, "label": "a"} | change
    with pytest.raises(GCDError, match=message):
        walk(domain, **settings)
    assert domain.generator.evaluations == domain.classifier.queries == 0


def test_a_latent_of_two_images_is_refused(domain):
    latent = domain.generator.encode(torch.cat([domain.image(0), domain.image(1)]))
    with pytest.raises(GCDError, match="2 was given"):
        walk(domain, latent, W, "a")


def test_a_flip_is_a_moves(domain):
    """Where the reconstruction alone is predicted otherwise, nothing has been moved yet."""
    path = walk(domain, domain.image(), W, "a", alphas=torch.tensor([-0.5, 0.0, 0.5]))
    gap = replace(path, source_probability=0.9, probabilities=torch.tensor([0.3, 0.3, 0.3]))
    assert gap.is_flipped.tolist() == [True, False, True]
    resting = replace(gap, alphas=torch.zeros(3))
    assert not resting.flipped
