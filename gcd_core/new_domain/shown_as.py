"""How a network wants its pictures, which its file does not say: seen from its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers import BlackBox, load_classifier
from gcd_core.classifiers.questions import questioned
from gcd_core.domains.file import Label
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.reading import load_image
from gcd_core.new_domain.data import DataSet
from gcd_core.training.classifier import Task

LOOKED_AT = 96  # pictures of known classes that every way is tried on
USUAL_SIDE = 224  # of what published networks were trained on
LARGEST = 512  # side that is tried
FEWEST_RIGHT = 0.6  # share of pictures on their own side by another way than the first
BETTER = 0.02  # nats a picture, by which another way must fit the labels better than the first
SURE = 15.0  # log-odds beyond which an answer is no surer
VALUES: dict[str, dict[str, Any]] = {  # what a table says of them; the first is the default
    "from -1 to 1": {},
    "from 0 to 1": {"scale": "0..1"},
    "from 0 to 255": {"scale": "0..255"},
    "less ImageNet's mean, by its deviation": {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
}


@dataclass(frozen=True)
class Known:
    """Pictures whose classes are known, and what these say of each question.

    Attributes
    ----------
    pictures : Tensor (N, 3, S, S)
        In [0, 1].
    targets : dict
        By label, a Tensor (N,) of 0 and 1; NaN where a picture's class does not count.
    """

    pictures: Tensor
    targets: dict[str, Tensor]


def known_pictures(data: DataSet, tasks: Mapping[str, str], side: int) -> Known | None:
    """Some pictures of known classes, of both splits that are learned from; None without labels."""
    rows = [row for row in data.draw(LOOKED_AT) if row["label"]]
    if not tasks or not rows:
        return None
    files = ImageFiles(data.source, names=[row["file"] for row in rows])
    images = dict(files.load(lambda source: load_image(source, side, 3, "stretch")))
    rows = [row for row in rows if row["file"] in images]
    if not rows:
        return None
    targets = {
        name: torch.tensor([Task.parse(text).target(row["label"]) for row in rows])
        for name, text in tasks.items()
    }
    return Known(torch.cat([images[row["file"]] for row in rows]), targets)


def sides_to_try(data: DataSet, own: int) -> list[int]:
    """Sides of a network's pictures where its file says none: the data's own, 224, the domain's."""
    typical = sorted(min(pair) for pair in data.sides)[len(data.sides) // 2]
    return list(dict.fromkeys([own, min(typical, LARGEST), USUAL_SIDE]))


def best_way(
    table: Mapping[str, Any],
    labels: Mapping[str, Mapping[str, Any]],
    folder: Path,
    device: str,
    known: Known,
    sides: Sequence[int],
) -> dict[str, Any]:
    """What to add to a classifier's table so that its answers fit the labels best.

    Tries what values go from and to, then the sides. The first of each stays unless another is
    better by 0.02 nats a picture, and puts 60 % of the pictures of each side where they belong:
    the answers of a network that is shown nonsense may all be alike.
    """
    questions = [Label.read(name, dict(one)).question for name, one in labels.items()]

    def fit(change: Mapping[str, Any]) -> float:
        try:
            opened = load_classifier({**table, **change}, folder, device)
            found, right = likelihood(questioned(opened, questions), known)
            return found if not change or right >= FEWEST_RIGHT else -SURE
        except Exception:  # whatever a network of a file raises about a side that it does not take
            return -SURE

    chosen: dict[str, Any] = {}
    score = fit(chosen)
    ranges = [
        way for way in VALUES.values() if way and len(way.get("mean", [0])) in (1, _channels(table))
    ]
    for ways in (ranges, [{"size": side} for side in sides if side != table["size"]]):
        scores = [fit(chosen | way) for way in ways]
        if scores and max(scores) > score + BETTER:
            score = max(scores)
            chosen |= ways[scores.index(score)]
    return chosen


def _channels(table: Mapping[str, Any]) -> int:
    return int(table["channels"])


def likelihood(classifier: BlackBox, known: Known) -> tuple[float, float]:
    """How well a classifier's answers fit the labels.

    Returns
    -------
    nats : float
        The mean log-likelihood of the labels, a picture and question.
    right : float
        The share of pictures on their own side, the mean of both sides.
    """
    with torch.inference_mode():
        logits = torch.cat([classifier(part) for part in known.pictures.split(16)]).float()
    found, right = [], []
    for name, targets in known.targets.items():
        counts = ~targets.isnan()
        odds = classifier.logit(logits, name).float().cpu().clamp(-SURE, SURE)[counts]
        yes = targets[counts] > 0.5
        found.append(F.logsigmoid(torch.where(yes, odds, -odds)))
        sides = [side for side in (yes, ~yes) if side.any()]
        right += [float(((odds > 0) == yes)[side].float().mean()) for side in sides]
    every = torch.cat(found)
    if not len(every):
        return -SURE, 0.0
    return float(every.nan_to_num(-SURE).mean()), sum(right) / len(right)


def sentence(table: Mapping[str, Any], seen: bool) -> str:
    """How pictures are shown to a classifier, and how that is known."""
    values = next(
        (words for words, way in VALUES.items() if way and way.items() <= table.items()),
        next(iter(VALUES)),
    )
    told = f"it is given pictures of {table['size']} x {table['size']}, values {values}"
    if seen:
        return f"{told}: of the usual ways, the one by which its answers fit the labels best."
    return f"{told}; if it was trained otherwise, say so in a TOML file."
