"""What a report says: the finding, the numbers, the settings; nothing of how it is drawn."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.method.directions import DirectionSet
from gcd_core.wording import signed


@dataclass(frozen=True)
class LabelChange:
    """The classifier's probability of a label, before and after."""

    negative: str
    positive: str
    before: float
    after: float


@dataclass(frozen=True)
class Curve:
    """The label's probability along a direction, as (alpha, probability).

    `measured` was asked of the classifier and `proxy` predicted by the proxy (empty without one);
    `here` is where the changed image stands. `alone` is False where other directions are added, so
    that the measured curve is not the one walked on.
    """

    direction: str
    measured: Sequence[tuple[float, float]]
    proxy: Sequence[tuple[float, float]]
    here: tuple[float, float]
    alone: bool = True
    threshold: float = 0.5


@dataclass(frozen=True)
class Report:
    """What stands on the page; nothing of it names a patient or a file.

    Attributes
    ----------
    title : str
        What is asked, such as "Pneumonia".
    domain : str
        Title of the domain.
    labels : sequence of LabelChange
        In the domain's order.
    explained : int
        Which of them the directions are for.
    source, changed : Tensor (1, C, H, W)
        In [0, 1].
    heat : Tensor (H, W)
        A BB-LIG map of the walk along the curve's direction.
    alphas : sequence of (str, float)
        The position along each direction that was moved.
    distance : float
        LPIPS between the two images.
    curve : Curve
    completeness_error : float
        Of the map.
    settings, identities : sequence of (str, str)
        Name and value, as of `settings_rows` and `identity_rows`.
    warnings : sequence of str
        What the reader must know before anything else; two at most.
    notice : str
        The domain's own, beside the one that every report has.
    date : datetime.date or None
    """

    title: str
    domain: str
    labels: Sequence[LabelChange]
    explained: int
    source: Tensor
    changed: Tensor
    heat: Tensor
    alphas: Sequence[tuple[str, float]]
    distance: float
    curve: Curve
    completeness_error: float
    settings: Sequence[tuple[str, str]]
    identities: Sequence[tuple[str, str]]
    warnings: Sequence[str] = ()
    notice: str = ""
    date: datetime.date | None = None

    @property
    def flipped(self) -> bool:
        """Whether the prediction of the explained label changed sides."""
        label, threshold = self.labels[self.explained], self.curve.threshold
        return (label.before >= threshold) != (label.after >= threshold)


# -- what a domain and its directions say of themselves ------------------------------------------


def settings_rows(
    domain: Domain, label: str, directions: DirectionSet, alphas: Sequence[tuple[str, float]]
) -> list[tuple[str, str]]:
    """The settings that a report lists: domain, label, position, solver, and how the search was."""
    rows = [
        ("Domain", domain.name),
        ("Label", label),
        ("Position", position(alphas)),
    ]
    sampling = getattr(domain.generator, "sampling", None)  # of those generators that have steps
    if sampling is not None:
        steps = f"{sampling.encode_steps} steps to encode, {sampling.decode_steps} to decode"
        rows.append(("Solver", f"{sampling.solver}, {steps}"))
    search = directions.metadata.get("settings")
    seed = directions.metadata.get("seed")
    words = {"n_samples": "samples", "radius": "radius", "lam": "λ", "steps": "steps"}
    told = [
        f"{word} {search[key]:g}"
        for key, word in words.items()
        if isinstance(search, dict) and type(search.get(key)) in (int, float)
    ]
    if type(seed) is int:
        told.append(f"seed {seed}")
    rows.append(("Directions found by", ", ".join(told) or "not recorded"))
    return rows


def identity_rows(domain: Domain, directions: DirectionSet) -> list[tuple[str, str]]:
    """What tells the models and directions of a report from others."""
    made_with = directions.metadata.get("classifier")
    found_for = str(made_with)[:64] if made_with else "not recorded"
    if made_with == domain.classifier.identity:
        found_for = "this classifier"
    return [
        ("Generator", domain.generator.identity),
        ("Classifier", domain.classifier.identity),
        ("Perceptual distance", domain.perceptual.identity),
        ("Directions found for", found_for),
    ]


def position(alphas: Sequence[tuple[str, float]]) -> str:
    """Where in the semantic space the changed image lies."""
    moved = [f"{signed(alpha)} {name}" for name, alpha in alphas]
    return ", ".join(moved) or "at the start: encoded and decoded only"
