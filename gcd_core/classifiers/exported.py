"""Kind "exported": a network saved with `torch.export.save` (.pt2).

Such a file is a program: only the operator may choose it, as any other code that runs here.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys, digest_of
from gcd_core.classifiers.function import Function, read_model, with_input
from gcd_core.classifiers.network import RUN_KEYS, TorchClassifier
from gcd_core.errors import GCDError

KEYS: Keys = {"model": str} | ANSWER_KEYS
OPTIONAL_KEYS = RUN_KEYS


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Load the file that the table's `model` names; see `load_classifier`.

    The program's own input says how many images it takes at once, and mostly `size` and `channels`.
    """
    check_keys(table, KEYS, OPTIONAL_KEYS)
    path, data = read_model(folder, table["model"])
    try:
        with _quietly():
            program = torch.export.load(io.BytesIO(data))
    except Exception as error:  # a damaged file can raise anything
        raise GCDError(
            f"{path} is not a whole exported program that this PyTorch ({torch.__version__}) can "
            "read; save it again with torch.export.save."
        ) from error
    shape, least, most = _input(program, path)
    settings = with_input(table, path, shape, least)
    if torch.device(device).type != "cpu":
        program = move_to_device_pass(program, torch.device(device))
    network = Function(program.module(), str(path), least, most)
    return TorchClassifier.from_table(network, settings, digest_of(table, data), device)


def _input(program: ExportedProgram, path: Path) -> tuple[list[int | None], int, int | None]:
    """Shape of the program's one input, None where open, and the fewest and most images at once."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].ndim == 0:
        raise GCDError(f"{path} takes {len(names)} inputs ({names}), not one batch of images.")
    sides: list[int | torch.SymInt] = list(inputs[0].shape)
    shape = [side if isinstance(side, int) else None for side in sides]
    if isinstance(sides[0], int):
        return shape, sides[0], sides[0]
    allowed = program.range_constraints[sides[0].node.expr]
    most = int(allowed.upper) if allowed.upper < 2**31 else None
    return shape, max(1, int(allowed.lower)), most


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep torch's tracebacks out of the log: the error is told in one sentence."""
    logger = logging.getLogger("torch.export")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
