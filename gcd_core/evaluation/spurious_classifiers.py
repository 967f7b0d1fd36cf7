"""Classifiers that were made to read something known: a marker, an exposure, nothing at all."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.classifiers.architectures import build_network
from gcd_core.classifiers.base import BlackBox
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.classifiers.questions import network_of
from gcd_core.evaluation.known_reasons import Region

LABEL = "planted"
MARKER = Region(0.02, 0.12, 0.02, 0.12)  # a bright square in a corner, as a side marker is
STEPS, BATCH = 150, 32  # of the training
OPTIONS = {"width": 16, "blocks": [1, 1, 1]}


def with_marker(images: Tensor) -> Tensor:
    """Images (N, C, S, S) with a bright square in the corner, as a marker of the side."""
    marked = images.clone()
    marked[..., MARKER.mask(*images.shape[-2:])] = 1.0
    return marked


def trained(absent: Tensor, present: Tensor) -> TorchClassifier:
    """Return a small network that learned to tell images from others.

    Parameters
    ----------
    absent, present : Tensor (N, C, S, S) and (M, C, S, S)
        In [0, 1]; what it learned to answer no and yes to, of the label `planted`.
    """
    images = torch.cat([absent, present])
    targets = (torch.arange(len(images)) >= len(absent)).float()
    torch.manual_seed(0)
    network = build_network("resnet", images.shape[1], 1, OPTIONS)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    network.train()
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(STEPS):
            chosen = torch.randint(len(images), (BATCH,), generator=generator)
            logits = network((images[chosen] - 0.5) / 0.5)[:, 0]
            loss = F.binary_cross_entropy_with_logits(logits, targets[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    return _as_classifier(network, images, "planted")


def with_random_weights(classifier: BlackBox, images: Tensor) -> TorchClassifier:
    """Return a classifier's own network with weights drawn anew; a small one where it has none.

    Its answer is shifted and scaled so that it is spread over images (N, C, S, S).
    """
    torch.manual_seed(1)
    classifier = network_of(classifier)
    if isinstance(classifier, TorchClassifier) and [*classifier.network.parameters()]:
        network = copy.deepcopy(classifier.network)
        for module in network.modules():
            draw_anew = getattr(module, "reset_parameters", None)
            if callable(draw_anew):
                draw_anew()
        spread = Spread(network)
        size, channels = classifier.size, classifier.channels
        made = TorchClassifier(spread, (LABEL,), "sigmoid", "random", size, channels)
        made.preprocessing = classifier.preprocessing
    else:
        spread = Spread(build_network("resnet", images.shape[1], 1, OPTIONS))
        made = _as_classifier(spread, images, "random")
    logits = made(images)[:, 0]
    spread.mean, spread.scale = logits.median(), 3 / logits.std().clamp(min=1e-12)
    return made


def _as_classifier(network: nn.Module, images: Tensor, identity: str) -> TorchClassifier:
    """A network for such images as a classifier of the label `planted`."""
    size, channels = images.shape[-1], images.shape[1]
    return TorchClassifier(network.eval(), (LABEL,), "sigmoid", identity, size, channels)


class Spread(nn.Module):
    """A network's first logit, shifted and scaled."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.mean, self.scale = torch.tensor(0.0), torch.tensor(1.0)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, S, S) to (N, 1)."""
        return (self.network(images)[:, :1] - self.mean) * self.scale
