"""Kind "python": a function of the operator's own, `callable = "module:function"`.

The module lies in the domain's folder, or wherever Python finds it. It runs as any other code here:
only the operator may choose it.
"""

import hashlib
import importlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gcd_core.classifiers.base import check_keys, digest_of
from gcd_core.classifiers.function import BATCH, KEYS, OPTIONAL_KEYS, Function, in_words
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.errors import GCDError

REQUIRED = {"callable": str, "size": int, "channels": int} | KEYS


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Import the function that the table's `callable` names; see `load_classifier`.

    It is given a Tensor (N, channels, size, size), float32, on `device`, in [0, 1] unless the table
    sets `mean` and `std`, and returns a Tensor or an array (N, L) of what `output` says. The
    identity follows the module's source; change the table's `version` when something else that the
    function reads has changed.
    """
    check_keys(table, REQUIRED, OPTIONAL_KEYS | {"version": str})
    module, function = _imported(table["callable"], folder)
    source = inspect.getsourcefile(module)
    return TorchClassifier(
        Function(lambda images: torch.as_tensor(function(images)), table["callable"]),
        tuple(table["labels"]),
        table["output"],
        digest_of(
            json.dumps(table, sort_keys=True).encode(),
            Path(source).read_bytes() if source else b"",
        ),
        table["size"],
        table["channels"],
        table.get("mean", 0.0),
        table.get("std", 1.0),
        device,
        table.get("batch_size", BATCH),
    )


def _imported(target: str, folder: Path) -> tuple[ModuleType, Callable[[Tensor], Any]]:
    """The module and the function of "module:function"."""
    name, colon, attribute = target.partition(":")
    if not (name and colon and attribute):
        raise GCDError(f"The classifier's 'callable' is \"module:function\", not {target!r}.")
    try:
        with _importable(folder):
            module = _module(name, folder)
        function: Any = module
        for part in attribute.split("."):
            function = getattr(function, part)
    except Exception as error:  # whatever the operator's module does when it is imported
        raise GCDError(
            f"The classifier's 'callable' {target!r} cannot be imported: {in_words(error)}"
        ) from error
    if not callable(function):
        raise GCDError(
            f"The classifier's 'callable' {target!r} is a {type(function).__name__}, no function."
        )
    return module, function


def _module(name: str, folder: Path) -> ModuleType:
    """The module of a name: one file in the folder, apart from those of other domains, or any."""
    path = folder / f"{name}.py"
    if not path.is_file():
        return importlib.import_module(name)
    own = f"_classifier_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}_{name}"
    spec = importlib.util.spec_from_file_location(own, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # where dataclasses and pickle look
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """The folder's modules can be imported, before all others."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
