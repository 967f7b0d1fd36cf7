"""The proxy's shape and training: what it learns, when it stops, and that a seed repeats it."""

import math

import pytest
import torch
from torch import nn

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method import proxy as proxy_module
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.mean_slope import MeanSlope
from gcd_core.method.perturbation import sample_ball
from gcd_core.method.proxy import BATCH, Proxy, fit_proxy, linear_proxy
from tests.fakes import Flag, unit

D, RADIUS = 6, 3.0
W = unit(D)


def samples(n=180, noise=0.0, seed=0):
    """Codes in a ball around 5, their logits (linear, standard deviation near 1) and distances."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.full((1, D), 5.0)
    delta = sample_ball(n, D, RADIUS, generator)
    logits = delta @ W - 2 + noise * torch.randn(n, generator=generator)
    return source + delta, logits, 0.05 * delta.norm(dim=1), source


@pytest.fixture
def brief(monkeypatch):
    """Only a few epochs, where what is learned does not matter."""
    monkeypatch.setattr(proxy_module, "MAX_EPOCHS", 4)


def fit(n=180, noise=0.0, **options):
    z_sem, logits, distances, source = samples(n, noise)
    return fit_proxy(z_sem, logits, distances, source, RADIUS, **options)


def test_the_papers_layers():
    for network in Proxy(256).networks:
        linear = [(layer.in_features, layer.out_features) for layer in network[::2]]
        assert linear == [(256, 512), (512, 256), (256, 128), (128, 64), (64, 2)]
        assert all(isinstance(layer, nn.Sigmoid) for layer in network[1::2])


def test_the_proxy_is_the_mean_of_different_networks():
    proxy = Proxy(D)
    proxy.initialise(torch.Generator().manual_seed(0))
    x = torch.randn(4, D, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        each = [proxy.one(network, x) for network in proxy.networks]
        torch.testing.assert_close(proxy(x), sum(each) / 3)
    assert not torch.allclose(each[0], each[1])


def test_starts_almost_linear():
    proxy = Proxy(32)
    generator = torch.Generator().manual_seed(0)
    proxy.initialise(generator)
    x = torch.randn(500, 32, generator=generator)
    with torch.no_grad():
        even = (proxy(x) + proxy(-x)) / 2 - proxy(torch.zeros(1, 32))
        odd = (proxy(x) - proxy(-x)) / 2
    assert odd.std(0).min() > 0.1  # no vanishing signal
    assert (even.std(0) < 0.2 * odd.std(0)).all()


@pytest.mark.slow
def test_learns_both_targets(monkeypatch):
    monkeypatch.setattr(proxy_module, "MIN_STEPS", 150)
    fitted = fit()
    z_sem, logits, distances, _ = samples(100, seed=1)  # unseen
    with torch.no_grad():
        answer = fitted.proxy(z_sem)
    assert (answer[:, 0] - logits).std() < 0.2 * logits.std()
    assert (answer[:, 1] - distances).abs().mean() < 0.05
    assert fitted.validation_losses[-1] < 0.1 * fitted.validation_losses[0]
    assert len(fitted.train_losses) == len(fitted.validation_losses)


def test_keeps_the_best_weights_and_stops_when_validation_rises(monkeypatch):
    fewest_steps = 90
    monkeypatch.setattr(proxy_module, "MIN_STEPS", fewest_steps)
    n, seed = 180, 4
    fitted = fit(n, noise=1.0, seed=seed, networks=1)
    z_sem, logits, distances, _ = samples(n, noise=1.0)
    held_back = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: n // 9]
    targets = torch.stack([logits, distances], 1)
    with torch.no_grad():
        error = (fitted.proxy(z_sem[held_back]) - targets[held_back]).square().sum(1).mean()
    losses = fitted.validation_losses
    assert float(error / logits.var()) == pytest.approx(min(losses), rel=1e-4)
    assert min(losses) < losses[-1]  # it had begun to fit the noise
    steps_an_epoch = math.ceil(160 / BATCH)
    fewest = math.ceil(fewest_steps / steps_an_epoch)
    assert fewest <= len(losses) < proxy_module.MAX_EPOCHS
    rises = [losses[i] > sum(losses[i - 5 : i]) / 5 for i in range(fewest - 1, len(losses))]
    assert rises == [False] * (len(rises) - 1) + [True]


def test_seed_repeats_and_leaves_the_global_generator_alone(brief):
    state = torch.random.get_rng_state()
    first, second, other = fit(seed=1), fit(seed=1), fit(seed=2)
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.train_losses == second.train_losses
    for a, b in zip(first.proxy.parameters(), second.proxy.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.train_losses != other.train_losses


def test_units_and_place_do_not_matter(brief):
    z_sem, logits, distances, source = samples()
    plain = fit_proxy(z_sem, logits, distances, source, RADIUS, lam=0.0)
    moved = fit_proxy(
        64 * z_sem + 8, 1000 * logits + 30, distances, 64 * source + 8, 64 * RADIUS, lam=0.0
    )
    torch.testing.assert_close(
        torch.tensor(plain.validation_losses),
        torch.tensor(moved.validation_losses),
        rtol=2e-2,
        atol=0,
    )


def test_lam_weighs_the_distance(brief):
    z_sem, logits, distances, source = samples()

    def losses(distances, lam):
        return fit_proxy(z_sem, logits, distances, source, RADIUS, lam).train_losses[0]

    assert losses(distances, 0.0) == losses(0 * distances, 0.0)  # nothing but the logit counts
    assert losses(100 * distances, 1.0) > 2 * losses(distances, 1.0)


def test_trains_where_gradients_are_off_and_tensors_are_of_inference(brief):
    with torch.inference_mode():
        fitted = fit()
    with torch.no_grad():
        again = fit()
    assert fitted.train_losses == again.train_losses
    assert fitted.train_losses[-1] < fitted.train_losses[0]


def test_equal_distances_do_no_harm(brief):
    z_sem, logits, _, source = samples()
    fitted = fit_proxy(z_sem, logits, torch.zeros(len(z_sem)), source, RADIUS)
    assert all(math.isfinite(loss) for loss in fitted.train_losses)


def test_progress_and_cancel():
    told = []
    with pytest.raises(Cancelled):
        fit(progress=lambda *now: told.append((now[0], len(now[2]))), cancel=Flag(after=2))
    assert told == [(1, 1), (2, 2)]


def test_refusals():
    z_sem, logits, distances, source = samples(30)
    with pytest.raises(GCDError, match="8 samples"):
        fit_proxy(z_sem[:8], logits[:8], distances[:8], source, RADIUS)
    with pytest.raises(GCDError, match="the same for every"):
        fit_proxy(z_sem, torch.full((30,), 7.0), distances, source, RADIUS)
    with pytest.raises(GCDError, match="finite"):
        fit_proxy(z_sem, logits * torch.nan, distances, source, RADIUS)


def mean_slope(gradient, intercept, explained=0.9):
    """A linear function of codes of spread 2 about 5, with this gradient in the codes' numbers."""
    moments = torch.full((D,), 5.0), torch.full((D,), 2.0)
    return MeanSlope(2 * gradient, intercept, explained, CodeStatistics.assumed(D, moments))


def test_a_linear_proxy_is_the_slope_itself():
    slope = mean_slope(3 * W, -2.0)
    fitted = linear_proxy(slope)
    codes = samples()[0]
    said = fitted.proxy(codes)
    torch.testing.assert_close(said[:, 0], 3 * (codes - 5) @ W - 2, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(said[:, 0], slope.logit(codes), atol=1e-4, rtol=1e-4)
    assert not said[:, 1].any()
    assert fitted.validation_losses == pytest.approx([0.1]) and len(fitted.proxy.networks) == 0
    gradient = torch.func.grad(lambda z: fitted.proxy(z[None])[0, 0])(codes[0])
    torch.testing.assert_close(gradient, 3 * W)


def test_networks_beside_a_slope_begin_with_adding_nothing(monkeypatch):
    monkeypatch.setattr(proxy_module, "MAX_EPOCHS", 1)
    monkeypatch.setattr(proxy_module, "LEARNING_RATE", 0.0)
    monkeypatch.setattr(proxy_module, "WEIGHT_DECAY", 0.0)
    z_sem, logits, _, _ = samples()
    said = fit(linear=mean_slope(W, -2.0)).proxy(z_sem)[:, 0]
    torch.testing.assert_close(said, logits, atol=1e-3, rtol=1e-3)


def test_networks_learn_what_the_slope_leaves(monkeypatch):
    """Of a logit that bends along another axis the slope knows nothing; of theirs, all is known."""
    monkeypatch.setattr(proxy_module, "MIN_STEPS", 60)
    monkeypatch.setattr(proxy_module, "MAX_EPOCHS", 60)
    z_sem, logits, distances, source = samples(n=400)
    fitted = fit_proxy(z_sem, logits, distances, source, RADIUS, linear=mean_slope(W, -2.0))
    gradient = torch.func.grad(lambda z: fitted.proxy(z[None])[0, 0])(source[0])
    assert float(gradient @ W / gradient.norm()) > 0.999
    wrong = fit_proxy(
        z_sem, logits, distances, source, RADIUS, linear=mean_slope(-0.1 * W, -2.0), lam=0.0
    )
    assert fitted.validation_losses[0] < 0.05 < wrong.validation_losses[0]
    assert min(wrong.validation_losses) < 0.5 * wrong.validation_losses[0], "they mend it"
