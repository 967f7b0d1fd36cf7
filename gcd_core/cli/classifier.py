"""`classifier`: what a domain's classifier is given of an image, and every number it answers."""

import argparse
import math
from pathlib import Path
from typing import Any

import torch

from gcd_core.classifiers.base import BlackBox, preprocessing_of
from gcd_core.classifiers.questions import Questioned, as_far_as_it_can, network_of
from gcd_core.cli.options import check_writable, write_json
from gcd_core.domains.file import CLASSIFIERS, Label, find_problems, read_domain_file
from gcd_core.domains.finding import find_domain
from gcd_core.domains.opening import open_classifier
from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.generators.device import choose_device
from gcd_core.images.picture import load_picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `classifier`."""
    parser.add_argument("--domain", required=True, help="a folder, a bundled name, or hf://...")
    parser.add_argument(
        "--try", type=Path, nargs="+", metavar="IMAGE", default=[], dest="images", help="ask of it"
    )
    parser.add_argument("--oracle", action="store_true", help="the second opinion in its place")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: cpu)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")


def main(args: argparse.Namespace) -> None:
    """Print the preprocessing, and each image's answers, to compare with a program of one's own.

    Neither the generator nor the directions are opened.
    """
    check_writable(args.json)
    folder, from_hub = find_domain(args.domain)
    table, name = read_domain_file(folder), CLASSIFIERS[args.oracle]
    found = find_problems(folder, table, from_hub)
    for problem in [*found[name], *found["labels"]]:
        raise GCDError(problem)
    if not isinstance(table.get(name), dict):
        raise GCDError(f"{args.domain} has no [{name}].")
    classifier = open_classifier(folder, table[name], str(choose_device(args.device)))
    questions = [Label.read(*label).question for label in table.get("labels", {}).items()]
    asked = as_far_as_it_can(classifier, questions)
    chain = preprocessing_of(classifier).chain()
    print(f"{name} {classifier.identity} is given the image as: {chain}")
    tried = {str(image): _answers(asked, image, table.get("fit")) for image in args.images}
    for image, answered in tried.items():
        height, width = answered["size"]
        print(f"\n{image} ({height}x{width} pixels)")
        print(f"{'output':24} {'answer':>13} {'probability':>13}")
        for label, (answer, probability) in answered["answers"].items():
            own = "" if probability is None else f"{probability:13.6g}"
            print(f"{label:24} {answer:13.6g} {own}".rstrip())
        for question in questions:
            if question.name in asked.labels:
                odds = answered["questions"][question.name]
                shown = question.shown(1 / (1 + math.exp(-odds)))
                print(f"{question.name}? {shown}, log-odds {odds:.6g}")
    write_json(args.json, {"preprocessing": chain, "images": tried})


@torch.inference_mode()
def _answers(asked: BlackBox, path: Path, fit: Any) -> dict[str, Any]:
    """The picture's size, each output's answer and probability, each question's log-odds."""
    classifier = network_of(asked)
    how = fit if isinstance(fit, str) else "stretch"
    # In colour, so that the classifier's own chain makes it grey, as in a domain of colour images.
    pixels = load_picture(path, 64, 3, how, Environment().max_side).pixels
    logits = classifier(pixels)
    raw = logits.sigmoid() if classifier.output == "probabilities" else logits
    answers: dict[str, tuple[float, float | None]] = {}
    for label, answer in zip(classifier.labels, raw[0].tolist(), strict=True):
        known = classifier.output != "numbers"
        answers[label] = answer, classifier.probability(logits, label).item() if known else None
    odds = asked.read(logits) if isinstance(asked, Questioned) else logits
    told = {label: asked.logit(odds, label).item() for label in asked.labels}
    return {"size": list(pixels.shape[-2:]), "answers": answers, "questions": told}
