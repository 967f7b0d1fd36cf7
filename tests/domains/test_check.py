"""check_domain: every problem at once, and none where load_domain opens the domain."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gcd_core.__main__ import main
from gcd_core.bridge.bridge import save_bridge
from gcd_core.bridge.bridge_network import BridgeNetwork
from gcd_core.bridge.rcsb import Steering
from gcd_core.bridge.schedule import Schedule
from gcd_core.domains.check import check_domain, inspect_domain
from gcd_core.domains.file import files_of, find_problems, read_domain_file
from gcd_core.domains.opening import load_domain
from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.off_distribution import OffDistribution
from tests.tiny_domain import write_tiny_domain


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny_domain(tmp_path_factory.mktemp("domains") / "tiny")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny, tmp_path / "tiny"))


def edit(folder: Path, *changes: tuple[str, str]) -> None:
    """Replace parts of domain.toml."""
    text = (folder / "domain.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "domain.toml").write_text(text)


def test_a_good_domain_has_no_problems_and_says_what_it_is(folder: Path) -> None:
    inspection = inspect_domain(folder)
    assert inspection.problems == [] and inspection.unchecked == []
    domain = load_domain(folder, device="cpu")
    summary = " ".join(inspection.summary)
    assert domain.generator.identity in summary and domain.classifier.identity in summary
    assert "ill, old" in summary and "2 example(s)" in summary


def test_every_problem_is_listed_at_once(folder: Path) -> None:
    edit(
        folder,
        ('title = "Drawn squares"\n', "colour = 3\n"),
        ('"generator.json"', '"../generator.json"'),
        ('"classifier.safetensors"', '"none.safetensors"'),
        (
            'kind = "safetensors"\narchitecture = "resnet"\nweights = "classifier',
            'kind = "clay"\nx="',
        ),
        ("radius = 2.0", "radius = inf"),
        ("n_samples = 64", "n_samples = 8"),
        ("n_h = 2", "n_h = -1"),
        ('solver = "ddim"', 'solver = "euler"'),
        ("steps = 2", 'steps = "2"'),
        ("alpha_max = 3.0", "alpha_max = nan"),
        ("points = 4", "points = 1"),
        ('negative = "well"', 'directions = "absent.safetensors"'),
    )
    problems = check_domain(folder)
    for part in (
        "lacks the key 'title'",
        "has no key 'colour'",
        "outside its folder",
        "none.safetensors do not exist",
        "[oracle] needs a kind",
        "radius inf",
        "n_samples is 8",
        "n_h is -1",
        "no solver 'euler'",
        "'steps' in [search] must be a whole number",
        "positive alpha_max",
        "2 points at least",
        "[labels.ill] lacks the key 'negative'",
        "absent.safetensors, which domain.toml names, does not exist",
    ):
        assert sum(part in problem for problem in problems) == 1, (part, problems)
    assert len(problems) == 14
    with pytest.raises(GCDError) as error:
        load_domain(folder, device="cpu")
    assert all(p in str(error.value) for p in problems if "[classifier]" not in p)


def found_with(generator: str, label: str, size: int, path: Path) -> None:
    metadata = {"label": label, "domain": "another", "generator": generator}
    DirectionSet(["g"], torch.eye(1, size), metadata).save(path)


def spoil(folder: Path, how: str) -> str:
    """Make one thing wrong that only opening the files shows; return what must be said."""
    if how == "weights":
        config = json.loads((folder / "generator.json").read_text()) | {"model_channels": 64}
        (folder / "generator.json").write_text(json.dumps(config))
        return "do not fit"
    if how == "shard":
        next(folder.glob("generator-*.safetensors")).unlink()
        return "shard"
    if how == "classifier":
        state = load_file(folder / "classifier.safetensors")
        save_file({k: v for k, v in state.items() if k != "classifier.bias"}, folder / "other.st")
        (folder / "other.st").replace(folder / "classifier.safetensors")
        return "classifier.bias"
    if how == "label":
        edit(folder, ("[labels.ill]", "[labels.cold]"))
        return "no label 'cold'"
    if how == "statistics":
        save_file({"mean": torch.zeros(9), "std": torch.ones(9)}, folder / "s.safetensors")
        edit(folder, ("[generator]", '[generator]\nlatent_statistics = "s.safetensors"'))
        return "z_sem has 16"
    if how == "deviations":
        save_file({"mean": torch.zeros(16), "std": torch.zeros(16)}, folder / "s.safetensors")
        edit(folder, ("[generator]", '[generator]\nlatent_statistics = "s.safetensors"'))
        return "deviations of 0"
    if how == "kind":
        edit(folder, ("[generator]", '[generator]\nkind = "oracle"'))
        return "kind 'oracle'"
    raise AssertionError(how)


@pytest.mark.parametrize(
    "how", ["weights", "shard", "classifier", "label", "statistics", "deviations", "kind"]
)
def test_load_domain_refuses_what_check_domain_finds(folder: Path, how: str) -> None:
    expected = spoil(folder, how)
    problems = check_domain(folder)
    assert problems and all(expected in problem for problem in problems), problems
    with pytest.raises(GCDError, match=expected):
        load_domain(folder, device="cpu")


BRIDGE = """
[bridge]
config = "bridge.json"
weights = "bridge.safetensors.index.json"
tau = 0.3
"""


def with_bridge(folder: Path, channels: int = 1, extra: str = "") -> None:
    """Give a domain a small bridge."""
    network = BridgeNetwork(channels, [8, 16], [1, 1], [False, False])
    save_bridge(network, Schedule(), folder)
    file = folder / "domain.toml"
    file.write_text(file.read_text() + BRIDGE + extra)


def test_a_bridge_is_opened_with_its_steering(folder: Path) -> None:
    assert load_domain(folder, device="cpu").bridge is None
    with_bridge(folder, extra="steps = 7\n")
    assert check_domain(folder) == []
    assert "bridge: 0.0 million weights" in inspect_domain(folder).summary
    domain = load_domain(folder, device="cpu")
    assert domain.bridge is not None and domain.bridge.channels == 1
    assert domain.steering == Steering(steps=7, tau=0.3)
    shared = files_of(read_domain_file(folder), [p.name for p in folder.iterdir()])
    assert {"bridge.json", "bridge.safetensors.index.json"} <= set(shared)
    assert "bridge-00001-of-00001.safetensors" in shared


def test_what_sanity_found_is_kept_with_the_domain(folder: Path) -> None:
    verdict = {"name": "gap", "passed": True, "sentence": "Little is lost.", "figures": {}}
    (folder / "sanity.json").write_text(json.dumps({"checks": [verdict]}))
    edit(folder, ('title = "Drawn squares"', 'title = "Drawn squares"\nsanity = "sanity.json"'))
    assert check_domain(folder) == []
    assert load_domain(folder, device="cpu").sanity == (("gap", True, "Little is lost."),)
    for spoilt in ("{", "[]", '{"checks": [{"name": 1}]}', '{"checks": [1]}'):
        (folder / "sanity.json").write_text(spoilt)
        with pytest.raises(GCDError, match="sanity --json"):
            load_domain(folder, device="cpu")
        assert len(check_domain(folder)) == 1
    (folder / "sanity.json").unlink()
    assert "does not exist" in " ".join(check_domain(folder))


@pytest.mark.parametrize(
    ("figures", "mass", "better"),
    [
        ({"a": (0.9, 0.4), "b": (0.7, 0.2)}, {"cells": 0.8, "bb_lig": 0.3}, "cells"),
        ({"a": (0.2, 0.6)}, {"cells": 0.2, "bb_lig": 0.6}, "bb_lig"),
        ({}, {}, "bb_lig"),
        ({"a": ("much", "little")}, {}, "bb_lig"),
    ],
)
def test_the_map_that_found_known_reasons_better_is_known(
    folder: Path, figures: dict, mass: dict, better: str
) -> None:
    regions = {
        name: {"flip_rate": 1.0, "cells": {"mass": cells}, "bb_lig": {"mass": along}}
        for name, (cells, along) in figures.items()
    }
    check = {"name": "reasons", "passed": True, "sentence": "Found.", "figures": regions}
    (folder / "sanity.json").write_text(json.dumps({"checks": [check]}))
    domain = load_domain(folder, device="cpu")
    assert domain.map_mass == {} and domain.better_map == "bb_lig", "the domain names no file"
    edit(folder, ('title = "Drawn squares"', 'title = "Drawn squares"\nsanity = "sanity.json"'))
    domain = load_domain(folder, device="cpu")
    assert domain.map_mass == pytest.approx(mass) and domain.better_map == better


@pytest.mark.parametrize(
    ("channels", "extra", "message"),
    [
        (3, "", "works on 3 channels"),
        (1, "strength = -1.0\n", "strength of the steering"),
        (1, "speed = 2\n", "no key 'speed'"),
        (1, 'steps = "7"\n', "must be a whole number"),
    ],
)
def test_a_bridge_that_does_not_fit_is_refused(folder, channels, extra, message) -> None:
    with_bridge(folder, channels, extra)
    problems = check_domain(folder)
    assert len(problems) == 1 and message in problems[0]
    with pytest.raises(GCDError, match=message):
        load_domain(folder, device="cpu")


@pytest.mark.slow
def test_directions_must_be_of_this_generator_and_label(folder: Path) -> None:
    identity = load_domain(folder, device="cpu").generator.identity
    edit(folder, ('positive = "ill"', 'positive = "ill"\ndirections = "d.safetensors"'))
    path = folder / "d.safetensors"
    for generator, label, size, expected in (
        ("f" * 16, "ill", 16, "belong to the generator ffffffffffffffff"),
        (identity, "ill", 8, "codes of 8 numbers"),
        (identity, "old", 16, "directions for 'old', not for 'ill'"),
    ):
        found_with(generator, label, size, path)
        (problem,) = check_domain(folder)
        assert expected in problem
        with pytest.raises(GCDError, match=expected):
            load_domain(folder, device="cpu").ready_directions("ill")
    found_with(identity, "ill", 16, path)
    assert check_domain(folder) == []
    path.write_bytes(path.read_bytes()[:-4])
    assert "cut short" in check_domain(folder)[0]


def test_examples_must_be_pictures(folder: Path) -> None:
    (folder / "examples" / "example-0.png").write_bytes(b"no picture")
    (problem,) = check_domain(folder)
    assert "example-0.png" in problem
    edit(folder, ('title = "', 'examples = "pictures"\ntitle = "'))
    assert "pictures, the folder of examples" in check_domain(folder)[0]


def test_more_h_directions_than_numbers_in_z_sem_are_a_problem(folder: Path) -> None:
    edit(folder, ("n_h = 2", "n_h = 17"))
    assert check_domain(folder) == ["[search]: n_h is 17, but z_sem has 16 directions."]


def test_a_search_may_ask_for_the_distilled_decoder_where_there_is_one(
    folder: Path, tmp_path: Path
) -> None:
    edit(folder, ('solver = "ddim"', 'solver = "distilled"'))
    expected = "[search]: the solver is 'distilled', but the generator has no distilled decoder."
    assert check_domain(folder) == [expected]
    with pytest.raises(GCDError, match="no distilled decoder"):
        load_domain(folder, device="cpu")
    quick = write_tiny_domain(tmp_path / "quick", times=[700, 400, 150])
    assert check_domain(quick) == []
    edit(quick, ('solver = "ddim"', 'solver = "distilled"'))
    expected = "[search]: the distilled decoder takes 3 steps; set steps = 3."
    assert check_domain(quick) == [expected]
    edit(quick, ("steps = 2", "steps = 3"))
    assert check_domain(quick) == []


def test_a_file_to_fetch_by_hand_is_described(folder: Path) -> None:
    named = '{ file = ["mine.pt", "mine.ckpt"], by_hand = "the weights on the authors\' page" }'
    edit(folder, ('"generator.safetensors.index.json"', named))
    (problem,) = check_domain(folder)
    assert problem == (
        f"There is no mine.pt in {folder}: fetch the weights on the authors' page by hand and put "
        "it there as mine.pt or mine.ckpt."
    )


def test_what_is_still_to_be_downloaded_is_said_and_left(folder: Path, monkeypatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # whoever asks gets no answer
    named = '{ repo = "nobody/has-this", file = "weights.pt", revision = "v1" }'
    edit(folder, ('"generator.safetensors.index.json"', named))
    inspection = inspect_domain(folder)
    assert inspection.problems == []
    assert inspection.unchecked == [
        "[generator]: weights.pt will be downloaded when the domain is opened."
    ]
    assert any("nobody/has-this" in p for p in inspect_domain(folder, download=True).problems)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", "'weights' in [generator] must be a file's name or its table"),
        ("{ repo = 'a/b' }", "a file needs its name"),
        ("{ file = [] }", "a file needs its name"),
        ("{ file = 'a', size = 3 }", "no key 'size'"),
        ("{ file = 'a', repo = 3 }", "'repo' must be text"),
        ("{ file = '/etc/passwd' }", "outside its folder"),
        ("{ file = 'a/../../b', repo = 'a/b' }", "outside its folder"),
    ],
)
def test_a_file_is_named_in_one_way(folder: Path, value: str, expected: str) -> None:
    edit(folder, ('"generator.safetensors.index.json"', value))
    (problem,) = check_domain(folder)
    assert expected in problem


def test_a_classifiers_file_may_be_one_to_fetch_by_hand(folder: Path) -> None:
    named = 'weights = { file = "classifier.safetensors", by_hand = "it" }'
    edit(folder, ('weights = "classifier.safetensors"', named))
    before = load_domain(folder, device="cpu")
    assert before.classifier.identity == before.oracle.identity, "the same file, named otherwise"
    edit(folder, ('by_hand = "it"', 'repo = "a/b"'))
    assert "only the generator's files" in check_domain(folder)[0]


def test_what_is_no_domain_is_one_problem(tmp_path: Path) -> None:
    assert "no domain" in check_domain(tmp_path)[0]
    (tmp_path / "domain.toml").write_text("[")
    assert "not valid TOML" in check_domain(tmp_path)[0]
    (tmp_path / "domain.toml").write_text("#" * 2**21)
    assert "larger than 1 MiB" in check_domain(tmp_path)[0]
    (tmp_path / "domain.toml").write_text("labels = 3\n[walk]\n[search]\nn_h = 99\n")
    assert len(check_domain(tmp_path)) > 5


def test_only_what_a_domain_names_belongs_to_it() -> None:
    table = {
        "generator": {"config": "g.json", "weights": "w.safetensors.index.json"},
        "classifier": {"kind": "python", "callable": "my.module:ask", "model": "checkpoint"},
        "labels": {"a": {"directions": "./sub/a.safetensors"}},
        "examples": "pictures",
    }
    mine = ["domain.toml", "README.md", "g.json", "w.safetensors.index.json"]
    mine += ["w-00001-of-00002.safetensors", "checkpoint/config.json", "my/module.py"]
    mine += ["sub/a.safetensors", "pictures/1.png"]
    others = ["w.safetensors", "wx-1.safetensors", "sub/b.safetensors", "pictures/deep/1.png"]
    others += ["pictures/1.dcm", ".git/config", "examples/1.png", "train.pt", "my/other.py"]
    assert files_of(table, mine + others) == mine


def test_the_command_lists_problems_and_says_when_there_are_none(folder: Path, capsys) -> None:
    numbers = folder / "check.json"
    assert main(["check-domain", str(folder), "--json", str(numbers)]) == 0
    printed = capsys.readouterr()
    assert f"{folder} is good." in printed.out and "z_sem of 16" in printed.out
    assert json.loads(numbers.read_text())["problems"] == []
    edit(folder, ("radius = 2.0", "radius = 0"), ("points = 4", "points = 0"))
    assert main(["check-domain", str(folder), "--json", str(numbers)]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("\n- ") + printed.out.startswith("- ") == 2
    assert printed.err == f"error: {folder} has 2 problems.\n"
    assert len(json.loads(numbers.read_text())["problems"]) == 2
    assert main(["check-domain", str(folder / "absent")]) == 1


def test_a_local_domain_may_run_its_operators_code(folder: Path) -> None:
    edit(folder, ('kind = "safetensors"', 'kind = "python"'))
    table = read_domain_file(folder)
    assert find_problems(folder, table)["classifier"] == []
    assert len(find_problems(folder, table, from_hub=True)["classifier"]) == 1


@pytest.mark.slow
def test_a_calibration_is_opened_and_must_be_the_generators_own(folder: Path) -> None:
    identity, size = load_domain(folder, device="cpu").generator.identity, 16
    line = 'title = "Drawn squares"\n'
    edit(folder, (line, line + 'off_distribution = "off.safetensors"\n'))
    assert any("off.safetensors" in problem for problem in check_domain(folder))
    numbers = [torch.zeros(size), torch.ones(size), torch.zeros(3), torch.ones(3), 2.0]
    OffDistribution(*numbers, generator=identity).save(folder / "off.safetensors")
    assert check_domain(folder) == []
    assert load_domain(folder, device="cpu").off_distribution.threshold == 2.0
    OffDistribution(*numbers, generator="another").save(folder / "off.safetensors")
    (problem,) = check_domain(folder)
    assert "calibrate" in problem
    with pytest.raises(GCDError, match="calibrate"):
        load_domain(folder, device="cpu")


def scripted(folder: Path, network: torch.nn.Module, output: str) -> None:
    """Put a network into the domain as a TorchScript file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(network.eval()), folder / "network.pt")
    text = (folder / "domain.toml").read_text()
    before, rest = text.split("[classifier]\n")
    after = rest[rest.index("[oracle]") :]
    table = (
        '[classifier]\nkind = "torchscript"\nmodel = "network.pt"\nlabels = ["ill", "old"]\n'
        f'output = "{output}"\nsize = 32\nchannels = 1\nmean = 0.0\nstd = 1.0\n\n'
    )
    (folder / "domain.toml").write_text(before + table + after)


class Steep(torch.nn.Module):
    """Means of two halves, made steep; what comes last is the end."""

    def __init__(self, end: torch.nn.Module) -> None:
        super().__init__()
        self.end = end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        halves = torch.stack([x[:, 0, :, :16].mean((1, 2)), x[:, 0, :, 16:].mean((1, 2))], 1)
        return self.end(30 * (halves - 0.45))


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("end", [torch.nn.Softmax(1), torch.nn.Sigmoid()])
def test_answers_that_are_probabilities_already_are_a_problem(folder, end, output):
    scripted(folder, Steep(end), output)
    problems = check_domain(folder)
    assert len(problems) == 1 and 'write output = "probabilities"' in problems[0]


@pytest.mark.parametrize(
    ("end", "output"),
    [
        (torch.nn.Identity(), "sigmoid"),
        (torch.nn.Identity(), "softmax"),
        (torch.nn.Softmax(1), "probabilities"),
        (torch.nn.Sigmoid(), "probabilities"),
    ],
)
def test_other_answers_are_no_problem(folder, end, output):
    scripted(folder, Steep(end), output)
    assert check_domain(folder) == []


def test_a_network_that_cannot_answer_is_a_problem(folder):
    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.view(1, -1)[:, :2]

    scripted(folder, Broken(), "sigmoid")
    (problem,) = check_domain(folder)
    assert problem.startswith("[classifier]") and "batch_size = 1" in problem


def test_a_classifier_with_a_budget_is_not_asked(folder):
    scripted(folder, Steep(torch.nn.Softmax(1)), "softmax")
    edit(folder, ("[classifier]\n", "[classifier]\nbudget = 3\n"))
    assert check_domain(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_console_of_few_letters_prints_what_it_can(folder, encoding):
    edit(folder, ('labels = ["ill", "old"]', 'labels = ["ill", "\u03b1\u00df\u540d"]'))
    for spoilt in (False, True):
        if spoilt:
            edit(folder, ('title = "Illness"', 'tltle = "\u540d"'))
        done = subprocess.run(
            [sys.executable, "-m", "gcd_core", "check-domain", str(folder)],
            capture_output=True,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
            check=False,
        )
        assert b"Traceback" not in done.stderr and done.returncode == int(spoilt)
        if not spoilt:
            assert b"is good" in done.stdout
