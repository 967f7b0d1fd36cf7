"""Files of the Hugging Face hub: fetched whole, verified, resumed."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers

from gcd_core.errors import GCDError

SCHEME = "hf://"
HUB_PATH = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.*))?", re.ASCII
)
# The hub's etag of a file is its SHA-256 where it is stored as a large file, else git's SHA-1.
SHA256, GIT_SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")
CHUNK = 2**20


class NotOnHub(GCDError):
    """The repository is there, but not this file of it."""


@dataclass(frozen=True)
class HubPath:
    """A file or folder of a repository: `hf://owner/repo[@revision][/path]`."""

    repo: str
    path: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "HubPath":
        """Read the text; a GCDError says what it should look like."""
        match = HUB_PATH.fullmatch(text)
        path = (match["path"] or "").rstrip("/") if match else ""
        if not match or {"..", ".", ""} & set(path.split("/") if path else ()):
            raise GCDError(
                f"{text!r} is no place on the hub; write hf://OWNER/REPOSITORY, with @REVISION and "
                "/PATH behind it where wanted."
            )
        return cls(match["repo"], path, match["revision"])

    def __truediv__(self, name: str) -> "HubPath":
        return replace(self, path=f"{self.path}/{name}" if self.path else name)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repo}{revision}" + (f"/{self.path}" if self.path else "")


def fetch(hub_path: HubPath) -> Path:
    """Bring one file into the hub's cache, and return where it lies there.

    A download goes on where an earlier one stopped, shows its progress where a person is looking,
    and is compared with the hash that the hub gives for it. What is there already is not fetched
    again; without a network, it is used as it is.

    Raises
    ------
    NotOnHub
        If the repository has no such file.
    GCDError
        If it cannot be fetched, or what arrives is not what the hub announced.
    """
    if GIT_SHA1.fullmatch(hub_path.revision or ""):  # a commit never changes
        cached = try_to_load_from_cache(hub_path.repo, hub_path.path, revision=hub_path.revision)
        if isinstance(cached, str):
            return Path(cached)
    with in_one_sentence(hub_path):
        try:
            _complete_blob(hub_path)
            offline = False
        except (HTTPError, OfflineModeIsEnabled) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            offline = True
        return Path(
            hf_hub_download(
                hub_path.repo,
                hub_path.path,
                revision=hub_path.revision,
                endpoint=endpoint(),
                local_files_only=offline,
            )
        )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return _digest(path, hashlib.sha256())


def _complete_blob(hub_path: HubPath) -> None:
    """Put the file's content where `hf_hub_download` looks for it, verified.

    Left to itself, that function forgets what had arrived when it is interrupted, and compares no
    hashes. Finding the content in the cache, it has only to link it.
    """
    address = _address(hub_path)
    announced = get_hf_file_metadata(address, endpoint=endpoint())
    etag, size = announced.etag or "", announced.size
    if announced.commit_hash:
        address = _address(replace(hub_path, revision=announced.commit_hash))
    if not (SHA256.fullmatch(etag) or GIT_SHA1.fullmatch(etag)):
        return
    cache = Path(constants.HF_HUB_CACHE)
    folder = repo_folder_name(repo_id=hub_path.repo, repo_type="model")
    blob, partial = (cache / folder / "blobs" / name for name in (etag, f"{etag}.incomplete"))
    lock = cache / ".locks" / folder / f"{etag}.lock"
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if blob.exists():
            return
        if size is not None and partial.is_file() and partial.stat().st_size > size:
            partial.unlink()
        with partial.open("ab") as file:
            http_get(
                address,
                file,
                resume_size=file.tell(),
                headers=build_hf_headers() | {"Accept-Encoding": "identity"},
                expected_size=size,
                displayed_filename=PurePosixPath(hub_path.path).name,
            )
        if _etag_of(partial, etag) != etag:
            partial.unlink()
            raise GCDError(
                f"{hub_path} did not arrive as the hub has it: its hash differs; fetch it again."
            )
        os.replace(partial, blob)


def _etag_of(path: Path, like: str) -> str:
    """The file's hash, of the kind that `like` is."""
    if SHA256.fullmatch(like):
        return sha256_of(path)
    header = f"blob {path.stat().st_size}\0".encode()
    return _digest(path, hashlib.sha1(header, usedforsecurity=False))


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _address(hub_path: HubPath) -> str:
    return hf_hub_url(hub_path.repo, hub_path.path, revision=hub_path.revision, endpoint=endpoint())


def endpoint() -> str | None:
    """The hub's address, if it is not the usual one."""
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def in_one_sentence(hub_path: HubPath, done: str = "fetched") -> Iterator[None]:
    """Turn what the hub's library raises into one sentence."""
    start = f"{hub_path} could not be {done}"
    try:
        yield
    except GCDError:
        raise
    except RepositoryNotFoundError as error:
        raise GCDError(
            f"{start}: there is no repository {hub_path.repo}, or it is not open to you; check the "
            "name, or log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise GCDError(f"{start}: the repository has no revision {hub_path.revision!r}.") from error
    except LocalEntryNotFoundError as error:
        raise GCDError(
            f"{start}: the hub cannot be reached and the file is not in the cache; check the "
            "network and try again, what has arrived is kept."
        ) from error
    except EntryNotFoundError as error:
        raise NotOnHub(f"{start}: the repository has no file {hub_path.path!r}.") from error
    except (HTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise GCDError(f"{start}: {reason or type(error).__name__}") from error
