"""ALAE from files in the official layout: names, arithmetic, and what is refused."""

import sys
import types
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import gcd_core
from gcd_core.errors import GCDError
from gcd_core.generators.alae import DecodeBlock, Decoder, EncodeBlock, Encoder

LAYERS, WIDTH, W_SIZE = 3, 4, 8  # 16x16 pictures


def official(path: Path, **beside: object) -> Path:
    """A checkpoint as ALAE's own program writes it: averaged networks and others under 'models'."""
    torch.manual_seed(0)
    encoder = Encoder([WIDTH] * (LAYERS + 1), 3, W_SIZE)
    decoder = Decoder([WIDTH] * LAYERS, 3, W_SIZE)
    for network in (encoder, decoder):
        for name, value in network.state_dict().items():
            if "blur" not in name:
                value.copy_(0.5 * torch.randn(value.shape))
    models = {
        "discriminator_s": encoder.state_dict(),
        "generator_s": decoder.state_dict(),
        "dlatent_avg": {"buff": torch.zeros(2 * LAYERS, W_SIZE)},
        "mapping_fl_s": None,
    }
    torch.save({"models": models, "auxiliary": {}, **beside}, path)
    return path


@pytest.fixture
def images() -> Tensor:
    """Two pictures."""
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_an_official_file_opens_as_a_generator(tmp_path: Path, images: Tensor) -> None:
    generator = gcd_core.load_generator({"kind": "alae"}, official(tmp_path / "a.pth"), "cpu")
    assert (generator.image_size, generator.channels, generator.z_sem_size) == (16, 3, W_SIZE)
    latent = generator.encode(images)
    again = generator.decode(latent)
    assert again.shape == images.shape
    assert again.min() >= 0 and again.max() <= 1
    assert not torch.allclose(again[0], again[1])  # w says something of the picture
    assert torch.equal(again, generator.decode(latent))  # the noise is no other each time
    assert generator.evaluations == 6


def test_the_names_are_the_official_ones(tmp_path: Path) -> None:
    models = torch.load(official(tmp_path / "a.pth"), weights_only=True)["models"]
    for name in (
        "from_rgb.2.from_rgb.bias",
        "encode_block.0.conv_1.weight",
        "encode_block.2.blur.weight",
        "encode_block.2.style_2.bias",
    ):
        assert name in models["discriminator_s"]
    for name in ("const", "to_rgb.2.to_rgb.weight", "decode_block.1.noise_weight_2"):
        assert name in models["generator_s"]
    assert "decode_block.0.conv_1.weight" not in models["generator_s"]


def test_halving_in_the_convolution_is_halving_after_it() -> None:
    torch.manual_seed(0)
    fused, apart = (EncodeBlock(3, 5, 8, fused=fused) for fused in (True, False))
    apart.load_state_dict(fused.state_dict())
    x = torch.randn(2, 3, 12, 12)
    for one, other in zip(fused(x), apart(x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_doubling_in_the_convolution_is_doubling_before_it() -> None:
    torch.manual_seed(0)
    fused, apart = DecodeBlock(3, 5, 8, 128), DecodeBlock(3, 5, 8, 64)
    state = fused.state_dict()
    torch.nn.init.normal_(state["conv_1.weight"])
    turned = state["conv_1.weight"].transpose(0, 1).flip(2, 3)  # a transposed convolution's
    apart.load_state_dict(state | {"conv_1.weight": turned})
    x, w, noise = torch.randn(2, 3, 8, 8), torch.randn(2, 8), (torch.zeros(()),) * 2
    torch.testing.assert_close(fused(x, w, noise), apart(x, w, noise), rtol=1e-4, atol=1e-5)


def test_a_style_scales_and_shifts_normalised_channels() -> None:
    x, style = torch.randn(1, 2, 6, 6), torch.tensor([[1.0, 0.0, 3.0, -2.0]])
    made = DecodeBlock._styled(x, style)
    lit = F.leaky_relu(x, 0.2)
    for channel, (scale, shift) in enumerate(((2, 3), (1, -2))):
        own = lit[0, channel]
        expected = scale * (own - own.mean()) / own.std(correction=0) + shift
        torch.testing.assert_close(made[0, channel], expected, rtol=1e-4, atol=1e-4)


def test_what_the_writing_program_left_beside_is_not_run(tmp_path: Path) -> None:
    module = types.ModuleType("tracker")

    class RunningMean:
        def __init__(self) -> None:
            self.values = [1.0]

    RunningMean.__module__, RunningMean.__qualname__ = "tracker", "RunningMean"
    module.RunningMean = RunningMean  # type: ignore[attr-defined]
    sys.modules["tracker"] = module
    try:
        file = official(tmp_path / "a.pth", tracks=RunningMean())
    finally:
        del sys.modules["tracker"]
    assert gcd_core.load_generator({"kind": "alae"}, file, "cpu").z_sem_size == W_SIZE


class _Runs:
    def __reduce__(self) -> tuple:
        return exec, ("raise SystemExit('it ran')",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GCDError, match="could run code"):
        gcd_core.load_generator({"kind": "alae"}, official(tmp_path / "a.pth", beside=_Runs()))


@pytest.mark.parametrize("content", [{"models": {}}, {"models": {"generator_s": {}}}, {"x": 1}])
def test_another_file_is_refused(tmp_path: Path, content: dict) -> None:
    torch.save(content, tmp_path / "b.pth")
    with pytest.raises(GCDError, match="no checkpoint of ALAE"):
        gcd_core.load_generator({"kind": "alae"}, tmp_path / "b.pth", "cpu")


def test_other_layers_and_keys_are_refused(tmp_path: Path) -> None:
    parts = {"discriminator_s": {"a": torch.zeros(1)}, "generator_s": {"b": torch.zeros(1)}}
    torch.save({"models": parts}, tmp_path / "b.pth")
    with pytest.raises(GCDError, match="other names"):
        gcd_core.load_generator({"kind": "alae"}, tmp_path / "b.pth", "cpu")
    with pytest.raises(GCDError, match="no key 'size'"):
        gcd_core.load_generator({"kind": "alae", "size": 3}, tmp_path / "b.pth", "cpu")
