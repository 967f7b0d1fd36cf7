"""The parts that every training loop shares."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gcd_core.errors import GCDError
from gcd_core.training.loop import EMA, Clock, learning_rate, load_checkpoint, save_checkpoint


def test_the_average_follows_its_recursion() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 0.0)
    ema = EMA(module, decay=0.9)
    nn.init.constant_(module.weight, 1.0)
    expected = 0.0
    for step in range(1, 200):
        ema.update(module, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
        assert ema.module.weight.item() == pytest.approx(expected, abs=1e-5)
    assert not ema.module.weight.requires_grad


def test_the_learning_rate_rises_to_its_peak_and_falls_to_a_hundredth() -> None:
    rates = [learning_rate(2.0, progress / 1000) for progress in range(1001)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(2.0)
    assert rates.index(max(rates)) == 20
    assert rates[-1] == pytest.approx(0.02)
    assert rates[510] == pytest.approx(2 * (0.01 + 0.99 / 2))


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    assert load_checkpoint(path, {"lr": 1.0}) is None
    save_checkpoint(path, {"model": {"w": torch.ones(2)}, "settings": {"lr": 1.0}})
    assert load_checkpoint(path, {"lr": 1.0})["model"]["w"].tolist() == [1, 1]
    with pytest.raises(GCDError, match="lr"):
        load_checkpoint(path, {"lr": 2.0})


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1, "settings": {}})

    def full_disk(state: dict, file: Path) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"step": 2, "settings": {}})
    assert load_checkpoint(path, {})["step"] == 1


def test_a_clock_that_was_spent_before_goes_on() -> None:
    assert Clock(1.0, spent=30).progress == pytest.approx(0.5, abs=0.01)
    assert Clock(1.0, spent=600).progress == 1
    with pytest.raises(GCDError, match="positive"):
        Clock(0)
