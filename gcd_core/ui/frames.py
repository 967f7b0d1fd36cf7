"""Pictures with what the models say of them, and the ones that a session keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from cachetools import LRUCache
from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.method.composition import Composition, compose
from gcd_core.method.directions import DirectionSet
from gcd_core.method.path import Path
from gcd_core.method.verification import tried_of

LINE_POINTS = 9  # decoded on a line along several directions, its ends included
POINTS = 25  # stops of a slider, both ways and the middle: a path's decoded pictures, at most
MAX_H, MAX_W = 8, 4  # h-directions and w that the page has room for
SLIDERS = ("g", *(f"h{i}" for i in range(1, MAX_H + 1)), *(f"w{i}" for i in range(1, MAX_W + 1)))
# A direction that was not tried on examples folds away where the proxy's logit changes along it by
# less than both. 1 takes an even chance to 73 % at most. Where the proxy is mild about everything,
# so that g itself takes it little farther, a direction still counts that reaches a quarter as far
# as the farthest.
LEAST_REACH = 1.0  # log-odds
LEAST_SHARE = 0.25  # of the reach of the set's farthest-reaching direction

CARD_SIDE = 512  # pixels of a picture of a region or of the wall of many, at most

Alphas = dict[str, float]  # how far along each direction; one that is left out stands at 0


def alpha_grid(alpha_max: float) -> list[float]:
    """The stops of a slider: POINTS positions from -alpha_max to +alpha_max."""
    half = POINTS // 2
    return [round(alpha_max * i / half, 4) for i in range(-half, half + 1)]


def shown_names(directions: DirectionSet) -> list[str]:
    """The directions of a set that the page has a slider for."""
    return [name for name in SLIDERS if name in directions.names]


def weak_direction_names(directions: DirectionSet, alpha_max: float) -> list[str]:
    """The shown directions that are not worth a look at once, never g.

    Those that flip too few of the examples that they were tried on: less than 60 % of each side,
    or fewer than half of all and of no side every one. Of a set that does not say what was tried,
    those that hardly move the proxy's logit within `alpha_max`; none without a proxy.
    """
    tried = tried_of(directions.metadata)
    if tried:
        failed = {name for name, one in tried.items() if not one.works or one.flips_few}
        return [name for name in shown_names(directions) if name != "g" and name in failed]
    reach = directions.reach(alpha_max)
    if reach is None:
        return []
    bound = min(LEAST_REACH, LEAST_SHARE * float(reach.max()))
    far = dict(zip(directions.names, reach.tolist(), strict=True))
    return [name for name in shown_names(directions) if name != "g" and far[name] < bound]


def weak_last(directions: DirectionSet, alpha_max: float) -> list[str]:
    """The shown directions, those last that are folded away."""
    weak = weak_direction_names(directions, alpha_max)
    return sorted(shown_names(directions), key=lambda name: name in weak)


def rounded(alphas: Alphas, names: list[str]) -> Alphas:
    """Positions as they are compared and kept: of known directions, without zeros."""
    near = {name: round(float(alphas[name]), 4) for name in names if name in alphas}
    return {name: alpha for name, alpha in near.items() if alpha}


def neighbours(here: Alphas, names: list[str], moved: str, alpha_max: float) -> Iterator[Alphas]:
    """The stops next to a position, up and down along each direction, that of `moved` first."""
    stops = alpha_grid(alpha_max)
    for name in sorted(names, key=lambda name: name != moved):
        at = min(range(POINTS), key=lambda i: abs(stops[i] - here.get(name, 0.0)))
        for i in (at + 1, at - 1):
            if 0 <= i < POINTS:
                yield rounded(here | {name: stops[i]}, names)


FRAMES_KEPT = 256
FRAME_BYTES_KEPT = 2**24

Key = tuple[tuple[str, float], ...]
Opinion = tuple[float | None, ...]  # the oracle's probabilities, None of a label it does not know


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture and what the models say of it."""

    image: Tensor  # (1, C, H, W): in [0, 1]
    probabilities: tuple[float, ...]  # one per label, in the domain's order
    distance: float  # LPIPS to the opened image
    live: bool = False  # whether a faster decoder than the full one drew it
    oracle: Opinion | None = None  # the oracle's, likewise; None where it was not asked
    # (1, C, H, W): what the generator drew, where `image` is made of it.
    decoded: Tensor | None = None
    composition: Composition | None = None  # how `image` is made of `decoded`

    @cached_property
    def picture(self) -> Tensor:
        """The picture at the opened picture's own size: (1, C, H, W), in [0, 1]."""
        composition, own = self.composition, tuple(self.image.shape[-2:])
        if composition is None or self.decoded is None or composition.size == own:
            return self.image
        return composition.picture(self.decoded)

    def asked(self, classifier: BlackBox) -> Tensor:
        """The picture as a classifier is asked about it: (1, C, h, w)."""
        if self.composition is None or self.decoded is None:
            return self.image
        return self.composition.asked(self.decoded, classifier)


@dataclass(frozen=True, eq=False)
class Opened:
    """An opened image: its pixels, its latent, and its pictures before any move."""

    name: str  # as the page shows it
    image: Tensor  # (1, C, H, W): in [0, 1]
    latent: Latent  # its codes
    source: Frame  # the untouched picture
    # The image encoded and decoded in full: the picture where all sliders stand at 0.
    reconstruction: Frame
    notice: str = ""  # a warning to show with it, or nothing
    # Its off-distribution score, where the domain has one.
    off_distribution_score: float | None = None
    fitted: str = ""  # how it was brought to a square; nothing where it was one
    # Width by height in which its pictures are to be seen: that of the file, where it was stretched
    # to a square.
    aspect: float = 1.0
    # The image with all its pixels; None where only `image` is known.
    picture: Picture | None = None
    # How pictures are made of what the full and the fast decoder draw, where the change is put into
    # the image itself; None where the decoded pictures are shown.
    compositions: tuple[Composition, Composition] | None = None

    @property
    def walked(self) -> Tensor | Picture:
        """What a walk or a search starts from."""
        if self.picture is None or self.compositions is None:
            return self.image
        return self.picture

    @property
    def pixels(self) -> Tensor:
        """The image at the size of what is shown of it: (1, C, H, W), in [0, 1]."""
        return self.image if self.compositions is None else self.compositions[0].pixels

    @property
    def rest(self) -> Frame:
        """The picture where all sliders stand at 0."""
        return self.reconstruction if self.compositions is None else self.source

    def composition(self, fast: bool = False) -> Composition:
        """How pictures are made of what the full or the fast decoder draws."""
        if self.compositions is None:
            return compose(self.image)
        return self.compositions[fast]


class End(NamedTuple):
    """The picture at one end of a direction's slider."""

    alpha: float
    probability: float  # of the label that is explained
    image: Tensor  # (1, C, H, W): in [0, 1]


Ends = tuple[End, End]  # toward the label's negative side, and toward its positive one


class KeptFrames:
    """The frames of one image that a session has seen, by position; old ones make room.

    Not for several threads at a time: the session's lock guards it.

    Parameters
    ----------
    rest : Frame
        The picture at rest, which is always kept.
    """

    def __init__(self, rest: Frame) -> None:
        size = min(max(rest.image.nbytes, FRAME_BYTES_KEPT // FRAMES_KEPT), FRAME_BYTES_KEPT // 2)
        self._rest = rest
        self._frames: LRUCache[Key, Frame] = LRUCache(FRAME_BYTES_KEPT // size)

    def __contains__(self, alphas: Alphas) -> bool:
        return not alphas or key_of(alphas) in self._frames

    def get(self, alphas: Alphas) -> Frame | None:
        """Return the frame at a position, or None where it is not kept."""
        return self._frames.get(key_of(alphas)) if alphas else self._rest

    def keep(self, alphas: Alphas, frame: Frame) -> None:
        """Keep the frame at a position."""
        if alphas:
            self._frames[key_of(alphas)] = frame
        else:
            self._rest = frame

    def clear(self) -> None:
        """Drop all frames but the one at rest."""
        self._frames.clear()


def key_of(alphas: Alphas) -> Key:
    """A position as a key, whatever the order of its directions."""
    return tuple(sorted(alphas.items()))


def line_vector(directions: DirectionSet, alphas: Alphas) -> tuple[Tensor, float]:
    """Return the unit vector (D,) of the line to a position, and alpha there, the signed distance.

    Alpha has the sign of the direction that moved most, so that a line stays turned as it was while
    others join. The position must not be the one where all sliders stand at 0.
    """
    moves = [alpha * directions[name].vector for name, alpha in alphas.items()]
    vector = torch.stack(moves).sum(0)
    place = math.copysign(float(vector.norm()), max(alphas.values(), key=abs))
    return vector / math.copysign(max(abs(place), 1e-12), place), place


def latent_at(opened: Opened, directions: DirectionSet, alphas: Alphas) -> Latent:
    """The latent at z_sem + sum of alpha_i v_i."""
    z_sem = opened.latent.z_sem
    for name, alpha in alphas.items():
        z_sem = z_sem + alpha * directions[name].vector.to(z_sem)
    return opened.latent.with_z_sem(z_sem)


def path_frame(
    path: Path,
    index: int,
    labels: tuple[str, ...],
    opinion: Opinion | None = None,
    live: bool = False,
) -> Frame:
    """The frame at one point of a decoded path, its probabilities in the order of `labels`.

    `live` says that the path was decoded by the fast decoder.
    """
    values = dict(zip(path.labels, path.all_probabilities[index].tolist(), strict=True))
    return Frame(
        path.images[index : index + 1],
        tuple(values[label] for label in labels),
        float(path.distances[index]),
        live,
        oracle=opinion,
        decoded=None if path.decoded is None else path.decoded[index : index + 1],
        composition=path.composition,
    )
