"""The hub against a stand-in on this machine: what breaks off goes on, what is wrong is refused."""

import hashlib
import random
import socket
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file

from gcd_core import hub
from gcd_core.__main__ import main
from gcd_core.domains import sharing
from gcd_core.domains.finding import fetch_domain
from gcd_core.domains.opening import load_domain
from gcd_core.domains.sharing import pull, push
from gcd_core.domains.sources import Source
from gcd_core.errors import GCDError
from gcd_core.hub import HubPath, NotOnHub, fetch
from gcd_core.method.directions import DirectionSet, load_directions
from tests.hub_server import HubServer
from tests.tiny_domain import write_tiny_domain

REPO = "someone/things"
PART = 1000  # bytes that the library takes at once, here


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub of its own for each test, and no way to any other."""
    look_up = socket.getaddrinfo

    def only_here(host, *args, **kwargs):
        if host not in ("127.0.0.1", "localhost", b"127.0.0.1", b"localhost"):
            raise OSError(f"a test was to reach {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_here)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    monkeypatch.delenv("GCD_TRUST_CODE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", PART)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    huggingface_hub.utils.close_session()
    with HubServer() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made
    huggingface_hub.utils.close_session()


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@pytest.fixture
def directions(tmp_path: Path) -> Path:
    """A file of directions."""
    vectors = torch.eye(2, 16)
    metadata = {"label": "ill", "domain": "tiny", "generator": "0" * 16}
    path = tmp_path / "ill.safetensors"
    DirectionSet(["g", "h1"], vectors, metadata).save(path)
    return path


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hf://a/b", HubPath("a/b")),
        ("hf://a/b/", HubPath("a/b")),
        ("hf://a/b.c/d/e.toml", HubPath("a/b.c", "d/e.toml")),
        ("hf://a/b@v1.0/d", HubPath("a/b", "d", "v1.0")),
    ],
)
def test_a_place_is_read_and_written(text: str, place: HubPath) -> None:
    assert HubPath.parse(text) == place
    assert HubPath.parse(str(place)) == place


@pytest.mark.parametrize(
    "text", ["a/b", "hf://a", "hf://a/b/../c", "hf://a/b//c", "hf://a b/c", "hf://a/b@/c", "hf://"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(GCDError, match="hf://OWNER/REPOSITORY"):
        HubPath.parse(text)


@pytest.mark.parametrize("name", ["large.safetensors", "notes/small.json"])
def test_a_file_arrives_once_and_is_kept(server: HubServer, name: str) -> None:
    data = content(5 * PART + 17)
    server.repos[REPO][name] = data
    path = fetch(HubPath(REPO, name))
    assert path.read_bytes() == data and path.name == Path(name).name
    gets = [seen for seen in server.seen if seen.method == "GET"]
    assert fetch(HubPath(REPO, name)) == path
    assert [seen for seen in server.seen if seen.method == "GET"] == gets, "it came again"


def test_the_token_is_shown_to_the_hub_and_to_nobody_else(server: HubServer) -> None:
    server.repos[REPO]["a.safetensors"] = b"x" * PART
    fetch(HubPath(REPO, "a.safetensors"))
    assert {seen.token for seen in server.asked("HEAD", "/resolve/")} == {"Bearer hf_of_this_test"}
    elsewhere = server.asked("GET", "/elsewhere/")
    assert elsewhere and {seen.token for seen in elsewhere} == {None}


def test_a_connection_lost_half_way_is_taken_up_again(server: HubServer) -> None:
    data = content(10 * PART)
    server.repos[REPO]["a.safetensors"] = data
    server.cut["a.safetensors"] = [4 * PART + 100, 2 * PART]
    assert fetch(HubPath(REPO, "a.safetensors")).read_bytes() == data
    ranges = [seen.range for seen in server.asked("GET", "/elsewhere/")]
    assert ranges == [None, f"bytes={4 * PART}-", f"bytes={6 * PART}-"]


def test_a_download_that_was_ended_goes_on_the_next_time(server: HubServer, monkeypatch) -> None:
    data = content(10 * PART)
    server.repos[REPO]["a.safetensors"] = data
    real = hub.http_get

    class Ended:
        """A file that is interrupted once it has 3 parts."""

        def __init__(self, file) -> None:
            self.file, self.left = file, 3

        def write(self, part: bytes) -> None:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.file.write(part)

    with monkeypatch.context() as patch:
        patch.setattr(hub, "http_get", lambda url, file, **rest: real(url, Ended(file), **rest))
        with pytest.raises(KeyboardInterrupt):
            fetch(HubPath(REPO, "a.safetensors"))
    server.seen.clear()
    assert fetch(HubPath(REPO, "a.safetensors")).read_bytes() == data
    assert [seen.range for seen in server.asked("GET", "/elsewhere/")] == [f"bytes={3 * PART}-"]


def test_a_connection_that_stays_away_is_told_and_nothing_is_lost(server: HubServer) -> None:
    data = content(10 * PART)
    server.repos[REPO]["a.safetensors"] = data
    server.cut["a.safetensors"] = [3 * PART] + 5 * [0]
    with pytest.raises(GCDError, match="what has arrived is kept"):
        fetch(HubPath(REPO, "a.safetensors"))
    server.seen.clear()
    assert fetch(HubPath(REPO, "a.safetensors")).read_bytes() == data
    assert [seen.range for seen in server.asked("GET", "/elsewhere/")] == [f"bytes={3 * PART}-"]


@pytest.mark.parametrize("name", ["a.safetensors", "a.json"])
def test_what_is_not_as_announced_is_refused_and_forgotten(server: HubServer, name: str) -> None:
    data = content(3 * PART)
    server.repos[REPO][name] = data
    server.altered.add(name)
    with pytest.raises(GCDError, match="its hash differs"):
        fetch(HubPath(REPO, name))
    server.altered.clear()
    assert fetch(HubPath(REPO, name)).read_bytes() == data


def test_without_a_network_what_is_there_is_used(server: HubServer) -> None:
    server.repos[REPO]["a.json"] = b"{}"
    path = fetch(HubPath(REPO, "a.json"))
    server.fails = 1
    assert fetch(HubPath(REPO, "a.json")) == path
    server.stop()
    assert fetch(HubPath(REPO, "a.json")) == path
    with pytest.raises(GCDError, match="cannot be reached"):
        fetch(HubPath(REPO, "b.json"))


def test_a_new_version_replaces_the_old_one(server: HubServer) -> None:
    server.repos[REPO]["a.json"] = b"1"
    assert fetch(HubPath(REPO, "a.json")).read_bytes() == b"1"
    old = server.commit(REPO)
    server.repos[REPO]["a.json"] = b"2"
    assert fetch(HubPath(REPO, "a.json")).read_bytes() == b"2"
    assert fetch(HubPath(REPO, "a.json", old)).read_bytes() == b"1", "a commit is what it was"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (HubPath("no/body", "a"), "there is no repository no/body"),
        (HubPath(REPO, "b.json"), "has no file 'b.json'"),
        (HubPath(REPO, "a.json", "v9"), "no revision 'v9'"),
        (HubPath("bad--name/x", "a"), "could not be fetched"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(server: HubServer, place, message) -> None:
    server.repos[REPO]["a.json"] = b"{}"
    with pytest.raises(GCDError, match=message) as error:
        fetch(place)
    assert "\n" not in str(error.value)


def test_a_file_of_a_domain_comes_from_the_folder_or_else_the_hub(
    server: HubServer, tmp_path: Path
) -> None:
    data = content(PART)
    digest = hashlib.sha256(data).hexdigest()
    server.repos[REPO]["new.pt"] = data
    source = Source(("old.pt", "new.pt"), repo=REPO, sha256=digest.upper())
    assert source.waits(tmp_path)
    assert source.open(tmp_path).read_bytes() == data
    assert not source.waits(tmp_path)
    server.seen.clear()
    (tmp_path / "new.pt").write_bytes(data)
    assert source.open(tmp_path) == tmp_path / "new.pt" and not server.seen
    (tmp_path / "old.pt").write_bytes(b"other")
    with pytest.raises(GCDError, match="SHA-256"):
        source.open(tmp_path)


def test_a_checksum_that_the_hub_does_not_meet_is_refused(
    server: HubServer, tmp_path: Path
) -> None:
    server.repos[REPO]["a.pt"] = b"not what was meant"
    with pytest.raises(GCDError, match=r"a\.pt is not the file that domain\.toml means"):
        Source(("a.pt",), repo=REPO, sha256="0" * 64).open(tmp_path)


def test_how_to_fetch_by_hand_is_told_where_the_hub_has_nothing(
    server: HubServer, tmp_path: Path
) -> None:
    server.repos[REPO] = {}
    source = Source(("a.pt", "b.pt"), repo=REPO, by_hand="last.ckpt from the authors")
    with pytest.raises(GCDError, match=f"last.ckpt from the authors by hand .* {tmp_path} as a.pt"):
        source.open(tmp_path)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_domain(tmp_path / "tiny")


@pytest.mark.parametrize("under", ["", "domains/tiny/"])
def test_a_domain_is_opened_from_the_hub(server: HubServer, tiny: Path, under: str) -> None:
    server.add_folder(REPO, tiny, under)
    server.repos[REPO][f"{under}training.pt"] = b"what no domain.toml names stays where it is"
    name = f"hf://{REPO}/{under}".rstrip("/")
    domain = load_domain(name, device="cpu")
    assert domain.generator.identity == load_domain(tiny, device="cpu").generator.identity
    assert len(domain.examples) == 2
    assert domain.classifier(domain.load_image(domain.examples[0])).shape == (1, 2)
    assert not server.asked("GET", "training.pt")
    server.stop()
    again = load_domain(name, device="cpu")
    assert again.folder == domain.folder


def test_weights_named_on_the_hub_are_downloaded_when_the_domain_is_opened(
    server: HubServer, tiny: Path
) -> None:
    identity = load_domain(tiny, device="cpu").generator.identity
    index = "generator.safetensors.index.json"
    for shard in tiny.glob("generator-*.safetensors"):
        state = {k: v.float() for k, v in load_file(shard).items()}
        torch.save(state, tiny / "generator.pt")
        shard.unlink()
    (tiny / index).unlink()
    torch.save(
        {"conds_mean": torch.zeros(1, 16), "conds_std": torch.ones(1, 16)}, tiny / "latent.pt"
    )
    for name in ("generator.pt", "latent.pt"):
        server.repos["author/weights"][name] = (tiny / name).read_bytes()
        (tiny / name).unlink()
    toml = (tiny / "domain.toml").read_text()
    weights = '{ repo = "author/weights", file = "generator.pt" }'
    latent = 'latent_statistics = { repo = "author/weights", file = "latent.pt" }'
    toml = toml.replace(f'weights = "{index}"', f"weights = {weights}\n{latent}")
    (tiny / "domain.toml").write_text(toml)
    domain = load_domain(tiny, device="cpu")
    assert domain.generator.identity == identity
    mean, std = domain.z_sem_statistics
    assert torch.equal(mean, torch.zeros(16)) and torch.equal(std, torch.ones(16))


@pytest.mark.parametrize("kind", ["python", "torchscript", "exported", "http", "hf-inference"])
def test_a_domain_of_the_hub_runs_no_code_and_sends_nothing_away(
    server: HubServer, tiny: Path, kind: str, monkeypatch
) -> None:
    toml = (tiny / "domain.toml").read_text()
    (tiny / "domain.toml").write_text(toml.replace('kind = "safetensors"', f'kind = "{kind}"', 1))
    server.add_folder(REPO, tiny)
    refusal = rf"\[classifier\] is of kind '{kind}'.*GCD_TRUST_CODE=1"
    with pytest.raises(GCDError, match=refusal):
        load_domain(f"hf://{REPO}", device="cpu")
    with pytest.raises(GCDError, match=refusal):
        pull(HubPath(REPO), tiny.parent / "mine")
    assert not (tiny.parent / "mine").exists()
    monkeypatch.setenv("GCD_TRUST_CODE", "1")
    with pytest.raises(GCDError) as error:  # as the rest of the table belongs to another kind
        load_domain(f"hf://{REPO}", device="cpu")
    assert "GCD_TRUST_CODE" not in str(error.value)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.safetensors"])
def test_a_domain_of_the_hub_reads_no_file_but_its_own(server: HubServer, tiny: Path, name) -> None:
    toml = (tiny / "domain.toml").read_text()
    (tiny / "domain.toml").write_text(toml.replace('"classifier.safetensors"', f'"{name}"', 1))
    server.add_folder(REPO, tiny)
    with pytest.raises(GCDError, match="outside its folder; a domain from the hub may not"):
        load_domain(f"hf://{REPO}", device="cpu")


def test_a_repository_without_a_domain_is_none(server: HubServer) -> None:
    server.repos[REPO]["README.md"] = b"nothing"
    with pytest.raises(GCDError, match=r"holds no domain\.toml"):
        fetch_domain(HubPath(REPO))


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


def test_a_missing_file_is_its_own_kind_of_error(server: HubServer) -> None:
    server.repos[REPO] = {}
    with pytest.raises(NotOnHub):
        fetch(HubPath(REPO, "a"))


def test_names_with_signs_are_meant_literally(tmp_path: Path) -> None:
    from fnmatch import fnmatch

    for name in ("a[1].png", "b*.png", "c?.png"):
        assert fnmatch(name, sharing._literal(name))
        assert not fnmatch(name.replace("1", "2").replace("*", "x").replace("?", "x"), "none")
    assert not fnmatch("a1.png", sharing._literal("a[1].png"))
    assert not fnmatch("bx.png", sharing._literal("b*.png"))
