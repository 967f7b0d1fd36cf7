"""A domain: one folder with a generator, its classifiers, examples and ready-made directions."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from gcd_core.bridge.bridge import Bridge, load_bridge
from gcd_core.bridge.rcsb import Steering
from gcd_core.classifiers import BlackBox, load_classifier
from gcd_core.classifiers.questions import as_far_as_it_can, questioned, reading_of
from gcd_core.domains.cautions import missing_premise, of_another_kind
from gcd_core.domains.file import (
    DOMAIN_FILE,
    MAX_FILE_BYTES,
    Label,
    example_files,
    find_problems,
    read_domain_file,
    sources_of,
    steering_of,
)
from gcd_core.domains.finding import find_domain
from gcd_core.domains.sources import Source, inside
from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Generator, read_config
from gcd_core.generators.device import choose_device
from gcd_core.generators.diffae.solvers import DISTILLED
from gcd_core.generators.weights import load_latent_statistics
from gcd_core.images.picture import Picture, load_picture
from gcd_core.images.reading import ImageSource, load_image
from gcd_core.method.changes import read_words
from gcd_core.method.code_statistics import CodeStatistics, load_code_statistics
from gcd_core.method.composition import SOURCE
from gcd_core.method.counterfactual import MARGIN, SMALLEST
from gcd_core.method.directions import DirectionSet, check_made_with, load_directions
from gcd_core.method.off_distribution import OffDistribution, load_off_distribution
from gcd_core.method.places import Atlas, read_atlas
from gcd_core.method.settings import Settings
from gcd_core.perceptual import LPIPS


class Check(NamedTuple):
    """A check of whether explanations can be trusted, whether it passed, and what that means."""

    name: str
    passed: bool
    sentence: str


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
    synthetic_examples : bool
        Whether these are synthetic: the page says so then.
    search : Settings
    alpha_max : float
        How far a walk goes along a unit direction in z_sem before it may leave the manifold.
    walk_points : int
        Images that a walk decodes by default, its start included.
    counterfactual : {"smallest", "lowest-loss", "whole"}
        Which point of a walk is the counterfactual by default.
    margin : float
        How far beyond the threshold a convincing probability lies by default, 0 to 0.5.
    detail : {"source", "decoded"}
        What images show by default: the source with the generator's change put in, or what the
        generator decodes, as in the paper; see `Composition`.
    ages : (float, float) or None
        Of the people on the images that the models learned from, in years.
    upright : bool
        Whether all images stand the same way up, so that one that looks turned is warned of.
    fit : {"stretch", "pad", "crop"}
        How an image that is no square becomes one, as of `load_image`.
    z_sem_statistics : tuple of Tensor (D,), or None
        Mean and standard deviation of z_sem over the generator's training images, where the domain
        has them.
    off_distribution : OffDistribution or None
        What tells a foreign image from the domain's own, if that was calibrated.
    sanity : tuple of Check
        What `sanity` found of the domain's explanations, where that was written down.
    map_mass : dict of str to float
        What it found of the maps "cells", "bb_lig" and "difference": how much of each lies, on
        average, inside the one region that a classifier was made to read, 0 to 1. Empty where that
        was not measured.
    bridge : Bridge or None
        What fills in a region of a picture, where the domain has one (`rcsb`).
    steering : Steering
        How the bridge is steered by default.
    places : dict of str to tuple of Region
        Its own places of a picture, beside halves, thirds and quarters (`sure_place`).
    face_api : Path or None
        The recognition network of face-api, where the images are portraits: of FS(face-api).
    change_words : dict of str to str
        Its own words for the kinds of change (`read_words`).
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
    search: Settings
    alpha_max: float
    walk_points: int
    device: str
    counterfactual: str = SMALLEST
    margin: float = MARGIN
    detail: str = SOURCE
    fit: str = "stretch"
    notice: str = ""
    credit: str = ""
    z_sem_statistics: tuple[Tensor, Tensor] | None = None
    off_distribution: OffDistribution | None = None
    sanity: tuple[Check, ...] = ()
    map_mass: dict[str, float] = field(default_factory=dict)
    bridge: Bridge | None = None
    steering: Steering = field(default_factory=Steering)
    codes: dict[str, CodeStatistics] = field(default_factory=dict)
    synthetic_examples: bool = False
    ages: tuple[float, float] | None = None
    upright: bool = False
    places: Atlas = field(default_factory=dict)
    face_api: Path | None = None
    change_words: dict[str, str] = field(default_factory=dict)
    _ready: dict[str, DirectionSet] = field(default_factory=dict, repr=False, compare=False)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that can be explained."""
        return tuple(self.label_info)

    @property
    def better_map(self) -> str:
        """The map that found known reasons better: "cells" or "bb_lig", where neither is known."""
        return better_map(self.map_mass)

    @property
    def label_names(self) -> dict[str, tuple[str, str]]:
        """Words for the negative and the positive answer of each label."""
        return {name: (label.negative, label.positive) for name, label in self.label_info.items()}

    def load_image(self, source: ImageSource) -> Tensor:
        """Read an image as this domain sees it: (1, C, H, W), float32, in [0, 1].

        `source` is a path, bytes, a file object or a Pillow image; a GCDError says what is wrong
        with it.
        """
        size, channels = self.generator.image_size, self.generator.channels
        return load_image(source, size, channels, self.fit)

    def load_picture(self, source: ImageSource, max_side: int | None = None) -> Picture:
        """Read an image with all its pixels. Every function that takes an image takes it too.

        Parameters
        ----------
        source : str, Path, bytes, PIL image or binary file
            As of `load_image`.
        max_side : int, optional
            The longest side that is kept, in pixels, up to 4,096; by default `GCD_MAX_SIDE`, or
            1,024.

        Raises
        ------
        GCDError
            If the picture cannot be opened, or the limit is none.
        """
        size, channels = self.generator.image_size, self.generator.channels
        most = Environment().max_side if max_side is None else max_side
        return load_picture(source, size, channels, self.fit, most)

    def code_statistics(self, label: str) -> CodeStatistics:
        """Return what codes are like for a label's question, as `calibrate` measured it.

        Where it did not, they are taken to be normal: with the training images' mean and deviation
        where these are known, else with 0 and 1, as whitened codes have.
        """
        if label not in self.codes:
            moments = self.z_sem_statistics
            if moments is None and self.off_distribution is not None:
                moments = self.off_distribution.mean, self.off_distribution.std
            self.codes[label] = CodeStatistics.assumed(self.generator.z_sem_size, moments)
        return self.codes[label]

    def example_images(self, most: int, label: str = "") -> list[Tensor]:
        """Return up to so many of its examples, as `load_image` reads them; none it cannot read.

        With a label, only those of which its question means something: none of another kind
        (`of_another_kind`), and where that depends on another label (`missing_premise`), about
        which the classifier is asked.
        """
        images: list[Tensor] = []
        for path in self.examples:
            if len(images) == most:
                break
            with suppress(GCDError):  # `check-domain` tells of it
                image = self.load_image(path)
                if not label or self._is_asked(image, label):
                    images.append(image)
        return images

    def _is_asked(self, image: Tensor, label: str) -> bool:
        """Whether the label means something of an image (1, C, S, S)."""
        only_for, given = self.label_info[label].only_for, self.label_info[label].given
        if only_for:
            z_sem = self.generator.encode_semantic(image).float().cpu()
            if of_another_kind(only_for, self.code_statistics(label), z_sem) is not None:
                return False
        if given is None:
            return True
        probability = float(self.classifier.probability(self.classifier(image), given))
        return not missing_premise(self.label_info, label, {given: probability})

    def ready_directions(self, label: str) -> DirectionSet | None:
        """Return the ready-made directions of a label, or None if the domain ships none."""
        if label not in self.label_info:
            raise GCDError(f"{self.name} has no label {label!r}; its labels are {self.labels}.")
        file = self.label_info[label].directions
        if file is None:
            return None
        if label not in self._ready:
            self._ready[label] = open_directions(
                self.folder / file, label, self.generator, self.name
            )
        return self._ready[label]


def load_domain(name: str | Path, device: str = "auto") -> Domain:
    """Open a domain.

    Parameters
    ----------
    name : str or Path
        A bundled name, such as "chest-xray", a folder that holds a `domain.toml`, or
        "hf://owner/repo[@revision][/path]", such a folder's contents on the Hugging Face hub.
        Weights that the domain names on the hub are downloaded when it is first opened.
    device : {"auto", "cpu", "cuda", ...}
        Where the networks run; "auto" takes CUDA where there is one.

    Returns
    -------
    Domain

    Raises
    ------
    GCDError
        If there is no such domain, or there is something wrong with its `domain.toml` or its files
        (the message names it; `check_domain` lists everything).

    Examples
    --------
    >>> domain = load_domain("chest-xray")
    >>> domain.labels
    ('pneumonia', 'bacterial')
    """
    folder, from_hub = find_domain(name)
    table = read_domain_file(folder)
    problems = list(chain.from_iterable(find_problems(folder, table, from_hub).values()))
    if problems:
        raise GCDError(f"{folder / DOMAIN_FILE}: {' '.join(problems)}")
    labels = {name: Label.read(name, label) for name, label in table["labels"].items()}
    questions = [label.question for label in labels.values()]
    device = str(choose_device(device))
    classifier = open_classifier(folder, table["classifier"], device)
    for problem in unanswerable(labels, classifier):
        raise GCDError(problem)
    oracle = None
    if "oracle" in table:
        oracle = as_far_as_it_can(open_classifier(folder, table["oracle"], device), questions)
    generator = open_generator(folder, table["generator"], device)
    for problem in unsupported_search(table["search"], generator):
        raise GCDError(problem)
    return Domain(
        name=table["name"],
        title=table["title"],
        description=table.get("description", ""),
        notice=table.get("notice", ""),
        credit=table.get("credit", ""),
        folder=folder,
        generator=generator,
        classifier=questioned(classifier, questions),
        oracle=oracle,
        perceptual=LPIPS(device=device),
        label_info=labels,
        examples=example_files(folder, table),
        search=Settings(**table["search"]),
        alpha_max=float(table["walk"]["alpha_max"]),
        walk_points=table["walk"]["points"],
        counterfactual=table["walk"].get("counterfactual", SMALLEST),
        margin=float(table["walk"].get("margin", MARGIN)),
        detail=table["walk"].get("detail", SOURCE),
        z_sem_statistics=open_statistics(folder, table["generator"], generator),
        off_distribution=open_calibration(folder, table, generator),
        fit=table.get("fit", "stretch"),
        device=device,
        sanity=open_sanity(folder, table),
        map_mass=open_map_mass(folder, table),
        bridge=open_bridge(folder, table["bridge"], generator) if "bridge" in table else None,
        steering=Steering(**steering_of(table.get("bridge", {}))),
        codes=open_codes(folder, table, generator),
        synthetic_examples=table.get("synthetic_examples", False),
        ages=tuple(table["ages"]) if "ages" in table else None,
        upright=table.get("upright", False),
        places=read_atlas(table.get("places", {})),
        face_api=inside(folder, table["face_api"]) if "face_api" in table else None,
        change_words=read_words(table.get("changes", {})),
    )


def open_generator(folder: Path, section: Mapping[str, Any], device: str) -> Generator:
    """Open the generator of a `[generator]` table without problems."""
    config = read_config(inside(folder, section["config"]))
    if "kind" in section:
        config = {**config, "kind": section["kind"]}
    return load_generator(config, Source.read(section["weights"]).open(folder), device)


def open_statistics(
    folder: Path, section: Mapping[str, Any], generator: Generator
) -> tuple[Tensor, Tensor] | None:
    """Open the mean and standard deviation of z_sem, if a `[generator]` table names them.

    Raises a GCDError if they cannot be read or are not those of this generator.
    """
    if "latent_statistics" not in section:
        return None
    path = Source.read(section["latent_statistics"]).open(folder)
    mean, std = load_latent_statistics(path)
    size = generator.z_sem_size
    if not mean.shape == std.shape == (size,):
        raise GCDError(
            f"{path} holds a mean of {len(mean)} and a deviation of {len(std)} numbers; this "
            f"generator's z_sem has {size}."
        )
    if not (mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
        raise GCDError(f"{path} holds statistics that are not finite, or deviations of 0 or less.")
    return mean, std


def open_calibration(
    folder: Path, table: Mapping[str, Any], generator: Generator
) -> OffDistribution | None:
    """Open what `calibrate` wrote, if a domain names it."""
    if "off_distribution" not in table:
        return None
    return load_off_distribution(inside(folder, table["off_distribution"]), generator.identity)


def open_codes(
    folder: Path, table: Mapping[str, Any], generator: Generator
) -> dict[str, CodeStatistics]:
    """Open what `calibrate` wrote of each label's codes, if a domain names it."""
    if "codes" not in table:
        return {}
    found = load_code_statistics(inside(folder, table["codes"]), generator.identity)
    if any(len(one.mean) != generator.z_sem_size for one in found.values()):
        raise GCDError(f"{table['codes']} is of codes of another size; run `calibrate` again.")
    return found


def open_sanity(folder: Path, table: Mapping[str, Any]) -> tuple[Check, ...]:
    """Open what `sanity --json` wrote, if a domain names it.

    Raises a GCDError if the file holds no checks.
    """
    if "sanity" not in table:
        return ()
    path = inside(folder, table["sanity"])
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError
        checks = json.loads(path.read_text(encoding="utf-8"))["checks"]
        found = tuple(Check(c["name"], c["passed"], c["sentence"]) for c in checks)
        if not all([type(value) for value in check] == [str, bool, str] for check in found):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise GCDError(f"{path} is not what `sanity --json` writes; make it anew.") from None
    return found


def open_map_mass(folder: Path, table: Mapping[str, Any]) -> dict[str, float]:
    """How much of each map lies in a known region, of the file that `open_sanity` opens.

    Empty where its check of known reasons was not made, or says nothing of the maps.
    """
    if "sanity" not in table:
        return {}
    checks = json.loads(inside(folder, table["sanity"]).read_text(encoding="utf-8"))["checks"]
    figures = next((c.get("figures") for c in checks if c["name"] == "reasons"), None)
    regions = list(figures.values()) if isinstance(figures, dict) else []
    found: dict[str, float] = {}
    for kind in ("cells", "bb_lig", "difference"):
        with suppress(KeyError, TypeError, ValueError, ZeroDivisionError):
            found[kind] = sum(float(one[kind]["mass"]) for one in regions) / len(regions)
    return found


def better_map(map_mass: Mapping[str, float]) -> str:
    """The map of the more mass inside known regions: "cells" or "bb_lig"."""
    return "cells" if map_mass.get("cells", 0.0) > map_mass.get("bb_lig", 0.0) else "bb_lig"


def open_bridge(folder: Path, section: Mapping[str, Any], generator: Generator) -> Bridge:
    """Open the bridge of a `[bridge]` table without problems.

    Raises a GCDError if it cannot be read, or is for other pictures than the generator's.
    """
    weights = Source.read(section["weights"]).open(folder)
    device = str(generator.device)
    bridge = load_bridge(inside(folder, section["config"]), weights, device)
    if bridge.channels != generator.channels or generator.image_size % bridge.smallest:
        raise GCDError(
            f"The bridge works on {bridge.channels} channels and sides that are multiples of "
            f"{bridge.smallest}, the generator on {generator.channels} channels of "
            f"{generator.image_size} pixels."
        )
    return bridge


def open_classifier(folder: Path, section: Mapping[str, Any], device: str) -> BlackBox:
    """Open the classifier of a `[classifier]` or `[oracle]` table without problems."""
    files = {
        key: source.open(folder).relative_to(folder).as_posix()
        for key, source in sources_of(section).items()
    }
    return load_classifier({**section, **files}, folder, device)


def open_directions(path: Path, label: str, generator: Generator, name: str) -> DirectionSet:
    """Open a domain's ready-made directions of a label.

    Raises a GCDError if they cannot be read, or were found for another label or with another
    generator.
    """
    directions = load_directions(path)
    if directions.label != label:
        raise GCDError(f"{path} holds directions for {directions.label!r}, not for {label!r}.")
    check_made_with(directions, generator, name)
    return directions


def unsupported_search(section: Mapping[str, Any], generator: Generator) -> Iterator[str]:
    """Name what a `[search]` table asks for that the generator does not have."""
    most, size = section.get("n_h", 0), generator.z_sem_size
    if most > size:
        yield f"[search]: n_h is {most}, but z_sem has {size} directions."
    elif section:  # an unsound one is given as an empty one
        try:
            Settings(**section).check(size)
        except GCDError as error:
            yield f"[search]: {error}"
    if section.get("solver") != DISTILLED:
        return
    if generator.distilled is None:
        yield "[search]: the solver is 'distilled', but the generator has no distilled decoder."
        return
    own = len(generator.distilled.times)
    if section.get("steps") != own:
        yield f"[search]: the distilled decoder takes {own} steps; set steps = {own}."


def unanswerable(labels: Mapping[str, Label], classifier: BlackBox) -> Iterator[str]:
    """Name the labels to explain whose questions the classifier has no outputs for."""
    for name, label in labels.items():
        try:
            reading_of(label.question, classifier)
        except GCDError as error:
            yield f"[labels.{name}]: {error}"
