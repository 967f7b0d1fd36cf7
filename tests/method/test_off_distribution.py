"""The off-distribution score against its closed form, what it flags, and its file."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.method.off_distribution import (
    OffDistribution,
    calibrate,
    is_far,
    load_off_distribution,
    unlike_words,
)
from gcd_core.wording import PLAIN, worded
from tests.fakes import LinearDomain


class LossyDomain(LinearDomain):
    """A generator that loses a tenth of z_T, so that reconstructions differ from images."""

    def __init__(self) -> None:
        super().__init__(lambda z: z.sum(1))
        exact = self.generator.decode
        self.generator.decode = lambda latent: exact(Latent(latent.z_sem, 0.9 * latent.z_T))


def drawn(domain: LinearDomain, n: int, seed: int, spread: float = 1.0) -> torch.Tensor:
    """Images (n, 1, S, S) whose codes have this deviation, with a little noise beside them."""
    generator = torch.Generator().manual_seed(seed)
    z_sem = spread * torch.randn(n, domain.generator.z_sem_size, generator=generator)
    size = domain.generator.image_size
    noise = 0.02 * torch.randn(n, 1, size, size, generator=generator)
    return domain.generator.draw(z_sem) + noise


@pytest.fixture(scope="module")
def domain() -> LossyDomain:
    return LossyDomain()


@pytest.fixture(scope="module")
def off(domain) -> OffDistribution:
    return calibrate(domain, drawn(domain, 300, 0), drawn(domain, 300, 1), false_alarms=0.05)


def test_the_statistics_are_those_of_the_codes(domain, off) -> None:
    torch.testing.assert_close(off.mean, torch.zeros(8), atol=0.2, rtol=0)
    torch.testing.assert_close(off.std, torch.ones(8), atol=0.15, rtol=0)
    assert off.generator == domain.generator.identity


def test_the_score_is_the_norm_of_what_is_above_the_mean() -> None:
    off = OffDistribution(
        mean=torch.tensor([1.0, 0.0]),
        std=torch.tensor([2.0, 1.0]),
        centre=torch.log(torch.tensor([0.1, 1.0, 1.0])),
        spread=torch.tensor([1.0, 2.0, 1.0]),
        threshold=1.0,
        generator="x",
    )
    z_sem = torch.tensor([[5.0, 2.0], [1.0, 0.0]])  # 2 deviations each; the mean itself
    z_T = torch.stack([torch.full((1, 2, 2), torch.e), torch.full((1, 2, 2), 0.1)])
    scores = off.score_of(torch.tensor([0.1 * torch.e**3, 0.1]), Latent(z_sem, z_T))
    expected = (3**2 + (torch.log(torch.tensor(4.0)) / 2) ** 2 + 2**2).sqrt()
    torch.testing.assert_close(scores, torch.tensor([expected, 0.0]))


def test_fresh_images_pass_and_foreign_ones_do_not(domain, off) -> None:
    def flagged(images: torch.Tensor) -> float:
        return (off.score(domain, images) > off.threshold).float().mean().item()

    assert flagged(drawn(domain, 300, 2)) < 0.1
    assert flagged(drawn(domain, 100, 3, spread=4.0)) > 0.95
    assert flagged(torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(4))) > 0.95


def test_calibration_takes_bytes_and_reports(domain) -> None:
    images = (drawn(domain, 60, 0).clamp(0, 1) * 255).round()
    told = []
    parts = images[:30], images[30:]
    bytes_ = calibrate(
        domain, *(p.to(torch.uint8) for p in parts), progress=lambda *p: told.append(p)
    )
    floats = calibrate(domain, *(p / 255 for p in parts))
    assert bytes_.threshold == pytest.approx(floats.threshold)
    assert told[-1] == (60, 60)


@pytest.mark.parametrize(
    ("train", "validation", "share"), [(1, 30, 0.1), (30, 5, 0.1), (30, 30, 0)]
)
def test_too_little_to_go_by(domain, train, validation, share) -> None:
    with pytest.raises(GCDError):
        calibrate(domain, drawn(domain, train, 0), drawn(domain, validation, 1), share)


def test_file(off, tmp_path) -> None:
    file = tmp_path / "off.safetensors"
    off.save(file)
    loaded = load_off_distribution(file, off.generator)
    assert loaded.threshold == pytest.approx(off.threshold)
    for name in ("mean", "std", "centre", "spread"):
        assert torch.equal(getattr(loaded, name), getattr(off, name))
    assert [p.name for p in tmp_path.iterdir()] == ["off.safetensors"]
    with pytest.raises(GCDError, match="run `calibrate` again"):
        load_off_distribution(file, "another")
    with pytest.raises(GCDError, match="missing"):
        load_off_distribution(tmp_path / "none.safetensors", off.generator)


@pytest.mark.parametrize(
    "change",
    [
        {"centre": torch.zeros(2)},
        {"std": torch.ones(3)},
        {"threshold": torch.tensor(float("nan"))},
        {"more": torch.zeros(1)},
    ],
)
def test_damaged_files(off, tmp_path, change) -> None:
    file = tmp_path / "off.safetensors"
    off.save(file)
    header = {"format": "gcd-off-distribution-1", "generator": off.generator}
    save_file(load_file(file) | change, file, header)
    with pytest.raises(GCDError):
        load_off_distribution(file, off.generator)


def test_a_score_a_little_above_the_usual_is_told_mildly():
    mild, grave = unlike_words(2.9, 2.8), unlike_words(16.8, 2.8)
    assert "with care" in mild and "mean nothing" not in mild and "2.9, usual up to 2.8" in mild
    assert "mean nothing" in grave and "16.8" in worded(grave, PLAIN)
    assert not is_far(3.6, 2.8) and is_far(3.7, 2.8)
