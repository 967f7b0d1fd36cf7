"""The distilled decoder: its steps against their formula, its files, and what is refused."""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file

import gcd_core as gcd
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.diffae.solvers import alpha_sigma
from gcd_core.generators.sampling import Distilled, Sampling

from .conftest import SMALL, small_model

TABLE = {"times": [650, 250], "solver": "dpm++2m", "steps": 4}


def small_student(seed=1):
    student = small_model(seed)
    del student.encoder
    return student


@pytest.fixture
def generator(model):
    student = (small_student(), Distilled.from_config(TABLE))
    return DiffAE(model, sampling=Sampling("ddim", 3, 3), precision="fp32", distilled=student)


@pytest.fixture
def images():
    return torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def test_it_takes_its_ddim_steps_with_the_students_noise(generator, images):
    latent = generator.encode(images, solver="distilled")
    before = generator.evaluations
    found = generator.decode(latent, solver="distilled")
    assert generator.evaluations - before == 2 * 3
    student = small_student()
    with torch.no_grad():
        (a, s), (b, r) = alpha_sigma(650), alpha_sigma(250)
        eps = student(latent.z_T, torch.full((3,), 650), latent.z_sem)
        x = b * (latent.z_T - s * eps) / a + r * eps
        eps = student(x, torch.full((3,), 250), latent.z_sem)
        expected = ((x - r * eps) / b + 1) / 2
    assert (found - expected.clamp(0, 1)).abs().max() < 1e-4


def test_it_encodes_as_its_teacher_does(generator, images):
    latent = generator.encode(images, solver="distilled", steps=2)
    assert generator.evaluations == 4 * 3
    teacher = generator.encode(images, solver="dpm++2m", steps=4)
    assert torch.equal(latent.z_T, teacher.z_T) and torch.equal(latent.z_sem, teacher.z_sem)


def test_the_default_stays_the_full_decoder(generator, images):
    assert generator.live_solver == "distilled"
    latent = generator.encode(images)
    full = generator.decode(latent)
    assert torch.equal(full, generator.decode(latent, "ddim", 3))
    assert not torch.allclose(full, generator.decode(latent, "distilled"), atol=1e-3)


def test_the_full_decoder_is_what_it_is_without_one(generator, model, images):
    alone = DiffAE(copy.deepcopy(model), sampling=Sampling("ddim", 3, 3), precision="fp32")
    latent = alone.encode(images)
    assert torch.equal(alone.decode(latent), generator.decode(latent))
    assert alone.identity == generator.identity  # codes and directions are the same
    assert alone.live_solver is None


@pytest.mark.parametrize("steps", [1, 3])
def test_other_steps_than_its_own_are_refused(generator, images, steps):
    latent = generator.encode(images)
    before = generator.evaluations
    for work in (generator.encode, generator.decode):
        with pytest.raises(GCDError, match="takes 2 steps"):
            work(images if work == generator.encode else latent, "distilled", steps)
    assert generator.evaluations == before


def test_a_generator_without_one_says_how_to_make_it(model, images):
    generator = DiffAE(model, precision="fp32")
    with pytest.raises(GCDError, match="train distilled"):
        generator.encode(images, solver="distilled")


def test_bf16_is_near_fp32(model, images):
    found = []
    for precision in ("fp32", "bf16"):
        student = (small_student(), Distilled.from_config(TABLE))
        generator = DiffAE(copy.deepcopy(model), precision=precision, distilled=student)
        latent = DiffAE(copy.deepcopy(model), precision="fp32").encode(images, "dpm++2m", 4)
        found.append(generator.decode(latent, "distilled"))
    assert 0 < (found[0] - found[1]).abs().mean() < 0.02


def write(folder, student=True, **changes):
    weights = {f"ema_model.{k}": v for k, v in small_model().state_dict().items()}
    if student:
        weights |= {f"distilled.{k}": v for k, v in small_student().state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "weights.safetensors")
    config = SMALL | {"distilled": TABLE} | changes
    config = {k: v for k, v in config.items() if v is not None}
    (folder / "generator.json").write_text(json.dumps(config))
    return folder / "generator.json", folder / "weights.safetensors"


def test_files_give_the_same_decoder(tmp_path, generator, images):
    loaded = gcd.load_generator(*write(tmp_path), device="cpu", precision="fp32")
    latent = generator.encode(images, "distilled")
    assert torch.equal(loaded.encode(images, "distilled").z_T, latent.z_T)
    found = loaded.decode(latent, "distilled")
    assert torch.allclose(found, generator.decode(latent, "distilled"), atol=1e-6)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"distilled": None}, "holds a distilled decoder"),
        ({"student": False}, "lacks a distilled decoder"),
        ({"distilled": {**TABLE, "times": [250, 650]}}, "descending"),
        ({"distilled": {**TABLE, "times": [650, 650]}}, "descending"),
        ({"distilled": {**TABLE, "times": []}}, "descending"),
        ({"distilled": {**TABLE, "times": [650.0, 250.0]}}, "descending"),
        ({"distilled": {**TABLE, "times": [650]}}, "2 whole numbers"),
        ({"distilled": {**TABLE, "solver": ["ddim"]}}, "no solver"),
        ({"distilled": None, "student": False, "sampling": {"solver": "distilled"}}, "'sampling'"),
        ({"distilled": {**TABLE, "times": [1000, 5]}}, "0 to 999"),
        ({"distilled": {**TABLE, "times": [5, -1]}}, "0 to 999"),
        ({"distilled": {**TABLE, "steps": 0}}, "'steps'"),
        ({"distilled": {**TABLE, "solver": "euler"}}, "euler"),
        ({"distilled": {**TABLE, "solver": "distilled"}}, "no solver"),
        ({"distilled": {"times": [650]}}, "it needs"),
        ({"distilled": 2}, "it needs"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changes, message):
    with pytest.raises(GCDError, match=message):
        gcd.load_generator(*write(tmp_path, **changes), device="cpu")


def test_a_student_of_another_shape_is_refused(tmp_path):
    config, weights = write(tmp_path)
    state = {f"ema_model.{k}": v for k, v in small_model().state_dict().items()}
    state["distilled.out.2.bias"] = torch.zeros(2)
    save_file(state, weights)
    with pytest.raises(GCDError, match="do not fit the distilled decoder"):
        gcd.load_generator(config, weights, device="cpu")
