"""The flips of one opened image: found by the fast decoder, drawn and checked in full."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch import Tensor

from gcd_core.errors import Cancel, Cancelled
from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.directions import Direction
from gcd_core.method.loss import THRESHOLD, cf_loss
from gcd_core.method.path import Path
from gcd_core.ui.frames import POINTS, Alphas, Frame, Opened, key_of, line_vector, path_frame
from gcd_core.ui.session.flip_search import BEYOND, Target, first_flip, met_before, smallest_met
from gcd_core.ui.session.slider_state import SliderState

STRONGEST = "strongest"  # the target in whose place a margin stands otherwise
PARTS, WITHIN = 32, 8  # of a slider stop, and how exactly a flip's picture in full is found
NEARER = 4  # parts: a flip in full that is expected to lie so much nearer to the source is tried
DECIMALS = 2  # of alpha, where a flip is drawn in full: as many as a slider shows
LINES_KEPT = 8  # by the full decoder
SAME_ALPHA = 1e-3  # two positions that are nearer than this are one


class Flips:
    """The counterfactuals of an image along its directions, each found once.

    Parameters
    ----------
    sliders : SliderState
        Of the image: its paths are followed, and it keeps the pictures.
    """

    def __init__(self, sliders: SliderState) -> None:
        self._sliders = sliders
        # Paths with their flips drawn in full, and the flips' indices, by direction and target.
        self._found: dict[tuple[str, float | str], tuple[Path, int]] = {}
        # Whole lines by the full decoder, by direction, or by the position that they lead through.
        self._in_full: dict[Hashable, Path] = {}
        # Positions of flips that were found before their paths, by direction and margin.
        self._first: dict[tuple[str, float], float] = {}
        self._looking = threading.Lock()

    def clear(self) -> None:
        """Drop all pictures."""
        self._found.clear()
        self._in_full.clear()
        self._first.clear()

    def to_flip(self, name: str, margin: float | None) -> tuple[Frame | None, bool]:
        """Go to the counterfactual along a direction; all other sliders go to 0.

        Parameters
        ----------
        margin : float or None
            How far the probability must lie beyond the threshold, from 0 to 0.5. The nearest such
            picture is found by bisection, before the path is decoded where that asks for nothing
            that costs. None goes to the most convincing picture of the path.

        Returns
        -------
        (Frame or None, bool)
            The picture as of `SliderState.move` (None if the sliders went on while the flip was
            looked for), and whether the prediction flips along the path.
            If it does not, the picture is the nearest to a flip.
        """
        sliders = self._sliders
        intended = sliders.intend()
        if (first := self._before_its_path(name, margin)) is not None:
            alphas = {name: first}
            sliders.keep(alphas, sliders.service.second_opinion.on(sliders.frame_in_full(alphas)))
            return sliders.move(alphas, name, margin or 0.0, intended), True
        path, index = self.found(name, margin)
        alpha = round(float(path.alphas[index]), 4)
        if alpha:
            known = sliders.known({name: alpha})
            if known is None or known.live:
                known = path_frame(path, index, sliders.service.domain.labels)
            sliders.keep({name: alpha}, sliders.service.second_opinion.on(known))
        return sliders.move({name: alpha}, name, margin or 0.0, intended), path.any_flip

    def look_ahead(self, margin: float) -> None:
        """Begin to look for the first direction's flip, where that costs and delays nothing.

        Any move ends that; the pictures that were drawn until then are kept.
        """
        service, names = self._sliders.service, self._sliders.names
        if names and service.decodes_ahead:
            service.context.background.follow(self, self._looking_ahead(names[0], margin))

    def _looking_ahead(self, name: str, margin: float) -> Iterator[None]:
        self._before_its_path(name, margin)
        yield

    def found(self, name: str, margin: float | None) -> tuple[Path, int]:
        """Wait for the path along a direction; return it, and the index of its flip, in full.

        Parameters
        ----------
        name : str
        margin : float or None
            As of `to_flip`.
        """
        path = self._sliders.path_now(name)
        key = name, STRONGEST if margin is None else margin
        if key not in self._found:
            if margin is None:
                self._found[key] = self._drawn_in_full(path, name, most_convincing(path))
            elif (name, margin) in self._first:
                path = replace(path, choice=SMALLEST, margin=margin)
                self._found[key] = self._with_full_point(path, name, self._first[name, margin])
            else:
                path = self._narrowed(path, name, margin)
                self._found[key] = self._drawn_in_full(path, name, path.smallest, nearer=True)
        return self._found[key]

    def path(self, name: str) -> Path:
        """Wait for the path along a direction; return it with its counterfactual drawn in full.

        Where that is the smallest convincing change, it is the one of `to_flip` at that margin.
        """
        path = self._sliders.path_now(name)
        if path.choice == SMALLEST:
            return self.found(name, path.margin)[0]
        key = name, path.choice
        if key not in self._found:
            self._found[key] = self._drawn_in_full(path, name, path.counterfactual)
        return self._found[key][0]

    def line_in_full(self, alphas: Alphas, cancel: Cancel | None = None) -> Path:
        """Wait for the line through a position; return it, every point by the full decoder.

        For what is reported or taken home. Along one direction it is its path; where no slider
        moved, that of the direction that moved last. Along several, alpha is the distance in z_sem.
        With `cancel` all that others wait for goes first, and it raises `Cancelled` once that is
        set.
        """
        sliders = self._sliders
        known = self.known_in_full(alphas)
        if known is not None:
            return known
        name, label = next(iter(alphas), sliders.moved), sliders.directions.label
        if len(alphas) > 1:
            vector, _ = line_vector(sliders.directions, alphas)
            direction = Direction(" + ".join(alphas), vector, label)
        else:
            path = sliders.path_now(name)
            if not self._is_fast(name):
                return path
            direction = sliders.directions[name]
        line = sliders.service.walk_in_full(sliders.opened, direction, label, cancel)
        self._in_full[key_of(alphas) if len(alphas) > 1 else name] = line
        for oldest in list(self._in_full)[:-LINES_KEPT]:
            self._in_full.pop(oldest, None)
        return line

    def line_here_in_full(self) -> Path | None:
        """As `line_in_full` of where the sliders stand; None if they go on meanwhile."""
        wanted = self._sliders.still_wanted()
        _, alphas, _ = self._sliders.position()
        try:
            return self.line_in_full(alphas, SimpleNamespace(is_set=lambda: not wanted()))
        except Cancelled:
            return None

    def known_in_full(self, alphas: Alphas) -> Path | None:
        """Return the line through a position as of `line_in_full`; None while it is not decoded."""
        one = next(iter(alphas), self._sliders.moved)
        return self._in_full.get(key_of(alphas) if len(alphas) > 1 else one)

    def _is_fast(self, name: str) -> bool:
        """Whether the fast decoder drew the path along a direction."""
        played = self._sliders.paths.played(name)
        return played is not None and played.fast

    def _narrowed(self, path: Path, name: str, margin: float) -> Path:
        """Return the path with the smallest change of this margin, found by bisection."""
        if (path.choice, path.margin) == (SMALLEST, margin):
            return path
        wanted, sliders = replace(path, choice=SMALLEST, margin=margin), self._sliders
        task = wanted, sliders.directions[name], sliders.opened.latent
        return sliders.service.narrowed(*task, self._is_fast(name))

    def _before_its_path(self, name: str, margin: float | None) -> float | None:
        """Find a flip while its path is not decoded; None where it must be found on the path."""
        sliders = self._sliders
        service, directions = sliders.service, sliders.directions
        if margin is None or not (service.has_fast_paths and service.classifier_is_free):
            return None
        with self._looking:  # who comes second goes on with the pictures of who came first
            if (name, margin) not in self._first:
                if name not in sliders.names or sliders.paths.get(name) is not None:
                    return None
                target = self._target(directions.label, margin)
                alpha = first_flip(sliders, name, target)
                if alpha is None:
                    return None
                self._first[name, margin] = self._nearest_in_full(name, alpha, target)
            return self._first[name, margin]

    def _target(self, label: str, margin: float) -> Target:
        """Return what a flip of this image is to meet."""
        sliders = self._sliders
        i = sliders.service.domain.labels.index(label)
        return Target(i, sliders.opened.source.probabilities[i] >= THRESHOLD, margin)

    def _drawn_in_full(
        self, path: Path, name: str, index: int, nearer: bool = False
    ) -> tuple[Path, int]:
        """Draw a point of a path in full, where the fast decoder drew it; as `_nearest_in_full`."""
        alpha = float(path.alphas[index])
        if not alpha or not self._is_fast(name):
            return path, index
        if path.is_convincing[index]:
            target = self._target(path.label, path.margin)
            alpha = self._nearest_in_full(name, alpha, target, nearer)
        return self._with_full_point(path, name, round(alpha, 4))

    def _nearest_in_full(
        self, name: str, alpha: float, target: Target, nearer: bool = True
    ) -> float:
        """Return the position near `alpha` whose picture meets a target when it is drawn in full.

        Where the full picture is less convincing than the fast decoder had it, one farther along
        is drawn: where the log-odds lie that are missing, by how they changed from the source on.
        Where it is more convincing, and `nearer` is wanted, one nearer to the source.
        """
        sliders = self._sliders
        alpha_max = sliders.service.domain.alpha_max
        part = math.copysign(max(alpha_max / (POINTS // 2) / PARTS, 10**-DECIMALS), alpha)
        end = math.ceil((alpha_max - abs(alpha)) / abs(part) - SAME_ALPHA)

        def at(place: int) -> float:
            return round(max(-alpha_max, min(alpha_max, alpha + place * part)), DECIMALS)

        def missing(place: int) -> float:
            return target.missing(sliders.frame_in_full({name: at(place)}))

        lacks = missing(0)
        if lacks <= 0 and nearer:
            before = -alpha / part, target.missing(sliders.opened.source)
            return at(met_before(missing, lacks, before, NEARER))
        if lacks <= 0 or end < 1:
            return at(0)
        changed = target.missing(sliders.opened.source) - lacks
        distance = alpha / part * lacks / changed if changed > 0 else WITHIN
        found = smallest_met(missing, lacks, math.ceil(BEYOND * distance), end, WITHIN)
        return at(end if found is None else found)

    def _with_full_point(self, path: Path, name: str, alpha: float) -> tuple[Path, int]:
        """Draw one position in full, and put it among a path's points."""
        sliders = self._sliders
        frame, domain = sliders.frame_in_full({name: alpha}), sliders.service.domain
        return with_full_point(path, alpha, frame, sliders.opened, domain.labels, domain.search.lam)


def with_full_point(
    path: Path, alpha: float, frame: Frame, opened: Opened, labels: tuple[str, ...], lam: float
) -> tuple[Path, int]:
    """Put a picture of the full decoder among the points of a path of the fast decoder.

    It takes the place of the point at the same alpha. Where the path's counterfactual is the
    smallest convincing change, it also takes that of the points nearer to 0 which only the fast
    decoder takes for convincing: the counterfactual is a picture that was drawn in full.

    Parameters
    ----------
    path : Path
        Its points are composed with what the fast decoder draws at alpha 0.
    alpha : float
        The picture's position.
    frame : Frame
        The picture, composed with what the full decoder draws at alpha 0.
    opened : Opened
        The image that both are of.
    labels : tuple of str
        Of the frame's probabilities.
    lam : float
        Weight of LPIPS in the CF loss.

    Returns
    -------
    (Path, int)
        The path, and the index of the picture.
    """
    assert path.decoded is not None and frame.decoded is not None
    same = (path.alphas - alpha).abs() <= SAME_ALPHA
    gone = same.clone()
    if path.choice == SMALLEST:
        toward = path.alphas * alpha > 0
        gone |= path.is_convincing & toward & (path.alphas.abs() < abs(alpha))
    keep = ~gone
    at = int((path.alphas[keep] < alpha).sum())

    def joined(ours: Tensor, new: Tensor) -> Tensor:
        ours = ours[keep]
        return torch.cat([ours[:at], new.to(ours), ours[at:]])

    own = dict(zip(labels, frame.probabilities, strict=True))
    every = Tensor([[own[label] for label in path.labels]])
    probability = Tensor([own[path.label]])
    logit = probability.double().clamp(1e-12, 1 - 1e-12).logit()
    distance = Tensor([frame.distance])
    walked = joined(path.is_walked, (same & path.is_walked).any()[None])
    full, fast = (opened.composition(quick).baseline for quick in (False, True))
    assert full is not None and fast is not None
    return replace(
        path,
        alphas=joined(path.alphas, Tensor([alpha])),
        images=joined(path.images, frame.image),
        logits=joined(path.logits, logit),
        probabilities=joined(path.probabilities, probability),
        all_probabilities=joined(path.all_probabilities, every),
        distances=joined(path.distances, distance),
        losses=joined(path.losses, cf_loss(logit, distance, path.sign, lam)),
        decoded=joined(path.decoded, frame.decoded - full + fast),
        refined=tuple((~walked).nonzero().flatten().tolist()),
    ), at


def most_convincing(path: Path) -> int:
    """Index of the point that lies farthest beyond the threshold; nearest to it without a flip."""
    flipped = path.is_flipped if path.any_flip else torch.ones_like(path.is_flipped)
    beyond = (path.probabilities - path.threshold).abs() * (1 if path.any_flip else -1)
    return int(beyond.masked_fill(~flipped, -torch.inf).argmax())
