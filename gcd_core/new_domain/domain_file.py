"""Writes domain.toml with a comment on each line, as far as the domain's files go."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcd_core.domains.file import DOMAIN_FILE
from gcd_core.evaluation.result_tables import FOLDER as RESULTS
from gcd_core.files import atomic_write
from gcd_core.generators.weights import CONFIG_NAME, WEIGHTS_NAME
from gcd_core.new_domain.classifier import Sections, key_text, value_text
from gcd_core.new_domain.plan import Design

POINTS = 9
LONG, BESIDE = 50, 36  # characters of a line whose comment stands above it, and of others
UNMEASURED = {"alpha_max": 8.0, "margin": 0.4}
NOTICE = "For research and teaching. Says what changes the classifier's mind, not what is true."
COMMENTS = {
    "name": "how commands call it",
    "title": "how the page calls it",
    "description": "a sentence about the pictures",
    "notice": "a warning, which the page shows",
    "credit": "where the pictures come from: whose they are, and under which licence",
    "fit": "how a picture that is no square becomes one, as in training",
    "examples": "folder of pictures to begin with",
    "synthetic_examples": "they are synthetic: the page says so",
    "off_distribution": "what tells foreign pictures from the domain's own (calibrate)",
    "codes": "what codes are like, for searches (calibrate --codes)",
    "sanity": "whether explanations can be trusted (sanity --json)",
    "config": "what the generator is",
    "weights": "its weights",
    "model": "its file",
    "kind": "how it is opened (docs/classifiers.md)",
    "architecture": "its network, known by name",
    "labels": "its outputs, in their order",
    "output": "what it answers",
    "size": "side of what it is given, in pixels",
    "channels": "1: grey, 3: colour",
    "mean": "is subtracted",
    "std": "and this divided by",
    "options": "of the architecture",
    "title of": "how the page calls the question",
    "negative": "what no means",
    "positive": "what yes means",
    "directions": "what changes its mind (find)",
    "of": "the outputs that are asked for",
    "against": "the outputs of the other side",
    "only_for": "of what pictures the answer means something; the page says it",
    "threshold": "from which probability on the answer is yes",
    "auroc": "on test pictures, 0.5 (chance) to 1",
    "sampling": "where a search's codes come from: what all pictures are like",
    "radius": "of the ball around one picture, for --sampling ball",
    "n_samples": "pictures that a search asks about, at most",
    "n_h": "further directions from the proxy's curvature",
    "n_ways": "directions by place: looked for in a quarter of the picture each",
    "lam": "weight of LPIPS in the CF loss",
    "solver": "the fast decoder",
    "steps": "its evaluations",
    "antithetic": "each second sample mirrors the one before",
    "boundary": "directions are taken at the decision boundary",
    "alpha_max": "how far a walk goes: where g flips 95 % of validation pictures, at most 12",
    "points": "pictures that a walk decodes",
    "margin": "how far beyond the threshold a counterfactual lies: measured",
}


def write_domain_file(
    folder: Path,
    sections: Sections,
    design: Design,
    walk: Mapping[str, float],
    trained: Mapping[str, dict[str, Any]],
    credit: str,
    pictures: int,
) -> None:
    """Write the file.

    Parameters
    ----------
    folder : Path
        Of the domain; what lies in it is named.
    walk : mapping
        `alpha_max` and `margin`, once they are measured.
    trained : mapping
        Tables of "classifier" and "oracle", where they were trained here.
    credit : str
        Whose pictures these are.
    pictures : int
        How many the generator learned from.
    """
    classifier = trained.get("classifier", sections.classifier)
    oracle = trained.get("oracle", sections.oracle)
    lines = _lines(_top(folder, sections, design, credit, pictures))
    generator = {"config": CONFIG_NAME, "weights": WEIGHTS_NAME}
    lines += _table("generator", generator)
    lines += _table("classifier", classifier or {})
    if oracle is not None:
        lines += ["", "# A second opinion, which no search asks.", *_table("oracle", oracle)[1:]]
    aurocs = _aurocs(folder)
    for name, label in sections.labels.items():
        own = dict(label)
        if (folder / file_of(name)).is_file():
            own["directions"] = file_of(name)
        if name in aurocs:
            own["auroc"] = aurocs[name]
        lines += _table(f"labels.{key_text(name)}", own)
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    lines += _table("search", _search(design, len(config["distilled"]["times"])))
    lines += _table("walk", {"points": POINTS, **UNMEASURED, **walk})
    with atomic_write(folder / DOMAIN_FILE) as place:
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")


def file_of(label: str, suffix: str = ".safetensors") -> str:
    """The file of a label's directions, or of another suffix."""
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", label).strip("-").lower()
    return (plain or f"label-{hashlib.sha256(label.encode()).hexdigest()[:8]}") + suffix


def _top(
    folder: Path, sections: Sections, design: Design, credit: str, pictures: int
) -> dict[str, Any]:
    name = folder.name
    colour = "in colour" if design.channels == 3 else "in grey"
    made: dict[str, Any] = {
        "name": name,
        "title": name.replace("-", " ").replace("_", " ").capitalize(),
        "description": f"Pictures of {name}, {design.size}x{design.size}, {colour}.",
        "notice": NOTICE,
        "credit": f"Trained on {pictures} pictures. {credit or 'Their source is not written yet.'}",
        **sections.top,
        "fit": design.fit,
    }
    if credit:
        made["credit"] = credit
    if (folder / "examples").is_dir():
        made["examples"] = "examples"
        made["synthetic_examples"] = True
    files = {
        "off_distribution": "off_distribution.safetensors",
        "codes": "codes.safetensors",
        "sanity": "sanity.json",
    }
    return made | {key: file for key, file in files.items() if (folder / file).is_file()}


def _search(design: Design, steps: int) -> dict[str, Any]:
    return {
        "sampling": "prior",
        "radius": design.radius,
        "n_samples": 256,
        "n_h": 0,
        "n_ways": 4,
        "lam": 1.0,
        "solver": "distilled",
        "steps": steps,
        "antithetic": True,
        "boundary": True,
    }


def _aurocs(folder: Path) -> dict[str, float]:
    """The classifier's AUROC by label, as measured; those below a half are left out."""
    path = folder / RESULTS / "classifiers.json"
    if not path.is_file():
        return {}
    figures = json.loads(path.read_text(encoding="utf-8"))["classifiers"]["classifier"]
    found = {name: own["auroc"] for name, own in figures.items() if own["auroc"] is not None}
    return {name: round(value, 4) for name, value in found.items() if 0.5 <= value <= 1}


def _table(name: str, table: Mapping[str, Any]) -> list[str]:
    return ["", f"[{name}]", *_lines(table, of_label=name.startswith("labels"))]


def _lines(table: Mapping[str, Any], of_label: bool = False) -> list[str]:
    """A line for each key, and its comment behind it."""
    lines = []
    for key, value in table.items():
        comment = COMMENTS.get("title of" if of_label and key == "title" else key)
        text = f"{key_text(key)} = {value_text(value)}"
        if comment and len(text) > LONG:  # above it, where there is room
            lines += [f"# {comment}", text]
        else:
            lines.append(f"{text:{BESIDE}} # {comment}" if comment else text)
    return lines
