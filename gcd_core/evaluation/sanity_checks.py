"""Whether explanations can be trusted: checks whose right answer is known beforehand.

Adebayo et al., "Sanity Checks for Saliency Maps" (NeurIPS 2018), asked it of saliency maps; here it
is asked of directions and their maps, on a domain's own images and generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import BlackBox
from gcd_core.domains.cautions import unreproduced
from gcd_core.domains.file import Label
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import metrics
from gcd_core.evaluation.decoded import MemoisedGenerator
from gcd_core.evaluation.known_reasons import LUNG_FIELDS, Region, RegionReader
from gcd_core.evaluation.maps import mass_inside
from gcd_core.evaluation.spurious_classifiers import (
    LABEL,
    MARKER,
    trained,
    with_marker,
    with_random_weights,
)
from gcd_core.method.attribution import explain_path
from gcd_core.method.curve_quantiles import mean_heat
from gcd_core.method.directions import Direction
from gcd_core.method.path import Path
from gcd_core.method.search import find_directions
from gcd_core.method.settings import BALL
from gcd_core.method.walk import walk

MAPS = ("cells", "bb_lig", "difference")
MIN_IMAGES = 16  # images
CHECKS = ("gap", "repeat", "reasons", "marker", "exposure", "scrambled")


@dataclass(frozen=True)
class Verdict:
    """The result of one check."""

    name: str  # one of `CHECKS`
    passed: bool
    sentence: str  # what it means, for a person
    figures: dict[str, Any]  # the numbers behind it; JSON can hold them


class Sanity:
    """The checks of a domain, on images of its own.

    Raises a GCDError if there are too few images, or the domain has no such label.

    Parameters
    ----------
    images : Tensor (N, C, S, S)
        In [0, 1], 16 at least; the searches start from one of them, and the walks from others.
    label : str
        The one that is explained.
    samples : int
        Of each search.
    walks : int
        Images that each direction is tried on, at most.
    """

    def __init__(
        self, domain: Domain, images: Tensor, label: str, samples: int = 256, walks: int = 8
    ) -> None:
        if len(images) < MIN_IMAGES:
            raise GCDError(f"The checks need {MIN_IMAGES} images at least, not {len(images)}.")
        domain.classifier.index(label)
        # The searches differ in the classifier, not in the pictures: each is decoded once.
        generator = MemoisedGenerator(domain.generator)
        self.domain = replace(domain, generator=generator, bridge=None)
        self.images, self.label, self.samples = images, label, samples
        self.tried = images[:: max(1, len(images) // walks)][:walks]
        self.probabilities = domain.classifier.probability(domain.classifier(images), label)
        # From the image that the classifier is least sure of, as far as there are such.
        self.source = images[(self.probabilities - 0.5).abs().argmin()][None]

    def run(self, names: Sequence[str] = CHECKS) -> list[Verdict]:
        """Make some of the checks, in their order.

        Raises a GCDError if there is no check of a name.
        """
        unknown = [name for name in names if name not in CHECKS]
        if unknown:
            raise GCDError(f"There is no check {unknown[0]!r}; there are {', '.join(CHECKS)}.")
        return [getattr(self, name)() for name in CHECKS if name in names]

    # -- the domain's own classifier ----------------------------------------------------------

    def gap(self) -> Verdict:
        """Measure how far encoding and decoding alone move the classifier's answer."""
        again = self.domain.generator.decode(self.domain.generator.encode(self.images)).cpu()
        moved, told = self._moved_by(self.domain.classifier, self.label, self.images, again)
        passed = told <= 0.1
        sentence = (
            f"Encoding and decoding alone moves the classifier's log-odds by {moved:.2f} on "
            f"average; on {told:.0%} of the images so far that the page warns"
            + ("." if passed else ": it reacts to something that the generator does not draw.")
        )
        return Verdict("gap", passed, sentence, {"log_odds": moved, "warned": told})

    def repeat(self) -> Verdict:
        """Whether another seed and another source give the same g."""
        order = (self.probabilities - 0.5).abs().argsort()
        others = [self.images[i][None] for i in order[1:3]]
        found = [self._g(self.domain, self.label, seed=seed) for seed in (0, 1)]
        if self.domain.search.sampling == BALL:
            found += [self._g(self.domain, self.label, source=source) for source in others]
        else:  # no source is looked at
            found += [self._g(self.domain, self.label, seed=seed) for seed in (2, 3)]
        cosines = [
            F.cosine_similarity(a.vector, b.vector, dim=0).item()
            for i, a in enumerate(found)
            for b in found[:i]
        ]
        paths = [self._walks(self.domain, g, self.label) for g in found]
        rates = [_flip_rate(own) for own in paths]
        maps = [mean_heat(own) for own in paths]
        alike = [
            metrics.rank_correlation(a, b) or 0.0 for i, a in enumerate(maps) for b in maps[:i]
        ]
        figures = {"cosines": cosines, "flip_rates": rates, "map_correlations": alike}
        spread = max(rates) - min(rates)
        passed = min(rates) >= 0.8 and sum(alike) / len(alike) >= 0.5
        sentence = (
            f"{self._searches} give directions that flip {min(rates):.0%} to "
            f"{max(rates):.0%} of the images; the mean maps agree to "
            f"{sum(alike) / len(alike):.2f} (rank correlation), the directions to "
            f"{sum(cosines) / len(cosines):.2f} (cosine)."
        )
        return Verdict("repeat", passed, sentence, figures | {"spread": spread})

    # -- classifiers whose reasons are known ------------------------------------------------------

    def reasons(self) -> Verdict:
        """Classifiers that read one region: do maps point there, and does g flip them."""
        figures: dict[str, Any] = {}
        for name, field in LUNG_FIELDS.items():
            reader = RegionReader.fitted_to(self.images, [field], label=LABEL)
            domain, paths = self._along_g_of(reader)
            figures[name] = {"flip_rate": _flip_rate(paths)}
            figures[name] |= self._pointing(domain, paths, field)
        cells = [figures[name]["cells"] for name in LUNG_FIELDS]
        mass = sum(c["mass"] for c in cells) / len(cells)
        peak = sum(c["peak"] for c in cells) / len(cells)
        path = sum(figures[name]["bb_lig"]["mass"] for name in LUNG_FIELDS) / len(cells)
        passed = mass >= 0.7 and peak >= 0.9
        sentence = (
            f"Of classifiers that read one region alone, the map of cells puts {mass:.0%} of its "
            f"mass there, its peak in {peak:.0%} of the images; BB-LIG {path:.0%} (the regions are "
            f"{_area(self.images):.0%} of the picture)."
        )
        return Verdict("reasons", passed, sentence, figures)

    def marker(self) -> Verdict:
        """A classifier that learned a marker in the corner: shown, or told as not drawn."""
        marked = with_marker(self.images)
        planted = trained(self.images, marked)
        again = self.domain.generator.decode(self.domain.generator.encode(marked)).cpu()
        moved, told = self._moved_by(planted, LABEL, marked, again)
        domain, paths = self._along_g_of(planted)
        flips = _flip_rate(paths)
        figures: dict[str, Any] = {"flip_rate": flips, "warned": told, "log_odds": moved}
        figures |= self._pointing(domain, paths, MARKER)
        shown = flips >= 0.8 and figures["cells"]["mass"] >= 0.5
        if shown:
            sentence = (
                f"A classifier that learned a marker in the corner: g draws the marker ({flips:.0%}"
                f" flip), and the map of cells puts {figures['cells']['mass']:.0%} there."
            )
        else:
            sentence = (
                "A classifier that learned a marker in the corner: directions do not draw it (g "
                f"flips {flips:.0%}). Encoding and decoding alone moves its log-odds by "
                f"{moved:.1f} on marked images, and on {told:.0%} of them the page warns that it "
                "reacts to something that the generator does not reproduce."
            )
        return Verdict("marker", shown or told >= 0.5, sentence, figures)

    def exposure(self) -> Verdict:
        """A classifier that learned how an image was exposed: does g change just that."""
        bright, dark = self.images**0.7, self.images**1.4
        _, paths = self._along_g_of(trained(dark, bright))
        flips = _flip_rate(paths)
        changes = [(path.counterfactual_image - path.source).mean().item() for path in paths]
        right = sum(
            change * path.sign > 0 for change, path in zip(changes, paths, strict=True)
        ) / len(paths)
        figures = {"flip_rate": flips, "right_way": right, "brightness": changes}
        sentence = (
            f"A classifier that learned the exposure: g flips {flips:.0%}, and makes {right:.0%} "
            "of the images brighter or darker as it must."
        )
        return Verdict("exposure", flips >= 0.8 and right >= 0.8, sentence, figures)

    def scrambled(self) -> Verdict:
        """Random weights and shuffled labels: nothing of the true explanation may be left."""
        own = self._g(self.domain, self.label)
        own_map = mean_heat(self._walks(self.domain, own, self.label))
        generator = torch.Generator().manual_seed(0)
        shuffled = self.probabilities[torch.randperm(len(self.images), generator=generator)]
        present = shuffled >= shuffled.median()
        others = {
            "random weights": with_random_weights(self.domain.classifier, self.images),
            "shuffled labels": trained(self.images[~present], self.images[present]),
        }
        figures: dict[str, Any] = {}
        for name, classifier in others.items():
            domain = self._with(classifier)
            g = self._g(domain, LABEL)
            own_of_it = mean_heat(self._walks(domain, g, LABEL))
            figures[name] = {
                "abs_cosine": F.cosine_similarity(own.vector, g.vector, dim=0).abs().item(),
                "map_correlation": metrics.rank_correlation(own_map, own_of_it) or 0.0,
            }
        cosine = max(f["abs_cosine"] for f in figures.values())
        alike = max(f["map_correlation"] for f in figures.values())
        passed = cosine <= 0.2 and alike <= 0.3
        sentence = (
            "Of classifiers with random weights and with shuffled labels, g has a cosine of at "
            f"most {cosine:.2f} with the true one (wanted: 0.2), and the mean map a rank "
            f"correlation of at most {alike:.2f} (wanted: 0.3)."
        )
        return Verdict("scrambled", passed, sentence, figures)

    # -- what they share --------------------------------------------------------------------------

    def _with(self, classifier: BlackBox) -> Domain:
        """The domain with another classifier, of the label `planted`."""
        return with_planted(self.domain, classifier)

    def _along_g_of(self, classifier: BlackBox) -> tuple[Domain, list[Path]]:
        """The domain with another classifier, and the walks along the g that is found for it."""
        domain = self._with(classifier)
        return domain, self._walks(domain, self._g(domain, LABEL), LABEL)

    def _g(
        self, domain: Domain, label: str, seed: int = 0, source: Tensor | None = None
    ) -> Direction:
        found = find_directions(
            domain,
            self.source if source is None else source,
            label,
            self.samples,
            n_h=0,
            n_ways=0,
            boundary=False,
            seed=seed,
        )
        return found.directions["g"]

    @property
    def _searches(self) -> str:
        """Which searches are held against each other, in words."""
        in_ball = self.domain.search.sampling == BALL
        return "Two seeds and three sources" if in_ball else "Four seeds"

    def _walks(self, domain: Domain, direction: Direction, label: str) -> list[Path]:
        return [walk(domain, image[None], direction, label) for image in self.tried]

    def _pointing(self, domain: Domain, paths: Sequence[Path], region: Region) -> dict[str, Any]:
        """Of each map the mass inside a region, and how often the peak lies there."""
        inside = region.mask(*self.images.shape[-2:]).double()
        figures = {}
        for method in MAPS:
            mass, peak = [], []
            for path in paths:
                heat = explain_path(
                    path, method, classifier=domain.classifier, until=path.counterfactual
                ).map
                share, at_peak = mass_inside(heat, inside)
                mass.append(share)
                peak.append(at_peak)
            figures[method] = {"mass": sum(mass) / len(mass), "peak": sum(peak) / len(peak)}
        return figures

    @staticmethod
    def _moved_by(
        classifier: BlackBox, label: str, images: Tensor, again: Tensor
    ) -> tuple[float, float]:
        """How far the log-odds move between two versions of images; how often the page warns."""
        first, second = (classifier.logit(classifier(x), label) for x in (images, again))
        pairs = zip(first.sigmoid().tolist(), second.sigmoid().tolist(), strict=True)
        told = [bool(unreproduced(before, after)) for before, after in pairs]
        return (first - second).abs().mean().item(), sum(told) / len(told)


def with_planted(domain: Domain, classifier: BlackBox) -> Domain:
    """A domain with a classifier of the label `planted` in the place of its own, and no oracle."""
    info = {LABEL: Label(LABEL, "Planted", "absent", "present")}
    return replace(domain, classifier=classifier, oracle=None, label_info=info)


def _flip_rate(paths: Sequence[Path]) -> float:
    return sum(path.counterfactual_flips for path in paths) / len(paths)


def _area(images: Tensor) -> float:
    """The mean share of a picture that a lung field is."""
    shares = [field.mask(*images.shape[-2:]).double().mean() for field in LUNG_FIELDS.values()]
    return torch.stack(shares).mean().item()
