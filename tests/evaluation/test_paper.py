"""The paper's tables on the linear domain, whose answers are known; the command keeps them."""

import json
from dataclasses import replace

import pytest
import torch

import gcd_core
from gcd_core.__main__ import main
from gcd_core.errors import GCDError
from gcd_core.evaluation.evaluate import evaluate_directions, summarise
from gcd_core.evaluation.paper import TABLES, Tables, in_papers_protocol
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.directions import DirectionSet
from tests.evaluation.domain import WAY, linear_domain
from tests.fakes import unit

pytestmark = pytest.mark.slow


@pytest.fixture
def domain(tmp_path):
    return linear_domain(tmp_path, examples=8)


@pytest.fixture
def directions(domain):
    across = unit(8, 2) - (unit(8, 2) @ WAY) * WAY
    vectors = torch.stack([WAY, torch.nn.functional.normalize(WAY + across, dim=0)])
    metadata = {"label": "a", "domain": "linear", "generator": domain.generator.identity}
    return DirectionSet(["g", "h1"], vectors, metadata)


def named(domain):
    return [(file.stem, domain.load_image(file)) for file in domain.examples]


def test_table_1_is_what_evaluate_measures(domain, directions):
    tables = Tables(domain, named(domain), directions)
    rows = {row["direction"]: row for row in tables.make("1")}
    measured = evaluate_directions(domain, named(domain), list(directions), "a", with_cout=True)
    for name in ("g", "h1"):
        own = summarise(measured.outcomes[name], measured.costs[name])
        for figure in ("n", "flip_rate", "oracle_flip_rate", "cout", "lpips", "l1"):
            assert rows[name][figure] == pytest.approx(own[figure], abs=1e-6), figure
        assert not [key for key in rows[name] if "FID" in key]  # its oracle is no network
    assert rows["S1"]["lpips"] == pytest.approx(measured.diversity)


def test_by_a_networks_features_the_distances_are_named_for_it(domain, directions):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 1))
    from gcd_core.classifiers.network import TorchClassifier

    oracle = TorchClassifier(network, ("a",), "sigmoid", "o", 16, 1, mean=0, std=1)
    tables = Tables(replace(domain, oracle=oracle), named(domain), directions)
    row = tables.make("1")[0]
    assert row["FID(oracle)"] >= 0 and row["sFID(oracle)"] > 0 and 0 < row["S3(oracle)"] <= 1
    source = torch.cat([image for _, image in named(domain)]).flatten(1).double()
    assert tables.features is not None
    torch.testing.assert_close(tables.features.of(tables.images), source, atol=1e-6, rtol=0)


def test_maps_curves_and_ablations(domain, directions):
    tables = Tables(domain, named(domain), directions, samples=128)
    maps = {row["map"]: row for row in tables.make("2")}
    assert set(maps) == {"BB-LIG", "difference"} and maps["BB-LIG"]["n"] > 0
    curves = tables.make("D2")
    medians = [row["median"] for row in curves]
    assert curves[0]["alpha"] == 0 and medians == sorted(medians, reverse=True)
    queries = domain.classifier.queries
    lambdas = tables.make("F1")
    spent = domain.classifier.queries - queries
    walks = 4 * 8 * (7 + 4 + 51 + 1)
    assert spent <= 128 + 1 + 8 + walks, "the samples are asked about once"
    assert [row["lambda"] for row in lambdas] == [0.0625, 0.25, 1, 4]
    assert all(row["cosine"] > 0.9 for row in lambdas)
    counts = tables.make("F2")
    assert [row["samples"] for row in counts] == [64, 128]
    assert counts[-1]["cosine_to_last"] == pytest.approx(1, abs=1e-4)
    sources = tables.make("3")
    assert len(sources) == 4 and all(row["flip_rate"] == 1 for row in sources)
    assert len(tables.make("F3")) == 3


def test_the_papers_protocol(domain):
    paper = in_papers_protocol(domain)
    assert (paper.alpha_max, paper.walk_points, paper.counterfactual) == (3.0, 128, LOWEST_LOSS)
    assert not paper.search.boundary and not paper.search.antithetic
    asked = []
    domain.generator.decode = lambda latent, solver, steps, *_: asked.append((solver, steps))
    paper.generator.decode(None, "distilled", 2)
    assert asked == [("ddim", 250)]


def test_the_command_keeps_each_table_and_does_not_make_it_twice(
    domain, directions, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: domain, raising=False)
    file, out = tmp_path / "d.safetensors", tmp_path / "tables"
    directions.save(file)
    command = ["tables", "--domain", "linear", "--images", str(domain.folder), "--samples", "64"]
    command += ["--directions", str(file), "--out", str(out)]
    assert main([*command, "--table", "2", "D2"]) == 0
    assert {p.name for p in out.iterdir()} == {
        "table-2.json",
        "table-2.md",
        "table-D2.json",
        "table-D2.md",
        "table-D2.png",
    }
    printed = capsys.readouterr().out
    assert "| map " in printed and "| alpha" in printed
    monkeypatch.setattr(Tables, "make", lambda self, name: pytest.fail("made twice"))
    numbers = tmp_path / "numbers.json"
    assert main([*command, "--table", "2", "D2", "--json", str(numbers)]) == 0
    assert capsys.readouterr().out == printed
    assert set(json.loads(numbers.read_text())["tables"]) == {"2", "D2"}
    command[command.index("64")] = "96"
    assert main([*command, "--table", "2"]) == 1
    assert "other settings (samples)" in capsys.readouterr().err
    (out / "table-2.json").write_text("{")
    assert main([*command, "--table", "2"]) == 1
    assert "is no table" in capsys.readouterr().err


def test_bad_requests_are_refused(domain, directions):
    with pytest.raises(GCDError, match="four images"):
        Tables(domain, named(domain)[:3], directions)
    with pytest.raises(GCDError, match="64 samples"):
        Tables(domain, named(domain), directions, samples=10)
    with pytest.raises(GCDError, match="no table 'D9'"):
        Tables(domain, named(domain), directions).make("D9")
    assert len(TABLES) == 7
