"""Two networks of third parties, described by a few lines of TOML, against ONNX Runtime itself."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.__main__ import main
from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.questions import Question, questioned
from gcd_core.wording import percent
from tests.tiny_domain import write_tiny_domain

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODELS, FACES = SHARED / "models", SHARED / "data" / "faces" / "images.zip"
pytestmark = pytest.mark.skipif(
    not (MODELS / "age.onnx").is_file() or not FACES.is_file(), reason="needs ../shared"
)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "classifiers.md"


def documented() -> dict[str, dict]:
    """The tables of docs/classifiers.md: of these two networks, and of the labels asked of them."""
    tables = {}
    for text in re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL):
        table = tomllib.loads(text)
        classifier = table.get("classifier", {})
        if classifier.get("model") in ("age.onnx", "emotion.onnx"):
            assert len(classifier) <= 8, "eight lines describe it"
            tables[classifier["model"]] = classifier
        tables |= table.get("labels", {})
    return tables


TABLES = documented()
COUNT = 24


@pytest.fixture(scope="module")
def faces() -> list[Image.Image]:
    with zipfile.ZipFile(FACES) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith((".png", ".jpg", ".jpeg")))
        chosen = names[:: len(names) // COUNT][:COUNT]
        return [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in chosen]


def middle(plane: np.ndarray) -> np.ndarray:
    """The middle 64x64 of a plane (H, W) that Pillow resizes to 85x85."""
    resized = Image.fromarray(plane.astype(np.float32)).resize((85, 85), Image.Resampling.BILINEAR)
    return np.asarray(resized, np.float64)[10:74, 10:74]


def run(name: str, given: list[np.ndarray]) -> np.ndarray:
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(MODELS / name, providers=["CPUExecutionProvider"])
    batch = np.stack(given).astype(np.float32)
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def probabilities(name: str, faces: list[Image.Image]) -> tuple[torch.Tensor, np.ndarray]:
    box = load_classifier(TABLES[name], MODELS)
    arrays = [np.asarray(face) for face in faces]
    logits = torch.cat(
        [box(torch.from_numpy(a.copy()).permute(2, 0, 1)[None] / 255) for a in arrays]
    )
    each = [box.probability(logits, label) for label in box.labels]
    return logits, torch.stack(each, 1).numpy()


def ages(faces: list[Image.Image]) -> np.ndarray:
    mean = (122.782, 117.001, 104.298)
    planes = [[np.asarray(face, np.float64)[..., i] for i in range(3)] for face in faces]
    return run(
        "age.onnx",
        [
            np.stack([(middle(p) - m) / 256 for p, m in zip(three, mean, strict=True)])
            for three in planes
        ],
    )


def test_the_age_network_answers_as_in_onnx_runtime(faces):
    _, found = probabilities("age.onnx", faces)
    np.testing.assert_allclose(found, ages(faces), atol=1e-5)


def emotions(faces: list[Image.Image]) -> np.ndarray:
    weights = np.array([0.299, 0.587, 0.114])
    grey = [middle(np.asarray(face, np.float64) @ weights) for face in faces]
    return run("emotion.onnx", [(plane / 127.5 - 1)[..., None] for plane in grey])


def test_the_emotion_network_answers_as_in_onnx_runtime(faces):
    _, found = probabilities("emotion.onnx", faces)
    np.testing.assert_allclose(found, emotions(faces), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "label", "reference", "chosen"),
    [
        ("age.onnx", "senior", ages, list(range(50, 81))),
        ("emotion.onnx", "smile", emotions, [3]),
    ],
)
def test_the_command_tells_what_the_networks_answer(
    faces, tmp_path, capsys, name, label, reference, chosen
):
    folder = write_tiny_domain(tmp_path / "tiny", channels=3)
    shutil.copy(MODELS / name, folder)
    text = (folder / "domain.toml").read_text()
    before, rest = text.split("[classifier]\n")
    after = rest[rest.index("[search]") :]
    tables = {"classifier": TABLES[name], f"labels.{label}": TABLES[label]}
    asked = "".join(
        f"[{title}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for title, table in tables.items()
    )
    (folder / "domain.toml").write_text(before + asked + after)
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for face, file in zip(faces, files, strict=False):
        face.save(file)
    out = tmp_path / "out.json"
    command = ["classifier", "--domain", str(folder), "--json", str(out), "--try"]
    assert main([*command, *map(str, files)]) == 0
    expected = reference(faces[:4]).astype(np.float64)
    told = list(json.loads(out.read_text())["images"].values())
    for one, row in zip(told, expected, strict=True):
        answers = np.array([answer for answer, _ in one["answers"].values()])
        np.testing.assert_allclose(answers, row, atol=1e-5)
        odds = one["questions"][label]
        assert 1 / (1 + math.exp(-odds)) == pytest.approx(row[chosen].sum(), abs=1e-4)
    assert f"{label}? {percent(expected[0, chosen].sum())}, log-odds" in capsys.readouterr().out


def test_questions_of_the_age_network(faces):
    box = load_classifier(TABLES["age.onnx"], MODELS)
    questions = [
        Question("over 50", ("50:81",)),
        Question("age", expected=True, threshold=40.0, spread=10.0, scale="years"),
    ]
    asked = questioned(box, questions)
    images = [torch.from_numpy(np.array(face)).permute(2, 0, 1)[None] / 255 for face in faces]
    logits = torch.cat([asked(image) for image in images])
    expected = ages(faces).astype(np.float64)
    over = expected[:, 50:].sum(1)
    np.testing.assert_allclose(asked.probability(logits, "over 50"), over, atol=1e-4)
    mean = expected @ np.arange(81)
    np.testing.assert_allclose(40 + 10 * asked.logit(logits, "age").numpy(), mean, atol=0.02)
    shown = questions[1].shown(asked.probability(logits, "age")[0].item())
    assert shown == f"{mean[0]:.0f} years"
    assert mean.min() > 20 and mean.max() < 80  # as ../shared/models says of these faces
