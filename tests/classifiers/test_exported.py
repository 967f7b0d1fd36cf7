"""Exported programs (.pt2) as black boxes, of any batch size."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from gcd_core.classifiers import load_classifier
from gcd_core.errors import GCDError

TABLE = {"kind": "exported", "labels": ["a", "b"], "output": "sigmoid", "mean": 0.25, "std": 0.5}
BATCHES = {
    "any": {0: Dim("batch")},
    "open": {0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO},
    "two-to-four": {0: Dim("batch", min=2, max=4)},
    "three": None,
}


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, 2))

    def forward(self, image):
        return self.layers(image)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network and a folder with one file of it for each sort of batch."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("exported")
    network = Network().eval()
    for name, batch in BATCHES.items():
        shapes = None if batch is None else (batch,)
        program = torch.export.export(network, (torch.rand(3, 3, 16, 16),), dynamic_shapes=shapes)
        torch.export.save(program, folder / f"{name}.pt2")
    return network, folder


def table_for(name: str, **more) -> dict:
    return TABLE | {"model": f"{name}.pt2"} | ({"size": 16} if name == "open" else {}) | more


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("count", [1, 3, 11])
@torch.inference_mode()
def test_it_answers_as_the_network_to_any_number_of_images(saved, name, count):
    network, folder = saved
    box = load_classifier(table_for(name), folder)
    images = torch.rand(count, 3, 16, 16)
    torch.testing.assert_close(box(images), network((images - 0.25) / 0.5))
    assert box.queries == count and (box.size, box.channels) == (16, 3)


def test_small_batches_by_the_table(saved):
    _, folder = saved
    assert load_classifier(table_for("any", batch_size=5), folder).batch_size == 5
    images = torch.rand(7, 3, 16, 16)
    small = load_classifier(table_for("three", batch_size=2), folder)
    torch.testing.assert_close(small(images), load_classifier(table_for("any"), folder)(images))


def test_identity_follows_file_and_settings(saved, tmp_path):
    _, folder = saved
    first = load_classifier(table_for("any"), folder).identity
    assert load_classifier(table_for("any"), folder).identity == first
    assert load_classifier(table_for("any", std=1.0), folder).identity != first
    program = torch.export.export(Network().eval(), (torch.rand(3, 3, 16, 16),))
    torch.export.save(program, tmp_path / "any.pt2")
    assert load_classifier(table_for("any"), tmp_path).identity != first


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (table_for("any", size=32), r"any\.pt2 takes size = 16, not 32"),
        (table_for("any", channels=1), "takes channels = 3, not 1"),
        (TABLE | {"model": "open.pt2"}, "lacks the key 'size'"),
        (table_for("any", weights="x"), "no key 'weights'"),
        (table_for("none"), "does not exist"),
        (table_for("any", labels=["a"]), r"answered \(1, 2\) to 1 images"),
    ],
)
def test_what_does_not_fit_is_named(saved, table, message):
    with pytest.raises(GCDError, match=message):
        load_classifier(table, saved[1])(torch.rand(1, 3, 16, 16))


def test_two_inputs_are_refused(tmp_path):
    class Two(nn.Module):
        def forward(self, image, age):
            return image.mean((1, 2, 3)) + age

    program = torch.export.export(Two(), (torch.rand(2, 3, 8, 8), torch.rand(2)))
    torch.export.save(program, tmp_path / "two.pt2")
    with pytest.raises(GCDError, match=r"takes 2 inputs .*'age'"):
        load_classifier(table_for("two"), tmp_path)


def test_another_file_is_refused_without_a_traceback(saved, tmp_path, capfd):
    whole = (saved[1] / "any.pt2").read_bytes()
    torch.save({"a": torch.ones(2)}, tmp_path / "state.pt")
    state = (tmp_path / "state.pt").read_bytes()
    for content in (b"", b"<html>Not found</html>", whole[: len(whole) // 2], state):
        (tmp_path / "any.pt2").write_bytes(content)
        with pytest.raises(GCDError, match="not a whole exported program") as caught:
            load_classifier(table_for("any"), tmp_path)
        assert "\n" not in str(caught.value)
    assert "Traceback" not in "".join(capfd.readouterr())
