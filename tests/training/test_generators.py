"""Training codec and DiffAE on drawn pictures: the commands themselves, killed and resumed."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from gcd_core.bridge.bridge import load_bridge
from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Latent
from gcd_core.generators.codec import VAE
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.solvers import ddim
from gcd_core.generators.sampling import Distilled
from gcd_core.generators.weights import read_weights
from gcd_core.images.dataset import load_split
from gcd_core.perceptual import LPIPS
from gcd_core.training import bridge, diffae, distilled, vae
from gcd_core.training.loop import EMA, Plan, autocast, learning_rate
from tests.training.radiographs import write_data_set

pytestmark = pytest.mark.slow

DIFFAE = dict(
    model_channels=32, channel_mult=[1, 1], attention=[2], z_sem=32, augmentations=1, batch=8
)


BRIDGE = dict(size=32, widths=[8, 32], blocks=[1, 1], attention=[0, 1], batch=8)


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
        **DIFFAE,
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
        **DIFFAE,
    )
    run(diffae, steps=state["step"] + 3, **options)
    later = torch.load(trained / "diffae" / "checkpoint.pt", weights_only=True)
    assert later["step"] == state["step"] + 3
    assert later["spent"] > state["spent"]
    with pytest.raises(GCDError, match="batch"):
        run(diffae, steps=9, **(options | {"batch": 4}))


def test_a_codec_that_is_not_there_is_named(tmp_path: Path) -> None:
    data = write_data_set(tmp_path, {"train": 2, "val": 2})
    with pytest.raises(GCDError, match="train vae"):
        run(diffae, data=data, codec=tmp_path / "none", out=tmp_path / "out")


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
    found = (after.decode(latent, "distilled"), untrained)
    errors = [(x - full).abs().mean() for x in found]
    assert errors[0] < 0.7 * errors[1]


def test_distilling_goes_on_where_it_stopped_and_keeps_its_pool(
    trained: Path, distilled_options: dict[str, object]
) -> None:
    checkpoint = trained / "distilled" / "checkpoint.pt"
    if not checkpoint.is_file():
        run(distilled, steps=4, **distilled_options)
    state = torch.load(checkpoint, weights_only=True)
    run(distilled, steps=state["step"] + 1, **distilled_options)
    later = torch.load(checkpoint, weights_only=True)
    assert later["step"] == state["step"] + 1
    pools = [found["training"]["x_0"] for found in (state, later)]
    assert torch.equal(pools[1][: len(pools[0])], pools[0])
    with pytest.raises(GCDError, match="radius"):
        run(distilled, steps=9, **(distilled_options | {"radius": 3}))


def test_the_decodings_are_what_the_teacher_decodes(trained: Path) -> None:
    teacher = load(trained / "diffae", precision="fp32")
    images = load_split(trained / "images.zip", None, "val", 32, 1)[0].float() / 255
    source, student = torch.Generator().manual_seed(0), Distilled((650, 250), "dpm++2m", 8)
    decodings = distilled.Decodings.of(teacher, images, 2.0, source, student)
    count, copies = len(images), distilled.CODES
    assert len(decodings) == (1 + copies) * count
    own = teacher.encode(images)
    assert torch.allclose(decodings.x_0[:count], teacher.fold(images), atol=1e-5)
    assert torch.allclose(decodings.z_T[:count], own.z_T, atol=1e-4)
    assert torch.allclose(decodings.z_sem[:count], teacher.raw(own.z_sem), atol=1e-4)
    codes = teacher.whitening(decodings.z_sem[count:])
    lengths = (codes - own.z_sem.repeat(copies, 1)).norm(dim=1)
    assert lengths.max() <= 2.01 and lengths.min() < 1 < lengths.max()
    decoded = teacher.decode(Latent(codes, decodings.z_T[count:]))
    assert torch.allclose(teacher.unfold(decodings.x_0[count:]), decoded, atol=1e-3)


class Killed(Exception):
    """Stands for a kill between two steps."""


def test_a_semantic_mean_is_learned_and_written(trained: Path, tmp_path: Path) -> None:
    """Begun with another run's network; its codes come to say something of the image."""
    options = DIFFAE | {"data": trained / "images.zip", "codec": trained / "vae", "ema": 0.5}
    flags = ("--semantic-mean", "--decorrelate")
    begin = {"begin_with": trained / "diffae", "out": tmp_path / "out"}
    run(diffae, *flags, **options, **begin, steps=2)
    started = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    begun_with = load(trained / "diffae", precision="fp32").model.state_dict()
    name = "input_blocks.0.0.weight"
    learned = started["learners"][0]["network"][name]
    assert 0 < (learned - begun_with[name]).abs().max() < 0.01
    run(diffae, *flags, **options, out=tmp_path / "out", steps=120)
    generator = load(tmp_path / "out", precision="fp32")
    images, _ = load_split(trained / "images.zip", None, "train", 32, 1)
    images = images.float() / 255
    folded, z_sem = generator.fold(images), generator.encode_semantic(images)
    unsaid = (folded - generator.mean(z_sem)).var() / (folded - folded.mean(0)).var()
    assert unsaid < 0.8
    latent = generator.encode(images[:4])
    error = (generator.decode(latent) - generator.unfold(folded[:4])).abs().mean()
    # How far so short a training comes depends on the machine's speed, by which its rate falls.
    assert error < 0.2
    again = {"begin_with": tmp_path / "out", "out": tmp_path / "again"}  # the mean goes along
    run(diffae, *flags, **options, **again, steps=1)
    mean = read_weights(tmp_path / "out" / "generator.safetensors.index.json").semantic_mean
    state = torch.load(tmp_path / "again" / "checkpoint.pt", weights_only=True)
    learned = state["learners"][1]["network"]
    assert mean["weight"].abs().max() > 0.1
    assert all((learned[name] - weights).abs().max() < 0.01 for name, weights in mean.items())


@pytest.mark.parametrize("kind", ["vae", "adversarial", "diffae", "mean", "distilled", "bridge"])
def test_a_killed_run_resumes_to_the_same_weights(
    kind: str, trained: Path, distilled_options: dict, tmp_path: Path, monkeypatch, capsys
) -> None:
    data = trained / "images.zip"
    codec = dict(data=data, size=32, widths=[8, 16, 16], batch=4)
    flags = ("--semantic-mean", "--decorrelate") if kind == "mean" else ()
    diffusion = DIFFAE | {"data": data, "codec": trained / "vae"}
    module, name, options = {
        "vae": (vae, "CodecTraining", codec),
        "adversarial": (vae, "CodecTraining", codec | {"adversarial": 0.1, "matching": 1}),
        "diffae": (diffae, "DiffusionTraining", diffusion),
        "mean": (diffae, "DiffusionTraining", diffusion),
        "distilled": (distilled, "DistillationTraining", distilled_options),
        "bridge": (bridge, "BridgeTraining", {"data": data} | BRIDGE),
    }[kind]
    options = options | {"minutes": "inf", "steps": 6}
    run(module, *flags, **(options | {"out": tmp_path / "whole"}))
    training = getattr(module, name)
    losses = training.losses

    def killed(self, step):
        if step == 4:
            raise Killed
        return losses(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training, "losses", killed)
        plan = Plan.of

        def saving(*args, **how) -> Plan:
            return plan(*args, **(how | {"save_minutes": 0}))

        patch.setattr(Plan, "of", saving)
        with pytest.raises(Killed):
            run(module, *flags, **(options | {"out": tmp_path / "killed"}))
    run(module, *flags, **(options | {"out": tmp_path / "killed"}))
    assert "resumed at step 4" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "whole").glob("*.safetensors"))
    assert files
    for file in files:
        whole, resumed = (tmp_path / folder / file for folder in ("whole", "killed"))
        assert whole.read_bytes() == resumed.read_bytes()


def test_a_distilled_decoder_may_begin_with_another(
    trained: Path, distilled_options: dict[str, object], tmp_path: Path
) -> None:
    run(distilled, steps=2, **(distilled_options | {"out": tmp_path / "first"}))
    before = read_weights(tmp_path / "first" / "generator.safetensors.index.json").distilled
    begin = {"begin_with": tmp_path / "first", "out": tmp_path / "second"}
    run(distilled, steps=1, **(distilled_options | begin | {"lr": 1e-9}))
    after = read_weights(tmp_path / "second" / "generator.safetensors.index.json").distilled
    assert before.keys() == after.keys()
    assert all((after[name] - value).abs().max() < 1e-4 for name, value in before.items())
    with pytest.raises(GCDError, match="do not fit the distilled decoder"):
        wrong = {"begin_with": trained / "diffae", "out": tmp_path / "third"}
        run(distilled, steps=1, **(distilled_options | wrong))


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


CODEC = dict(size=32, widths=[8, 16, 16], batch=8, minutes="inf")


def codec_weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_weights(folder / "codec.safetensors").codec


def test_without_a_discriminator_the_codec_takes_its_plain_steps(
    trained: Path, tmp_path: Path
) -> None:
    data = trained / "images.zip"
    zero = dict(adversarial=0, matching=0)
    run(vae, data=data, out=tmp_path / "out", steps=3, seed=5, **CODEC, **zero)
    images = load_split(data, None, "train", 32, 1)[0].float() / 255
    perceptual = LPIPS()
    torch.manual_seed(5)
    model = VAE(32, widths=(8, 16, 16)).to(memory_format=torch.channels_last)
    ema = EMA(model, 0.999)
    optimiser = torch.optim.AdamW(model.parameters(), lr=8e-4, betas=(0.9, 0.99))
    for step in range(3):
        source = torch.Generator().manual_seed(5 + step)
        x = images[torch.randint(len(images), (8,), generator=source)]
        with autocast(torch.device("cpu")):
            mean, log_variance = model.posterior(x)
            noise = torch.randn(mean.shape, generator=source)
            y = model.reconstruct(mean + noise * (0.5 * log_variance).exp())
            kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
            loss = (y - x).abs().mean() + 0.4 * perceptual(y, x).mean() + 5e-4 * kl
        optimiser.param_groups[0]["lr"] = learning_rate(8e-4, step / 3)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        ema.update(model, step + 1)
    found = codec_weights(tmp_path / "out")
    for name, expected in ema.module.state_dict().items():
        if not name.startswith("latent_"):  # measured at the end
            torch.testing.assert_close(found[name], expected.half().float(), atol=1e-3, rtol=0)
    state = torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)
    assert len(state["learners"]) == 1


def test_a_discriminator_learns_beside_the_codec_and_changes_it(
    trained: Path, tmp_path: Path
) -> None:
    data = trained / "images.zip"
    for name in ("adversarial", "matching"):
        out = tmp_path / name
        run(vae, data=data, out=out, steps=50, **CODEC, **{name: 1})
        state = torch.load(out / "checkpoint.pt", weights_only=True)
        assert len(state["learners"]) == 2
        header, row = (out / "log.csv").read_text().splitlines()
        assert header == "step,images,l1,lpips,kl,matching,discriminator"
        assert float(row.split(",")[-1]) < 2  # what a discriminator loses that cannot tell
        metrics = json.loads((out / "metrics.json").read_text())
        assert metrics["test"].keys() == {"mae", "lpips", "fine_power"}
    found = [codec_weights(tmp_path / name) for name in ("adversarial", "matching")]
    assert any(not torch.equal(found[0][k], found[1][k]) for k in found[0])


def test_a_codec_begins_with_anothers_weights_where_they_fit(
    trained: Path, tmp_path: Path, capsys
) -> None:
    data, weights = trained / "images.zip", codec_weights(trained / "vae")
    for file in ("vae/codec.safetensors", "diffae/generator.safetensors.index.json"):
        model = VAE(32, widths=(8, 16, 16))
        vae.begin_with(model, trained / file)
        assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
        assert f"begins with {len(weights)} of {len(weights)} tensors" in capsys.readouterr().out
    options = CODEC | {"latent_channels": 2, "begin_with": trained / "vae" / "codec.safetensors"}
    run(vae, data=data, out=tmp_path / "narrow", steps=1, **options)
    # The latent's 8 channels became 2: the encoder's last and the decoder's first convolution, and
    # two statistics.
    printed = capsys.readouterr().out
    assert f"begins with {len(weights) - 5} of {len(weights)} tensors" in printed
    found = codec_weights(tmp_path / "narrow")
    assert found["decoder.0.weight"].shape[1] == 2
    torch.testing.assert_close(
        found["encoder.1.bias"], weights["encoder.1.bias"], atol=2e-3, rtol=0
    )
    with pytest.raises(GCDError, match="No tensor"):
        vae.begin_with(
            VAE(32, widths=(24, 24), latent_channels=4), trained / "vae" / "codec.safetensors"
        )
    with pytest.raises(GCDError, match="not both"):
        run(vae, data=data, out=tmp_path / "no", decoder_of=trained / "diffae", **options)


def test_few_held_out_images_are_enough_for_the_grids(tmp_path: Path) -> None:
    data = write_data_set(tmp_path, {"train": 4, "val": 2, "test": 2})
    run(vae, data=data, out=tmp_path / "vae", steps=1, **CODEC)
    run(diffae, data=data, codec=tmp_path / "vae", out=tmp_path / "diffae", steps=1, **DIFFAE)
    assert (tmp_path / "vae" / "reconstructions.png").is_file()
    assert list((tmp_path / "diffae").glob("samples-*.png"))


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


def test_it_trains_where_the_machine_multiplies_in_bf16(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = torch.autocast("cpu", torch.bfloat16)
    monkeypatch.setattr(diffae, "autocast", lambda device: half)
    options = DIFFAE | {"data": trained / "images.zip", "codec": trained / "vae", "steps": 2}
    run(diffae, "--semantic-mean", "--decorrelate", **options, out=tmp_path / "out")
    assert load(tmp_path / "out", precision="fp32").z_sem_size


def test_a_bridge_learns_to_fill_in_and_is_one_that_loads(trained: Path, tmp_path: Path) -> None:
    data = trained / "images.zip"
    figures = {}
    for steps in (1, 150):
        out = tmp_path / str(steps)
        run(bridge, data=data, out=out, steps=steps, lr=2e-3, **BRIDGE)
        figures[steps] = json.loads((out / "metrics.json").read_text())["test"]
    assert figures[150]["mae"] < 0.7 * figures[1]["mae"]
    made = load_bridge(out / "bridge.json", out / "bridge.safetensors.index.json")
    images = load_split(data, None, "test", 32, 1)[0]
    again = bridge.measure_inpainting(made, images, LPIPS(), steps=100)
    assert again["mae"] == pytest.approx(figures[150]["mae"], abs=0.01)  # half precision
    assert (out / "inpainting.png").is_file()


def test_a_bridge_for_a_side_that_cannot_be_halved_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GCDError, match="multiple of 4"):
        run(bridge, data=tmp_path, out=tmp_path / "out", **(BRIDGE | {"size": 30}))
    assert not (tmp_path / "out").exists()
