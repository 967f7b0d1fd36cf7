"""Checks a domain before use, and lists all of its problems at once."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch

from gcd_core.classifiers.base import BlackBox, notice_of, preprocessing_of
from gcd_core.domains.file import (
    CLASSIFIERS,
    Label,
    example_files,
    find_problems,
    read_domain_file,
    sources_of,
)
from gcd_core.domains.finding import find_domain
from gcd_core.domains.opening import (
    open_bridge,
    open_calibration,
    open_classifier,
    open_directions,
    open_generator,
    open_sanity,
    open_statistics,
    unanswerable,
    unsupported_search,
)
from gcd_core.errors import GCDError, GCDWarning
from gcd_core.generators.base import Generator
from gcd_core.generators.device import choose_device
from gcd_core.images.reading import load_image

T = TypeVar("T")
ASKED, ASKED_SIDE = 8, 128  # examples that a classifier is asked about, and their side
GRAINS = (1, 4, 16, 64)  # pixels of the squares of noise, in four pictures each


@dataclass(frozen=True)
class Inspection:
    """What a check of a domain found."""

    # A sentence each; none means that the domain can be used.
    problems: list[str] = field(default_factory=list)
    # What could not be looked at, as it is still to be downloaded.
    unchecked: list[str] = field(default_factory=list)
    summary: list[str] = field(default_factory=list)  # what the domain is, in short lines

    def attempt(self, what: str, step: Callable[[], T]) -> T | None:
        """Return what `step` returns; if it raises a GCDError, note the problem and return None."""
        try:
            return step()
        except GCDError as error:
            self.problems.append(f"{what}: {error}")
            return None


def check_domain(path: str | Path, device: str = "cpu") -> list[str]:
    """List everything that is wrong with a domain.

    Its domain.toml is read, its networks and directions opened, and its examples decoded. A
    classifier that runs here and has no budget is asked about a few images; a remote one is not. A
    generator's weights are not downloaded.

    Parameters
    ----------
    path : str or Path
        As for `load_domain`.
    device : str
        Where the networks are opened.

    Returns
    -------
    list of str
        One sentence a problem; empty if `load_domain` will open it.
    """
    return inspect_domain(path, device).problems


def inspect_domain(path: str | Path, device: str = "cpu", download: bool = False) -> Inspection:
    """Check a domain as `check_domain` does, and describe it.

    Parameters
    ----------
    path, device
        As for `check_domain`.
    download : bool
        Whether to fetch weights that are not here yet, to check those too.
    """
    inspection = Inspection()
    try:
        folder, from_hub = find_domain(path)
        table = read_domain_file(folder)
        device = str(choose_device(device))
    except GCDError as error:
        inspection.problems.append(str(error))
        return inspection
    found = find_problems(folder, table, from_hub)
    inspection.problems.extend(chain.from_iterable(found.values()))
    sound = {
        name: table[name]
        for name, problems in found.items()
        if not problems and isinstance(table.get(name), dict)
    }
    labels = sound.get("labels", {})
    generator = None
    if "generator" in sound:
        generator = _inspect_generator(inspection, folder, sound["generator"], device, download)
    examples = [] if found["examples"] else example_files(folder, table)
    _inspect_classifiers(inspection, folder, sound, device, examples)
    if generator is not None:
        if not found["file"]:
            where = "off_distribution"
            inspection.attempt(where, lambda: open_calibration(folder, table, generator))
            inspection.attempt("sanity", lambda: open_sanity(folder, table))
        inspection.problems.extend(unsupported_search(sound.get("search", {}), generator))
        _inspect_directions(inspection, folder, labels, generator, str(table.get("name")))
        _inspect_bridge(inspection, folder, sound.get("bridge"), generator, download)
    if not found["examples"]:
        _inspect_examples(inspection, folder, table, generator)
    return inspection


def _waits(inspection: Inspection, where: str, folder: Path, section: Mapping[str, Any]) -> bool:
    """Whether files of a section are still to be downloaded; the inspection notes them then."""
    waiting = [s.files[0] for s in sources_of(section).values() if s.waits(folder)]
    if waiting:
        names = ", ".join(waiting)
        told = f"{where}: {names} will be downloaded when the domain is opened."
        inspection.unchecked.append(told)
    return bool(waiting)


def _inspect_generator(
    inspection: Inspection, folder: Path, section: Mapping[str, Any], device: str, download: bool
) -> Generator | None:
    where = "[generator]"
    if not download and _waits(inspection, where, folder, section):
        return None
    generator = inspection.attempt(where, lambda: open_generator(folder, section, device))
    if generator is not None:
        inspection.attempt(where, lambda: open_statistics(folder, section, generator))
        inspection.summary.append(
            f"generator {generator.identity}: {generator.image_size}x{generator.image_size}, "
            f"{generator.channels} channel(s), z_sem of {generator.z_sem_size}"
        )
    return generator


def _inspect_bridge(
    inspection: Inspection,
    folder: Path,
    section: Mapping[str, Any] | None,
    generator: Generator,
    download: bool,
) -> None:
    if section is None:
        return
    if not download and _waits(inspection, "[bridge]", folder, section):
        return
    bridge = inspection.attempt("[bridge]", lambda: open_bridge(folder, section, generator))
    if bridge is not None:
        millions = sum(p.numel() for p in bridge.network.parameters()) / 1e6
        inspection.summary.append(f"bridge: {millions:.1f} million weights")


def _inspect_classifiers(
    inspection: Inspection,
    folder: Path,
    sound: Mapping[str, Any],
    device: str,
    examples: Sequence[Path],
) -> None:
    for name in CLASSIFIERS:
        if name in sound:
            opening = partial(open_classifier, folder, sound[name], device)
            classifier = inspection.attempt(f"[{name}]", opening)
            if classifier is not None:
                inspection.attempt(f"[{name}]", partial(_ask, classifier, examples))
                inspection.summary.append(
                    f"{name} {classifier.identity}: {', '.join(classifier.labels)}"
                )
                given = preprocessing_of(classifier).chain()
                inspection.summary.append(f"{name} is given the image as: {given}")
                if name == "classifier":
                    tables = sound.get("labels", {}).items()
                    labels = {name: Label.read(name, label) for name, label in tables}
                    inspection.problems.extend(unanswerable(labels, classifier))


@torch.inference_mode()
def _ask(classifier: BlackBox, examples: Sequence[Path]) -> None:
    """Ask about examples and noise, for what only answers tell; a GCDError says what is wrong."""
    if classifier.remote or classifier.budget is not None:
        return
    source = torch.Generator().manual_seed(0)
    images = [torch.full((1, 3, ASKED_SIDE, ASKED_SIDE), level) for level in (0.0, 0.5, 1.0)]
    for grain in GRAINS:
        noise = torch.rand(4, 3, ASKED_SIDE // grain, ASKED_SIDE // grain, generator=source)
        images.append(noise.repeat_interleave(grain, 2).repeat_interleave(grain, 3))
    for example in examples[:ASKED]:
        with suppress(GCDError):  # an example that cannot be opened is a problem of its own
            images.append(load_image(example, ASKED_SIDE, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GCDWarning)  # it is a problem here
        classifier(torch.cat(images))
    if notice := notice_of(classifier):
        raise GCDError(notice)


def _inspect_directions(
    inspection: Inspection,
    folder: Path,
    labels: Mapping[str, Any],
    generator: Generator,
    domain: str,
) -> None:
    for name, label in labels.items():
        if "directions" in label:
            path = folder / label["directions"]
            opening = partial(open_directions, path, name, generator, domain)
            ready = inspection.attempt(f"[labels.{name}]", opening)
            if ready is not None:
                inspection.summary.append(f"directions for {name}: {', '.join(ready.names)}")


def _inspect_examples(
    inspection: Inspection, folder: Path, table: Mapping[str, Any], generator: Generator | None
) -> None:
    size, channels = (generator.image_size, generator.channels) if generator else (64, 3)
    examples = example_files(folder, table)
    for example in examples:
        inspection.attempt(str(example), partial(load_image, example, size, channels))
    inspection.summary.append(f"{len(examples)} example(s)")
