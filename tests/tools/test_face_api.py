"""The networks of faces as ONNX files: against the original's answers, Pillow and PyTorch."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from gcd_core.errors import GCDError

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

from tools import face_api  # noqa: E402
from tools.face_api.__main__ import main  # noqa: E402
from tools.face_api.graph import Graph, antialiased, top_left_aligned  # noqa: E402
from tools.face_api.measure import answers, separately, unit, write_tables  # noqa: E402
from tools.face_api.merge import AGES, LUMA, merged  # noqa: E402
from tools.face_api.networks import Network, _residual_down  # noqa: E402
from tools.face_api.pictures import pictures  # noqa: E402
from tools.face_api.weights import Weight, read_weights  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FILES = {"networks": 88, "second_opinion": 8, "recognition": 128}  # and how many answers
MODELS = ROOT.parent / "shared" / "models"
GOLDEN = json.loads((ROOT / "tests/golden/face_api.json").read_text(encoding="utf-8"))
needs_models = pytest.mark.skipif(not MODELS.is_dir(), reason="needs ../shared")


def file(name: str) -> Path:
    return Path(face_api.__file__).parent / "networks" / f"{name}.onnx"


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    """The drawn pictures (8, 3, 128, 128), bytes."""
    return np.ascontiguousarray(pictures().transpose(0, 3, 1, 2))


def golden(name: str) -> np.ndarray:
    return np.array([answer[name] for answer in GOLDEN["answers"]])


def test_the_pictures_are_those_that_the_original_was_asked_about(tmp_path):
    assert main(["pictures", "--out", str(tmp_path / "pictures.bin")]) == 0
    written = (tmp_path / "pictures.bin").read_bytes()
    assert hashlib.sha256(written).hexdigest() == GOLDEN["pictures_sha256"]


def test_the_second_opinion_answers_as_the_original(drawn):
    session = ort.InferenceSession(file("second_opinion"), providers=["CPUExecutionProvider"])
    found, log_odds = session.run(["answers", "log_odds"], {"images": unit(drawn)})
    np.testing.assert_allclose(log_odds[:, 0], (found[:, 0] - 50) / 5, atol=1e-5)
    happy = found[:, 2].astype(float).clip(1e-6, 1 - 1e-6)
    np.testing.assert_allclose(log_odds[:, 1], np.log(happy / (1 - happy)), atol=1e-3)
    np.testing.assert_allclose(found[:, 0], golden("age"), atol=1e-4, rtol=0)
    np.testing.assert_allclose(found[:, 1:], golden("expressions"), atol=1e-5, rtol=0)


def test_the_recognition_network_answers_as_the_original(drawn):
    found = answers(file("recognition"), unit(drawn))
    np.testing.assert_allclose(found, golden("descriptor"), atol=1e-5, rtol=0)


@needs_models
def test_the_merged_networks_answer_as_the_two_by_themselves(drawn):
    """Their faces are cut and resized by Pillow in floats, so that nothing is rounded to bytes."""
    small = np.empty((len(drawn), 3, 64, 64), np.float32)
    for index in np.ndindex(small.shape[:2]):
        face = Image.fromarray(drawn[index].astype(np.float32)).crop((16, 16, 112, 112))
        small[index] = np.asarray(face.resize((64, 64), Image.Resampling.BILINEAR))
    mean = np.array([122.782, 117.001, 104.298]).reshape(3, 1, 1)
    ages = answers(MODELS / "age.onnx", ((small - mean) / 256).astype(np.float32))
    grey = np.einsum("nchw,c->nhw", small, LUMA)[..., None] / 127.5 - 1
    emotions = answers(MODELS / "emotion.onnx", grey.astype(np.float32), "x")
    whole = merged(MODELS / "age.onnx", MODELS / "emotion.onnx", half=False)
    for given, close in ((whole.SerializeToString(), 2e-5), (file("networks"), 3e-3)):
        found = answers(given, unit(drawn))
        np.testing.assert_allclose(found[:, :AGES], ages, atol=close, rtol=0)
        np.testing.assert_allclose(found[:, AGES:], emotions, atol=2e-5, rtol=0)


@needs_models
def test_the_two_by_themselves_are_given_bytes_as_their_readme_says(drawn):
    """What `measure` compares with differs from the merged file by rounding to bytes alone."""
    off = np.abs(separately(MODELS, drawn) - answers(file("networks"), unit(drawn)))
    assert 0 < off.max() < 0.1 and off.mean() < 2e-3


@pytest.mark.parametrize("name", FILES)
def test_a_file_takes_any_number_of_portraits(name, drawn):
    session = ort.InferenceSession(file(name), providers=["CPUExecutionProvider"])
    images = unit(np.concatenate([drawn] * 8))
    together = session.run(None, {"images": images})[0]
    assert together.shape == (64, FILES[name])
    for count in (1, 3):
        alone = session.run(None, {"images": images[:count]})[0]
        np.testing.assert_allclose(alone, together[:count], atol=1e-5, rtol=1e-6)
    assert np.ptp(together[:8], axis=0).max() > 0.01  # the pictures matter


@pytest.mark.parametrize("name", FILES)
def test_only_the_middle_of_a_portrait_is_read(name, drawn):
    images, outside = unit(drawn[4:6]), np.ones((128, 128), bool)
    outside[16:112, 16:112] = False
    before = answers(file(name), images)
    images[:, :, outside] = 0
    np.testing.assert_array_equal(answers(file(name), images), before)
    images[:, :, 16, 16:112] = images[:, :, 111, 16:112] = 0  # the outermost rows of the face
    assert np.abs(answers(file(name), images) - before).max() > 1e-6


@pytest.mark.parametrize(("source", "target"), [(96, 64), (96, 112), (96, 150), (10, 10)])
def test_the_antialiased_matrix_resizes_as_pillow(source, target):
    image = np.random.default_rng(0).random((source, source), dtype=np.float32)
    rows = antialiased(source, target)
    size = (target, target)
    resized = Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)
    np.testing.assert_allclose(rows @ image @ rows.T, resized, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("source", "target"), [(96, 112), (96, 150), (96, 64), (7, 7)])
def test_the_matrix_of_tensorflow_counts_from_the_first_pixels_centre(source, target):
    places = np.minimum(np.arange(target) * source / target, source - 1)
    found = top_left_aligned(source, target) @ np.arange(source)
    np.testing.assert_allclose(found, places, atol=1e-4)


def write_manifest(folder: Path, entries: list[dict], data: bytes) -> Path:
    half = len(data) // 2
    (folder / "a.bin").write_bytes(data[:half])
    (folder / "b.bin").write_bytes(data[half:])
    manifest = folder / "x-weights_manifest.json"
    manifest.write_text(json.dumps([{"paths": ["a.bin", "b.bin"], "weights": entries}]))
    return manifest


BYTES = {
    "name": "bytes",
    "shape": [2, 2],
    "dtype": "float32",
    "quantization": {"dtype": "uint8", "scale": 0.5, "min": -3.0},
}
FLOATS = {"name": "floats", "shape": [2], "dtype": "float32"}
DATA = bytes([0, 1, 2, 255]) + np.array([1.5, -2], "<f4").tobytes()


def test_weights_are_read_from_all_files(tmp_path):
    found = read_weights(write_manifest(tmp_path, [BYTES, FLOATS], DATA))
    assert found["bytes"].quantised and not found["floats"].quantised
    assert found["bytes"].values.tolist() == [[-3, -2.5], [-2, 124.5]]
    assert found["bytes"].transposed(1, 0).values.tolist() == [[-3, -2], [-2.5, 124.5]]
    assert found["floats"].values.tolist() == [1.5, -2]


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        ([BYTES, FLOATS], DATA[:-1]),
        ([BYTES, FLOATS], DATA + b"\0"),
        ([BYTES, FLOATS | {"dtype": "int32"}], DATA),
        ([BYTES | {"quantization": {"dtype": "float16"}}, FLOATS], DATA),
        ([BYTES | {"shape": "2"}, FLOATS], DATA),
        ([{"name": "bytes"}], DATA),
    ],
)
def test_weights_that_cannot_be_read_are_refused(tmp_path, entries, data):
    with pytest.raises(GCDError):
        read_weights(write_manifest(tmp_path, entries, data))


def test_a_missing_manifest_is_told(tmp_path):
    with pytest.raises(GCDError, match="cannot be read"):
        read_weights(tmp_path / "none.json")


def random_weights(**shapes: tuple[int, ...]) -> dict[str, Weight]:
    rng = np.random.default_rng(0)
    return {
        name.replace("__", "/"): Weight(rng.standard_normal(shape).astype(np.float32))
        for name, shape in shapes.items()
    }


def run_layer(graph: Graph, output: str, image: torch.Tensor) -> torch.Tensor:
    """What a graph computes of `x`."""
    float32 = onnx.TensorProto.FLOAT
    source = onnx.helper.make_tensor_value_info("x", float32, image.shape)
    target = onnx.helper.make_tensor_value_info(output, float32, None)
    made = onnx.helper.make_graph(graph.nodes, "layer", [source], [target], graph.weights)
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 18)])
    model.ir_version = 10
    session = ort.InferenceSession(model.SerializeToString())
    return torch.from_numpy(session.run(None, {"x": image.numpy()})[0])


def kernel(weight: Weight) -> torch.Tensor:
    return torch.from_numpy(weight.values).permute(3, 2, 0, 1)


def test_a_separable_convolution_pads_below_and_right(tmp_path):
    weights = random_weights(
        s__depthwise_filter=(3, 3, 4, 1), s__pointwise_filter=(1, 1, 4, 6), s__bias=(6,)
    )
    graph, image = Graph(), torch.randn(2, 4, 8, 8)
    found = run_layer(graph, Network(graph, weights).separable("x", "s", stride=2), image)
    depthwise = kernel(weights["s/depthwise_filter"]).transpose(0, 1)
    expected = F.conv2d(F.pad(image, (0, 1, 0, 1)), depthwise, stride=2, groups=4)
    bias = torch.from_numpy(weights["s/bias"].values)
    expected = F.conv2d(expected, kernel(weights["s/pointwise_filter"]), bias)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", [7, 8])
def test_a_residual_block_that_halves_the_side_adds_zeros(side):
    """Of 8 pixels the convolutions make 3 and the mean 4; the one is filled up with zeros."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, channels in (("conv1", 2), ("conv2", 4)):
        shapes |= {f"r__{name}__conv__filters": (3, 3, channels, 4)}
        shapes |= {f"r__{name}__{end}": (4,) for end in ("conv__bias", "scale__weights")}
        shapes |= {f"r__{name}__scale__biases": (4,)}
    weights = random_weights(**shapes)
    graph, image = Graph(), torch.randn(2, 2, side, side)
    output, after = _residual_down(Network(graph, weights), "x", "r", side, 2)

    def scaled(x: torch.Tensor, name: str, **how: int) -> torch.Tensor:
        vectors = {
            end: torch.from_numpy(weights[f"r/{name}/{end}"].values)
            for end in ("conv/bias", "scale/weights", "scale/biases")
        }
        x = F.conv2d(x, kernel(weights[f"r/{name}/conv/filters"]), vectors["conv/bias"], **how)
        factor, offset = vectors["scale/weights"], vectors["scale/biases"]
        return x * factor[:, None, None] + offset[:, None, None]

    inner = scaled(scaled(image, "conv1", stride=2).relu(), "conv2", padding=1)
    mean = F.avg_pool2d(image, 2)
    expected = torch.zeros(2, 4, after, after)
    expected[:, :2] += mean
    expected[:, :, : inner.shape[2], : inner.shape[3]] += inner
    torch.testing.assert_close(run_layer(graph, output, image), expected.relu())


def test_a_table_is_put_between_its_marks(tmp_path):
    document = tmp_path / "x.md"
    document.write_text("a\n<!-- figures:one -->\nold\n<!-- /figures -->\nb\n", encoding="utf-8")
    write_tables(document, {"one": "| new |"})
    text = "a\n<!-- figures:one -->\n| new |\n<!-- /figures -->\nb\n"
    assert document.read_text(encoding="utf-8") == text
    with pytest.raises(GCDError, match="figures:two"):
        write_tables(document, {"two": "| new |"})
    assert document.read_text(encoding="utf-8") == text


def test_an_unknown_command_is_wrong_usage(capsys):
    assert main([]) == main(["none"]) == 2
    assert "convert | pictures | measure" in capsys.readouterr().err
