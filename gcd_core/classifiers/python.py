"""Kind "python": a function of the operator's own, `callable = "module:function"`.

The module lies in the domain's folder, or wherever Python finds it. It runs as any other code here:
only the operator may choose it.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys, digest_of
from gcd_core.classifiers.function import Function, one_line
from gcd_core.classifiers.network import RUN_KEYS, TorchClassifier
from gcd_core.classifiers.preprocessing import SIZE_KEYS
from gcd_core.errors import GCDError

KEYS: Keys = {"callable": str} | SIZE_KEYS | ANSWER_KEYS
OPTIONAL_KEYS: Keys = {"version": str} | RUN_KEYS
AS_IT_IS = {"mean": 0.0, "std": 1.0}  # the function sees [0, 1] unless the table says more


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Import the function that the table's `callable` names; see `load_classifier`.

    It is given a Tensor (N, channels, size, size), float32, on `device`, in [0, 1] unless the table
    says more, and returns a Tensor or an array (N, L) of what `output` says. The
    identity follows the module's source; change the table's `version` when something else that the
    function reads has changed.
    """
    check_keys(table, KEYS, OPTIONAL_KEYS)
    module, function = _imported(table["callable"], folder)
    network = Function(lambda images: torch.as_tensor(function(images)), table["callable"])
    source = inspect.getsourcefile(module)
    identity = digest_of(table, Path(source).read_bytes() if source else b"")
    return TorchClassifier.from_table(
        network, ({} if "scale" in table else AS_IT_IS) | table, identity, device
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
            f"The classifier's 'callable' {target!r} cannot be imported: {one_line(error)}"
        ) from error
    if not callable(function):
        raise GCDError(
            f"The classifier's 'callable' {target!r} is a {type(function).__name__}, no function."
        )
    return module, function


def _module(name: str, folder: Path) -> ModuleType:
    """Import a module: a file of the domain's folder under a name of its own, else any module."""
    path = folder / f"{name}.py"
    if not path.is_file():
        return importlib.import_module(name)
    own = f"_classifier_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}_{name}"
    spec = importlib.util.spec_from_file_location(own, path)
    assert spec is not None and spec.loader is not None  # a file that ends in .py has a loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # where dataclasses and pickle look
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the folder's modules be imported before all others."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
