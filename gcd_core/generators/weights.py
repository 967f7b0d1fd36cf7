"""Weights files: the official checkpoints' kinds read, ours written, everything else refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write, write_json
from gcd_core.pickles import PICKLE_SUFFIXES, read_pickle

INDEX_SUFFIX = ".safetensors.index.json"
STEM = "generator"  # of the files that training writes
CONFIG_NAME, WEIGHTS_NAME = f"{STEM}.json", STEM + INDEX_SUFFIX
EMA = "ema_model."
PARTS = (
    "codec",
    "whitening",
    "semantic_mean",
    "distilled",
)  # what may lie beside the DiffAE's own weights
# What an official checkpoint holds beside its averaged weights.
BESIDE_EMA = ("model.", "x_T", "conds_mean", "conds_std")
MAX_SHARD_BYTES = 10 * 2**20 - 2**16


@dataclass(frozen=True)
class GeneratorWeights:
    """The weights of a generator's parts, by the names that each part gives them; {} for none."""

    # The DiffAE's U-Net and encoder (in the files: ``ema_model.*``).
    diffae: Mapping[str, Tensor] = field(default_factory=dict)
    # What lies beside it (in the files: ``codec.*``, ``whitening.*``, ``semantic_mean.*``,
    # ``distilled.*``). A plain autoencoder is a codec and a whitening.
    codec: Mapping[str, Tensor] = field(default_factory=dict)
    whitening: Mapping[str, Tensor] = field(default_factory=dict)
    semantic_mean: Mapping[str, Tensor] = field(default_factory=dict)
    distilled: Mapping[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Tensor]:
        """All of them, under the names that they have in a file."""
        state = {EMA + name: value for name, value in self.diffae.items()}
        for part in PARTS:
            state |= {f"{part}.{name}": value for name, value in getattr(self, part).items()}
        return state


def read_weights(path: str | Path) -> GeneratorWeights:
    """Read a weights file.

    Raises a GCDError if the file is absent, of another kind, damaged, or holds anything but
    tensors.

    Parameters
    ----------
    path
        ``.safetensors``, an index of shards (``*.safetensors.index.json``), or ``.ckpt``, ``.pt``,
        ``.pth``: a state dict, or a Lightning checkpoint with one under ``state_dict``. Pickles
        are read as plain tensors only (``weights_only=True``).

    Returns
    -------
    The weights in float32. If there are averaged weights (``ema_model.*``), these are the
    DiffAE's; the raw ``model.*`` and ``x_T`` beside them are left.
    """
    state = read_tensors(path)
    beside: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    rest = {}
    for name, value in state.items():
        part, _, inner = name.partition(".")
        if inner and part in beside:
            beside[part][inner] = value
        else:
            rest[name] = value
    if any(name.startswith(EMA) for name in rest):
        rest = {k: v for k, v in rest.items() if k.startswith(EMA) or not k.startswith(BESIDE_EMA)}
    return GeneratorWeights({k.removeprefix(EMA): v for k, v in rest.items()}, **beside)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict, in float32, from a file of any kind that `read_weights` takes.

    Raises a GCDError if the file is absent, of another kind, damaged, or holds anything but float
    tensors.
    """
    path = Path(path)
    state = _read(path)
    for name, value in state.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
            raise GCDError(
                f"{path.name} holds {kind} under {name!r}; expected a state dict of float tensors."
            )
    return {name: value.float() for name, value in state.items()}


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor], what: str) -> None:
    """Load ``weights`` into ``model``; raise :class:`GCDError` unless all names and shapes match.

    ``model`` may be on the meta device: it takes the tensors over.
    """
    expected = model.state_dict()
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    if missing or unexpected:
        found = ", ".join(
            f"{len(names)} {kind} ({_named(names)})"
            for names, kind in ((missing, "missing"), (unexpected, "unexpected"))
            if names
        )
        raise GCDError(
            f"The weights do not fit the {what} that the configuration describes: of "
            f"{len(expected)} names expected and {len(weights)} found, {found}; "
            "give the configuration that belongs to these weights."
        )
    for name, tensor in expected.items():
        if weights[name].shape != tensor.shape:
            raise GCDError(
                f"The weights do not fit the {what} that the configuration describes: {name} is "
                f"{tuple(weights[name].shape)}, expected {tuple(tensor.shape)}; "
                "give the configuration that belongs to these weights."
            )
    model.load_state_dict(weights, assign=True)


def load_latent_statistics(path: str | Path) -> tuple[Tensor, Tensor]:
    """Read the mean and standard deviation (D,) of z_sem.

    Raises a GCDError if the file cannot be read safely or lacks one of the two.

    Parameters
    ----------
    path
        ``.safetensors`` with the tensors ``mean`` and ``std``, or an official ``latent.pkl``, where
        they are ``conds_mean`` and ``conds_std``; each kind of file may have either names.
    """
    path = Path(path)
    table: Mapping = _read_safetensors(path) if path.suffix == ".safetensors" else read_pickle(path)
    official = table.get("conds_mean"), table.get("conds_std")
    ours = table.get("mean"), table.get("std")
    for mean, std in (official, ours):
        if isinstance(mean, Tensor) and isinstance(std, Tensor):
            return mean.float().flatten(), std.float().flatten()
    raise GCDError(
        f"{path.name} holds {_named(table)}; expected the tensors 'conds_mean' and 'conds_std', or "
        "'mean' and 'std'."
    )


def save_sharded(
    state: Mapping[str, Tensor],
    folder: str | Path,
    name: str,
    max_bytes: int = MAX_SHARD_BYTES,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write ``state`` as safetensors shards of at most ``max_bytes`` with an index.

    Raises a GCDError if one tensor alone is larger than ``max_bytes``, or a file cannot be written;
    the files that were there are as before then.

    Parameters
    ----------
    state
        Names and tensors, written in this order as ``dtype``.
    folder, name
        Where, and the stem: ``name-00001-of-00002.safetensors``, ``name.safetensors.index.json``.
        Files appear under these names when all of them are complete, the index last; shards of an
        earlier, other number go.

    Returns
    -------
    The index's path, which :func:`read_weights` takes.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards(state, max_bytes, dtype)
    names = [f"{name}-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    weight_map = {key: file for file, shard in zip(names, shards, strict=True) for key in shard}
    total = sum(tensor.nbytes for shard in shards for tensor in shard.values())
    table = {"metadata": {"total_size": total}, "weight_map": weight_map}
    index = folder / (name + INDEX_SUFFIX)

    # Nothing is moved to its place until all is written: new shards beside an old index, or the
    # reverse, would load as a mixture. What is entered first is moved last.
    with ExitStack() as files:
        place = files.enter_context(atomic_write(index))
        place.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        for file, shard in zip(names, shards, strict=True):
            place = files.enter_context(atomic_write(folder / file))
            place.write_bytes(save(shard, metadata={"format": "pt"}))
    for stale in folder.glob(f"{name}-?????-of-?????.safetensors"):
        if stale.name not in names:
            stale.unlink()
    return index


def save_generator(config: Mapping, weights: GeneratorWeights, folder: str | Path) -> None:
    """Write a generator's files, as training names them: the shards, their index, then the JSON.

    Raises a GCDError as :func:`save_sharded`.
    """
    folder = Path(folder)
    save_sharded(weights.state_dict(), folder, STEM)
    write_json(folder / CONFIG_NAME, config)


def _shards(
    state: Mapping[str, Tensor], max_bytes: int, dtype: torch.dtype
) -> list[dict[str, Tensor]]:
    """The tensors in order, as ``dtype`` on the CPU, in as few files as hold them."""
    header = 4096
    shards: list[dict[str, Tensor]] = [{}]
    room = max_bytes - header
    for key, tensor in state.items():
        tensor = tensor.detach().to("cpu", dtype).contiguous()
        size = tensor.nbytes + len(key) + 128  # its entry in the file's header too
        if size > max_bytes - header:
            raise GCDError(
                f"The tensor {key!r} takes {size} bytes, more than a shard of {max_bytes} holds; "
                "allow larger shards or make the model smaller."
            )
        if size > room:
            shards.append({})
            room = max_bytes - header
        shards[-1][key] = tensor
        room -= size
    return shards


def _named(names: Iterable[str], most: int = 3) -> str:
    """The first few of the names, for a message."""
    names = [str(name) for name in names]
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "") or "nothing"


def _read(path: Path) -> dict[str, Tensor]:
    """All that a file of any of the kinds holds; whether it is tensors is not looked at."""
    if not path.is_file():
        raise GCDError(f"There is no weights file {path}; check the name.")
    if path.name.endswith(INDEX_SUFFIX):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLE_SUFFIXES:
        state = read_pickle(path)
        inner = state.get("state_dict", state)
        if not isinstance(inner, Mapping):
            raise GCDError(f"{path.name} holds no state dict under 'state_dict'; give one.")
        return dict(inner)
    raise GCDError(
        f"{path.name} is not a kind of weights file that is known; give .safetensors, "
        f"{INDEX_SUFFIX}, .ckpt, .pt or .pth."
    )


def _read_safetensors(path: Path, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """All tensors of a safetensors file, or those named."""
    try:
        with safe_open(path, framework="pt") as file:
            present = set(file.keys())
            wanted = sorted(present) if names is None else list(names)
            absent = [name for name in wanted if name not in present]
            if absent:
                raise GCDError(
                    f"The shard {path.name} lacks {_named(absent)}, which its index names; "
                    "fetch the weights again."
                )
            return {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise GCDError(
            f"{path.name} is not a readable safetensors file ({error}); fetch it again, whole."
        ) from None


def _read_shards(index: Path) -> dict[str, Tensor]:
    """All tensors of the shards beside an index."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards: dict[str, list[str]] = {}
        for name, file in weight_map.items():
            shards.setdefault(file, []).append(name)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise GCDError(
            f"{index.name} is not an index of shards; expected JSON with a 'weight_map' from "
            "tensor names to file names."
        ) from None
    state: dict[str, Tensor] = {}
    for file, names in shards.items():
        plain = isinstance(file, str) and not {"/", "\\", ":", "\0"} & set(file)
        if not plain or not file.endswith(".safetensors"):
            raise GCDError(
                f"{index.name} names the shard {file!r}; expected the plain name of a .safetensors "
                "file in the same folder."
            )
        if not (index.parent / file).is_file():
            raise GCDError(f"The shard {file} is missing beside {index.name}; fetch it too.")
        state |= _read_safetensors(index.parent / file, names)
    return state
