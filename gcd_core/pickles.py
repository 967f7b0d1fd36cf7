"""PyTorch's own files (.pt, .pth, .ckpt, .tar) read as plain tensors: nothing in them can run."""

import codecs
import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from gcd_core.errors import GCDError

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".pkl", ".tar")
LIGHTNING = ("pytorch_lightning", "lightning")


class _Inert:
    """Stands in for a class that a checkpoint mentions; does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_pickle(path: Path, inert: tuple[str, ...] = LIGHTNING) -> dict[str, Any]:
    """Read a pickle of tensors and plain containers, nothing else.

    Checkpoints mention classes of the program that wrote them, beside the tensors; an inert class
    stands in for each that is of the packages `inert`, by default those of old Lightning versions.
    Any other class is refused by PyTorch's restricted reader.
    """
    if not path.is_file():
        raise GCDError(f"There is no file {path}; check the name.")
    mentioned: list[str] = []
    try:
        if zipfile.is_zipfile(path):  # older formats cannot be asked, and need not be Lightning's
            mentioned = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        stand_ins: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
            (type("Inert", (_Inert,), {}), name)
            for name in mentioned
            if name.split(".")[0] in inert
        ]
        with torch.serialization.safe_globals(stand_ins):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        refused = re.search(r"GLOBAL (\S+)", str(error))
        if refused:
            raise GCDError(
                f"{path.name} holds Python objects ({refused[1]}) beside tensors, which could run "
                "code when read; save its state dict alone, or as .safetensors."
            ) from None
        raise GCDError(
            f"{path.name} is not a readable checkpoint: it is cut short or another kind of file; "
            "fetch it again, or give .safetensors, .ckpt or .pt."
        ) from None
    if not isinstance(content, Mapping):
        raise GCDError(
            f"{path.name} holds a {type(content).__name__}; expected a dictionary of tensors."
        )
    return dict(content)


def read_module_pickle(path: Path, key: str) -> dict[str, Tensor]:
    """Read one network's tensors from a pickle of whole modules, as NVIDIA's StyleGANs come.

    As `read_module`, whose tensors by their names in the network it returns.
    """
    return module_tensors(read_module(path, key))


def read_module(path: Path, key: str, inert: tuple[str, ...] = ()) -> Mapping[str, Any]:
    """Read one network's parts from a pickle of whole modules, as NVIDIA's StyleGANs come.

    Such a file carries its networks' Python source, which its own reader runs. Here nothing runs:
    what would become an object becomes the table of its parts, and only tensors, arrays and plain
    containers are made. Raises a GCDError if the file is absent, another kind of file, or holds any
    other Python object.

    Parameters
    ----------
    path : Path
    key : str
        The network in the file's table, such as "G_ema".
    inert : tuple of str
        Packages whose classes and functions the file may mention beside: a table of parts, which
        nothing can run, stands in for each.

    Returns
    -------
    Mapping
        The network's attributes by name; ``_parameters``, ``_buffers`` and ``_modules`` are tables.
    """
    content = _read(path, inert)
    network = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(network, Mapping):
        raise GCDError(f"{path.name} holds no network {key!r}; give one that has it.")
    return network


def module_tensors(module: Mapping[str, Any]) -> dict[str, Tensor]:
    """Parameters and buffers by their names in a network that `read_module` read."""
    return dict(_tensors_of(module))


def read_array_pickle(path: Path) -> dict[str, Tensor]:
    """Read a pickled table of NumPy arrays, such as VGGFace2's weights; nothing in it runs.

    Raises a GCDError if the file is absent, another kind of file, or holds any other Python object.
    """
    content = _read(path)
    if not isinstance(content, Mapping):
        raise GCDError(f"{path.name} holds no table of arrays.")
    arrays = {str(name): value for name, value in content.items()}
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise GCDError(f"{path.name} holds other things than numbers under {name!r}.")
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


class _Fields(dict):
    """What an object's parts are read into."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, Mapping):
            self.update(state)


def _parts_of(meta: Mapping[str, Any]) -> _Fields:
    """In the place of NVIDIA's function that runs a module's source: its parts alone."""
    return _Fields(meta["state"])


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _scalar(dtype: np.dtype, content: bytes) -> Any:
    """In the place of NumPy's function: one number, and nothing else."""
    return np.frombuffer(content, dtype)[0].item()


def _array(make: object, parts: tuple, state: tuple, attributes: object = None) -> np.ndarray:
    """In the place of dill's function: an array of a kind, shape and type, with its content."""
    array = _empty_array(*parts)
    array.__setstate__(state)
    return array


def _empty_array(kind: type, shape: tuple, dtype: Any) -> np.ndarray:
    """In the place of NumPy's function: an array that its state is then given to."""
    return np.ndarray.__new__(np.ndarray, shape, dtype)


class _Mentioned(_Fields):
    """Stands in for a class or function that a pickle mentions; it takes what that was given."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()


class _ModuleReader(pickle.Unpickler):
    """A reader of pickles that makes tensors and containers, and refuses all else."""

    MADE: Mapping[tuple[str, str], Any] = {
        ("torch_utils.persistence", "_reconstruct_persistent_obj"): _parts_of,
        ("dnnlib.util", "EasyDict"): _Fields,
        ("collections", "OrderedDict"): OrderedDict,
        ("builtins", "set"): set,
        ("torch", "Size"): torch.Size,
        ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
        ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
        ("torch.storage", "_load_from_bytes"): _storage,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): _empty_array,
        ("numpy._core.multiarray", "_reconstruct"): _empty_array,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("dill._dill", "_create_array"): _array,
        ("_codecs", "encode"): codecs.encode,
    }

    def __init__(self, file: BinaryIO, inert: tuple[str, ...] = ()) -> None:
        super().__init__(file, encoding="latin1")
        self._inert = inert

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for.

        Raises a GCDError if that is nothing a network's tensors are made of.
        """
        if (module, name) not in self.MADE:
            if any(f"{module}.".startswith(f"{package}.") for package in self._inert):
                return _Mentioned
            raise GCDError(
                f"The pickle holds Python objects ({module}.{name}) beside networks and tensors, "
                "which could run code when read; save the network's state dict as .safetensors."
            )
        return self.MADE[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """Refuse what lies outside the pickle."""
        raise GCDError("The pickle refers to something outside itself; give a whole one.")


def _read(path: Path, inert: tuple[str, ...] = ()) -> Any:
    """What a file's pickle makes, by a reader that refuses what could run code."""
    if not path.is_file():
        raise GCDError(f"There is no file {path}; check the name.")
    try:
        with path.open("rb") as file:
            return _ModuleReader(file, inert).load()
    except GCDError:
        raise
    except Exception:  # a damaged pickle can raise anything
        raise GCDError(
            f"{path.name} is not a readable pickle of networks: it is cut short or another kind of "
            "file; fetch it again."
        ) from None


def _tensors_of(module: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a module's parts and of those of the modules in it, by name."""
    found = []
    for table in ("_parameters", "_buffers"):
        for name, value in (module.get(table) or {}).items():
            if isinstance(value, Tensor):
                found.append((prefix + name, value.detach()))
    for name, inner in (module.get("_modules") or {}).items():
        if isinstance(inner, Mapping):
            found += _tensors_of(inner, f"{prefix}{name}.")
    return found
