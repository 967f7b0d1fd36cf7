"""A function used as a network: for exported, scripted and hand-written models."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gcd_core.classifiers.network import BATCH
from gcd_core.classifiers.preprocessing import CHANNELS_FIRST, CHANNELS_LAST, sides_of
from gcd_core.errors import GCDError

MAX_ERROR_CHARACTERS = 400  # characters of another's error


class Function(nn.Module):
    """A function as a network; its exceptions become errors that quote the function's message.

    Parameters
    ----------
    function : callable
        Images (N, C, H, W) to a Tensor (N, L).
    name : str
        What an error calls it.
    least, most : int, optional
        How many images it takes at once. Fewer are filled up with copies of the last one, whose
        answers are dropped; more are split.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        name: str,
        least: int = 1,
        most: int | None = None,
    ) -> None:
        super().__init__()
        self._ask = lambda images: function(images)  # a Module here would become a part of this one
        self._name, self.least, self._most = name, least, most

    def forward(self, images: Tensor) -> Tensor:
        """The answers (N, L) to images (N, C, H, W)."""
        return torch.cat([self._answer(part) for part in images.split(self._most or len(images))])

    def _answer(self, images: Tensor) -> Tensor:
        count = len(images)
        if count < self.least:
            images = torch.cat([images, images[-1:].expand(self.least - count, -1, -1, -1)])
        try:
            answer = self._ask(images)
        except GCDError:
            raise
        except Exception as error:  # whatever the operator's model raises
            raise GCDError(
                f"{self._name} failed on images {tuple(images.shape)}."
                f"{self._if_alone(images)} {one_line(error)}"
            ) from error
        answer = self._tensor_of(answer)
        if len(images) == 1 and answer.shape[:1] != (1,):  # `squeeze` takes that dimension too
            answer = answer[None]
        if answer.shape[:1] != (len(images),):
            raise GCDError(
                f"{self._name} answered {tuple(answer.shape)} to {len(images)} images; it should "
                f"answer one row for each.{self._if_alone(images)}"
            )
        return answer[:count]

    def _tensor_of(self, answer: Any) -> Tensor:
        """The answer, or what is called "logits", or is the only tensor, of several things."""
        if isinstance(answer, Tensor):
            return answer
        named = answer if isinstance(answer, Mapping) else {}
        parts = list(named.values()) if named else answer
        tensors = [p for p in parts if isinstance(p, Tensor)] if isinstance(parts, Sequence) else []
        found = named.get("logits", tensors[0] if len(tensors) == 1 else None)
        if not isinstance(found, Tensor):
            raise GCDError(
                f"{self._name} answered a {type(answer).__name__}, not a tensor (N, labels); use "
                'kind = "python" with a function that returns the one that is meant.'
            )
        return found

    def _if_alone(self, images: Tensor) -> str:
        """What to write where the function takes one image at a time only; else nothing."""
        if len(images) == 1:
            return ""
        try:
            alone = self._ask(images[:1])
        except Exception:  # then it is something else
            return ""
        if not isinstance(alone, Tensor) or alone.shape[:1] != (1,):
            return ""
        return (
            " One image alone it takes: write batch_size = 1 into the classifier's table of "
            "domain.toml."
        )


def one_line(error: BaseException) -> str:
    """An exception's message on one line; of a traceback in it, the last line."""
    name = type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if any(line.startswith("Traceback") for line in lines):
        line = lines[-1]
    else:
        line = f"{name}: {' '.join(lines)}" if lines else name
    return line if len(line) <= MAX_ERROR_CHARACTERS else f"{line[:MAX_ERROR_CHARACTERS]}..."


def with_input(
    table: Mapping[str, Any], path: Path, shape: Sequence[int | None], least: int = 1
) -> dict[str, Any]:
    """Return the table, completed by what the model's file says of its input.

    Parameters
    ----------
    table : mapping
        The classifier's table, with "channels" and "size" where the file leaves them open.
    path : Path
        The file, for errors.
    shape : sequence of int or None
        Of the model's input, (N, C, H, W) or (N, H, W, C); None is open. Which of the two it is
        says the table's "layout", else the place where the shape has 1 or 3.
    least : int
        The fewest images that it takes at once; `batch_size` is raised to as many.

    Raises
    ------
    GCDError
        If the model takes no images, both are silent, or they contradict each other.
    """
    if len(shape) != 4:
        shown = tuple("any" if side is None else side for side in shape)
        raise GCDError(f"{path} takes inputs {shown}, not images (N, C, H, W) or (N, H, W, C).")
    last = shape[1] not in (1, 3) and shape[3] in (1, 3)
    layout = table.get("layout", CHANNELS_LAST if last else CHANNELS_FIRST)
    _, channels, height, width = shape
    if layout == CHANNELS_LAST:
        _, height, width, channels = shape
    height, width = height or width, width or height
    size = height if height == width else [height, width]
    if size is not None and "size" in table and sides_of(table["size"]) == sides_of(size):
        size = table["size"]
    return {
        **table,
        "channels": _agreed(table, path, "channels", channels),
        "size": _agreed(table, path, "size", size),
        "layout": layout,
        "batch_size": max(table.get("batch_size", BATCH), least),
    }


def _agreed(table: Mapping[str, Any], path: Path, key: str, stated: Any) -> Any:
    if key not in table and stated is None:
        raise GCDError(f"The classifier's table lacks the key {key!r}, which {path} leaves open.")
    if stated is not None and table.get(key, stated) != stated:
        raise GCDError(f"{path} takes {key} = {stated}, not {table[key]}, as the table says.")
    return table.get(key, stated)


def read_model(folder: Path, name: str) -> tuple[Path, bytes]:
    """The path and the bytes of a model's file; a GCDError if there is none."""
    path = folder / name
    if not path.is_file():
        raise GCDError(f"The classifier's model {path} does not exist.")
    return path, path.read_bytes()
