"""Weights files: every official kind loads to the same weights; everything else is refused."""

import json
import sys
import types

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from gcd_core.errors import GCDError
from gcd_core.generators.weights import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    GeneratorWeights,
    load_latent_statistics,
    load_strictly,
    read_weights,
    save_generator,
    save_sharded,
)

from .conftest import small_model

WEIGHTS = {"out.0.weight": torch.tensor([1.0, 2.0]), "encoder.bias": torch.tensor([[0.5]])}
EMA = {f"ema_model.{name}": tensor for name, tensor in WEIGHTS.items()}
OFFICIAL = EMA | {"model.out.0.weight": torch.zeros(2), "x_T": torch.zeros(3)}


def same(found, expected):
    return found.keys() == expected.keys() and all(
        found[k].dtype == torch.float32 and torch.equal(found[k], expected[k]) for k in expected
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.pt", WEIGHTS),
        ("plain.pth", WEIGHTS),
        ("ema.pt", EMA),
        ("half.pt", {k: v.half() for k, v in EMA.items()}),
        ("official.pt", OFFICIAL),
        ("lightning.ckpt", {"state_dict": OFFICIAL, "epoch": 3, "hyper_parameters": {"T": 1000}}),
        ("plain.safetensors", WEIGHTS),
        ("ema.safetensors", EMA),
        ("official.safetensors", OFFICIAL),
    ],
)
def test_every_official_kind_gives_the_same_weights(tmp_path, name, content):
    write = save_file if name.endswith("safetensors") else torch.save
    write(content, tmp_path / name)
    found = read_weights(tmp_path / name)
    assert same(found.diffae, WEIGHTS) and not (found.codec or found.whitening or found.distilled)


def test_the_format_before_zip_is_read(tmp_path):
    torch.save(EMA, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "old.pt").diffae, WEIGHTS)


def test_codec_weights_are_told_apart(tmp_path):
    save_file(EMA | {"codec.decoder.bias": torch.ones(2)}, tmp_path / "both.safetensors")
    found = read_weights(tmp_path / "both.safetensors")
    assert same(found.diffae, WEIGHTS) and same(found.codec, {"decoder.bias": torch.ones(2)})


def test_every_part_comes_back_from_the_files_that_save_generator_writes(tmp_path):
    parts = ("diffae", "codec", "whitening", "distilled")
    weights = GeneratorWeights(
        **{p: {"w": torch.full((2,), float(i))} for i, p in enumerate(parts)}
    )
    save_generator({"kind": "diffae"}, weights, tmp_path)
    assert json.loads((tmp_path / CONFIG_NAME).read_text()) == {"kind": "diffae"}
    found = read_weights(tmp_path / WEIGHTS_NAME)
    assert all(same(getattr(found, part), getattr(weights, part)) for part in parts)


def test_a_class_that_old_lightning_mentions_is_harmless(tmp_path, monkeypatch):
    module = types.ModuleType("pytorch_lightning.callbacks")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
        patch.setitem(sys.modules, module.__name__, module)
        states = {callback: {"best_model_score": torch.tensor(0.1)}}
        torch.save({"state_dict": OFFICIAL, "callbacks": states}, tmp_path / "old.ckpt")
    assert same(read_weights(tmp_path / "old.ckpt").diffae, WEIGHTS)


class RunsCode:
    """What unpickling would run writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    torch.save({"state_dict": OFFICIAL, "extra": RunsCode(trap)}, tmp_path / "evil.ckpt")
    with pytest.raises(GCDError, match=r"evil.ckpt holds Python objects \(\w*\.open\)"):
        read_weights(tmp_path / "evil.ckpt")
    assert not trap.exists()


def test_a_pickled_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(GCDError, match=r"torch.nn.modules.linear.Linear.*state dict"):
        read_weights(tmp_path / "module.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list; expected a dictionary"),
        ({"epoch": 3}, "holds int under 'epoch'"),
        ({"out": torch.ones(2, dtype=torch.int64)}, "holds torch.int64 under 'out'"),
        ({"state_dict": [1]}, "no state dict under 'state_dict'"),
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(GCDError, match=message):
        read_weights(tmp_path / "other.pt")


@pytest.mark.parametrize("name", ["cut.pt", "cut.ckpt", "cut.safetensors"])
@pytest.mark.parametrize("kept", [0, 0.02, 0.5, 0.98])
def test_a_truncated_file_is_refused(tmp_path, name, kept):
    write = save_file if name.endswith("safetensors") else torch.save
    write(EMA, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(GCDError, match=f"{name} is not a readable"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["page.pt", "page.safetensors"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<html>Not found</html>" * 50)
    with pytest.raises(GCDError, match="fetch it again"):
        read_weights(tmp_path / name)


def test_an_absent_file_and_an_unknown_kind_are_refused(tmp_path):
    with pytest.raises(GCDError, match="no weights file"):
        read_weights(tmp_path / "absent.pt")
    (tmp_path / "weights.onnx").touch()
    with pytest.raises(GCDError, match=r"weights.onnx is not a kind.*\.safetensors"):
        read_weights(tmp_path / "weights.onnx")


@pytest.fixture
def sharded(tmp_path):
    """Three tensors in shards that hold one each."""
    state = {f"ema_model.{i}": torch.full((1000,), float(i)) for i in range(3)}
    return save_sharded(state, tmp_path / "model", "generator", max_bytes=7000)


def test_shards_hold_what_was_saved(sharded):
    weights = read_weights(sharded).diffae
    assert same(weights, {str(i): torch.full((1000,), float(i)) for i in range(3)})
    files = sorted(path.name for path in sharded.parent.iterdir())
    assert files == [f"generator-0000{i}-of-00003.safetensors" for i in (1, 2, 3)] + [
        "generator.safetensors.index.json"
    ]
    for path in sharded.parent.glob("*.safetensors"):
        assert path.stat().st_size <= 7000
        assert all(tensor.dtype == torch.float16 for tensor in load_file(path).values())


@pytest.mark.parametrize("count", [1, 40, 400])
def test_no_shard_is_too_large_however_many_tensors(tmp_path, count):
    state = {f"a.rather.long.name.of.a.layer.{i}": torch.randn(50) for i in range(count)}
    index = save_sharded(state, tmp_path, "many", max_bytes=10_000, dtype=torch.float32)
    assert all(path.stat().st_size <= 10_000 for path in tmp_path.iterdir() if path != index)
    assert same(read_weights(index).diffae, state)


def test_saving_again_replaces_all(sharded):
    index = save_sharded({"a": torch.ones(2)}, sharded.parent, "generator")
    assert same(read_weights(index).diffae, {"a": torch.ones(2)})
    assert len(list(sharded.parent.iterdir())) == 2


def test_a_failed_save_leaves_the_old_files(sharded):
    with pytest.raises(GCDError, match="'big' takes"):
        save_sharded({"big": torch.ones(9000)}, sharded.parent, "generator", max_bytes=7000)
    assert len(read_weights(sharded).diffae) == 3


def test_a_disk_that_fills_up_between_shards_leaves_the_old_files(sharded, monkeypatch):
    before = {path.name: path.read_bytes() for path in sharded.parent.iterdir()}
    written = []

    def full_after_two(state, metadata):
        written.append(state)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return save(state, metadata)

    monkeypatch.setattr("gcd_core.generators.weights.save", full_after_two)
    state = {f"ema_model.{i}": torch.full((1000,), 9.0) for i in range(3)}
    with pytest.raises(GCDError, match="No space left"):
        save_sharded(state, sharded.parent, "generator", max_bytes=7000)
    assert {path.name: path.read_bytes() for path in sharded.parent.iterdir()} == before


@pytest.mark.parametrize(
    "shard",
    [
        "../evil.safetensors",
        "/etc/evil.safetensors",
        "sub/evil.safetensors",
        "sub\\evil.safetensors",
        "C:evil.safetensors",
        "evil.pt",
        7,
    ],
)
def test_an_index_may_name_only_its_neighbours(tmp_path, shard):
    inside = tmp_path / "inside"
    inside.mkdir()
    save_file(WEIGHTS, tmp_path / "evil.safetensors")
    index = inside / "x.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"out.0.weight": shard}}))
    with pytest.raises(GCDError, match="plain name"):
        read_weights(index)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": []}}'])
def test_an_index_of_another_form_is_refused(tmp_path, text):
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(text)
    with pytest.raises(GCDError, match="not an index of shards"):
        read_weights(index)


def test_shards_that_do_not_fit_their_index_are_refused(sharded):
    table = json.loads(sharded.read_text())
    first = table["weight_map"]["ema_model.0"]
    sharded.write_text(json.dumps({"weight_map": {"ema_model.7": first}}))
    with pytest.raises(GCDError, match=f"{first} lacks ema_model.7"):
        read_weights(sharded)
    (sharded.parent / first).unlink()
    with pytest.raises(GCDError, match=f"{first} is missing"):
        read_weights(sharded)


def test_names_and_shapes_must_match():
    model = small_model()
    weights = dict(model.state_dict())
    load_strictly(small_model(1), weights, "DiffAE")

    taken = weights.pop("out.2.bias")
    with pytest.raises(GCDError, match=r"1 missing \(out.2.bias\)"):
        load_strictly(model, weights, "DiffAE")
    weights["latent_net.0.weight"] = taken
    with pytest.raises(GCDError, match=r"1 missing .*1 unexpected \(latent_net.0.weight\)"):
        load_strictly(model, weights, "DiffAE")
    del weights["latent_net.0.weight"]
    weights["out.2.bias"] = torch.zeros(5)
    with pytest.raises(GCDError, match=r"out.2.bias is \(5,\), expected \(2,\)"):
        load_strictly(model, weights, "DiffAE")


def test_loading_takes_the_weights_over():
    source, target = small_model(0), small_model(1)
    load_strictly(target, source.state_dict(), "DiffAE")
    for name, tensor in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], tensor)


def test_latent_statistics(tmp_path):
    table = {"conds": torch.zeros(9, 4), "conds_mean": torch.arange(4.0)}
    torch.save(table | {"conds_std": torch.ones(1, 4)}, tmp_path / "latent.pkl")
    mean, std = load_latent_statistics(tmp_path / "latent.pkl")
    assert torch.equal(mean, torch.arange(4.0)) and torch.equal(std, torch.ones(4))

    torch.save(table, tmp_path / "half.pkl")
    with pytest.raises(GCDError, match="conds_std"):
        load_latent_statistics(tmp_path / "half.pkl")
    with pytest.raises(GCDError, match="no file"):
        load_latent_statistics(tmp_path / "absent.pkl")
