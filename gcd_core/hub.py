"""The Hugging Face hub: files fetched whole, verified, resumed; directions and domains shared."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from huggingface_hub import (
    HfApi,
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

from gcd_core.directions import load_directions
from gcd_core.domain_check import check_domain
from gcd_core.domain_file import DOMAIN_FILE, check_trust, files_of, read_domain_file
from gcd_core.errors import GCDError

SCHEME = "hf://"
PLACE = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w.-]+))?(?:/(?P<path>.*))?", re.ASCII
)
# The hub's etag of a file is its SHA-256 where it is stored as a large file, else git's SHA-1.
SHA256, GIT_SHA1 = re.compile("[0-9a-f]{64}"), re.compile("[0-9a-f]{40}")
CHUNK = 2**20


class NotOnHub(GCDError):
    """The repository is there, but not this file of it."""


@dataclass(frozen=True)
class Place:
    """A file or folder of a repository: `hf://owner/repo[@revision][/path]`."""

    repo: str
    path: str = ""
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read the text; a GCDError says what it should look like."""
        match = PLACE.fullmatch(text)
        path = (match["path"] or "").rstrip("/") if match else ""
        if not match or {"..", ".", ""} & set(path.split("/") if path else ()):
            raise GCDError(
                f"{text!r} is no place on the hub; write hf://OWNER/REPOSITORY, with @REVISION and "
                "/PATH behind it where wanted."
            )
        return cls(match["repo"], path, match["revision"])

    def __truediv__(self, name: str) -> "Place":
        return replace(self, path=f"{self.path}/{name}" if self.path else name)

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repo}{revision}" + (f"/{self.path}" if self.path else "")


def fetch(place: Place) -> Path:
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
    if GIT_SHA1.fullmatch(place.revision or ""):  # a commit never changes
        cached = try_to_load_from_cache(place.repo, place.path, revision=place.revision)
        if isinstance(cached, str):
            return Path(cached)
    with _told(place):
        try:
            _complete_blob(place)
            away = False
        except (HTTPError, OfflineModeIsEnabled) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            away = True
        return Path(
            hf_hub_download(
                place.repo,
                place.path,
                revision=place.revision,
                endpoint=_endpoint(),
                local_files_only=away,
            )
        )


def fetch_domain(place: Place) -> Path:
    """Bring a domain's folder into the hub's cache: what its domain.toml names, nothing else.

    Returns
    -------
    Path
        The folder. Without a network it is the one that was fetched before.

    Raises
    ------
    GCDError
        If there is no domain.toml there, or a file cannot be fetched.
    """
    try:
        file = fetch(place / DOMAIN_FILE)
    except NotOnHub as error:
        raise GCDError(f"{place} holds no {DOMAIN_FILE}, so it is no domain.") from error
    table = read_domain_file(file.parent)
    commit = file.parents[(place / DOMAIN_FILE).path.count("/")].name
    pinned = replace(place, revision=commit)
    with _told(place):
        try:
            listed = HfApi(endpoint=_endpoint()).list_repo_files(place.repo, revision=commit)
        except (HTTPError, OfflineModeIsEnabled) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            return file.parent
    inside = f"{place.path}/" if place.path else ""
    names = [name.removeprefix(inside) for name in listed if name.startswith(inside)]
    for name in files_of(table, names):
        fetch(pinned / name)
    return file.parent


def push(source: Path, place: Place) -> str:
    """Share a file of directions or a domain's folder; return its address.

    The repository is made, private, if there is none. A file that goes to a place without a name
    keeps its own.

    Raises
    ------
    GCDError
        If the file holds no directions, the folder has problems (all are listed), or the hub
        refuses.
    """
    if source.is_dir():
        problems = check_domain(source)
        if problems:
            raise GCDError(f"{source} is not ready to be shared: {' '.join(problems)}")
        here = [p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()]
        names = files_of(read_domain_file(source), here)
    else:
        load_directions(source)
        if not place.path.endswith(".safetensors"):
            place = place / source.name
    api = HfApi(endpoint=_endpoint())
    message = f"Share {source.name} with GCD Explorer"
    with _told(place, "shared"):
        api.create_repo(place.repo, private=True, exist_ok=True)
        if source.is_dir():
            api.upload_folder(
                repo_id=place.repo,
                folder_path=source,
                path_in_repo=place.path or None,
                revision=place.revision,
                allow_patterns=[_literal(name) for name in names],
                commit_message=message,
            )
        else:
            api.upload_file(
                path_or_fileobj=source,
                path_in_repo=place.path,
                repo_id=place.repo,
                revision=place.revision,
                commit_message=message,
            )
    return str(place)


def pull(place: Place, out: Path) -> None:
    """Bring directions (a .safetensors file) or a domain's folder from the hub to `out`.

    Directions are read, and so checked, before anything is at `out`; a folder appears there whole.

    Raises
    ------
    GCDError
        If it cannot be fetched, is not what it should be, or would run code (see `check_trust`),
        or if `out` is a folder with something in it.
    """
    if place.path.endswith(".safetensors"):
        found = fetch(place)
        load_directions(found)
        with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".pull-") as folder:
            os.replace(shutil.copyfile(found, Path(folder) / out.name), out)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GCDError(f"{out} is there already; name a folder that is new or empty.")
    found = fetch_domain(place)
    table = read_domain_file(found)
    check_trust(table)
    here = [p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()]
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".pull-") as folder:
        copy = Path(folder) / out.name
        for name in files_of(table, here):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found / name, copy / name)
        os.replace(copy, out)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return _digest(path, hashlib.sha256())


def _complete_blob(place: Place) -> None:
    """Put the file's content where `hf_hub_download` looks for it, verified.

    Left to itself, that function forgets what had arrived when it is interrupted, and compares no
    hashes. Finding the content in the cache, it has only to link it.
    """
    address = _address(place)
    announced = get_hf_file_metadata(address, endpoint=_endpoint())
    etag, size = announced.etag or "", announced.size
    if announced.commit_hash:
        address = _address(replace(place, revision=announced.commit_hash))
    if not (SHA256.fullmatch(etag) or GIT_SHA1.fullmatch(etag)):
        return
    cache = Path(constants.HF_HUB_CACHE)
    folder = repo_folder_name(repo_id=place.repo, repo_type="model")
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
                displayed_filename=PurePosixPath(place.path).name,
            )
        if _etag_of(partial, etag) != etag:
            partial.unlink()
            raise GCDError(
                f"{place} did not arrive as the hub has it: its hash differs; fetch it again."
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


def _address(place: Place) -> str:
    return hf_hub_url(place.repo, place.path, revision=place.revision, endpoint=_endpoint())


def _endpoint() -> str | None:
    """The hub's address, if it is not the usual one."""
    return os.environ.get("HF_ENDPOINT") or None


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)


@contextmanager
def _told(place: Place, done: str = "fetched") -> Iterator[None]:
    """Turn what the hub's library raises into one sentence."""
    start = f"{place} could not be {done}"
    try:
        yield
    except GCDError:
        raise
    except RepositoryNotFoundError as error:
        raise GCDError(
            f"{start}: there is no repository {place.repo}, or it is not open to you; check the "
            "name, or log in with `hf auth login`."
        ) from error
    except RevisionNotFoundError as error:
        raise GCDError(f"{start}: the repository has no revision {place.revision!r}.") from error
    except LocalEntryNotFoundError as error:
        raise GCDError(
            f"{start}: the hub cannot be reached and the file is not in the cache; check the "
            "network and try again, what has arrived is kept."
        ) from error
    except EntryNotFoundError as error:
        raise NotOnHub(f"{start}: the repository has no file {place.path!r}.") from error
    except (HTTPError, HFValidationError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise GCDError(f"{start}: {reason or type(error).__name__}") from error
