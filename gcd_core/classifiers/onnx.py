"""Kind "onnx": a network in an ONNX file, run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys, digest_of
from gcd_core.classifiers.function import Function, one_line, read_model, with_input
from gcd_core.classifiers.network import RUN_KEYS, TorchClassifier
from gcd_core.errors import GCDError

KEYS: Keys = {"model": str} | ANSWER_KEYS
OPTIONAL_KEYS: Keys = {"answer": str} | RUN_KEYS
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FLOATS = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
}


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Load the file that the table's `model` names; see `load_classifier`.

    The model's own input says how many images it takes at once, and mostly `size` and `channels`;
    both (N, C, H, W) and (N, H, W, C) are understood. Of several outputs, `answer` names the one.
    On a CUDA device, CUDA is used where this ONNX Runtime has it.
    """
    check_keys(table, KEYS, OPTIONAL_KEYS)
    _runtime(table["model"])
    path, data = read_model(folder, table["model"])
    network, shape = open_network(path, device, table.get("answer"))
    settings = with_input(table, path, shape, network.least)
    identity = digest_of(table, data, *_beside(path, data))
    return TorchClassifier.from_table(network, settings, identity, device)


def open_network(
    path: Path, device: str | torch.device, answer: str | None = None
) -> tuple[Function, list[int | None]]:
    """Open an ONNX file as a function of images, with the shape that it takes.

    Raises a GCDError if ONNX Runtime is missing or cannot run the file, the file does not take one
    batch of images, or the output is not clear.

    Parameters
    ----------
    answer : str, optional
        The name of the output, where there are several.

    Returns
    -------
    network : Function
        Images (N, ...) to a Tensor (N, D), on the CPU.
    shape : list of (int or None)
        Of its input; None where any number will do.
    """
    ort = _runtime(path.name)
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors are told here
    options.intra_op_num_threads = torch.get_num_threads()
    providers = _providers(torch.device(device), ort.get_available_providers())
    try:
        session = ort.InferenceSession(path, options, providers)
    except Exception as error:  # of several unrelated classes
        raise GCDError(
            f"{path} is not an ONNX file that ONNX Runtime {ort.__version__} can run: "
            f"{one_line(error)}"
        ) from error
    source = _input(session, path)
    shape = [side if isinstance(side, int) else None for side in source.shape]
    target = _output(session, path, answer)
    least = (shape[0] if shape else None) or 1

    def ask(images: Tensor) -> Tensor:
        pixels = np.ascontiguousarray(images.cpu().numpy(), dtype=FLOATS[source.type])
        return torch.from_numpy(session.run([target], {source.name: pixels})[0])

    return Function(ask, str(path), least, most=shape[0] if shape else None), shape


def _runtime(name: str) -> Any:
    """ONNX Runtime; a GCDError says which file needs it where it is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise GCDError(f"{name} needs ONNX Runtime ({error}): pip install onnxruntime.") from error
    return onnxruntime


def _providers(device: torch.device, available: list[str]) -> list[str | tuple[str, dict]]:
    """Return the execution providers: CUDA where device and ONNX Runtime have it, then the CPU."""
    if device.type == "cuda" and CUDA in available:
        return [(CUDA, {"device_id": device.index or 0}), CPU]
    return [CPU]


def _input(session: Any, path: Path) -> Any:
    """The model's input."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = [node.name for node in inputs]
        raise GCDError(f"{path} takes {len(inputs)} inputs ({names}), not one batch of images.")
    if inputs[0].type not in FLOATS:
        raise GCDError(
            f"{path} takes {inputs[0].type}; a classifier's images are one of {', '.join(FLOATS)}."
        )
    return inputs[0]


def _output(session: Any, path: Path, name: str | None) -> str:
    names = [node.name for node in session.get_outputs()]
    if name is None and len(names) == 1:
        return names[0]
    if name is None or name not in names:
        given = "no 'answer'" if name is None else f"answer = {name!r}"
        raise GCDError(f"{path} has the outputs {names}, and the table {given}; name one of them.")
    return name


def _beside(path: Path, data: bytes) -> list[bytes]:
    """Return the files that the model names beside itself: its external weights."""
    files = sorted(p for p in path.parent.iterdir() if p.is_file() and p.name != path.name)
    return [file.read_bytes() for file in files if file.name.encode() in data]
