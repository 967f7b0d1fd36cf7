"""PyTorch's own files (.pt, .pth, .ckpt, .tar) read as plain tensors: nothing in them can run."""

import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gcd_core.errors import GCDError

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".pkl", ".tar")


class _Inert:
    """Stands in for a Lightning class that a checkpoint mentions; does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass


def read_pickle(path: Path) -> dict[str, Any]:
    """Read a pickle of tensors and plain containers, nothing else.

    Checkpoints of old Lightning versions mention classes of its own (as keys of callback states);
    an inert class stands in for each. Any other class is refused by PyTorch's restricted reader.
    """
    if not path.is_file():
        raise GCDError(f"There is no file {path}; check the name.")
    mentioned: list[str] = []
    try:
        if zipfile.is_zipfile(path):  # older formats cannot be asked, and need not be Lightning's
            mentioned = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        lightning: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
            (type("Inert", (_Inert,), {}), name)
            for name in mentioned
            if name.split(".")[0] in ("pytorch_lightning", "lightning")
        ]
        with torch.serialization.safe_globals(lightning):
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
