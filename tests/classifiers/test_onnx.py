"""ONNX files as black boxes."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gcd_core.classifiers import load_classifier
from gcd_core.errors import GCDError

TABLE = {
    "kind": "onnx",
    "model": "model.onnx",
    "labels": ["a", "b"],
    "output": "sigmoid",
    "mean": 0.25,
    "std": 0.5,
}
WEIGHT = np.array([[0.5, -1.0], [2.0, 0.25], [1.0, 3.0]], np.float32)
NEEDED = "builds and runs real ONNX files"


def expected(images: torch.Tensor) -> torch.Tensor:
    """The mean of each channel of the normalised images, times the weights."""
    return ((images - 0.25) / 0.5).mean((2, 3)) @ torch.from_numpy(WEIGHT)


def save(path, shape, dtype="FLOAT", last=False, outputs=("logits",), external=False):
    """Write that classifier as an ONNX file whose input has this shape."""
    onnx = pytest.importorskip("onnx", reason=NEEDED)
    pytest.importorskip("onnxruntime", reason=NEEDED)
    helper, kind = onnx.helper, getattr(onnx.TensorProto, dtype)
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2] if last else [2, 3])
    weight = onnx.numpy_helper.from_array(WEIGHT, "weight")
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["x", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weight"], ["logits"]),
        helper.make_node("Identity", ["means"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [axes, weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    data = {"location": "weights.data", "size_threshold": 0} if external else {}
    onnx.save_model(model, path, save_as_external_data=external, **data)


@pytest.mark.parametrize(
    ("shape", "last"),
    [
        (["batch", 3, 16, 16], False),
        ([None, 3, None, None], False),
        ([1, 3, 16, 16], False),
        ([4, 3, 16, 16], False),
        (["batch", 16, 16, 3], True),
        ([2, 16, 16, 3], True),
    ],
)
@pytest.mark.parametrize("count", [1, 5])
def test_it_answers_as_the_network_to_any_number_of_images(tmp_path, shape, last, count):
    save(tmp_path / "model.onnx", shape, last=last)
    box = load_classifier(TABLE | ({} if 16 in shape else {"size": 16}), tmp_path)
    images = torch.rand(count, 3, 16, 16)
    torch.testing.assert_close(box(images), expected(images))
    assert box.queries == count and (box.size, box.channels) == (16, 3)
    assert box(torch.rand(1, 1, 32, 32)).shape == (1, 2)  # grey, of another size


@pytest.mark.parametrize(("dtype", "tolerance"), [("FLOAT16", 1e-2), ("DOUBLE", 1e-5)])
def test_other_floats(tmp_path, dtype, tolerance):
    save(tmp_path / "model.onnx", [None, 3, 16, 16], dtype)
    images = torch.rand(2, 3, 16, 16)
    found = load_classifier(TABLE, tmp_path)(images)
    torch.testing.assert_close(found, expected(images), rtol=0, atol=tolerance)


def test_one_output_of_several(tmp_path):
    save(tmp_path / "model.onnx", [None, 3, 16, 16], outputs=("features", "logits"))
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(GCDError, match=r"\['features', 'logits'\], and the table no 'answer'"):
        load_classifier(TABLE, tmp_path)
    with pytest.raises(GCDError, match="answer = 'probabilities'"):
        load_classifier(TABLE | {"answer": "probabilities"}, tmp_path)
    box = load_classifier(TABLE | {"answer": "logits"}, tmp_path)
    torch.testing.assert_close(box(images), expected(images))


def test_weights_kept_in_a_file_of_their_own(tmp_path):
    save(tmp_path / "model.onnx", [None, 3, 16, 16], external=True)
    (tmp_path / "unrelated.bin").write_bytes(b"1")
    images = torch.rand(2, 3, 16, 16)
    box = load_classifier(TABLE, tmp_path)
    torch.testing.assert_close(box(images), expected(images))
    (tmp_path / "unrelated.bin").write_bytes(b"2")
    assert load_classifier(TABLE, tmp_path).identity == box.identity
    data = bytearray((tmp_path / "weights.data").read_bytes())
    where = data.index(WEIGHT.tobytes())
    data[where : where + WEIGHT.nbytes] = (WEIGHT * 2).tobytes()
    (tmp_path / "weights.data").write_bytes(data)
    again = load_classifier(TABLE, tmp_path)
    torch.testing.assert_close(again(images), 2 * expected(images))
    assert again.identity != box.identity


def test_identity_follows_file_and_settings(tmp_path):
    save(tmp_path / "model.onnx", [None, 3, 16, 16])
    first = load_classifier(TABLE, tmp_path).identity
    assert load_classifier(TABLE, tmp_path).identity == first
    assert load_classifier(TABLE | {"std": 1.0}, tmp_path).identity != first
    save(tmp_path / "model.onnx", [2, 3, 16, 16])
    assert load_classifier(TABLE, tmp_path).identity != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 32}, r"model\.onnx takes size = 16, not 32"),
        ({"channels": 1}, "takes channels = 3, not 1"),
        ({"weights": "model.onnx"}, "no key 'weights'"),
        ({"model": "other.onnx"}, r"other\.onnx does not exist"),
        ({"model": "page.onnx"}, r"page\.onnx is not an ONNX file"),
        ({"model": "cut.onnx"}, r"cut\.onnx is not an ONNX file"),
        ({"model": "whole.onnx"}, r"takes tensor\(int64\)"),
        ({"labels": ["a"]}, r"answered \(1, 2\) to 1 images"),
        ({"std": 0}, "std is positive"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message, capfd):
    save(tmp_path / "model.onnx", ["batch", 3, 16, 16])
    save(tmp_path / "whole.onnx", ["batch", 3, 16, 16], "INT64")
    (tmp_path / "page.onnx").write_text("<html>Not found</html>")
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GCDError, match=message) as caught:
        load_classifier(TABLE | change, tmp_path)(torch.rand(1, 3, 16, 16))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("key", ["model", "labels", "output"])
def test_a_missing_key_is_named(tmp_path, key):
    with pytest.raises(GCDError, match=f"lacks the key '{key}'"):
        load_classifier({k: v for k, v in TABLE.items() if k != key}, tmp_path)


def test_a_missing_onnx_runtime_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(GCDError, match="pip install onnxruntime"):
        load_classifier(TABLE, tmp_path)


class Session:
    """What is used of an ONNX Runtime session, without it."""

    def __init__(self, path, options, providers):
        self.providers, self.shapes = providers, []
        Session.last = self

    def get_inputs(self):
        return [SimpleNamespace(name="image", type="tensor(float)", shape=[4, 3, 16, 16])]

    def get_outputs(self):
        return [SimpleNamespace(name="logits")]

    def run(self, names, feed):
        self.shapes.append(feed["image"].shape)
        return [feed["image"].mean((2, 3)) @ WEIGHT]


def test_fixed_batches_and_providers_without_onnx_runtime(tmp_path, monkeypatch):
    runtime = SimpleNamespace(
        InferenceSession=Session,
        SessionOptions=SimpleNamespace,
        get_available_providers=lambda: ["CPUExecutionProvider"],
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    (tmp_path / "model.onnx").touch()
    box = load_classifier(TABLE, tmp_path)
    images = torch.rand(6, 3, 16, 16)
    torch.testing.assert_close(box(images), expected(images))
    assert Session.last.shapes == [(4, 3, 16, 16)] * 2
    assert Session.last.providers == ["CPUExecutionProvider"]
