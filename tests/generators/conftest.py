"""The golden tensors of the official implementation, and a small generator with random weights."""

import json
from pathlib import Path

import pytest
import torch

from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.model import Architecture, DiffAEModel

GOLDEN = Path(__file__).parents[1] / "golden"

SMALL = {
    "image_size": 16,
    "in_channels": 2,
    "out_channels": 2,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "enc_channel_mult": [1, 2],
    "num_res_blocks": 1,
    "enc_num_res_block": 1,
    "attention_resolutions": [8],
    "embed_channels": 16,
    "enc_out_channels": 16,
    "num_head_channels": 32,
}


@pytest.fixture
def golden():
    """Folder of the golden files."""
    return GOLDEN


def golden_config(name):
    """Read a golden configuration."""
    return json.loads((GOLDEN / f"{name}.config.json").read_text())


def small_model(seed=0, **changes):
    """Build a model whose zero-initialised layers are random too, so that each one matters."""
    torch.manual_seed(seed)
    model = DiffAEModel(Architecture.from_config(SMALL | changes))
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


@pytest.fixture
def model():
    """Build a small model."""
    return small_model()


@pytest.fixture
def generator(model):
    """Wrap the small model, without a codec, in float32."""
    return DiffAE(model, precision="fp32")
