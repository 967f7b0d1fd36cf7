"""The chain from a picture to what a network is given, against Pillow and NumPy."""

from __future__ import annotations

import sys
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.__main__ import main
from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.errors import GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.composition import compose
from tests.tiny_domain import write_tiny_domain

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def by_hand(pixels: np.ndarray, table: dict) -> np.ndarray:
    """The same of one picture (H, W, 3), bytes: Pillow resizes, NumPy does the rest."""
    planes = [pixels[..., i].astype(np.float64) for i in range(3)]
    if table["channels"] == 1:
        planes = [0.299 * planes[0] + 0.587 * planes[1] + 0.114 * planes[2]]
    size, crop = table["size"], table.get("crop", 1.0)
    height, width = size if isinstance(size, list) else (size, size)
    tall, wide = round(height / crop), round(width / crop)
    filter = FILTERS[table.get("resample", "bilinear")]
    resized = []
    for plane in planes:
        image = Image.fromarray(plane.astype(np.float32)).resize((wide, tall), filter)
        top, left = (tall - height) // 2, (wide - width) // 2
        kept = np.asarray(image, np.float64)[top : top + height, left : left + width]
        resized.append(kept.clip(0, 255))
    if table.get("channel_order") == "bgr":
        resized.reverse()
    x = np.stack(resized)
    scale = table.get("scale")
    x = {None: x / 255, "0..1": x / 255, "-1..1": x / 127.5 - 1, "0..255": x}[scale]
    usual = (0.5, 0.5) if scale is None else (0.0, 1.0)
    mean, std = (
        np.broadcast_to(np.asarray(table.get(key, value), np.float64), len(x))[:, None, None]
        for key, value in zip(("mean", "std"), usual, strict=True)
    )
    x = (x - mean) / std
    return x.transpose(1, 2, 0) if table.get("layout") == "channels-last" else x


def picture(height: int = 70, width: int = 50) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


TABLES = [
    {"size": 32, "channels": 3},
    {"size": [24, 40], "channels": 3, "scale": "0..1"},
    {"size": 21, "channels": 3, "crop": 0.75, "scale": "0..255", "std": 256},
    {"size": 24, "channels": 1, "scale": "-1..1", "layout": "channels-last"},
    {"size": [28, 21], "channels": 3, "crop": 0.875, "resample": "bicubic", "scale": "-1..1"},
    {
        "size": 20,
        "channels": 3,
        "scale": "0..255",
        "mean": [104.0, 117.0, 123.0],
        "std": [57.0, 58.0, 59.0],
        "channel_order": "bgr",
    },
]


@pytest.mark.parametrize("table", TABLES)
def test_the_chain_is_pillows_and_numpys(table):
    pixels = picture()
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    given = Preprocessing.from_table(table)(images)[0].numpy()
    expected = by_hand(pixels, table)
    assert given.shape == expected.shape
    np.testing.assert_allclose(given, expected, atol=1e-4 * np.abs(expected).max())


def test_the_chain_is_told_in_its_order():
    table = TABLES[-1] | {"crop": 0.5, "layout": "channels-last"}
    assert Preprocessing.from_table(table).chain() == (
        "RGB, 40x40 pixels (bilinear), the middle 20x20, BGR, 0..255, minus (104, 117, 123), "
        "divided by (57, 58, 59), (N, H, W, C)"
    )
    assert Preprocessing().chain() == "as it is, 0..1, (N, C, H, W)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size is 1 pixel or more"),
        ({"size": [20]}, r"size .* not \[20\]"),
        ({"size": [20, "a"]}, "size"),
        ({"size": True}, "size"),
        ({"channels": 2}, "channels are 1"),
        ({"crop": 0}, "crop is above 0"),
        ({"crop": 1.5}, "crop is above 0 and up to 1, not 1.5"),
        ({"crop": float("nan")}, "crop"),
        ({"resample": "lanczos"}, "resample is one of bilinear, bicubic, nearest-exact"),
        ({"scale": "0..2"}, r"scale is one of 0\.\.1, -1\.\.1, 0\.\.255"),
        ({"channel_order": "BGR"}, "channel_order is one of rgb, bgr"),
        ({"channel_order": "bgr", "channels": 1}, "channels = 3"),
        ({"layout": "NHWC"}, "layout is one of channels-first, channels-last"),
        ({"mean": [0.1, 0.2]}, "mean is one number or 3"),
        ({"mean": ["a"]}, "mean is a number"),
        ({"std": [1, 1, 0]}, "std is positive"),
        ({"std": float("inf")}, "std"),
    ],
)
def test_what_is_no_preprocessing_is_named(change, message):
    with pytest.raises(GCDError, match=message):
        Preprocessing.from_table({"size": 20, "channels": 3} | change)


ONNX = {"kind": "onnx", "model": "model.onnx", "labels": ["a", "b"], "output": "sigmoid"}


def write_flat(path, table: dict) -> np.ndarray:
    """An ONNX network of what it is given: a product with weights, which are returned."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    size = table["size"]
    height, width = size if isinstance(size, list) else (size, size)
    sides = [table["channels"], height, width]
    if table.get("layout") == "channels-last":
        sides = [height, width, table["channels"]]
    weight = np.random.default_rng(1).normal(size=(int(np.prod(sides)), 2)).astype(np.float32)
    weight /= np.sqrt(len(weight))
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", kind, ["N", *sides])],
        [helper.make_tensor_value_info("y", kind, ["N", 2])],
        [helper.make_tensor("w", kind, weight.shape, weight.flatten())],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return weight


@pytest.mark.parametrize("table", TABLES)
def test_an_onnx_network_is_given_it(tmp_path, table):
    weight = write_flat(tmp_path / "model.onnx", table)
    box = load_classifier(ONNX | table, tmp_path)
    pixels = picture()
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = by_hand(pixels, table).flatten() @ weight
    np.testing.assert_allclose(box(images)[0].numpy(), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("table", TABLES)
def test_so_is_a_function(tmp_path, table):
    (tmp_path / "mine.py").write_text(
        "seen = []\ndef predict(x):\n    seen.append(x)\n    return x.flatten(1)[:, :2] * 9 - 30\n"
    )
    kind = {"kind": "python", "callable": "mine:predict", "labels": ["a", "b"], "output": "sigmoid"}
    box = load_classifier(kind | table, tmp_path)
    pixels = picture()
    box(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    module = next(m for n, m in sys.modules.items() if n.endswith("_mine") and hasattr(m, "seen"))
    plain = table if "scale" in table else table | {"mean": 0, "std": 1}
    expected = by_hand(pixels, plain)
    np.testing.assert_allclose(
        module.seen[-1][0].numpy(), expected, atol=1e-4 * np.abs(expected).max()
    )
    sys.modules.pop(module.__name__)


def test_a_range_of_labels_stands_for_its_numbers(tmp_path):
    write_flat(tmp_path / "model.onnx", TABLES[0])
    table = ONNX | {"labels": "4:6"}
    assert load_classifier(table, tmp_path).labels == ("4", "5")
    for wrong in ("6:4", "4", ":6", "a:b", "0:9999999"):
        with pytest.raises(GCDError, match="'labels' are a list of names, or a range"):
            load_classifier(table | {"labels": wrong}, tmp_path)


def test_a_crop_is_taken_of_the_whole_pictures_pixels():
    """A composition is asked about at the size before the crop, so that no detail is lost."""

    class Box:
        preprocessing = Preprocessing((16, 16), 3, crop=0.5)

    pixels, view = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 24, 24)
    made = compose(Picture(pixels, view), baseline=view)
    asked = made.source_for(Box())
    assert asked.shape[-2:] == (32, 32)
    torch.testing.assert_close(Box.preprocessing(asked), Box.preprocessing(pixels))


def test_the_command_prints_chain_and_answers(tmp_path, capsys):
    folder = write_tiny_domain(tmp_path / "tiny")
    Image.fromarray(picture()).save(tmp_path / "one.png")
    assert main(["classifier", "--domain", str(folder), "--try", str(tmp_path / "one.png")]) == 0
    out = capsys.readouterr().out
    assert "grey, 32x32 pixels (bilinear), 0..1, minus 0.5, divided by 0.5" in out
    table = tomllib.loads((folder / "domain.toml").read_text())["classifier"]
    grey = np.asarray(Image.fromarray(picture()).convert("L"), np.float32) / 255
    answers = load_classifier(table, folder)(torch.from_numpy(grey)[None, None])[0]
    for label, logit in zip(("ill", "old"), answers.tolist(), strict=True):
        line = next(line for line in out.splitlines() if line.startswith(label))
        _, answer, probability = line.split()
        assert float(answer) == pytest.approx(logit, abs=0.02)
        assert float(probability) == pytest.approx(1 / (1 + np.exp(-float(answer))), abs=1e-5)
    text = (folder / "domain.toml").read_text()
    text = text.replace('title = "Illness"', 'title = "Illness"\nthreshold = 0.2')
    (folder / "domain.toml").write_text(text)
    assert main(["classifier", "--domain", str(folder), "--try", str(tmp_path / "one.png")]) == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("ill?"))
    assert float(told.split()[-1]) == pytest.approx(answers[0].item() + np.log(4), abs=0.02)
    assert main(["check-domain", str(folder)]) == 0
    assert "classifier is given the image as: grey, 32x32" in capsys.readouterr().out
