"""`measure`: how exact the ONNX files are, and how far their answers agree on real portraits."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from gcd_core.cli.options import check_writable
from gcd_core.errors import GCDError
from gcd_core.evaluation.markdown import markdown
from gcd_core.files import atomic_write, write_json
from gcd_core.images.dataset import load_split
from gcd_core.training.measures import auroc
from tools.face_api.graph import MARGIN, SIDE, antialiased
from tools.face_api.merge import AGE_MEAN, AGES, EMOTIONS, merged
from tools.face_api.merge import SIDE as SMALL
from tools.face_api.networks import EXPRESSIONS
from tools.face_api.pictures import pictures

BATCH = 32
YEARS = 50  # the age that is asked about
HAPPY = AGES + EMOTIONS.index("happy"), 1 + EXPRESSIONS.index("happy")  # of the two files' answers
NEAR = 0.6  # face-api's distance up to which two faces are one person's
SAME_PHOTOGRAPH = 0.8  # correlation of pixels from which on two portraits may be one photograph
MARKS = "<!-- figures:{} -->", "<!-- /figures -->"  # between which a document has a table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `measure`."""
    parser.add_argument("--networks", type=Path, required=True, help="folder of the three files")
    parser.add_argument(
        "--models", type=Path, required=True, help="folder of age.onnx and emotion.onnx"
    )
    parser.add_argument("--original", type=Path, required=True, help="the JSON file of golden.cjs")
    parser.add_argument("--data", type=Path, required=True, help="zip of portraits, as images.zip")
    parser.add_argument("--json", type=Path, required=True, help="file that gets the figures")
    parser.add_argument("--document", type=Path, help="Markdown file that gets them as a table")


def main(args: argparse.Namespace) -> None:
    """Measure, print the figures and write them."""
    check_writable(args.json, args.document)
    splits = [load_split(args.data, None, name, SIDE, 3) for name in ("val", "test")]
    portraits = torch.cat([images for images, _ in splits]).numpy()
    people = np.array([person for _, table in splits for person in table["patient"]])
    figures = {
        "conversion": conversion(args.networks, args.original),
        "merging": merging(args.networks, args.models, portraits),
        "agreement": agreement(args.networks, portraits, people),
    }
    write_json(args.json, figures)
    tables = {
        title: markdown([{"what": k, "figure": v} for k, v in group.items()], ["what", "figure"])
        for title, group in figures.items()
    }
    print("\n\n".join(tables.values()))
    if args.document:
        write_tables(args.document, tables)


def answers(model: Path | bytes, images: NDArray, source: str = "images") -> NDArray[np.float32]:
    """Return a model's answers to images, asked in batches."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    given = str(model) if isinstance(model, Path) else model
    session = ort.InferenceSession(given, options, ["CPUExecutionProvider"])
    batches = [images[i : i + BATCH] for i in range(0, len(images), BATCH)]
    return np.concatenate([session.run(None, {source: batch})[0] for batch in batches])


def unit(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Bytes as [0, 1]."""
    return images.astype(np.float32) / np.float32(255)


def conversion(networks: Path, original: Path) -> dict[str, Any]:
    """Compare the converted networks with what the original answered to the drawn pictures."""
    golden = json.loads(original.read_text(encoding="utf-8"))["answers"]
    images = unit(pictures().transpose(0, 3, 1, 2))
    opinion = answers(networks / "second_opinion.onnx", images)
    descriptor = answers(networks / "recognition.onnx", images)

    def off(found: NDArray, name: str) -> float:
        return float(np.abs(found - np.array([answer[name] for answer in golden])).max())

    return {
        "pictures": len(golden),
        "second opinion: age, years, largest difference": off(opinion[:, 0], "age"),
        "second opinion: expressions, largest difference": off(opinion[:, 1:], "expressions"),
        "recognition: descriptor, largest difference": off(descriptor, "descriptor"),
    }


def by_pillow(portrait: NDArray[np.uint8]) -> Image.Image:
    """The face of a portrait (3, 128, 128) as Pillow cuts and resizes it, in bytes."""
    box = (MARGIN, MARGIN, SIDE - MARGIN, SIDE - MARGIN)
    face = Image.fromarray(portrait.transpose(1, 2, 0)).crop(box)
    return face.resize((SMALL, SMALL), Image.Resampling.BILINEAR)


def separately(models: Path, portraits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the answers (N, 88) of the two networks by themselves, after Pillow."""
    faces = [by_pillow(portrait) for portrait in portraits]
    coloured = [
        (np.asarray(face, np.float32) - AGE_MEAN).transpose(2, 0, 1) / 256 for face in faces
    ]
    grey = [np.asarray(face.convert("L"), np.float32)[..., None] / 127.5 - 1 for face in faces]
    ages = answers(models / "age.onnx", np.stack(coloured).astype(np.float32))
    emotions = answers(models / "emotion.onnx", np.stack(grey).astype(np.float32), "x")
    return np.concatenate([ages, emotions], axis=1)


def merging(networks: Path, models: Path, portraits: NDArray[np.uint8]) -> dict[str, Any]:
    """Compare the merged file with the two networks, and half precision with full."""
    images = unit(portraits)
    found = answers(networks / "networks.onnx", images)
    whole = merged(models / "age.onnx", models / "emotion.onnx", half=False)
    full = answers(whole.SerializeToString(), images)
    halved = np.abs(found - full)[:, :AGES]
    rounded = np.abs(found - separately(models, portraits))
    # Pillow resizes floats, too: without its rounding to bytes only the filters differ.
    face = images[0, 0, MARGIN:-MARGIN, MARGIN:-MARGIN]
    exact = np.asarray(Image.fromarray(face).resize((SMALL, SMALL), Image.Resampling.BILINEAR))
    rows = antialiased(len(face), SMALL)
    return {
        "portraits": len(portraits),
        "resize against Pillow's of floats, of [0, 1]: largest difference": float(
            np.abs(rows @ face @ rows.T - exact).max()
        ),
        "half precision against full: age probabilities, largest difference": float(halved.max()),
        "half precision against full: age probabilities, mean difference": float(halved.mean()),
        "half precision against full: expected age, years, largest difference": float(
            np.abs((found - full)[:, :AGES] @ np.arange(AGES)).max()
        ),
        "against Pillow in bytes: age probabilities, largest difference": float(
            rounded[:, :AGES].max()
        ),
        "against Pillow in bytes: age probabilities, mean difference": float(
            rounded[:, :AGES].mean()
        ),
        "against Pillow in bytes: emotions, largest difference": float(rounded[:, AGES:].max()),
        "against Pillow in bytes: emotions, mean difference": float(rounded[:, AGES:].mean()),
    }


def agreement(networks: Path, portraits: NDArray[np.uint8], people: NDArray) -> dict[str, Any]:
    """Compare the second opinion with the first, and one person's descriptors with others'."""
    images = unit(portraits)
    first = answers(networks / "networks.onnx", images)
    second = answers(networks / "second_opinion.onnx", images)
    expected = first[:, :AGES].astype(np.float64) @ np.arange(AGES)
    age, older = second[:, 0], expected > YEARS
    smile, happy = second[:, HAPPY[1]], first[:, HAPPY[0]] >= 0.5
    descriptors = answers(networks / "recognition.onnx", images).astype(np.float64)
    return {
        "age: rank correlation with the expected age": float(stats.spearmanr(age, expected)[0]),
        "age: median difference to it, years": float(np.median(age - expected)),
        f"age: agreement on over {YEARS}": float(((age > YEARS) == older).mean()),
        f"age: share over {YEARS}, first and second": _two(older, age > YEARS),
        f"age: AUROC of it for over {YEARS}": _auroc(age, older),
        "happy: agreement at 0.5": float(((smile >= 0.5) == happy).mean()),
        "happy: share, first and second": _two(happy, smile >= 0.5),
        "happy: AUROC of it for the first's": _auroc(smile, happy),
        **_recognised(descriptors, _correlations(portraits), people),
    }


def _recognised(descriptors: NDArray, correlations: NDArray, people: NDArray) -> dict[str, Any]:
    """How well distances and cosines tell one person's pairs of portraits from others'."""
    pairs = np.triu_indices(len(people), 1)
    same = people[pairs[0]] == people[pairs[1]]
    distances = np.linalg.norm(descriptors[pairs[0]] - descriptors[pairs[1]], axis=1)
    units = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    cosines = (units[pairs[0]] * units[pairs[1]]).sum(axis=1)
    other = correlations[pairs] < SAME_PHOTOGRAPH
    figures: dict[str, Any] = {}
    for title, chosen in (
        ("all pairs", np.ones_like(same)),
        ("different photographs", other | ~same),
    ):
        one, far, near = same[chosen], distances[chosen], cosines[chosen]
        figures |= {
            f"{title}: of one person, of two": f"{one.sum()}, {(~one).sum()}",
            f"{title}: AUROC of the distance": f"{_auroc(-far, one):.5f}",
            f"{title}: AUROC of the cosine": f"{_auroc(near, one):.5f}",
            f"{title}: largest distance of one, smallest of two": (
                f"{far[one].max():.3g}, {far[~one].min():.3g}"
            ),
            f"{title}: median distance of one, of two": _medians(far, one),
            f"{title}: median cosine of one, of two": _medians(near, one),
            f"{title}: nearer than {NEAR}, of one, of two": _two(far[one] < NEAR, far[~one] < NEAR),
        }
    return figures


def _correlations(portraits: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The correlations (N, N) of the portraits' faces in grey, of 32 x 32 pixels."""
    small = [by_pillow(portrait).convert("L").reduce(2) for portrait in portraits]
    return np.corrcoef(np.stack([np.asarray(image, np.float64).ravel() for image in small]))


def _auroc(scores: NDArray, targets: NDArray) -> float:
    return auroc(torch.from_numpy(scores), torch.from_numpy(targets))


def _two(first: NDArray, second: NDArray) -> str:
    return f"{first.mean():.3g}, {second.mean():.3g}"


def _medians(values: NDArray, one: NDArray) -> str:
    return f"{np.median(values[one]):.3g}, {np.median(values[~one]):.3g}"


def write_tables(document: Path, tables: dict[str, str]) -> None:
    """Put each table between the marks that a document has for it.

    Raises a GCDError if it has none for one of them.
    """
    text = document.read_text(encoding="utf-8")
    closing = MARKS[1]
    for title, table in tables.items():
        opening = MARKS[0].format(title)
        before, found, rest = text.partition(opening)
        _, ended, after = rest.partition(closing)
        if not found or not ended:
            raise GCDError(f"{document} has no lines {opening} and {closing} for its figures.")
        text = f"{before}{opening}\n{table}\n{closing}{after}"
    with atomic_write(document) as place:
        place.write_text(text, encoding="utf-8")
