"""The documents' tables: each as its file has it, and each file of the networks that are here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gcd_core.__main__ import main
from gcd_core.cli import results as command
from gcd_core.domains.finding import BUNDLED
from gcd_core.domains.opening import load_domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.provenance import identity_of_directions, machine_of
from gcd_core.evaluation.result_tables import (
    FOLDER,
    KEYS,
    NOT_MEASURED,
    OPENING,
    TABLES,
    fill_in,
    make_table,
    read_measurements,
    stale_files,
)
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.directions import Direction, DirectionSet
from tests.tiny_domain import write_tiny_domain

MEASURED = {
    "date": "2030-01-02",
    "machine": {"cpu": "Abacus 7", "cores": 4, "threads": 1, "gpu": None, "torch": "2"},
    "images": {"source": "images.zip", "split": "test", "n": 3, "labels": {"ill": 1, "well": 2}},
}
CHOICE = {"flip_rate": 1.0, "oracle_flip_rate": 0.9, "alpha": 5.0, "lpips": 0.2, "l1": 0.125}


def of_direction(n: int, flip_rate: float) -> dict[str, Any]:
    """The figures of a direction, as `evaluate` writes them."""
    return {
        "n": n,
        "flip_rate": flip_rate,
        "oracle_flip_rate": 0.4567,
        "alpha": 2.345,
        "lpips": 0.1,
        "l1": 0.0625,
        "fid_oracle": 12.34,
        "manifold_ratio": None,
        "manifold_lpips": 0.01,
        "gini_bb_lig": 0.65,
        "gini_difference": 0.4,
        "lowest_loss": CHOICE,
    }


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Write a file of results."""
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / name).write_text(json.dumps(content), encoding="utf-8")


def directions(**figures: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate --directions` writes."""
    return {
        "label": "ill",
        "margin": 0.4,
        "counterfactual": "smallest",
        "directions": figures,
        "measured": MEASURED,
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A domain's folder, with no networks in it."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    (folder / "domain.toml").write_text('name = "drawn"\n', encoding="utf-8")
    return folder


def cells(table: str) -> list[list[str]]:
    """The cells of a Markdown table, header first."""
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_a_directions_row_is_of_the_file_with_the_most_images(folder: Path) -> None:
    write(folder, "all.json", directions(h1=of_direction(41, 0.25), g=of_direction(41, 0.5)))
    write(folder, "g.json", directions(g=of_direction(245, 1.0)))
    table = make_table("directions", folder)
    header, *rows = cells(table)
    assert [dict(zip(header, row, strict=True)) for row in rows] == [
        {
            "label": "`ill`",
            "direction": name,
            "detail": "decoded",
            "margin": "0.4",
            "n": n,
            "flip rate": rate,
            "oracle flip rate": "45.7 %",
            "alpha": "2.35",
            "LPIPS": "0.100",
            "L1": "0.062",
            "fine power": "–",
            "FID(oracle)": "12.3",
            "manifold LPIPS": "0.010",
            "Gini BB-LIG": "0.65",
            "Gini difference": "0.40",
        }
        for name, n, rate in (("g", "245", "100 %"), ("h1", "41", "25.0 %"))
    ]
    for file in ("all", "g"):
        assert (
            f"`results/{file}.json` (2030-01-02, Abacus 7, 1 of 4 cores; "
            "3 images of the split test: 1 ill, 2 well)"
        ) in table


@pytest.mark.parametrize("top", ["smallest", "lowest-loss"])
def test_either_choice_of_the_counterfactual_may_be_on_top(folder: Path, top: str) -> None:
    content = directions(g=of_direction(9, 0.5))
    own = content["directions"]["g"]
    if top == "lowest-loss":
        smallest = {name: own[name] for name in CHOICE}
        content["directions"]["g"] = own | CHOICE | {"smallest": smallest}
    write(folder, "g.json", content | {"counterfactual": top})
    _, smallest_row, paper_row = cells(make_table("counterfactuals", folder))
    assert smallest_row == [
        "`ill`",
        "decoded",
        "smallest",
        "9",
        "50.0 %",
        "45.7 %",
        "2.35",
        "0.100",
        "0.062",
    ]
    assert paper_row == [
        "`ill`",
        "decoded",
        "lowest-loss",
        "9",
        "100 %",
        "90.0 %",
        "5.00",
        "0.200",
        "0.125",
    ]


def test_costs_are_set_side_by_side(folder: Path) -> None:
    def cost(paper: float, ours: float) -> dict[str, Any]:
        sides = {"paper": paper, "ours": ours, "ratio": paper / ours if ours else None}
        units = ("evaluations", "queries", "seconds")
        return {side: dict.fromkeys(units, value) for side, value in sides.items()} | {
            "scaled": False
        }

    find = cost(256_100, 2056) | {"samples": 1024, "scaled": True, "measured_on": "128 samples"}
    write(folder, "bench.json", {"find": find, "transfer": cost(5, 2.5), "bb_lig": cost(3, 0)})
    _, *rows = cells(make_table("bench", folder))
    work = "find, 1,024 samples"
    assert rows[0] == [work, "evaluations", "256,100", "2,056", "125", "scaled; ran: 128 samples"]
    assert rows[3][1:] == ["evaluations", "5", "2.50", "2", "ran whole"]
    assert rows[6][1:5] == ["evaluations", "3", "0", "–"] and len(rows) == 9


def of_tables(label: str, **tables: list[dict[str, Any]]) -> dict[str, Any]:
    """What `tables --json` writes."""
    settings = {name: {"directions": ["g"]} for name in tables}
    return {"label": label, "tables": tables, "settings": settings, "measured": MEASURED}


def test_the_papers_tables_are_of_all_labels_without_empty_columns(folder: Path) -> None:
    row = {"dataset": "drawn", "class": "ill", "method": "GCD", "FID": None, "FR": 97.56}
    row |= {"FID(oracle)": 43.21, "COUT": 0.3456, "oracle": None, "n": 1234}
    write(folder, "a.json", of_tables("ill", **{"1": [row]}))
    write(folder, "b.json", of_tables("old", **{"1": [row | {"oracle": 90.0}], "S7": [row]}))
    header, *rows = cells(make_table("table-1", folder))
    assert header == ["label", "method", "FR", "FID(oracle)", "COUT", "oracle", "n"]
    assert rows == [
        ["`ill`", "GCD", "97.6", "43.2", "0.346", "–", "1,234"],
        ["`old`", "GCD", "97.6", "43.2", "0.346", "90.0", "1,234"],
    ]
    (only,) = cells(make_table("table-S7", folder))[1:]
    assert only[:3] == ["`old`", "GCD", "97.560"], "FR is a fraction there"
    assert "Not measured yet." in make_table("baselines", folder)
    for name in ("table-1", "table-S7"):
        text = make_table(name, folder)
        assert ("results/a.json" in text) == (name == "table-1") and "results/b.json" in text


@pytest.fixture
def document(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A document with one table, in a project of one domain."""
    checks = [{"name": "gap", "passed": False, "sentence": "It moves."}]
    (folder / "domain.toml").write_text('sanity = "sanity.json"\n', encoding="utf-8")
    (folder / "sanity.json").write_text(json.dumps({"label": "ill", "checks": checks}))
    (folder / FOLDER).mkdir()
    monkeypatch.setattr(command, "BUNDLED", folder.parent)
    document = folder / "README.md"
    document.write_text("A\n\n<!-- results:sanity drawn -->\nBEFORE\n<!-- /results -->\n\nB\n")
    return document


def test_tables_are_written_and_held_against_their_files(document: Path, capsys) -> None:
    before = document.read_text()
    assert main(["results", "--check"]) == 1 and document.read_text() == before
    assert "README.md" in capsys.readouterr().err
    assert main(["results"]) == 0
    after = document.read_text()
    assert after.startswith("A\n\n<!-- results:sanity drawn -->\n")
    assert after.endswith("<!-- /results -->\n\nB\n") and "BEFORE" not in after
    assert cells(after)[1] == ["`ill`", "decoded", "`gap`", "no", "It moves."]
    assert main(["results", "--check"]) == 0, "what was written is as the file has it"
    assert main(["results", "--check", str(document)]) == 0
    document.write_text(after.replace("It moves.", "It rests."))
    assert main(["results", "--check"]) == 1
    assert main(["results"]) == 0 and document.read_text() == after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- results:sanity drawn -->", "has no <!-- /results -->"),
        ("<!-- results:sanity drawn -->\n" * 2 + "<!-- /results -->", "has no <!-- /results -->"),
        ("<!-- results:figures drawn --><!-- /results -->", "There is no table 'figures'"),
        ("<!-- results:bench nowhere --><!-- /results -->", "nowhere"),
    ],
)
def test_marks_that_cannot_be_filled_are_told(document: Path, text: str, message: str) -> None:
    with pytest.raises(GCDError, match=message):
        fill_in(text, document.parent.parent)


def test_a_table_without_a_file_says_so(document: Path) -> None:
    text = "<!-- results:bench drawn --><!-- /results -->"
    filled = fill_in(text, document.parent.parent)
    assert filled == text.replace("--><!--", "-->\n\nNot measured yet.\n\n<!--")
    assert fill_in(filled, document.parent.parent) == filled


def test_a_file_that_is_no_json_is_named(document: Path) -> None:
    (document.parent / FOLDER / "cut.json").write_text('{"checks": [')
    with pytest.raises(GCDError, match=r"cut\.json"):
        make_table("sanity", document.parent)


def test_a_file_of_other_networks_or_directions_is_named(tmp_path: Path) -> None:
    folder = write_tiny_domain(tmp_path / "tiny")
    domain = load_domain(folder, device="cpu")
    vectors = torch.nn.functional.normalize(torch.randn(2, domain.generator.z_sem_size), dim=1)
    metadata = {"label": "ill", "generator": domain.generator.identity}
    DirectionSet(["g", "h1"], vectors, metadata).save(folder / "ill.safetensors")
    toml = (folder / "domain.toml").read_text()
    toml = toml.replace('positive = "ill"', 'positive = "ill"\ndirections = "ill.safetensors"')
    (folder / "domain.toml").write_text(toml)
    (folder / FOLDER).mkdir()
    out = folder / FOLDER / "h1.json"
    options = ["--images", str(folder / "examples"), "--limit", "2", "--device", "cpu", "--summary"]
    options += ["--directions", str(folder / "ill.safetensors"), "--direction", "h1"]
    assert main(["evaluate", "--domain", str(folder), *options, "--json", str(out)]) == 0
    content = json.loads(out.read_text())
    assert "images" not in content and str(tmp_path) not in json.dumps(content["measured"])
    assert content["measured"]["images"]["n"] == 2
    assert stale_files(folder) == []

    for part in ("generator", "classifier", "oracle", "directions"):
        write(folder, "h1.json", content | {"identity": content["identity"] | {part: "0123"}})
        (sentence,) = stale_files(folder)
        assert sentence.startswith(f"tiny/results/h1.json was measured with the {part} 0123; ")
        assert sentence.endswith(f" has {content['identity'][part]}.")
    write(folder, "h1.json", content)
    turned = torch.stack([vectors[0], -vectors[1]])
    DirectionSet(["g", "h1"], turned, metadata).save(folder / "ill.safetensors")
    (sentence,) = stale_files(folder)
    assert "with the directions" in sentence
    DirectionSet(["g"], vectors[:1], metadata).save(folder / "ill.safetensors")
    (sentence,) = stale_files(folder)
    assert sentence.endswith(" has none.")


def test_an_identity_is_of_the_vectors_in_their_order() -> None:
    a, b = (Direction(name, vector, "ill") for name, vector in zip("ab", torch.eye(2), strict=True))
    assert identity_of_directions([a, b]) == identity_of_directions([a, b])
    assert len({identity_of_directions(some) for some in ([a], [b], [a, b], [b, a])}) == 4


def test_the_machine_and_the_images_are_told_without_a_path(tmp_path: Path) -> None:
    machine = machine_of("cpu")
    assert machine["cpu"] and machine["cores"] >= 1 and machine["gpu"] is None
    folder = tmp_path / "pictures"
    shutil.copytree(BUNDLED / "blood-cells" / "examples", folder)
    names = sorted(file.name for file in folder.iterdir())
    rows = [f"{name},{'ab'[i % 2]},{('test', 'train')[i < 3]}\n" for i, name in enumerate(names)]
    (tmp_path / "table.csv").write_text("file,label,split\n" + "".join(rows))
    files = ImageFiles(folder, tmp_path / "table.csv", "test", limit=5)
    counts = {"a": 0, "b": 0}
    for name in files.names:
        counts["ab"[names.index(name) % 2]] += 1
    assert files.about() == {"source": "pictures", "split": "test", "n": 5, "labels": counts}
    assert ImageFiles(folder).about() == {
        "source": "pictures",
        "split": None,
        "n": 12,
        "labels": {},
    }


# -- what comes with this project ----------------------------------------------------------------

MARKED = [file for file in command.documents() if OPENING.search(file.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("file", MARKED, ids=lambda file: str(file.relative_to(BUNDLED.parent)))
def test_a_documents_tables_are_as_their_files_have_them(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert fill_in(text, BUNDLED) == text, "run `python -m gcd_core results`"


@pytest.mark.parametrize("folder", command.measured_domains(), ids=lambda folder: folder.name)
def test_all_that_was_measured_of_a_domain_is_told(folder: Path) -> None:
    text = (BUNDLED.parent / "docs" / "results.md").read_text(encoding="utf-8")
    measured = read_measurements(folder)
    for name, (kind, _) in TABLES.items():
        if any(KEYS[kind] <= m.content.keys() for m in measured):
            if NOT_MEASURED in make_table(name, folder):
                continue  # one of the paper's tables that was not made
            assert (name, folder.name) in OPENING.findall(text)


@pytest.mark.parametrize("folder", command.measured_domains(), ids=lambda folder: folder.name)
def test_a_bundled_file_tells_its_networks_and_no_path(folder: Path) -> None:
    for file in (folder / FOLDER).glob("*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        assert {"generator", "classifier", "oracle"} <= content["identity"].keys(), file.name
        assert not content.get("images"), f"{file.name} names single images: write it --summary"
        assert not [text for text in strings(content) if Path(text).is_absolute()], file.name


@pytest.mark.slow
@pytest.mark.parametrize("folder", command.measured_domains(), ids=lambda folder: folder.name)
def test_a_bundled_file_is_of_the_networks_that_are_shipped(folder: Path) -> None:
    assert stale_files(folder) == []


def strings(value: Any) -> list[str]:
    """All texts in what JSON holds."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [text for item in inner for text in strings(item)]
    return [value] if isinstance(value, str) else []
