"""Two networks of third parties, described by a few lines of TOML, against ONNX Runtime itself."""

from __future__ import annotations

import io
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.questions import Question, questioned

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODELS, FACES = SHARED / "models", SHARED / "data" / "faces" / "images.zip"
pytestmark = pytest.mark.skipif(
    not (MODELS / "age.onnx").is_file() or not FACES.is_file(), reason="needs ../shared"
)
AGE = """
kind = "onnx"
model = "age.onnx"
labels = "0:81"
output = "probabilities"
crop = 0.75
scale = "0..255"
mean = [122.782, 117.001, 104.298]
std = 256
"""
EMOTION = """
kind = "onnx"
model = "emotion.onnx"
labels = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
output = "probabilities"
crop = 0.75
scale = "-1..1"
"""
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


def probabilities(table: str, faces: list[Image.Image]) -> tuple[torch.Tensor, np.ndarray]:
    box = load_classifier(tomllib.loads(table), MODELS)
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
    _, found = probabilities(AGE, faces)
    np.testing.assert_allclose(found, ages(faces), atol=1e-5)


def test_the_emotion_network_answers_as_in_onnx_runtime(faces):
    _, found = probabilities(EMOTION, faces)
    weights = np.array([0.299, 0.587, 0.114])
    grey = [middle(np.asarray(face, np.float64) @ weights) for face in faces]
    expected = run("emotion.onnx", [(plane / 127.5 - 1)[..., None] for plane in grey])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_questions_of_the_age_network(faces):
    box = load_classifier(tomllib.loads(AGE), MODELS)
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
