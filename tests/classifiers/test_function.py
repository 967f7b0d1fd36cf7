"""Functions in a network's place: batches of the size they take, failures in their own words."""

from pathlib import Path

import pytest
import torch

from gcd_core.classifiers import TorchClassifier
from gcd_core.classifiers.function import Function, one_line, with_input
from gcd_core.errors import GCDError


def means(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3))], 1)


@pytest.mark.parametrize(
    ("least", "most", "seen"),
    [(1, None, [7]), (4, 4, [4, 4]), (1, 3, [3, 3, 1]), (2, 3, [3, 3, 2]), (9, None, [9])],
)
def test_every_batch_has_a_size_that_the_function_takes(least, most, seen):
    sizes = []

    def spy(images):
        sizes.append(len(images))
        return means(images)

    images = torch.rand(7, 1, 4, 4)
    assert torch.equal(Function(spy, "spy", least, most)(images), means(images))
    assert sizes == seen


def test_a_network_inside_stays_a_black_box():
    layer = torch.nn.Conv2d(1, 2, 4)
    function = Function(layer, "convolution")
    assert not list(function.parameters())
    box = TorchClassifier(Function(means, "means"), ("mean", "top"), "sigmoid", "", 4, 1, 0.5, 0.25)
    images = torch.rand(3, 1, 8, 8)
    assert box(images).shape == (3, 2) and box.queries == 3


def fails(images):
    raise ValueError("no   lungs\n in this picture")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (fails, r"^model\.ts failed on images \(2, 1, 4, 4\)\. ValueError: no   lungs in this"),
        (lambda images: means(images).tolist(), 'answered a list, .* use kind = "python"'),
        (lambda images: (means(images), means(images)), "answered a tuple, not a tensor"),
        (lambda images: {"a": means(images), "b": means(images)}, "answered a dict, not a tensor"),
        (lambda images: means(images)[:1], r"answered \(1, 2\) to 2 images"),
        (lambda images: torch.tensor(1.0), r"answered \(\) to 2 images"),
    ],
)
def test_failures_are_told_in_one_sentence(function, message):
    with pytest.raises(GCDError, match=message) as caught:
        Function(function, "model.ts")(torch.zeros(2, 1, 4, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize(
    "answer",
    [
        lambda images: means(images).squeeze(),
        lambda images: (means(images),),
        lambda images: {"out": means(images)},
        lambda images: {"features": images, "logits": means(images)},
        lambda images: [means(images), None],
    ],
)
def test_the_one_answer_among_others_is_taken_and_of_one_image_without_its_dimension(answer, count):
    images = torch.rand(count, 1, 4, 4)
    assert torch.equal(Function(answer, "model.ts")(images), means(images))


def test_of_a_quoted_traceback_the_last_line_is_told():
    text = "It failed.\nTraceback of TorchScript (most recent call last):\n  x\nRuntimeError: odd\n"
    assert one_line(RuntimeError(text)) == "RuntimeError: odd"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("x" * 10_000))) < 500


MODEL = Path("model.onnx")


@pytest.mark.parametrize(
    ("table", "shape"),
    [
        ({}, [None, 3, 32, 32]),
        ({"size": 32}, [4, 3, None, None]),
        ({"channels": 3}, [4, None, 32, None]),
        ({"size": 32, "channels": 3}, [None] * 4),
    ],
)
def test_file_and_table_together_say_what_is_seen(table, shape):
    seen = with_input(table | {"std": 0.2}, MODEL, shape)
    read = {"channels": 3, "size": 32, "layout": "channels-first"}
    assert seen == read | {"std": 0.2, "batch_size": 64}


@pytest.mark.parametrize("ending", [{}, {"layout": "channels-first"}])
def test_sides_may_differ_and_channels_come_last(ending):
    assert with_input(ending, MODEL, [None, 3, 32, 48])["size"] == [32, 48]
    seen = with_input({}, MODEL, [None, 32, 48, 1])
    assert (seen["size"], seen["channels"], seen["layout"]) == ([32, 48], 1, "channels-last")
    seen = with_input({"layout": "channels-last"}, MODEL, [None, 3, 3, 3])  # either may be meant
    assert (seen["size"], seen["channels"], seen["layout"]) == (3, 3, "channels-last")


def test_a_batch_is_no_smaller_than_the_model_takes():
    shape = [8, 3, 32, 32]
    sizes = [with_input({"batch_size": n}, MODEL, shape, least=8)["batch_size"] for n in (3, 9)]
    assert sizes == [8, 9]
    assert with_input({}, MODEL, [100, 3, 32, 32], least=100)["batch_size"] == 100


@pytest.mark.parametrize(
    ("table", "shape", "message"),
    [
        ({}, [None, 3, None, None], "lacks the key 'size', which model.onnx leaves open"),
        ({"size": 32}, [None, None, 32, 32], "lacks the key 'channels'"),
        ({"size": 64}, [None, 3, 32, 32], "takes size = 32, not 64"),
        ({"channels": 1}, [None, 3, 32, 32], "takes channels = 3, not 1"),
        ({"size": 32}, [None, 3, 32, 48], r"takes size = \[32, 48\], not 32"),
        ({}, [None, 1024], r"\('any', 1024\), not images"),
    ],
)
def test_what_contradicts_or_is_open_is_named(table, shape, message):
    with pytest.raises(GCDError, match=message):
        with_input(table, MODEL, shape)
