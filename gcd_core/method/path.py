"""What a walk along a direction gives: its points, and what the models say of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.method.composition import DECODED, Composition, compose
from gcd_core.method.counterfactual import LOWEST_LOSS, MARGIN, SMALLEST, WHOLE
from gcd_core.method.loss import THRESHOLD, cf_loss, flip_sign
from gcd_core.method.models import Models
from gcd_core.method.perturbation import Answers

PER_POINT = (  # what a path has of each of its points, besides what was decoded
    "alphas",
    "images",
    "logits",
    "probabilities",
    "all_probabilities",
    "distances",
    "losses",
)


@dataclass(frozen=True)
class Path:
    """The images along a direction and what the models say of each; tensors on the CPU.

    Attributes
    ----------
    alphas : Tensor (n,)
        Signed positions along the direction; +alpha raises the label's logit.
    images : Tensor (n, C, H, W)
        The decoded images, float32, in [0, 1].
    logits, probabilities : Tensor (n,)
        The label's log-odds and probability.
    all_probabilities : Tensor (n, L)
        One column per label in `labels`.
    distances : Tensor (n,)
        LPIPS to the source image.
    losses : Tensor (n,)
        The CF loss (Eq. 1).
    label : str
        What is being explained.
    labels : tuple of str
        All labels of the classifier.
    direction_name : str
    source : Tensor (1, C, H, W)
        The image that the walk started from, before it was encoded.
    source_probability : float
        The classifier's probability for the source image itself, not for its reconstruction.
    source_probabilities : dict of str to float
        The same of each label, by name; empty where nobody noted them.
    sign : {+1, -1}
        The way to the flip, as of `flip_sign`.
    threshold : float
        The probability from which on the label is predicted.
    choice : {"smallest", "lowest-loss", "whole"}
        Which point is the counterfactual.
    margin : float
        How far beyond the threshold the probability of a convincing point lies, 0 to 0.5.
    refined : tuple of int
        Indices of the points that `bisect` added to those that were walked.
    region : Tensor (1, H, W), bool, or None
        Where the images may differ from the source; None where everywhere.
    decoded : Tensor (n, C, H, W) or None
        What the generator drew, where `images` are made of it; None where they are that.
    composition : Composition or None
        How `images` are made of `decoded`; None where nobody composed them.
    """

    alphas: Tensor
    images: Tensor
    logits: Tensor
    probabilities: Tensor
    all_probabilities: Tensor
    distances: Tensor
    losses: Tensor
    label: str
    labels: tuple[str, ...]
    direction_name: str
    source: Tensor
    source_probability: float
    sign: int
    threshold: float = THRESHOLD
    choice: str = SMALLEST
    margin: float = MARGIN
    refined: tuple[int, ...] = ()
    region: Tensor | None = None
    decoded: Tensor | None = None
    composition: Composition | None = None
    source_probabilities: Mapping[str, float] = field(default_factory=dict)

    @property
    def detail(self) -> str:
        """What `images` show: the source with the change put in, or what was decoded."""
        return DECODED if self.composition is None else self.composition.detail

    def picture(self, k: int) -> Tensor:
        """Point k at the source's own size: (1, C, H, W), float32, in [0, 1].

        Made when it is asked for, so that a path of large pictures takes little memory.
        """
        composition, own = self.composition, tuple(self.images.shape[-2:])
        if composition is None or self.decoded is None or composition.size == own:
            return self.images[k][None]
        return composition.picture(self.decoded[k][None])

    @property
    def original(self) -> Tensor:
        """The source at its own size: (1, C, H, W)."""
        return self.source if self.composition is None else self.composition.pixels

    def asked(self, k: int, classifier: BlackBox) -> Tensor:
        """Point k as a classifier is asked about it: (1, C, h, w); see `Composition.asked`."""
        if self.composition is None or self.decoded is None:
            return self.images[k][None]
        return self.composition.asked(self.decoded[k][None], classifier)

    def source_for(self, classifier: BlackBox) -> Tensor:
        """The source as a classifier is asked about it: (1, C, h, w)."""
        return self.source if self.composition is None else self.composition.source_for(classifier)

    @property
    def is_walked(self) -> Tensor:
        """Which points (n,) lie where the walk was to go, and are no refinement."""
        walked = torch.ones(len(self.alphas), dtype=torch.bool)
        walked[list(self.refined)] = False
        return walked

    @property
    def is_flipped(self) -> Tensor:
        """Which points (n,) a move took to the other side of the source's prediction.

        The point at alpha 0 is none of them: there, it is the reconstruction alone that differs.
        """
        here = self.probabilities >= self.threshold
        return (here != (self.source_probability >= self.threshold)) & (self.alphas != 0)

    @property
    def any_flip(self) -> bool:
        """Whether the prediction differs from the source's anywhere on the path."""
        return bool(self.is_flipped.any())

    @property
    def is_convincing(self) -> Tensor:
        """Which points (n,) are flipped by `margin` or more."""
        return self.is_flipped & (self._beyond >= self.margin)

    @property
    def counterfactual(self) -> int:
        """Index of the point that `choice` names."""
        if self.choice == WHOLE:
            return self.whole
        return self.lowest_loss if self.choice == LOWEST_LOSS else self.smallest

    @property
    def counterfactual_flips(self) -> bool:
        """Whether the prediction differs from the source's at the counterfactual.

        The counterfactual of the choice "whole" is the end of the path: it can fail to flip on a
        path with `any_flip`. For the other choices both are the same.
        """
        return bool(self.is_flipped[self.counterfactual])

    @property
    def flipped(self) -> bool:
        """The same as `counterfactual_flips`; files and commands use this name."""
        return self.counterfactual_flips

    @property
    def counterfactual_image(self) -> Tensor:
        """The counterfactual (1, C, H, W)."""
        return self.images[self.counterfactual][None]

    def ends_for(self, classifier: BlackBox) -> tuple[Tensor, Tensor]:
        """Source and counterfactual (1, C, h, w) as a classifier is asked about them.

        Where the counterfactual is the source itself, the path's end takes its place.
        """
        at_rest = not float(self.alphas[self.counterfactual])
        end = self.whole if at_rest else self.counterfactual
        return self.source_for(classifier), self.asked(end, classifier)

    @property
    def smallest(self) -> int:
        """Index of the smallest convincing change: the convincing point nearest to alpha 0.

        Those toward the flip come before those on the other side of 0. Where none is convincing,
        the flipped point that is most so; where none is flipped, `lowest_loss`.
        """
        if not self.any_flip:
            return self.lowest_loss
        convincing = self.is_convincing
        toward = convincing & (self.alphas * self.sign > 0)
        among = toward if toward.any() else convincing
        if among.any():
            return int(self.alphas.abs().masked_fill(~among, math.inf).argmin())
        return int(self._beyond.masked_fill(~self.is_flipped, -math.inf).argmax())

    @property
    def lowest_loss(self) -> int:
        """Index of the lowest CF loss (Algorithm 3), among the flipped points where there are.

        Of the points walked, so that a refined path has the one it had before.
        """
        among = self.is_walked
        if self.any_flip:
            among = among & self.is_flipped
        return int(self.losses.masked_fill(~among, math.inf).argmin())

    @property
    def whole(self) -> int:
        """Index of the point that lies farthest toward the flip."""
        return int((self.alphas * self.sign).masked_fill(~self.is_walked, -math.inf).argmax())

    @property
    def _beyond(self) -> Tensor:
        """How far each probability (n,) lies from the threshold."""
        return (self.probabilities - self.threshold).abs()


def path_of(
    domain: Models,
    label: str,
    direction_name: str,
    composition: Composition,
    source_probability: float,
    alphas: Tensor,
    batches: list[Answers],
    lam: float | None,
) -> Path:
    """Return the path of points that were asked about, in batches that follow one another.

    Parameters
    ----------
    domain : Models
    label, direction_name, source_probability
        As of `Path`.
    composition : Composition
        Of the source.
    alphas : Tensor (n,)
        Where the points lie; what raises the label's logit is positive.
    batches : list of Answers
        What was said of the n points, in their order.
    lam : float or None
        Weight of LPIPS in the CF loss; None is the domain's.
    """
    logits = torch.cat([batch.logits for batch in batches])
    every = torch.cat([batch.probabilities for batch in batches])
    distances = torch.cat([batch.distances for batch in batches])
    sign = flip_sign(source_probability)
    decoded = [batch.decoded for batch in batches if batch.decoded is not None]
    if composition.baseline is not None:
        composition = replace(composition, baseline=composition.baseline.cpu())
    return Path(
        alphas=alphas,
        images=torch.cat([batch.images for batch in batches]),
        logits=logits,
        probabilities=every[:, domain.classifier.index(label)],
        all_probabilities=every,
        distances=distances,
        losses=cf_loss(logits, distances, sign, domain.search.lam if lam is None else lam),
        label=label,
        labels=tuple(domain.classifier.labels),
        direction_name=direction_name,
        source=composition.source.cpu(),
        source_probability=source_probability,
        sign=sign,
        region=composition.mask,
        decoded=torch.cat(decoded) if decoded else None,
        composition=composition,
    )


def ascending(path: Path) -> Path:
    """The path with its points in the order of their alphas."""
    order = path.alphas.argsort()
    decoded = None if path.decoded is None else path.decoded[order]
    own = {name: getattr(path, name)[order] for name in PER_POINT}
    return replace(path, **own, decoded=decoded)


def composition_of(path: Path) -> Composition:
    """How a path's images were made; of one that nobody composed, they are what was decoded."""
    return path.composition or compose(path.source, None, path.region)
