"""Directions and domains that go to the hub and come back."""

from pathlib import Path

import pytest
import torch

from gcd_core.__main__ import main
from gcd_core.domains import sharing
from gcd_core.domains.opening import load_domain
from gcd_core.domains.sharing import pull, push
from gcd_core.errors import GCDError
from gcd_core.hub import HubPath
from gcd_core.method.directions import DirectionSet, load_directions
from tests.hub_server import REPO, HubServer


@pytest.fixture
def directions(tmp_path: Path) -> Path:
    """A file of directions."""
    vectors = torch.eye(2, 16)
    metadata = {"label": "ill", "domain": "tiny", "generator": "0" * 16}
    path = tmp_path / "ill.safetensors"
    DirectionSet(["g", "h1"], vectors, metadata).save(path)
    return path


def test_directions_go_to_the_hub_and_come_back(
    server: HubServer, directions: Path, tmp_path: Path
) -> None:
    assert push(directions, HubPath(REPO, "shared")) == f"hf://{REPO}/shared/ill.safetensors"
    assert list(server.repos[REPO]) == ["shared/ill.safetensors"]
    created = server.asked("POST", "/api/repos/create")
    assert [seen.token for seen in created] == ["Bearer hf_of_this_test"]
    pull(HubPath(REPO, "shared/ill.safetensors"), tmp_path / "back.safetensors")
    assert (tmp_path / "back.safetensors").read_bytes() == directions.read_bytes()
    assert load_directions(tmp_path / "back.safetensors").names == ["g", "h1"]


def test_what_is_no_directions_neither_goes_nor_comes(
    server: HubServer, directions: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    other.write_bytes(directions.read_bytes()[:-8])
    with pytest.raises(GCDError, match="cut short"):
        push(other, HubPath(REPO))
    assert not server.seen
    server.repos[REPO]["other.safetensors"] = other.read_bytes()
    with pytest.raises(GCDError, match="cut short"):
        pull(HubPath(REPO, "other.safetensors"), tmp_path / "out.safetensors")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"cache", "ill.safetensors", "other.safetensors"}


def test_a_domain_goes_to_the_hub_and_comes_back(server: HubServer, tiny: Path, tmp_path) -> None:
    (tiny / "notes [x].txt").write_text("not the domain's")
    (tiny / "README.md").write_text("# tiny")
    push(tiny, HubPath(REPO))
    assert "notes [x].txt" not in server.repos[REPO]
    expected = {p.relative_to(tiny).as_posix() for p in tiny.rglob("*") if p.is_file()}
    assert set(server.repos[REPO]) == expected - {"notes [x].txt"}
    pull(HubPath(REPO), tmp_path / "back")
    for name in server.repos[REPO]:
        assert (tmp_path / "back" / name).read_bytes() == (tiny / name).read_bytes()
    load_domain(tmp_path / "back", device="cpu")
    with pytest.raises(GCDError, match="there already"):
        pull(HubPath(REPO), tmp_path / "back")


def test_a_place_that_cannot_be_written_is_refused_in_a_sentence(
    server: HubServer, tiny: Path, directions: Path, tmp_path: Path
) -> None:
    server.add_folder(REPO, tiny)
    server.repos[REPO]["ill.safetensors"] = directions.read_bytes()
    for name in ("", "ill.safetensors"):
        with pytest.raises(GCDError, match="cannot be written"):
            pull(HubPath(REPO, name), tmp_path / "absent" / "out")


def test_a_domain_with_problems_is_not_shared(server: HubServer, tiny: Path) -> None:
    (tiny / "classifier.safetensors").unlink()
    with pytest.raises(GCDError, match="not ready to be shared"):
        push(tiny, HubPath(REPO))
    assert not server.seen


def test_push_and_pull_as_commands(server: HubServer, directions: Path, tmp_path, capsys) -> None:
    out = tmp_path / "out.safetensors"
    assert main(["push", str(directions), f"hf://{REPO}"]) == 0
    assert main(["pull", f"hf://{REPO}/ill.safetensors", "--out", str(out)]) == 0
    assert out.read_bytes() == directions.read_bytes()
    assert f"hf://{REPO}/ill.safetensors" in capsys.readouterr().out
    assert main(["pull", f"hf://{REPO}/none.safetensors", "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: hf://") and error.count("\n") == 1
    assert main(["push", str(tmp_path / "absent"), f"hf://{REPO}"]) == 1
    assert main(["push", str(directions), "someone/things"]) == 1


def test_names_with_signs_are_meant_literally(tmp_path: Path) -> None:
    from fnmatch import fnmatch

    for name in ("a[1].png", "b*.png", "c?.png"):
        assert fnmatch(name, sharing._literal(name))
        assert not fnmatch(name.replace("1", "2").replace("*", "x").replace("?", "x"), "none")
    assert not fnmatch("a1.png", sharing._literal("a[1].png"))
    assert not fnmatch("bx.png", sharing._literal("b*.png"))
