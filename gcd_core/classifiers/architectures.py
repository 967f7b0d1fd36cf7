"""The architectures that this project trains: a DenseNet and a ResNet of any width and depth."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torchvision.models import DenseNet
from torchvision.models.resnet import BasicBlock

from gcd_core.errors import GCDError


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
