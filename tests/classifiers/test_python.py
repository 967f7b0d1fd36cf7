"""The operator's own function as a black box."""

import sys

import pytest
import torch

from gcd_core.classifiers import load_classifier
from gcd_core.errors import GCDError

SOURCE = """
from dataclasses import dataclass

import numpy as np

from neighbour import STRENGTH


@dataclass
class Model:
    strength: float = STRENGTH

    def predict(self, images):
        return images.mean((2, 3))[:, :2] * self.strength


def mean(images):
    return images.mean((2, 3))[:, :2]


def array(images):
    return np.asarray(mean(images), dtype=np.float64)


def kinds(images):
    kinds = [images.dtype.is_floating_point, images.dtype.itemsize == 4]
    return np.array([kinds] * len(images))


def broken(images):
    raise RuntimeError("the scanner is\\n on fire")


def lost(images):
    return None


model = Model()
NUMBER = 3
"""
TABLE = {
    "kind": "python",
    "callable": "mine:mean",
    "labels": ["red", "green"],
    "output": "probabilities",
    "size": 8,
    "channels": 3,
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "neighbour.py").write_text("STRENGTH = 0.5\n")
    yield tmp_path
    sys.modules.pop("neighbour", None)


@pytest.mark.parametrize(
    ("target", "factor"), [("mine:mean", 1.0), ("mine:array", 1.0), ("mine:model.predict", 0.5)]
)
def test_the_function_sees_the_images_and_its_answer_is_taken(folder, target, factor):
    box = load_classifier(TABLE | {"callable": target}, folder)
    images = torch.rand(5, 3, 8, 8)
    expected = images.mean((2, 3))[:, :2] * factor
    assert torch.allclose(box(images).sigmoid(), expected, atol=1e-5)
    assert box.queries == 5 and box.labels == ("red", "green")
    grey = torch.rand(2, 1, 8, 8)
    assert torch.allclose(box(grey).sigmoid()[:, 0], grey.mean((1, 2, 3)) * factor, atol=1e-5)


def test_images_are_single_precision_and_normalised_only_if_asked(folder):
    images = torch.rand(2, 3, 8, 8)
    box = load_classifier(TABLE | {"callable": "mine:kinds"}, folder)
    assert torch.allclose(box(images).sigmoid(), torch.ones(2, 2), atol=1e-5)
    box = load_classifier(TABLE | {"mean": 0.25, "std": 0.5, "output": "sigmoid"}, folder)
    expected = (images.mean((2, 3))[:, :2] - 0.25) / 0.5
    assert torch.allclose(box(images), expected, atol=1e-5)


def test_a_module_that_python_finds_itself(tmp_path, monkeypatch):
    package = tmp_path / "elsewhere" / "laboratory"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "scale.py").write_text("SCALE = 2\n")
    (package / "model.py").write_text(
        "from .scale import SCALE\n\n\ndef mean(x):\n    return SCALE * x.mean((2, 3))[:, :2]\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    table = TABLE | {"callable": "laboratory.model:mean", "output": "sigmoid"}
    images = torch.rand(2, 3, 8, 8)
    expected = 2 * images.mean((2, 3))[:, :2]
    assert torch.allclose(load_classifier(table, tmp_path)(images), expected, atol=1e-5)


def test_two_domains_may_have_modules_of_the_same_name(tmp_path):
    boxes, before = [], list(sys.path)
    for factor in (1, 3):
        folder = tmp_path / str(factor)
        folder.mkdir()
        source = f"def mean(x):\n    return {factor} * x.mean((2, 3))[:, :2]\n"
        (folder / "mine.py").write_text(source)
        boxes.append(load_classifier(TABLE | {"output": "sigmoid"}, folder))
    images = torch.rand(2, 3, 8, 8)
    assert torch.allclose(boxes[1](images), 3 * boxes[0](images), atol=1e-5)
    assert sys.path == before and "mine" not in sys.modules


def test_identity_follows_source_settings_and_version(folder):
    first = load_classifier(TABLE, folder).identity
    assert load_classifier(TABLE, folder).identity == first
    assert load_classifier(TABLE | {"version": "2"}, folder).identity != first
    assert load_classifier(TABLE | {"size": 16}, folder).identity != first
    (folder / "mine.py").write_text(SOURCE + "\n# better\n")
    assert load_classifier(TABLE, folder).identity != first


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine:broken", r"^mine:broken failed on .* RuntimeError: the scanner is on fire$"),
        ("mine:lost", "mine:lost failed on .*NoneType"),
    ],
)
def test_its_failures_are_told_in_its_own_words(folder, target, message):
    with pytest.raises(GCDError, match=message):
        load_classifier(TABLE | {"callable": target}, folder)(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"callable": "mine"}, "\"module:function\", not 'mine'"),
        ({"callable": "mine:"}, '"module:function"'),
        ({"callable": "yours:mean"}, "cannot be imported: ModuleNotFoundError: No module.*yours"),
        ({"callable": "mine:median"}, "cannot be imported: AttributeError.*median"),
        ({"callable": "mine:NUMBER"}, "is a int, no function"),
        ({"callable": "wrong:mean"}, "cannot be imported: SyntaxError"),
        ({"callable": "failing:mean"}, "cannot be imported: ZeroDivisionError"),
        ({"function": "mine:mean"}, "no key 'function'"),
        ({"size": "8"}, "'size'"),
    ],
)
def test_what_cannot_be_used_is_named(folder, change, message):
    (folder / "wrong.py").write_text("def mean(:\n")
    (folder / "failing.py").write_text("1 / 0\n")
    with pytest.raises(GCDError, match=message) as caught:
        load_classifier(TABLE | change, folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["callable", "labels", "output", "size", "channels"])
def test_a_missing_key_is_named(folder, key):
    with pytest.raises(GCDError, match=f"lacks the key '{key}'"):
        load_classifier({k: v for k, v in TABLE.items() if k != key}, folder)
