"""StyleGAN2 from files in NVIDIA's layout: arithmetic against SciPy, and what is refused."""

import pickle
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import signal
from torch import Tensor, nn

import gcd_core
from gcd_core.errors import GCDError
from gcd_core.generators.projection import Projection, rate
from gcd_core.generators.stylegan import (
    Layer,
    StyleGAN2,
    ToRGB,
    build_stylegan,
    doubled,
    modulated,
)

W_SIZE = 8
KERNEL = torch.outer(torch.tensor([1.0, 3, 3, 1]), torch.tensor([1.0, 3, 3, 1])) / 64


def drawn() -> StyleGAN2:
    """A network of 16x16 pictures with random weights."""
    torch.manual_seed(0)
    network = StyleGAN2([6, 5, 4], 3, W_SIZE, [(W_SIZE, W_SIZE)] * 2, 4)
    for name, value in network.state_dict().items():
        if "resample_filter" in name:
            value.copy_(KERNEL)
        elif "mapping" in name:
            value.copy_(100 * torch.randn(value.shape))
        else:
            value.copy_(torch.randn(value.shape))
    return network.eval().requires_grad_(False)


class EasyDict(dict):
    """Stands for the official program's class of this name while a file is written."""


def _reconstruct_persistent_obj(meta: dict) -> None:
    """Stands for the official function, which would run the source in the file."""
    raise AssertionError("the file's source was run")


class Persistent:
    """A module as the official program pickles it: source, class name, and parts."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __reduce__(self) -> tuple:
        state = EasyDict(
            training=False,
            _parameters=dict(self.module._parameters),
            _buffers=dict(self.module._buffers),
            _modules={name: Persistent(m) for name, m in self.module._modules.items()},
            _init_kwargs=EasyDict(z_dim=W_SIZE),
        )
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise SystemExit('it ran')",
            "class_name": type(self.module).__name__,
            "state": state,
        }
        return _reconstruct_persistent_obj, (meta,)


@pytest.fixture
def official_program() -> Iterator[None]:
    """The official program's modules, as far as pickling names them; gone after the writing."""
    names = {"torch_utils": {}, "dnnlib": {}}
    names["torch_utils.persistence"] = {"_reconstruct_persistent_obj": _reconstruct_persistent_obj}
    names["dnnlib.util"] = {"EasyDict": EasyDict}
    for name, content in names.items():
        module = types.ModuleType(name)
        for key, value in content.items():
            value.__module__, value.__qualname__ = name, key
            setattr(module, key, value)
        sys.modules[name] = module
    yield
    for name in names:
        sys.modules.pop(name, None)


def write_pickle(path: Path, **networks: Any) -> Path:
    """A file as the official program writes it; its modules are gone when it is read."""
    path.write_bytes(pickle.dumps(networks))
    for name in ("torch_utils", "torch_utils.persistence", "dnnlib", "dnnlib.util"):
        sys.modules.pop(name, None)
    return path


@pytest.mark.usefixtures("official_program")
def test_an_official_pickle_opens_and_nothing_in_it_runs(tmp_path: Path) -> None:
    network = drawn()
    file = write_pickle(tmp_path / "ffhq.pkl", G_ema=Persistent(network), training_set_kwargs={})
    generator = gcd_core.load_generator({"kind": "stylegan"}, file, "cpu")
    assert (generator.image_size, generator.channels, generator.z_sem_size) == (16, 3, W_SIZE)
    w = torch.randn(3, W_SIZE)
    latent = gcd_core.generators.base.Latent(w, torch.zeros(3, 1, 1, 1))
    torch.testing.assert_close(
        generator.decode(latent), ((network(w) + 1) / 2).clamp(0, 1), rtol=0, atol=0
    )


@pytest.mark.usefixtures("official_program")
def test_a_pickle_without_the_network_or_with_other_objects_is_refused(tmp_path: Path) -> None:
    file = write_pickle(tmp_path / "d.pkl", D=Persistent(nn.Linear(2, 2)))
    with pytest.raises(GCDError, match="no network 'G_ema'"):
        gcd_core.load_generator({"kind": "stylegan"}, file, "cpu")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"G_ema": _Runs()}))
    with pytest.raises(GCDError, match=r"builtins\.exec"):
        gcd_core.load_generator({"kind": "stylegan"}, tmp_path / "evil.pkl", "cpu")
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps({"G_ema": {"a": 1}})[:-4])
    with pytest.raises(GCDError, match="cut short"):
        gcd_core.load_generator({"kind": "stylegan"}, tmp_path / "cut.pkl", "cpu")


class _Runs:
    def __reduce__(self) -> tuple:
        return exec, ("raise SystemExit('it ran')",)


def test_a_state_dict_opens_too(tmp_path: Path) -> None:
    save_file(drawn().state_dict(), tmp_path / "g.safetensors")
    generator = gcd_core.load_generator({"kind": "stylegan"}, tmp_path / "g.safetensors", "cpu")
    with pytest.raises(GCDError, match=r"projection_steps.*TorchScript"):
        generator.encode(torch.rand(1, 3, 16, 16))


def test_other_builds_are_refused() -> None:
    state = drawn().state_dict()
    with pytest.raises(GCDError, match="no StyleGAN2"):
        build_stylegan({"a": torch.zeros(1)}, "x.pkl")
    with pytest.raises(GCDError, match="residual, or with class labels"):
        build_stylegan(state | {"mapping.embed.weight": torch.zeros(2, 2)}, "x.pkl")
    with pytest.raises(GCDError, match="do not fit the StyleGAN2"):
        build_stylegan(state | {"synthesis.b8.conv2.weight": torch.zeros(1)}, "x.pkl")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"steps": 4}, "no key 'steps'"),
        ({"projection_steps": 0}, "whole number"),
        ({"encoder": "e.pt"}, "no encoder e.pt"),
    ],
)
def test_a_configuration_that_fits_not_is_refused(
    tmp_path: Path, config: dict, message: str
) -> None:
    save_file(drawn().state_dict(), tmp_path / "g.safetensors")
    with pytest.raises(GCDError, match=message):
        gcd_core.load_generator({"kind": "stylegan"} | config, tmp_path / "g.safetensors", "cpu")


def test_an_encoder_beside_the_weights_encodes(tmp_path: Path) -> None:
    class Mean(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((1, 2, 3))[:, None].expand(-1, 8)

    torch.jit.script(Mean()).save(str(tmp_path / "e.pt"))
    save_file(drawn().state_dict(), tmp_path / "g.safetensors")
    config = {"kind": "stylegan", "encoder": "e.pt"}
    generator = gcd_core.load_generator(config, tmp_path / "g.safetensors", "cpu")
    latent = generator.encode(torch.full((2, 3, 16, 16), 0.75))
    torch.testing.assert_close(latent.z_sem, torch.full((2, 8), 0.5))


# -- the arithmetic, against SciPy ----------------------------------------------------------------


def spread(x: np.ndarray) -> np.ndarray:
    """Zeros between the pixels."""
    wide = np.zeros((2 * len(x) - 1, 2 * x.shape[1] - 1))
    wide[::2, ::2] = x
    return wide


def test_a_doubling_layer_is_zeros_between_pixels_convolution_and_filter() -> None:
    layer = Layer(1, 1, W_SIZE, 12, 4, doubling=True)
    layer.resample_filter.copy_(KERNEL)
    with torch.no_grad():
        layer.weight.normal_()
        layer.affine.bias.fill_(2.0)  # the style, whatever w is
        layer.bias.fill_(0.3)
        x = torch.randn(1, 1, 6, 6)
        made = layer(x, torch.zeros(1, W_SIZE))[0, 0].numpy()
    weight = layer.weight.detach()[0, 0].double().numpy() * 2
    weight = weight / np.sqrt((weight**2).sum() + 1e-8)
    wide = signal.convolve2d(spread(x[0, 0].double().numpy()), weight, "full")
    smooth = signal.convolve2d(np.pad(wide, 1), 4 * KERNEL.numpy(), "valid") + 0.3
    expected = np.sqrt(2) * np.where(smooth > 0, smooth, 0.2 * smooth)
    np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-5)


def test_a_doubled_picture_keeps_what_is_even() -> None:
    assert doubled(torch.ones(1, 2, 8, 8), KERNEL).shape == (1, 2, 16, 16)
    inside = doubled(torch.ones(1, 2, 8, 8), KERNEL)[..., 2:-2, 2:-2]
    torch.testing.assert_close(inside, torch.ones_like(inside))
    x = torch.randn(1, 1, 5, 5)
    wide = np.zeros((10, 10))
    wide[::2, ::2] = x[0, 0].numpy()
    expected = signal.convolve2d(np.pad(wide, ((2, 1), (2, 1))), 4 * KERNEL.numpy(), "valid")
    np.testing.assert_allclose(doubled(x, KERNEL)[0, 0].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_each_picture_has_weights_of_its_own() -> None:
    torch.manual_seed(0)
    x, weight, style = torch.randn(2, 3, 5, 5), torch.randn(4, 3, 3, 3), torch.randn(2, 3)
    made = modulated(x, weight, style, demodulate=True)
    for i in range(2):
        own = weight * style[i][None, :, None, None]
        own = own / own.square().sum((1, 2, 3), keepdim=True).sqrt()
        expected = torch.nn.functional.conv2d(x[i : i + 1], own, padding=1)
        torch.testing.assert_close(made[i : i + 1], expected, rtol=1e-4, atol=1e-5)


def test_the_picture_s_share_is_not_demodulated() -> None:
    layer = ToRGB(4, 3, W_SIZE)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.affine.bias.fill_(1.0)
        made = layer(torch.ones(1, 4, 2, 2), torch.zeros(1, W_SIZE))
    torch.testing.assert_close(made, torch.full((1, 3, 2, 2), 4 / 4**0.5))


def test_the_mapping_is_scaled_by_its_rate() -> None:
    network = StyleGAN2([2], 1, 2, [(2, 2)], 4)
    with torch.no_grad():
        network.mapping.fc0.weight.copy_(100 * torch.eye(2))
        network.mapping.fc0.bias.fill_(200.0)
        made = network.styles(torch.tensor([[3.0, -3.0]]))
    # z normalised is (1, -1); times 100 x 0.01 / sqrt(2), plus 200 x 0.01; times sqrt(2)
    torch.testing.assert_close(made, torch.tensor([[1 + 2 * 2**0.5, -1 + 2 * 2**0.5]]))


# -- projection -----------------------------------------------------------------------------------


class Flat:
    """Draws evenly lit pictures: w says how light, so that the best w is known."""

    z_size = 2

    def styles(self, z: Tensor) -> Tensor:
        """W of z."""
        return z[:, :1] * 0.1

    def __call__(self, w: Tensor) -> Tensor:
        """Pictures."""
        return w[:, :, None, None].expand(-1, 3, 48, 48).tanh()


def test_a_projection_finds_the_known_w() -> None:
    wanted = torch.tensor([[0.6], [-0.4]])
    found = Projection(Flat(), 150)(Flat()(wanted))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02)
    assert not found.requires_grad


def test_the_rate_rises_stays_and_falls() -> None:
    assert rate(0.0) < 0.05
    assert rate(0.5) == 1.0
    assert rate(0.999) < 0.01
