"""What a report says: the finding, the numbers, the settings; nothing of how it is drawn."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gcd_core.bridge.paths import NAME as STEERED
from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.opening import Domain
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.walk import Path
from gcd_core.wording import percent, signed

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

    @property
    def was(self) -> str:
        """The probability before, as a person reads it."""
        return self.question.shown(self.before)

    @property
    def now(self) -> str:
        """The probability after, as a person reads it."""
        return self.question.shown(self.after)

    def flips(self, threshold: float) -> bool:
        """Whether the prediction changed sides."""
        return (self.before >= threshold) != (self.after >= threshold)


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
class Report:
    """What there is to report; nothing of it names a patient or a file."""

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
    date: datetime.date | None = None
    # The share of the picture that could change, where that was confined.
    region: float | None = None
    map_method: str = "bb_lig"  # which map `heat` is: this, or "cells"
    # How alike the two are, as of `map_agreement`; None where only one is known.
    agreement: float | None = None
    # The share of the change that is brightness and contrast; None where nothing changed.
    exposure: float | None = None
    steered: bool = False  # whether a bridge made the changed image (RCSB), and no direction

    @property
    def flipped(self) -> bool:
        """Whether the prediction of the explained label changed sides."""
        return self.labels[self.explained].flips(self.curve.threshold)

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
        oracle: tuple[float, float] | None = None,
        map_method: str = "bb_lig",
        agreement: float | None = None,
        exposure: float | None = None,
        steering: str = "",
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
        map_method, agreement, exposure
            As of `Report`.
        steering : str
            How the bridge was steered, where one made the changed image.
        """
        explained, direction = domain.labels.index(path.label), path.direction_name
        return cls(
            title=domain.label_info[path.label].title,
            domain=domain.title,
            labels=[
                LabelChange(*domain.label_names[label], was, now, domain.label_info[label].question)
                for label, was, now in zip(domain.labels, before, after, strict=True)
            ],
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
            settings=rows_of(domain, path, directions, alphas, steering),
            identities=identity_rows(domain, directions),
            warnings=warnings,
            oracle=oracle,
            notice=domain.notice,
            date=datetime.date.today(),
            region=None if path.region is None else path.region.double().mean().item(),
            map_method=map_method,
            agreement=agreement,
            exposure=exposure,
            steered=path.direction_name == STEERED,
        )


# -- what a domain and its directions say of themselves ------------------------------------------


def rows_of(
    domain: Domain,
    path: Path,
    directions: DirectionSet | None,
    alphas: Sequence[tuple[str, float]],
    steering: str,
) -> list[tuple[str, str]]:
    """The settings of a path's report: of the directions, or of the bridge; of the region."""
    return [
        *settings_rows(domain, path.label, None if steering else directions, alphas),
        *([("Bridge", f"RCSB, {steering}")] if steering else []),
        *region_rows(path),
    ]


def settings_rows(
    domain: Domain, label: str, directions: DirectionSet | None, alphas: Sequence[tuple[str, float]]
) -> list[tuple[str, str]]:
    """The settings that a report lists: domain, label, position, solver, and how the search was.

    Without directions, domain and label alone.
    """
    rows = [("Domain", domain.name), ("Label", label)]
    if directions is None:
        return rows
    rows.append(("Position", position(alphas)))
    sampling = domain.generator.sampling
    if sampling is not None:
        steps = f"{sampling.encode_steps} steps to encode, {sampling.decode_steps} to decode"
        rows.append(("Solver", f"{sampling.solver}, {steps}"))
    search = directions.metadata.get("settings")
    seed = directions.metadata.get("seed")
    recorded = [f"seed {seed}"] if type(seed) is int else []
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
    return rows


def region_rows(path: Path) -> list[tuple[str, str]]:
    """What a report's settings say of the region, where there is one."""
    if path.region is None:
        return []
    share = percent(path.region.double().mean().item())
    return [("Region", f"{share} of the picture")]


def identity_rows(domain: Domain, directions: DirectionSet | None) -> list[tuple[str, str]]:
    """What tells the models and directions of a report from others."""
    models = [
        ("Generator", domain.generator.identity),
        ("Classifier", domain.classifier.identity),
        ("Perceptual distance", domain.perceptual.identity),
    ]
    if directions is None:
        return models
    made_with = directions.metadata.get("classifier")
    found_for = str(made_with)[:64] if made_with else "not recorded"
    if made_with == domain.classifier.identity:
        found_for = "this classifier"
    return [*models, ("Directions found for", found_for)]


def position(alphas: Sequence[tuple[str, float]]) -> str:
    """Where in the semantic space the changed image lies."""
    moved = [f"{signed(alpha)} {name}" for name, alpha in alphas]
    return ", ".join(moved) or "at the start: encoded and decoded only"
