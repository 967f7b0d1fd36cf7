"""Where a domain's files come from: the folder, the hub, or a person's hands."""

import hashlib
from pathlib import Path

import pytest

from gcd_core.domains.sources import Source
from gcd_core.errors import GCDError
from tests.hub_server import PART, REPO, HubServer, content


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
