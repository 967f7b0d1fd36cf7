"""The hub against a stand-in on this machine: what breaks off goes on, what is wrong is refused."""

from pathlib import Path

import pytest

from gcd_core import hub
from gcd_core.errors import GCDError
from gcd_core.hub import HubPath, NotOnHub, fetch
from tests.hub_server import PART, REPO, HubServer, content


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


def test_a_missing_file_is_its_own_kind_of_error(server: HubServer) -> None:
    server.repos[REPO] = {}
    with pytest.raises(NotOnHub):
        fetch(HubPath(REPO, "a"))
