"""find_directions end to end, on a domain whose gradient and Hessian are known."""

import math

import pytest
import torch

import gcd_core
from gcd_core.errors import Cancelled, GCDError
from gcd_core.method import proxy as proxy_module
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import SearchFailed
from tests.fakes import Flag, LinearDomain, unit


@pytest.fixture
def brief(monkeypatch):
    """Only a few epochs, where what is learned does not matter."""
    monkeypatch.setattr(proxy_module, "MAX_EPOCHS", 3)


def linear(slope=2.0, size=8):
    w = unit(size)
    return LinearDomain(lambda z: slope * z @ w, size)


@pytest.mark.parametrize(("size", "level"), [(256, -1), (16, +1)])
@pytest.mark.slow
def test_g_of_a_linear_classifier(size, level):
    w = unit(size, seed=5)
    domain = LinearDomain(lambda z: 10 * z @ w + level, size, image_size=2 * math.isqrt(size))
    image = domain.image()
    found = find_directions(domain, image, "a", n_samples=4 * size, n_h=0)
    g = found.directions["g"]
    assert found.samples.source_probability == pytest.approx(
        float(domain.classifier.probability(domain.classifier(image), "a"))
    )
    assert float(g.vector @ w) >= 0.99  # and it points up, whichever way the flip is
    assert float(g.vector.norm()) == pytest.approx(1, abs=1e-5)
    assert found.evaluations == found.queries == 4 * size + 1
    path = gcd_core.walk(domain, image, g, "a")
    assert path.flipped


@pytest.mark.slow
def test_h_of_a_quadratic_classifier():
    size, curvature = 16, torch.tensor([1.0, -0.8, 0.6])
    axes = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(2)))[0].T
    domain = LinearDomain(lambda z: z @ axes[0], size)
    image = domain.image()
    source = domain.generator.encode_semantic(image)

    def logit(z):
        along = 3 * (z - source) @ axes.T
        return 0.6 * along.sum(1) / 4 + (along[:, :3] ** 2 * curvature).sum(1)

    domain.classifier.function = logit
    found = find_directions(domain, image, "a", n_samples=512, n_h=3, radius=2.0)
    vectors = found.directions.vectors[1:]
    assert found.directions.names == ["g", "h1", "h2", "h3"]
    alignment = (vectors @ axes[:3].T).abs()
    assert (alignment.diagonal() > 0.9).all()
    eigenvalues = torch.tensor(found.directions.eigenvalues[1:])
    sign = -1 if found.samples.source_probability >= 0.5 else 1
    assert torch.equal(eigenvalues.sign(), -sign * curvature.sign())


def test_a_seed_repeats_to_the_bit_whatever_the_batches(brief):
    image = linear().image()
    first = find_directions(linear(), image, "a", n_samples=40, seed=3)
    again = find_directions(linear(), image, "a", n_samples=40, seed=3)
    assert torch.equal(first.directions.vectors, again.directions.vectors)
    batched = find_directions(linear(), image, "a", n_samples=40, seed=3, batch_size=7)
    assert torch.equal(first.samples.z_sem, batched.samples.z_sem)
    torch.testing.assert_close(first.samples.logits, batched.samples.logits)
    other = find_directions(linear(), image, "a", n_samples=40, seed=4)
    assert not torch.equal(first.samples.z_sem, other.samples.z_sem)


def test_progress_tells_every_stage(brief):
    domain, told = linear(), []
    find_directions(domain, domain.image(), "a", 20, batch_size=8, progress=told.append)
    assert [now.stage for now in told] == (
        ["encode"] * 2 + ["perturb"] * 3 + ["proxy"] * 3 + ["directions"]
    )
    perturb = [now for now in told if now.stage == "perturb"]
    assert [(now.done, now.total) for now in perturb] == [(8, 20), (16, 20), (20, 20)]
    assert [len(now.images) for now in perturb] == [8, 8, 4]
    assert perturb[0].images.shape[1:] == (1, 8, 8)
    assert perturb[-1].probabilities.shape == perturb[-1].distances.shape == (4,)
    assert all(math.isfinite(now.eta) and now.eta >= 0 for now in perturb)
    assert perturb[-1].eta == 0
    assert [now.queries for now in perturb] == [9, 17, 21]
    proxy = [now for now in told if now.stage == "proxy"]
    assert [len(now.train_losses) for now in proxy] == [1, 2, 3]
    assert [len(now.validation_losses) for now in proxy] == [1, 2, 3]


@pytest.mark.parametrize("asked", [0, 1, 3, 6, 8])
def test_cancelled_and_resumed_is_as_if_never_stopped(brief, asked):
    image = linear().image()
    whole = find_directions(linear(), image, "a", n_samples=40, batch_size=8)
    domain = linear()
    with pytest.raises(Cancelled) as stopped:
        find_directions(domain, image, "a", 40, batch_size=8, cancel=Flag(after=asked))
    samples = stopped.value.samples
    if asked == 0:
        assert samples is None
    else:
        assert len(samples) == min(8 * (asked - 1), 40)
    resumed = find_directions(domain, image, "a", 40, batch_size=8, resume=samples)
    assert torch.equal(resumed.directions.vectors, whole.directions.vectors)
    assert domain.classifier.queries == whole.queries == 41
    assert domain.generator.evaluations == whole.evaluations == 41


def test_samples_serve_other_settings_and_more_samples(brief):
    domain = linear()
    image = domain.image()
    few = find_directions(domain, image, "a", n_samples=150)
    asked = domain.classifier.queries
    other = find_directions(domain, image, "a", 150, n_h=5, lam=0.0, resume=few.samples)
    fewer = find_directions(domain, image, "a", 100, resume=few.samples)
    assert domain.classifier.queries == asked
    assert other.queries == other.evaluations == 0
    assert len(other.directions) == 6
    assert len(fewer.samples) == 100
    more = find_directions(domain, image, "a", n_samples=300, resume=few.samples)
    assert more.queries == 150
    fresh = find_directions(linear(), image, "a", n_samples=300)
    assert torch.equal(more.samples.z_sem, fresh.samples.z_sem)


def test_what_was_asked_survives_a_failing_classifier(brief):
    domain = linear()
    image = domain.image()
    domain.classifier.fail_after = 20
    with pytest.raises(SearchFailed) as failed:
        find_directions(domain, image, "a", n_samples=40, batch_size=8)
    assert isinstance(failed.value, GCDError) and len(failed.value.samples) == 16
    assert isinstance(failed.value.__cause__, ConnectionError)
    domain.classifier.fail_after = math.inf
    found = find_directions(domain, image, "a", 40, batch_size=8, resume=failed.value.samples)
    assert found.queries == 24


def test_resuming_another_search_is_refused(brief):
    domain = linear()
    image = domain.image()
    samples = find_directions(domain, image, "a", n_samples=20).samples
    for change in ({"seed": 1}, {"radius": 1.5}, {"steps": 9}, {"antithetic": True}):
        with pytest.raises(GCDError, match=next(iter(change))):
            find_directions(domain, image, "a", n_samples=20, resume=samples, **change)
    with pytest.raises(GCDError, match="label 'a', not 'b'"):
        find_directions(domain, image, "b", n_samples=20, resume=samples)
    with pytest.raises(GCDError, match="another image"):
        find_directions(domain, domain.image(1), "a", n_samples=20, resume=samples)
    domain.classifier.identity = "other"
    with pytest.raises(GCDError, match="classifier"):
        find_directions(domain, image, "a", n_samples=20, resume=samples)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": 0}, "0 samples"),
        ({"n_samples": 8}, "8 samples"),
        ({"n_samples": 20.5}, "whole number"),
        ({"n_samples": True}, "whole number"),
        ({"n_h": -1}, "0 to 8"),
        ({"n_h": 9}, "0 to 8"),
        ({"radius": 0}, "radius"),
        ({"radius": -4.0}, "radius"),
        ({"radius": math.nan}, "radius"),
        ({"lam": -1.0}, "lam"),
        ({"lam": math.inf}, "lam"),
        ({"seed": -1}, "seed"),
        ({"seed": "x"}, "seed"),
        ({"steps": 1}, "step"),
        ({"batch_size": 0}, "batch"),
        ({"label": "cat"}, r"cat.*\['a', 'b'\]"),
        ({"image": torch.rand(1, 1, 9, 9)}, r"\(1, 1, 9, 9\)"),
    ],
)
def test_refused_before_any_work(change, message):
    domain = linear()
    settings = {"image": domain.image(), "label": "a"} | change
    with pytest.raises(GCDError, match=message):
        find_directions(domain, **settings)
    assert domain.generator.evaluations == domain.classifier.queries == 0


def test_a_classifier_that_never_changes_is_refused(brief):
    domain = linear()
    with pytest.raises(GCDError, match="the same for every") as refused:
        find_directions(domain, domain.image(), "b", n_samples=20)
    assert len(refused.value.samples) == 20


@pytest.mark.parametrize("offset", [-9.0, pytest.param(9.0, marks=pytest.mark.nightly)])
@pytest.mark.slow
def test_at_the_boundary_a_saturated_source_finds_g(offset):
    """A classifier that is flat far from its boundary, and looks elsewhere there than near it."""
    size = 8
    near, far = torch.eye(size)[0], torch.eye(size)[1]
    toward = -math.copysign(1.0, offset)

    domain = LinearDomain(lambda z: z @ near, size)
    domain.alpha_max = 4.0
    image = domain.image()
    source = domain.generator.encode_semantic(image)

    def logit(z):
        height = 4 * (z - source) @ near + offset
        return 9 * torch.tanh(height / 9) + 0.15 * toward * (z - source) @ far

    domain.classifier.function = logit
    assert abs(float(logit(source))) > 6
    settings = {"n_samples": 768, "n_h": 2, "radius": 1.5}
    found = find_directions(domain, image, "a", boundary=True, **settings)
    centre = found.directions.z_sem
    assert abs(float(logit(centre))) < 1.5, "where the prediction is undecided"
    assert float(found.directions["g"].vector @ near) > 0.99
    assert found.samples.z_sem[:256].sub(found.latent.z_sem).norm(dim=1).max() <= 1.5 + 1e-4
    assert found.samples.z_sem[256:].sub(centre).norm(dim=1).max() <= 1.5 + 1e-4
    assert found.queries == 768 + 1 + 16


def test_resumed_at_the_boundary_nothing_is_asked_again(brief):
    whole = find_directions(linear(), linear().image(), "a", 80, boundary=True)
    for asked in (0, 2, 5, 9):
        domain = linear()
        with pytest.raises(Cancelled) as stopped:
            find_directions(
                domain, domain.image(), "a", 80, batch_size=16, boundary=True, cancel=Flag(asked)
            )
        samples = stopped.value.samples
        resumed = find_directions(
            domain, domain.image(), "a", 80, batch_size=16, boundary=True, resume=samples
        )
        assert torch.equal(resumed.directions.vectors, whole.directions.vectors)
        assert domain.classifier.queries == 80 + 1 + 16
    with pytest.raises(GCDError, match="first"):
        find_directions(domain, domain.image(), "a", 80, resume=whole.samples)


def test_at_the_boundary_g_does_not_settle_before_it_is_there(brief):
    domain = linear()
    settings = {"n_h": 0, "boundary": True, "settle": 1e-6, "radius": 2.0}
    found = find_directions(domain, domain.image(), "a", 2000, **settings)
    assert found.samples.boundary is not None
    assert len(found.samples) == 1024, "the second number of samples beyond the first 256"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_ways": 5}, "5 directions by place .* take 0 to 4"),
        ({"n_ways": -1}, "-1 directions by place"),
        ({"n_ways": 1.5}, "whole number"),
        ({"n_ways": 1}, "in the ball, take n_ways = 0"),
        ({"boundary": True, "n_samples": 17}, "17 samples are too few .* boundary; take 18"),
        ({"image": None}, "starts from one image"),
    ],
)
def test_what_no_ball_can_do_is_refused_before_any_work(change, message):
    domain = linear()
    settings = {"image": domain.image(), "label": "a", "n_samples": 20} | change
    with pytest.raises(GCDError, match=message):
        find_directions(domain, **settings)
    assert domain.generator.evaluations == domain.classifier.queries == 0


def test_what_is_written_down_and_survives_a_file(brief, tmp_path):
    domain = linear()
    found = find_directions(domain, domain.image(), "a", 20, seed=7, antithetic=True)
    found.directions.save(tmp_path / "d.safetensors")
    loaded = gcd_core.load_directions(tmp_path / "d.safetensors", domain)
    assert torch.equal(loaded.vectors, found.directions.vectors)
    assert torch.equal(loaded.z_sem, found.latent.z_sem)
    assert loaded.metadata["label"] == loaded.label == "a"
    assert (loaded.metadata["generator"], loaded.metadata["classifier"]) == ("linear", "code")
    assert loaded.metadata["seed"] == 7
    assert loaded.metadata["settings"] == {
        "sampling": "ball",
        "n_samples": 20,
        "n_h": 2,
        "radius": 2.0,
        "lam": 1.0,
        "solver": "ddim",
        "steps": 5,
        "antithetic": True,
        "boundary": False,
        "n_ways": 0,
        "detail": "decoded",
    }
    codes = found.samples.z_sem[:3]
    assert torch.equal(loaded.proxy_logit(codes), found.directions.proxy_logit(codes))


def test_public_names():
    for name in gcd_core.__all__:
        assert getattr(gcd_core, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute"):
        gcd_core.nonsense  # noqa: B018


@pytest.mark.slow
def test_a_search_ends_once_g_has_settled():
    w = unit(8, seed=5)
    domain = LinearDomain(lambda z: 10 * z @ w, 8)
    found = find_directions(domain, domain.image(), "a", n_samples=2000, n_h=0, settle=0.98)
    asked = len(found.samples)
    assert asked in (256, 512, 1024) and found.queries == asked + 1
    assert found.directions.metadata["settings"]["n_samples"] == asked
    assert float(found.directions["g"].vector @ w) >= 0.99


def test_a_search_that_does_not_settle_takes_all_samples(brief):
    domain = linear()
    found = find_directions(domain, domain.image(), "a", n_samples=300, n_h=0, settle=1 - 1e-12)
    assert len(found.samples) == 300


@pytest.mark.parametrize("settle", [0, 1, -0.5, math.nan])
def test_settle_is_a_cosine(settle):
    domain = linear()
    with pytest.raises(GCDError, match="cosine"):
        find_directions(domain, domain.image(), "a", settle=settle)
    assert domain.classifier.queries == 0
