"""The network against the official implementation's names, shapes and numbers."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gcd_core.errors import GCDError
from gcd_core.generators.diffae.group_norm import GroupNorm
from gcd_core.generators.diffae.model import (
    Architecture,
    AttentionBlock,
    DiffAEModel,
    timestep_embedding,
)

from .conftest import GOLDEN, SMALL, golden_config, small_model

ARCHITECTURES = ["ffhq256_autoenc", "ffhq128_autoenc", "chexpert224_autoenc"]


@pytest.mark.parametrize("name", ["tiny_rgb", "tiny_gray"])
@torch.no_grad()
def test_encoder_and_noise_equal_the_official_ones(name):
    model = DiffAEModel(Architecture.from_config(golden_config(name))).eval()
    weights = load_file(GOLDEN / f"{name}.weights.safetensors")
    model.load_state_dict({k.removeprefix("ema_model."): v for k, v in weights.items()})
    golden = load_file(GOLDEN / f"{name}.tensors.safetensors")
    assert (model.encoder(golden["x"]) - golden["z_sem"]).abs().max() < 1e-4
    eps = model(golden["x_t"], golden["t"], golden["z_sem"])
    assert (eps - golden["eps"]).abs().max() < 1e-4


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_published_architectures_have_their_names_and_shapes(name):
    published = json.loads((GOLDEN / f"{name}.keys.json").read_text())
    with torch.device("meta"):
        model = DiffAEModel(Architecture.from_config(published["config"]))
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == published["keys"]


@pytest.mark.parametrize("name", ["tiny_rgb", "tiny_gray"])
def test_configuration_survives_the_round_trip(name):
    architecture = Architecture.from_config(golden_config(name))
    again = json.loads(json.dumps(architecture.to_config()))
    assert again == golden_config(name)
    assert Architecture.from_config(again) == architecture


@pytest.mark.parametrize("key", ["image_size", "embed_channels", "enc_channel_mult"])
def test_a_missing_key_is_named(key):
    config = {k: v for k, v in SMALL.items() if k != key}
    with pytest.raises(GCDError, match=f"lacks the key '{key}'"):
        Architecture.from_config(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 1}, "unknown key 'learning_rate'"),
        ({"image_size": "16"}, "'image_size' is '16'"),
        ({"image_size": 0}, "'image_size' is 0"),
        ({"image_size": 17}, "'image_size' is 17, which cannot be halved"),
        ({"model_channels": True}, "'model_channels' is True"),
        ({"model_channels": 48}, "multiple of 32"),
        ({"channel_mult": []}, "'channel_mult'"),
        ({"channel_mult": [1, -2]}, "'channel_mult'"),
        ({"enc_channel_mult": [1] * 6}, "'enc_channel_mult' has 6 levels"),
        ({"enc_out_channels": 8}, "'enc_out_channels' is 8"),
        ({"out_channels": 3}, "'out_channels' is 3"),
        ({"dropout": 1.5}, "'dropout' is 1.5"),
        ({"enc_pool": "flatten"}, "'enc_pool' is 'flatten'"),
        ({"resnet_two_cond": False}, "'resnet_two_cond' is False"),
        ({"resblock_updown": 1}, "'resblock_updown' is 1"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name(change, message):
    with pytest.raises(GCDError, match=message):
        Architecture.from_config(SMALL | change)


def test_heads_must_divide_the_channels():
    with pytest.raises(GCDError, match="num_head_channels 24"):
        small_model(num_head_channels=24)
    with pytest.raises(GCDError, match="num_heads 3"):
        small_model(num_heads=3, num_head_channels=-1)


def test_time_embedding_is_cosines_then_sines():
    t = torch.tensor([0, 7, 999])
    expected = [
        [f(i * 10000 ** (-k / 4)) for f in (math.cos, math.sin) for k in range(4)]
        for i in t.tolist()
    ]
    assert torch.allclose(timestep_embedding(t, 8), torch.tensor(expected), atol=1e-4)


@pytest.mark.parametrize("differentiate", [False, True])
def test_attention_of_several_heads_equals_the_written_out_sum(differentiate):
    torch.manual_seed(0)
    block = AttentionBlock(64, num_heads=4, num_head_channels=-1)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(2, 64, 3, 3)
    with torch.no_grad():
        qkv = block.qkv(block.norm(x).flatten(2))
        # By head: 16 queries, 16 keys, 16 values; then the next head.
        heads = []
        for part in qkv.split(48, dim=1):
            q, k, v = part.split(16, dim=1)
            weight = torch.einsum("nct,ncs->nts", q, k).div(4).softmax(dim=-1)
            heads.append(torch.einsum("nts,ncs->nct", weight, v))
        expected = x + block.proj_out(torch.cat(heads, dim=1)).view_as(x)
    with torch.set_grad_enabled(differentiate):
        assert torch.allclose(block(x), expected, atol=1e-5)


def test_latents_can_be_trained_on_and_every_parameter_learns():
    torch.manual_seed(0)
    model = small_model(
        in_channels=8, out_channels=8, channel_mult=[1, 2, 2], enc_channel_mult=[1, 2, 2]
    ).train()
    x_0, noise = torch.randn(2, 2, 8, 16, 16)
    t = torch.tensor([10, 990])
    x_t = 0.6 * x_0 + 0.8 * noise
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(4):
        loss = (model(x_t, t, x_0=x_0) - noise).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.any() for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_dropout_acts_in_training_only():
    model = small_model(dropout=0.5)
    x, t, z = torch.randn(1, 2, 16, 16), torch.tensor([5]), torch.randn(1, 16)
    with torch.no_grad():
        assert torch.equal(model(x, t, z), model(x, t, z))
        model.train()
        assert not torch.equal(model(x, t, z), model(x, t, z))


@torch.no_grad()
def test_bfloat16_is_normalized_in_float32():
    """As the definition in float64 says, rounded once: half of a step of 2^-8."""
    norm = GroupNorm(4, 24).bfloat16()
    norm.weight.normal_(1, 0.3)
    norm.bias.normal_()
    x = (3 + 2 * torch.randn(2, 24, 6, 5)).bfloat16().to(memory_format=torch.channels_last)
    groups = x.double().reshape(2, 4, -1)
    spread, mean = torch.var_mean(groups, 2, correction=0, keepdim=True)
    wide = ((groups - mean) / (spread + norm.eps).sqrt()).reshape(x.shape)
    expected = wide * norm.weight.double()[:, None, None] + norm.bias.double()[:, None, None]
    normalized = norm(x)
    assert normalized.dtype is torch.bfloat16
    assert normalized.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(normalized.double(), expected, rtol=2**-8, atol=1e-4)
    assert torch.equal(norm.float()(x.float()), nn.GroupNorm.forward(norm, x.float()))
