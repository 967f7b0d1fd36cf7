"""The loop that every training shares, and its parts."""

import argparse
import csv
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from gcd_core.errors import GCDError
from gcd_core.training import loop
from gcd_core.training.loop import (
    EMA,
    Clock,
    Learner,
    Log,
    Plan,
    Training,
    learning_rate,
    load_checkpoint,
    run,
    run_settings,
    save_checkpoint,
    spread,
)


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
    with pytest.raises(GCDError, match="disk full"):
        save_checkpoint(path, {"step": 2, "settings": {}})
    assert load_checkpoint(path, {})["step"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_clock_that_was_spent_before_goes_on() -> None:
    assert Clock(1.0, spent=30).progress == pytest.approx(0.5, abs=0.01)
    assert Clock(1.0, spent=600).progress == 1
    with pytest.raises(GCDError, match="positive"):
        Clock(0)


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": True}, True),
        ({"avx512_f": True, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_a_cpu_that_only_emulates_bf16_computes_in_float32(monkeypatch, capabilities, fast) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    with loop.autocast(torch.device("cpu")):
        assert torch.is_autocast_enabled("cpu") == fast
        if fast:
            assert torch.get_autocast_dtype("cpu") == torch.bfloat16


def test_a_log_has_a_row_for_each_report(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.csv")
    log.write(Clock(1), step=1, loss=0.5)
    log.write(Clock(1), step=2, loss=0.25)
    with open(tmp_path / "log.csv", newline="") as file:
        assert [row["loss"] for row in csv.DictReader(file)] == ["0.5", "0.25"]


def test_a_log_goes_on_from_the_step_that_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for step in (1, 2, 3):
        Log(path, step).write(Clock(1), step=step, loss=step / 2)
    with open(path, "a", encoding="utf-8") as file:
        file.write("4")  # what a kill may leave
    whole = "step,loss\r\n1,0.5\r\n2,1.0\r\n"
    Log(path, 2)
    assert path.read_bytes().decode() == whole
    Log(path, 0)
    assert not path.exists()


def test_a_spread_is_even_and_never_empty() -> None:
    assert spread(torch.arange(100), 10).tolist() == list(range(0, 100, 10))
    assert spread(torch.arange(25), 10).tolist() == list(range(0, 20, 2))
    assert spread(torch.arange(3), 10).tolist() == [0, 1, 2]


def test_where_to_write_and_how_long_are_free_when_a_run_is_resumed() -> None:
    args = argparse.Namespace(out="a", minutes=1, steps=None, lr=0.1, codec="b", widths=[1, 2])
    assert run_settings(args, "codec") == {"lr": 0.1, "widths": [1, 2]}


class Duel(Training):
    """A line that learns to be the identity, and a second learner that learns how far it is off.

    The line has dropout, which draws by itself; the batches are drawn from the step.
    """

    def __init__(self, stop_before: int | None = None) -> None:
        torch.manual_seed(3)
        self.stop_before = stop_before
        self.line = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
        self.judge = nn.Linear(4, 1)
        self.learners = [
            Learner(self.line, torch.optim.AdamW(self.line.parameters(), lr=0.05)),
            Learner(self.judge, torch.optim.SGD(self.judge.parameters(), lr=0.1), max_norm=None),
        ]
        self.ema = EMA(self.line, 0.9)
        self.seen, self.exported, self.rates = 0, [], []

    def losses(self, step):
        if step == self.stop_before:
            raise KeyboardInterrupt
        self.seen += 1
        self.rates.append([one.optimiser.param_groups[0]["lr"] for one in self.learners])
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
        error = self.line(x) - x
        judged = (self.judge(x) - error.detach().square().mean(1, keepdim=True)).square().mean()
        return [error.square().mean(), judged], {"error": error.square().mean(), "judged": judged}

    def row(self, step, means):
        return {"step": step, **means, "weight": self.ema.module[0].weight.sum().item()}

    def export(self, minutes):
        self.exported.append(self.seen)

    def state(self):
        return {"seen": self.seen}

    def resume(self, state):
        self.seen = state["seen"]


def plan(out: Path, **changes) -> Plan:
    out.mkdir(exist_ok=True)
    options = {"minutes": math.inf, "steps": 20, "log_every": 4, "save_minutes": 0.0} | changes
    return Plan(out, {"lr": 0.05}, seed=0, **options)


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path: Path, capsys) -> None:
    whole = Duel()
    assert run(whole, plan(tmp_path / "whole")).steps == 20
    with pytest.raises(KeyboardInterrupt):
        run(Duel(stop_before=7), plan(tmp_path / "killed"))
    again = Duel()
    assert run(again, plan(tmp_path / "killed")).steps == 20
    assert "resumed at step 7" in capsys.readouterr().out
    assert again.seen == whole.seen == 20
    for mine, other in ((again.line, whole.line), (again.judge, whole.judge)):
        for name, weight in mine.state_dict().items():
            assert torch.equal(weight, other.state_dict()[name])
    for name, weight in again.ema.module.state_dict().items():
        assert torch.equal(weight, whole.ema.module.state_dict()[name])
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1] and len(logs[0].splitlines()) == 1 + 5


def test_the_log_has_the_means_since_its_last_row(tmp_path: Path) -> None:
    run(Duel(), plan(tmp_path / "each", log_every=1))
    run(Duel(), plan(tmp_path / "fourth"))
    each, fourth = (
        list(csv.DictReader((tmp_path / name / "log.csv").read_text().splitlines()))
        for name in ("each", "fourth")
    )
    means = [sum(float(row["error"]) for row in each[i : i + 4]) / 4 for i in range(0, 20, 4)]
    assert [float(row["error"]) for row in fourth] == pytest.approx(means)
    assert [row["step"] for row in fourth] == ["4", "8", "12", "16", "20"]


def test_when_it_logs_and_saves(tmp_path: Path) -> None:
    seldom = Duel()
    run(seldom, plan(tmp_path / "seldom", save_minutes=1000))
    assert seldom.exported == [20]  # at the end, and only then
    last = Duel()
    run(last, plan(tmp_path / "last", export_minutes=1000))
    assert last.exported == [20] and load_checkpoint(tmp_path / "last" / loop.CHECKPOINT, {})
    rows = Duel()
    run(rows, plan(tmp_path / "rows", steps=10, save_minutes=None, log_last=True))
    assert rows.exported == [4, 8, 10]
    unlogged = Duel()
    run(unlogged, plan(tmp_path / "unlogged", steps=10, save_minutes=None))
    assert unlogged.exported == [4, 8, 10]
    steps = [
        len((tmp_path / name / "log.csv").read_text().splitlines()) - 1
        for name in ("rows", "unlogged")
    ]
    assert steps == [3, 2]


def test_a_run_that_was_at_its_end_exports_again(tmp_path: Path) -> None:
    run(Duel(), plan(tmp_path / "out"))
    again = Duel()
    assert run(again, plan(tmp_path / "out")).steps == 20
    assert again.exported == [20] and again.rates == []


def test_every_learner_has_its_own_peak(tmp_path: Path) -> None:
    duel = Duel()
    run(duel, plan(tmp_path / "out"))
    for step in (5, 19):  # the rates of the step before are seen
        expected = [learning_rate(peak, (step - 1) / 20) for peak in (0.05, 0.1)]
        assert duel.rates[step] == pytest.approx(expected)


def test_the_gradient_is_bounded_where_it_is_asked_for() -> None:
    steps = []
    for max_norm in (0.5, None):
        line = nn.Linear(3, 1, bias=False)
        before = line.weight.detach().clone()
        learner = Learner(line, torch.optim.SGD(line.parameters(), lr=1.0), max_norm, warmup=0)
        learner.descend((line(torch.tensor([[3.0, 0.0, 4.0]]))).sum(), 0.0)
        steps.append((line.weight.detach() - before).norm().item())
    assert steps == pytest.approx([0.5, 5.0], rel=1e-4)


def test_a_checkpoint_of_another_form_is_refused(tmp_path: Path) -> None:
    where = plan(tmp_path / "out")
    save_checkpoint(where.out / "checkpoint.pt", {"model": {}, "settings": {"lr": 0.05}})
    with pytest.raises(GCDError, match="checkpoint_version"):
        run(Duel(), where)
