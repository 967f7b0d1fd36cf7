"""A few seconds of timing: how long this machine takes for a picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from gcd_core.classifiers import BlackBox
from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Generator
from gcd_core.generators.diffae.solvers import DISTILLED
from gcd_core.generators.weights import CONFIG_NAME, WEIGHTS_NAME
from gcd_core.new_domain.data import DataSet
from gcd_core.new_domain.plan import Design, Speeds
from gcd_core.perceptual import LPIPS

PICTURES = 4
UNKNOWN = 0.002  # seconds a question takes of a classifier that is yet to be trained
REMOTE = 0.2  # and of one that is asked over a network


@torch.inference_mode()
def measure_speeds(
    data: DataSet, design: Design, classifier: BlackBox | None, device: str
) -> Speeds:
    """Time the generator that is begun with, LPIPS, the classifier, and the reading of files.

    Raises a GCDError if the bundled generator is not there.
    """
    if design.begin is None or not (Path(design.begin) / CONFIG_NAME).is_file():
        raise GCDError(f"The generator to begin with, {design.begin}, is not there.")
    begin = Path(design.begin)
    generator = load_generator(begin / CONFIG_NAME, begin / WEIGHTS_NAME, device)
    start = time.perf_counter()
    pictures = data.look(generator.image_size, 8 * PICTURES)
    read = (time.perf_counter() - start) / len(pictures)
    few = pictures[:PICTURES] if generator.channels == 3 else pictures[:PICTURES].mean(1, True)
    perceptual = LPIPS(device=device)
    spent = {
        "read": read,
        "semantic": _seconds(lambda: generator.encode_semantic(few), len(few)),
        **_of_decoding(generator, few),
        "perceptual": _seconds(lambda: perceptual(few, few), len(few)),
        "classifier": UNKNOWN,
    }
    if classifier is not None:
        remote = classifier.remote
        spent["classifier"] = REMOTE if remote else _seconds(lambda: classifier(few), len(few))
    return Speeds(**spent)


def _of_decoding(generator: Generator, few: torch.Tensor) -> dict[str, float]:
    """Seconds of an evaluation and of the codec's decoder, from decodings of two lengths."""
    latent = generator.encode(few, steps=2)
    short = _seconds(lambda: generator.decode(latent, solver=DISTILLED), len(few))
    long = _seconds(lambda: generator.decode(latent, steps=8), len(few))
    evaluation = max(1e-5, (long - short) / 6)
    return {"evaluation": evaluation, "picture": max(1e-5, short - 2 * evaluation)}


def _seconds(work: Callable[[], object], count: int) -> float:
    """Seconds a picture: the better of two tries."""
    spent = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - start)
    return min(spent) / count
