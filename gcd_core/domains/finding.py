"""Where a domain's folder lies: bundled, anywhere on this machine, or on the hub."""

from dataclasses import replace
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

from gcd_core.domains.file import DOMAIN_FILE, files_of, read_domain_file, sources_of
from gcd_core.errors import GCDError
from gcd_core.files import bundled
from gcd_core.hub import SCHEME, HubPath, NotOnHub, endpoint, fetch, in_one_sentence

BUNDLED = bundled("checkpoints")


def bundled_domains() -> list[str]:
    """Names of the domains that come with this project; first those whose weights do too."""

    def order(folder: Path) -> tuple[bool, str]:
        sections = [s for s in read_domain_file(folder).values() if isinstance(s, dict)]
        return any(sources_of(section) for section in sections), folder.name

    folders = [path.parent for path in BUNDLED.glob(f"*/{DOMAIN_FILE}")]
    return [folder.name for folder in sorted(folders, key=order)]


def find_domain(name: str | Path) -> tuple[Path, bool]:
    """Find a domain's folder, fetched into the hub's cache if it is there, and say if it was.

    Raises
    ------
    GCDError
        If there is none.
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
        file = fetch(hub_path / DOMAIN_FILE)
    except NotOnHub as error:
        raise GCDError(f"{hub_path} holds no {DOMAIN_FILE}, so it is no domain.") from error
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
