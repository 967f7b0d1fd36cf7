"""The kinds of classifier by name, and the one that a domain's table describes.

A kind is one file with a function `load(table, folder, device)`, named in `KINDS`.
"""

import importlib
from pathlib import Path
from typing import Any

import torch

from gcd_core.classifiers.base import BlackBox, check_keys
from gcd_core.classifiers.cache import AnswerCache
from gcd_core.errors import GCDError

KINDS = {
    "torch": "gcd_core.classifiers.checkpoint",
    "safetensors": "gcd_core.classifiers.checkpoint",
    "torchscript": "gcd_core.classifiers.torchscript",
    "exported": "gcd_core.classifiers.exported",
    "onnx": "gcd_core.classifiers.onnx",
    "transformers": "gcd_core.classifiers.transformers",
    "python": "gcd_core.classifiers.python",
    "http": "gcd_core.classifiers.http",
    "hf-inference": "gcd_core.classifiers.inference_api",
}
RUNS_CODE = frozenset({"python", "torchscript", "exported"})  # kinds whose files are programs


def load_classifier(
    table: dict[str, Any], folder: str | Path, device: str | torch.device = "cpu"
) -> BlackBox:
    """Build the classifier that a domain describes.

    Parameters
    ----------
    table : dict
        The `[classifier]` (or `[oracle]`) table of a domain.toml; its `kind` decides the rest.
        Every kind may have `budget`, the most images that it is asked each time the program runs,
        and `cache`, whether its answers are kept on disk (by default those of remote kinds are).
    folder : str or Path
        The domain's folder, where the files that the table names lie.
    device : str or torch.device
        Where it runs.

    Raises
    ------
    GCDError
        If a key is missing or unknown (the message names it), or a file does not fit.
    """
    kind = table.get("kind")
    if kind not in KINDS:
        raise GCDError(f"The classifier's kind is one of {sorted(KINDS)}, not {kind!r}.")
    common = {key: value for key, value in table.items() if key in ("budget", "cache")}
    own = {key: value for key, value in table.items() if key not in common}
    check_keys(common, {}, {"budget": int, "cache": bool})
    if common.get("budget", 0) < 0:
        raise GCDError(f"A classifier's budget is 0 or more images, not {common['budget']}.")
    classifier = importlib.import_module(KINDS[kind]).load(own, Path(folder), device)
    classifier.budget = common.get("budget")
    if common.get("cache", classifier.remote):
        classifier.cache = AnswerCache()
    return classifier
