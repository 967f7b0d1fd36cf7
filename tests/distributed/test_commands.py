"""`find-many`, `sanity` and `tables` in shares: what one run of each says, put together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gcd_core import load_directions, load_domain
from gcd_core.__main__ import main
from gcd_core.distributed.searches import FindManyJob, SearchPlan
from gcd_core.errors import GCDError
from gcd_core.method.search import find_directions
from tests.distributed.test_evaluate import without_seconds
from tests.tiny_domain import CLASSIFIER, write_tiny_domain

pytest.importorskip("pyarrow")
SEARCH = "n_samples = 36\nn_h = 1\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny domain, a plan of two classifiers beside it, and sources of which one is none."""
    place = tmp_path_factory.mktemp("place")
    tiny = write_tiny_domain(place / "tiny")
    (tiny / "examples" / "bad.png").write_bytes(b"none")
    other = CLASSIFIER.replace('"classifier.safetensors"', '"tiny/classifier.safetensors"')
    absent = CLASSIFIER.replace('"classifier.safetensors"', '"absent.safetensors"')
    (place / "plan.toml").write_text(
        'domain = "tiny"\nlabels = ["ill"]\nsources = "tiny/examples"\n'
        f"[search]\n{SEARCH}"
        f'[[classifiers]]\nname = "same"\n{other}'
        f'[[classifiers]]\nname = "absent"\n{absent}'
    )
    return place


def find_many(place: Path, parts: Path, *options: str, expect: int = 0) -> None:
    command = ["find-many", str(place / "plan.toml"), "--parts", str(parts), "--device", "cpu"]
    assert main([*command, *options]) == expect


def test_every_search_of_a_plan_is_that_of_the_library(place: Path, tmp_path: Path) -> None:
    find_many(place, tmp_path / "out", "--json", str(tmp_path / "out.json"))
    rows = json.loads((tmp_path / "out.json").read_text())["searches"]
    assert [(row["classifier"], row["source"]) for row in rows] == [
        (name, source)
        for name in ("same", "absent")
        for source in ("bad.png", "example-0.png", "example-1.png")
    ]
    assert "not a picture" in rows[0]["problem"] and not rows[0]["file"]
    assert all("absent.safetensors" in row["problem"] for row in rows[3:])
    domain = load_domain(place / "tiny", device="cpu")
    for row in rows[1:3]:
        image = domain.load_image(place / "tiny" / "examples" / row["source"])
        own = find_directions(domain, image, "ill", n_samples=36, n_h=1, sampling="ball")
        found = load_directions(tmp_path / "out" / row["file"])
        assert torch.equal(found.vectors, own.directions.vectors)
        assert row["directions"] == own.directions.names and row["queries"] == own.queries
        assert row["probability"] == own.samples.source_probability


def test_shares_of_a_plan_come_together(place: Path, tmp_path: Path) -> None:
    find_many(place, tmp_path / "one", "--json", str(tmp_path / "one.json"))
    for share in ("0/2", "1/2"):
        find_many(place, tmp_path / "two", "--shard", share)
    (file,) = [f for f in (tmp_path / "two").rglob("*0.png.safetensors")]
    file.unlink()  # as if a share had been killed before it wrote it
    assert main(["merge", str(tmp_path / "two"), "--json", str(tmp_path / "two.json")]) == 0
    one, two = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("one", "two"))
    assert without_seconds(one["searches"]) == without_seconds(two["searches"])
    assert load_directions(file).names == one["searches"][1]["directions"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("domain = 3\nsources = 'x'", "'domain' in plan.toml is of the wrong kind"),
        ("sources = 'x'", "lacks the key 'domain'"),
        ("domain = 'tiny'\nsource = 'x'", "has no key 'source'"),
        ("domain = 'tiny'\nsources = []", "are lists of names"),
        ("domain = 'tiny'\nsources = ['a.png', 3]", "are lists of names"),
        ("domain = 'tiny'\nsources = ['a.png']", "a.png is no file"),
        ("domain = 'tiny'\nsources = 'tiny/examples'\nlabels = ['x']", "no label 'x'"),
        ("domain = 'tiny'\nsources = 'x'\n[[classifiers]]\nname = '../x'", "needs a name of"),
        ("domain = 'tiny'\nsources = 'x'\n[[classifiers]]\nname = 'own'", "other than 'own'"),
        ("domain = 'tiny'\nsources = 'tiny/examples'\n[search]\nn_sample = 3", "'n_sample'"),
        ("domain = 'tiny'\nsources = 'tiny/examples'\n[search]\nn_samples = 3", "n_samples is 3"),
        ("domain = 'tiny'\nsources = 'tiny/examples'\n[search]\nseed = 'x'", "seed is a number"),
        ("domain = 'tiny'\nsources = 'nowhere'", "neither a folder nor a zip"),
        ("domain = ", "not valid TOML"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(place: Path, text: str, message: str) -> None:
    file = place / "plan.toml"
    honest = file.read_text()
    try:
        file.write_text(text)
        with pytest.raises(GCDError, match=message):
            plan = SearchPlan.read(file)
            FindManyJob.of(plan, load_domain(place / "tiny", device="cpu"))
    finally:
        file.write_text(honest)


def test_checks_in_shares_are_those_of_one_run(place: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(16):
        source = place / "tiny" / "examples" / f"example-{i % 2}.png"
        (images / f"{i}.png").write_bytes(source.read_bytes())
    command = ["sanity", "--domain", str(place / "tiny"), "--images", str(images)]
    command += ["--samples", "18", "--walks", "1", "--only", "exposure", "gap", "--device", "cpu"]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert main([*command, "--json", str(one)]) == 0
    for share in ("1/2", "0/2"):
        assert main([*command, "--parts", str(tmp_path / "parts"), "--shard", share]) == 0
    assert main(["merge", str(tmp_path / "parts"), "--json", str(two)]) == 0
    found, merged = (json.loads(file.read_text()) for file in (one, two))
    assert [check["name"] for check in found["checks"]] == ["gap", "exposure"]
    assert found["checks"] == merged["checks"] and found["images"] == merged["images"] == 16


def test_tables_in_shares_are_those_of_one_run(place: Path, tmp_path: Path, capsys: Any) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        source = place / "tiny" / "examples" / f"example-{i % 2}.png"
        (images / f"{i}.png").write_bytes(source.read_bytes())
    domain = load_domain(place / "tiny", device="cpu")
    image = domain.load_image(images / "0.png")
    found = find_directions(domain, image, "ill", n_samples=36, n_h=1, sampling="ball")
    found.directions.save(tmp_path / "d.st")
    command = ["tables", "--domain", str(place / "tiny"), "--images", str(images)]
    command += ["--directions", str(tmp_path / "d.st"), "--samples", "64", "--device", "cpu"]
    command += ["--table", "1", "SF1", "SF2"]
    assert main([*command, "--out", str(tmp_path / "one")]) == 0
    for share in ("1/2", "0/2"):
        assert main([*command, "--out", str(tmp_path / "two"), "--shard", share]) == 0
        made = {file.stem for file in (tmp_path / "two").glob("table-*.json")}
        assert ("table-SF1" in made) and ("table-1" in made) == (share == "0/2")
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "two")]) == 0
    assert "made" not in capsys.readouterr().err, "all are there"
    for name in ("1", "SF1", "SF2"):
        one, two = (
            json.loads((tmp_path / n / f"table-{name}.json").read_text())["rows"]
            for n in ("one", "two")
        )
        assert one == two
    pictures = {f.name: f.read_bytes() for f in (tmp_path / "one").glob("table-SF1-*.png")}
    assert len(pictures) == 4
    for name, content in pictures.items():
        assert (tmp_path / "two" / name).read_bytes() == content
