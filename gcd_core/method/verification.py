"""Directions tried on pictures before anybody is shown them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.method.changes import Change, measure_change
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.composition import SOURCE, Composition, compose, resolve_detail, view_of
from gcd_core.method.models import Models
from gcd_core.method.perturbation import ask_about
from gcd_core.method.second_opinion import DISAGREED, FOLLOWS, second_opinion

MAX_EXAMPLES = 8
FIGURE = "tried"  # among a set's metadata: what each direction did, by its name
FLIPS_A_SIDE = 0.6  # of one side's images, from which on a direction is worth a look


@dataclass(frozen=True)
class Tried:
    """What a direction did to pictures that were walked to the end of it.

    Attributes
    ----------
    positives, negatives : int
        Pictures that the classifier took for the label, and others.
    positives_flipped, negatives_flipped : int
        Those of them whose prediction changed on the way.
    agreed : int or None
        Flipped ones where the second opinion changed too; None without one that knows the label.
    disagreed : int
        Flipped ones about which it disagreed from the start; they count neither way.
    lpips : float
        Mean LPIPS between the flipped pictures, where they flipped first, and their sources.
    distance : float
        Mean distance of their codes from the domain's, as of `CodeStatistics.distance`.
    """

    positives: int
    positives_flipped: int
    negatives: int
    negatives_flipped: int
    agreed: int | None
    lpips: float
    distance: float
    disagreed: int = 0

    @property
    def n(self) -> int:
        """Pictures in all."""
        return self.positives + self.negatives

    @property
    def flipped(self) -> int:
        """Those that flipped."""
        return self.positives_flipped + self.negatives_flipped

    @property
    def works(self) -> bool:
        """Whether it flips at least 60 % of the pictures of one side."""
        sides = (
            (self.positives_flipped, self.positives),
            (self.negatives_flipped, self.negatives),
        )
        return any(n and flipped >= FLIPS_A_SIDE * n for flipped, n in sides)

    @property
    def flips_few(self) -> bool:
        """Whether it flips fewer than half of the pictures, and of no side every one."""
        sides = (
            (self.positives_flipped, self.positives),
            (self.negatives_flipped, self.negatives),
        )
        return 2 * self.flipped < self.n and not any(n and n == flipped for flipped, n in sides)

    @property
    def sentence(self) -> str:
        """The same for a person."""
        told = f"{self.flipped} of {self.n} examples flip"
        if self.flipped and self.agreed is not None:
            asked = self.flipped - self.disagreed
            if not asked:
                return f"{told}, the second opinion disagreed from the start"
            told += f", the second opinion follows in {self.agreed}"
            if self.disagreed:
                told += f" of {asked}; it disagreed about {self.disagreed} from the start"
        return told


class Examples:
    """Pictures that directions are tried on, encoded and asked about once.

    Parameters
    ----------
    domain : Models
    images : sequence of Tensor (1, C, S, S) or Picture
        Of which the first `most` are taken.
    label : str
    solver, steps
        Of the generator, for encoding and decoding.
    detail : {"source", "decoded"}, optional
        As of `walk`.
    most : int
    """

    @torch.inference_mode()
    def __init__(
        self,
        domain: Models,
        images: Sequence[Tensor | Picture],
        label: str,
        solver: str | None,
        steps: int | None,
        detail: str | None = None,
        most: int = MAX_EXAMPLES,
    ) -> None:
        self.domain, self.label, self.solver, self.steps = domain, label, solver, steps
        sources = list(images)[:most]
        views = torch.cat([view_of(source) for source in sources])
        self.latent: Latent = domain.generator.encode(views, solver, steps)
        self.compositions: list[Composition] = [compose(source) for source in sources]
        self._decoded = domain.generator.decode(self.latent, solver, steps).float().cpu()
        if resolve_detail(domain, detail) == SOURCE:
            baselines = self._decoded.to(domain.device).split(1)
            self.compositions = [
                replace(composition, baseline=baseline)
                for composition, baseline in zip(self.compositions, baselines, strict=True)
            ]
        classifier = domain.classifier
        asked = [composition.source_for(classifier) for composition in self.compositions]
        outputs = torch.cat([classifier(image) for image in asked])
        self.predicted = classifier.logit(outputs, label).cpu() >= 0
        each = [classifier.probability(outputs, name) for name in classifier.labels]
        self._answers = torch.stack(each, dim=1).float().cpu()
        self._before: dict[int, float] = {}  # the oracle's probability of a picture, once asked

    def tried(self, vector: Tensor, statistics: CodeStatistics, points: int = 1) -> Tried:
        """What `measured` says of flips."""
        return self.measured(vector, statistics, points)[0]

    @torch.inference_mode()
    def measured(
        self, vector: Tensor, statistics: CodeStatistics, points: int = 1
    ) -> tuple[Tried, Change]:
        """Walk every picture toward its flip along a direction (D,), in so many even steps.

        It asks `points` queries a picture, fewer where one flips before the end. What changes is
        measured at the last picture of each walk, and takes no query more.
        """
        domain, alpha_max = self.domain, self.domain.alpha_max
        signs = torch.where(self.predicted, -1.0, 1.0)
        flipped = torch.zeros(len(signs), dtype=torch.bool)
        opinions, lpips, distances = [], [], []
        ends, answers = self._decoded.clone(), self._answers.clone()
        for k in range(1, points + 1):
            left = (~flipped).nonzero().flatten()
            if not len(left):
                break
            start = self.latent[left.to(self.latent.z_sem.device)]
            alphas = (signs[left] * alpha_max * k / points).to(start.z_sem)
            codes = start.z_sem + alphas[:, None] * vector.to(start.z_sem)
            decoded = domain.generator.decode(start.with_z_sem(codes), self.solver, self.steps)
            for row, i in enumerate(left.tolist()):
                own = decoded[row : row + 1]
                answer = ask_about(domain, own, self.compositions[i], self.label)
                ends[i], answers[i] = own[0].float().cpu(), answer.probabilities[0]
                if bool(answer.logits[0] >= 0) == bool(self.predicted[i]):
                    continue
                flipped[i] = True
                lpips.append(float(answer.distances[0]))
                distances.append(float(statistics.distance(codes[row : row + 1])))
                if self._oracle is not None:
                    opinions.append(self._opinion(self._oracle, own, i))
        tried = Tried(
            positives=int(self.predicted.sum()),
            positives_flipped=int((flipped & self.predicted).sum()),
            negatives=int((~self.predicted).sum()),
            negatives_flipped=int((flipped & ~self.predicted).sum()),
            agreed=None if self._oracle is None else opinions.count(FOLLOWS),
            disagreed=opinions.count(DISAGREED),
            lpips=sum(lpips) / max(1, len(lpips)),
            distance=sum(distances) / max(1, len(distances)),
        )
        moved = dict(zip(domain.classifier.labels, (answers - self._answers).T, strict=True))
        moved.pop(self.label)
        return tried, measure_change(self._decoded, ends, signs, domain.places, moved)

    @property
    def _oracle(self) -> BlackBox | None:
        """The second opinion, where there is one that knows the label."""
        oracle = self.domain.oracle
        return oracle if oracle is not None and self.label in oracle.labels else None

    def _opinion(self, oracle: BlackBox, decoded: Tensor, i: int) -> str:
        """What the second opinion says of a flip of picture i."""
        if i not in self._before:
            source = self.compositions[i].source_for(oracle)
            self._before[i] = float(oracle.probability(oracle(source), self.label))
        asked = self.compositions[i].asked(decoded, oracle)
        after = float(oracle.probability(oracle(asked), self.label))
        return second_opinion(float(self.predicted[i]), self._before[i], after)


def with_tried(metadata: dict[str, Any], tried: dict[str, Tried]) -> dict[str, Any]:
    """Return a set's metadata with what its directions did."""
    return metadata | {FIGURE: {name: asdict(one) for name, one in tried.items()}}


def tried_of(metadata: dict[str, Any]) -> dict[str, Tried]:
    """Return what a set's directions did, by name; without those of which a file tells nonsense."""
    told = metadata.get(FIGURE)
    found: dict[str, Tried] = {}
    for name, one in (told if isinstance(told, dict) else {}).items():
        try:
            tried = Tried(**one)
            sound = _is_sound(tried)
        except TypeError:
            continue
        if sound:
            found[str(name)] = tried
    return found


def _is_sound(tried: Tried) -> bool:
    """Whether these are counts that fit each other, and distances; a TypeError of other things."""
    counts = [tried.positives, tried.positives_flipped, tried.negatives, tried.negatives_flipped]
    counts += [tried.disagreed, *([] if tried.agreed is None else [tried.agreed])]
    return (
        all(type(count) is int and count >= 0 for count in counts)
        and tried.positives_flipped <= tried.positives
        and tried.negatives_flipped <= tried.negatives
        and (tried.agreed or 0) + tried.disagreed <= tried.flipped
        and math.isfinite(tried.lpips)
        and math.isfinite(tried.distance)
    )
