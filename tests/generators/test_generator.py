"""The whole generator: parity with the official implementation, batches, precision, identity."""

import json
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

import gcd_core as gcd
from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device, choose_precision
from gcd_core.generators.diffae.generator import DiffAE
from gcd_core.generators.sampling import Sampling

from .conftest import GOLDEN, SMALL, golden_config, small_model


def load_golden(name, **changes):
    return gcd.load_generator(
        golden_config(name) | changes,
        GOLDEN / f"{name}.weights.safetensors",
        device="cpu",
        precision="fp32",
    )


@pytest.mark.parametrize("name", ["tiny_rgb", "tiny_gray"])
@pytest.mark.slow
def test_ddim_equals_the_official_one(name):
    generator, golden = load_golden(name), load_file(GOLDEN / f"{name}.tensors.safetensors")
    latent = generator.encode((golden["x"] + 1) / 2, solver="ddim", steps=20)
    assert (latent.z_sem - golden["z_sem"]).abs().max() < 1e-4
    official = Latent(golden["z_sem"], golden["x_T_ddim20"])
    decoded = {f"decoded_ddim{n}": generator.decode(official, "ddim", n) * 2 - 1 for n in (20, 10)}
    for key, found in {"x_T_ddim20": latent.z_T, **decoded}.items():
        difference = (found - golden[key]).abs()
        assert difference.mean() < 1e-4 and difference.max() < 1e-2, key


def test_predicted_noise_equals_the_official_one():
    generator = load_golden("tiny_gray")
    golden = load_file(GOLDEN / "tiny_gray.tensors.safetensors")
    eps = generator.predict_noise(golden["x_t"], golden["t"], golden["z_sem"])
    assert (eps - golden["eps"]).abs().max() < 1e-4
    one = generator.predict_noise(golden["x_t"][:1], int(golden["t"][0]), golden["z_sem"][:1])
    assert (one - golden["eps"][:1]).abs().max() < 1e-4
    assert generator.evaluations == 3


@pytest.fixture
def images():
    return torch.rand(5, 2, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("solver", ["ddim", "dpm++2m"])
def test_shapes_ranges_and_count(generator, images, solver):
    latent = generator.encode(images, solver=solver, steps=3)
    assert latent.z_sem.shape == (5, 16) and latent.z_T.shape == (5, 2, 16, 16)
    assert generator.evaluations == 15
    decoded = generator.decode(latent, solver=solver, steps=2)
    assert decoded.shape == images.shape and decoded.min() >= 0 and decoded.max() <= 1
    assert generator.evaluations == 25
    assert torch.equal(latent.z_sem, generator.encode_semantic(images))
    assert generator.evaluations == 25


def test_solver_and_steps_default_to_the_sampling(model, images):
    generator = DiffAE(model, sampling=Sampling("dpm++2m", 4, 3), precision="fp32")
    latent = generator.encode(images)
    assert generator.evaluations == 20
    assert torch.equal(latent.z_T, generator.encode(images, "dpm++2m", 4).z_T)
    assert torch.equal(generator.decode(latent), generator.decode(latent, "dpm++2m", 3))
    assert generator.evaluations == 20 + 20 + 15 + 15


def test_inversion_under_another_code(generator, images):
    codes = torch.randn(5, 16)
    latent = generator.encode(images, steps=3, z_sem=codes)
    assert torch.equal(latent.z_sem, codes)
    assert not torch.equal(latent.z_T, generator.encode(images, steps=3).z_T)


def test_batches_do_not_matter_and_progress_follows_them(generator, images):
    latent = generator.encode(images, steps=2)
    calls = []
    batched = generator.decode(
        latent, steps=2, batch_size=2, progress=lambda *call: calls.append(call)
    )
    assert calls == [(2, 5), (4, 5), (5, 5)]
    assert torch.allclose(batched, generator.decode(latent, steps=2), atol=1e-5)


def test_what_progress_raises_stops_the_work(generator, images):
    latent = generator.encode(images, steps=2)

    def stop(done, total):
        raise gcd.Cancelled

    before = generator.evaluations
    with pytest.raises(gcd.Cancelled):
        generator.decode(latent, steps=2, batch_size=1, progress=stop)
    assert generator.evaluations == before + 2


def test_a_batch_too_large_for_the_memory_is_halved(generator, images):
    latent, whole = generator.encode(images, steps=2), generator._unet.unet
    expected = generator.decode(latent, steps=2)
    sizes = []

    def small_memory(x, t, z_sem):
        sizes.append(len(x))
        if len(x) > 2:
            raise torch.OutOfMemoryError
        return whole(x, t, z_sem)

    generator._unet.unet = small_memory
    decoded = generator.decode(latent, steps=1, batch_size=5)
    assert sizes == [5, 2, 2, 1] and decoded.shape == expected.shape

    def no_memory(x, t, z_sem):
        raise torch.OutOfMemoryError

    generator._unet.unet = no_memory
    with pytest.raises(GCDError, match="memory"):
        generator.decode(latent, steps=1)


def test_the_latents_can_be_differentiated_through(generator, images):
    latent = generator.encode(images, steps=1)
    layer = torch.nn.Linear(16, 1)
    layer(latent.z_sem).sum().backward()
    assert layer.weight.grad.any()


def test_the_count_is_right_from_several_threads(generator, images):
    latent = generator.encode(images[:1], steps=1)
    generator._unet.unet = lambda x, t, z_sem: x
    before = generator.evaluations
    work = [threading.Thread(target=generator.decode, args=(latent, "ddim", 50)) for _ in range(8)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert generator.evaluations == before + 400


CODEC = {
    "kind": "vae",
    "image_size": 64,
    "channels": 1,
    "latent_channels": 2,
    "widths": [8, 16],
    "encoder_blocks": [0, 1],
    "decoder_blocks": [1, 1],
}


def small_codec(seed=0):
    torch.manual_seed(seed)
    return VAE.from_config(CODEC).eval()


def test_a_codec_goes_below_and_nothing_above_notices(model):
    codec = small_codec()
    generator = DiffAE(model, codec, precision="fp32")
    assert (generator.image_size, generator.channels, generator.z_sem_size) == (64, 1, 16)
    assert not generator.clip_denoised
    images = torch.rand(2, 1, 64, 64)
    latent = generator.encode(images, "dpm++2m", 3)
    assert latent.z_T.shape == (2, 2, 16, 16)
    with torch.no_grad():
        assert torch.allclose(latent.z_sem, model.encoder(codec.encode(images)), atol=1e-6)
    decoded = generator.decode(latent, "dpm++2m", 3)
    assert decoded.shape == images.shape and decoded.min() >= 0 and decoded.max() <= 1


def test_a_codec_of_another_size_is_refused(model):
    with pytest.raises(GCDError, match=r"latents are \(2, 8, 8\).*\(2, 16, 16\)"):
        DiffAE(model, VAE.from_config(CODEC | {"image_size": 32}))


@pytest.fixture
def files(tmp_path, model):
    """Write configuration and weights, with a codec."""
    config = SMALL | {"codec": CODEC, "sampling": {"solver": "dpm++2m", "encode_steps": 7}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = {f"ema_model.{k}": v for k, v in model.state_dict().items()}
    state |= {f"codec.{k}": v for k, v in small_codec().state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    return tmp_path / "config.json", tmp_path / "weights.safetensors"


def test_loading_from_files(files, model):
    generator = gcd.load_generator(*files, device="cpu", precision="fp32")
    assert generator.sampling == Sampling("dpm++2m", 7, 20)
    twin = DiffAE(model, small_codec(), precision="fp32")
    assert generator.identity == twin.identity
    images = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(generator.encode_semantic(images), twin.encode_semantic(images))


def test_identity_is_of_the_weights_not_of_the_file(files, tmp_path, model):
    config, weights = files
    state = load_file(weights)
    torch.save({"state_dict": state}, tmp_path / "weights.ckpt")
    generator = gcd.load_generator(config, weights, "cpu")
    assert generator.identity == gcd.load_generator(config, tmp_path / "weights.ckpt").identity
    assert len(generator.identity) == 16 and int(generator.identity, 16) >= 0

    state["codec.decoder.0.bias"] += 1e-3
    torch.save(state, tmp_path / "other.pt")
    assert generator.identity != gcd.load_generator(config, tmp_path / "other.pt", "cpu").identity
    assert DiffAE(small_model(0)).identity != DiffAE(small_model(1)).identity


def test_files_that_do_not_belong_together_are_refused(files, tmp_path):
    config, weights = files
    table = json.loads(config.read_text())
    with pytest.raises(GCDError, match="describes none; add its 'codec'"):
        gcd.load_generator({k: v for k, v in table.items() if k != "codec"}, weights)
    with pytest.raises(GCDError, match="do not fit the DiffAE"):
        gcd.load_generator(table | {"model_channels": 64}, weights)
    with pytest.raises(GCDError, match="do not fit the codec"):
        gcd.load_generator(table | {"codec": CODEC | {"widths": [16, 16]}}, weights)
    with pytest.raises(GCDError, match="unknown key 'stride'"):
        gcd.load_generator(table | {"sampling": {"stride": 2}}, weights)
    with pytest.raises(GCDError, match="no solver 'euler'"):
        gcd.load_generator(table | {"sampling": {"solver": "euler"}}, weights)


@pytest.mark.parametrize("text", ["not json", "[1]", None])
def test_a_configuration_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(GCDError, match=r"config\.json"):
        gcd.load_generator(path, tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    "wrong",
    [
        torch.rand(1, 2, 8, 8),
        torch.rand(1, 1, 16, 16),
        torch.rand(2, 16, 16),
        torch.rand(0, 2, 16, 16),
        torch.ones(1, 2, 16, 16, dtype=torch.uint8),
    ],
)
def test_wrong_images_are_refused(generator, wrong):
    with pytest.raises(GCDError, match="Images of"):
        generator.encode(wrong)


def test_wrong_latents_are_refused(generator):
    z_sem, z_T = torch.zeros(1, 16), torch.zeros(1, 2, 16, 16)
    with pytest.raises(GCDError, match=r"expected \(1, 16\)"):
        generator.decode(Latent(torch.zeros(1, 8), z_T))
    with pytest.raises(GCDError, match="use a latent that it made"):
        generator.decode(Latent(z_sem, torch.zeros(1, 2, 8, 8)))
    with pytest.raises(GCDError, match="x_t is"):
        generator.predict_noise(torch.zeros(1, 3, 16, 16), 5, z_sem)
    for t in (-1, 1000, 0.5, torch.tensor([3, 1000])):
        with pytest.raises(GCDError, match="integers 0 to 999"):
            generator.predict_noise(z_T.expand(2, -1, -1, -1), t, z_sem)
    with pytest.raises(GCDError, match="steps"):
        generator.decode(Latent(z_sem, z_T), steps=0)


def test_bf16_differs_by_its_rounding_only(images):
    exact = DiffAE(small_model(), precision="fp32")
    fast = DiffAE(small_model(), precision="bf16")
    assert exact.identity == fast.identity
    z_sem = exact.encode_semantic(images)
    assert torch.equal(z_sem, fast.encode_semantic(images))
    x, t = torch.randn(5, 2, 16, 16), torch.tensor([0, 10, 100, 500, 999])
    there, here = exact.predict_noise(x, t, z_sem), fast.predict_noise(x, t, z_sem)
    assert here.dtype == torch.float32
    assert 0 < (there - here).abs().mean() < 0.02 * there.abs().mean()


def test_precision_and_device_are_chosen_or_refused(monkeypatch):
    cpu = torch.device("cpu")
    for capabilities, chosen in (({"amx_bf16": True}, "bf16"), ({"avx2": True}, "fp32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert choose_precision("auto", cpu) == chosen
        assert choose_precision("fp32", cpu) == "fp32"
    with pytest.raises(GCDError, match="'fp8'"):
        choose_precision("fp8", cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == cpu
    with pytest.raises(GCDError, match="no GPU"):
        choose_device("cuda")
    with pytest.raises(GCDError, match="no device"):
        choose_device("warp drive")
