"""What every black box promises: logits, probabilities, the query count, refusals."""

import datetime
import hashlib
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gcd_core.classifiers import Classifier, TorchClassifier, load_classifier
from gcd_core.classifiers.base import digest_of
from gcd_core.errors import GCDError


class Fixed(Classifier):
    """Answers the same whatever it is shown."""

    def __init__(self, rows: torch.Tensor, output: str) -> None:
        super().__init__(tuple("abcdef"[: rows.shape[1]]), output, "fixed")
        self.rows = rows

    def answer(self, images):
        return self.rows


class Means(nn.Module):
    """Mean and maximum of each image: a network whose answers are known."""

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3))], 1)


def means(**settings) -> TorchClassifier:
    settings = {"size": 4, "channels": 1, "mean": 0.0, "std": 1.0} | settings
    return TorchClassifier(Means(), ("mean", "top"), "sigmoid", "means", **settings)


def blank(count: int) -> torch.Tensor:
    return torch.zeros(count, 1, 4, 4)


def test_sigmoid():
    rows = torch.randn(7, 3)
    box = Fixed(rows, "sigmoid")
    logits = box(blank(7))
    assert torch.equal(box.logit(logits, "b"), rows[:, 1])
    assert torch.allclose(box.probability(logits, "b"), rows[:, 1].sigmoid())


@pytest.mark.parametrize("count", [2, 5])
def test_softmax(count):
    rows = torch.randn(7, count, generator=torch.Generator().manual_seed(count)) * 4
    box = Fixed(rows, "softmax")
    logits = box(blank(7))
    total = 0
    for i, label in enumerate(box.labels):
        probability = box.probability(logits, label)
        assert torch.allclose(probability, rows.softmax(1)[:, i], atol=1e-6)
        log_odds = rows.double().softmax(1)[:, i].logit().float()
        assert torch.allclose(box.logit(logits, label), log_odds, atol=1e-5)
        total = total + probability
    assert torch.allclose(total, torch.ones(7))


def test_probabilities_only_are_inverted_and_clamped():
    rows = torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    box = Fixed(rows, "probabilities")
    logits = box(blank(2))
    assert logits.isfinite().all()
    assert torch.allclose(box.probability(logits, "a"), torch.tensor([0.25, 1e-6]), atol=1e-7)
    assert logits[0, 1].item() == pytest.approx(1.0986, abs=1e-4)  # log 3
    of_softmax = Fixed(torch.randn(5, 3).softmax(1), "probabilities")
    logits = of_softmax(blank(5))
    assert torch.allclose(of_softmax.probability(logits, "c"), of_softmax.rows[:, 2], atol=1e-5)


def test_a_single_row_of_logits_works_too():
    box = Fixed(torch.randn(1, 3), "softmax")
    assert box.probability(box(blank(1))[0], "a").shape == ()


def test_queries_count_images_in_every_thread():
    box = means(batch_size=2)
    box(blank(5))
    assert box.queries == 5
    threads = [
        threading.Thread(target=lambda: [box(blank(3)) for _ in range(20)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert box.queries == 5 + 8 * 20 * 3


def test_refusals():
    box = means()
    with pytest.raises(GCDError, match=r"mean.*top"):
        box.index("cat")
    with pytest.raises(GCDError, match="N, C, H, W"):
        box(torch.zeros(1, 4, 4))
    with pytest.raises(GCDError, match="3 labels"):
        Fixed(torch.zeros(2, 3), "sigmoid")(blank(5))
    with pytest.raises(GCDError, match="NaN"):
        Fixed(torch.tensor([[float("nan")]]), "sigmoid")(blank(1))
    with pytest.raises(GCDError, match="tanh"):
        Fixed(torch.zeros(2, 3), "tanh")
    with pytest.raises(GCDError, match="two labels"):
        Fixed(torch.zeros(2, 1), "softmax")
    with pytest.raises(GCDError, match="each once"):
        TorchClassifier(Means(), ("a", "a"), "sigmoid", "", 4, 1)
    with pytest.raises(GCDError, match="names"):
        TorchClassifier(Means(), (1, 2), "sigmoid", "", 4, 1)


def test_the_network_sees_normalised_images_in_batches():
    seen = []

    class Spy(Means):
        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    box = TorchClassifier(Spy(), ("mean", "top"), "sigmoid", "", 4, 1, 0.5, 0.25, batch_size=3)
    images = torch.rand(7, 1, 4, 4)
    logits = box(images)
    assert seen == [3, 3, 1]
    assert torch.allclose(logits[:, 0], (images.mean((1, 2, 3)) - 0.5) / 0.25, atol=1e-5)
    assert logits.dtype == torch.float32 and not logits.requires_grad


def test_the_network_is_in_evaluation_mode():
    network = nn.Sequential(nn.Dropout(0.9), Means())
    box = TorchClassifier(network.train(), ("mean", "top"), "sigmoid", "", 4, 1)
    images = torch.rand(2, 1, 4, 4)
    assert torch.equal(box(images), box(images))


def test_size_and_colour_are_brought_to_the_network():
    images = torch.rand(2, 1, 8, 8)
    expected = F.interpolate(images, (4, 4), mode="bilinear", antialias=True).amax((1, 2, 3))
    assert torch.allclose(means()(images)[:, 1], expected)
    assert torch.allclose(means(channels=3)(images)[:, 1], expected)
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    assert means()(red)[0, 0].item() == pytest.approx(0.299)
    per_channel = means(channels=3, mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0])
    assert per_channel(red)[0, 0].item() == pytest.approx((0.9 - 0.2 / 2 - 0.3 / 4) / 3)
    with pytest.raises(GCDError, match="2"):
        means()(torch.zeros(1, 2, 4, 4))
    with pytest.raises(GCDError, match="mean"):
        means(channels=3, mean=[0.1, 0.2])
    with pytest.raises(GCDError, match="std"):
        means(std=0.0)


@pytest.mark.parametrize("table", [{}, {"kind": "pickle"}])
def test_an_unknown_kind_is_refused(table, tmp_path):
    with pytest.raises(GCDError, match="kind"):
        load_classifier(table, tmp_path)


def test_an_identity_is_of_the_table_in_any_order_and_of_each_part_by_itself():
    """Saved directions name it, so that its form is part of their format."""
    text = b'{"labels": ["a", "b"], "size": 4}'
    parts = (len(text).to_bytes(8, "big") + text, (3).to_bytes(8, "big") + b"xyz")
    expected = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    assert digest_of({"size": 4, "labels": ["a", "b"]}, b"xyz") == expected
    assert digest_of({"size": 4, "labels": ["a", "b"]}, b"x", b"yz") != expected


def test_labels_that_are_no_text_are_refused_whatever_they_are(tmp_path):
    """TOML has dates, which JSON has not."""
    (tmp_path / "black_box.py").write_text("answer = len")
    table = {"kind": "python", "callable": "black_box:answer", "size": 4, "channels": 1}
    with pytest.raises(GCDError, match="labels are names"):
        load_classifier(
            table | {"labels": [datetime.date(2026, 1, 1)], "output": "sigmoid"}, tmp_path
        )
