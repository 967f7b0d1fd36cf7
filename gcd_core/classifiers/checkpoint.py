"""Kind "torch" (or "safetensors"): an architecture known by name, and its weights in a file.

A file is read as tensors only, so that nothing in it can run; one exception is a torchxrayvision
model whose file the table does not name: that library fetches and unpickles its own release.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys, digest_of, names_of
from gcd_core.classifiers.network import RUN_KEYS, TorchClassifier
from gcd_core.classifiers.preprocessing import SIZE_KEYS
from gcd_core.classifiers.published import PublishedArchitecture, architecture
from gcd_core.errors import GCDError
from gcd_core.pickles import PICKLE_SUFFIXES, read_pickle

KEYS: Keys = {"architecture": str, "weights": str} | ANSWER_KEYS | SIZE_KEYS
OPTIONAL_KEYS: Keys = {"options": dict, "prefix": str} | RUN_KEYS
STATE_KEYS = ("state_dict", "model_state_dict", "model")  # where training checkpoints keep it
DIVE_KEYS = ("feat_extract", "classifier")  # two state dicts, beside the optimiser's
COUNTER = "num_batches_tracked"  # which PyTorch before 0.4.1 did not write, and nobody needs
OPERATING_POINTS = "op_threshs"  # torchxrayvision's buffer


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Build the network that `table` describes and load its weights, strictly by name.

    Weights kept in half precision are cast to float32. An output whose label is "" is left out.
    Where a torchxrayvision checkpoint holds operating points, a logit of 0 is at these, as in the
    library. See `load_classifier`, and `architecture` for the names there are.
    """
    name = table.get("architecture")
    known = architecture(name) if isinstance(name, str) else None
    defaults = known.defaults if known else {}
    required = {key: kind for key, kind in KEYS.items() if key not in defaults}
    if known and known.download:
        required.pop("weights", None)
    check_keys(table, required, KEYS | OPTIONAL_KEYS)
    assert known is not None  # a table without the name of an architecture was refused
    settings = defaults | table
    labels = names_of(settings["labels"])
    network = known.build(settings["channels"], len(labels), settings.get("options", {}))
    path, data, weights = _weights(settings, folder, known)
    state = fitted(weights, network, known, settings.get("prefix"))
    _, thresholds = state.pop(OPERATING_POINTS, ("", None))
    load_state(network, state, path)
    if thresholds is not None:
        if thresholds.shape != (len(labels),):
            raise GCDError(
                f"{path} has {OPERATING_POINTS} of shape {tuple(thresholds.shape)}; there are "
                f"{len(labels)} labels."
            )
        network = AtOperatingPoints(network, thresholds)
    if "" in labels:
        if settings["output"] == "softmax":
            raise GCDError("The outputs of a softmax depend on each other; give each a label.")
        network = Columns(network, [i for i, label in enumerate(labels) if label != ""])
    named = settings | {"labels": [label for label in labels if label != ""]}
    identity = digest_of(settings, data)
    return TorchClassifier.from_table(network, named, identity, device, channels_last=True)


def _weights(
    settings: Mapping[str, Any], folder: Path, known: PublishedArchitecture
) -> tuple[Path, bytes, Mapping[str, Tensor]]:
    """Return the weights' place (for errors), their bytes (for the identity) and the state dict."""
    if "weights" in settings:
        path = folder / settings["weights"]
        return path, *read_state(path)
    assert known.download is not None  # a table without weights was refused
    state = known.download()
    data = b"".join(key.encode() + value.numpy().tobytes() for key, value in sorted(state.items()))
    return Path(settings["architecture"]), data, state


def read_state(path: Path) -> tuple[bytes, dict[str, Tensor]]:
    """The bytes of a weights file, and the state dict in it, floats as float32.

    A training checkpoint holds it as "state_dict", "model_state_dict" or "model", in two parts,
    "feat_extract" and "classifier", or under another name where nothing else in it is one; what is
    beside it is left.

    Raises
    ------
    GCDError
        If the file is absent, of another kind, damaged, or its state dict holds anything but
        tensors.
    """
    if not path.is_file():
        raise GCDError(f"The classifier's weights {path} do not exist.")
    data = path.read_bytes()
    if path.suffix == ".safetensors":
        try:
            state = read_safetensors(data)
        except SafetensorError as error:
            raise GCDError(f"{path} is not a whole safetensors file: {error}") from error
    elif path.suffix in PICKLE_SUFFIXES:
        state = _state_within(read_pickle(path))
    else:
        raise GCDError(
            f"{path} is no kind of weights file that is known; give .safetensors, "
            f"{', '.join(PICKLE_SUFFIXES)}."
        )
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise GCDError(
                f"{path} holds a {type(value).__name__} under {str(name)!r}; expected a state dict "
                f"of tensors, alone or under one of {', '.join(STATE_KEYS)}."
            )
    floats = {str(k): v.float() if v.is_floating_point() else v for k, v in state.items()}
    return data, floats


def _state_within(content: Mapping[str, Any]) -> dict[str, Any]:
    for key in STATE_KEYS:
        if isinstance(content.get(key), Mapping):
            return dict(content[key])
    if all(isinstance(content.get(key), Mapping) for key in DIVE_KEYS):
        return {f"{key}.{name}": v for key in DIVE_KEYS for name, v in content[key].items()}
    of_tensors = [value for value in content.values() if _is_state(value)]
    return dict(of_tensors[0] if len(of_tensors) == 1 else content)


def _is_state(value: Any) -> bool:
    """Whether something is a state dict: names and tensors, and nothing else."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )


def fitted(
    state: Mapping[str, Tensor],
    network: nn.Module,
    known: PublishedArchitecture,
    prefix: str | None,
) -> dict[str, tuple[str, Tensor]]:
    """Return the state dict under the network's names, with each tensor's name in the file.

    Of a state dict with `prefix`, only the names that begin so are taken, without it. Otherwise, a
    prefix that all names share ("module.", "model.") goes if the rest is the network's.
    """
    if prefix:
        state = {k: v for k, v in state.items() if k.startswith(prefix)}
        if not state:
            raise GCDError(f"The weights have no name that begins with the prefix {prefix!r}.")
    expected = set(network.state_dict())

    def renamed(cut: int) -> dict[str, tuple[str, Tensor]]:
        found = {}
        for name, value in state.items():
            own = name[cut:]
            for pattern, replacement in known.names:
                own = re.sub(pattern, replacement, own)
            found[own] = (name, value)
        return found

    cuts = {len(prefix or ""), _shared(state)}
    found = max(
        (renamed(cut) for cut in sorted(cuts)), key=lambda found: len(expected & set(found))
    )
    return _with_head(found, network.state_dict())


def _with_head(
    found: dict[str, tuple[str, Tensor]], expected: Mapping[str, Tensor]
) -> dict[str, tuple[str, Tensor]]:
    """The same, with the last layer under the network's name, where that is all that differs.

    People give it another name (`head` for `fc`), and put it into a sequence (`fc.1`) with dropout
    before it or a sigmoid after it, or out of one.
    """
    head = {
        name.removesuffix(".weight") for name in expected.keys() - found if name.endswith(".weight")
    }
    given = {
        name.removesuffix(".weight") for name in found.keys() - expected if name.endswith(".weight")
    }
    if len(head) != 1 or len(given) != 1:
        return found
    own, other = head.pop(), given.pop()
    shorter, longer = sorted((own, other), key=len)
    last = list(expected)[-1].startswith(f"{own}.")
    if not last and not re.fullmatch(rf"{re.escape(shorter)}\.\d+", longer):
        return found
    return {
        own + name.removeprefix(other) if name.startswith(f"{other}.") else name: value
        for name, value in found.items()
    }


def _shared(names: Iterable[str]) -> int:
    """Length of the modules' names ("model.encoder.") that all these names begin with."""
    shared = 0
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared += len(parts[0]) + 1
    return shared


def load_state(network: nn.Module, state: Mapping[str, tuple[str, Tensor]], path: Path) -> None:
    """Load what `fitted` gave, as strictly as PyTorch; a GCDError says what differs."""
    try:
        network.load_state_dict({name: value for name, (_, value) in state.items()})
    except RuntimeError as error:
        raise GCDError(
            f"{path} does not fit the architecture: it {_differences(network, state)}; check "
            "'architecture', 'options', 'prefix', 'channels' and 'labels'."
        ) from error


def _differences(network: nn.Module, state: Mapping[str, tuple[str, Tensor]]) -> str:
    """Which names or shapes differ, the first two of each sort."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, (_, value) in state.items()}
    absent = [name for name in sorted(expected.keys() - found) if not name.endswith(COUNTER)]
    lacking = [f"lacks {name}" for name in absent]
    unknown = [f"has an unknown {state[name][0]}" for name in sorted(found.keys() - expected)]
    other = [
        f"has {state[name][0]} of shape {found[name]}, not {expected[name]}"
        for name in sorted(expected.keys() & found)
        if found[name] != expected[name]
    ]
    shown = [problem for problems in (lacking, unknown, other) for problem in problems[:2]]
    rest = len(lacking + unknown + other) - len(shown)
    return f"{', '.join(shown)}{f' (and {rest} more)' if rest else ''}"


class AtOperatingPoints(nn.Module):
    """A network's logits moved so that each label's operating point is at 0.

    The probability p becomes p / 2t below the threshold t and 1 - (1 - p) / 2(1 - t) above it, as
    torchxrayvision has it; its log-odds are computed from the logit, so that they do not saturate.
    A label without a threshold (NaN) gets 0, as there.
    """

    thresholds: Tensor

    def __init__(self, network: nn.Module, thresholds: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("thresholds", thresholds.float())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, L) of normalised images."""
        logits, t = self.network(x), self.thresholds
        low = F.logsigmoid(logits) - (2 * t).log()  # log of the new probability
        high = F.logsigmoid(-logits) - (2 * (1 - t)).log()  # and of its complement
        below = logits.sigmoid() < t
        nearer = torch.where(below, low, high)  # of the two, the one that is at most a half
        odds = nearer - torch.log1p(-nearer.exp())
        return torch.where(t.isnan(), 0.0, torch.where(below, odds, -odds))


class Columns(nn.Module):
    """A network that returns only the chosen columns of another network's outputs."""

    def __init__(self, network: nn.Module, columns: list[int]) -> None:
        super().__init__()
        self.network = network
        self.columns = columns

    def forward(self, x: Tensor) -> Tensor:
        """The chosen columns of the logits (N, L) of normalised images."""
        return self.network(x)[:, self.columns]
