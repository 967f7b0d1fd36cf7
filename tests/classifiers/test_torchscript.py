"""TorchScript files as black boxes."""

import warnings

import pytest
import torch
from torch import nn

from gcd_core.classifiers import load_classifier
from gcd_core.errors import GCDError

TABLE = {
    "kind": "torchscript",
    "model": "model.ts",
    "labels": ["a", "b"],
    "output": "softmax",
    "size": 16,
    "channels": 3,
    "mean": 0.25,
    "std": 0.5,
}


def network() -> nn.Module:
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()


def save(module: nn.Module, path, freeze: bool = False, trace: bool = False) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is deprecated
        if trace:
            script = torch.jit.trace(module, torch.rand(2, 3, 16, 16))
        else:
            script = torch.jit.script(module)
        torch.jit.save(torch.jit.freeze(script) if freeze else script, path)


@torch.inference_mode()
@pytest.mark.parametrize("how", [{}, {"freeze": True}, {"trace": True}])
def test_it_answers_as_the_network(tmp_path, how):
    with torch.inference_mode(False):
        module = network()
        save(module, tmp_path / "model.ts", **how)
    box = load_classifier(TABLE, tmp_path)
    images = torch.rand(5, 3, 16, 16)
    torch.testing.assert_close(box(images), module((images - 0.25) / 0.5))
    assert box.queries == 5 and box.labels == ("a", "b")
    assert box(torch.rand(2, 1, 40, 40)).shape == (2, 2)  # grey, of another size


def test_a_network_saved_in_training_mode_is_put_in_evaluation_mode(tmp_path):
    save(network().train(), tmp_path / "model.ts")
    box = load_classifier(TABLE, tmp_path)
    images = torch.rand(3, 3, 16, 16)
    assert torch.equal(box(images), box(images))


def test_no_warning_reaches_the_user(tmp_path):
    save(network(), tmp_path / "model.ts")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_classifier(TABLE, tmp_path)(torch.rand(1, 3, 16, 16))


def test_identity_follows_file_and_settings(tmp_path):
    save(network(), tmp_path / "model.ts")
    first = load_classifier(TABLE, tmp_path).identity
    assert load_classifier(TABLE, tmp_path).identity == first
    assert load_classifier(TABLE | {"std": 1.0}, tmp_path).identity != first
    save(network(), tmp_path / "model.ts")
    assert load_classifier(TABLE, tmp_path).identity != first


@pytest.mark.parametrize("key", ["model", "labels", "output", "size", "channels"])
def test_a_missing_key_is_named(tmp_path, key):
    with pytest.raises(GCDError, match=f"lacks the key '{key}'"):
        load_classifier({k: v for k, v in TABLE.items() if k != key}, tmp_path)


def test_wrong_files_and_keys_are_refused(tmp_path):
    save(network(), tmp_path / "model.ts")
    with pytest.raises(GCDError, match="no key 'weights'"):
        load_classifier(TABLE | {"weights": "model.ts"}, tmp_path)
    with pytest.raises(GCDError, match=r"other\.ts does not exist"):
        load_classifier(TABLE | {"model": "other.ts"}, tmp_path)
    with pytest.raises(GCDError, match=r"failed on images \(1, 1, 16, 16\).*3 channels") as caught:
        load_classifier(TABLE | {"channels": 1}, tmp_path)(torch.rand(1, 1, 16, 16))
    assert "\n" not in str(caught.value)
    whole = (tmp_path / "model.ts").read_bytes()
    torch.save(network().state_dict(), tmp_path / "state.pt")
    state = (tmp_path / "state.pt").read_bytes()
    for content in (b"", b"<html>Not found</html>", whole[: len(whole) // 2], state):
        (tmp_path / "model.ts").write_bytes(content)
        with pytest.raises(GCDError, match="not a whole TorchScript file") as caught:
            load_classifier(TABLE, tmp_path)
        assert "\n" not in str(caught.value)
