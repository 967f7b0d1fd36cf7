"""A whole run, killed after every part; what it leaves, and what it is told then."""

import io
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gcd_core.cli.new_domain import run_command
from gcd_core.domains.check import check_domain
from gcd_core.domains.opening import load_domain
from gcd_core.errors import GCDError
from gcd_core.new_domain import making
from gcd_core.new_domain.domain_file import COMMENTS
from gcd_core.new_domain.plan import Speeds
from gcd_core.new_domain.work import beside, read_state, work_folder
from tests.new_domain.squares import make, request, write_onnx, write_squares

pytestmark = pytest.mark.slow


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("squares")


@pytest.fixture(scope="module")
def asked(folder):
    data = write_squares(folder / "data.zip", persons=True)
    return request(folder, data, str(write_onnx(folder / "net.onnx")), credit="Drawn here, CC0.")


@pytest.fixture(scope="module")
def run(folder, asked):
    """Make the domain, stopped after every part; tell what was seen on the way."""
    seen = {"parts": [], "commands": [], "opened": [], "stops": 0}

    def command(words: list[str]) -> None:
        seen["commands"].append(" ".join(words[:2]) if words[0] == "train" else words[0])
        run_command(words)

    def stop(key: str) -> None:
        seen["parts"].append(key)
        if key.endswith("finish"):
            seen["opened"].append(load_domain(asked.place, "cpu").generator.identity)
        elif seen["opened"]:
            assert check_domain(asked.place) == []  # round 1's stays as it was
        raise Killed

    while True:
        try:
            seen["verdict"] = making.make_domain(asked, command, io.StringIO(), finished=stop)
        except Killed:
            seen["stops"] += 1
            if read_state(asked.place)["rounds"] == 2:
                return seen


def test_every_part_is_done_once(run) -> None:
    assert len(run["parts"]) == len(set(run["parts"])) == run["stops"] == 23
    counted = {name: run["commands"].count(name) for name in set(run["commands"])}
    assert counted == {
        "train classifier": 1,  # the second opinion
        "train vae": 2,  # the codec, and in round 2 its decoder
        "train diffae": 2,
        "train distilled": 2,
        "train examples": 2,
        "calibrate": 2,
        "find": 4,  # g over drawn codes flips few squares, so pictures are asked about
        "evaluate": 6,
        "sanity": 1,
    }


def test_there_is_a_domain_after_each_round(run) -> None:
    first, second = run["opened"]
    assert first != second


def test_the_domain_has_all_that_the_bundled_have(run, asked) -> None:
    assert check_domain(asked.place) == []
    domain = load_domain(asked.place, "cpu")
    assert domain.labels == ("square",)
    assert domain.generator.distilled is not None
    assert domain.off_distribution is not None and domain.codes and domain.sanity
    assert len(domain.examples) == 12
    assert domain.oracle is not None and domain.oracle.labels == ("square",)
    assert "g" in domain.ready_directions("square").names
    assert 2 <= domain.alpha_max <= 12 and 0.25 <= domain.margin <= 0.45
    assert domain.credit == "Drawn here, CC0."
    names = {path.name for path in (asked.place / "results").iterdir()}
    assert names == {"reconstruction.json", "square-g.json", "classifiers.json"}
    for path in [*(asked.place / "results").iterdir(), asked.place / "sanity.json"]:
        assert json.loads(path.read_text())["domain"] == "squares"


def test_every_line_of_domain_toml_has_a_comment(run, asked) -> None:
    lines = (asked.place / "domain.toml").read_text().splitlines()
    table = tomllib.loads("\n".join(lines))
    assert table["classifier"]["labels"] == ["plain", "square"]
    for before, line in zip(["", *lines], lines, strict=False):
        if "=" in line and not line.startswith("#"):
            told = line.rpartition("# ")[2] if "# " in line else before.removeprefix("# ")
            assert told in COMMENTS.values(), line


def test_the_card_has_the_figures_and_no_path(run, asked, folder) -> None:
    card = (asked.place / "README.md").read_text()
    reconstruction = json.loads((asked.place / "results/reconstruction.json").read_text())
    lpips = reconstruction["reconstruction"][0]["lpips"]
    assert f"{lpips:.4f}" in card and f"LPIPS of reconstructions is {lpips:.3f}" in card
    assert "by person: train 2" in card  # splits made here
    assert "## Licence" in card and "limits" in card and "Drawn here, CC0." in card
    assert str(folder) not in card
    for path in asked.place.glob("**/*.json"):
        assert str(folder) not in path.read_text(), path


def test_files_that_are_no_pictures_are_counted_and_named(run, asked) -> None:
    listed = (asked.place / "unusable.txt").read_text()
    assert "notes.txt" in listed
    assert "files were no pictures" in (asked.place / "README.md").read_text()


def test_one_that_was_begun_goes_on_whatever_the_clock_says(tmp_path) -> None:
    """A machine that became slow, or other minutes, must not keep it from going on."""
    data, net = write_squares(tmp_path / "data.zip"), write_onnx(tmp_path / "net.onnx")
    asked = request(tmp_path, data, str(net))
    with pytest.raises(Killed):
        making.make_domain(asked, run_command, io.StringIO(), finished=_stop)
    slow = replace(asked, minutes=1, speeds=Speeds(*[9.0] * 6))
    told = io.StringIO()
    with pytest.raises(Killed):
        making.make_domain(slow, run_command, told, finished=_stop)
    assert "going on: 1 of 23 parts are done; the plan of 90 minutes holds" in told.getvalue()


def test_another_setting_is_refused(run, asked, folder) -> None:
    other = write_onnx(folder / "other.onnx")
    with pytest.raises(GCDError, match=r"begun with other settings \(classifier.*another name"):
        make(request(folder, asked.data, str(other)))


def test_a_kill_between_the_two_renames_is_mended(run, asked) -> None:
    old = beside(asked.place, ".old")
    asked.place.rename(old)
    try:
        _, told = make(asked, dry=True)
        assert "is finished; this makes it better" in told
        assert not asked.place.exists()  # a dry run mends nothing
        with pytest.raises(Killed):
            making.make_domain(asked, _dies, io.StringIO())
        assert check_domain(asked.place) == []
    finally:
        if old.exists():
            old.rename(asked.place)


def test_more_minutes_go_on_from_what_was_learned(run, asked) -> None:
    """After the test above, a third round is planned and was killed in its first part."""
    state = read_state(asked.place)
    assert [one["kind"] for one in state["plan"]["rounds"]] == ["later"] and state["done"] == []
    assert state["rounds"] == 2 and state["totals"]["diffae"] > state["given"]["1 diffae"]
    (work_folder(asked.place) / "log.txt").write_text("")
    with pytest.raises(Killed):
        making.make_domain(asked, run_command, io.StringIO(), finished=_stop)
    assert "resumed at step 6" in (work_folder(asked.place) / "log.txt").read_text()
    rows = (work_folder(asked.place) / "diffae" / "checkpoint.pt").stat()
    assert rows.st_size > 0


def _dies(words: list[str]) -> None:
    raise Killed


def _stop(key: str) -> None:
    raise Killed


def test_a_part_that_fails_names_the_log(tmp_path: Path) -> None:
    asked = request(tmp_path, write_squares(tmp_path / "data.zip"), "train")

    def fails(words: list[str]) -> None:
        print("what was printed")
        raise GCDError("It broke.")

    with pytest.raises(GCDError, match=r"classifier: It broke\. .*log\.txt.*goes on from here"):
        making.make_domain(asked, fails, io.StringIO())
    log = work_folder(asked.place) / "log.txt"
    assert "what was printed" in log.read_text()
    assert not asked.place.exists()
