"""The table of baselines on domains whose best directions are known in closed form."""

import json

import pytest
import torch

import gcd_core
from gcd_core.__main__ import main
from gcd_core.cli import tables
from gcd_core.errors import GCDError
from gcd_core.evaluation import baseline_directions as of
from gcd_core.evaluation import baselines
from gcd_core.evaluation.kept_answers import KeptAnswers
from gcd_core.evaluation.known_reasons import Region
from gcd_core.evaluation.paper import make_table
from gcd_core.evaluation.trials import BaselineSettings, Trials
from gcd_core.images.drawing import to_pil
from gcd_core.method import proxy
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.directions import DirectionSet
from gcd_core.method.verification import MAX_EXAMPLES
from tests.evaluation.domain import CODE, WAY, linear_domain, source_image
from tests.fakes import unit

SPREAD = torch.linspace(0.5, 2.0, CODE)  # deviations of the codes' numbers


# Methods whose pattern is the filter where the domain's codes are independent, of deviation 1.
CODES_OF_DEVIATION_ONE = ("g, drawn codes of each kind", "g, real images")


def drawn(n: int = 4096, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of independent numbers with these deviations, and a logit that is linear in them."""
    codes = SPREAD * torch.randn(n, CODE, generator=torch.Generator().manual_seed(seed))
    return codes, 3 * codes @ WAY + 0.2


def statistics() -> CodeStatistics:
    """What such codes are like."""
    return CodeStatistics(torch.zeros(CODE), torch.diag(SPREAD.square()), None, 4096)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one, other, dim=0).item()


def test_ridge_and_the_linear_classifier_find_the_normal_and_the_means_the_pattern():
    codes, logits = drawn()
    pattern = SPREAD.square() * WAY  # S w
    assert cosine(pattern, WAY) < 0.95, "the two differ here"
    assert cosine(of.ridge(codes, logits, statistics()), WAY) > 0.9999
    assert cosine(of.linear_normal(codes, logits), WAY) > 0.99
    means = of.mean_difference(codes, logits)
    assert cosine(means, pattern) > 0.995
    positive = logits >= 0
    exact = codes[positive].mean(0) - codes[~positive].mean(0)
    torch.testing.assert_close(means, exact / exact.norm())
    for vector in (of.ridge(codes, logits, statistics()), of.linear_normal(codes, logits), means):
        assert vector.norm().item() == pytest.approx(1, abs=1e-6)
        assert cosine(vector, WAY) > 0


def test_the_normal_of_two_points_is_the_line_between_them():
    codes = torch.stack([unit(CODE, 5), unit(CODE, 6)])
    between = codes[0] - codes[1]
    normal = of.linear_normal(codes, torch.tensor([1.0, -1.0]))
    assert cosine(normal, between) == pytest.approx(1, abs=1e-5)


def test_the_principal_axis_that_goes_with_the_answers_is_chosen():
    codes, _ = drawn()
    for axis in (7, 2):
        logits = -4 * codes[:, axis] + 0.1 * codes[:, 5]
        found = of.principal_axis(codes, logits, statistics())
        torch.testing.assert_close(found, -torch.eye(CODE)[axis], atol=1e-5, rtol=0)


def test_random_vectors_are_turned_the_way_the_logits_rise():
    codes, logits = drawn()
    vectors = of.random_directions(CODE, 5, seed=1)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(5))
    assert not torch.equal(vectors, of.random_directions(CODE, 5, seed=2))
    for vector in vectors:
        turned = of.oriented(vector, codes, logits)
        assert torch.equal(turned.abs(), vector.abs())
        assert (SPREAD.square() * WAY) @ turned > -0.1


def test_answers_of_one_side_alone_are_refused():
    codes, logits = drawn(64)
    for make in (of.mean_difference, of.linear_normal):
        with pytest.raises(GCDError, match="All 64 answers lie on one side"):
            make(codes, logits.abs() + 1)


@pytest.fixture
def domain(tmp_path):
    return linear_domain(tmp_path, examples=8)


@pytest.fixture
def directions(domain):
    metadata = {"label": "a", "domain": "linear", "generator": domain.generator.identity}
    return DirectionSet(["g"], WAY[None], metadata)


def named(domain):
    return [(file.stem, domain.load_image(file)) for file in domain.examples]


def real_images(domain, n):
    return [source_image(domain.generator, 100 + i) for i in range(n)]


@pytest.mark.slow
def test_all_methods_find_the_one_way_and_chance_does_not(domain, directions, monkeypatch):
    monkeypatch.setattr(baselines, "REASON_QUERIES", 64)
    monkeypatch.setattr(proxy, "MIN_STEPS", 100)  # of the searches around one image
    monkeypatch.setattr(proxy, "MAX_EPOCHS", 60)
    monkeypatch.setattr(baselines, "LUNG_FIELDS", {"all": Region(0.2, 0.8, 0.1, 0.9)})
    settings = BaselineSettings(lambda: real_images(domain, 192), (32, 64), reasons=1)
    trials = Trials(domain, named(domain), directions, baselines=settings)
    rows = make_table("baselines", trials)
    assert [row["queries"] for row in rows] == [32] * 9 + [64] * 9
    assert [row["method"] for row in rows[:9]] == [method.name for method in baselines.METHODS]
    plain = make_table("F3", trials)[0]
    for row in rows:
        drawn_by_chance = "random" in row["method"]
        assert row["n"] == (24 if drawn_by_chance else 8)
        if drawn_by_chance:
            assert row["cosine"] < 0.8
            assert row["LPIPS"] > 1.2 * plain["LPIPS"], "what chance changes is more"
        # Of a linear logit no other direction flips by less than the classifier's own.
        assert row["LPIPS"] > plain["LPIPS"] - 1e-4 and row["FR"] == 100, row
        if "ridge" in row["method"] or row["method"] in CODES_OF_DEVIATION_ONE:
            assert row["cosine"] > 0.999, "two runs differ by nothing"
            assert row["LPIPS"] == pytest.approx(plain["LPIPS"], abs=1e-4)
            assert row["COUT"] == pytest.approx(plain["COUT"], abs=1e-2)
    assert all(row["mass on reasons"] is None for row in rows[:9])
    assert all(0 <= row["mass on reasons"] <= 1 for row in rows[9:])


@pytest.mark.slow
def test_a_method_asks_as_often_as_its_row_says(domain, monkeypatch):
    monkeypatch.setattr(proxy, "MIN_STEPS", 100)  # of the searches around one image
    monkeypatch.setattr(proxy, "MAX_EPOCHS", 60)
    images, source = real_images(domain, 128), source_image(domain.generator, 7)
    for method in baselines.METHODS:
        searches = baselines.Searches(domain, "a", images, source)
        before = domain.classifier.queries
        first = method.find(searches, 32, 0)
        of_real = "drawn" not in method.name and not method.around
        tries = 2 * MAX_EXAMPLES if of_real else 0  # on pictures that were given; g stays the same
        own = 1 if method.around else 0  # the paper's search asks about its source, once
        assert domain.classifier.queries - before == 32 + tries + own, method.name
        known = domain.classifier.queries
        method.find(searches, 64, 0)
        assert domain.classifier.queries - known == 32 + tries, method.name
        known = domain.classifier.queries
        torch.testing.assert_close(method.find(searches, 32, 0), first)
        assert domain.classifier.queries <= known + tries, "a shorter search asks nothing anew"


@pytest.mark.slow
def test_two_runs_ask_about_other_images(domain):
    images, source = real_images(domain, 128), source_image(domain.generator, 7)
    searches = baselines.Searches(domain, "a", images, source)
    one, other = (searches.samples(baselines.REAL, 64, run)[0] for run in (0, 1))
    assert (one[:, None] - other).norm(dim=2).min() > 1e-3


@pytest.mark.slow
def test_too_few_images_to_ask_about_are_refused(domain, directions):
    settings = BaselineSettings(lambda: real_images(domain, 100), (64,))
    trials = Trials(domain, named(domain), directions, baselines=settings)
    with pytest.raises(GCDError, match="need 128 images to ask about, and there are 100"):
        make_table("baselines", trials)
    with pytest.raises(GCDError, match="needs real images"):
        make_table("baselines", Trials(domain, named(domain), directions))


@pytest.mark.slow
def test_the_command_goes_on_where_it_was_killed(domain, directions, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: domain, raising=False)
    data, file, out = tmp_path / "data", tmp_path / "d.safetensors", tmp_path / "tables"
    data.mkdir()
    lines = ["file,label,split"]
    for i in range(72):
        to_pil(source_image(domain.generator, i)).save(data / f"{i:03d}.png")
        lines.append(f"{i:03d}.png,x,{'test' if i < 8 else 'train'}")
    (data / "labels.csv").write_text("\n".join(lines) + "\n")
    directions.save(file)
    command = ["tables", "--domain", "linear", "--images", str(data), "--split", "test"]
    command += ["--directions", str(file), "--out", str(out), "--table", "baselines"]
    command += ["--queries", "32", "--reasons", "0", "--limit", "4"]
    killed = baselines._Table._told
    count = iter(range(10))

    def told(table, path):
        if next(count) == 6:
            raise KeyboardInterrupt
        return killed(table, path)

    monkeypatch.setattr(baselines._Table, "_told", told)
    monkeypatch.setattr(Trials, "batch_size", 2, raising=False)
    with pytest.raises(KeyboardInterrupt):
        tables.main(_parsed(command))
    answers = json.loads((out / tables.ANSWERS).read_text())["answers"]
    kept = [name for name in answers if name.startswith("walk")]
    assert len(kept) == 4, "a batch of walks is kept whole"
    told_again = []
    monkeypatch.setattr(
        baselines._Table, "_told", lambda table, path: told_again.append(1) or killed(table, path)
    )
    numbers = tmp_path / "numbers.json"
    assert main([*command, "--json", str(numbers)]) == 0
    written = json.loads(numbers.read_text())
    rows = written["tables"]["baselines"]
    assert len(rows) == 9 and len(told_again) == (9 + 2) * 4 - 4
    assert written["label"] == "a" and written["measured"]["images"]["n"] == 4
    told_again.clear()
    more = [*command[:-1], "8", "--out", str(out)]
    (out / "table-baselines.json").unlink()
    assert main(more) == 0
    assert len(told_again) <= (9 + 2) * 8 - 9 * 4, "walks of fewer images are not made anew"
    capsys.readouterr()
    assert main([*command, "--queries", "16"]) == 1
    assert "--queries must be 32 at least" in capsys.readouterr().err


def _parsed(command):
    """The options of `tables` as its `main` takes them."""
    import argparse

    parser = argparse.ArgumentParser()
    tables.add_arguments(parser)
    return parser.parse_args(command[1:])


def test_kept_answers_are_those_of_the_same_settings(tmp_path):
    file = tmp_path / "answers.json"
    kept = KeptAnswers(file, {"label": "a"})
    assert kept.once("x", lambda: [1.5]) == [1.5]
    again = KeptAnswers(file, {"label": "a"})
    assert again.once("x", lambda: pytest.fail("asked anew")) == [1.5] and "x" in again
    with pytest.raises(GCDError, match=r"other settings \(label\)"):
        KeptAnswers(file, {"label": "b"})
    file.write_text("[]")
    with pytest.raises(GCDError, match="holds no answers"):
        KeptAnswers(file, {"label": "a"})
