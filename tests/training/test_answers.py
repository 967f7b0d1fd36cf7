"""What a classifier answers, told by the codes."""

import argparse
from pathlib import Path

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.images.dataset import load_split
from gcd_core.training import diffae
from gcd_core.training.answers import AnswerMap, read_answers
from tests.training.radiographs import write_data_set
from tests.training.test_generators import DIFFAE


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_answers_are_standardised_in_the_images_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "file,q0,q1,q2", "b.png,1,7,0", "a.png,-3,7,2", "c.png,5,7,9")
    answers = read_answers(path, ["a.png", "b.png"])
    half = 0.5**0.5
    assert torch.allclose(answers, torch.tensor([[-half, half], [half, -half]]))  # q1 says nothing


@pytest.mark.parametrize(
    "lines, words",
    [
        (["file,q0", "a.png,1"], "no answer to b.png"),
        (["file,q0", "a.png,1", "b.png,yes"], "numbers"),
        (["file,q0", "a.png,1", "b.png,inf"], "finite"),
        (["file,q0", "a.png,1", "b.png,1"], "the same answer"),
    ],
)
def test_what_is_no_table_of_answers_is_refused(tmp_path: Path, lines, words) -> None:
    with pytest.raises(GCDError, match=words):
        read_answers(write(tmp_path / "a.csv", *lines), ["a.png", "b.png"])


def test_the_map_measures_what_codes_tell() -> None:
    told = AnswerMap(3, 2)
    with torch.no_grad():
        told.linear.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2.0, 0]]))
        told.linear.bias.copy_(torch.tensor([0.5, 0]))
    codes = torch.tensor([[1.0, 1.0, 9.0]], requires_grad=True)
    loss = told(codes, torch.tensor([[0.5, 1.0]]))
    assert loss.item() == pytest.approx((1.0**2 + 1.0**2) / 2)
    loss.backward()
    assert codes.grad is not None and codes.grad[0].tolist() == pytest.approx([1, 2, 0])


@pytest.mark.slow
def test_the_codes_are_asked_to_tell_the_answers_too(tmp_path: Path) -> None:
    """The encoder's loss is that without answers, and what the codes tell of them beside it."""
    data = write_data_set(tmp_path, {"train": 12, "val": 12})
    images, _ = load_split(data, None, "train", 32, 1)
    answers = torch.randn(12, 2, generator=torch.Generator().manual_seed(3))
    parser = argparse.ArgumentParser()
    diffae.add_arguments(parser)
    words = ["--data", str(data), "--out", str(tmp_path), "--size", "32", "--semantic-mean"]
    for name, value in DIFFAE.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *map(str, values)]
    losses, figures = [], {}
    for given in (None, answers):
        torch.manual_seed(0)
        options = parser.parse_args(words)
        device = torch.device("cpu")
        training = diffae.DiffusionTraining(options, images, images, None, device, given)
        found, figures = training.losses(0)
        losses.append(found)
    assert len(losses[1]) == len(losses[0]) + 1 == len(training.learners)
    added = losses[1][0] - losses[0][0]
    assert added.item() == pytest.approx(figures["answers_loss"].item(), rel=1e-3)
