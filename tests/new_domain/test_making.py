"""What is refused before an hour is spent, and the plan that is told."""

import shutil
from dataclasses import replace

import pytest

from gcd_core.__main__ import main
from gcd_core.errors import GCDError
from gcd_core.new_domain import making
from gcd_core.new_domain.data import read_data
from gcd_core.new_domain.domain_file import file_of
from gcd_core.new_domain.questions import Asked
from gcd_core.new_domain.work import work_folder
from tests.new_domain.squares import make, request, small_design, write_onnx, write_squares


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("squares")


@pytest.fixture(scope="module")
def asked(folder):
    return request(folder, write_squares(folder / "data.zip"), str(write_onnx(folder / "net.onnx")))


def test_a_dry_run_tells_the_plan_and_writes_nothing(asked, folder) -> None:
    before = sorted(folder.iterdir())
    verdict, told = make(asked, dry=True)
    assert verdict == [] and sorted(folder.iterdir()) == before
    assert told.startswith("320 pictures in grey, made 32 x 32; classes: plain 160, square 160")
    assert "2 files are no pictures and left out: " in told
    assert "its answers to 'square' agree with the labels in 100%" in told
    assert "round 1, 30 minutes" in told and "train the second opinion" in told


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"minutes": 1}, "minutes are too few"),
        ({"minutes": -1}, "must be positive"),
        ({"data": "absent.zip"}, "does not exist"),
        ({"place": "no name!"}, "is no name for a domain"),
        ({"place": "absent/squares"}, "cannot be written"),
    ],
)
def test_what_cannot_work_is_refused(asked, folder, change, why) -> None:
    for name in ("data", "place"):
        if name in change:
            change = change | {name: folder / change[name]}
    with pytest.raises(GCDError, match=why):
        make(replace(asked, **change))


def test_a_folder_that_was_not_made_here_is_left_alone(asked, folder) -> None:
    place = folder / "mine"
    place.mkdir(exist_ok=True)
    (place / "domain.toml").write_text("name = 'mine'")
    with pytest.raises(GCDError, match="is there already"):
        make(replace(asked, place=place))
    assert (place / "domain.toml").read_text() == "name = 'mine'"
    assert not work_folder(place).exists()


def test_a_small_disk_is_refused(asked, monkeypatch) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    with pytest.raises(GCDError, match=r"has 0\.0 GB free; .* GB are needed"):
        make(asked)


def test_outputs_in_another_order_are_refused(asked) -> None:
    given = replace(asked.given, outputs=["square", "plain"])
    with pytest.raises(GCDError, match=r"only 0% of the pictures.*--outputs"):
        make(replace(asked, given=given))


def test_questions_of_one_file_name_are_refused(asked) -> None:
    questions = tuple(Asked(name, ("square",)) for name in ("a b", "a-b"))
    with pytest.raises(GCDError, match="names too much alike"):
        make(replace(asked, given=replace(asked.given, questions=questions)))
    assert file_of("\u7b11") != file_of("\u6ce3")  # of letters that files had better not have


def test_the_size_follows_the_data_and_the_minutes(asked, folder) -> None:
    large = replace(read_data(folder / "data.zip"), sides=((300, 280),) * 320)
    own = replace(asked, design=None)
    assert making.choose_size(large, own, "cpu") == 128
    assert making.choose_size(large, replace(own, minutes=300), "cpu") == 160
    assert making.choose_size(large, replace(own, minutes=30), "cuda") == 160
    small = replace(large, sides=((150, 150),) * 320)
    assert making.choose_size(small, replace(own, minutes=300), "cuda") == 128
    assert making.choose_size(small, replace(own, size=256), "cpu") == 256
    with pytest.raises(GCDError, match="--size is one of 128"):
        making.choose_size(small, replace(own, size=100), "cpu")


def test_mirrored_pictures_count_twice(asked, folder) -> None:
    data = read_data(folder / "data.zip")
    sections = making.sections_of(replace(asked.given, text="train"), data, 32, 1, "cpu")
    tasks = sections.tasks(data)
    design = small_design(32, 1)
    one = making.task_of(data, sections, tasks, False, design)
    two = making.task_of(data, sections, tasks, False, replace(design, mirror=True))
    assert one.trained == ("classifier", "oracle") and one.counts["train"] == 256
    assert two.counts == one.counts | {"train": 512}
    few = making.task_of(data, sections, tasks, False, replace(design, most=(200, 31)))
    assert few.counts == {"train": 200, "val": 31, "test": 31}


@pytest.mark.bundled
def test_the_command_plans_with_the_bundled_generator(folder, capsys) -> None:
    """Timed on this machine, so that only what follows from the options is compared."""
    net = write_onnx(folder / "net.onnx")
    words = ["new-domain", str(folder / "timed"), "--data", str(folder / "data.zip")]
    words += ["--classifier", str(net), "--minutes", "100000", "--dry-run", "--device", "cpu"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "made 128 x 128" in told and "after 100000 minutes the domain opens" in told
    assert main([*words, "--question", "nonsense"]) == 1
    assert "--question is NAME=OUTPUT" in capsys.readouterr().err
