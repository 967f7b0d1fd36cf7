"""The architectures that this project trains."""

import pytest
import torch
from torchvision.models import densenet121

from gcd_core.classifiers.architectures import build_network


def test_the_densenet_is_torchvisions():
    options = {"growth_rate": 32, "block_config": [6, 12, 24, 16], "width": 64, "bn_size": 4}
    ours = build_network("densenet", 3, 40, options).state_dict()
    theirs = densenet121(num_classes=40).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("architecture, millions", [("densenet", 1.22), ("resnet", 2.80)])
def test_the_bundled_sizes(architecture, millions):
    network = build_network(architecture, 1, 2)
    count = sum(p.numel() for p in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)
    assert network.eval()(torch.zeros(2, 1, 128, 128)).shape == (2, 2)
