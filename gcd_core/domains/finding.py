"""Finds the folder of a domain: a bundled one, one on this machine, or one on the hub."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from gcd_core.domains.file import DOMAIN_FILE, files_of, find_problems, read_domain_file, sources_of
from gcd_core.errors import GCDError
from gcd_core.files import bundled
from gcd_core.hub import SCHEME, HubPath, NotOnHub, endpoint, fetch, in_one_sentence

BUNDLED = bundled("checkpoints")


def bundled_domains() -> list[str]:
    """Return the names of the bundled domains; those whose weights are bundled too come first."""

    def order(folder: Path) -> tuple[bool, str]:
        sections = [s for s in read_domain_file(folder).values() if isinstance(s, dict)]
        return any(sources_of(section) for section in sections), folder.name

    folders = [path.parent for path in BUNDLED.glob(f"*/{DOMAIN_FILE}")]
    return [folder.name for folder in sorted(folders, key=order)]


def is_complete(name: str) -> bool:
    """Whether a domain of this name is bundled with all its files."""
    folder = BUNDLED / name
    if not (folder / DOMAIN_FILE).is_file():
        return False
    return not any(find_problems(folder, read_domain_file(folder)).values())


@dataclass(frozen=True)
class Entry:
    """A domain in a list to choose from, as its domain.toml has it; nothing else is read."""

    source: str  # what opens it: a bundled name, a folder or "hf://owner/repo"
    # Its own; without a title, the name.
    name: str
    title: str
    description: str


def list_domain(source: str) -> Entry:
    """Read what a list of domains says of one.

    Raises a GCDError if there is no such domain, or its domain.toml is none.
    """
    if source.startswith(SCHEME):
        hub_path = HubPath.parse(source)
        try:
            folder = fetch(hub_path / DOMAIN_FILE).parent
        except NotOnHub as error:
            raise no_domain_at(hub_path) from error
    else:
        folder, _ = find_domain(source)
    table = read_domain_file(folder)
    name = _text(table, "name") or folder.resolve().name
    return Entry(source, name, _text(table, "title") or name, _text(table, "description"))


def _text(table: dict[str, Any], key: str) -> str:
    """Return a text of domain.toml, "" where it is missing; opening the domain names that."""
    value = table.get(key)
    return value if isinstance(value, str) else ""


def no_domain_at(hub_path: HubPath) -> GCDError:
    """Return the error for a place on the hub that has no domain.toml."""
    return GCDError(f"{hub_path} holds no {DOMAIN_FILE}, so it is no domain.")


def find_domain(name: str | Path) -> tuple[Path, bool]:
    """Return a domain's folder, and whether it comes from the hub. It is fetched from there first.

    Raises a GCDError if there is none.
    """
    if str(name).startswith(SCHEME):
        return fetch_domain(HubPath.parse(str(name))), True
    for folder in (Path(name), BUNDLED / str(name)):
        if (folder / DOMAIN_FILE).is_file():
            return folder, False
    raise GCDError(
        f"There is no domain {str(name)!r}: it is neither a folder with a {DOMAIN_FILE} nor one of "
        f"the bundled {bundled_domains()}."
    )


def fetch_domain(hub_path: HubPath) -> Path:
    """Fetch the files that a domain on the hub names, and return their folder in the cache.

    Raises a GCDError if there is no domain.toml there, or a file cannot be fetched.

    Returns
    -------
    Path
        The folder. Without a network it is the one that was fetched before.
    """
    try:
        file = fetch(hub_path / DOMAIN_FILE)
    except NotOnHub as error:
        raise no_domain_at(hub_path) from error
    table = read_domain_file(file.parent)
    commit = file.parents[(hub_path / DOMAIN_FILE).path.count("/")].name
    pinned = replace(hub_path, revision=commit)
    with in_one_sentence(hub_path):
        try:
            listed = HfApi(endpoint=endpoint()).list_repo_files(hub_path.repo, revision=commit)
        except (HTTPError, OfflineModeIsEnabled) as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            return file.parent
    inside = f"{hub_path.path}/" if hub_path.path else ""
    names = [name.removeprefix(inside) for name in listed if name.startswith(inside)]
    for name in files_of(table, names):
        fetch(pinned / name)
    return file.parent
