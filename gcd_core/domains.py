"""A domain: one folder with a generator, its classifiers, examples and ready-made directions."""

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gcd_core.classifiers import BlackBox, load_classifier
from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Generator
from gcd_core.generators.diffae.generator import choose_device
from gcd_core.imaging import load_image
from gcd_core.perceptual import LPIPS

if TYPE_CHECKING:
    from gcd_core.directions import DirectionSet

BUNDLED = Path(__file__).resolve().parent.parent / "checkpoints"


@dataclass(frozen=True)
class Search:
    """Defaults of `find_directions` in a domain (the `[search]` table).

    `radius` is that of the n-ball in z_sem; `lam` the weight of LPIPS in the CF loss (Eq. 1);
    `solver` and `steps` decode the perturbations.
    """

    radius: float
    n_samples: int = 1024
    n_h: int = 8
    lam: float = 1.0
    solver: str = "ddim"
    steps: int = 20
    antithetic: bool = True


@dataclass(frozen=True)
class Label:
    """One label to explain (a `[labels.NAME]` table): what to call it and its two answers."""

    name: str
    title: str
    negative: str
    positive: str
    directions: str | None = None


@dataclass(frozen=True)
class Domain:
    """Everything that the method needs for one kind of image; `load_domain` builds it.

    Attributes
    ----------
    generator : Generator
    classifier : BlackBox
        The one being explained.
    oracle : BlackBox or None
        A second opinion that no search asks; it judges whether a flip means something.
    perceptual : LPIPS
    label_info : dict
        Name of each label to its `Label`.
    examples : tuple of Path
        Images to begin with.
    search : Search
    alpha_max : float
        How far a walk goes along a unit direction in z_sem before it may leave the manifold.
    walk_points : int
        Images that a walk decodes by default, its start included.
    """

    name: str
    title: str
    description: str
    folder: Path
    generator: Generator
    classifier: BlackBox
    oracle: BlackBox | None
    perceptual: LPIPS
    label_info: dict[str, Label]
    examples: tuple[Path, ...]
    search: Search
    alpha_max: float
    walk_points: int
    device: str
    notice: str = ""
    _ready: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that can be explained."""
        return tuple(self.label_info)

    @property
    def label_names(self) -> dict[str, tuple[str, str]]:
        """Words for the negative and the positive answer of each label."""
        return {name: (label.negative, label.positive) for name, label in self.label_info.items()}

    def load_image(self, source: Any) -> Tensor:
        """Read an image as this domain sees it: (1, C, H, W), float32, in [0, 1].

        `source` is a path, bytes, a file object or a Pillow image; a GCDError says what is wrong
        with it.
        """
        return load_image(source, self.generator.image_size, self.generator.channels)

    def ready_directions(self, label: str) -> "DirectionSet | None":
        """Return the ready-made directions of a label, or None if the domain ships none."""
        from gcd_core.directions import load_directions

        if label not in self.label_info:
            raise GCDError(f"{self.name} has no label {label!r}; its labels are {self.labels}.")
        file = self.label_info[label].directions
        if file is None:
            return None
        if label not in self._ready:
            self._ready[label] = load_directions(self.folder / file, domain=self)
        return self._ready[label]


def bundled_domains() -> list[str]:
    """Names of the domains that come with this project."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/domain.toml"))


def load_domain(name: str | Path, device: str = "auto") -> Domain:
    """Open a domain.

    Parameters
    ----------
    name : str or Path
        A bundled name, such as "chest-xray", a folder that holds a `domain.toml`, or
        "hf://owner/repo", a repository of the Hugging Face hub with such a folder's contents.
    device : {"auto", "cpu", "cuda", ...}
        Where the networks run; "auto" takes CUDA where there is one.

    Returns
    -------
    Domain

    Raises
    ------
    GCDError
        If there is no such domain, or its `domain.toml` has a key missing, unknown or of the wrong
        type (the message names it).

    Examples
    --------
    >>> domain = load_domain("chest-xray")
    >>> domain.labels
    ('pneumonia', 'bacterial')
    """
    folder = _folder(name)
    path = folder / "domain.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GCDError(f"{path} is not valid TOML: {error}") from error
    _check_keys(
        path,
        "the top level",
        table,
        {"name": str, "title": str, "generator": dict, "classifier": dict}
        | {"search": dict, "walk": dict, "labels": dict},
        {"description": str, "notice": str, "oracle": dict, "examples": str},
    )
    _check_keys(path, "[generator]", table["generator"], {"config": str, "weights": str}, {})
    _check_keys(path, "[walk]", table["walk"], {"alpha_max": float, "points": int}, {})
    if table["walk"]["alpha_max"] <= 0 or table["walk"]["points"] < 2:
        raise GCDError(f"{path}: [walk] needs a positive alpha_max and 2 points at least.")
    search = _search(path, table["search"])
    labels = _labels(path, table["labels"])
    device = str(choose_device(device))
    generator = load_generator(
        _inside(folder, table["generator"]["config"]),
        _inside(folder, table["generator"]["weights"]),
        device,
    )
    classifier = load_classifier(table["classifier"], folder, device)
    for label in labels:
        classifier.index(label)
    oracle = load_classifier(table["oracle"], folder, device) if "oracle" in table else None
    examples = folder / table.get("examples", "examples")
    return Domain(
        name=table["name"],
        title=table["title"],
        description=table.get("description", ""),
        notice=table.get("notice", ""),
        folder=folder,
        generator=generator,
        classifier=classifier,
        oracle=oracle,
        perceptual=LPIPS(device=device),
        label_info=labels,
        examples=tuple(sorted(p for p in examples.glob("*.png") if p.is_file())),
        search=search,
        alpha_max=float(table["walk"]["alpha_max"]),
        walk_points=table["walk"]["points"],
        device=device,
    )


def _folder(name: str | Path) -> Path:
    """Where a domain lies: bundled, on disk, or fetched from the hub into its cache."""
    if isinstance(name, str) and name.startswith("hf://"):
        return _from_hub(name.removeprefix("hf://"))
    for folder in (Path(name), BUNDLED / str(name)):
        if (folder / "domain.toml").is_file():
            return folder
    raise GCDError(
        f"There is no domain {str(name)!r}: it is neither a folder with a domain.toml nor one of "
        f"the bundled {bundled_domains()}."
    )


def _from_hub(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        folder = Path(
            snapshot_download(
                repository,
                allow_patterns=["*.toml", "*.json", "*.safetensors", "*.md", "examples/*.png"],
            )
        )
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise GCDError(
            f"hf://{repository} could not be fetched; check the name and the network: {error}"
        ) from error
    if not (folder / "domain.toml").is_file():
        raise GCDError(f"hf://{repository} holds no domain.toml, so it is no domain.")
    return folder


def _inside(folder: Path, name: str) -> Path:
    """The path of a file that the domain names; it must lie in the domain's folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) and not path.is_symlink():
        raise GCDError(f"{folder / 'domain.toml'} names {name!r}, which is outside its folder.")
    if not path.is_file():
        raise GCDError(f"{path}, which domain.toml names, does not exist.")
    return path


def _search(path: Path, table: dict[str, Any]) -> Search:
    kinds: dict[str, type] = {
        "radius": float,
        "n_samples": int,
        "n_h": int,
        "lam": float,
        "solver": str,
        "steps": int,
        "antithetic": bool,
    }
    optional = {f.name: kinds[f.name] for f in fields(Search) if f.name != "radius"}
    _check_keys(path, "[search]", table, {"radius": float}, optional)
    if table["radius"] <= 0:
        raise GCDError(f"{path}: [search] needs a positive radius, not {table['radius']}.")
    return Search(**table)


def _labels(path: Path, tables: dict[str, Any]) -> dict[str, Label]:
    if not tables:
        raise GCDError(f"{path} has no [labels.NAME] table; name what can be explained.")
    labels = {}
    for name, table in tables.items():
        where = f"[labels.{name}]"
        if not isinstance(table, dict):
            raise GCDError(f"{path}: {where} is not a table.")
        _check_keys(
            path,
            where,
            table,
            {"title": str, "negative": str, "positive": str},
            {"directions": str},
        )
        if "directions" in table:
            _inside(path.parent, table["directions"])
        labels[name] = Label(name, **table)
    return labels


def _check_keys(
    path: Path,
    where: str,
    table: dict[str, Any],
    required: dict[str, type],
    optional: dict[str, type],
) -> None:
    """Refuse a table with a key missing, unknown or of the wrong type, naming the key."""
    for key in required:
        if key not in table:
            raise GCDError(f"{path}: {where} lacks the key {key!r}; add it.")
    known = required | optional
    for key, value in table.items():
        if key not in known:
            raise GCDError(f"{path}: {where} has no key {key!r}; it knows {sorted(known)}.")
        wanted = (int, float) if known[key] is float else known[key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and known[key] is not bool):
            raise GCDError(f"{path}: {key!r} in {where} must be a {known[key].__name__}.")
