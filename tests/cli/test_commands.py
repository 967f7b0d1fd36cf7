"""The command line end to end on a small domain: files, figures, exit codes, errors in one line."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import gcd_core
from gcd_core.__main__ import COMMANDS, main
from gcd_core.bridge.rcsb import Steering
from gcd_core.cli.evaluate import choose_directions, parse_sampling
from gcd_core.cli.explain import walk_report
from gcd_core.cli.options import StageBars, write_json
from gcd_core.errors import GCDError
from gcd_core.evaluation.known_reasons import Region, RegionReader
from gcd_core.generators.sampling import Sampling
from gcd_core.method.changes import changes_of
from gcd_core.method.search_run import Progress
from gcd_core.method.verification import tried_of
from gcd_core.training import TRAININGS
from gcd_core.wording import percent, signed
from tests.bridge.fakes import known_bridge
from tests.evaluation.domain import CODE, WAY, linear_domain
from tests.fakes import unit
from tests.scans import SECRETS, dicom
from tests.tiny_domain import write_tiny_domain

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def domain(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    folder.mkdir()
    made = linear_domain(folder, examples=4)
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: made, raising=False)
    return made


@pytest.fixture
def directions(domain, tmp_path):
    """A file of directions: g is what the classifier reads, h1 and h2 are across and aslant."""
    across = unit(CODE, 2) - (unit(CODE, 2) @ WAY) * WAY
    across = across / across.norm()
    vectors = torch.stack([WAY, across, 0.6 * WAY + 0.8 * across])
    metadata = {"label": "a", "domain": "linear", "generator": domain.generator.identity}
    file = tmp_path / "d.safetensors"
    gcd_core.DirectionSet(["g", "h1", "h2"], vectors, metadata).save(file)
    return file


def test_find_writes_directions_and_numbers(domain, tmp_path, capsys):
    out, numbers = tmp_path / "d.safetensors", tmp_path / "d.json"
    command = ["find", "--domain", "linear", "--image", str(domain.examples[0]), "--label", "a"]
    command += ["--samples", "300", "--n-h", "3", "--seed", "5", "--steps", "4"]
    assert main([*command, "--out", str(out), "--json", str(numbers)]) == 0
    found = gcd_core.load_directions(out)
    assert found.names == ["g", "h1", "h2", "h3"] and found.label == "a"
    assert torch.dot(found["g"].vector, WAY) > 0.95
    settings = found.metadata["settings"]
    assert (settings["n_samples"], settings["steps"], found.metadata["seed"]) == (300, 4, 5)
    result = json.loads(numbers.read_text())
    assert result["evaluations"] == 4 + 4 * 300 and result["queries"] == 1 + 300
    figures = found.metadata["figures"]
    assert (figures["evaluations"], figures["queries"]) == (4 + 4 * 300, 1 + 300)
    assert 0 < figures["proxy_validation_loss"] <= result["proxy"]["validation_loss"]
    assert list(result["directions"]) == found.names
    printed = capsys.readouterr()
    assert "1204 network evaluations" in printed.out
    assert "Confidence high: another search is expected to find nearly the same g" in printed.out
    assert result["repeatability"]["level"] == "high"
    assert result["repeatability"]["cosine"] == figures["repeatability"] > 0.9
    assert printed.err == "", "no progress bar where nobody looks"


def test_find_is_repeatable_from_its_seed(domain, tmp_path):
    command = ["find", "--domain", "linear", "--image", str(domain.examples[0]), "--label", "a"]
    vectors = []
    for name, seed in (("one", "7"), ("two", "7"), ("three", "8")):
        out = tmp_path / f"{name}.safetensors"
        assert main([*command, "--samples", "32", "--seed", seed, "--out", str(out)]) == 0
        vectors.append(gcd_core.load_directions(out).vectors)
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


def test_explain_writes_pictures_and_numbers(domain, directions, tmp_path):
    out, numbers = tmp_path / "out", tmp_path / "e.json"
    command = ["explain", "--domain", "linear", "--image", str(domain.examples[1])]
    command += ["--directions", str(directions), "--out", str(out), "--json", str(numbers)]
    assert main(command) == 0
    names = {"source", "counterfactual", "difference", "heatmap", "curve"}
    assert {file.name for file in out.iterdir()} == {
        *(f"{name}.png" for name in names),
        "sweep.gif",
        "report.pdf",
        "report.png",
        "result.json",
    }
    assert (out / "report.pdf").read_bytes().startswith(b"%PDF")
    for name in names - {"curve"}:
        with Image.open(out / f"{name}.png") as picture:
            assert picture.size == (16, 16)
    with Image.open(out / "sweep.gif") as sweep:
        assert sweep.n_frames >= domain.walk_points
    with Image.open(out / "counterfactual.png") as picture:
        about = picture.text["Description"]
    result = json.loads((out / "result.json").read_text())
    assert result == json.loads(numbers.read_text())
    path = gcd_core.walk(
        domain,
        domain.load_image(domain.examples[1]),
        gcd_core.load_directions(directions)["g"],
        label="a",
    )
    assert result["flipped"] is True and result["label"] == "a"
    assert result["alpha"] == pytest.approx(path.alphas[path.counterfactual].item())
    assert result["path"]["probabilities"] == pytest.approx(path.probabilities.tolist())
    assert (result["probability"] >= 0.5) != (result["counterfactual_probability"] >= 0.5)
    assert abs(result["bb_lig"]["completeness_error"]) < 1
    assert about.startswith("SYNTHETIC") and domain.title in about
    assert percent(result["counterfactual_probability"]) in about
    assert f"g {signed(result['alpha'])}" in about


def test_explain_takes_the_papers_counterfactual_or_another_margin(domain, directions, tmp_path):
    command = ["explain", "--domain", "linear", "--image", str(domain.examples[1])]
    command += ["--directions", str(directions), "--out"]
    asked = {
        "small": ["--margin", "0"],
        "clear": ["--margin", "0.45"],
        "paper": ["--counterfactual", "lowest-loss"],
    }
    results = {}
    for name, options in asked.items():
        assert main([*command, str(tmp_path / name), *options]) == 0
        results[name] = json.loads((tmp_path / name / "result.json").read_text())
    choices = [(r["counterfactual"], r["margin"]) for r in results.values()]
    assert choices == [("smallest", 0.0), ("smallest", 0.45), ("lowest-loss", 0.25)]
    points = [len(r["path"]["alphas"]) for r in results.values()]
    assert points == [domain.walk_points + 4, domain.walk_points + 4, domain.walk_points]
    small, clear, paper = (r["lpips"] for r in results.values())
    assert small < clear < paper
    with (
        Image.open(tmp_path / "small" / "sweep.gif") as sweep,
        Image.open(tmp_path / "paper" / "sweep.gif") as even,
    ):
        assert sweep.n_frames == even.n_frames, "a sweep goes in even steps"


def test_explain_counts_no_flip_of_what_was_never_asked(
    domain, directions, tmp_path, capsys, monkeypatch
):
    classifier, images = domain.classifier, [domain.load_image(one) for one in domain.examples]
    asked = classifier.probability(classifier(torch.cat(images)), "b")
    lacking = int(asked.argmin())
    assert asked[lacking] < 0.5
    info = replace(domain.label_info["a"], given="b")
    asking = replace(domain, label_info={**domain.label_info, "a": info})
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: asking)
    command = ["explain", "--domain", "linear", "--image", str(domain.examples[lacking])]
    out = tmp_path / "out"
    assert main([*command, "--directions", str(directions), "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["premise_missing"] == domain.label_info["b"].positive
    assert result["flipped"] is False
    before, after = result["probability"], result["counterfactual_probability"]
    assert (before >= 0.5) != (after >= 0.5), "by the probability alone it would be one"
    printed = capsys.readouterr()
    assert "does not flip (the original shows no" in printed.out
    assert "in the original the classifier sees none" in printed.err


@pytest.mark.parametrize("command", ["explain", "evaluate"])
def test_a_margin_out_of_range_is_refused_before_any_work(command, domain, directions, capsys):
    given = {
        "explain": ["--image", str(domain.examples[1]), "--out", str(domain.folder / "out")],
        "evaluate": ["--images", str(domain.folder)],
    }[command]
    options = ["--domain", "linear", "--directions", str(directions), "--margin", "0.6"]
    assert main([command, *options, *given]) == 1
    assert "margin 0.6" in capsys.readouterr().err
    assert domain.classifier.queries == domain.generator.evaluations == 0
    assert not (domain.folder / "out").exists()


def test_explain_can_map_cells(domain, directions, tmp_path, capsys):
    command = ["explain", "--domain", "linear", "--image", str(domain.examples[1])]
    command += ["--directions", str(directions)]
    maps = {}
    for name in ("bb_lig", "cells"):
        before, out = domain.classifier.queries, tmp_path / name
        assert main([*command, "--out", str(out), "--map", name]) == 0
        result = json.loads((out / "result.json").read_text())
        assert result["map"] == name and "bb_lig" in result
        maps[name] = result, domain.classifier.queries - before, (out / "heatmap.png").read_bytes()
    cells, asked, picture = maps["cells"]
    assert "cells" not in maps["bb_lig"][0] and picture != maps["bb_lig"][2]
    assert cells["cells"]["queries"] == asked - maps["bb_lig"][1] == 512
    assert abs(cells["cells"]["completeness_error"]) < 1e-3
    assert "rank_correlation" in cells["cells"]
    domain.map_mass.update(cells=0.9, bb_lig=0.3)
    assert main([*command, "--out", str(tmp_path / "better")]) == 0
    assert json.loads((tmp_path / "better" / "result.json").read_text())["map"] == "cells"
    domain.classifier.budget = domain.classifier.queries + 511
    before = domain.classifier.queries
    assert main([*command, "--out", str(tmp_path / "free")]) == 0, "nothing is asked for a map"
    assert json.loads((tmp_path / "free" / "result.json").read_text())["map"] == "bb_lig"
    domain.classifier.budget += domain.classifier.queries - before
    evaluations = domain.generator.evaluations
    assert main([*command, "--out", str(tmp_path / "no"), "--map", "cells"]) == 1
    assert "511 are left" in capsys.readouterr().err
    assert domain.generator.evaluations == evaluations and not (tmp_path / "no").exists()


def test_evaluate_compares_maps(domain, directions, tmp_path, capsys):
    command = ["evaluate", "--domain", "linear", "--images", str(domain.folder), "--limit", "2"]
    command += ["--directions", str(directions), "--direction", "g"]
    results = []
    for options in ([], ["--cells"]):
        numbers = tmp_path / "out.json"
        assert main([*command, *options, "--json", str(numbers)]) == 0
        results.append(json.loads(numbers.read_text()))
    plain, compared = results
    assert compared["queries"] - plain["queries"] == 2 * 818 and "maps" not in plain
    assert list(compared["maps"]) == ["cells", "bb_lig", "difference"]
    assert set(compared["maps"]["cells"]) == {"gini", "completeness_error", "cout", "cout_back"}
    assert compared["maps"]["cells"]["completeness_error"] < 1e-3
    assert compared["maps"] == compared["directions"]["g"]["maps"]
    assert compared["images"]["g"][0]["maps"]["cells"]["gini"] > 0
    assert "| g         | cells" in capsys.readouterr().out


def mask_file(file, size=16):
    """A mask whose left half is marked."""
    mask = Image.new("L", (size, size))
    mask.paste(255, (0, 0, size // 2, size))
    mask.save(file)
    return str(file)


def test_a_region_confines_find_explain_and_evaluate(domain, directions, tmp_path, capsys):
    mask = mask_file(tmp_path / "left.png")
    found = tmp_path / "in_region.safetensors"
    image = str(domain.examples[1])
    command = ["find", "--domain", "linear", "--image", image, "--label", "a", "--region", mask]
    assert main([*command, "--samples", "64", "--out", str(found)]) == 0
    assert "region" in gcd_core.load_directions(found).metadata["settings"]
    out = tmp_path / "out"
    command = ["explain", "--domain", "linear", "--image", image, "--region", mask]
    assert main([*command, "--directions", str(directions), "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["region"] == 0.5
    source, changed, shown = (
        torch.from_numpy(np.array(Image.open(out / f"{name}.png").convert("L")))
        for name in ("source", "counterfactual", "region")
    )
    assert torch.equal(source[:, 8:], changed[:, 8:]) and not torch.equal(source, changed)
    assert (shown[:, :8] == 255).all() and (shown[:, 8:] == 0).all()
    numbers = tmp_path / "numbers.json"
    command = ["evaluate", "--domain", "linear", "--images", str(domain.folder)]
    command += ["--directions", str(directions), "--json", str(numbers)]
    assert main([*command, "--region", "auto:0.75:4"]) == 0
    result = json.loads(numbers.read_text())
    assert result["region"] == 0.25 and result["n"] == 4
    whole = tmp_path / "whole.json"
    assert main([*command[:-1], str(whole)]) == 0
    assert json.loads(whole.read_text())["l1"] > result["l1"]
    assert "50 % of the picture alone" in capsys.readouterr().out


@pytest.fixture
def steered(domain, monkeypatch):
    """The domain with a classifier that reads the left half, and a bridge."""
    images = torch.cat([domain.load_image(file) for file in domain.examples])
    reader = RegionReader.fitted_to(images, [Region(0, 1, 0, 0.5)], label="a")
    made = replace(
        domain,
        classifier=reader,
        oracle=None,
        bridge=known_bridge(lambda x, t: x),
        steering=Steering(steps=4, tau=0.01, strength=0.05),
        label_info={"a": domain.label_info["a"]},
    )
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: made, raising=False)
    return made


def test_the_bridge_explains_and_is_evaluated(steered, directions, tmp_path, capsys):
    mask, image = mask_file(tmp_path / "left.png"), str(steered.examples[1])
    out = tmp_path / "out"
    command = ["explain", "--domain", "linear", "--image", image, "--method", "rcsb"]
    more = ["--region", mask, "--out", str(out), "--strength", "0.04", "--map", "cells"]
    assert main([*command, *more]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["method"] == result["direction"] == "rcsb" and result["flipped"]
    assert result["steering"] == {"steps": 4, "tau": 0.01, "strength": 0.04, "seed": 0}
    assert abs(result["alpha"]) == 1 and result["counterfactual"] == "whole"
    source, changed = (
        torch.from_numpy(np.array(Image.open(out / f"{name}.png")))
        for name in ("source", "counterfactual")
    )
    assert torch.equal(source[:, 8:], changed[:, 8:]) and not torch.equal(source, changed)
    assert (out / "report.pdf").stat().st_size > 5000

    numbers = tmp_path / "numbers.json"
    command = ["evaluate", "--domain", "linear", "--images", str(steered.folder)]
    command += ["--json", str(numbers), "--method", "rcsb"]
    assert main([*command, "--region", mask, "--cout"]) == 0
    result = json.loads(numbers.read_text())
    assert result["flip_rate"] == 1 and result["region"] == 0.5 and result["cout"] > 0
    assert result["smallest"]["l1"] < result["l1"]
    assert main([*command, "--region", "free:0.3:2", "--counterfactual", "smallest"]) == 0
    assert json.loads(numbers.read_text())["counterfactual"] == "smallest"
    assert main([*command, "--region", "auto:0.75:4", "--directions", str(directions)]) == 0
    assert json.loads(numbers.read_text())["region"] == 0.25
    assert "rcsb: 4 steps, tau 0.01, strength 0.05" in capsys.readouterr().out


def test_the_report_of_explain_is_about_the_counterfactual(domain, directions):
    found = gcd_core.load_directions(directions)
    image = domain.load_image(domain.examples[1])
    path = gcd_core.walk(domain, image, found["g"], label="b")
    report = walk_report(domain, found, path, gcd_core.explain_path(path), ["A warning."])
    at = path.counterfactual
    assert report.explained == 1 and report.warnings == ["A warning."]
    assert report.labels[1].before == pytest.approx(path.source_probability)
    assert [label.after for label in report.labels] == path.all_probabilities[at].tolist()
    assert (
        report.alphas == [("g", path.alphas[at].item())]
        and report.curve.here[0] == report.alphas[0][1]
    )
    assert report.curve.here == report.curve.measured[at]
    assert torch.equal(report.changed, path.images[at][None])


def test_explain_takes_dicom_and_keeps_its_name_to_itself(domain, directions, tmp_path, capsys):
    scan, out = tmp_path / "Musterfrau_Erika.dcm", tmp_path / "out"
    pixels = (domain.load_image(domain.examples[1])[0, 0] * 255).round().byte().numpy()
    scan.write_bytes(dicom(pixels))
    command = ["explain", "--domain", "linear", "--image", str(scan), "--out", str(out)]
    assert main([*command, "--directions", str(directions)]) == 0
    result = json.loads((out / "result.json").read_text())
    assert result["image"] == "DICOM" and result["flipped"] is True
    assert all("one brightness curve" in warning for warning in result["warnings"])
    written = b"".join(file.read_bytes() for file in out.iterdir())
    printed = capsys.readouterr()
    assert not any(s.encode() in written or s in printed.out + printed.err for s in SECRETS)


def test_find_keeps_a_scans_name_to_itself(domain, tmp_path, capsys):
    scan, numbers = tmp_path / "Musterfrau_Erika.dcm", tmp_path / "d.json"
    pixels = (domain.load_image(domain.examples[1])[0, 0] * 255).round().byte().numpy()
    scan.write_bytes(dicom(pixels))
    command = ["find", "--domain", "linear", "--image", str(scan), "--label", "a", "--samples", "9"]
    out = str(tmp_path / "d.safetensors")
    assert main([*command, "--n-h", "1", "--out", out, "--json", str(numbers)]) == 0
    written = numbers.read_text() + (tmp_path / "d.safetensors").read_bytes().decode("latin-1")
    printed = capsys.readouterr()
    assert json.loads(numbers.read_text())["image"] == "DICOM"
    assert not any(secret in written + printed.out + printed.err for secret in SECRETS)


def test_explain_warns_of_photographs(domain, directions, tmp_path, capsys):
    photograph, out = tmp_path / "cat.png", tmp_path / "out"
    Image.new("RGB", (16, 16), (210, 140, 60)).save(photograph)
    command = ["explain", "--domain", "linear", "--image", str(photograph), "--out", str(out)]
    assert main([*command, "--directions", str(directions)]) == 0
    assert "colour photograph" in capsys.readouterr().err
    assert "colour photograph" in json.loads((out / "result.json").read_text())["warnings"][0]


@pytest.mark.parametrize("command", ["explain", "find", "evaluate"])
def test_a_window_that_does_not_fit_is_told(domain, directions, tmp_path, capsys, command):
    folder = tmp_path / "scans"
    folder.mkdir()
    ramp = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16)
    for name in ("a", "b"):
        (folder / f"{name}.dcm").write_bytes(dicom(ramp, WindowCenter=30000, WindowWidth=50))
    (folder / "notes.txt").write_text("no picture")
    numbers = tmp_path / "n.json"
    options = {
        "explain": ["--image", str(folder / "a.dcm"), "--out", str(tmp_path / "out")],
        "find": ["--image", str(folder / "a.dcm"), "--out", str(tmp_path / "o.safetensors")],
        "evaluate": ["--images", str(folder), "--direction", "g"],
    }[command]
    if command == "find":
        options += ["--label", "a", "--n-h", "1"]
    else:
        options += ["--directions", str(directions)]
    assert main([command, "--domain", "linear", *options, "--json", str(numbers)]) == 0
    told = capsys.readouterr().err
    others = told.count("notes.txt") + told.count("one brightness curve")  # of 256 pixels
    assert told.count("warning: ") - others == 1
    assert "window does not fit its pixels" in told and "UserWarning" not in told
    if command == "evaluate":
        assert "2 of 2 images (a.dcm, b.dcm)" in told and "1 file is no picture" in told
    if command == "explain":
        assert "window does not fit" in json.loads(numbers.read_text())["warnings"][0]


def test_explain_can_ask_about_another_label(domain, directions, tmp_path):
    command = ["explain", "--domain", "linear", "--image", str(domain.examples[1])]
    command += ["--directions", str(directions), "--out", str(tmp_path / "out")]
    assert main([*command, "--label", "b"]) == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["label"] == "b" and result["flipped"] is False
    assert main([*command, "--label", "c"]) == 1


def test_evaluate_one_direction(domain, directions, tmp_path, capsys):
    numbers = tmp_path / "out.json"
    folder = domain.folder
    (folder / "broken.png").write_bytes(b"no picture")
    command = ["evaluate", "--domain", "linear", "--images", str(folder)]
    command += ["--directions", str(directions), "--direction", "g", "--json", str(numbers)]
    assert main(command) == 0
    result = json.loads(numbers.read_text())
    assert result["n"] == 4 and result["flip_rate"] == 1
    assert 0 <= result["oracle_flip_rate"] <= 1
    assert list(result["skipped"]) == ["broken.png"]
    assert [row["file"] for row in result["images"]["g"]] == [
        "00.png",
        "01.png",
        "02.png",
        "03.png",
    ]
    printed = capsys.readouterr()
    assert "skipped 1 of 5" in printed.err and "broken.png" in printed.err
    assert "| g " in printed.out
    assert "counterfactual: smallest, margin 0.25" in printed.out
    assert "on the same paths: lowest-loss" in printed.out
    assert (result["counterfactual"], result["margin"]) == ("smallest", 0.25)
    assert result["lowest_loss"]["lpips"] > result["lpips"]
    options = ["--counterfactual", "lowest-loss", "--margin", "0.25"]
    assert main([*command, *options]) == 0
    paper = json.loads(numbers.read_text())
    assert paper["counterfactual"] == "lowest-loss"
    for name in ("flip_rate", "oracle_flip_rate", "alpha", "lpips", "l1"):
        assert paper[name] == pytest.approx(result["lowest_loss"][name])
        assert paper["smallest"][name] == pytest.approx(result[name])


def test_evaluate_all_directions(domain, directions, tmp_path, capsys):
    numbers = tmp_path / "out.json"
    command = ["evaluate", "--domain", "linear", "--images", str(domain.folder), "--limit", "2"]
    command += ["--directions", str(directions), "--direction", "all", "--cout"]
    assert main([*command, "--json", str(numbers)]) == 0
    result = json.loads(numbers.read_text())
    assert list(result["directions"]) == ["g", "h1", "h2"]
    assert result["best_h"] == "h2" and result["direction"] == "g"
    assert result["directions"]["h1"]["flip_rate"] == 0
    assert result["flip_rate"] == result["directions"]["g"]["flip_rate"]
    assert result["n"] == 2 and result["diversity"] > 0 and -1 <= result["cout"] <= 1
    assert result["best_w"] is None and len(result["pairs"]) == 3
    printed = capsys.readouterr().out
    assert "best h: h2" in printed and "best w" not in printed


def save_ways(domain, file):
    """A set with no h: g, and two ways that are 0.6 along it and across each other elsewhere."""
    basis = torch.linalg.qr(torch.stack([WAY, unit(CODE, 2), unit(CODE, 3)]).T).Q.T
    away = 0.8 * basis[1:]
    metadata = {"label": "a", "domain": "linear", "generator": domain.generator.identity}
    vectors = torch.stack([WAY, 0.6 * WAY + away[0], 0.6 * WAY + away[1]])
    gcd_core.DirectionSet(["g", "w1", "w2"], vectors, metadata).save(file)


def test_evaluate_ways_two_by_two(domain, tmp_path, capsys):
    file, numbers = tmp_path / "ways.safetensors", tmp_path / "out.json"
    save_ways(domain, file)
    command = ["evaluate", "--domain", "linear", "--images", str(domain.folder)]
    command += ["--directions", str(file), "--json", str(numbers), "--direction"]
    assert main([*command, "all"]) == 0
    printed, result = capsys.readouterr().out, json.loads(numbers.read_text())
    assert result["best_h"] is None and result["best_w"] in ("w1", "w2")
    assert result["directions"]["w1"]["flip_rate"] == 1, "so that there is something to compare"
    pairs = {tuple(pair["directions"]): pair for pair in result["pairs"]}
    assert list(pairs) == [("g", "w1"), ("g", "w2"), ("w1", "w2")]
    assert [pair["abs_cosine"] for pair in pairs.values()] == pytest.approx([0.6, 0.6, 0.36])
    assert all(pair["n"] == 4 and pair["lpips"] > 0 for pair in pairs.values())
    assert all(-1 <= pair["rank_correlation"] < 1 for pair in pairs.values())
    assert result["diversity"] == pytest.approx(result["diversity_of_flips"]), "all flip"
    assert re.search(r"\| w1, w2 +\| 0\.36 +\| 4 ", printed)
    assert re.search(rf"\| all pairs +\| – +\| 12 +\| {result['diversity']:.3g} ", printed)
    assert re.search(r"\| w1 +\| 1 ", printed) and "best w" in printed
    assert main([*command, "w2, w1"]) == 0
    chosen = json.loads(numbers.read_text())
    assert list(chosen["directions"]) == ["w2", "w1"] and chosen["direction"] == "w2"
    (pair,) = chosen["pairs"]
    for name in ("abs_cosine", "n", "lpips", "rank_correlation"):
        assert pair[name] == pytest.approx(pairs["w1", "w2"][name])


@pytest.mark.parametrize(
    "text, names",
    [
        ("all", "g h1 h2 w1"),
        ("ways", "g w1"),
        ("w1,g", "w1 g"),
        ("g, h2 ,g", "g h2"),
        ("h1,ways", "h1 g w1"),
    ],
)
def test_choose_directions(text, names):
    found = gcd_core.DirectionSet(["g", "h1", "h2", "w1"], torch.eye(4), {"label": "a"})
    assert [direction.name for direction in choose_directions(found, text)] == names.split()


@pytest.mark.parametrize("text", ["w1", "ways", "all,w1", "h1,", ""])
def test_directions_that_are_not_there_are_refused_with_those_that_are(text):
    found = gcd_core.DirectionSet(["h1", "h2"], torch.eye(2), {"label": "a"})
    with pytest.raises(GCDError, match=r"^There is no direction '\w*'; there are h1, h2\.$"):
        choose_directions(found, text)


def test_evaluate_reconstruction(domain, tmp_path, capsys):
    numbers = tmp_path / "out.json"
    command = ["evaluate", "--domain", "linear", "--images", str(domain.folder), "--reconstruction"]
    command += ["--sampling", "ddim:2", "--sampling", "ddim:3/10", "--json", str(numbers)]
    assert main(command) == 0
    rows = json.loads(numbers.read_text())["reconstruction"]
    assert [row["sampling"] for row in rows] == ["ddim:2", "ddim:3/10"]
    assert [row["evaluations"] for row in rows] == [4, 13]
    assert rows[0]["mae"] > rows[1]["mae"]
    assert "ddim:3/10" in capsys.readouterr().out


def test_evaluate_classifiers_on_images_of_known_labels(domain, tmp_path):
    """The half of the images that the classifier finds likelier is ill: its ranking is right."""
    files = sorted(domain.examples)
    images = torch.cat([domain.load_image(file) for file in files])
    probabilities = domain.classifier.probability(domain.classifier(images), "a")
    ill = probabilities > probabilities.median()
    right = ((probabilities >= 0.5) == ill).double().mean().item()
    kinds = ["ill" if yes else "well" for yes in ill]
    rows = [f"{file.name},{kind},test\n" for file, kind in zip(files, kinds, strict=True)]
    (tmp_path / "table.csv").write_text("file,label,split\n" + "".join(rows))
    numbers = tmp_path / "out.json"
    command = ["evaluate", "--domain", "linear", "--images", str(domain.folder), "--classifiers"]
    command += ["--labels", str(tmp_path / "table.csv"), "--split", "test"]
    assert main(command) == 1, "what the label stands for is missing"
    assert main([*command, "--target", "a=ill:well", "--json", str(numbers)]) == 0
    result = json.loads(numbers.read_text())
    own = result["classifiers"]["classifier"]["a"]
    assert (own["n"], own["auroc"], own["accuracy"]) == (4, 1, right)
    assert set(result["classifiers"]) == {"classifier", "oracle"}
    assert result["measured"]["images"]["labels"] == {kind: kinds.count(kind) for kind in kinds}
    assert result["identity"]["generator"] == domain.generator.identity


def test_parse_sampling():
    assert parse_sampling("ddim:20") == Sampling("ddim", 20, 20)
    assert parse_sampling("ddim:100/250") == Sampling("ddim", 100, 250)
    assert parse_sampling("dpm++2m:10") == Sampling("dpm++2m", 10, 10)
    for text in ("ddim", "ddim:x", ":20", "ddim:1", "ddim:20/0"):
        with pytest.raises(GCDError, match="--sampling"):
            parse_sampling(text)


FIND = ["find", "--domain", "linear", "--image", "IMAGE", "--label", "a", "--out", "OUT"]
EXPLAIN = ["explain", "--domain", "linear", "--image", "IMAGE", "--out", "OUT"]
RCSB = ["--method", "rcsb", "--region", "free:0.2"]
EVALUATE = ["evaluate", "--domain", "linear", "--images", "FOLDER"]


@pytest.mark.parametrize(
    "command, message",
    [
        ([*FIND, "--samples", "0"], "--samples must be 9 at least, not 0"),
        ([*FIND, "--samples", "3"], "--samples must be 9 at least"),
        ([*FIND, "--steps", "1"], "--steps must be 2 at least, not 1"),
        ([*FIND, "--solver", "euler"], "euler"),
        ([*FIND, "--radius", "0"], "--radius must be positive"),
        ([*FIND, "--radius", "nan"], "--radius must be positive"),
        ([*FIND, "--lam", "-1"], "--lam must be 0 at least"),
        ([*FIND, "--n-h", "9"], "h-directions"),
        ([*FIND, "--batch-size", "0"], "--batch-size"),
        ([*FIND, "--label", "nothing"], "'nothing'"),
        ([*FIND, "--image", "FOLDER"], "is not a file"),
        ([*FIND, "--out", "FOLDER/nowhere/d.safetensors"], "cannot be written"),
        ([*FIND, "--json", "FOLDER"], "cannot be written"),
        (EVALUATE, "one of --directions FILE, --reconstruction"),
        ([*EVALUATE, "--reconstruction", "--limit", "0"], "--limit"),
        ([*EVALUATE, "--reconstruction", "--sampling", "ddim:1"], "2 steps"),
        ([*EVALUATE, "--reconstruction", "--sampling", "euler:9"], "euler"),
        ([*EVALUATE, "--directions", "IMAGE"], "not a safetensors file"),
        ([*EVALUATE, "--directions", "SET", "--direction", "h7"], "'h7'"),
        ([*EVALUATE, "--directions", "SET", "--direction", "g,w1"], "'w1'; there are g, h1, h2."),
        ([*EVALUATE[:-1], "NOWHERE", "--directions", "SET", "--direction", "w1"], "'w1'"),
        ([*EVALUATE, "--directions", "SET", "--sampling", "ddim:20"], "--reconstruction"),
        ([*EVALUATE, "--directions", "SET", "--split", "test"], "--labels"),
        ([*EVALUATE[:-1], "NOWHERE", "--reconstruction"], "neither a folder nor a zip"),
        ([*EVALUATE, "--reconstruction", "--region", "auto"], "--region confines directions"),
        ([*EVALUATE, "--directions", "SET", "--region", "auto:1"], "The quantile is 1.0"),
        ([*EVALUATE, "--directions", "SET", "--region", "auto:0.5:99"], "99 cells a side"),
        ([*EVALUATE, "--directions", "SET", "--region", "auto:x"], "--region is a mask's file"),
        ([*EVALUATE, "--directions", "SET", "--region", "nowhere.png"], "is not a file"),
        ([*EVALUATE, "--directions", "SET", "--region", "free:2"], "0.005 to 0.9 of a picture"),
        ([*EVALUATE, "--directions", "SET", "--region", "free"], "--region is a mask's file"),
        ([*EVALUATE, "--directions", "SET", "--tau", "0.5"], "--tau belongs to --method rcsb"),
        ([*EVALUATE, "--directions", "SET", "--label", "a"], "--label belongs to --method rcsb"),
        ([*EVALUATE, "--method", "rcsb"], "give --region"),
        ([*EVALUATE, *RCSB, "--tau", "2"], "tau lies above 0"),
        ([*EVALUATE, *RCSB, "--reconstruction"], "one of --directions FILE, --reconstruction"),
        ([*EVALUATE, *RCSB], "has no bridge"),
        ([*EXPLAIN, *RCSB], "has no bridge"),
        ([*EXPLAIN, "--method", "rcsb", "--region", "auto"], "Give --directions FILE"),
        (EXPLAIN, "Give --directions FILE"),
        ([*FIND, "--region", "SET"], "not a picture"),
        ([*FIND, "--region", "IMAGE"], "needs two, black outside"),
    ],
)
def test_errors_are_one_line(domain, directions, tmp_path, capsys, command, message):
    places = {
        "IMAGE": str(domain.examples[0]),
        "OUT": str(tmp_path / "out.safetensors"),
        "SET": str(directions),
        "FOLDER/nowhere/d.safetensors": str(domain.folder / "nowhere" / "d.safetensors"),
        "FOLDER": str(domain.folder),
    }
    evaluations = domain.generator.evaluations
    assert main([places.get(word, word) for word in command]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and message in printed.err
    assert printed.err.count("\n") == 1 and printed.out == ""
    assert domain.generator.evaluations == evaluations, "refused before any work"
    assert not (tmp_path / "out.safetensors").exists()


def test_directions_of_another_generator_are_refused(domain, directions, tmp_path, capsys):
    domain.generator.identity = "another"
    command = ["--domain", "linear", "--directions", str(directions)]
    assert main(["evaluate", *command, "--images", str(domain.folder)]) == 1
    out = ["--image", str(domain.examples[0]), "--out", str(tmp_path / "out")]
    assert main(["explain", *command, *out]) == 1
    assert capsys.readouterr().err.count("Find them again here") == 2


def test_interrupted(domain, tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(gcd_core, "find_directions", stopped, raising=False)
    command = ["find", "--domain", "linear", "--image", str(domain.examples[0]), "--label", "a"]
    assert main([*command, "--out", str(tmp_path / "d.safetensors")]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("name", [name for name in COMMANDS if not name.startswith("train")])
def test_wrong_usage_is_code_2(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--no-such-option"])
    assert stopped.value.code == 2
    assert f"gcd_core {name}" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["fnd"], ["train"], ["train", "unet"]])
def test_unknown_commands_are_code_2(argv, capsys):
    assert main(argv) == 2
    printed = capsys.readouterr()
    assert "train diffae" in printed.err and printed.out == ""


def test_train_says_all_that_can_be_trained(capsys):
    assert main(["train"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert all(f" {name}" in message for name in TRAININGS) and len(TRAININGS) == 6
    assert {f"train {name}" for name in TRAININGS} < COMMANDS.keys()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert f"python -m gcd_core {name}" in printed
    opens_none = ("push", "pull", "merge", "plan", "results")
    assert "--device" in printed or name in opens_none


def test_help_does_not_wait_for_torch():
    code = "import sys; from gcd_core.__main__ import main; assert main(['--help']) == 0"
    code += "; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_json_is_atomic_write_or_not_at_all(tmp_path):
    file = tmp_path / "out.json"
    write_json(file, {"n": 1})
    with pytest.raises(TypeError):
        write_json(file, {"n": object()})
    assert json.loads(file.read_text()) == {"n": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_progress_bars_follow_the_stages():
    with StageBars() as bars:
        for done in (16, 32):
            bars.update(Progress("perturb", done, 32, eta=None, evaluations=0, queries=0))
        assert (bars._bar.total, bars._stage) == (32, "perturb")
        bars.update(Progress("proxy", 1, 100, eta=None, evaluations=0, queries=0))
        assert (bars._bar.total, bars._stage) == (100, "proxy")


def test_readme_begins_with_what_a_space_needs_and_has_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    front = re.match(r"---\n(.*?)\n---\n\n!\[", text, re.DOTALL).group(1)
    keys = dict(line.split(": ", 1) for line in front.splitlines())
    assert (keys["sdk"], keys["app_file"], keys["license"]) == ("gradio", "app.py", "mit")
    assert keys["python_version"] == '"3.11"' and len(keys["short_description"]) <= 60
    requirements = (ROOT / "requirements.txt").read_text()
    lowest = re.search(r"^gradio>=([\d.]+)", requirements, re.MULTILINE).group(1)
    assert keys["sdk_version"].startswith(lowest)
    for command in ("python app.py", "python -m pytest -n auto --dist loadfile"):
        assert f"\npip install -r requirements.txt && {command}\n" in text


def test_usable_axes_are_counted(tmp_path: Path, capsys) -> None:
    tiny = write_tiny_domain(tmp_path / "tiny")
    out = tmp_path / "axes.json"
    images = ["--images", str(tiny / "examples")]
    assert main(["evaluate", "--domain", str(tiny), *images, "--axes", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["axes"] == len(result["lpips"]) == 16
    assert result["usable_axes"] == sum(d >= 0.03 for d in result["lpips"])
    assert f"{result['usable_axes']} of 16 axes" in capsys.readouterr().out


def test_describe_fills_in_what_directions_change_and_leaves_the_rest(tmp_path, capsys):
    tiny, numbers = write_tiny_domain(tmp_path / "tiny"), tmp_path / "d.json"
    found = gcd_core.load_domain(tiny, device="cpu")
    label = found.labels[0]
    file = tiny / "d.safetensors"
    vectors = torch.stack([unit(found.generator.z_sem_size, k) for k in (1, 2)])
    about = {"label": label, "domain": "tiny", "generator": found.generator.identity}
    gcd_core.DirectionSet(["g", "h1"], vectors, about | {"seed": 3}).save(file)
    command = ["describe", "--domain", str(tiny), "--json", str(numbers)]
    assert main(command) == 1 and "no ready-made directions" in capsys.readouterr().err
    toml = (tiny / "domain.toml").read_text(encoding="utf-8")
    table = f"[labels.{label}]\n"
    assert table in toml
    named = toml.replace(table, f'{table}directions = "d.safetensors"\n')
    (tiny / "domain.toml").write_text(named, encoding="utf-8")
    assert main(command) == 0
    filled = gcd_core.load_directions(file)
    assert torch.equal(filled.vectors, vectors) and filled.metadata["seed"] == 3
    changes = changes_of(filled.metadata)
    assert set(changes) == {"g", "h1"} and changes["g"].n == len(found.example_images(8))
    assert f"{label} h1: " in capsys.readouterr().out
    told = json.loads(numbers.read_text())
    assert set(told["changes"][label]) == {"g", "h1"} and told["n"] == {label: changes["g"].n}
    tried = tried_of(filled.metadata)
    assert set(tried) == {"g", "h1"} and tried["h1"].n == changes["g"].n
    assert told["tried"][label]["h1"]["positives"] == tried["h1"].positives
