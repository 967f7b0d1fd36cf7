"""The bridge as a sampler, against a Gaussian data set; its network; its files."""

import json

import pytest
import torch

from gcd_core.bridge.bridge import CONFIG_NAME, WEIGHTS_NAME, Bridge, load_bridge, save_bridge
from gcd_core.bridge.bridge_network import BridgeNetwork
from gcd_core.bridge.schedule import Schedule
from gcd_core.errors import GCDError
from tests.bridge.fakes import known_bridge

SMALL = {"widths": [8, 32], "blocks": [1, 1], "attention": [False, True]}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = BridgeNetwork(1, **SMALL)
    for parameter in network.parameters():  # some begin at zero, and would hide what is behind them
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network


def masks_of(n=2, side=16):
    masks = torch.zeros(n, side, side, dtype=torch.bool)
    masks[:, 3:9, 5:12] = True
    return masks


def test_of_a_gaussian_data_set_it_draws_that_data_set():
    """Pixels N(m, v) given none, x_1 ~ N(0, 1): the expectation of x_0 given x_t is known."""
    m, v, schedule = 0.3, 0.02, Schedule()

    def expectation(x, t):
        done = schedule.variance(t)[:, None, None, None]
        w = done / schedule.total
        spread = (1 - w).square() * v + w.square() + done * (1 - w)
        return m + (1 - w) * v / spread * (x - (1 - w) * m)

    side = 128
    masks = torch.ones(1, side, side, dtype=torch.bool)
    masks[0, 0, 0] = False
    images = torch.zeros(1, 1, side, side)
    made = known_bridge(expectation).inpaint(images, masks, steps=800)[0, 0][masks[0]] * 2 - 1
    count = len(made)
    assert made.mean().item() == pytest.approx(m, abs=4 * (v / count) ** 0.5 + 0.002)
    # The variance's own error is v sqrt(2 / n); what 800 steps leave of it is about 1 %.
    assert made.var().item() == pytest.approx(v, rel=4 * (2 / count) ** 0.5 + 0.01)


def test_what_is_given_stays_bit_for_bit_and_what_is_hidden_is_not_looked_at(network):
    bridge = Bridge(network, Schedule(), "fp32")
    images = torch.rand(2, 1, 16, 16)
    masks = masks_of()
    told = []
    made = bridge.inpaint(images, masks, 4, progress=lambda *done: told.append(done))
    outside = ~masks[:, None]
    assert torch.equal(made[outside], images[outside])
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = images.clone()
    again[~outside] = 0.5
    assert torch.equal(bridge.inpaint(again, masks, 4), made)
    assert not torch.equal(bridge.inpaint(images, masks, 4, seed=1), made)
    alone = bridge.inpaint(images[1:], masks[:1], 4)
    torch.testing.assert_close(alone, made[1:], atol=1e-5, rtol=0)


def test_the_network_sees_image_mask_and_time(network):
    x, masks, t = torch.randn(2, 1, 16, 16), masks_of()[:, None], torch.tensor([0.2, 0.7])
    given = network(x, masks, t)
    assert given.shape == x.shape
    assert not torch.allclose(network(x, masks, t.flip(0)), given, atol=1e-3)
    assert not torch.allclose(network(x, ~masks, t), given, atol=1e-3)
    far = x.clone()
    far[:, :, 15, 15] += 1  # the attention reaches from one corner to the other
    assert not torch.equal(network(far, masks, t)[:, :, 0, 0], given[:, :, 0, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [8]}, "differ in length"),
        ({"widths": [], "blocks": [], "attention": []}, "differ in length"),
        ({"widths": [8, 12]}, "multiple of 8"),
        ({"widths": [8, 24]}, "of 32 with attention"),
    ],
)
def test_an_impossible_network_is_refused(options, message):
    with pytest.raises(GCDError, match=message):
        BridgeNetwork(1, **(SMALL | options))


def test_pictures_that_it_was_not_made_for_are_refused(network):
    bridge = Bridge(network, Schedule(), "fp32")
    for images, message in [
        (torch.rand(1, 3, 16, 16), "1 channels"),
        (torch.rand(1, 16, 16), "1 channels"),
        (torch.rand(1, 1, 18, 18), "multiples of 4"),
    ]:
        with pytest.raises(GCDError, match=message):
            bridge.inpaint(images, masks_of(1, images.shape[-1]))
    with pytest.raises(GCDError, match="one step"):
        bridge.inpaint(torch.rand(1, 1, 16, 16), masks_of(1), steps=0)


def test_written_and_read_it_is_the_same(network, tmp_path):
    schedule = Schedule(0.2, 0.4)
    save_bridge(network, schedule, tmp_path)
    read = load_bridge(tmp_path / CONFIG_NAME, tmp_path / WEIGHTS_NAME, precision="fp32")
    assert (read.schedule.ends, read.schedule.middle) == (0.2, 0.4)
    half = {name: value.half().float() for name, value in network.state_dict().items()}
    for name, value in read.network.state_dict().items():
        assert torch.equal(value, half[name])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ddpm"}, "does not describe a bridge"),
        ({"ends": "a"}, "does not describe a bridge"),
        ({"ends": -1}, "positive"),
        ({"network": {"channels": 1}}, "has the keys"),
        ({"network": {"channels": 1, **SMALL, "widths": [8, 10**9]}}, "whole numbers"),
        ({"network": {"channels": 1, **SMALL, "widths": 8}}, "does not describe a bridge"),
        ({"network": {"channels": 3, **SMALL}}, "do not fit the bridge"),
        ({"more": 1}, "does not describe a bridge"),
    ],
)
def test_a_file_that_is_none_is_refused(network, tmp_path, change, message):
    save_bridge(network, Schedule(), tmp_path)
    config = tmp_path / CONFIG_NAME
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(GCDError, match=message):
        load_bridge(config, tmp_path / WEIGHTS_NAME)


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path):
    with pytest.raises(GCDError, match=r"bridge.s configuration .* cannot be read"):
        load_bridge(tmp_path / CONFIG_NAME, tmp_path / WEIGHTS_NAME)
    (tmp_path / CONFIG_NAME).write_text("{")
    with pytest.raises(GCDError, match=r"is not JSON; give the bridge.s configuration"):
        load_bridge(tmp_path / CONFIG_NAME, tmp_path / WEIGHTS_NAME)
