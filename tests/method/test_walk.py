"""A walk over a linear classifier of a linear generator has a closed form at each point."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.directions import Direction
from gcd_core.method.loss import cf_loss, flip_sign
from gcd_core.method.path import Path
from gcd_core.method.walk import Walk, bisect, walk, walk_many, walk_together
from gcd_core.ui.views.compared import counterfactual_row
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
    assert cf_loss(logits, distances, -1, 2.0).tolist() == [3.0, -0.5]
    assert cf_loss(logits, distances, +1, 2.0).tolist() == [-1.0, 1.5]
    assert (flip_sign(0.5), flip_sign(0.49)) == (-1, 1)


@pytest.mark.parametrize("side", [+1, -1])
def test_default_walk_goes_to_the_flip(domain, side):
    image = images_on_both_sides(domain)[side]
    path = walk(domain, image, Direction("h3", W, "a"), "a", choice="lowest-loss")
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
    path = walk(domain, image, W, "a", both=True, choice="lowest-loss")
    torch.testing.assert_close(path.alphas, torch.linspace(-3, 3, 13))
    assert path.alphas[6] == 0
    assert path.direction_name == "direction"
    start = source_logit(domain, image)
    torch.testing.assert_close(path.logits, start + SLOPE * path.alphas, atol=1e-4, rtol=0)
    path = walk(domain, image, W, "a", n=5, both=True)
    assert path.alphas[path.is_walked].tolist() == [-3.0, -1.5, 0.0, 1.5, 3.0]


def test_given_alphas_are_taken_as_they_are(domain):
    path = walk(domain, domain.image(), W, "a", alphas=torch.tensor([1.0, -0.5]))
    assert path.alphas.tolist() == [1.0, -0.5]


def test_a_curve_needs_few_points_where_it_is_flat(domain):
    """The logit is linear in alpha, so the probability is known between the points too."""
    image, alphas, told = images_on_both_sides(domain)[+1], torch.linspace(-6, 6, 49), []
    path = walk(
        domain,
        image,
        W,
        "a",
        alphas=alphas,
        tolerance=0.04,
        choice="lowest-loss",
        batch_size=4,
        progress=lambda done, total: told.append((done, total)),
    )
    exact = (source_logit(domain, image) + SLOPE * alphas).sigmoid()
    kept = torch.isclose(alphas[:, None], path.alphas[None], atol=1e-6).any(1)
    assert kept[::2].all() and 25 < len(path.alphas) < 49 and (path.alphas.diff() > 0).all()
    steep = (exact[2::2] - exact[:-2:2]).abs() > 0.04
    assert torch.equal(kept[1::2], steep)
    between = np.interp(alphas.numpy(), path.alphas.numpy(), path.probabilities.numpy())
    assert np.abs(between - exact.numpy()).max() < 0.02
    whole = walk(domain, image, W, "a", alphas=alphas, choice="lowest-loss")
    for name in ("images", "logits", "probabilities", "all_probabilities", "distances", "losses"):
        torch.testing.assert_close(getattr(path, name), getattr(whole, name)[kept], msg=name)
    assert told[-1] == (len(path.alphas),) * 2


@pytest.mark.parametrize("margin", [0.0, 0.25, 0.4])
def test_a_flip_is_as_near_with_fewer_points(domain, margin):
    image, alphas = images_on_both_sides(domain)[-1], torch.linspace(-3, 3, 25)
    whole = walk(domain, image, W, "a", alphas=alphas, margin=margin)
    few = walk(domain, image, W, "a", alphas=alphas, margin=margin, tolerance=1.0)
    assert len(few.alphas) < len(whole.alphas)
    assert few.alphas[few.smallest] == pytest.approx(float(whole.alphas[whole.smallest]))


def test_a_composition_is_walked_from_as_its_picture_is(domain):
    """What was decoded at alpha 0 is not decoded again."""
    image = domain.image()
    expected = walk(domain, image, W, "a", detail="source")
    composition, latent = expected.composition, domain.generator.encode(image)
    decoded = []
    decode = domain.generator.decode
    domain.generator.decode = lambda latent, *args: (
        decoded.append(len(latent)) or decode(latent, *args)
    )
    path = walk(domain, composition, W, "a", latent=latent)
    assert sum(decoded) == len(expected.alphas) - 1
    for name in ("alphas", "images", "probabilities", "distances"):
        torch.testing.assert_close(getattr(path, name), getattr(expected, name), msg=name)
    with pytest.raises(GCDError, match="pass latent="):
        walk(domain, composition, W, "a")


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
    assert domain.generator.evaluations - before == 7 + 4


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
    flipped = walk(domain, image, W, "a", alphas=alphas, lam=1e3, choice="lowest-loss")
    assert flipped.is_flipped.tolist() == [False, True, True]
    assert flipped.losses.argmin() == 0  # the source itself, as the distance is all that counts
    assert flipped.counterfactual == 1
    stays = walk(domain, image, W, "a", alphas=torch.tensor([0.0, 1.0, 0.5]))
    assert not stays.flipped
    assert stays.counterfactual == 0


def test_a_path_that_flips_elsewhere_than_at_its_counterfactual(domain):
    """Along a direction that lowers the logit, a walk both ways flips on the side of +alpha."""
    image = images_on_both_sides(domain)[+1]
    path = walk(domain, image, -W, "a", both=True, choice="whole")
    assert path.any_flip and path.alphas[path.counterfactual] == -3
    assert not path.counterfactual_flips and not path.flipped
    assert not counterfactual_row("g", path, None, None)["flipped"], (
        "as explain and evaluate say it"
    )
    smallest = replace(path, choice="smallest")
    assert (
        smallest.any_flip
        and smallest.flipped
        and counterfactual_row("g", smallest, None, None)["flipped"]
    )


def test_progress_and_cancel(domain):
    told = []
    walk(domain, domain.image(), W, "a", batch_size=3, progress=lambda *now: told.append(now))
    assert told == [(3, 7), (6, 7), (7, 7), (8, 11), (9, 11), (10, 11), (11, 11)]
    told.clear()
    walk(domain, domain.image(), W, "a", progress=lambda *now: told.append(now), margin=0.5)
    assert told == [(7, 7)]
    before = domain.classifier.queries
    with pytest.raises(Cancelled):
        walk(domain, domain.image(), W, "a", batch_size=3, cancel=Flag(after=1))
    assert domain.classifier.queries - before == 1 + 3
    before = domain.classifier.queries
    with pytest.raises(Cancelled):
        walk(domain, domain.image(), W, "a", cancel=Flag(after=2))
    assert domain.classifier.queries - before == 1 + 7 + 1


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
        ({"alphas": torch.arange(4.0), "tolerance": 0.1}, "odd number of ascending"),
        ({"alphas": torch.tensor([0.0, 2.0, 1.0]), "tolerance": 0.1}, "odd number of ascending"),
        ({"tolerance": 0.1}, "odd number of ascending"),
        ({"steps": 1}, "step"),
        ({"batch_size": 0}, "batch"),
        ({"choice": "nearest"}, "'nearest'.*smallest, lowest-loss"),
        ({"margin": -0.1}, "margin -0.1"),
        ({"margin": 0.6}, "margin 0.6"),
        ({"margin": math.nan}, "margin nan"),
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


# -- the smallest convincing change ----------------------------------------------------------------


def exact(domain: LinearDomain, image: torch.Tensor, margin: float) -> float:
    """The alpha where a linear logit is that far beyond the threshold, on the other side."""
    start = source_logit(domain, image)
    other = -1 if start >= 0 else 1
    beyond = math.log((0.5 + margin) / (0.5 - margin))
    return (other * beyond - start) / SLOPE


def check_smallest(domain: LinearDomain, path: Path, image: torch.Tensor, step: float) -> None:
    """Hold that the counterfactual lies just behind the exact place, and is what it says it is."""
    i = path.counterfactual
    overshoot = abs(path.alphas[i].item()) - abs(exact(domain, image, path.margin))
    assert -1e-5 <= overshoot <= step / 16 + 1e-5
    assert path.is_convincing[i]
    torch.testing.assert_close(path.counterfactual_image, path.images[i : i + 1])
    z_sem = domain.generator.encode_semantic(path.counterfactual_image)
    expected = domain.generator.encode_semantic(image) + path.alphas[i] * W
    torch.testing.assert_close(z_sem, expected, atol=1e-4, rtol=0)
    logit = source_logit(domain, image) + SLOPE * path.alphas
    torch.testing.assert_close(path.logits, logit, atol=1e-4, rtol=0)
    torch.testing.assert_close(path.all_probabilities[:, 0], path.probabilities)
    torch.testing.assert_close(path.distances, 0.2 / 8 * path.alphas.abs(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("side", [+1, -1])
@pytest.mark.parametrize("margin", [0.0, 0.25, 0.45])
def test_the_counterfactual_is_the_smallest_convincing_change(domain, side, margin):
    image = images_on_both_sides(domain)[side]
    path = walk(domain, image, W, "a", margin=margin)
    assert (path.choice, path.margin) == ("smallest", margin)
    assert len(path.alphas) == 7 + 4 and len(path.refined) == 4
    assert bool((path.alphas.diff() * path.sign > 0).all()), "the points stay in order"
    torch.testing.assert_close(path.alphas[path.is_walked], -side * torch.linspace(0, 3, 7))
    check_smallest(domain, path, image, step=0.5)


def test_the_domains_choice_and_margin_hold_by_default(domain):
    domain.counterfactual, domain.margin = "lowest-loss", 0.4
    path = walk(domain, domain.image(), W, "a")
    assert (path.choice, path.margin, path.refined) == ("lowest-loss", 0.4, ())
    (path,) = walk_many(domain, domain.image(), Direction("g", W, "a"), "a", choice="smallest")
    assert (path.choice, path.margin, len(path.refined)) == ("smallest", 0.4, 4)


@pytest.mark.parametrize("side", [+1, -1])
@pytest.mark.parametrize("turned", [1, -1])
def test_stops_both_ways_are_kept_and_the_flip_is_found_between_them(domain, side, turned):
    """Toward the flip; and where a direction flips an image the other way only, there."""
    image = images_on_both_sides(domain)[side]
    stops = torch.linspace(-3, 3, 13)
    path = walk(domain, image, turned * W, "a", alphas=stops)
    assert torch.equal(path.alphas[path.is_walked], stops)
    assert bool((path.alphas.diff() > 0).all())
    path = replace(path, alphas=turned * path.alphas)
    check_smallest(domain, path, image, step=0.5)


def test_given_alphas_without_a_point_before_are_not_refined(domain):
    image = images_on_both_sides(domain)[+1]
    path = walk(domain, image, W, "a", alphas=torch.tensor([-3.0, -2.5, 1.0]))
    assert path.alphas.tolist() == [-3.0, -2.5, 1.0] and path.refined == ()
    assert path.counterfactual == 1


def test_a_margin_out_of_reach_leaves_the_most_convincing_flip(domain):
    image = images_on_both_sides(domain)[+1]
    edge = exact(domain, image, 0.0)
    alphas = edge * torch.tensor([0.0, 0.5, 1.1, 1.2, 1.15])
    before = domain.generator.evaluations
    path = walk(domain, image, W, "a", alphas=alphas, margin=0.5)
    assert domain.generator.evaluations - before == 1 + 5, "nothing to bisect"
    assert path.flipped and not path.is_convincing.any()
    assert path.counterfactual == path.smallest == 3
    stays = walk(domain, image, W, "a", alphas=alphas[:2])
    assert not stays.flipped and stays.counterfactual == stays.lowest_loss == 1


def test_lowest_loss_is_as_before_with_and_without_a_refinement(domain):
    image = images_on_both_sides(domain)[+1]
    paper = walk(domain, image, W, "a", lam=1e3, choice="lowest-loss")
    assert len(paper.alphas) == 7 and paper.refined == ()
    among = paper.losses.masked_fill(~paper.is_flipped, math.inf)
    assert paper.counterfactual == paper.lowest_loss == int(among.argmin())
    path = walk(domain, image, W, "a", lam=1e3, margin=0.0)
    assert path.losses.masked_fill(~path.is_flipped, math.inf).min() < among.min()
    walked = path.is_walked
    for name in ("alphas", "images", "logits", "probabilities", "distances", "losses"):
        assert torch.equal(getattr(path, name)[walked], getattr(paper, name)), name
    assert path.alphas[path.lowest_loss] == paper.alphas[paper.lowest_loss]
    assert path.alphas[path.counterfactual].abs() < paper.alphas[paper.counterfactual].abs()
    far = walk(domain, image, W, "a", choice="lowest-loss")
    assert far.alphas[far.counterfactual] == -3, "the logit alone leads to the end"


def test_walk_many_narrows_as_walk_does(domain):
    """Images of both sides, and one whose path never gets that far."""
    g = Direction("g", 0.5 * W, "a")
    images = torch.cat([domain.image(seed) for seed in range(10)])
    images = torch.cat([images, domain.generator.draw(2 * W[None])])
    paths = walk_many(domain, images, g, "a")
    assert [len(path.refined) for path in paths] == [4] * 10 + [0]
    for image, path in zip(images, paths, strict=True):
        alone = walk(domain, image[None], g, "a")
        assert path.counterfactual == alone.counterfactual and path.refined == alone.refined
        torch.testing.assert_close(path.alphas, alone.alphas)
        torch.testing.assert_close(path.images, alone.images)
        torch.testing.assert_close(path.losses, alone.losses)


def test_a_walk_of_the_other_choice_is_narrowed_later(domain):
    g, images = Direction("g", W, "a"), torch.cat([domain.image(seed) for seed in range(3)])
    paths = walk_many(domain, images, g, "a", choice="lowest-loss")
    latent = domain.generator.encode(images)
    assert bisect(domain, paths, g, latent) == paths
    later = bisect(domain, [replace(path, choice="smallest") for path in paths], g, latent)
    for path, at_once in zip(later, walk_many(domain, images, g, "a"), strict=True):
        torch.testing.assert_close(path.images, at_once.images)
        assert path.refined == at_once.refined


@pytest.mark.parametrize("tolerance", [None, 0.04])
def test_several_directions_are_walked_as_each_alone(domain, tolerance):
    """One of them flips, one never does, and one changes little."""
    across = torch.linalg.qr(torch.stack([W, torch.arange(8.0)], dim=1)).Q[:, 1]
    ways = [Direction("g", W, "a"), Direction("h1", across, "a"), Direction("h2", -0.1 * W, "a")]
    image, alphas = images_on_both_sides(domain)[-1], torch.linspace(-3, 3, 25)
    options = {"alphas": alphas, "tolerance": tolerance}
    told, sizes, decode = [], [], domain.generator.decode
    domain.generator.decode = lambda latent, *args: (
        sizes.append(len(latent)) or decode(latent, *args)
    )
    (paths,) = walk_together(
        domain,
        [Walk(image, ways, "a")],
        batch_size=64,
        progress=lambda *now: told.append(now),
        **options,
    )
    total = sum(len(path.alphas) - len(path.refined) for path in paths)
    assert [len(path.refined) for path in paths] == [4, 0, 0]
    assert max(sizes) > 25 and told[-1] == (total + 4,) * 2
    for way, path in zip(ways, paths, strict=True):
        alone = walk(domain, image, way, "a", **options)
        same(path, alone)


def same(path, alone):
    """Whether two paths are one, in all that was measured."""
    assert path.direction_name == alone.direction_name and path.refined == alone.refined
    assert path.label == alone.label and path.sign == alone.sign
    assert path.source_probabilities == alone.source_probabilities
    for name in ("alphas", "images", "probabilities", "distances", "losses", "decoded", "source"):
        ours, expected = getattr(path, name), getattr(alone, name)
        if expected is not None:
            torch.testing.assert_close(ours, expected, msg=name)


@pytest.mark.parametrize("detail", ["source", "decoded"])
@pytest.mark.parametrize("both", [True, False])
def test_several_images_are_walked_as_each_alone(domain, detail, both):
    """Of both sides, along one direction and along two; toward the flip, and both ways."""
    last, first = images_on_both_sides(domain).values()
    across = torch.linalg.qr(torch.stack([W, torch.arange(8.0)], dim=1)).Q[:, 1]
    ways = [Direction("g", W, "a"), Direction("h1", across, "a")]
    latent = domain.generator.encode(last)
    walks = [Walk(first, ways, "a"), Walk(last, ways[:1], "a", latent), Walk(first, [-W], "a")]
    sizes, decode = [], domain.generator.decode
    options = {"n": 9, "both": both, "detail": detail}
    domain.generator.decode = lambda latent, *args: (
        sizes.append(len(latent)) or decode(latent, *args)
    )
    found = walk_together(domain, walks, batch_size=64, **options)
    assert max(sizes) > 18, "the points of all of them lie in one batch"
    assert [len(paths) for paths in found] == [2, 1, 1]
    for one, paths in zip(walks, found, strict=True):
        for way, path in zip(one.directions, paths, strict=True):
            same(path, walk(domain, one.image, way, one.label, latent=one.latent, **options))
