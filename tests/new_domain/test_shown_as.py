"""Networks whose files do not say how they want their pictures."""

import math

import pytest
import torch

from gcd_core.new_domain.classifier import Given, sections_of
from gcd_core.new_domain.data import read_data
from gcd_core.new_domain.shown_as import LOOKED_AT, known_pictures, likelihood
from tests.new_domain.squares import SIZE, write_squares

LEVEL = 0.315  # of [0, 1]: squares are brighter than this in their middle, others darker
RANGES = {
    "scale = 0..1": (lambda x: x, {"scale": "0..1"}),
    "scale = 0..255": (lambda x: x / 255, {"scale": "0..255"}),
    "-1 to 1": (lambda x: (x + 1) / 2, {}),
    "ImageNet": (
        lambda x: (
            x * x.new_tensor([0.229, 0.224, 0.225])[:, None, None]
            + x.new_tensor([0.485, 0.456, 0.406])[:, None, None]
        ),
        {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    ),
}


class Middle(torch.nn.Module):
    """Tells squares by the brightness in the middle; takes three channels and one side alone."""

    def __init__(self, as_unit, side: int) -> None:
        super().__init__()
        self.as_unit, self.side = as_unit, side

    def forward(self, x):
        start, end = self.side // 4, 5 * self.side // 8
        whole = x.reshape(-1, 3, self.side, self.side)  # fails for anything else
        middle = self.as_unit(whole)[:, :, start:end, start:end]
        level = 40 * (middle.mean((1, 2, 3)) - LEVEL)
        return torch.stack([torch.zeros_like(level), level], 1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read_data(write_squares(tmp_path_factory.mktemp("data") / "data.zip"))


def opened(data, path, network, side):
    torch.jit.trace(network, torch.rand(2, 3, side, side)).save(path)
    return sections_of(Given(str(path)), data, SIZE, 1, "cpu")


@pytest.mark.parametrize("name", RANGES)
def test_the_range_of_values_is_seen_from_the_labels(data, tmp_path, name: str) -> None:
    as_unit, wanted = RANGES[name]
    made = opened(data, tmp_path / "net.pt", Middle(as_unit, SIZE), SIZE)
    assert made.classifier["channels"] == 3  # the pictures are grey; it takes none of one channel
    keys = ("scale", "mean", "std")
    assert {key: made.classifier[key] for key in keys if key in made.classifier} == wanted
    assert "its answers fit the labels best" in made.told[-1]


def test_a_side_that_it_does_not_take_is_left(data, tmp_path) -> None:
    made = opened(data, tmp_path / "net.pt", Middle(RANGES["-1 to 1"][0], 224), 224)
    assert (made.classifier["size"], made.classifier["channels"]) == (224, 3)
    assert "224 x 224" in made.told[-1]


def test_without_labels_the_default_is_taken_and_said(data, tmp_path) -> None:
    table = tmp_path / "files.csv"
    table.write_text("file\n" + "".join(f"{row['file']}\n" for row in data.rows))
    unknown = read_data(data.source, table)
    network = Middle(RANGES["scale = 0..255"][0], SIZE)
    made = opened(unknown, tmp_path / "net.pt", network, SIZE)
    assert "scale" not in made.classifier
    assert "values from -1 to 1; if it was trained otherwise" in made.told[-1]


def test_likelihood_is_that_of_the_labels(data) -> None:
    known = known_pictures(data, {"square": "square=square:plain"}, SIZE)
    assert len(known.pictures) == LOOKED_AT

    class Constant:
        def __call__(self, images):
            return torch.full((len(images), 1), math.log(3.0))

        def logit(self, logits, label):
            return logits[:, 0]

    share = float(known.targets["square"].mean())
    expected = share * math.log(0.75) + (1 - share) * math.log(0.25)
    nats, right = likelihood(Constant(), known)
    assert nats == pytest.approx(expected, abs=1e-5) and right == 0.5
