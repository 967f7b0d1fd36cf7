"""A data set of drawn squares, and a design small enough to be trained in a second."""

import csv
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gcd_core.cli.new_domain import run_command
from gcd_core.new_domain import making
from gcd_core.new_domain.classifier import Given
from gcd_core.new_domain.plan import Design, Effort, Plan, Speeds
from gcd_core.new_domain.questions import Asked

SIZE = 32
QUICK = Speeds(1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4)


def write_squares(
    path: Path, count: int = 320, colour: bool = False, persons: bool = False, splits: bool = False
) -> Path:
    """A zip of pictures, half of them with a bright square, and a licence and a text in it."""
    rng = np.random.default_rng(0)
    rows = []
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            bright = index % 2
            pixels = rng.integers(20, 80, (SIZE, SIZE, 3 if colour else 1))
            x, y = rng.integers(6, 12, 2)
            pixels[y : y + 10, x : x + 10] += 120 * bright
            picture = Image.fromarray(pixels.astype(np.uint8).squeeze())
            data = io.BytesIO()
            picture.save(data, "PNG")
            name = f"{('plain', 'square')[bright]}/{index:04d}.png"
            archive.writestr(name, data.getvalue())
            rows.append({"file": name, "label": ("plain", "square")[bright]})
            if persons:
                rows[-1]["person"] = f"P{index // 4}"
            if splits:
                rows[-1]["split"] = ("train", "train", "valid", "test")[index % 4]
        archive.writestr("LICENSE.txt", "CC0")
        archive.writestr("notes.txt", "no picture")
        archive.writestr("square/broken.png", b"\x89PNG\r\n\x1a\n and no more")
        if persons or splits:
            table = io.StringIO()
            writer = csv.DictWriter(table, rows[0])
            writer.writeheader()
            writer.writerows(rows)
            archive.writestr("labels.csv", table.getvalue())
    return path


def write_onnx(path: Path, channels: int = 1, scale: float = 40.0, softmax: bool = True) -> Path:
    """A network that reads the mean brightness of the middle: two classes, plain and square."""
    onnx = pytest.importorskip("onnx", reason="writes the classifier's file")
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    shape = ["n", channels, SIZE, SIZE]
    weights = np.zeros((channels * SIZE * SIZE, 2), np.float32)
    mask = np.zeros((channels, SIZE, SIZE), np.float32)
    mask[:, 8:20, 8:20] = 1 / (144 * channels)
    weights[:, 1] = scale * mask.reshape(-1)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["y"], axis=1))
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("x", floats, shape)],
        [helper.make_tensor_value_info("y" if softmax else "logits", floats, ["n", 2])],
        [
            helper.make_tensor("w", floats, weights.shape, weights.ravel()),
            helper.make_tensor("b", floats, [2], [0.0, 0.37 * scale]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def small_design(size: int, channels: int) -> Design:
    """Networks of a few thousand weights that learn for a few steps."""
    return Design(
        SIZE,
        channels,
        latent_channels=2,
        widths=(8, 8, 8),
        model_channels=32,
        channel_mult=(1, 1),
        attention=4,
        z_sem=8,
        batch=8,
        augmentations=0,
        steps=3,
        classifier_options=(
            '{"growth_rate": 4, "block_config": [1, 1], "width": 8}',
            '{"width": 8, "blocks": [1, 1]}',
        ),
    )


def little(plan: Plan) -> Plan:
    """The same plan with as few pictures and queries as the commands take."""
    efforts = [Effort(16, 0, 0, 12, 2, 2, one.effort.checks[:1], 9, 120, 20) for one in plan.rounds]
    rounds = [replace(one, effort=own) for one, own in zip(plan.rounds, efforts, strict=True)]
    return replace(plan, rounds=tuple(rounds))


def request(folder: Path, data: Path, classifier: str, minutes: float = 90, **more):
    """A request for a domain `squares` with small networks."""
    questions = tuple(Asked.parse(text) for text in more.pop("questions", ()))
    return making.Request(
        place=folder / "squares",
        data=data,
        given=Given(classifier, questions, **more.pop("given", {})),
        minutes=minutes,
        design=small_design,
        speeds=QUICK,
        adjust=little,
        command="python -m gcd_core new-domain squares",
        **more,
    )


def make(asked: making.Request, **more) -> tuple[list[str], str]:
    """Make the domain; return the verdict and what was told."""
    stream = io.StringIO()
    return making.make_domain(asked, run_command, stream, **more), stream.getvalue()
