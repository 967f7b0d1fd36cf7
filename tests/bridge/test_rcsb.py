"""Steering a bridge: ADAM against PyTorch's, the steps against a closed form, what it refuses."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from gcd_core.bridge.bridge import Bridge
from gcd_core.bridge.bridge_network import BridgeNetwork
from gcd_core.bridge.rcsb import Adam, Steering, steer, white_box
from gcd_core.bridge.schedule import Schedule
from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.classifiers.function import Function
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.errors import Cancelled, GCDError
from gcd_core.evaluation.known_reasons import LUNG_FIELDS, RegionReader
from tests.bridge.fakes import known_bridge
from tests.fakes import Flag

SIDE = 16


class Weighted(nn.Module):
    """One logit: a weighted sum of the pixels, twice (for a softmax, against nothing)."""

    def __init__(self, weights, columns=1):
        super().__init__()
        self.weights, self.columns = weights, columns

    def forward(self, images):
        logit = (images * self.weights).sum((1, 2, 3))[:, None]
        return torch.cat([logit, torch.zeros_like(logit)], 1)[:, : self.columns]


def classifier_of(network, output="sigmoid", labels=("ill",)):
    return TorchClassifier(network, labels, output, "known", SIDE, 1, mean=0, std=1)


@pytest.fixture
def weights():
    return torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def masks():
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.bool)
    masks[0, 2:9, 3:12] = True
    masks[1, 10:, :5] = True
    return masks


def images_of(n=2):
    return torch.rand(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) * 0.4 + 0.3


def test_adams_update_is_pytorchs():
    parameter = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([parameter], lr=1.0, maximize=True)
    adam, generator = Adam(), torch.Generator().manual_seed(0)
    for _ in range(7):
        gradient = torch.randn(5, generator=generator, dtype=torch.float64)
        before = parameter.detach().clone()
        parameter.grad = gradient.clone()
        optimiser.step()
        torch.testing.assert_close(adam(gradient), parameter.detach() - before)


@pytest.mark.parametrize("up", [True, False])
def test_two_steps_by_hand(weights, masks, up):
    """A bridge that expects what it sees, and a linear logit: ADAM's first update is the sign."""
    bridge, images = known_bridge(lambda x, t: x), images_of()
    steering = Steering(steps=2, tau=0.05, strength=0.03, seed=4)
    upward = torch.tensor([up, up])
    ask = classifier_of(Weighted(0.1 * weights))
    run = steer(bridge, ask, images, masks, "ill", upward, steering)
    plain = steer(bridge, ask, images, masks, "ill", upward, replace(steering, strength=0.0))
    times = torch.tensor([0.05, 0.025])  # near the source, so that no pixel ends at 0 or 1
    later, sooner = bridge.schedule.variance(times)
    expected = (sooner / later) * 0.03 * weights.sign() * (1 if up else -1) / 2  # of [-1, 1]
    inside = masks[:, None]
    torch.testing.assert_close(
        (run.images - plain.images)[inside],
        expected.expand(2, 1, -1, -1)[inside],
        atol=1e-6,
        rtol=1e-4,
    )
    assert run.expected.shape == (2, 2)


def test_the_start_is_the_posterior_between_source_and_noise():
    schedule, images = Schedule(), torch.full((1, 1, 64, 64), 0.6)
    masks = torch.ones(1, 64, 64, dtype=torch.bool)
    masks[0, 0] = False
    seen = []

    def expectation(x, t):
        seen.append((x.detach(), t))
        return x

    reader = TorchClassifier(
        Weighted(torch.ones(1, 64, 64)), ("ill",), "sigmoid", "known", 64, 1, mean=0, std=1
    )
    bridge = known_bridge(expectation, schedule)
    steer(bridge, reader, images, masks, "ill", torch.tensor([True]), Steering(1, tau=0.4))
    x, t = seen[0]
    done = schedule.variance(torch.tensor(0.4)).item()
    share, inside = done / schedule.total, x[0, 0][masks[0]]
    spread = share**2 + done * (1 - share)
    assert t.tolist() == pytest.approx([0.4])
    assert inside.mean().item() == pytest.approx((1 - share) * 0.2, abs=4 * (spread / 4032) ** 0.5)
    assert inside.var().item() == pytest.approx(spread, rel=0.1)
    assert torch.equal(x[0, 0, 0], images[0, 0, 0] * 2 - 1)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = BridgeNetwork(1, [8, 16], [1, 1], [False, False])
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network


def test_outside_nothing_changes_and_images_do_not_hang_on_each_other(weights, masks, network):
    bridge, images = Bridge(network, Schedule(), "fp32"), images_of()
    ask = classifier_of(Weighted(0.1 * weights))
    upward, steering = torch.tensor([True, False]), Steering(steps=5, tau=0.5, strength=0.05)
    both = steer(bridge, ask, images, masks, "ill", upward, steering)
    assert ask.queries == 10
    outside = ~masks[:, None]
    assert torch.equal(both.images[outside], images[outside])
    assert not torch.equal(both.images, images)
    assert both.images.min() >= 0 and both.images.max() <= 1
    for i in range(2):
        of = slice(i, i + 1)
        alone = steer(bridge, ask, images[of], masks[of], "ill", upward[of], steering)
        torch.testing.assert_close(alone.images, both.images[of], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.expected, both.expected[:, of], atol=1e-5, rtol=0)


def test_it_goes_where_it_is_told(weights, masks, network):
    bridge, images = Bridge(network, Schedule(), "fp32"), images_of()
    ask = classifier_of(Weighted(weights))
    run = {}
    for up in (True, False):
        steering = Steering(steps=10, tau=0.3, strength=0.3)
        upward = torch.tensor([up, up])
        run[up] = ask(steer(bridge, ask, images, masks, "ill", upward, steering).images)[:, 0]
    assert (run[True] > run[False] + 1).all()


def test_of_a_softmax_the_labels_own_log_odds_rise(weights, masks):
    bridge, images = known_bridge(lambda x, t: x), images_of()
    two = classifier_of(Weighted(weights, 2), "softmax", ("ill", "well"))
    one = classifier_of(Weighted(weights))
    runs = [
        steer(bridge, ask, images, masks, "ill", torch.tensor([True, False]), Steering(steps=3))
        for ask in (one, two)
    ]
    torch.testing.assert_close(runs[0].images, runs[1].images, atol=1e-5, rtol=0)


def test_a_readers_own_region_flips_it_and_another_does_not():
    field, other = LUNG_FIELDS["right upper"], LUNG_FIELDS["left lower"]
    images = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    images = images * 0.3 + 0.2 + 0.3 * torch.linspace(0, 1, 8)[:, None, None, None]
    reader = RegionReader.fitted_to(images, [field])
    bridge = known_bridge(lambda x, t: x)
    before = reader.probability(reader(images), "bright") >= 0.5
    flips = {}
    for name, region in (("own", field), ("other", other)):
        run = steer(
            bridge,
            reader,
            images,
            region.mask(32, 32)[None],
            "bright",
            ~before,
            Steering(steps=20, tau=0.1, strength=0.2),
        )
        after = reader.probability(reader(run.images), "bright") >= 0.5
        flips[name] = int((after != before).sum())
    assert flips == {"own": 8, "other": 0}


def test_classifiers_without_a_gradient_are_refused_in_a_sentence(weights, masks):
    bridge, images, upward = known_bridge(lambda x, t: x), images_of(), torch.tensor([True, True])
    answers_only = SimpleNamespace(labels=("ill",))
    with pytest.raises(GCDError, match="black-box way"):
        white_box(answers_only)
    numpy_inside = Function(lambda x: torch.from_numpy(x.detach().numpy().sum((2, 3))), "It")
    with pytest.raises(GCDError, match="lets no gradient through"):
        steer(bridge, classifier_of(numpy_inside), images, masks, "ill", upward, Steering(steps=2))


def test_the_budget_holds_and_cancelling_ends_it(weights, masks):
    bridge, images, upward = known_bridge(lambda x, t: x), images_of(), torch.tensor([True, True])
    ask = classifier_of(Weighted(weights))
    ask.budget = 5
    with pytest.raises(BudgetExceeded):
        steer(bridge, ask, images, masks, "ill", upward, Steering(steps=4))
    assert ask.queries == 4
    ask = classifier_of(Weighted(weights))
    with pytest.raises(Cancelled):
        steer(bridge, ask, images, masks, "ill", upward, Steering(steps=9), cancel=Flag(after=3))
    assert ask.queries == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "one step"),
        ({"tau": 0}, "tau lies"),
        ({"tau": 1.2}, "tau lies"),
        ({"strength": -1}, "strength"),
        ({"strength": float("nan")}, "strength"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(GCDError, match=message):
        Steering(**options)
