"""Reads domain.toml, finds what is wrong with it, and lists the files that it names."""

import math
import os
import sys
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from pathlib import Path, PurePosixPath
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

from gcd_core.bridge.rcsb import Steering
from gcd_core.classifiers.questions import QUESTION_KEYS, Question
from gcd_core.classifiers.registry import KINDS, RUNS_CODE
from gcd_core.domains.sources import KEYS as SOURCE_KEYS
from gcd_core.domains.sources import Source, inside
from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import check_solver
from gcd_core.generators.weights import INDEX_SUFFIX
from gcd_core.images.reading import FITS
from gcd_core.method.changes import read_words
from gcd_core.method.composition import DETAILS
from gcd_core.method.counterfactual import MARGIN, SMALLEST, check_counterfactual
from gcd_core.method.places import read_atlas
from gcd_core.method.settings import MIN_SETTINGS, Settings, check_radius, check_steps

DOMAIN_FILE = "domain.toml"
MAX_FILE_BYTES = 2**20
EXAMPLES = "examples"
STRONG = 0.9  # AUROC from which on a classifier is not called weak
MAX_ONLY_FOR = 80  # letters that say of what pictures a label means something
CLASSIFIERS = ("classifier", "oracle")
# Kinds of classifier that send images, and what a domain.toml asks of the environment, elsewhere.
REACHES_OUT = frozenset({"http", "hf-inference"})
Kind = type | UnionType
Keys = dict[str, Kind]
TOP: tuple[Keys, Keys] = (
    {
        "name": str,
        "title": str,
        "generator": dict,
        "classifier": dict,
        "search": dict,
        "walk": dict,
        "labels": dict,
    },
    {
        "description": str,
        "credit": str,
        "notice": str,
        "oracle": dict,
        "bridge": dict,
        "examples": str,
        "synthetic_examples": bool,
        "off_distribution": str,
        "codes": str,
        "sanity": str,
        "face_api": str,
        "fit": str,
        "ages": list,
        "upright": bool,
        "places": dict,
        "changes": dict,
    },
)
GENERATOR: tuple[Keys, Keys] = (
    {"config": str, "weights": str | dict},
    {"kind": str, "latent_statistics": str | dict},
)
STEERING: Keys = {"steps": int, "tau": float, "strength": float}
BRIDGE: tuple[Keys, Keys] = ({"config": str, "weights": str | dict}, STEERING)
WALK: tuple[Keys, Keys] = (
    {"alpha_max": float, "points": int},
    {"counterfactual": str, "margin": float, "detail": str},
)
LABEL: tuple[Keys, Keys] = (
    {"title": str, "negative": str, "positive": str},
    {"directions": str, "given": str, "only_for": str, "auroc": float, **QUESTION_KEYS},
)
KIND_NAMES: dict[Kind, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    str | dict: "a file's name or its table",
    str | list: "a name or a list of names",
}
OF_A_RUN = {"seed", "batch_size", "settle"}  # settings that a search is given, no domain has


def _search_keys() -> tuple[Keys, Keys]:
    """Return the keys of `[search]`: the fields of `Settings`; those without a default first."""
    required: Keys = {}
    optional: Keys = {}
    hints = get_type_hints(Settings)
    for field in fields(Settings):
        if field.name not in OF_A_RUN:
            kinds = get_args(hints[field.name]) or (hints[field.name],)
            keys = required if field.default is MISSING else optional
            keys[field.name] = next(kind for kind in kinds if kind is not NoneType)
    return required, optional


SEARCH = _search_keys()


@dataclass(frozen=True)
class Label:
    """A label to explain, with its names (a `[labels.NAME]` table).

    `given` names the label that must hold for this one to mean anything; `only_for` says in words
    of what pictures it means something ("" is of all); `auroc` is the classifier's on its test
    images, 0.5 to 1, where that is known.
    """

    name: str
    title: str
    negative: str
    positive: str
    directions: str | None = None
    given: str | None = None
    only_for: str = ""
    auroc: float | None = None
    asked: Question | None = None

    @classmethod
    def read(cls, name: str, table: Mapping[str, Any]) -> "Label":
        """Read a `[labels.NAME]` table without problems."""
        own = {key: value for key, value in table.items() if key not in QUESTION_KEYS}
        return cls(name, **own, asked=Question.read(name, table))

    @property
    def is_weak(self) -> bool:
        """Whether the classifier is known to be often wrong at it."""
        return self.auroc is not None and self.auroc < STRONG

    @property
    def question(self) -> Question:
        """What it asks of the classifier's outputs: of that of its own name, unless it says."""
        return self.asked or Question(self.name)


def read_domain_file(folder: Path) -> dict[str, Any]:
    """Read the table in a folder's domain.toml; raises as `read_toml`."""
    return read_toml(folder / DOMAIN_FILE)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises a GCDError if there is none, or it is larger than 1 MiB or not valid TOML.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise GCDError(f"{path} is larger than 1 MiB, so it is another kind of file.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GCDError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GCDError(f"{path} is not valid TOML: {error}") from error


def find_problems(
    folder: Path, table: Mapping[str, Any], from_hub: bool = False
) -> dict[str, list[str]]:
    """Find what is wrong with a domain.toml, as far as can be told without opening a network.

    Parameters
    ----------
    folder : Path
        Where the files that it names should lie.
    table : mapping
        What `read_domain_file` returned.
    from_hub : bool
        Whether the domain is another's, fetched by hf://, so that it may run no code here.

    Returns
    -------
    dict
        Sentences by section: "file" (the top level), "generator", "classifier", "oracle",
        "search", "walk", "bridge", "labels", "places", "changes", "examples". A list is empty where
        nothing is wrong.
    """
    found = {"file": [*_key_problems("the file", table, *TOP)]}
    if isinstance(table.get("fit"), str) and table["fit"] not in FITS:
        found["file"].append(f"'fit' is {table['fit']!r}; choose one of {', '.join(FITS)}.")
    if "ages" in table and not _are_ages(table["ages"]):
        found["file"].append("'ages' are two numbers, the youngest and the oldest, in years.")
    if table.get("upright") is True and "off_distribution" not in table:
        found["file"].append("'upright' needs 'off_distribution', which tells how images stand.")
    for key in ("off_distribution", "codes", "sanity", "face_api"):
        if isinstance(table.get(key), str):
            found["file"] += _file_problems(folder, f"{key!r} in the file", table[key])
    sections: dict[str, Callable[[Any], Iterator[str]]] = {
        "generator": lambda section: _generator_problems(folder, section),
        "classifier": lambda section: _classifier_problems(folder, "classifier", section, from_hub),
        "oracle": lambda section: _classifier_problems(folder, "oracle", section, from_hub),
        "search": search_problems,
        "walk": _walk_problems,
        "bridge": lambda section: _bridge_problems(folder, section),
        "labels": lambda section: _label_problems(folder, section),
        "places": lambda section: _refusal(read_atlas, "[places]", section),
        "changes": lambda section: _refusal(read_words, "[changes]", section),
    }
    for name, problems in sections.items():
        fits = isinstance(table.get(name), dict)
        found[name] = [*problems(table[name])] if fits else []
    found["examples"] = [*_example_problems(folder, table)]
    # A name in the file may have line breaks, and a sentence is one line.
    return {name: [" ".join(told.split()) for told in told_of] for name, told_of in found.items()}


def check_trust(table: Mapping[str, Any]) -> None:
    """Refuse a domain of the hub whose classifiers run code, send images away or read other files.

    An operator who has read that domain sets `GCD_TRUST_CODE=1` in the environment.
    """
    for name in CLASSIFIERS:
        section = table.get(name)
        if isinstance(section, dict):
            for problem in _trust_problems(name, section):
                raise GCDError(problem)


def sources_of(section: Mapping[str, Any]) -> dict[str, Source]:
    """Return the files that a section gives as a table (`{ file = ..., ... }`), by key.

    Other tables, such as a classifier's `options`, are left alone.
    """
    found = {}
    for key, value in section.items():
        if isinstance(value, dict) and "file" in value and not set(value) - set(SOURCE_KEYS):
            with suppress(GCDError):
                found[key] = Source.read(value)
    return found


def steering_of(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the steering's settings of a `[bridge]` table; values of a wrong kind are left out."""
    values = {key: _of_kind(section, key, kind) for key, kind in STEERING.items()}
    return {key: value for key, value in values.items() if value is not None}


def files_of(table: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return those of a folder's files that belong to the domain.

    They are domain.toml, README.md, the pictures of the examples, and whatever a value in
    domain.toml names: a file, all of a folder, an index of shards with the shards, or the module
    of a `module:function`.

    Parameters
    ----------
    table : mapping
        What `read_domain_file` returned.
    names : iterable of str
        Of the files in the folder, relative to it, with "/" between the parts.
    """
    wanted = {os.path.normpath(value) for value in _texts(table)}
    wanted |= {f"{t.split(':')[0].replace('.', '/')}.py" for t in _texts(table) if ":" in t}
    stems = [text.removesuffix(INDEX_SUFFIX) for text in wanted if text.endswith(INDEX_SUFFIX)]
    examples = os.path.normpath(str(table.get("examples", EXAMPLES)))

    def belongs(name: str) -> bool:
        path = PurePosixPath(name)
        folders = {str(parent) for parent in path.parents} - {"."}
        shard = path.suffix == ".safetensors" and any(name.startswith(f"{s}-") for s in stems)
        picture = str(path.parent) == examples and path.suffix == ".png"
        named = name in wanted or bool(folders & (wanted - {examples}))
        return name in (DOMAIN_FILE, "README.md") or named or shard or picture

    return [name for name in names if belongs(name)]


def example_files(folder: Path, table: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the files of the domain's example images, sorted by name."""
    examples = table.get("examples", EXAMPLES)
    examples = inside(folder, examples if isinstance(examples, str) else EXAMPLES)
    return tuple(sorted(path for path in examples.glob("*.png") if path.is_file()))


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a table and in its inner tables."""
    if isinstance(value, str) and value:
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _generator_problems(folder: Path, section: Mapping[str, Any]) -> Iterator[str]:
    where = "[generator]"
    yield from _key_problems(where, section, *GENERATOR)
    for key in ("config", "weights", "latent_statistics"):
        if isinstance(section.get(key), (str, dict)):
            yield from _file_problems(folder, f"{key!r} in {where}", section[key])


def _classifier_problems(
    folder: Path, name: str, section: Mapping[str, Any], from_hub: bool
) -> Iterator[str]:
    where = f"[{name}]"
    if not _names(section.get("kind"), KINDS):
        yield f"{where} needs a kind, one of {', '.join(sorted(KINDS))}."
    if from_hub:
        yield from _trust_problems(name, section)
    for key, source in sources_of(section).items():
        yield from source.problems(folder)
        if source.repo is not None:
            yield f"{key!r} in {where}: only the generator's files are fetched from the hub."


def _names(value: Any, known: Collection[str]) -> bool:
    """Whether a value, which may be of any type, is one of the names."""
    return isinstance(value, str) and value in known


def _trust_problems(name: str, section: Mapping[str, Any]) -> Iterator[str]:
    if Environment().trust_code:
        return
    kind, does = section.get("kind"), None
    if _names(kind, RUNS_CODE | REACHES_OUT):
        way = "runs code" if kind in RUNS_CODE else "sends images elsewhere"
        does = f"is of kind {kind!r}, which {way}"
    for text in _texts(section):
        if os.path.isabs(text) or os.path.normpath(text).split(os.sep)[0] == os.pardir:
            does = f"names {text!r}, which is outside its folder"
    if does:
        yield (
            f"[{name}] {does}; a domain from the hub may not. If you have read it and trust its "
            f"author, set GCD_TRUST_CODE=1 in the environment."
        )


def search_problems(section: Mapping[str, Any]) -> Iterator[str]:
    """Name what is wrong with a `[search]` table."""
    where = "[search]"
    yield from _key_problems(where, section, *SEARCH)
    checks: dict[str, Callable[[Any], object]] = {
        "radius": check_radius,
        "solver": check_solver,
        "steps": lambda steps: check_steps(steps, None),
    }
    required, optional = SEARCH
    for key, kind in (required | optional).items():
        value = _of_kind(section, key, kind)
        if value is None:
            continue
        if key in MIN_SETTINGS and not MIN_SETTINGS[key] <= value < math.inf:
            yield f"{where}: {key} is {value}; take {MIN_SETTINGS[key]} or more."
        if key in checks:
            try:
                checks[key](value)
            except GCDError as error:
                yield f"{where}: {error}"


def _walk_problems(section: Mapping[str, Any]) -> Iterator[str]:
    where = "[walk]"
    yield from _key_problems(where, section, *WALK)
    alpha, points = _of_kind(section, "alpha_max", float), _of_kind(section, "points", int)
    if alpha is not None and not 0 < alpha < math.inf:
        yield f"{where} needs a positive alpha_max, not {alpha}."
    if points is not None and points < 2:
        yield f"{where} needs 2 points at least, not {points}."
    detail = _of_kind(section, "detail", str)
    if detail is not None and detail not in DETAILS:
        yield f"{where}: the detail is {' or '.join(DETAILS)}, not {detail!r}."
    choice, margin = _of_kind(section, "counterfactual", str), _of_kind(section, "margin", float)
    for asked in ((choice, MARGIN), (SMALLEST, margin)):
        if None not in asked:
            try:
                check_counterfactual(*asked)
            except GCDError as error:
                yield f"{where}: {error}"


def _refusal(
    read: Callable[[Mapping[str, Any]], object], where: str, section: Mapping[str, Any]
) -> Iterator[str]:
    """Tell why a section cannot be read, if so."""
    try:
        read(section)
    except GCDError as error:
        yield f"{where}: {error}"


def _bridge_problems(folder: Path, section: Mapping[str, Any]) -> Iterator[str]:
    where = "[bridge]"
    yield from _key_problems(where, section, *BRIDGE)
    for key in ("config", "weights"):
        if isinstance(section.get(key), (str, dict)):
            yield from _file_problems(folder, f"{key!r} in {where}", section[key])
    try:
        Steering(**steering_of(section))
    except GCDError as error:
        yield f"{where}: {error}"


def _label_problems(folder: Path, section: Mapping[str, Any]) -> Iterator[str]:
    if not section:
        yield "There is no [labels.NAME] table; name what can be explained."
    for name, label in section.items():
        where = f"[labels.{name}]"
        if not isinstance(label, dict):
            yield f"{where} is not a table."
            continue
        yield from _key_problems(where, label, *LABEL)
        if isinstance(label.get("directions"), str):
            yield from _file_problems(folder, f"'directions' in {where}", label["directions"])
        try:
            Question.read(name, {k: v for k, v in label.items() if _is(v, LABEL[1].get(k, dict))})
        except GCDError as error:
            yield f"{where}: {error}"
        auroc = _of_kind(label, "auroc", float)
        if auroc is not None and not 0.5 <= auroc <= 1:
            yield f"{where}: auroc is {auroc}; it lies between 0.5 and 1."
        only_for = _of_kind(label, "only_for", str)
        if only_for is not None and not 0 < len(only_for.strip()) <= MAX_ONLY_FOR:
            yield (
                f"{where}: only_for says of what pictures it means something in 1 to "
                f"{MAX_ONLY_FOR} letters, such as 'neutrophils and eosinophils'."
            )
        yield from _condition_problems(name, section)


def _condition_problems(name: str, section: Mapping[str, Any]) -> Iterator[str]:
    """Name a condition (`given`) of a label that is unknown, or depends on the label itself."""
    seen, given = [name], section[name].get("given")
    while isinstance(given, str):
        if not isinstance(section.get(given), dict):
            yield f"[labels.{name}]: there is no label {given!r} for it to be given."
            return
        if given in seen:
            yield f"[labels.{name}]: {' is given '.join([*seen, given])}, which goes in a circle."
            return
        seen.append(given)
        given = section[given].get("given")


def _example_problems(folder: Path, table: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(table.get("examples"), str):
        return
    try:
        if not inside(folder, table["examples"]).is_dir():
            yield f"{folder / table['examples']}, the folder of examples, does not exist."
    except GCDError as error:
        yield str(error)


def _file_problems(folder: Path, where: str, value: str | dict) -> Iterator[str]:
    try:
        source = Source.read(value)
    except GCDError as error:
        yield f"{where}: {error}"
        return
    yield from source.problems(folder)


def _key_problems(
    where: str, table: Mapping[str, Any], required: Keys, optional: Keys
) -> Iterator[str]:
    """Name every key that is missing, unknown or of the wrong type."""
    for key in required:
        if key not in table:
            yield f"{where} lacks the key {key!r}; add it."
    known = required | optional
    for key, value in table.items():
        if key not in known:
            yield f"{where} has no key {key!r}; it knows {', '.join(sorted(known))}."
        elif not _is(value, known[key]):
            yield f"{key!r} in {where} must be {KIND_NAMES[known[key]]}, not {value!r:.60}."


def _are_ages(value: Any) -> bool:
    """Whether a value is two ages in years, the smaller first."""
    numbers = isinstance(value, list) and len(value) == 2 and all(_is(x, float) for x in value)
    return numbers and 0 <= value[0] <= value[1]


def _of_kind(section: Mapping[str, Any], key: str, kind: Kind) -> Any:
    """Return the value of a key; None where it is missing or of another kind."""
    value = section.get(key)
    return value if _is(value, kind) else None


def _is(value: Any, kind: Kind) -> bool:
    """Whether a value is of a kind. A whole number is a number too; true and false are none."""
    if isinstance(value, bool):
        return kind is bool
    if kind is float and isinstance(value, int):
        return abs(value) <= sys.float_info.max  # TOML's whole numbers may have any length here
    return isinstance(value, kind)
