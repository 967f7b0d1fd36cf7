"""The known architectures, and loading them as a domain describes them."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import densenet121

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.network import ARCHITECTURES, build_network
from gcd_core.errors import GCDError

SMALL = {
    "densenet": {"growth_rate": 4, "block_config": [2, 2], "width": 8},
    "resnet": {"width": 8, "blocks": [1, 1]},
}


def table_for(architecture: str) -> dict:
    return {
        "kind": "safetensors",
        "architecture": architecture,
        "options": SMALL[architecture],
        "weights": "classifier.safetensors",
        "labels": ["pneumonia", "bacterial"],
        "output": "sigmoid",
        "size": 32,
        "channels": 1,
        "mean": 0.5,
        "std": 0.5,
    }


@pytest.fixture(params=sorted(ARCHITECTURES))
def written(request, tmp_path):
    """A network with random weights, written as a domain holds it: (network, table, folder)."""
    torch.manual_seed(0)
    network = build_network(request.param, 1, 2, SMALL[request.param])
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    save_file(network.state_dict(), tmp_path / "classifier.safetensors")
    return network.eval(), table_for(request.param), tmp_path


@torch.inference_mode()
def test_loading_gives_the_same_answers(written):
    network, table, folder = written
    images = torch.rand(3, 1, 32, 32)
    box = load_classifier(table, folder)
    assert torch.allclose(box(images), network((images - 0.5) / 0.5), atol=1e-5)
    assert box.labels == ("pneumonia", "bacterial") and box.queries == 3


@torch.inference_mode()
def test_half_precision_weights_become_full(written):
    network, table, folder = written
    halves = {k: v.half() if v.ndim > 1 else v for k, v in network.state_dict().items()}
    save_file(halves, folder / "classifier.safetensors")
    images = torch.rand(3, 1, 32, 32)
    box = load_classifier(table, folder)
    assert all(p.dtype == torch.float32 for p in box.network.parameters())
    assert torch.allclose(box(images), network((images - 0.5) / 0.5), atol=2e-2)


def test_identity_follows_weights_and_settings(written):
    network, table, folder = written
    first = load_classifier(table, folder).identity
    assert first == load_classifier(dict(table), folder).identity and len(first) == 16
    assert load_classifier(table | {"std": 0.25}, folder).identity != first
    network.classifier.bias.data += 1
    save_file(network.state_dict(), folder / "classifier.safetensors")
    assert load_classifier(table, folder).identity != first


REQUIRED = ("architecture", "weights", "labels", "output", "size", "channels")


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(written, key):
    _, table, folder = written
    del table[key]
    with pytest.raises(GCDError, match=f"lacks the key '{key}'"):
        load_classifier(table, folder)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"lables": []}, "'lables'"),
        ({"size": "128"}, "'size'"),
        ({"channels": True}, "'channels'"),
        ({"labels": "pneumonia"}, "'labels'"),
        ({"mean": "half"}, "'mean'"),
        ({"output": "tanh"}, "'tanh'"),
        ({"architecture": "vgg"}, "'vgg'"),
        ({"options": {"depth": 3}}, "'depth'"),
        ({"weights": "other.safetensors"}, "other.safetensors"),
        ({"labels": ["pneumonia"]}, "classifier.weight"),
        ({"channels": 3}, "weight of shape"),
    ],
)
def test_a_wrong_key_is_named(written, change, named):
    _, table, folder = written
    with pytest.raises(GCDError, match=named) as caught:
        load_classifier(table | change, folder)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused(written):
    network, table, folder = written
    path = folder / "classifier.safetensors"
    state = network.state_dict()
    bias = state.pop("classifier.bias")
    save_file(state, path)
    with pytest.raises(GCDError, match=r"lacks classifier\.bias"):
        load_classifier(table, folder)
    save_file(state | {"classifier.bias": bias, "other": bias.clone()}, path)
    with pytest.raises(GCDError, match="unknown other"):
        load_classifier(table, folder)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(GCDError, match="whole safetensors file"):
        load_classifier(table, folder)


def test_the_densenet_is_torchvisions():
    options = {"growth_rate": 32, "block_config": [6, 12, 24, 16], "width": 64, "bn_size": 4}
    ours = build_network("densenet", 3, 40, options).state_dict()
    theirs = densenet121(num_classes=40).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("architecture, millions", [("densenet", 1.22), ("resnet", 2.80)])
def test_the_bundled_sizes(architecture, millions):
    network = build_network(architecture, 1, 2)
    count = sum(p.numel() for p in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)
    assert network.eval()(torch.zeros(2, 1, 128, 128)).shape == (2, 2)
