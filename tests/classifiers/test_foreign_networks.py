"""Networks as their owners made them: memory formats, old weights, heads, shapes, softmaxes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.classifiers.output_check import MANY, PROBABILITIES
from gcd_core.classifiers.questions import Question, questioned
from gcd_core.errors import GCDError, GCDWarning

TABLE = {
    "labels": ["a", "b"],
    "output": "softmax",
    "size": 8,
    "channels": 3,
    "mean": 0.0,
    "std": 1.0,
}


class Viewing(nn.Module):
    """PyTorch's own tutorials: `view` after a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(256, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.conv(x))
        return self.linear(x.view(x.size(0), -1))


class OfOne(Viewing):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(x).reshape(1, -1))


def write(network: nn.Module, folder, kind: str) -> dict:
    network.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "torchscript":
            torch.jit.save(torch.jit.script(network), folder / "model.pt")
        elif kind == "traced":
            torch.jit.save(torch.jit.trace(network, torch.rand(1, 3, 8, 8)), folder / "model.pt")
        elif kind == "exported":
            batch = {0: torch.export.Dim("n", min=1, max=64)}
            shapes = {"x": batch}
            program = torch.export.export(network, (torch.rand(2, 3, 8, 8),), dynamic_shapes=shapes)
            torch.export.save(program, folder / "model.pt")
        else:
            torch.save(network.state_dict(), folder / "model.pth")
            (folder / "mine.py").write_text(
                "import torch\n"
                "from tests.classifiers.test_foreign_networks import Viewing\n"
                "network = Viewing().eval()\n"
                f"network.load_state_dict(torch.load({str(folder / 'model.pth')!r}))\n"
                "def predict(images):\n    return network(images)\n"
            )
            return {"kind": "python", "callable": "mine:predict", **TABLE}
    return {"kind": kind.replace("traced", "torchscript"), "model": "model.pt", **TABLE}


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("kind", ["torchscript", "traced", "exported", "python"])
@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 1, 8, 8), (3, 3, 20, 12)])
def test_view_works_as_in_pytorch(tmp_path, kind, shape):
    with torch.inference_mode(False):
        network = Viewing()
        table = write(network, tmp_path, kind)
    images = torch.rand(shape).to(memory_format=torch.channels_last)
    box = load_classifier(table, tmp_path)
    sized = torch.nn.functional.interpolate(images, (8, 8), mode="bilinear", antialias=True)
    torch.testing.assert_close(box(images), network(sized.expand(-1, 3, -1, -1).contiguous()))


def test_gradients_flow_through_a_view():
    network = Viewing().eval()
    box = TorchClassifier(network, ("a", "b"), "softmax", "", 8, 3, 0.0, 1.0)
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    box.differentiable(images).sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", ["traced", "python"])
def test_a_network_for_one_image_says_which_line_mends_it(tmp_path, kind):
    network = OfOne()
    if kind == "traced":
        table = write(network, tmp_path, kind)
    else:
        text = "import torch\ndef predict(x):\n    return x.reshape(1, -1)[:, :2]\n"
        (tmp_path / "mine.py").write_text(text)
        table = {"kind": "python", "callable": "mine:predict", **TABLE}
    images = torch.rand(3, 3, 8, 8)
    with pytest.raises(GCDError, match="batch_size = 1 into the classifier's table"):
        load_classifier(table, tmp_path)(images)
    assert load_classifier(table | {"batch_size": 1}, tmp_path)(images).shape == (3, 2)


def test_a_network_that_fails_on_one_image_too_is_told_nothing_of_batches(tmp_path):
    (tmp_path / "mine.py").write_text("def predict(x):\n    raise ValueError('no')\n")
    table = {"kind": "python", "callable": "mine:predict", **TABLE}
    with pytest.raises(GCDError, match="no") as caught:
        load_classifier(table, tmp_path)(torch.rand(3, 3, 8, 8))
    assert "batch_size" not in str(caught.value)


class Answering(nn.Module):
    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(x)


def box_of(answer, labels=("a", "b"), output="sigmoid") -> TorchClassifier:
    return TorchClassifier(Answering(answer), labels, output, "", 4, 3, 0.0, 1.0)


def two(x: torch.Tensor) -> torch.Tensor:
    return 7 * x.mean((2, 3))[:, :2] - 3


@pytest.mark.parametrize(
    "shape", [(-1, 2, 1, 1), (-1, 1, 1, 2), (-1, 1, 2), (-1, 2, 1), (-1, 1, 2, 1, 1)]
)
def test_dimensions_of_one_are_left_out(shape):
    images = torch.rand(5, 3, 4, 4)
    assert torch.equal(box_of(lambda x: two(x).reshape(shape))(images), two(images))


def test_one_label_may_be_answered_without_a_dimension():
    images = torch.rand(5, 3, 4, 4)
    box = box_of(lambda x: two(x)[:, 0], ("a",))
    assert torch.equal(box(images), two(images)[:, :1])


@pytest.mark.parametrize("shape", [(-1, 1), (-1, 2, 4, 4), (1, -1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(GCDError, match="answered"):
        box_of(lambda x: torch.zeros(len(x) * 32).reshape(shape))(torch.rand(2, 3, 4, 4))


# -- weights -------------------------------------------------------------------------------------


def network_and_table(name: str, folder, state: dict) -> dict:
    torch.save(state, folder / "weights.pth")
    return {
        "kind": "torch",
        "architecture": f"torchvision-{name}",
        "weights": "weights.pth",
        **TABLE,
        "size": 64,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2"])
@pytest.mark.parametrize("wrapped", ["", "module."])
def test_weights_of_before_the_counters_load_as_in_pytorch(tmp_path, name, wrapped):
    network = torchvision.models.get_model(name, num_classes=2).eval()
    old = {k: v for k, v in network.state_dict().items() if "num_batches_tracked" not in k}
    network.load_state_dict(dict(old))  # strictly, by PyTorch
    table = network_and_table(name, tmp_path, {wrapped + k: v for k, v in old.items()})
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        answers = load_classifier(table, tmp_path)(images)
        torch.testing.assert_close(answers, network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_pytorch_refuses_is_refused_by_name(tmp_path):
    network = torchvision.models.resnet18(num_classes=2)
    state = {k: v for k, v in network.state_dict().items() if "num_batches" not in k}
    state.pop("bn1.running_mean")
    table = network_and_table("resnet18", tmp_path, state)
    with pytest.raises(GCDError, match=r"it lacks bn1\.running_mean; check") as caught:
        load_classifier(table, tmp_path)
    assert "num_batches_tracked" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, own, head",
    [
        ("resnet18", "fc", "fc.1"),
        ("resnet18", "fc", "fc.0"),
        ("densenet121", "classifier", "classifier.0"),
        ("mobilenet_v2", "classifier.1", "classifier"),
        ("mobilenet_v2", "classifier.1", "classifier.1.1"),
        ("resnet18", "fc", "head"),
        ("resnet18", "fc", "classifier.1"),
    ],
)
@pytest.mark.parametrize("wrapped", ["", "model."])
def test_a_head_within_a_sequence_or_out_of_one(tmp_path, name, own, head, wrapped):
    network = torchvision.models.get_model(name, num_classes=2).eval()
    state = {
        wrapped + (head + k.removeprefix(own) if k.startswith(f"{own}.") else k): v
        for k, v in network.state_dict().items()
    }
    table = network_and_table(name, tmp_path, state)
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        answers = load_classifier(table, tmp_path)(images)
        torch.testing.assert_close(answers, network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("beside", [{}, {"epoch": 3, "optimizer": {"state": {}, "lr": 0.1}}])
def test_weights_may_lie_under_any_one_name(tmp_path, beside):
    network = torchvision.models.resnet18(num_classes=2).eval()
    content = beside | {"net": network.state_dict()}
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        answers = load_classifier(network_and_table("resnet18", tmp_path, content), tmp_path)
        torch.testing.assert_close(answers(images), network(images), rtol=1e-4, atol=1e-5)
    content |= {"other": network.state_dict()}  # which of the two is not said
    with pytest.raises(GCDError, match="expected a state dict"):
        load_classifier(network_and_table("resnet18", tmp_path, content), tmp_path)


@pytest.mark.slow
def test_another_layer_of_another_name_is_refused(tmp_path):
    state = torchvision.models.resnet18(num_classes=2).state_dict()
    state["stem.weight"] = state.pop("conv1.weight")
    with pytest.raises(GCDError, match=r"lacks conv1\.weight, has an unknown stem\.weight"):
        load_classifier(network_and_table("resnet18", tmp_path, state), tmp_path)


@pytest.mark.slow
def test_a_head_of_two_layers_is_refused_by_name(tmp_path):
    state = torchvision.models.resnet18(num_classes=2).state_dict()
    state |= {"fc.0.weight": torch.zeros(9, 512), "fc.0.bias": torch.zeros(9)}
    state |= {"fc.3.weight": torch.zeros(2, 9), "fc.3.bias": torch.zeros(2)}
    del state["fc.weight"], state["fc.bias"]
    with pytest.raises(GCDError, match=r"lacks fc\.bias.*unknown fc\.0\.bias"):
        load_classifier(network_and_table("resnet18", tmp_path, state), tmp_path)


# -- answers that are probabilities already ------------------------------------------------------


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("sharpness", [0.1, 5, 100])
@pytest.mark.parametrize("half", [False, True])
def test_a_softmax_taken_for_logits_is_refused_with_the_line_to_write(output, sharpness, half):
    def ended(x: torch.Tensor) -> torch.Tensor:
        answer = (sharpness * two(x)).softmax(-1)
        return answer.half() if half else answer

    images = torch.rand(4, 3, 4, 4)
    with pytest.raises(GCDError, match='write output = "probabilities"'):
        box_of(ended, output=output)(images)
    box = box_of(ended, output="probabilities")
    expected = ended(images)[:, 0].float()
    torch.testing.assert_close(
        box.probability(box(images), "a"), expected.clamp(1e-6, 1 - 1e-6), atol=1e-3, rtol=1e-2
    )


@pytest.mark.parametrize(
    "answer",
    [two, lambda x: two(x).sigmoid(), lambda x: two(x).softmax(-1) - 0.5, lambda x: 0 * two(x)],
)
def test_other_answers_are_logits(answer):
    images = torch.rand(4, 3, 4, 4)
    assert torch.equal(box_of(answer)(images), answer(images))


def test_one_image_alone_tells_nothing():
    """Two logits may sum to 1 by chance; that they do twice is none."""
    chance = torch.tensor([[0.25, 0.75]])
    bright, dark = torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    box = box_of(lambda x: chance if x.mean() > 0.5 else two(x))
    assert torch.equal(box(bright), chance)
    with pytest.raises(GCDError, match="probabilities already"):
        box(bright)
    box = box_of(lambda x: chance if x.mean() > 0.5 else two(x))
    box(dark)
    for _ in range(3):
        assert torch.equal(box(bright), chance)


def curve(x: torch.Tensor, count: int = 1) -> torch.Tensor:
    """Logits of `count` labels that rise with an image's brightness, each from another point on."""
    return 40 * (x.mean((1, 2, 3))[:, None] - 0.5) + torch.linspace(-1, 1, count)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("count", [1, 2, 14])
def test_answers_of_a_sigmoid_are_warned_of_once(count, output):
    labels = tuple("abcdefghijklmn"[:count])
    if (count, output) == (1, "softmax"):
        pytest.skip("a softmax has two labels at least")
    images = torch.rand(MANY, 3, 4, 4)
    box = box_of(lambda x: curve(x, count).sigmoid(), labels, output)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        box(images[:-1])
        assert box.notice == "", "15 images are too few"
        box_of(lambda x: curve(x, count), labels, output)(images)
        box_of(lambda x: curve(x, count).sigmoid(), labels, "probabilities")(images)
        box_of(lambda x: 0.1 * curve(x, count).sigmoid(), labels, output)(images)
    with pytest.warns(GCDWarning) as caught:
        for _ in range(3):
            box(images)
    assert [str(warning.message) for warning in caught] == [PROBABILITIES]
    assert box.notice == PROBABILITIES and 'output = "probabilities"' in PROBABILITIES


def test_the_notice_goes_when_an_answer_shows_that_they_are_logits():
    box = box_of(lambda x: 2 * x.mean((1, 2, 3))[:, None] - 1, ("a",))
    bright = torch.linspace(0.5, 0.9, MANY).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    with pytest.warns(GCDWarning):
        box(bright)
    asked = questioned(box, [Question("a", threshold=0.2)])
    assert box.notice == asked.notice == PROBABILITIES
    box(1 - bright)
    assert box.notice == asked.notice == ""


def test_a_log_softmax_taken_for_logits_of_labels_is_refused():
    images = torch.rand(4, 3, 4, 4)
    with pytest.raises(GCDError, match='write output = "softmax"'):
        box_of(lambda x: two(x).log_softmax(-1), output="sigmoid")(images)
    box = box_of(lambda x: two(x).log_softmax(-1), output="softmax")
    expected = two(images).softmax(-1)[:, 0]
    torch.testing.assert_close(box.probability(box(images), "a"), expected)


@pytest.mark.parametrize(
    "answer", [two, lambda x: two(x).log_softmax(-1), lambda x: 100 * x[:, :2, 0, 0]]
)
def test_logits_taken_for_probabilities_are_refused(answer):
    images = torch.rand(4, 3, 4, 4)
    with pytest.raises(GCDError, match=r"they are no probabilities.*output = "):
        box_of(answer, output="probabilities")(images)


def test_probabilities_may_be_off_by_rounding():
    box = box_of(lambda x: two(x).softmax(-1) * 1.0004, output="probabilities")
    assert box(torch.rand(4, 3, 4, 4)).isfinite().all()


def test_onnx_answers_of_four_dimensions(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    weight = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, ["N", 2, 1, 1])],
        [helper.make_tensor("w", kind, weight.shape, weight.flatten())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    images = torch.rand(3, 3, 8, 8)
    box = load_classifier({"kind": "onnx", "model": "model.onnx", **TABLE}, tmp_path)
    expected = torch.einsum("nchw,lchw->nl", images, torch.from_numpy(weight))
    torch.testing.assert_close(box(images), expected, rtol=1e-4, atol=1e-4)
