"""Kind "exported": a network saved with `torch.export.save` (.pt2).

Such a file is a program: only the operator may choose it, as any other code that runs here.
"""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from gcd_core.classifiers.base import check_keys, digest_of
from gcd_core.classifiers.function import (
    BATCH,
    KEYS,
    OPTIONAL_KEYS,
    Function,
    channels_and_size,
    read_model,
)
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.errors import GCDError


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Load the file that the table's `model` names; see `load_classifier`.

    The program's own input says how many images it takes at once, and mostly `size` and `channels`.
    """
    check_keys(table, {"model": str} | KEYS, OPTIONAL_KEYS)
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
    channels, size = channels_and_size(table, path, shape)
    if torch.device(device).type != "cpu":
        program = torch.export.passes.move_to_device_pass(program, torch.device(device))
    return TorchClassifier(
        Function(program.module(), str(path), least, most),
        tuple(table["labels"]),
        table["output"],
        digest_of(json.dumps(table, sort_keys=True).encode(), data),
        size,
        channels,
        table.get("mean", 0.5),
        table.get("std", 0.5),
        device,
        max(table.get("batch_size", BATCH), least),
    )


def _input(program: ExportedProgram, path: Path) -> tuple[list[int | None], int, int | None]:
    """Shape of the program's one input, None where open, and the fewest and most images at once."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or inputs[0].ndim == 0:
        raise GCDError(f"{path} takes {len(names)} inputs ({names}), not one batch of images.")
    shape = [side if isinstance(side, int) else None for side in inputs[0].shape]
    if shape[0] is not None:
        return shape, shape[0], shape[0]
    allowed = program.range_constraints[inputs[0].shape[0].node.expr]
    most = int(allowed.upper) if allowed.upper < 2**31 else None
    return shape, max(1, int(allowed.lower)), most


@contextmanager
def _quietly() -> Iterator[None]:
    """No tracebacks in the log of what is told in one sentence."""
    logger = logging.getLogger("torch.export")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
