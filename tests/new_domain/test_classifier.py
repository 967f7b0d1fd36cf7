"""What `--classifier` may be, and what is refused before anything is trained."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gcd_core.classifiers.architectures import build_network
from gcd_core.errors import GCDError
from gcd_core.new_domain.classifier import Given, check_answers, key_text, sections_of, value_text
from gcd_core.new_domain.data import read_data
from gcd_core.new_domain.questions import Asked
from tests.new_domain.squares import SIZE, write_onnx, write_squares


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return read_data(write_squares(tmp_path_factory.mktemp("data") / "data.zip"))


class Brightness(torch.nn.Module):
    def forward(self, x):
        level = 40 * (x[:, :, 8:20, 8:20].mean((1, 2, 3)) + 0.37)
        return torch.stack([torch.zeros_like(level), level], 1)


def sections(data, text, **more):
    questions = tuple(Asked.parse(one) for one in more.pop("questions", ()))
    return sections_of(Given(str(text), questions, **more), data, SIZE, 1, "cpu")


def answers(made, data, folder: Path):
    """The same from the copies in a domain's folder."""
    made.copy_files(folder)
    for path in folder.rglob("*"):
        assert path.is_dir() or path.stat().st_size
    classifier, _ = made.open("cpu")
    return classifier(data.look(SIZE, 32))


def test_an_onnx_file_says_almost_everything(data, tmp_path) -> None:
    made = sections(data, write_onnx(tmp_path / "net.onnx"))
    assert made.classifier == {
        "kind": "onnx",
        "model": "net.onnx",
        "size": SIZE,
        "channels": 1,
        "labels": ["plain", "square"],
        "output": "probabilities",
    }
    assert made.labels == {
        "square": {"title": "Square", "negative": "Not square", "positive": "Square"}
    }
    assert any("order of the alphabet" in told for told in made.told)
    assert made.tasks(data) == {"square": "square=square:plain"}
    pictures = data.look(SIZE, 32)
    (told,) = check_answers(made.open("cpu")[0], pictures, made)
    yes = int((pictures[:, :, 8:20, 8:20].mean((1, 2, 3)) > 0.315).sum())
    assert 0 < yes < 32 and told == f"asked 'square' of 32 pictures: {yes} yes, {32 - yes} no"


def test_logits_of_classes_are_a_softmax(data, tmp_path) -> None:
    made = sections(data, write_onnx(tmp_path / "net.onnx", softmax=False))
    assert made.classifier["output"] == "softmax"


def test_outputs_and_questions_may_be_named(data, tmp_path) -> None:
    path = write_onnx(tmp_path / "net.onnx")
    made = sections(data, path, outputs=["dull", "bright"], questions=["light=bright from 0.3"])
    assert made.labels["light"]["of"] == "bright" and made.labels["light"]["threshold"] == 0.3
    assert made.tasks(data) == {"light": "light=square:plain"}  # by place
    with pytest.raises(GCDError, match="nothing"):
        sections(data, path, questions=["light=nothing"]).open("cpu")


def test_torchscript_exported_and_weights_alone(data, tmp_path) -> None:
    example = torch.rand(2, 1, SIZE, SIZE)
    torch.jit.trace(Brightness(), example).save(tmp_path / "net.pt")
    batch = {"x": {0: torch.export.Dim("n", min=1, max=256)}}
    program = torch.export.export(Brightness(), (example,), dynamic_shapes=batch)
    torch.export.save(program, tmp_path / "net.pt2")
    network = build_network("resnet", 1, 2, {})
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    kinds = {
        "net.pt": ("torchscript", None),
        "net.pt2": ("exported", None),
        "net.safetensors": ("safetensors", "resnet"),
    }
    for name, (kind, architecture) in kinds.items():
        made = sections(data, tmp_path / name, architecture=architecture)
        assert made.classifier["kind"] == kind and made.classifier["output"] == "softmax"
        (tmp_path / kind).mkdir()
        assert answers(made, data, tmp_path / kind).shape == (32, 2)


def test_a_function(data, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "def ask(x):\n"
        "    level = (x[:, :, 8:20, 8:20].mean((1, 2, 3)) - 0.31) * 80\n"
        "    import torch\n"
        "    return torch.stack([-level, level], 1)\n"
    )
    made = sections(data, "mine:ask")
    assert made.classifier["kind"] == "python" and made.files == ("mine.py",)
    (tmp_path / "domain").mkdir()
    answers(made, data, tmp_path / "domain")
    assert (tmp_path / "domain" / "mine.py").is_file()


TOML = """
title = "Squares"
credit = "Drawn here."

[classifier]
kind = "onnx"
model = "networks/net.onnx"
labels = ["plain", "square"]
output = "probabilities"
scale = "0..1"

[oracle]
kind = "onnx"
model = "networks/other.onnx"
labels = ["plain", "square"]
output = "probabilities"

[labels.bright]
title = "Bright"
negative = "Dull"
positive = "Bright"
of = "square"
against = "plain"
"""


def test_a_toml_file_with_two_networks_of_others(data, tmp_path) -> None:
    (tmp_path / "networks").mkdir()
    write_onnx(tmp_path / "networks" / "net.onnx")
    write_onnx(tmp_path / "networks" / "other.onnx", scale=20.0)
    path = tmp_path / "squares.toml"
    (tmp_path / "more.txt").write_text("what its code reads")
    path.write_text("files = ['more.txt']\n" + TOML)
    made = sections(data, path)
    assert made.files == ("networks/net.onnx", "networks/other.onnx", "more.txt")
    assert made.top == {"title": "Squares", "credit": "Drawn here."}
    assert made.tasks(data) == {"bright": "bright=square:plain"}
    classifier, oracle = made.open("cpu")
    assert classifier.labels == ("bright",) and oracle.labels == ("bright",)
    (tmp_path / "domain").mkdir()
    made.copy_files(tmp_path / "domain")
    assert (tmp_path / "domain" / "networks" / "other.onnx").is_file()
    with pytest.raises(GCDError, match="leave --question out"):
        sections(data, path, questions=["a=square"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[generator]\nconfig = 'x'\n[classifier]\nkind = 'onnx'", "no key 'generator'"),
        ("[classifier]\nkind = 'onnx'\nmodel = '../net.onnx'\n[labels.a]\ntitle = 'A'\n"
         "negative = 'b'\npositive = 'c'", "lies outside"),
        ("[classifier]\nkind = 'onnx'\n[labels.a]\ntitle = 'A'", "needs a title, negative"),
        ("classifier = 3", "is a table"),
        ("files = ['absent.onnx']\n[classifier]\nkind = 'onnx'\n[labels.a]\ntitle = 'A'\n"
         "negative = 'b'\npositive = 'c'", "absent.onnx, one of 'files'"),
        ("no toml", "is not valid TOML"),
    ],
)  # fmt: skip
def test_a_toml_file_that_does_not_fit_is_refused(data, tmp_path, text, why) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(GCDError, match=why):
        sections(data, tmp_path / "c.toml")


def test_an_address_needs_no_section(data, tmp_path) -> None:
    (tmp_path / "c.toml").write_text(
        "url = 'https://example.org/predict'\nlabels = ['square']\noutput = 'probabilities'\n"
        "size = 32\nchannels = 1\nrequest = { body = 'raw' }\nresponse = { scores = '' }\n"
    )
    made = sections(data, tmp_path / "c.toml")
    assert made.classifier["kind"] == "http" and list(made.labels) == ["square"]
    assert made.open("cpu")[0].remote


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("absent.onnx", "There is no classifier"),
        ("file.txt", "no kind of classifier that is known"),
        ("file.safetensors", "name their network with --architecture"),
        ("file.onnx", "not an ONNX file"),
        ("file.pt", "not a whole TorchScript file"),
    ],
)
def test_a_file_that_is_none_is_refused(data, tmp_path, name, why) -> None:
    for file in ("file.txt", "file.safetensors", "file.onnx", "file.pt"):
        (tmp_path / file).write_text("nothing")
    with pytest.raises(GCDError, match=why):
        sections(data, tmp_path / name)


def test_training_needs_classes(data, tmp_path) -> None:
    made = sections(data, "train")
    assert made.classifier is None and made.tasks(data) == {"square": "square=square:plain"}
    with pytest.raises(GCDError, match="the classes are plain, square"):
        sections(data, "train", questions=["a=round"])
    with pytest.raises(GCDError, match="no threshold"):
        sections(data, "train", questions=["square=square from 0.3"])
    from dataclasses import replace

    alone = replace(data, rows=tuple({**row, "label": ""} for row in data.rows))
    with pytest.raises(GCDError, match="only one class"):
        sections(alone, "train")


def test_the_same_answer_for_everything_is_refused(data, tmp_path) -> None:
    made = sections(data, write_onnx(tmp_path / "net.onnx", scale=1e-6))
    with pytest.raises(GCDError, match="'square' the same for all of 32 pictures"):
        check_answers(made.open("cpu")[0], data.look(SIZE), made)


def test_toml_lines_are_toml() -> None:
    import tomllib

    table = {
        "a b": 'x "y" \\ z',
        "mean": [0.5, 1],
        "options": {"width": 8, "deep": [1, 2]},
        "cache": True,
        "text": "ü\n",
    }
    lines = [f"{key_text(key)} = {value_text(value)}" for key, value in table.items()]
    assert tomllib.loads("\n".join(lines)) == table
