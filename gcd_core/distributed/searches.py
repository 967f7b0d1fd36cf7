"""`find-many`: labels x sources x classifiers, a search in each part."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from gcd_core.classifiers.base import BlackBox, NoAnswer
from gcd_core.classifiers.questions import as_far_as_it_can
from gcd_core.distributed.job import Part, PartsJob, Shared
from gcd_core.domains.file import OF_A_RUN, read_toml, search_problems
from gcd_core.domains.opening import Domain, load_domain, open_classifier
from gcd_core.errors import GCDError
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.repeatability import repeatability_of, with_repeatability
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import Found
from gcd_core.method.settings import BALL

OWN = "own"  # the domain's classifier
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
KEYS: dict[str, Any] = {
    "domain": str,
    "labels": list,
    "sources": str | list,
    "classifiers": list,
    "search": dict,
}


@dataclass(frozen=True)
class SearchRow:
    """One search."""

    # What was explained, and the image that it was found from.
    classifier: str
    label: str
    source: str
    identity: str  # the classifier's
    file: str = ""  # of the directions, in the folder of the parts; empty where there are none
    problem: str = ""  # why nothing was found; else empty
    probability: float | None = None  # the classifier's of the source
    directions: list[str] | None = None  # their names
    eigenvalues: list[float | None] | None = None  # theirs; of g and of ways there is none
    repeatability: float | None = None  # cosine with what another search is expected to find
    # Of the search.
    samples: int = 0
    queries: int = 0
    cache_hits: int = 0
    evaluations: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class SearchPlan:
    """What a plan's file says."""

    folder: Path  # the file's; names in it are relative to that
    domain: str
    labels: tuple[str, ...]  # empty: all of the domain
    sources: str | list[str]  # a folder or zip of images, or files
    # Their tables, as `[classifier]` of a domain.toml, by name; empty: the domain's own.
    classifiers: dict[str, dict[str, Any]]
    search: dict[str, Any]  # settings in the place of the domain's

    @classmethod
    def read(cls, file: Path) -> SearchPlan:
        """Read a plan.

        Raises a GCDError if it is no TOML, or a key is missing, unknown or of the wrong type.
        """
        table = read_toml(file)
        for key, value in table.items():
            if key not in KEYS:
                raise GCDError(f"{file.name} has no key {key!r}; it knows {', '.join(KEYS)}.")
            if not isinstance(value, KEYS[key]):
                raise GCDError(f"{key!r} in {file.name} is of the wrong kind: {value!r:.60}.")
        for key in ("domain", "sources"):
            if key not in table:
                raise GCDError(f"{file.name} lacks the key {key!r}; add it.")
        sources, labels = table["sources"], table.get("labels", [])
        texts = [*labels, *(sources if isinstance(sources, list) else [])]
        if not all(isinstance(text, str) for text in texts) or sources == []:
            raise GCDError(f"'labels' and 'sources' in {file.name} are lists of names.")
        named = _classifiers(file.name, table.get("classifiers", []))
        folder = file.absolute().parent
        search = table.get("search", {})
        return cls(folder, table["domain"], tuple(labels), sources, named, search)

    @property
    def domain_name(self) -> str:
        """As `load_domain` takes it: a folder beside the file, or a name."""
        beside = self.folder / self.domain
        return str(beside) if beside.is_dir() else self.domain

    def source_names(self) -> tuple[Path, tuple[str, ...]]:
        """The folder or zip of the sources, and their names in it."""
        if isinstance(self.sources, str):
            place = self.folder / self.sources
            return place, tuple(ImageFiles(place).names)
        missing = [name for name in self.sources if not (self.folder / name).is_file()]
        if missing:
            raise GCDError(f"The source {missing[0]} is no file beside the plan.")
        return self.folder, tuple(self.sources)


def _classifiers(file: str, tables: list[Any]) -> dict[str, dict[str, Any]]:
    """Return the classifiers' tables by name; the names become folders."""
    found: dict[str, dict[str, Any]] = {}
    for table in tables:
        name = table.get("name") if isinstance(table, dict) else None
        if not isinstance(name, str) or not FILE_NAME.fullmatch(name) or name == OWN:
            raise GCDError(
                f"Each of the [[classifiers]] in {file} needs a name of letters, digits, '.', '_' "
                f"and '-', other than {OWN!r}; not {name!r:.60}."
            )
        if name in found:
            raise GCDError(f"{file} names the classifier {name!r} twice.")
        found[name] = {key: value for key, value in table.items() if key != "name"}
    return found


@dataclass(frozen=True)
class FindManyJob(PartsJob):
    """The searches of a plan, each a part: by classifier, then label, then source."""

    plan: SearchPlan
    device: str
    generator: str  # the identity of the domain's
    place: Path  # folder or zip of the sources, which every worker must reach by this name
    searches: tuple[tuple[str, str, str], ...]  # classifier, label and source of each

    kind = "find-many"
    row: type = SearchRow

    @classmethod
    def of(cls, plan: SearchPlan, domain: Domain, device: str = "auto") -> FindManyJob:
        """The job of a plan on its domain, which is open.

        Raises a GCDError if a label, a setting or a source does not fit.
        """
        labels = plan.labels or domain.labels
        if not plan.classifiers:
            for label in labels:
                domain.classifier.index(label)
        check_search(plan.search, domain)
        place, names = plan.source_names()
        classifiers = tuple(plan.classifiers) or (OWN,)
        searches = tuple(product(classifiers, labels, names))
        return cls(plan, device, domain.generator.identity, place, searches)

    @property
    def parts(self) -> int:
        """Searches."""
        return len(self.searches)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that the directions hang on."""
        listed = json.dumps(self.searches).encode()
        return {
            "domain": self.plan.domain_name,
            "generator": self.generator,
            "classifiers": self.plan.classifiers,
            "search": self.plan.search,
            "parts": self.parts,
            "searches": hashlib.sha256(listed).hexdigest()[:16],
        }

    def worker(
        self, shared: Shared | None = None, domain: Domain | None = None
    ) -> Callable[[int, None], Part]:
        """Open the domain, and return what makes a search; classifiers are opened as they come."""
        domain = domain or load_domain(self.plan.domain_name, device=self.device)
        files = ImageFiles(self.place, names=[])
        opened: dict[str, BlackBox] = {}

        def classifier_of(name: str) -> BlackBox:
            if name not in opened:
                opened.clear()  # a thousand do not fit into memory
                own = domain.classifier
                if name != OWN:
                    table = self.plan.classifiers[name]
                    own = open_classifier(self.plan.folder, table, str(domain.device))
                    asked = [info.question for info in domain.label_info.values()]
                    own = as_far_as_it_can(own, asked)
                if shared is not None:
                    shared.join(own)
                opened[name] = own
            return opened[name]

        def of_part(part: int, read: None) -> Part:
            name, label, source = self.searches[part]
            row = SearchRow(name, label, source, "")
            try:
                classifier = classifier_of(name)
                row = replace(row, identity=classifier.identity)
                classifier.index(label)
                _, images, skipped = files.read([source], domain.load_image)
                if not images:
                    raise GCDError(skipped[source])
                asked = replace(domain, classifier=classifier)
                return searched(asked, images[0], self.plan.search, row)
            except GCDError as error:
                if isinstance(error, NoAnswer) or isinstance(error.__cause__, NoAnswer):
                    raise  # it would not answer the next search either
                return Part([replace(row, problem=str(error))], {"seconds": 0.0})

        return of_part


def searched(domain: Domain, image: Tensor, changes: dict[str, Any], row: SearchRow) -> Part:
    """Search an image (1, C, S, S); the part holds what was found and the directions' file."""
    hits = domain.classifier.cache_hits
    settings = domain.search.changed(**{"sampling": BALL, **changes})  # each from its own image
    with torch.inference_mode(False):
        found: Found = find_directions(domain, image, row.label, settings=settings)
        directions = with_repeatability(found, settings.lam)
    confidence = repeatability_of(directions)
    name = f"{quote(row.classifier, '')}/{quote(row.label, '')}/{quote(row.source, '')}"
    file = f"{name}.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "directions.safetensors"
        directions.save(place)
        content = place.read_bytes()
    done = replace(
        row,
        file=file,
        probability=found.samples.source_probability,
        directions=directions.names,
        eigenvalues=directions.eigenvalues,
        repeatability=None if confidence is None else confidence.cosine,
        samples=len(found.samples),
        queries=found.queries,
        cache_hits=domain.classifier.cache_hits - hits,
        evaluations=found.evaluations,
        seconds=found.seconds,
    )
    return Part([done], {"seconds": found.seconds}, {file: content})


def check_search(table: dict[str, Any], domain: Domain) -> None:
    """Refuse settings that do not fit a search in the domain."""
    of_domain = {key: value for key, value in table.items() if key not in OF_A_RUN}
    problems = list(search_problems({"radius": domain.search.radius, **of_domain}))
    for key in OF_A_RUN & table.keys():
        if not isinstance(table[key], int | float) or isinstance(table[key], bool):
            problems.append(f"[search]: {key} is a number, not {table[key]!r:.60}.")
    if problems:
        raise GCDError(" ".join(problems))
    domain.search.changed(**table).check(domain.generator.z_sem_size)
