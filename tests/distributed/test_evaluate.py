"""`evaluate` in parts: the figures of one run, whatever was made where and when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gcd_core import load_directions, load_domain
from gcd_core.__main__ import main
from gcd_core.evaluation.outcomes import DirectionsOnBatches, summarise
from gcd_core.evaluation.part_jobs import EvaluateJob
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.directions import Direction, DirectionSet
from tests.tiny_domain import write_tiny_domain

pytest.importorskip("pyarrow")


def without_seconds(value: Any) -> Any:
    """Figures without what differs from run to run."""
    if isinstance(value, dict):
        kept = (item for item in value.items() if item[0] not in ("seconds", "measured"))
        return {k: without_seconds(v) for k, v in kept}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny domain, directions of it, and seven images, one of which is none."""
    place = tmp_path_factory.mktemp("place")
    domain = load_domain(write_tiny_domain(place / "tiny"))
    vectors = torch.nn.functional.normalize(torch.randn(2, domain.generator.z_sem_size), dim=1)
    metadata = {"label": "ill", "generator": domain.generator.identity}
    DirectionSet(["g", "h1"], vectors, metadata).save(place / "found.safetensors")
    (place / "images").mkdir()
    for i in range(7):
        noise = torch.randint(0, 256, (8, 8), dtype=torch.uint8).numpy()
        Image.fromarray(noise).resize((32, 32)).save(place / "images" / f"{i}.png")
    (place / "images" / "3.png").write_bytes(b"no picture")
    return place


def run(place: Path, *options: str, expect: int = 0) -> None:
    own = ["--domain", str(place / "tiny"), "--images", str(place / "images")]
    own += ["--directions", str(place / "found.safetensors"), "--direction", "all"]
    assert main(["evaluate", *own, "--batch-size", "2", "--device", "cpu", *options]) == expect


def figures(file: Path) -> Any:
    return without_seconds(json.loads(file.read_text()))


@pytest.fixture(scope="module")
def whole(place: Path) -> Any:
    """What one run without parts says."""
    run(place, "--json", str(place / "whole.json"))
    return figures(place / "whole.json")


def test_the_command_says_what_the_library_does(place: Path, whole: Any) -> None:
    domain = load_domain(place / "tiny", device="cpu")
    directions = [
        Direction(d.name, d.vector, "ill") for d in load_directions(place / "found.safetensors")
    ]
    images = [
        (f"{i}.png", domain.load_image(place / "images" / f"{i}.png")) for i in range(7) if i != 3
    ]
    # The command's batches are of names: the one that is no picture leaves a batch of one.
    batches = [images[:2], images[2:3], images[3:5], images[5:]]
    measure = DirectionsOnBatches(domain, directions, "ill")
    found = [measure([n for n, _ in b], torch.cat([x for _, x in b])) for b in batches]
    for name in ("g", "h1"):
        outcomes = [outcome for part in found for outcome in part.outcomes[name]]
        own = summarise(outcomes, found[0].costs[name])
        assert whole["directions"][name]["lpips"] == own["lpips"]
        assert whole["directions"][name]["flip_rate"] == own["flip_rate"]
    sums = [f.seen.distances[0, 1].item() for f in found]  # over the images of a batch
    diversity = sum(sums) / 6
    assert whole["diversity"] == pytest.approx(diversity, rel=1e-12)
    assert list(whole["skipped"]) == ["3.png"] and whole["n"] == 6


def test_shares_come_to_the_same_figures(place: Path, whole: Any, tmp_path: Path) -> None:
    for share in ("2/3", "0/3", "1/3"):
        run(place, "--parts", str(tmp_path / share[0]), "--shard", share)
    folders = [str(tmp_path / name) for name in "012"]
    assert main(["merge", folders[0], folders[1]]) == 1, "a share is missing"
    target = ["--json", str(tmp_path / "merged.json"), "--rows", str(tmp_path / "rows.parquet")]
    assert main(["merge", *folders, *target]) == 0
    assert figures(tmp_path / "merged.json") == without_seconds(
        whole | {"domain": str(place / "tiny")}
    )
    import pyarrow.parquet as parquet

    rows = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    listed = [(row["number"], row["direction"], row["file"]) for row in rows]
    batches = [(0, 1), (2,), (4, 5), (6,)]
    assert listed == [
        (i, name, f"{i}.png") for batch in batches for name in ("g", "h1") for i in batch
    ]


def test_what_is_missing_is_named_and_may_be_left_out(place: Path, tmp_path: Path, capsys) -> None:
    run(place, "--parts", str(tmp_path / "a"), "--shard", "0/2")
    capsys.readouterr()
    assert main(["merge", str(tmp_path / "a")]) == 1
    assert "2 of 4 parts are missing (1, 3)" in capsys.readouterr().err
    out = tmp_path / "partial.json"
    assert main(["merge", str(tmp_path / "a"), "--partial", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["missing"] == [1, 3] and found["n"] == 4


def test_a_run_that_was_ended_goes_on(place: Path, whole: Any, tmp_path: Path, monkeypatch) -> None:
    asked: list[int] = []
    honest = EvaluateJob.worker
    ends_at = 2

    def worker(job: EvaluateJob, shared: Any = None, domain: Any = None):
        work = honest(job, shared, domain)

        def of_part(part: int, read: Any):
            asked.append(part)
            if part == ends_at:
                raise KeyboardInterrupt
            return work(part, read)

        return of_part

    monkeypatch.setattr(EvaluateJob, "worker", worker)
    options = ["--parts", str(tmp_path / "parts"), "--json", str(tmp_path / "out.json")]
    run(place, *options, expect=130)
    assert asked == [0, 1, 2] and not (tmp_path / "out.json").exists()
    ends_at = -1
    run(place, *options)
    assert asked == [0, 1, 2, 2, 3]
    assert figures(tmp_path / "out.json") == whole
    run(place, *options)
    assert len(asked) == 5, "all of it is there"


def test_other_settings_do_not_mix(place: Path, tmp_path: Path, capsys) -> None:
    parts = ["--parts", str(tmp_path / "parts")]
    run(place, *parts, "--shard", "0/4")
    run(place, *parts, "--margin", "0.3", expect=1)
    assert "other settings (margin)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--shard", "0/2"], "give --parts DIR with --shard"),
        (["--shard", "2/2", "--parts", "x"], "--shard is I/N"),
        (["--shard", "0/2", "--parts", "x", "--json", "y"], "give --json to `merge`"),
        (["--shard", "0/2", "--parts", "x", "--ray", "auto"], "do not know of each other"),
        (["--workers", "2"], "belong to --ray"),
        (["--threads", "0"], "threads"),
    ],
)
def test_options_that_do_not_go_together(
    place: Path, options: list[str], message: str, capsys, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(place, *options, expect=1)
    assert message in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_no_image_at_all_is_said(place: Path, tmp_path: Path, capsys) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.png").write_bytes(b"none")
    run(place, "--images", str(images), expect=1)
    assert "could be read" in capsys.readouterr().err


def test_a_region_and_cout_are_told_apart(place: Path) -> None:
    domain = load_domain(place / "tiny", device="cpu")
    files = ImageFiles(place / "images")
    found = list(load_directions(place / "found.safetensors"))

    def settings(**changes: Any) -> dict:
        return EvaluateJob.of("tiny", domain, files, "ill", found, 2, **changes).settings

    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[:8] = True
    variants = [settings(), settings(with_cout=True), settings(region=mask)]
    variants += [settings(region=~mask), settings(choice="lowest-loss")]
    as_json = [json.dumps(each, sort_keys=True) for each in variants]
    assert len(set(as_json)) == len(as_json)
