"""A whole domain in a folder, with random weights: real files, small enough for any machine."""

import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from gcd_core.classifiers.architectures import build_network
from gcd_core.generators.diffae.model import Architecture, DiffAEModel
from gcd_core.generators.weights import save_sharded

ARCHITECTURE = {
    "image_size": 32,
    "in_channels": 1,
    "out_channels": 1,
    "model_channels": 32,
    "channel_mult": [1, 1],
    "enc_channel_mult": [1, 1],
    "num_res_blocks": 1,
    "enc_num_res_block": 1,
    "attention_resolutions": [16],
    "embed_channels": 16,
    "enc_out_channels": 16,
}
CLASSIFIER = """kind = "safetensors"
architecture = "resnet"
weights = "classifier.safetensors"
labels = ["ill", "old"]
output = "sigmoid"
size = 32
channels = 1
options = { width = 8, blocks = [1, 1] }
"""
DOMAIN = f"""name = "tiny"
title = "Drawn squares"

[generator]
config = "generator.json"
weights = "generator.safetensors.index.json"

[classifier]
{CLASSIFIER}
[oracle]
{CLASSIFIER}
[labels.ill]
title = "Illness"
negative = "well"
positive = "ill"

[search]
radius = 2.0
n_samples = 64
n_h = 2
solver = "ddim"
steps = 2

[walk]
alpha_max = 3.0
points = 4
"""


def write_tiny_domain(folder: Path, times: list[int] | None = None, channels: int = 1) -> Path:
    """Write a domain of 32x32 images to `folder`, grey ones or of 3 channels; return it.

    With `times`, its generator has a distilled decoder of those.
    """
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    architecture = ARCHITECTURE | {"in_channels": channels, "out_channels": channels}
    model = DiffAEModel(Architecture.from_config(architecture))
    for parameter in model.parameters():  # the official initialisation leaves some at zero
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    sampling = {"solver": "ddim", "encode_steps": 2, "decode_steps": 2}
    config = architecture | {"sampling": sampling}
    weights = {f"ema_model.{name}": value for name, value in model.state_dict().items()}
    if times is not None:
        config |= {"distilled": {"times": times, "solver": "ddim", "steps": 2}}
        unet = {k: v for k, v in model.state_dict().items() if not k.startswith("encoder.")}
        weights |= {f"distilled.{name}": 1.02 * value for name, value in unet.items()}
    (folder / "generator.json").write_text(json.dumps(config))
    save_sharded(weights, folder, "generator")
    network = build_network("resnet", channels, 2, {"width": 8, "blocks": [1, 1]})
    save_file(network.state_dict(), folder / "classifier.safetensors")
    text = DOMAIN.replace("channels = 1", f"channels = {channels}")
    (folder / "domain.toml").write_text(text)
    (folder / "examples").mkdir(exist_ok=True)
    for index in range(2):
        picture = Image.new("L", (32, 32), 40 + 60 * index)
        picture.paste(200, (8, 8, 20, 20 + index))
        if channels == 3:
            picture = Image.merge(
                "RGB", (picture.transpose(Image.Transpose.ROTATE_90), picture, picture)
            )
        picture.save(folder / "examples" / f"example-{index}.png")
    return folder
