"""Training a classifier: the parts against closed forms, and a tiny run, killed and resumed."""

import argparse
import csv
import json
import math
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gcd_core.classifiers import load_classifier
from gcd_core.errors import GCDError
from gcd_core.images.dataset import load_split
from gcd_core.training import classifier as training
from gcd_core.training.calibration import (
    calibration_error,
    fold_platt_scaling,
    platt,
    reliability,
)
from gcd_core.training.measures import auroc

TASKS = [training.Task.parse(text) for text in training.LABELS]
NAN = math.nan


def test_targets_follow_the_description():
    table = {"label": ["normal", "viral", "bacterial", "other"]}
    expected = torch.tensor([[0, NAN], [1, 0], [1, 1], [NAN, NAN]])
    assert torch.equal(training.targets_of(table, TASKS).nan_to_num(-1), expected.nan_to_num(-1))
    with pytest.raises(GCDError, match="bacterial"):
        training.targets_of({"label": ["normal", "viral"]}, TASKS)
    with pytest.raises(GCDError, match="'label'"):
        training.targets_of({"file": ["a"]}, TASKS)


@pytest.mark.parametrize("text", ["pneumonia", "=a:b", "p=a", "p=:b", "p=a,:b"])
def test_a_malformed_label_is_refused(text):
    with pytest.raises(GCDError, match="NAME=POSITIVES:NEGATIVES"):
        training.Task.parse(text)


def test_the_loss_is_balanced_and_ignores_what_does_not_count():
    targets = torch.tensor([[1.0, NAN], [1.0, 1.0], [1.0, 0.0], [0.0, NAN]])
    weights = training.class_weights(targets)
    assert torch.allclose(weights, torch.tensor([[2, 1], [2 / 3, 1]]))
    logits = torch.randn(4, 2, requires_grad=True)
    loss = training.masked_loss(logits, targets, weights)
    with torch.no_grad():
        p = logits.sigmoid()
        first = -(p[:3, 0].log().sum() * 2 / 3 + (1 - p[3, 0]).log() * 2) / 4
        second = -(p[1, 1].log() + (1 - p[2, 1]).log()) / 2
    assert torch.allclose(loss, first + second)
    loss.backward()
    assert logits.grad[0, 1] == 0 and logits.grad[3, 1] == 0 and logits.grad[0, 0] != 0


def test_smoothing_puts_the_optimum_at_the_softened_target():
    logits = torch.tensor([[math.log(0.9 / 0.1)]], requires_grad=True)
    training.masked_loss(logits, torch.ones(1, 1), torch.ones(2, 1), smoothing=0.1).backward()
    assert logits.grad.abs().item() < 1e-6


def test_auroc_counts_pairs_and_halves_ties():
    scores = torch.tensor([0.1, 0.4, 0.4, 0.8])
    assert auroc(scores, torch.tensor([0.0, 0.0, 1.0, 1.0])) == 3.5 / 4
    assert auroc(-scores, torch.tensor([0.0, 0.0, 1.0, 1.0])) == 0.5 / 4
    assert auroc(scores, torch.tensor([0.0, NAN, 1.0, 1.0])) == 1
    assert math.isnan(auroc(scores, torch.ones(4)))


def test_auroc_equals_a_count_of_all_pairs():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(9, (300,), generator=generator).float()
    targets = torch.randint(2, (300,), generator=generator).float()
    difference = scores[targets == 1][:, None] - scores[targets == 0]
    expected = (difference > 0).double() + 0.5 * (difference == 0).double()
    assert auroc(scores, targets) == pytest.approx(expected.mean().item(), abs=1e-12)


def test_auroc_of_many_images_takes_no_matrix_of_pairs():
    n = 1_000_000  # of each: a byte a pair would be a terabyte
    scores, targets = torch.arange(2 * n, dtype=torch.float64), torch.tensor([0.0, 1.0]).repeat(n)
    assert auroc(scores, targets) == pytest.approx((n + 1) / (2 * n), abs=1e-12)


def test_calibration_error_by_hand():
    p = torch.tensor([0.05, 0.05, 0.95, 0.95, 1.0])
    curve = reliability(p, torch.tensor([0.0, 1.0, 1.0, 1.0, 0.0]), bins=10)
    assert curve.shape == (10, 3) and curve[:, 2].tolist() == [2, *[0] * 8, 3]
    expected = (2 * abs(0.05 - 0.5) + 3 * abs(2.9 / 3 - 2 / 3)) / 5
    assert calibration_error(curve) == pytest.approx(expected, abs=1e-6)


def test_platt_recovers_a_known_distortion():
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(20_000, generator=generator, dtype=torch.float64)
    targets = (torch.rand(20_000, generator=generator) < true.sigmoid()).double()
    scale, bias = platt(3 * true - 1, targets)
    assert scale == pytest.approx(1 / 3, rel=0.05) and bias == pytest.approx(1 / 3, abs=0.05)
    separable = torch.tensor([-5.0, -4, 4, 5], dtype=torch.float64)
    assert all(map(math.isfinite, platt(separable, (separable > 0).double())))


def test_calibration_is_folded_into_the_last_layer():
    network = nn.Sequential()
    network.classifier = nn.Linear(3, 2)
    x, targets = torch.randn(400, 3), torch.randint(0, 2, (400, 2)).float()
    targets[::3, 1] = NAN
    before = network.classifier(x).detach()
    fold_platt_scaling(network.classifier, before, targets)
    after = network.classifier(x).detach()
    for i in range(2):
        counts = ~targets[:, i].isnan()
        scale, bias = platt(before[counts, i].double(), targets[counts, i].double())
        assert torch.allclose(after[:, i], scale * before[:, i] + bias, atol=1e-5)


def test_a_patient_in_two_splits_is_refused():
    training.check_patients(train={"patient": ["1", "2", "2", ""]}, test={"patient": ["3", ""]})
    with pytest.raises(GCDError, match=r"Patient 2 .*'train' and 'test'"):
        training.check_patients(train={"patient": ["1", "2"]}, test={"patient": ["2"]})


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory):
    """Pictures that anybody can tell apart: a bright square on the left, right, or nowhere."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "patient", "split"])
        for i in range(192):
            label = ("normal", "bacterial", "viral")[i % 3]
            pixels = rng.normal(0.3, 0.05, (32, 32))
            if label != "normal":
                pixels[8:24, slice(4, 14) if label == "viral" else slice(18, 28)] += 0.5
            name = f"{i}.png"
            Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8)).save(folder / name)
            writer.writerow([name, label, i, "train" if i < 96 else "val" if i < 144 else "test"])
    return folder


def arguments(data, out, *more: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    training.add_arguments(parser)
    options = json.dumps({"width": 8, "blocks": [1, 1]})
    fixed = ["--data", str(data), "--out", str(out), "--options", options, "--size", "32"]
    fixed += ["--architecture", "resnet", "--batch", "16", "--device", "cpu", "--ema", "0.9"]
    fixed += ["--minutes", "inf", "--epochs", "6"]
    return parser.parse_args([*fixed, *more])


@pytest.fixture(scope="module")
def finished(radiographs, tmp_path_factory):
    """The folder of a whole run."""
    out = tmp_path_factory.mktemp("whole")
    training.main(arguments(radiographs, out))
    return out


@pytest.mark.slow
def test_a_run_ends_with_a_good_classifier(radiographs, finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["steps"] == 36 and metrics["epochs"] == 6
    for label in ("pneumonia", "bacterial"):
        assert metrics["test"][label]["auroc"] > 0.95
    assert metrics["test"]["bacterial"]["n"] == 32
    table = tomllib.loads((finished / "classifier.toml").read_text())["classifier"]
    box = load_classifier(table, finished)
    images, rows = load_split(radiographs, None, "test", 32, 1)
    probability = box.probability(box(images.float() / 255), "pneumonia")
    ill = torch.tensor([label != "normal" for label in rows["label"]])
    assert probability[ill].mean() > probability[~ill].mean() + 0.4
    assert (finished / "reliability.png").stat().st_size > 1000
    assert (finished / "curves.png").stat().st_size > 1000
    with open(finished / "log.csv", newline="", encoding="utf-8") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == list(range(6, 37, 6))


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(
    radiographs, finished, tmp_path, monkeypatch, capsys
):
    class Killed(Exception):
        """Stands for a kill in the middle of an epoch."""

    steps = 0

    def augment_until_killed(images, generator, augment=training.augment_strongly):
        nonlocal steps
        steps += 1
        if steps == 16:
            raise Killed
        return augment(images, generator)

    with monkeypatch.context() as patch:
        patch.setattr(training, "augment_strongly", augment_until_killed)
        with pytest.raises(Killed):
            training.main(arguments(radiographs, tmp_path))
    assert not (tmp_path / "metrics.json").exists()
    training.main(arguments(radiographs, tmp_path))
    assert "resumed at step 12" in capsys.readouterr().out
    name = "classifier.safetensors"
    assert (tmp_path / name).read_bytes() == (finished / name).read_bytes()
    assert (tmp_path / "log.csv").read_text() == (finished / "log.csv").read_text()


def test_another_setting_does_not_resume(radiographs, finished):
    with pytest.raises(GCDError, match="other settings"):
        training.main(arguments(radiographs, finished, "--seed", "1"))


# -- label values as tables have them ------------------------------------------------------------

PNEUMONIA = training.Task.parse("pneumonia = Pneumonia, Infiltration : No Finding")


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("Pneumonia", 1),
        ("Pneumonia|Edema", 1),
        ("Edema|Pneumonia", 1),
        ("Edema | Infiltration ", 1),
        ("No Finding", 0),
        ("No Finding ", 0),
        (" no finding", 0),
        ("Edema", NAN),
        ("Edema|Mass", NAN),
        ("", NAN),
        ("No Finding|Edema", 0),
        ("Pneumonias", NAN),
    ],
)
def test_joined_padded_and_capital_values_count(value, target):
    found = PNEUMONIA.target(value)
    assert (math.isnan(found) and math.isnan(target)) or found == target


@pytest.mark.parametrize("value", ["1", "1.0", "1.00", " 1 ", "1|7"])
def test_ways_to_write_a_number_are_one(value):
    task = training.Task.parse("ill=1:0")
    assert task.target(value) == 1 and task.target("0.0") == 0 and task.target("-0") == 0
    assert math.isnan(task.target("-1.0")) and math.isnan(task.target("10"))
    assert training.Task.parse("ill=1.0:0.0").target("1") == 1
    large = training.Task.parse("of=12345678:0")
    assert large.target("12345678") == 1 and math.isnan(large.target("12345679"))


def test_a_joined_value_may_be_asked_for_as_it_is():
    task = training.Task.parse("both=Pneumonia|Edema:Pneumonia")
    assert task.target("Pneumonia|Edema") == 1 and task.target("Pneumonia") == 0


def test_rows_that_do_not_count_are_counted_aloud():
    table = {"label": ["Pneumonia", "No Finding", "Edema", "Edema", "", *"abcdefghi"]}
    (told,) = training.uncounted(table, [PNEUMONIA])
    assert told.startswith("pneumonia: 12 of 14 images do not count: their label is 'Edema' (2)")
    assert told.endswith("and 3 other values.")
    assert training.uncounted({"label": ["Pneumonia", "No Finding"]}, [PNEUMONIA]) == []
