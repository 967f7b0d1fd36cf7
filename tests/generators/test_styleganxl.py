"""StyleGAN-XL against the official implementation's tensors, and by pickles in its layout."""

import json
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import gcd_core
from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.generators.stylegan import activated
from gcd_core.generators.styleganxl import _check_chain, _designed, _names, read_styleganxl
from gcd_core.generators.styleganxl_network import LayerSize, StyleGANXL

from .conftest import GOLDEN, golden_config

NAMES = (
    "tiny_styleganxl",
    "tiny_styleganxl_cond",
    "tiny_styleganxl_superres",
    "tiny_styleganxl_superres_rstem",
)
ANY = NAMES[3]  # two stages, classes, both kinds of kernel and filter
CLOSE = 2e-5


def weights(name: str) -> Path:
    """A golden set's weights."""
    return GOLDEN / f"{name}.weights.safetensors"


def network(name: str) -> StyleGANXL:
    """A golden set's network."""
    return read_styleganxl(weights(name)).eval().requires_grad_(False)


@pytest.mark.parametrize("name", NAMES)
def test_every_official_tensor_is_met(name: str) -> None:
    golden, config, ours = (
        load_file(GOLDEN / f"{name}.tensors.safetensors"),
        golden_config(name),
        network(name),
    )
    seen: dict[str, torch.Tensor] = {}

    def keep(probe: str) -> Callable[..., None]:
        return lambda module, inputs, made: seen.__setitem__(probe, made)

    for probe, about in config["probes"].items():
        ours.get_submodule(about["module"]).register_forward_hook(keep(probe))
    classes = golden["c"].argmax(1) if "c" in golden else None
    w = ours.mapping(golden["z"], classes)
    made = {"image": ours(golden["w"][:, 0])}
    if "act.embed_proj" in seen:  # the official layer's activation is part of it
        seen["act.embed_proj"] = activated(seen["act.embed_proj"], None)
    seen = {probe: seen[probe][: len(golden[probe])] for probe in config["probes"]}
    mean = ours.mapping.w_avg if classes is None else ours.mapping.w_avg[classes]
    made |= {"w": w[:, None].expand(golden["w"].shape), **seen}
    made["w_psi07"] = mean.lerp(w, 0.7)[:, None].expand(golden["w"].shape)
    made["image_psi07"] = ours(golden["w_psi07"])
    made["image_w_plus"] = ours(golden["w_plus"])
    ours.synthesis.input.transform.copy_(torch.eye(3))
    made["image_identity_transform"] = ours(golden["w"])
    for tensor, found in made.items():
        torch.testing.assert_close(found, golden[tensor], rtol=0, atol=CLOSE, msg=tensor)


@pytest.mark.parametrize("name", NAMES)
def test_layers_are_as_the_official_ones_say_of_themselves(name: str) -> None:
    layers = list(network(name).synthesis.children())[1:]
    for layer, said in zip(layers, golden_config(name)["layers"], strict=True):
        keys = ("name", "in_size", "out_size", "up_factor", "down_factor", "conv_clamp")
        assert layer.size == tuple(said[key] for key in keys)
        if not said["is_torgb"]:
            assert [*layer.padding] * 2 == said["padding_x0_x1_y0_y1"]


def test_the_inferred_layouts_of_released_files_are_designed_alike() -> None:
    """Sizes and paddings of all 31 layers of an FFHQ-256, from names and shapes alone."""
    known = json.loads((GOLDEN / "styleganxl.keys.json").read_text())["networks"]
    found = known["ffhq256_candidate_default_size_rstem"]
    shapes = {n: torch.empty(s[1:], device="meta") for n, s in found["state_dict"].items()}
    layers = _designed(shapes, _names(shapes, None, "x"))
    _check_chain(layers, shapes, "x")
    assert [layer.name for layer in layers] == found["layer_names"] and len(layers) == 31
    for layer, said in zip(layers, found["layers"], strict=True):
        taps = 0 if said["is_torgb"] else said["up_taps"] + said["down_taps"]
        if taps:
            low, high = layer.padding(said["conv_kernel"], taps)
            assert [low, high] == said["padding_x0_x1_y0_y1"][:2]
        assert (layer.before, layer.after) == (said["in_size"], said["out_size"])


def test_a_picture_does_not_depend_on_the_batch() -> None:
    ours, w = network(ANY), load_file(GOLDEN / f"{ANY}.tensors.safetensors")["w"][:, 0]
    torch.testing.assert_close(ours(w)[:1], ours(w[:1]), rtol=0, atol=1e-6)


def test_values_are_kept_within_the_clamp() -> None:
    layer = network(ANY).synthesis.get_submodule("L5_52_13")
    x, w = 50 * torch.randn(1, 13, 52, 52), torch.zeros(1, 32)
    free = layer(x, w)
    layer.size = layer.size._replace(clamp=1.0)
    assert layer(x, w).abs().max() < 2 < free.abs().max()


# -- official pickles ------------------------------------------------------------------------------


def _reconstruct_persistent_obj(meta: dict) -> None:
    """Stands for the official function, which would run the source in the file."""
    raise AssertionError("the file's source was run")


def _create_array(make: Any, parts: tuple, state: tuple, attributes: Any = None) -> None:
    """Stands for dill's function."""
    raise AssertionError("dill's function was run")


class Array:
    """An array as dill pickles it."""

    def __init__(self, values: list[int]) -> None:
        self.values = np.array(values)

    def __reduce__(self) -> tuple:
        make, parts, state = self.values.__reduce__()
        return _create_array, (make, parts, state, None)


class ProjectedDiscriminator(nn.Module):
    """Stands for a class of the official program that is pickled by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())


class Persistent:
    """A module as the official program pickles it, with what it says of itself."""

    def __init__(self, module: nn.Module, **said: Any) -> None:
        self.module, self.said, self.inner = module, said, {}

    def __reduce__(self) -> tuple:
        plain = {n: m for n, m in self.module._modules.items() if n not in self.inner}
        state = {
            "_parameters": dict(self.module._parameters),
            "_buffers": dict(self.module._buffers),
            "_modules": {n: Persistent(m) for n, m in plain.items()} | self.inner,
            "_init_kwargs": {"path_stem": "/of/training.pkl", "num_layers": 99},
            **self.said,
        }
        meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "state": state}
        return _reconstruct_persistent_obj, (meta | {"class_name": "SuperresGenerator"},)


@pytest.fixture
def official_program() -> Iterator[None]:
    """The official program's modules, as far as pickling names them; gone after the writing."""
    content = {
        "torch_utils.persistence": _reconstruct_persistent_obj,
        "dill._dill": _create_array,
        "pg_modules.discriminator": ProjectedDiscriminator,
    }
    packages = {name.split(".")[0] for name in content}
    for name in [*packages, *content]:
        sys.modules[name] = types.ModuleType(name)
    for name, value in content.items():
        value.__module__, value.__qualname__ = name, value.__name__
        setattr(sys.modules[name], value.__name__, value)
    yield
    for name in [*packages, *content]:
        sys.modules.pop(name, None)


def said_of(layer: dict) -> dict[str, Any]:
    """A layer's attributes, some of them as NumPy's."""
    return {
        "in_size": Array([layer["in_size"]] * 2),
        "out_size": np.array([layer["out_size"]] * 2),
        "up_factor": np.int64(layer["up_factor"]),
        "down_factor": layer["down_factor"],
        "conv_clamp": layer["conv_clamp"],
        "conv_kernel": 99,
        "padding": layer["padding_x0_x1_y0_y1"],
    }


def write_pickle(path: Path, name: str = ANY, **changes: Any) -> Path:
    """An official file of a golden set; `changes` are of what its layer L5_52_13 says."""
    ours, config = network(name), golden_config(name)
    whole, synthesis = Persistent(ours), Persistent(ours.synthesis, output_scale=0.25)
    synthesis.said["layer_names"] = [layer["name"] for layer in config["layers"]]
    for layer in config["layers"]:
        said = said_of(layer) | (changes if layer["name"] == "L5_52_13" else {})
        module = ours.synthesis.get_submodule(layer["name"])
        synthesis.inner[layer["name"]] = Persistent(module, **said)
    first = config["input_layer"]
    synthesis.inner["input"] = Persistent(
        ours.synthesis.get_submodule("input"),
        size=np.array([first["size"]] * 2),
        sampling_rate=np.float64(first["sampling_rate"]),
        bandwidth=first["bandwidth"],
    )
    whole.inner["synthesis"] = synthesis
    content = {"G_ema": whole, "D": ProjectedDiscriminator(), "augment_pipe": None}
    path.write_bytes(pickle.dumps(content))
    for module in ("torch_utils", "dill", "pg_modules"):
        for own in [n for n in sys.modules if n == module or n.startswith(f"{module}.")]:
            sys.modules.pop(own)
    return path


@pytest.mark.usefixtures("official_program")
def test_an_official_pickle_opens_and_nothing_in_it_runs(tmp_path: Path) -> None:
    file = write_pickle(tmp_path / "ffhq.pkl")
    generator = gcd_core.load_generator({"kind": "styleganxl"}, file, "cpu")
    assert (generator.image_size, generator.channels, generator.z_sem_size) == (64, 3, 32)
    golden = load_file(GOLDEN / f"{ANY}.tensors.safetensors")
    made = generator.decode(Latent(golden["w"][:, 0], torch.zeros(2, 1, 1, 1)))
    expected = ((golden["image"] + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(made, expected, rtol=0, atol=CLOSE)
    with pytest.raises(GCDError, match="projection_steps"):
        generator.encode(made)


@pytest.mark.usefixtures("official_program")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_size": 36}, "L5_52_13 takes maps of 36 pixels a side, but L3_52_13 gives 52"),
        ({"in_size": None}, "L5_52_13 has the in_size None"),
        ({"out_size": [52, 36]}, r"L5_52_13 has the out_size \[52, 36\]"),
        ({"up_factor": 4}, "L5_52_13 has the padding"),
        ({"padding": [1, 2, 1, 2]}, r"padding \[1, 2, 1, 2\]; its sizes and filters ask for"),
        ({"conv_clamp": "wide"}, "conv_clamp 'wide'"),
        ({"out_size": 10**9}, "out_size 1000000000"),
    ],
)
def test_a_pickle_that_differs_is_refused_by_name(
    tmp_path: Path, changes: dict, message: str
) -> None:
    file = write_pickle(tmp_path / "x.pkl", **changes)
    with pytest.raises(GCDError, match=message):
        gcd_core.load_generator({"kind": "styleganxl"}, file, "cpu")


def test_other_objects_in_a_pickle_are_refused_by_name(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple:
            return exec, ("raise SystemExit('it ran')",)

    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"G_ema": Runs()}))
    with pytest.raises(GCDError, match=r"builtins\.exec"):
        gcd_core.load_generator({"kind": "styleganxl"}, tmp_path / "evil.pkl", "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"synthesis.input.freqs": None}, "1 missing .*freqs"),
        ({"synthesis.input.weight": None}, "holds no 'synthesis.input.weight'"),
        ({"synthesis.L6_84_7.up_filter": None}, "the layer L6_84_7 has no filter"),
        ({"mapping.fc0.weight": torch.zeros(3)}, "other shapes"),
        ({"mapping.fc7.weight": torch.zeros(3, 3)}, "1 unexpected .*fc7"),
    ],
)
def test_weights_that_differ_are_refused_by_name(
    tmp_path: Path, change: dict, message: str
) -> None:
    state: dict[str, Any] = load_file(weights(ANY)) | change
    torch.save({n: v for n, v in state.items() if v is not None}, tmp_path / "g.pt")
    with pytest.raises(GCDError, match=message):
        gcd_core.load_generator({"kind": "styleganxl"}, tmp_path / "g.pt", "cpu")


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        (ANY, {"class": 5}, "class is 5; .* has the classes 0 to 4"),
        (ANY, {"class": "cat"}, "class is 'cat'"),
        (NAMES[0], {"class": 0}, "has no classes"),
        (NAMES[0], {"psi": 0.7}, "no key 'psi'"),
        (NAMES[0], {"projection_steps": 0}, "whole number"),
    ],
)
def test_a_configuration_that_fits_not_is_refused(name: str, config: dict, message: str) -> None:
    with pytest.raises(GCDError, match=message):
        gcd_core.load_generator({"kind": "styleganxl"} | config, weights(name), "cpu")


def test_styles_are_of_the_class_that_is_named_or_of_all_in_turn() -> None:
    z = torch.randn(10, 64)
    ours = network(ANY)
    every = ours.styles(z)
    torch.testing.assert_close(every[7], ours.mapping(z[7:8], torch.tensor([2]))[0])
    ours.label = 2
    torch.testing.assert_close(ours.styles(z)[7], every[7])
    assert not torch.allclose(ours.styles(z)[6], every[6])


def test_a_projection_comes_near_the_image() -> None:
    config = {"kind": "styleganxl", "projection_steps": 16}
    generator = gcd_core.load_generator(config, weights("tiny_styleganxl"), "cpu")
    drawn = generator.synthesis.styles(torch.randn(9, 64))
    latent = Latent(torch.stack([drawn[0], drawn[1:].mean(0)]), torch.zeros(2, 1, 1, 1))
    image, start = generator.decode(latent).split(1)
    found = generator.decode(generator.encode(image))
    assert (found - image).abs().mean() < 0.75 * (start - image).abs().mean()


def test_a_layer_of_another_size_asks_for_another_padding() -> None:
    assert LayerSize("L", 36, 52, 4, 2, None).padding(3, 36) == (-6, -9)
    assert LayerSize("L", 84, 64, 2, 2, None).padding(3, 24) == (-11, -12)
