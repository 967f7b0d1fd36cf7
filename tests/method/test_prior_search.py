"""Searches over what codes are like, on a domain whose gradient and boundary are known."""

import math
import threading

import pytest
import torch
from torch.nn import functional as F

import gcd_core
from gcd_core.errors import Cancelled, GCDError
from gcd_core.images.picture import Picture
from gcd_core.method import proxy as proxy_module
from gcd_core.method.code_statistics import CodeStatistics, coarse
from gcd_core.method.mean_slope import MeanSlope, fit_mean_slope
from gcd_core.method.prior_search import (
    PLACES,
    confined_to,
    directions_by_place,
    quarter,
)
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import SearchFailed
from gcd_core.method.verification import tried_of
from tests.fakes import Flag, LinearDomain, unit

SIZE = 8
WAY = unit(SIZE, seed=5)


@pytest.fixture
def brief(monkeypatch):
    """Only a few epochs, where what is learned does not matter."""
    monkeypatch.setattr(proxy_module, "MAX_EPOCHS", 3)


def uneven(size=SIZE):
    """Codes of unlike spread in turned axes, about no mean."""
    turned = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(3)))[0]
    covariance = turned @ torch.diag(torch.linspace(0.1, 2.0, size)) @ turned.T
    return CodeStatistics(torch.zeros(size), (covariance + covariance.T) / 2)


def linear(level=0.0, slope=3.0, statistics=None):
    """A domain whose logit is linear in codes of uneven spread."""
    domain = LinearDomain(lambda z: slope * z @ WAY + level, SIZE)
    domain.statistics = statistics or uneven()
    return domain


def rough():
    """As `linear`, with ripples, which no number of answers quite averages out."""
    domain = linear()
    smooth = domain.classifier.function
    ripple = 40 * unit(SIZE, seed=6)
    domain.classifier.function = lambda z: smooth(z) + 0.5 * torch.sin(z @ ripple)
    return domain


def images_of(domain, n, seed=1):
    """Pictures of codes as the domain's statistics say."""
    codes = domain.statistics.draw(n, torch.Generator().manual_seed(seed))
    return list(domain.generator.draw(codes).clamp(0, 1).split(1))


def search(domain, sampling="prior", n_samples=64, **settings):
    settings = {"n_h": 0, "images": images_of(domain, n_samples)} | settings
    if sampling != "images":
        del settings["images"]
    return find_directions(domain, label="a", n_samples=n_samples, sampling=sampling, **settings)


def pattern(statistics, gradient):
    """Haufe's pattern of a filter: what g is where nobody knows what codes draw."""
    return F.normalize(statistics.covariance @ gradient, dim=0)


@pytest.mark.parametrize("sampling", ["prior", "images"])
@pytest.mark.parametrize("level", [0.0, -4.0])
def test_g_is_the_covariance_times_the_gradient_from_64_answers(sampling, level):
    domain = linear(level)
    found = search(domain, sampling)
    g = found.directions["g"].vector
    expected = pattern(domain.statistics, WAY)
    assert float(g @ expected) > 0.98
    assert float(WAY @ expected) < 0.95, "which is not the gradient"
    assert float(g.norm()) == pytest.approx(1, abs=1e-5)
    assert len(found.samples) == 64


def test_no_image_is_needed_and_none_is_kept():
    found = search(linear())
    assert found.latent is found.samples.latent is found.samples.image is None
    assert found.samples.source_probability is None
    assert found.directions.metadata["source_probability"] is None
    assert found.directions.metadata["settings"]["sampling"] == "prior"
    assert torch.equal(found.directions.z_sem[0], linear().statistics.mean)


def test_the_proxy_says_what_the_classifier_says():
    domain = linear(level=1.5)
    found = search(domain)
    codes = domain.statistics.draw(50, torch.Generator().manual_seed(9))
    expected = 3 * codes @ WAY + 1.5
    said = found.directions.proxy_logit(codes)
    assert float((said - expected).std() / expected.std()) < 0.05
    boundary = found.samples.boundary
    assert float(3 * boundary @ WAY + 1.5) == pytest.approx(0, abs=0.3)


def test_it_stops_once_g_has_settled_and_all_examples_flip():
    domain = linear()
    found = search(domain, n_samples=1024)
    assert len(found.samples) == 64
    assert found.directions.metadata["figures"]["repeatability"] >= 0.95
    tried = tried_of(found.directions.metadata)["g"]
    assert tried.n == tried.flipped == 8


def test_it_goes_on_while_answers_are_noisy(brief):
    noise = torch.Generator().manual_seed(0)
    domain = linear()
    domain.classifier.function = lambda z: z @ WAY + 4 * torch.randn(len(z), generator=noise)
    found = search(domain, n_samples=300)
    assert len(found.samples) == 300
    assert found.directions.metadata["figures"]["repeatability"] < 0.95
    assert found.directions.metadata["settings"]["n_samples"] == 300


def test_it_goes_on_while_an_example_does_not_flip(brief):
    domain = linear(level=-100.0)  # out of reach
    found = search(domain, n_samples=256)
    assert len(found.samples) == 256
    tried = tried_of(found.directions.metadata)["g"]
    assert (tried.negatives, tried.negatives_flipped) == (8, 0) and not tried.works


def test_settle_asks_for_more_or_less(brief):
    assert len(search(rough(), n_samples=256, settle=1 - 1e-12).samples) == 256
    noise = torch.Generator().manual_seed(0)
    domain = linear()
    domain.classifier.function = lambda z: 3 * z @ WAY + torch.randn(len(z), generator=noise)
    assert len(search(domain, n_samples=256, settle=1e-6).samples) == 64


def test_a_usable_g_is_told_at_64(brief):
    told = []
    domain = rough()
    found = search(domain, n_samples=256, settle=1 - 1e-12, progress=told.append)
    offers = [now for now in told if now.directions is not None]
    assert [now.done for now in offers] == [64, 128] and {now.stage for now in offers} == {
        "directions"
    }
    assert [now.total for now in offers] == [256, 256]
    first = offers[0].directions
    assert first.names == ["g"] and first.label == "a"
    assert first.metadata["settings"]["n_samples"] == 64
    assert float(first["g"].vector @ pattern(domain.statistics, WAY)) > 0.98
    assert first.metadata["figures"]["repeatability"] > 0.9
    assert tried_of(first.metadata)["g"].flipped == 8
    assert offers[0].queries == 8 + 64 + 8, "examples, answers, one walk to the end"
    assert found.directions.names == ["g"]
    again = search(rough(), n_samples=64)
    torch.testing.assert_close(first.vectors, again.directions.vectors)


def test_progress_tells_every_stage():
    told = []
    search(linear(), progress=told.append)
    assert [now.stage for now in told] == (
        ["encode"] * 2 + ["perturb"] * 4 + ["directions"] + ["verify"]
    )
    asked = [now for now in told if now.stage == "perturb"]
    assert [(now.done, now.total) for now in asked] == [(16, 32), (32, 32), (48, 64), (64, 64)]
    assert all(len(now.images) == len(now.probabilities) == 16 for now in asked)


@pytest.mark.parametrize("sampling", ["prior", "images"])
def test_the_same_seed_is_the_same_search_to_the_bit(brief, sampling):
    settings = {"n_samples": 300, "settle": 1 - 1e-12}
    first, again = (search(linear(), sampling, seed=3, **settings) for _ in range(2))
    assert torch.equal(first.samples.z_sem, again.samples.z_sem)
    assert torch.equal(first.samples.logits, again.samples.logits)
    assert torch.equal(first.directions.vectors, again.directions.vectors)
    codes = first.samples.z_sem[:5]
    assert torch.equal(first.directions.proxy_logit(codes), again.directions.proxy_logit(codes))
    other = search(linear(), sampling, seed=4, **settings)
    assert not torch.equal(first.samples.z_sem, other.samples.z_sem)


def test_mirrored_codes_share_the_noise_of_their_picture():
    """So that what is odd along the code is not drowned by it."""
    shown = []
    domain = linear()
    answer = domain.classifier.function
    domain.classifier.function = lambda z: shown.append(z) or answer(z)
    found = search(domain)
    codes = torch.cat([batch for batch in shown if len(batch) == 16])[:64]
    off = codes - found.samples.z_sem
    assert off.norm(dim=1).min() > 1e-3, "there is noise"
    torch.testing.assert_close(off[::2], off[1::2], atol=1e-4, rtol=0)
    assert (off[0] - off[2]).norm() > 1e-3


@pytest.mark.parametrize("sampling", ["prior", "images"])
def test_a_cancelled_search_keeps_its_samples_and_goes_on_from_them(sampling):
    whole = search(linear(), sampling)
    for asked in range(1, 8):
        domain = linear()
        with pytest.raises(Cancelled) as stopped:
            search(domain, sampling, cancel=Flag(asked))
        samples = stopped.value.samples
        expected = {1: 0, 2: 16, 3: 32, 4: 32, 5: 48}
        assert len(samples) == expected.get(asked, 64)
        before = domain.classifier.queries
        resumed = search(domain, sampling, resume=samples)
        assert torch.equal(resumed.directions.vectors, whole.directions.vectors)
        assert resumed.queries == domain.classifier.queries - before
        assert resumed.queries == whole.queries - len(samples)


def test_a_search_that_is_cancelled_before_it_begins_asks_nothing():
    domain, cancel = linear(), threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        search(domain, cancel=cancel)
    assert domain.classifier.queries == domain.generator.evaluations == 0


@pytest.mark.parametrize("sampling", ["prior", "images"])
def test_resumed_nothing_is_asked_twice(brief, sampling):
    domain = linear()
    images = images_of(domain, 256)
    settings = {"settle": 1 - 1e-12, "images": images}
    few = search(domain, sampling, n_samples=64, **settings)
    verified = few.queries - 64
    again = search(domain, sampling, n_samples=64, resume=few.samples, **settings)
    assert again.queries == verified
    assert torch.equal(again.directions.vectors, few.directions.vectors)
    more = search(domain, sampling, n_samples=128, resume=few.samples, **settings)
    fresh = search(linear(), sampling, n_samples=128, **settings)
    assert more.queries == fresh.queries - 64
    assert torch.equal(more.samples.z_sem, fresh.samples.z_sem)
    torch.testing.assert_close(more.samples.logits, fresh.samples.logits)
    fewer = search(domain, sampling, n_samples=40, resume=few.samples, **settings)
    assert len(fewer.samples) == 40 and fewer.queries <= verified


def test_a_failing_classifier_loses_no_answers():
    whole = search(linear())
    domain = linear()
    domain.classifier.fail_after = 8 + 40
    with pytest.raises(SearchFailed) as failed:
        search(domain)
    assert isinstance(failed.value, GCDError)
    assert isinstance(failed.value.__cause__, ConnectionError)
    samples = failed.value.samples
    assert len(samples) == 32 and domain.classifier.queries == 8 + 32
    domain.classifier.fail_after = math.inf
    found = search(domain, resume=samples)
    assert found.queries == whole.queries - 32
    assert torch.equal(found.directions.vectors, whole.directions.vectors)


def test_resuming_another_search_is_refused():
    domain = linear()
    samples = search(domain).samples
    for change in ({"seed": 1}, {"steps": 9}, {"sampling": "ball", "image": domain.image()}):
        with pytest.raises(GCDError, match=f"asked with {next(iter(change))}"):
            find_directions(
                domain,
                label="a",
                n_samples=64,
                resume=samples,
                **({"sampling": "prior", "n_h": 0} | change),
            )
    with pytest.raises(GCDError, match="codes"):
        search(linear(statistics=CodeStatistics.assumed(SIZE, None)), resume=samples)
    with pytest.raises(GCDError, match="label 'a', not 'b'"):
        find_directions(domain, label="b", sampling="prior", resume=samples)


def test_samples_of_other_images_are_not_resumed():
    domain = linear()
    samples = search(domain, "images").samples
    with pytest.raises(GCDError, match="belong to other images"):
        search(domain, "images", resume=samples, images=images_of(domain, 64, seed=2))


@pytest.mark.parametrize("sampling", ["prior", "ball"])
def test_a_search_counts_its_own_queries_whatever_others_ask_meanwhile(brief, sampling):
    def found(progress=None):
        domain = linear()
        image = domain.generator.draw(torch.zeros(1, SIZE))
        asked = None if progress is None else lambda _: domain.classifier(image)
        options = {"n_samples": 64, "sampling": sampling, "n_h": 0, "radius": 2.0}
        return find_directions(domain, image, label="a", progress=asked, **options), domain

    (alone, quiet), (beside, busy) = found(), found("others ask")
    assert busy.classifier.queries > quiet.classifier.queries
    assert beside.queries == alone.queries == quiet.classifier.queries
    assert beside.directions.metadata["figures"]["queries"] == alone.queries


def test_verification_takes_64_queries_at_most(brief):
    """The examples' own answers, g at 64 and in two steps at the end, four directions by place."""
    for n_samples, settle in ((64, None), (128, 1 - 1e-12), (256, 1 - 1e-12)):
        domain = rough()
        domain.statistics = drawn_by(domain)
        found = search(domain, n_samples=n_samples, settle=settle, n_ways=4)
        assert found.directions.names == ["g", "w1", "w2", "w3", "w4"]
        assert set(tried_of(found.directions.metadata)) == set(found.directions.names)
        assert n_samples == len(found.samples) < found.queries <= n_samples + 64


def test_an_example_out_of_reach_takes_16_queries_a_doubling_more(brief):
    domain = linear(level=-100.0, statistics=drawn_by(linear()))
    found = search(domain, n_samples=256, n_ways=4)
    assert found.queries == 256 + 8 + 3 * 16 + 4 * 8


def drawn_by(domain):
    """The domain's statistics with what its codes draw, measured."""
    codes = domain.statistics.draw(400, torch.Generator().manual_seed(2))
    return CodeStatistics.measured(codes, coarse(domain.generator.draw(codes)))


def bent():
    """A domain whose logit bends along two axes of the codes, along a third too little to see."""
    domain = linear()
    axes = torch.linalg.inv(domain.statistics.factor)  # rows: w of a code
    strength = torch.tensor([0.0, 0.0, 0.02, 1.2, 0.0, 0.9, 0.0, 0.0])
    domain.classifier.function = lambda z: 2 * z @ axes[0] + (z @ axes.T).square() @ strength
    return domain


def test_a_straight_classifier_has_no_h():
    few = search(linear(), n_samples=256, n_h=2)
    assert few.directions.names == ["g"] and len(few.samples) == 256
    many = search(linear(), n_samples=1024, n_h=2)
    assert many.directions.names == ["g"] and len(many.samples) == 512
    assert not many.directions.proxy.networks, "what learned nothing is not kept"


@pytest.mark.slow
def test_h_are_the_axes_along_which_the_logit_bends():
    domain = bent()
    found = search(domain, n_samples=512, n_h=4, lam=0.0).directions
    assert found.names == ["g", "h1", "h2"], "the others bend less than a quarter of the first"
    assert set(tried_of(found.metadata)) == {"g", "h1", "h2"}
    w = F.normalize(domain.statistics.whitened(found.vectors + domain.statistics.mean), dim=1)
    assert abs(float(w[1, 3])) > 0.9 and abs(float(w[2, 5])) > 0.9
    assert (w[0] @ w[1:].T).abs().max() < 1e-2, "orthogonal to g in the metric of the codes"
    assert max(found.eigenvalues[1:]) < 0, "the CF loss toward the label falls there"


def test_an_image_is_one_of_the_examples():
    domain = linear()
    domain.example_images = lambda most, label: []
    image = domain.image()
    found = search(domain, image=image)
    tried = tried_of(found.directions.metadata)["g"]
    assert (tried.n, tried.flipped) == (1, 1)
    probability = float(domain.classifier.probability(domain.classifier(image), "a"))
    assert found.samples.source_probability == pytest.approx(probability)
    assert found.samples.image is None, "the codes do not lie around it"
    seven = linear()
    asked = []
    seven.example_images = lambda most, label: asked.append((most, label)) or [seven.image(9)] * 3
    assert tried_of(search(seven, image=image).directions.metadata)["g"].n == 4
    assert asked == [(8, "a")]


def test_without_examples_nothing_is_tried():
    domain = linear()
    domain.example_images = lambda most, label: []
    found = search(domain)
    assert found.queries == 64 and tried_of(found.directions.metadata) == {}
    assert len(found.samples) == 64


def test_given_images_are_asked_as_they_are_and_nothing_is_decoded_but_walks():
    domain = linear()
    images = images_of(domain, 64)
    before = domain.generator.evaluations
    found = search(domain, "images", images=images)
    codes = torch.cat([domain.generator.encode_semantic(image) for image in images])
    assert sorted(found.samples.logits.tolist()) == pytest.approx(
        sorted((3 * codes @ WAY).tolist()), abs=1e-4
    )
    assert found.evaluations == domain.generator.evaluations - before <= 8 + 16
    assert find_directions(domain, label="a", images=images, n_h=0).samples.question.sampling == (
        "images"
    ), "images say it by themselves"


def test_a_picture_of_its_own_size_is_asked_at_it():
    domain = linear()
    views = images_of(domain, 32)
    pictures = [Picture(F.interpolate(view, scale_factor=3), view) for view in views]
    sizes = []
    domain.classifier.size = None
    answer = type(domain.classifier).__call__

    class Sized(type(domain.classifier)):
        def __call__(self, images):
            sizes.append(tuple(images.shape[-2:]))
            return answer(self, F.interpolate(images, 8, mode="area"))

    domain.classifier.__class__ = Sized
    found = search(domain, "images", n_samples=32, images=pictures)
    assert sizes.count((24, 24)) == 32
    reference = search(linear(), "images", n_samples=32, images=views)
    torch.testing.assert_close(found.samples.logits, reference.samples.logits, atol=1e-4, rtol=1e-4)


def test_too_few_images_are_refused():
    domain = linear()
    for given in (None, images_of(domain, 15)):
        with pytest.raises(GCDError, match=r"images are too few to search over; give 16"):
            search(domain, "images", images=given)
    assert domain.classifier.queries == 0
    assert len(search(domain, "images", images=images_of(domain, 16)).samples) == 16


def test_an_image_that_is_none_of_the_domains_is_refused_before_any_work():
    domain = linear()
    images = [*images_of(domain, 20), torch.rand(1, 1, 9, 9)]
    with pytest.raises(GCDError, match=r"\(1, 1, 9, 9\)"):
        search(domain, "images", images=images)
    assert domain.classifier.queries == domain.generator.evaluations == 0


def test_a_region_is_refused_and_searched_in_the_ball():
    domain = linear()
    mask = torch.zeros(8, 8)
    mask[:4] = 1
    with pytest.raises(GCDError, match="region is searched in the ball"):
        search(domain, region=mask)
    with pytest.raises(GCDError, match="starts from one image"):
        find_directions(domain, label="a", region=mask)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": "everywhere"}, "prior, images, ball, not 'everywhere'"),
        ({"n_ways": 5}, "5 directions by place .* take 0 to 4"),
        ({"n_ways": -1}, "-1 directions by place"),
        ({"sampling": "ball"}, "starts from one image"),
        ({"sampling": "ball", "n_ways": 2}, "in the ball, take n_ways = 0"),
        ({"n_samples": 8}, "8 samples"),
        ({"settle": 1.0}, "cosine"),
        ({"label": "cat"}, r"cat.*\['a', 'b'\]"),
        ({"label": None}, r"Say which label .* \['a', 'b'\]"),
        ({"image": torch.rand(1, 1, 9, 9)}, r"\(1, 1, 9, 9\)"),
    ],
)
def test_refused_before_any_work(change, message):
    domain = linear()
    with pytest.raises(GCDError, match=message):
        find_directions(domain, **({"label": "a", "sampling": "prior"} | change))
    assert domain.classifier.queries == domain.generator.evaluations == 0


def test_a_classifier_that_never_changes_is_refused_and_its_answers_kept():
    domain = linear()
    with pytest.raises(SearchFailed, match="the same for every picture") as refused:
        find_directions(domain, label="b", sampling="prior", n_samples=64, n_h=0)
    assert len(refused.value.samples) == 32


def test_the_ball_is_still_the_papers(brief):
    """Where nothing is known of the codes; else the same g, carried by their covariance."""
    settings = {"n_samples": 64, "n_h": 1, "sampling": "ball"}
    image = linear().image()
    plain = find_directions(linear(), image, "a", **settings)
    assert plain.queries == 64 + 1, "no example is asked about"
    assert tried_of(plain.directions.metadata) == {}
    assert torch.equal(plain.samples.image, image)
    codes = uneven()
    known = linear(statistics=CodeStatistics(codes.mean, codes.covariance, None, 200))
    carried = find_directions(known, image, "a", **settings)
    g, h1 = plain.directions.vectors
    torch.testing.assert_close(carried.directions["g"].vector, pattern(codes, g))
    assert torch.equal(carried.directions["h1"].vector, h1)


def of_places(seed=0):
    """A slope over codes whose numbers each change one pixel of 16 x 16, some more than others."""
    random = torch.Generator().manual_seed(seed)
    drawing = torch.diag(0.5 + torch.rand(256, generator=random))
    statistics = CodeStatistics(torch.zeros(256), torch.eye(256), drawing)
    return MeanSlope(torch.randn(256, generator=random), 0.0, 1.0, statistics)


def test_quarters_are_the_picture():
    masks = torch.stack([quarter(place) for place in range(len(PLACES))])
    assert torch.equal(masks.sum(0), torch.ones(16, 16)) and (masks.sum((1, 2)) == 64).all()
    corners = {"upper left": (0, 0), "upper right": (0, 15), "lower left": (15, 0)}
    for place, name in enumerate(PLACES):
        row, column = corners.get(name, (15, 15))
        assert masks[place, row, column] == 1


def shares(vector, drawing):
    """The share of a direction's squared change that lies in each quarter."""
    change = (drawing @ vector).square().view(16, 16)
    return torch.stack([(change * quarter(place)).sum() for place in range(4)]) / change.sum()


def test_a_direction_is_confined_to_a_quarter():
    slope = of_places()
    drawing = slope.statistics.drawing
    # In this drawing each number costs 1 + m (0.1 + 30 outside), m its share of the change.
    m = drawing.diagonal().square() / drawing.diagonal().square().mean()
    for place in range(4):
        vector, outside = confined_to(slope, place), 1 - quarter(place).flatten()
        expected = F.normalize(slope.slope / (1 + m * (0.1 + 30 * outside)), dim=0)
        torch.testing.assert_close(vector, expected, atol=1e-4, rtol=1e-3)
        assert shares(vector, drawing)[place] > 0.98
    assert shares(slope.direction(), drawing).max() < 0.4


def test_directions_by_place_come_by_their_rise():
    slope = of_places()
    found = directions_by_place(slope, 4)
    confined = torch.stack([confined_to(slope, place) for place in range(4)])
    own = [int(shares(vector, slope.statistics.drawing).argmax()) for vector in found]
    assert sorted(own) == [0, 1, 2, 3] and torch.equal(torch.stack(found), confined[own])
    rises = [float(slope.slope @ vector) for vector in found]
    assert rises == sorted(rises, reverse=True) and min(rises) > 0
    assert torch.equal(torch.stack(directions_by_place(slope, 2)), torch.stack(found[:2]))


def test_without_a_drawing_there_is_no_place():
    statistics = CodeStatistics.assumed(4, None)
    codes = statistics.draw(32, torch.Generator().manual_seed(0))
    slope = fit_mean_slope(codes, codes[:, 0], statistics)
    assert directions_by_place(slope, 4) == []
    assert directions_by_place(of_places(), 0) == []
    assert search(linear(), n_ways=4).directions.names == ["g"]


def test_what_is_found_survives_a_file(tmp_path):
    domain = linear(statistics=drawn_by(linear()))
    found = search(domain, n_ways=4)
    found.directions.save(tmp_path / "d.safetensors")
    loaded = gcd_core.load_directions(tmp_path / "d.safetensors", domain)
    assert torch.equal(loaded.vectors, found.directions.vectors)
    assert tried_of(loaded.metadata) == tried_of(found.directions.metadata)
    codes = found.samples.z_sem[:3]
    assert torch.equal(loaded.proxy_logit(codes), found.directions.proxy_logit(codes))


def test_an_offered_g_is_told_of_what_it_did_itself():
    offered = []
    search(
        rough(),
        n_samples=256,
        settle=1 - 1e-12,
        progress=lambda told: offered.append(told.directions) if told.directions else None,
    )
    assert [bool(tried_of(found.metadata)) for found in offered] == [True, False]
