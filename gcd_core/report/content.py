"""What a report says: the finding, the numbers, the settings; nothing of how it is drawn."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from gcd_core import wording
from gcd_core.bridge.paths import NAME as STEERED
from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.cautions import premise_between
from gcd_core.domains.opening import Domain
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.path import Path
from gcd_core.report.captions import (
    direction_name,
    direction_names,
    maps_apart,
    note_on,
    what_it_does,
)
from gcd_core.wording import EXPERT, percent_of_all, signed, way_name, worded

SEARCH_SETTINGS = {
    "sampling": "codes from",
    "n_samples": "samples",
    "radius": "radius",
    "lam": "λ",
    "solver": "solver",
    "steps": "steps",
    "n_h": "h-directions",
    "n_ways": "by place",
    "boundary": "at the decision boundary",
    "antithetic": "antithetic",
}


@dataclass(frozen=True)
class LabelChange:
    """The classifier's probability of a label, before and after."""

    negative: str
    positive: str
    before: float
    after: float
    question: Question = PLAIN  # in whose scale they are told
    premise: LabelChange | None = None  # what must hold for it to mean anything
    weak: bool = False  # whether the classifier is known to be often wrong at it

    @property
    def was(self) -> str:
        """The probability before, as a person reads it."""
        return self.question.shown(self.before)

    @property
    def now(self) -> str:
        """The probability after, as a person reads it."""
        return self.question.shown(self.after)

    @property
    def reversed(self) -> LabelChange:
        """The same of the label's negative answer."""
        before, after = 1 - self.before, 1 - self.after
        return LabelChange(self.positive, self.negative, before, after, weak=self.weak)

    def flips(self, threshold: float) -> bool:
        """Whether the prediction changed sides; what meant nothing before cannot."""
        crosses = (self.before >= threshold) != (self.after >= threshold)
        return crosses and (self.premise is None or self.premise.before >= threshold)

    def outcome(self, threshold: float) -> str:
        """What became of it, in two or three words; "" where nothing did."""
        if self.premise is not None and self.premise.after < threshold:
            return f"only if {self.premise.positive}"
        if self.premise is not None and self.premise.before < threshold:
            return "now applies"
        return "flips" if self.flips(threshold) else ""


@dataclass(frozen=True)
class Curve:
    """The label's probability on the line to the changed image, as (alpha, probability).

    `measured` was asked of the classifier and `proxy` predicted by the proxy (empty without one);
    `here` is where the changed image stands.
    """

    direction: str
    measured: Sequence[tuple[float, float]]
    proxy: Sequence[tuple[float, float]]
    here: tuple[float, float]
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class TriedRegion:
    """A region that alone could change, and what came of it."""

    title: str  # its name, and its share of the picture
    told: str  # what came of it, in sentences
    strength: float | None  # alpha of the change; None of the bridge's
    direction: str  # that it was changed along; several joined by " + "; "rcsb" of the bridge
    mask: Tensor  # (h, w), bool: where the picture could change
    changed: Tensor  # (1, C, H, W) in [0, 1]
    before: str  # the explained answer, as it is told
    after: str


@dataclass(frozen=True)
class Report:
    """What there is to report. It names no patient; a file's name is its owner's to give."""

    title: str  # what is asked, such as "Pneumonia"
    domain: str  # title of the domain
    labels: Sequence[LabelChange]  # in the domain's order
    explained: int  # which of them the directions are for
    # (1, C, H, W): in [0, 1].
    source: Tensor
    changed: Tensor
    heat: Tensor  # (H, W): a map of the walk along the curve's line
    alphas: Sequence[tuple[str, float]]  # the position along each direction that was moved
    distance: float  # LPIPS between the two images
    curve: Curve
    completeness_error: float  # of the map
    # Name and value, as of `settings_rows` and `identity_rows`.
    settings: Sequence[tuple[str, str]]
    identities: Sequence[tuple[str, str]]
    # What the reader must know before anything else, the gravest first.
    warnings: Sequence[str] = ()
    # What another classifier, which no search asks, says of the explained label in the source and
    # in the changed image.
    oracle: tuple[float, float] | None = None
    notice: str = ""  # the domain's own, beside the one that every report has
    name: str = ""  # the picture's
    synthetic: bool = False  # whether the original is
    time: datetime.datetime | None = None  # when the report was made
    margin: float | None = None  # how far beyond the threshold the change was to go, if anywhere
    words: str = EXPERT  # in which of the `VOCABULARIES` it is written
    called: Mapping[str, str] = field(default_factory=dict)  # directions' names in these words
    # The share of the picture that could change, where that was confined.
    region: float | None = None
    map_method: str = "bb_lig"  # which map `heat` is: this, or "cells"
    # How alike the two are, as of `map_agreement`; None where only one is known.
    agreement: float | None = None
    # The share of the change that is brightness and contrast; None where nothing changed.
    exposure: float | None = None
    flips_without: bool | None = None  # whether a flip stays one without them, if asked
    only_for: str = ""  # of what pictures the explained label means something; "" where of all
    regions: Sequence[TriedRegion] = ()  # that were tried of the image, the newest first
    steered: bool = False  # whether a bridge made the changed image (RCSB), and no direction

    @property
    def flipped(self) -> bool:
        """Whether the prediction of the explained label changed sides."""
        return self.labels[self.explained].flips(self.curve.threshold)

    @property
    def left_out(self) -> float:
        """The map's completeness error as a share of the change that it explains, 0 or more."""
        change = abs(float(self.heat.sum()) - self.completeness_error)
        return abs(self.completeness_error) / change if change else 0.0

    @property
    def target(self) -> str:
        """What was wanted and whether it was met, in a sentence; "" where nothing was moved."""
        label, threshold = self.labels[self.explained], self.curve.threshold
        if self.margin is None or not self.alphas:
            return ""
        rises = label.before < threshold
        wanted = threshold + self.margin if rises else threshold - self.margin
        met = label.after >= wanted if rises else label.after <= wanted
        limit = f"{label.question.shown(wanted)} or {'more' if rises else 'less'}"
        return f"Wanted: {label.positive} {limit}. This was {'met' if met else 'missed'}."

    @property
    def cautions(self) -> list[str]:
        """The warnings, and that the two maps point to different places, where they do."""
        apart = worded(maps_apart(self.agreement), self.words)
        return [*self.warnings, *filter(None, [apart])]

    def say(self, plain: str, expert: str) -> str:
        """One of two texts, by the report's words."""
        return plain if self.words == wording.PLAIN else expert

    def direction(self, name: str) -> str:
        """What a direction, or a line along several, is called."""
        parts = name.split(" + ")
        return " + ".join(self.called.get(part, way_name(part, self.words)) for part in parts)

    @classmethod
    def of(
        cls,
        domain: Domain,
        directions: DirectionSet | None,
        path: Path,
        heat: Tensor,
        completeness_error: float,
        *,
        source: Tensor,
        changed: Tensor,
        before: Sequence[float],
        after: Sequence[float],
        distance: float,
        alphas: Sequence[tuple[str, float]],
        here: float,
        proxy: Sequence[tuple[float, float]] = (),
        warnings: Sequence[str] = (),
        steering: str = "",
        words: str = EXPERT,
        **fields: Any,
    ) -> Report:
        """Return today's report of an image and of what it became along directions.

        Parameters
        ----------
        directions : DirectionSet or None
            Those that the image can be moved along; None where it was changed without any.
        path : Path
            The walk to the changed image, or along the line that it lies on; its curve is shown.
        heat, completeness_error
            A map (H, W) of that walk, and its completeness error.
        before, after : sequence of float
            The classifier's probabilities of the two images, one for each label of the domain.
        here : float
            Where on the path the changed image lies.
        proxy : sequence of (float, float)
            As of `Curve`.
        steering : str
            How the bridge was steered, where one made the changed image.
        words : {"expert", "plain"}
        **fields
            Further fields of `Report`, as they are: `oracle`, `name`, `synthetic`, `margin`,
            `map_method`, `agreement`, `exposure`, `flips_without`.
        """
        explained, direction = domain.labels.index(path.label), path.direction_name
        return cls(
            title=domain.label_info[path.label].title,
            domain=domain.title,
            labels=label_changes(domain, path.label, before, after),
            explained=explained,
            source=source,
            changed=changed,
            heat=heat,
            alphas=alphas,
            distance=distance,
            curve=Curve(
                direction,
                list(zip(path.alphas.tolist(), path.probabilities.tolist(), strict=True)),
                proxy,
                here=(here, after[explained]),
                threshold=path.threshold,
            ),
            completeness_error=completeness_error,
            settings=rows_of(domain, path, directions, alphas, steering, words),
            identities=identity_rows(domain, directions, words),
            warnings=[worded(warning, words) for warning in warnings],
            only_for=domain.label_info[path.label].only_for,
            notice=domain.notice,
            time=datetime.datetime.now().astimezone(),
            words=words,
            called=direction_names(directions, words),
            region=None if path.region is None else path.region.double().mean().item(),
            steered=path.direction_name == STEERED,
            **fields,
        )


def label_changes(
    domain: Domain, explained: str, before: Sequence[float], after: Sequence[float]
) -> list[LabelChange]:
    """Return what became of each of a domain's labels, of which both are probabilities."""
    infos = [domain.label_info[label] for label in domain.labels]
    found = {
        label: LabelChange(*domain.label_names[label], was, now, info.question, weak=info.is_weak)
        for label, was, now, info in zip(domain.labels, before, after, infos, strict=True)
    }
    changes = []
    for label, change in found.items():
        if premise := premise_between(domain.label_info, label, explained):
            name, negated = premise
            change = replace(change, premise=found[name].reversed if negated else found[name])
        changes.append(change)
    return changes


# -- what a domain and its directions say of themselves ------------------------------------------


def rows_of(
    domain: Domain,
    path: Path,
    directions: DirectionSet | None,
    alphas: Sequence[tuple[str, float]],
    steering: str,
    words: str,
) -> list[tuple[str, str]]:
    """The settings of a path's report: of the directions, or of the bridge; of the region."""
    own = None if steering else directions
    return [
        *settings_rows(domain, path.label, own, alphas, words),
        *region_rows(path, steering if words == EXPERT else ""),
        *does_rows(domain, own, alphas, words),
    ]


def does_rows(
    domain: Domain,
    directions: DirectionSet | None,
    alphas: Sequence[tuple[str, float]],
    words: str = EXPERT,
) -> list[tuple[str, str]]:
    """What each moved direction does to pictures, and what a person says of it; where known."""
    positives = {label: names[1] for label, names in domain.label_names.items()}
    rows = []
    for name, alpha in alphas:
        does = what_it_does(name, directions, positives, domain.change_words, alpha)
        does = worded(does, words)
        told = " ".join(filter(None, [note_on(name, directions).sentence, does]))
        if told:
            rows.append((direction_name(name, directions, words), told))
    return rows


def settings_rows(
    domain: Domain,
    label: str,
    directions: DirectionSet | None,
    alphas: Sequence[tuple[str, float]],
    words: str = EXPERT,
) -> list[tuple[str, str]]:
    """The settings that a report lists: domain, label, position, solver, seed, how the search was.

    Without directions, domain and label alone. In plain words without those that take the field's.
    """
    if words == wording.PLAIN:
        return _plain_settings(domain, label, directions, alphas)
    rows = [("Domain", domain.name), ("Label", label)]
    if directions is None:
        return rows
    rows.append(("Position", position(alphas)))
    sampling = domain.generator.sampling
    if sampling is not None:
        steps = f"{sampling.encode_steps} steps to encode, {sampling.decode_steps} to decode"
        rows.append(("Solver", f"{sampling.solver}, {steps}"))
    search = directions.metadata.get("settings")
    recorded, seed = list[str](), directions.metadata.get("seed")
    search = search if isinstance(search, dict) else {}
    for key, title in SEARCH_SETTINGS.items():
        value = search.get(key)
        if not value:
            continue
        if value is True:
            recorded.append(title)
        elif type(value) in (int, float):
            recorded.append(f"{title} {value:g}")
        elif isinstance(value, str):
            recorded.append(f"{title} {value[:24]}")
    rows.append(("Directions found by", ", ".join(recorded) or "not recorded"))
    if type(seed) is int:
        rows.append(("Seed", str(seed)))
    return rows


def _plain_settings(
    domain: Domain,
    label: str,
    directions: DirectionSet | None,
    alphas: Sequence[tuple[str, float]],
) -> list[tuple[str, str]]:
    """The settings without those that take the field's words."""
    rows = [("Pictures", domain.title), ("Question", domain.label_info[label].title)]
    if directions is None:
        return rows
    if len(alphas) > 1:  # else it stands with the numbers
        called = [
            (direction_name(name, directions, wording.PLAIN), alpha) for name, alpha in alphas
        ]
        rows.append(("Strength", position(called, wording.PLAIN)))
    return [*rows, *_plain_search(directions)]


def _plain_search(directions: DirectionSet) -> list[tuple[str, str]]:
    """How the search was, in plain words."""
    search, seed = directions.metadata.get("settings"), directions.metadata.get("seed")
    asked = search.get("n_samples") if isinstance(search, dict) else None
    rows = [("Ways found by", f"asking about {asked} pictures")] if type(asked) is int else []
    return [*rows, *([("Seed", str(seed))] if type(seed) is int else [])]


def region_rows(path: Path, steering: str = "") -> list[tuple[str, str]]:
    """What a report's settings say of the region and of a steered bridge, where there are any."""
    rows = [("Bridge", f"RCSB, {steering}")] if steering else []
    if path.region is None:
        return rows
    share = percent_of_all(path.region.double().mean().item())
    return [*rows, ("Region", f"{share} of the picture")]


def identity_rows(
    domain: Domain, directions: DirectionSet | None, words: str = EXPERT
) -> list[tuple[str, str]]:
    """What tells the models and directions of a report from others."""
    plain = words == wording.PLAIN
    models = [
        ("Generator", domain.generator.identity),
        ("Classifier", domain.classifier.identity),
        *([] if plain else [("Perceptual distance", domain.perceptual.identity)]),
    ]
    if directions is None:
        return models
    made_with = directions.metadata.get("classifier")
    found_for = str(made_with)[:64] if made_with else "not recorded"
    if made_with == domain.classifier.identity:
        found_for = "this classifier"
    return [*models, ("Ways found for" if plain else "Directions found for", found_for)]


def position(alphas: Sequence[tuple[str, float]], words: str = EXPERT) -> str:
    """Where in the semantic space the changed image lies."""
    moved = [f"{signed(alpha)} {name}" for name, alpha in alphas]
    at_rest = "unchanged" if words == wording.PLAIN else "encoded and decoded only"
    return ", ".join(moved) or f"at the start: {at_rest}"
