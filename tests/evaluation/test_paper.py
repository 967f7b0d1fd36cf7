"""The paper's tables on the linear domain, whose answers are known; the command keeps them."""

import json
import sys
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
import torch
from matplotlib.figure import Figure

import gcd_core
from gcd_core.__main__ import main
from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.classifiers.questions import Question, questioned
from gcd_core.cli import tables
from gcd_core.domains.file import Label
from gcd_core.errors import GCDError
from gcd_core.evaluation import ablations, combined, metrics, paper_maps
from gcd_core.evaluation.ablations import counts
from gcd_core.evaluation.outcomes import counterfactuals_of, summarise
from gcd_core.evaluation.pairs import Comparison
from gcd_core.evaluation.paper import TABLES, in_papers_protocol, make_table
from gcd_core.evaluation.plots import draw_table
from gcd_core.evaluation.published import COLUMNS, OWN, published, published_of
from gcd_core.evaluation.trials import Trials
from gcd_core.generators.resized import resized
from gcd_core.method import proxy
from gcd_core.method.code_statistics import CodeStatistics
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


def test_tables_of_g_are_what_evaluate_measures(domain, directions):
    trials = Trials(domain, named(domain), directions)
    measured = evaluated(domain, named(domain), list(directions), "a", with_cout=True)
    every = {row["direction"]: row for row in make_table("F3", trials)}
    for name in ("g", "h1"):
        own, row = summarise(measured.outcomes[name], measured.costs[name]), every[name]
        assert row["n"] == own["n"]
        assert row["FR"] == pytest.approx(100 * own["flip_rate"])
        assert row["oracle"] == pytest.approx(100 * own["oracle_flip_rate"])
        for ours, theirs in (("COUT", "cout"), ("LPIPS", "lpips"), ("L1", "l1")):
            assert row[ours] == pytest.approx(own[theirs], abs=1e-6), ours
        assert not [key for key in row if "FID" in key]  # its oracle is no network
    (first,), (second,) = make_table("1", trials), make_table("2", trials)
    assert list(first) == ["dataset", "class", "method", *COLUMNS["1"], *OWN]
    assert list(second) == ["class", "direction", *COLUMNS["2"], *OWN]
    assert first["FR"] == second["FR"] == every["g"]["FR"] and first["FID"] is None


@pytest.fixture
def many(domain):
    """G, four h-directions of which h2 leads best to the flip and h1 least, and one by place."""
    torch.manual_seed(3)
    aside = [torch.nn.functional.normalize(v - (v @ WAY) * WAY, dim=0) for v in torch.randn(5, 8)]
    vectors = [WAY] + [
        torch.nn.functional.normalize(share * WAY + away, dim=0)
        for share, away in zip((0.1, 1.0, 0.6, 0.6, 0.2), aside, strict=True)
    ]
    metadata = {"label": "a", "domain": "linear", "generator": domain.generator.identity}
    return DirectionSet(["g", "h1", "h2", "h3", "h4", "w1"], torch.stack(vectors), metadata)


def test_others_combined_is_each_image_s_counterfactual_of_the_lowest_loss(domain, many):
    trials = Trials(domain, named(domain), many)
    rates = {row["direction"]: row["FR"] for row in make_table("F3", trials)}
    ranked = sorted(("h1", "h2", "h3", "h4"), key=lambda name: -rates[name])
    assert ranked[0] == "h2" and rates["h2"] > rates[ranked[-1]]
    best = make_table("4", trials)
    places = [f"h, {n} by FR ({h})" for n, h in zip(("1st", "2nd", "3rd"), ranked, strict=False)]
    assert [row["direction"] for row in best] == [*places, "the other 1 combined"]
    assert best[3]["FR"] == rates[ranked[3]], "of one direction it is that one's"
    pair = ["h3", "h4"]
    chosen = combined.lowest(trials, pair)
    for i, path in enumerate(chosen):
        losses = [trials.counterfactuals(name)[i].losses[0] for name in pair]
        assert path.losses[0] == min(losses)
    assert len({path.direction_name for path in chosen}) > 1, "no direction is best for all"
    first, others = make_table("S2", trials)
    assert first["direction"] == "1st (h2)" and first["FR"] == best[0]["FR"]
    assert others["direction"] == "others combined" and others["FR"] == best[3]["FR"]
    assert [row["FR"] for row in make_table("S3", trials)] == [first["FR"], others["FR"]]
    two = Trials(
        domain, named(domain), DirectionSet(many.names[:3], many.vectors[:3], many.metadata)
    )
    assert [row["direction"] for row in make_table("4", two)] == [
        "h, 1st by FR (h2)",
        "h, 2nd by FR (h1)",
    ]
    assert [row["FR"] for row in make_table("S2", two)] == [rates["h2"], rates["h1"]]


def test_diversity_is_of_g_against_all_h_and_between_all_h(domain, many):
    trials = Trials(domain, named(domain), many)
    first, second, every, _ = make_table("S6", trials)
    h = ["h1", "h2", "h3", "h4"]
    made = {name: counterfactuals_of(trials.counterfactuals(name)) for name in ("g", *h)}
    lowest = counterfactuals_of(combined.lowest(trials, h))
    assert first["linear a"] == pytest.approx(
        domain.perceptual(made["g"], lowest).mean().item(), abs=1e-6
    )
    pairs = [domain.perceptual(made[a], made[b]).mean() for a, b in combinations(h, 2)]
    assert second["linear a"] == pytest.approx(torch.stack(pairs).mean().item(), abs=1e-6)
    comparison = Comparison.of(list(many))
    measured = evaluated(domain, named(domain), list(many), "a")
    comparison.add(measured.seen)
    assert every["linear a"] == pytest.approx(comparison.diversity, abs=1e-6)


def test_without_an_h_direction_there_is_no_row(domain, directions):
    only = DirectionSet(["g"], directions.vectors[:1], directions.metadata)
    trials = Trials(domain, named(domain), only)
    assert make_table("4", trials) == make_table("S2", trials) == []
    assert make_table("S6", trials)[0]["linear a"] is None
    assert tables.laid_out([]) == tables.NO_ROWS


def test_by_a_networks_features_the_distances_are_named_for_it(domain, directions):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 1))
    from gcd_core.classifiers.network import TorchClassifier

    oracle = TorchClassifier(network, ("a",), "sigmoid", "o", 16, 1, mean=0, std=1)
    trials = Trials(replace(domain, oracle=oracle), named(domain), directions)
    row = make_table("1", trials)[0]
    assert row["FID(oracle)"] >= 0 and row["sFID(oracle)"] > 0 and row["FID"] is None
    assert 0 < make_table("2", trials)[0]["S3(oracle)"] <= 1
    source = torch.cat([image for _, image in named(domain)]).flatten(1).double()
    assert trials.judges.fidelity is trials.judges.likeness is not None
    found = trials.judges.fidelity.of(trials.images)
    torch.testing.assert_close(found, source, atol=1e-6, rtol=0)


def test_maps_are_told_by_shares_of_the_pixels(domain, directions):
    trials = Trials(domain, named(domain), directions)
    (row,) = make_table("S5", trials)
    assert row["dataset / class"] == "linear / a" and row["n"] > 0
    heats = paper_maps.maps_of_flips(trials)
    for name in ("BB-LIG", "AD"):
        shares = [metrics.effective_complexity(heat) / heat.numel() for heat in heats[name]]
        assert row[f"effective complexity {name}"] == pytest.approx(metrics.mean(shares))
        assert 0 < row[f"sparseness {name}"] < 1
    bins = make_table("SF3", trials)
    assert [bin["from"] for bin in bins] == [i / 10 for i in range(10)]
    for name in ("BB-LIG", "AD"):
        assert sum(bin[name] for bin in bins) == pytest.approx(1)
    lit = [torch.zeros(10, 10) for _ in range(4)]
    for heat, n in zip(lit, (1, 15, 19, 100), strict=True):
        heat.view(-1)[:n] = 1
    trials._once["maps"] = {"BB-LIG": lit, "AD": lit[:2]}
    bins = make_table("SF3", trials)
    assert [bin["BB-LIG"] for bin in bins] == [0.25, 0.5, *[0] * 7, 0.25]
    assert [bin["AD"] for bin in bins] == [0.5, 0.5, *[0] * 8]


def test_curves_are_of_images_that_flip(domain, directions):
    trials = Trials(domain, named(domain), directions)
    curves = make_table("SF2", trials)
    medians = [row["median"] for row in curves]
    assert curves[0]["alpha"] == 0 and medians == sorted(medians, reverse=True)
    flips = sum(path.counterfactual_flips for path in trials.counterfactuals("g"))
    assert {row["n"] for row in curves} == {flips}
    sideways = DirectionSet(
        ["g"], (unit(8, 2) - (unit(8, 2) @ WAY) * WAY)[None], directions.metadata
    )
    assert make_table("SF2", Trials(domain, named(domain), sideways)) == []


def test_losses_against_samples_lambda_and_radius(domain, directions, tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "MIN_STEPS", 100)  # eight proxies are fitted here
    monkeypatch.setattr(proxy, "MAX_EPOCHS", 60)
    monkeypatch.setattr(ablations, "LAMBDAS", (1.0, 4.0))
    monkeypatch.setattr(ablations, "RADII", (0.5, 1.0))
    monkeypatch.setattr(ablations, "counts", lambda samples: [samples // 2, samples])
    pool, file = tmp_path / "pool.safetensors", tmp_path / "pool-radius-1.safetensors"
    trials = Trials(domain, named(domain), directions, samples=128, pool=pool)
    rows = make_table("SF4", trials)
    left, middle = ([r for r in rows if r["panel"] == p] for p in ("left", "middle"))
    assert pool.is_file() and file.is_file(), "one pool for each radius"
    assert [row["samples"] for row in left] == [64, 128] * 2
    assert all(row["cosine_to_all"] == pytest.approx(1, abs=1e-4) for row in left[1::2])
    assert {row["radius"] for row in left} == {2.0}
    assert [row["radius"] for row in middle] == [1.0] * 2 + [2.0] * 2
    of_one = {row["samples"]: row["CF loss"] for row in left if row["lambda"] == 1}
    for row in middle[2:]:
        assert row["CF loss"] == pytest.approx(of_one[row["samples"]], abs=1e-5)
    for one, other in pairwise(left[1::2]):  # all stop at the end, where only the weight differs
        weighed = (other["lambda"] - one["lambda"]) * one["LPIPS"]
        assert other["CF loss"] - one["CF loss"] == pytest.approx(weighed, abs=0.01)
    assert set(trials.pictures) == {"lambda-1", "lambda-4"}
    again = Trials(domain, named(domain), directions, samples=128, pool=pool)
    queries = domain.classifier.queries
    for radius in (None, 1.0):
        assert torch.equal(again.pool(radius).z_sem, trials.pool(radius).z_sem)
    assert domain.classifier.queries - queries == 8, "samples are asked about once, in all runs"


def test_five_sources_each_and_their_spread(domain, directions, monkeypatch):
    monkeypatch.setattr(proxy, "MIN_STEPS", 100)
    monkeypatch.setattr(proxy, "MAX_EPOCHS", 60)
    trials = Trials(domain, named(domain), directions, samples=128)
    rows = make_table("3", trials)
    assert len(rows) == 5 and all(row["FR"] == 100 for row in rows)
    assert all(row["map_correlation"] > 0.5 for row in rows)
    queries = domain.classifier.queries
    (row,) = make_table("S1", trials)
    assert domain.classifier.queries == queries, "they are those of Table 3"
    own = torch.tensor([each["COUT"] for each in rows], dtype=torch.float64)
    assert row["COUT"] == pytest.approx(own.mean().item())
    assert row["COUT_std"] == pytest.approx(own.std(correction=0).item())
    assert (row["FR"], row["FR_std"], row["FS"], row["sources"]) == (100, 0, None, 5)


def test_mean_maps_show_where_all_images_change(domain, directions, tmp_path):
    faint = [(name, 0.5 + 0.2 * (image - 0.5)) for name, image in named(domain)]  # none is clipped
    exact = LinearGenerator(8, domain.generator.image_size)
    trials = Trials(replace(domain, generator=exact), faint, directions)
    rows = {(row["direction"], row["map"]): row for row in make_table("SF1", trials)}
    for direction in directions:  # every image changes by the same picture, times its alpha
        row = rows[direction.name, "AD"]
        assert row["n"] == 8 and row["agreement"] == pytest.approx(1, abs=1e-3)
        change = (domain.generator.basis @ direction.vector).abs().sort(descending=True).values
        tenth = -(-len(change) // 10)
        share = (change[:tenth].sum() / change.sum()).item()
        assert row["top_decile"] == pytest.approx(share, abs=1e-3)
    assert trials.pictures.keys() == {
        f"{name}-{kind}" for name in ("g", "h1") for kind in ("AD", "BB-LIG")
    }
    side = domain.generator.image_size
    assert all(picture.size == (side, side) for picture in trials.pictures.values())
    assert make_table("F4", trials) == [rows["g", "AD"], rows["g", "BB-LIG"]]


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
    size = domain.generator.z_sem_size
    seen = CodeStatistics(torch.zeros(size), torch.eye(size), n_images=9)  # of its own codes
    domain = replace(domain, codes=dict.fromkeys(domain.labels, seen))
    other = replace(domain, name="other", generator=LinearGenerator(size + 1, 8), codes={})
    trials = Trials(domain, named(domain), directions, samples=64, others=[other])
    rows = make_table("S4", trials)
    models = [(row["model"], row["direction"]) for row in rows]
    both = ("g", "h combined")
    assert models == [(m, d) for m in ("linear", "other") for d in both]
    assert rows[0]["reconstruction LPIPS"] == pytest.approx(0.1 / 5**2, abs=1e-4)
    assert rows[0]["FR"] == 1 and rows[2]["n"] == 8
    assert rows[2]["reconstruction LPIPS"] > 0  # its pictures are of half the size


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
    rows = make_table("S7", Trials(domain, named(domain), directions))
    size = domain.generator.image_size
    sides = [size // 4, size // 2, size, 2 * size, 2 * size]
    assert [row["side"] for row in rows] == sides
    assert [row["direction"] for row in rows] == ["g"] * 4 + ["h combined"]
    plain = make_table("1", Trials(domain, named(domain), directions))[0]
    assert rows[2]["FR"] == pytest.approx(plain["FR"] / 100)
    for figure in ("LPIPS", "COUT"):
        assert rows[2][figure] == pytest.approx(plain[figure], abs=1e-6)
    assert rows[3]["FR"] == 1 and 2 * size in classifier.seen


class Classes:
    """Softmax logits of four classes: "a" as the code says, -1, the logit's opposite, and one."""

    labels = ("a", "b", "c", "d")
    output = "softmax"
    identity, cache_hits, budget, remote = "classes", 0, None, False

    def __init__(self, classifier, last):
        self.classifier, self.last, self.queries = classifier, last, 0
        self.preprocessing = classifier.preprocessing

    def __call__(self, images):
        self.queries += len(images)
        own = self.classifier(images)[:, :1]
        flat = torch.full_like(own, -1)
        return torch.cat([own, flat, -own, torch.full_like(own, self.last)], 1)

    def index(self, label):
        return self.labels.index(label)


@pytest.mark.parametrize("last", [-9.0, 9.0])
def test_pairs_of_classes_have_rows_of_their_own(domain, directions, last):
    pairs = [Question("a", ("a",), ("b",)), Question("a or c", ("a",), ("c",))]
    at_size = AtSize(domain.classifier, domain.generator.image_size)
    info = {pair.name: Label(pair.name, pair.name, "no", "yes", asked=pair) for pair in pairs}
    classifier = questioned(Classes(at_size, last), pairs)
    asked = replace(domain, classifier=classifier, oracle=None, label_info=info)
    rows = make_table("S7", Trials(asked, named(domain), directions, samples=64))
    own, other = ([r for r in rows if r["task"] == t] for t in ("b to a", "c to a"))
    assert [row["direction"] for row in own] == ["g"] * 4 + ["h combined"]
    if last > 0:  # on all images another class wins, so none is of the second pair
        assert not other and len(rows) == len(own)
        return
    assert [row["direction"] for row in other] == ["g", "h combined"]
    assert {row["side"] for row in other} == {2 * domain.generator.image_size}
    assert other[0]["FR"] == 1 and other[0]["n"] == 8 and set(other[0]) >= set(COLUMNS["S7"])


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
    command = ["tables", "--domain", "linear", "--images", str(domain.folder), "--table", "S5"]
    assert main([*command, "--directions", str(file), "--out", str(out), *options]) == 0
    assert set(walked) == {detail}
    assert json.loads((out / "table-S5.json").read_text())["settings"]["detail"] == detail


def test_the_command_keeps_each_table_and_does_not_make_it_twice(
    domain, directions, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: domain, raising=False)
    file, out = tmp_path / "d.safetensors", tmp_path / "tables"
    directions.save(file)
    command = ["tables", "--domain", "linear", "--images", str(domain.folder), "--samples", "64"]
    command += ["--directions", str(file), "--out", str(out)]
    assert main([*command, "--table", "F4"]) == 0
    drawn = {p.name for p in out.iterdir()}
    assert drawn > {f"table-F4-g-{m}.png" for m in ("AD", "BB-LIG")}
    capsys.readouterr()
    assert main([*command, "--table", "S5", "SF2"]) == 0
    assert {p.name for p in out.iterdir()} - drawn == {
        "table-S5.json",
        "table-S5.md",
        "table-SF2.json",
        "table-SF2.md",
        "table-SF2.png",
    }
    printed = capsys.readouterr().out
    assert "| dataset / class " in printed and "| alpha" in printed
    monkeypatch.setattr(tables, "make_table", lambda *_: pytest.fail("made twice"))
    numbers = tmp_path / "numbers.json"
    assert main([*command, "--table", "S5", "SF2", "--json", str(numbers)]) == 0
    assert capsys.readouterr().out == printed
    assert set(json.loads(numbers.read_text())["tables"]) == {"S5", "SF2"}
    command[command.index("64")] = "96"
    assert main([*command, "--table", "S5"]) == 1
    assert "other settings (samples)" in capsys.readouterr().err
    (out / "table-S5.json").write_text("{")
    assert main([*command, "--table", "S5"]) == 1
    assert "is no table" in capsys.readouterr().err


def test_bad_requests_are_refused(domain, directions):
    with pytest.raises(GCDError, match="four images"):
        Trials(domain, named(domain)[:3], directions)
    with pytest.raises(GCDError, match="64 samples"):
        Trials(domain, named(domain), directions, samples=10)
    with pytest.raises(GCDError, match="no table 'D9'"):
        make_table("D9", Trials(domain, named(domain), directions))
    numbers = ["1", "2", "3", "4", *(f"S{i}" for i in range(1, 8)), "F3", "F4"]
    assert list(TABLES) == [*numbers, "SF1", "SF2", "SF3", "SF4", "baselines"]


@pytest.mark.parametrize(
    ("former", "new"),
    [("D1", "F4"), ("D2", "SF2"), ("D3", "S4"), ("D6", "S7"), ("F1", "SF4"), ("F2", "SF4")],
)
def test_a_former_name_is_refused_with_the_new_one(former, new, tmp_path, capsys):
    command = ["tables", "--domain", "x", "--images", "x", "--directions", "x", "--out"]
    assert main([*command, str(tmp_path), "--table", "1", former]) == 1
    assert f"The table {former} is now called {new}" in capsys.readouterr().err


def test_what_is_drawn_shows_every_curve(monkeypatch, tmp_path):
    losses = {
        (panel, lam, radius, count): lam + radius / count
        for panel, lam, radius in (("left", 1, 4), ("left", 4, 4), ("middle", 1, 8))
        for count in (64, 128)
    }
    names = ("panel", "lambda", "radius", "samples")
    rows = {
        "SF4": [dict(zip(names, key, strict=True)) | {"CF loss": v} for key, v in losses.items()],
        "F3": [{"direction": "g", "FR": 90.0, "oracle": 80.0}, {"direction": "h1", "FR": 5.0}],
        "3": [{"probability": p, "FR": 100.0, "map_correlation": 0.5} for p in (0.2, 0.9)],
    }
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: drawn.append(figure.axes))
    for name, own in rows.items():
        draw_table(tmp_path / "x.png", name, "title", [{"oracle": None} | row for row in own])
    left, middle = drawn[0]
    assert [line.get_label() for line in left.lines] == ["lambda 1", "lambda 4"]
    assert [line.get_label() for line in middle.lines] == ["radius 8"]
    assert list(middle.lines[0].get_ydata()) == [1.125, 1.0625]
    (bars,) = drawn[1]
    assert [bar.get_height() for bar in bars.patches] == [90, 5, 80, 0]
    assert list(bars.lines[0].get_ydata()) == [90, 90], "g's flip rate is a line"
    assert list(drawn[2][0].lines[0].get_ydata()) == [1, 1]


# -- the paper's own rows --------------------------------------------------------------------------


def test_all_published_rows_are_there_with_columns_that_ours_have():
    assert sum(len(published(name)) for name in TABLES if name != "3") == 84
    assert published("3") == published("S1") and published("F3") == []
    for name, own in COLUMNS.items():
        seen = {column for row in published(name) for column in row}
        assert set(own) <= seen
        rest = seen - {*own, "FR_std"}
        assert rest <= {"dataset", "class", "method", "access", "direction", "model", "task"}


@pytest.mark.parametrize(
    ("table", "domain", "label", "n"),
    [
        ("1", "celebahq-256", "Smile", 7),
        ("1", "celeba-128", "Young", 7),
        ("2", "chexpert-224", "Lung Lesion", 1),
        ("2", "celebahq-256", "Smile", 0),
        ("3", "celeba-128", "Smiling", 1),
        ("4", "celebahq-256", "Young", 0),
        ("S3", "chexpert-224", "Atelectasis", 2),
        ("S4", "celebahq-256", "Young", 4),
        ("S4", "celeba-128", "Young", 0),
        ("S5", "chexpert-224", "Support Devices", 1),
        ("S6", "celeba-128", "Smiling", 2),
        ("S7", "celeba-128", "Smiling", 0),
        ("1", "chest-xray", "pneumonia", 0),
    ],
)
def test_a_domain_of_the_papers_has_its_rows(table, domain, label, n):
    assert len(published_of(table, domain, label)) == n


def test_rows_stand_beside_ours_where_the_domain_is_the_papers_or_on_request(
    domain, directions, tmp_path, monkeypatch, capsys
):
    faces = replace(domain, name="celebahq-256")
    file, label = tmp_path / "d.safetensors", directions.metadata | {"label": "Smile"}
    faces = replace(faces, label_info={"Smile": domain.label_info["a"]})
    DirectionSet(directions.names, directions.vectors, label).save(file)
    monkeypatch.setattr(tables, "make_table", lambda name, trials: [{"class": "x", "FR": 50.0}])
    command = ["tables", "--domain", "d", "--images", str(domain.folder), "--table", "4"]
    command += ["--directions", str(file), "--out", str(tmp_path / "t")]
    for own, extra, n in ((faces, [], 5), (domain, [], 1), (domain, ["--beside", "paper"], 5)):
        monkeypatch.setattr(gcd_core, "load_domain", lambda name, device, d=own: d, raising=False)
        monkeypatch.setattr(tables, "check_generator", lambda *_: None)
        assert main([*command, *extra]) == 0
        lines = capsys.readouterr().out.splitlines()[3:-1]
        assert len(lines) == n
        assert ("| paper |" in "".join(lines)) == (n == 5)
    head = tables.laid_out([{"FR": 1.0, "LPIPS": 2.0}], published("2")).splitlines()[0]
    names = [name.strip() for name in head.strip("|").split("|")]
    assert names == ["of", "class", "direction", "S3", "COUT", "FR", "LPIPS"]
