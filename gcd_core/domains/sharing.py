"""Shares directions and domains on the Hugging Face hub, and fetches them from there."""

import re
import shutil
from pathlib import Path

from huggingface_hub import HfApi

from gcd_core.domains.check import check_domain
from gcd_core.domains.file import check_trust, files_of, read_domain_file
from gcd_core.domains.finding import fetch_domain
from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.hub import HubPath, endpoint, fetch, in_one_sentence
from gcd_core.method.directions import load_directions


def push(source: Path, hub_path: HubPath) -> str:
    """Share a file of directions or a domain's folder; return its address.

    The repository is made, private, if there is none. A file that goes to a place without a name
    keeps its own. Raises a GCDError if the file holds no directions, the folder has problems (all
    are listed), or the hub refuses.
    """
    if source.is_dir():
        problems = check_domain(source)
        if problems:
            raise GCDError(f"{source} is not ready to be shared: {' '.join(problems)}")
        names = _own_files(source)
    else:
        load_directions(source)
        if not hub_path.path.endswith(".safetensors"):
            hub_path = hub_path / source.name
    api = HfApi(endpoint=endpoint())
    message = f"Share {source.name} with GCD Explorer"
    with in_one_sentence(hub_path, "shared"):
        api.create_repo(hub_path.repo, private=True, exist_ok=True)
        if source.is_dir():
            api.upload_folder(
                repo_id=hub_path.repo,
                folder_path=source,
                path_in_repo=hub_path.path or None,
                revision=hub_path.revision,
                allow_patterns=[_literal(name) for name in names],
                commit_message=message,
            )
        else:
            api.upload_file(
                path_or_fileobj=source,
                path_in_repo=hub_path.path,
                repo_id=hub_path.repo,
                revision=hub_path.revision,
                commit_message=message,
            )
    return str(hub_path)


def pull(hub_path: HubPath, out: Path) -> None:
    """Bring directions (a .safetensors file) or a domain's folder from the hub to `out`.

    Directions are read, and so checked, before anything is at `out`; a folder appears there whole.
    Raises a GCDError if it cannot be fetched, is not what it should be, or would run code (see
    `check_trust`), or if `out` is a folder with something in it.
    """
    if hub_path.path.endswith(".safetensors"):
        found = fetch(hub_path)
        load_directions(found)
        with atomic_write(out) as copy:
            shutil.copyfile(found, copy)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise GCDError(f"{out} is there already; name a folder that is new or empty.")
    found = fetch_domain(hub_path)
    check_trust(read_domain_file(found))
    with atomic_write(out) as copy:
        for name in _own_files(found):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found / name, copy / name)


def _own_files(folder: Path) -> list[str]:
    """Return the names of the files in a folder that belong to the domain."""
    present = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    return files_of(read_domain_file(folder), present)


def _literal(name: str) -> str:
    """Return a glob pattern that matches this name only."""
    return re.sub(r"([*?[])", r"[\1]", name)
