"""Kind "torchscript": a network saved with `torch.jit.save`.

Such a file is a program: only the operator may choose it, as any other code that runs here.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import torch

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys, digest_of
from gcd_core.classifiers.function import Function, read_model
from gcd_core.classifiers.network import RUN_KEYS, TorchClassifier
from gcd_core.classifiers.preprocessing import SIZE_KEYS
from gcd_core.errors import GCDError

KEYS: Keys = {"model": str} | SIZE_KEYS | ANSWER_KEYS


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Load the file that the table's `model` names; see `load_classifier`."""
    check_keys(table, KEYS, RUN_KEYS)
    path, data = read_model(folder, table["model"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the format is old, and still about
            program = torch.jit.load(io.BytesIO(data), map_location=torch.device(device))
    except RuntimeError as error:
        raise GCDError(
            f"{path} is not a whole TorchScript file; save the network with torch.jit.save, or use "
            'kind = "torch" for a state dict.'
        ) from error
    program.eval()
    network = Function(program, str(path))
    return TorchClassifier.from_table(network, table, digest_of(table, data), device)
