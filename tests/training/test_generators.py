"""Training codec and DiffAE on drawn pictures: the commands themselves, killed and resumed."""

import argparse
import csv
import json
from pathlib import Path

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Latent
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.solvers import ddim
from gcd_core.images.dataset import load_split
from gcd_core.training import diffae, distilled, vae
from tests.training.radiographs import write_data_set


def run(module, *flags: str, **options: object) -> None:
    """Run a training command as the command line does."""
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    words = list(flags)
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    module.main(parser.parse_args(words))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with data, a codec and a DiffAE that were trained for a few steps."""
    folder = tmp_path_factory.mktemp("trained")
    data = write_data_set(folder, {"train": 16, "val": 12, "test": 4})
    run(vae, data=data, out=folder / "vae", steps=60, size=32, widths=[8, 16, 16], batch=8)
    run(
        diffae,
        data=data,
        codec=folder / "vae",
        out=folder / "diffae",
        steps=6,
        model_channels=32,
        channel_mult=[1, 1],
        attention=[2],
        z_sem=32,
        augmentations=1,
        batch=8,
    )
    return folder


def test_the_codec_learns(trained: Path) -> None:
    metrics = json.loads((trained / "vae" / "metrics.json").read_text())
    images, _ = load_split(trained / "images.zip", None, "test", 32, 1)
    blank = (images.float() / 255 - 0.5).abs().mean().item()
    assert metrics["test"]["mae"] < 0.7 * blank


def test_the_generator_that_training_writes_is_one_that_loads(trained: Path) -> None:
    folder = trained / "diffae"
    generator = load_generator(
        folder / "generator.json", folder / "generator.safetensors.index.json", "cpu"
    )
    assert (generator.image_size, generator.channels) == (32, 1)
    images, _ = load_split(trained / "images.zip", None, "test", 32, 1)
    latent = generator.encode(images.float() / 255, solver="ddim", steps=4)
    assert latent.z_sem.shape == (4, generator.z_sem_size)
    assert 1 <= generator.z_sem_size <= 32  # the principal coordinates that were kept
    assert latent.z_T.shape == (4, 8, 4, 4)
    assert generator.decode(latent, solver="ddim", steps=4).shape == (4, 1, 32, 32)
    assert list(folder.glob("samples-*.png"))


def test_training_goes_on_where_it_stopped(trained: Path) -> None:
    state = torch.load(trained / "diffae" / "checkpoint.pt", weights_only=True)
    options = dict(
        data=trained / "images.zip",
        codec=trained / "vae",
        out=trained / "diffae",
        model_channels=32,
        channel_mult=[1, 1],
        attention=[2],
        z_sem=32,
        augmentations=1,
        batch=8,
    )
    run(diffae, steps=state["step"] + 3, **options)
    later = torch.load(trained / "diffae" / "checkpoint.pt", weights_only=True)
    assert later["step"] == state["step"] + 3
    assert later["spent"] > state["spent"]
    with pytest.raises(GCDError, match="batch"):
        run(diffae, steps=9, **(options | {"batch": 4}))


def test_a_log_has_a_row_for_each_report(tmp_path: Path) -> None:
    from gcd_core.training.loop import Clock, Log

    log = Log(tmp_path / "log.csv")
    log.write(Clock(1), step=1, loss=0.5)
    log.write(Clock(1), step=2, loss=0.25)
    with open(tmp_path / "log.csv", newline="") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["0.5", "0.25"]


def test_a_codec_that_is_not_there_is_named(tmp_path: Path) -> None:
    data = write_data_set(tmp_path, {"train": 2, "val": 2})
    with pytest.raises(GCDError, match="train vae"):
        run(diffae, data=data, codec=tmp_path / "none", out=tmp_path / "out")


def test_moved_copies_keep_range_and_shape() -> None:
    x = torch.rand(3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    moved = diffae.moved(x, torch.Generator().manual_seed(1))
    assert moved.shape == x.shape
    assert moved.min() >= 0 and moved.max() <= 1
    assert not torch.allclose(moved, x, atol=0.05)


def test_training_the_decoder_alone_keeps_the_latents_and_mends_the_pictures(
    trained: Path,
) -> None:
    data = trained / "images.zip"
    run(vae, data=data, out=trained / "again", decoder_of=trained / "diffae", steps=60, size=32)
    folders = [trained / "diffae", trained / "again"]
    before, after = (
        load_generator(
            folder / "generator.json", folder / "generator.safetensors.index.json", precision="fp32"
        )
        for folder in folders
    )
    images = load_split(data, None, "train", 32, 1)[0].float() / 255
    latents = before.codec.encode(images)
    torch.testing.assert_close(after.codec.encode(images), latents)
    torch.testing.assert_close(after.encode_semantic(images), before.encode_semantic(images))
    errors = [(g.codec.decode(latents) - images).abs().mean() for g in (before, after)]
    assert errors[1] < errors[0]


@pytest.fixture(scope="module")
def distilled_options(trained: Path) -> dict[str, object]:
    return dict(
        of=trained / "diffae",
        data=trained / "images.zip",
        out=trained / "distilled",
        radius=2,
        batch=8,
        reuse=4,
        lr=1e-3,
        ema=0.9,
    )


def load(folder: Path, **options: object) -> DiffAE:
    files = folder / "generator.json", folder / "generator.safetensors.index.json"
    return load_generator(*files, "cpu", **options)


def test_a_distilled_decoder_comes_nearer_its_teacher_than_the_teacher_in_as_few_steps(
    trained: Path, distilled_options: dict[str, object]
) -> None:
    run(distilled, steps=60, **distilled_options)
    before, after = (load(trained / name, precision="fp32") for name in ("diffae", "distilled"))
    assert after.identity == before.identity and before.live_solver is None
    images = load_split(trained / "images.zip", None, "val", 32, 1)[0].float() / 255
    latent = after.encode(images, "distilled")
    noise = torch.Generator().manual_seed(5)
    latent = latent.with_z_sem(latent.z_sem + torch.randn(latent.z_sem.shape, generator=noise))
    full = before.decode(latent, "dpm++2m", 8)
    assert torch.equal(after.decode(latent, "dpm++2m", 8), full)
    untrained = before.unfold(ddim(before.noise_model(latent.z_sem), latent.z_T, [650, 250]))
    errors = [(some - full).abs().mean() for some in (after.decode(latent, "distilled"), untrained)]
    assert errors[0] < 0.7 * errors[1]


def test_distilling_goes_on_where_it_stopped_and_keeps_its_examples(
    trained: Path, distilled_options: dict[str, object]
) -> None:
    checkpoint = trained / "distilled" / "checkpoint.pt"
    if not checkpoint.is_file():
        run(distilled, steps=4, **distilled_options)
    state = torch.load(checkpoint, weights_only=True)
    run(distilled, steps=state["step"] + 1, **distilled_options)
    later = torch.load(checkpoint, weights_only=True)
    assert later["step"] == state["step"] + 1
    assert torch.equal(later["x_0"][: len(state["x_0"])], state["x_0"])
    with pytest.raises(GCDError, match="radius"):
        run(distilled, steps=9, **(distilled_options | {"radius": 3}))


def test_the_examples_are_what_the_teacher_decodes(trained: Path) -> None:
    teacher = load(trained / "diffae", precision="fp32")
    images = load_split(trained / "images.zip", None, "val", 32, 1)[0].float() / 255
    source, table = torch.Generator().manual_seed(0), {"solver": "dpm++2m", "steps": 8}
    examples = distilled.Examples.of(teacher, images, 2.0, source, table)
    count, copies = len(images), distilled.CODES
    assert len(examples) == (1 + copies) * count
    own = teacher.encode(images)
    assert torch.allclose(examples.x_0[:count], teacher.fold(images), atol=1e-5)
    assert torch.allclose(examples.z_T[:count], own.z_T, atol=1e-4)
    assert torch.allclose(examples.z_sem[:count], teacher.raw(own.z_sem), atol=1e-4)
    codes = teacher.whitening(examples.z_sem[count:])
    lengths = (codes - own.z_sem.repeat(copies, 1)).norm(dim=1)
    assert lengths.max() <= 2.01 and lengths.min() < 1 < lengths.max()
    decoded = teacher.decode(Latent(codes, examples.z_T[count:]))
    assert torch.allclose(teacher.unfold(examples.x_0[count:]), decoded, atol=1e-3)


def test_only_a_diffae_is_distilled(trained: Path, distilled_options: dict[str, object]) -> None:
    out = trained / "plain"
    data = trained / "images.zip"
    options = dict(size=32, widths=[8, 16, 16], batch=8, latent_channels=2, steps=2)
    run(vae, "--generator", data=data, out=out, **options)
    with pytest.raises(GCDError, match="no DiffAE"):
        run(distilled, steps=1, **(distilled_options | {"of": out, "out": trained / "none"}))
    assert not (trained / "none").exists()
    for wrong in ({"times": [250, 650]}, {"radius": 0}, {"batch": 0}, {"reuse": 0}):
        with pytest.raises(GCDError):
            run(distilled, steps=1, **(distilled_options | wrong | {"out": trained / "none"}))
    assert not (trained / "none").exists()


def test_an_autoencoder_becomes_a_generator(trained: Path) -> None:
    data, out = trained / "images.zip", trained / "autoencoder"
    run(
        vae,
        "--generator",
        data=data,
        out=out,
        steps=60,
        size=32,
        widths=[8, 16, 16],
        batch=8,
        latent_channels=2,
    )
    generator = load_generator(out / "generator.json", out / "generator.safetensors.index.json")
    images = load_split(data, None, "train", 32, 1)[0].float() / 255
    codes = generator.encode_semantic(images)
    assert 0 < generator.z_sem_size <= 2 * 4 * 4
    torch.testing.assert_close(codes.mean(0), torch.zeros(generator.z_sem_size), atol=0.05, rtol=0)
    torch.testing.assert_close(codes.std(0), torch.ones(generator.z_sem_size), atol=0.05, rtol=0)
