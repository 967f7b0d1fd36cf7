"""The paper's tables on the linear domain, whose answers are known; the command keeps them."""

import json
import sys
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

import gcd_core
from gcd_core.__main__ import main
from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.cli import tables
from gcd_core.errors import GCDError
from gcd_core.evaluation import metrics
from gcd_core.evaluation.ablations import counts
from gcd_core.evaluation.outcomes import summarise
from gcd_core.evaluation.pairs import Comparison
from gcd_core.evaluation.paper import TABLES, in_papers_protocol, make_table
from gcd_core.evaluation.trials import Trials
from gcd_core.generators.resized import resized
from gcd_core.method import proxy
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.directions import DirectionSet
from tests.evaluation.domain import WAY, linear_domain
from tests.evaluation.measured import evaluated
from tests.fakes import LinearGenerator, unit

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
    trials = Trials(domain, named(domain), directions)
    rows = {row["direction"]: row for row in make_table("1", trials)}
    measured = evaluated(domain, named(domain), list(directions), "a", with_cout=True)
    for name in ("g", "h1"):
        own = summarise(measured.outcomes[name], measured.costs[name])
        for figure in ("n", "flip_rate", "oracle_flip_rate", "cout", "lpips", "l1"):
            assert rows[name][figure] == pytest.approx(own[figure], abs=1e-6), figure
        assert not [key for key in rows[name] if "FID" in key]  # its oracle is no network
    comparison = Comparison.of(directions)
    comparison.add(measured.seen)
    assert rows["S1"]["lpips"] == pytest.approx(comparison.diversity)


def test_by_a_networks_features_the_distances_are_named_for_it(domain, directions):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 1))
    from gcd_core.classifiers.network import TorchClassifier

    oracle = TorchClassifier(network, ("a",), "sigmoid", "o", 16, 1, mean=0, std=1)
    trials = Trials(replace(domain, oracle=oracle), named(domain), directions)
    row = make_table("1", trials)[0]
    assert row["FID(oracle)"] >= 0 and row["sFID(oracle)"] > 0 and 0 < row["S3(oracle)"] <= 1
    source = torch.cat([image for _, image in named(domain)]).flatten(1).double()
    assert trials.judges.fidelity is trials.judges.likeness is not None
    found = trials.judges.fidelity.of(trials.images)
    torch.testing.assert_close(found, source, atol=1e-6, rtol=0)


def test_maps_curves_and_ablations(domain, directions, tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "MIN_STEPS", 100)  # three dozen proxies are fitted here
    monkeypatch.setattr(proxy, "MAX_EPOCHS", 60)
    pool = tmp_path / "pool.safetensors"
    trials = Trials(domain, named(domain), directions, samples=128, pool=pool)
    maps = {row["map"]: row for row in make_table("2", trials)}
    assert set(maps) == {"BB-LIG", "difference"} and maps["BB-LIG"]["n"] > 0
    curves = make_table("D2", trials)
    medians = [row["median"] for row in curves]
    assert curves[0]["alpha"] == 0 and medians == sorted(medians, reverse=True)
    queries = domain.classifier.queries
    needs = make_table("F1", trials)
    spent = domain.classifier.queries - queries
    assert spent == 128 + 1 + 8, "the samples are asked about once, for all weights and numbers"
    assert [row["samples"] for row in needs] == [32, 64, 96, 128] * 4
    assert all(row["cosine_to_all"] == pytest.approx(1, abs=1e-4) for row in needs[3::4])
    again = Trials(domain, named(domain), directions, samples=128, pool=pool)
    queries = domain.classifier.queries
    assert make_table("F1", again) == needs
    assert domain.classifier.queries - queries == 8, "nor are they in another run"
    lambdas = make_table("F2", trials)
    assert [row["lambda"] for row in lambdas] == [0.0625, 0.25, 1, 4]
    assert all(row["cosine"] > 0.9 for row in lambdas)
    for one, other in pairwise(lambdas):  # all stop at the end, where only the weight differs
        weighed = (other["lambda"] - one["lambda"]) * one["lpips"]
        assert other["cf_loss"] - one["cf_loss"] == pytest.approx(weighed, abs=0.01)
    assert lambdas[-1]["cf_loss"] > lambdas[0]["cf_loss"] + 0.1
    numbers = make_table("4", trials)
    assert [row["samples"] for row in numbers] == [32, 64, 96, 128]
    assert numbers[-1]["cosine_to_all"] == pytest.approx(1, abs=1e-4)
    sources = make_table("3", trials)
    assert len(sources) == 4 and all(row["flip_rate"] == 1 for row in sources)
    assert all(row["map_correlation"] > 0.5 for row in sources)
    assert len(make_table("F3", trials)) == 3


def test_mean_maps_show_where_all_images_change(domain, directions, tmp_path):
    faint = [(name, 0.5 + 0.2 * (image - 0.5)) for name, image in named(domain)]  # none is clipped
    exact = LinearGenerator(8, domain.generator.image_size)
    trials = Trials(replace(domain, generator=exact), faint, directions)
    rows = {(row["direction"], row["map"]): row for row in make_table("D1", trials)}
    for direction in directions:  # every image changes by the same picture, times its alpha
        row = rows[direction.name, "difference"]
        assert row["n"] == 8 and row["agreement"] == pytest.approx(1, abs=1e-3)
        change = (domain.generator.basis @ direction.vector).abs().sort(descending=True).values
        tenth = -(-len(change) // 10)
        share = (change[:tenth].sum() / change.sum()).item()
        assert row["top_decile"] == pytest.approx(share, abs=1e-3)
    assert trials.pictures.keys() == {
        f"{name}-{kind}" for name in ("g", "h1") for kind in ("difference", "BB-LIG")
    }
    side = domain.generator.image_size
    assert all(picture.size == (side, side) for picture in trials.pictures.values())


def test_the_pool_of_another_search_is_refused(domain, directions, tmp_path):
    pool = tmp_path / "pool.safetensors"
    first = Trials(domain, named(domain), directions, samples=64, pool=pool)
    first.from_pool()
    more = Trials(domain, named(domain), directions, samples=96, pool=pool)
    more.from_pool()  # what is missing is asked
    other = replace(domain, search=domain.search.changed(radius=1.0))
    with pytest.raises(GCDError, match="other settings"):
        Trials(other, named(domain), directions, samples=64, pool=pool).from_pool()
    pool.write_bytes(b"no safetensors")
    with pytest.raises(GCDError, match="no samples of `tables`"):
        Trials(domain, named(domain), directions, samples=64, pool=pool).from_pool()


def test_samples_come_by_1024_as_in_the_paper():
    assert counts(4096) == [1024, 2048, 3072, 4096]
    assert counts(2500) == [1024, 2048, 2500]
    assert counts(1024) == [1024]
    assert counts(256) == [64, 128, 192, 256]


def test_other_generators_are_asked_of_the_same_classifier(domain, directions):
    other = replace(domain, name="other", generator=LinearGenerator(8, 8))
    trials = Trials(domain, named(domain), directions, samples=64, others=[other])
    first, second = make_table("D3", trials)
    assert (first["generator"], second["generator"]) == ("linear", "other")
    assert first["reconstruction_lpips"] == pytest.approx(0.1 / 5**2, abs=1e-4)
    assert first["flip_rate"] == 1 and second["n"] == 8
    assert second["reconstruction_lpips"] > 0  # its pictures are of half the size


class AtSize:
    """A classifier that takes pictures of any size, and looks at them at one."""

    def __init__(self, classifier, size):
        self.classifier, self.size, self.seen = classifier, size, []
        self.preprocessing = Preprocessing((size, size))

    def __getattr__(self, name):
        return getattr(self.classifier, name)

    def __call__(self, images):
        self.seen.append(images.shape[-1])
        return self.classifier(resized(images, self.size))


def test_pictures_of_other_resolutions(domain, directions):
    classifier = AtSize(domain.classifier, domain.generator.image_size)
    domain = replace(domain, classifier=classifier, oracle=None)
    rows = make_table("D6", Trials(domain, named(domain), directions))
    size = domain.generator.image_size
    assert [row["resolution"] for row in rows] == [size // 4, size // 2, size, 2 * size]
    plain = make_table("1", Trials(domain, named(domain), directions))[0]
    for figure in ("flip_rate", "lpips", "cout"):
        assert rows[2][figure] == pytest.approx(plain[figure], abs=1e-6)
    assert rows[3]["flip_rate"] == 1 and 2 * size in classifier.seen


def test_maps_are_judged_by_quantus_where_it_is(monkeypatch):
    pytest.importorskip("quantus")
    by, judges = metrics.quantus_judges()
    assert by.startswith("Quantus 0.")
    monkeypatch.setitem(sys.modules, "quantus", None)
    ours, own = metrics.quantus_judges()
    assert ours == "ours"
    for seed in range(3):
        heat = torch.randn(12, 12, generator=torch.Generator().manual_seed(seed))
        heat[heat.abs() < 0.3] = 0
        for name, judge in judges.items():
            assert judge(heat) == pytest.approx(own[name](heat), abs=1e-4), name


def test_the_papers_protocol(domain):
    paper = in_papers_protocol(replace(domain, detail="source"))
    assert paper.detail == "decoded"
    assert (paper.alpha_max, paper.walk_points, paper.counterfactual) == (3.0, 128, LOWEST_LOSS)
    assert not paper.search.boundary and not paper.search.antithetic
    asked = []
    domain.generator.decode = lambda latent, solver, steps, *_: asked.append((solver, steps))
    paper.generator.decode(None, "distilled", 2)
    assert asked == [("ddim", 250)]


@pytest.mark.parametrize(
    ("options", "detail"),
    [
        ([], "source"),
        (["--detail", "decoded"], "decoded"),
        (["--protocol", "paper"], "decoded"),
        (["--protocol", "paper", "--detail", "source"], "source"),
    ],
)
def test_the_command_walks_in_the_detail_that_is_asked_for(
    domain, directions, tmp_path, monkeypatch, options, detail
):
    ours = replace(domain, detail="source")
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: ours, raising=False)
    file, out, walked = tmp_path / "d.safetensors", tmp_path / "tables", []

    def made(name, trials):
        walked.extend(
            path.detail
            for path in trials.on(replace(trials.domain, walk_points=2)).walked(
                trials.directions["g"]
            )
        )
        return [{"n": len(walked)}]

    monkeypatch.setattr(tables, "make_table", made)
    directions.save(file)
    command = ["tables", "--domain", "linear", "--images", str(domain.folder), "--table", "2"]
    assert main([*command, "--directions", str(file), "--out", str(out), *options]) == 0
    assert set(walked) == {detail}
    assert json.loads((out / "table-2.json").read_text())["settings"]["detail"] == detail


def test_the_command_keeps_each_table_and_does_not_make_it_twice(
    domain, directions, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: domain, raising=False)
    file, out = tmp_path / "d.safetensors", tmp_path / "tables"
    directions.save(file)
    command = ["tables", "--domain", "linear", "--images", str(domain.folder), "--samples", "64"]
    command += ["--directions", str(file), "--out", str(out)]
    assert main([*command, "--table", "D1"]) == 0
    drawn = {p.name for p in out.iterdir()}
    assert drawn > {f"table-D1-{n}-{m}.png" for n in ("g", "h1") for m in ("difference", "BB-LIG")}
    capsys.readouterr()
    assert main([*command, "--table", "2", "D2"]) == 0
    assert {p.name for p in out.iterdir()} - drawn == {
        "table-2.json",
        "table-2.md",
        "table-D2.json",
        "table-D2.md",
        "table-D2.png",
    }
    printed = capsys.readouterr().out
    assert "| map " in printed and "| alpha" in printed
    monkeypatch.setattr(tables, "make_table", lambda *_: pytest.fail("made twice"))
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
        Trials(domain, named(domain)[:3], directions)
    with pytest.raises(GCDError, match="64 samples"):
        Trials(domain, named(domain), directions, samples=10)
    with pytest.raises(GCDError, match="no table 'D9'"):
        make_table("D9", Trials(domain, named(domain), directions))
    assert len(TABLES) == 11
