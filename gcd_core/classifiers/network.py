"""Kind "safetensors": an architecture known here, and its weights in a safetensors file."""

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_safetensors
from torch import nn
from torchvision.models import DenseNet
from torchvision.models.resnet import BasicBlock

from gcd_core.classifiers.base import TorchClassifier, check_keys, identify
from gcd_core.errors import GCDError

KEYS = {
    "architecture": str,
    "weights": str,
    "labels": list,
    "output": str,
    "size": int,
    "channels": int,
}
OPTIONAL_KEYS = {"options": dict, "mean": int | float | list, "std": int | float | list}


def densenet(
    channels: int,
    outputs: int,
    growth_rate: int = 32,
    block_config: Sequence[int] = (3, 6, 12, 8),
    width: int = 32,
    bn_size: int = 2,
) -> nn.Module:
    """DenseNet (Huang et al., CVPR 2017), by default of 1.2 M parameters.

    `width` is the stem's, `bn_size` the bottlenecks' in units of `growth_rate`; (32, (6, 12, 24,
    16), 64, 4) is DenseNet-121. The last layer is `classifier`.
    """
    network = DenseNet(growth_rate, tuple(block_config), width, bn_size, num_classes=outputs)
    network.features.conv0 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(network.features.conv0.weight)
    return network


class ResNet(nn.Module):
    """ResNet (He et al., CVPR 2016) of basic blocks, by default a ResNet-18 of half the width.

    Each stage after the first halves the picture and doubles the width. The last layer is
    `classifier`.
    """

    def __init__(
        self,
        channels: int,
        outputs: int,
        width: int = 32,
        blocks: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        layers, wide = [], width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage and not block else 1
                planes = width * 2**stage
                shortcut = None
                if stride != 1 or wide != planes:
                    shortcut = nn.Sequential(
                        nn.Conv2d(wide, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
                    )
                layers.append(BasicBlock(wide, planes, stride, shortcut))
                wide = planes
        self.stages = nn.Sequential(*layers)
        self.classifier = nn.Linear(wide, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, outputs) of normalised images (N, channels, H, W)."""
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {"densenet": densenet, "resnet": ResNet}


def build_network(
    architecture: str, channels: int, outputs: int, options: dict[str, Any] | None = None
) -> nn.Module:
    """Build a network by name, with random weights.

    Parameters
    ----------
    architecture : {"densenet", "resnet"}
    channels, outputs : int
        Channels of the images, and number of labels.
    options : dict, optional
        The architecture's own keyword arguments (widths, depths).

    Raises
    ------
    GCDError
        If the architecture or one of its options is unknown.
    """
    if architecture not in ARCHITECTURES:
        raise GCDError(
            f"There is no classifier architecture {architecture!r}; choose from "
            f"{sorted(ARCHITECTURES)}."
        )
    build, options = ARCHITECTURES[architecture], options or {}
    known = set(inspect.signature(build).parameters) - {"channels", "outputs"}
    for name in options:
        if name not in known:
            raise GCDError(
                f"The architecture {architecture!r} has no option {name!r}; it knows "
                f"{sorted(known)}."
            )
    return build(channels, outputs, **options)


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Build the network that `table` describes and load its weights, strictly by name.

    Weights kept in half precision are cast to float32. See `load_classifier`.
    """
    check_keys(table, KEYS, OPTIONAL_KEYS)
    path = folder / table["weights"]
    if not path.is_file():
        raise GCDError(f"The classifier's weights {path} do not exist.")
    data = path.read_bytes()
    try:
        state = read_safetensors(data)
    except SafetensorError as error:
        raise GCDError(f"{path} is not a whole safetensors file: {error}") from error
    network = build_network(
        table["architecture"], table["channels"], len(table["labels"]), table.get("options")
    )
    load_state(network, state, path)
    return TorchClassifier(
        network,
        tuple(table["labels"]),
        table["output"],
        identify(json.dumps(table, sort_keys=True).encode(), data),
        table["size"],
        table["channels"],
        table.get("mean", 0.5),
        table.get("std", 0.5),
        device,
    )


def load_state(network: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state dict strictly; a GCDError says which names or shapes differ."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    problems = [f"lacks {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"has an unknown {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"has {name} of shape {found[name]}, not {expected[name]}"
        for name in sorted(expected.keys() & found.keys())
        if found[name] != expected[name]
    ]
    if problems:
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise GCDError(
            f"{path} does not fit the architecture: it {', '.join(problems[:3])}{more}; check "
            "'architecture', 'options', 'channels' and 'labels'."
        )
    network.load_state_dict(state)
