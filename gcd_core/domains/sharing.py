"""Directions and domains shared on the Hugging Face hub, and brought from there."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import HfApi

from gcd_core.domains.check import check_domain
from gcd_core.domains.file import check_trust, files_of, read_domain_file
from gcd_core.domains.finding import fetch_domain
from gcd_core.errors import GCDError
from gcd_core.hub import HubPath, endpoint, fetch, in_one_sentence
from gcd_core.method.directions import load_directions


def push(source: Path, place: HubPath) -> str:
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
    api = HfApi(endpoint=endpoint())
    message = f"Share {source.name} with GCD Explorer"
    with in_one_sentence(place, "shared"):
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


def pull(place: HubPath, out: Path) -> None:
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


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)
