"""What a direction does to pictures, in words that are measured: where, how, in how many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.method.composition import local_deviation
from gcd_core.method.places import (
    FRAME,
    GRID,
    Atlas,
    Region,
    in_the,
    is_place_name,
    is_there,
    mask_of,
    on_grid,
    share_in,
    soft_mask,
    sure_place,
)
from gcd_core.wording import enumerated

FIGURE = "changes"  # among a set's metadata: what each direction changes, by its name
BRIGHTER, DARKER, REDDER, GREENER, BLUER, YELLOWER = AXIS_KINDS = (
    "brighter",
    "darker",
    "redder",
    "greener",
    "bluer",
    "yellower",
)
MORE_CONTRAST, LESS_CONTRAST = "higher in contrast", "lower in contrast"
SHARPER, SMOOTHER = "sharper", "smoother"
KINDS = (*AXIS_KINDS, MORE_CONTRAST, LESS_CONTRAST, SHARPER, SMOOTHER)
DIFFERENT = "different"  # of one picture, where it is none of them
OVERALL = "overall"  # of what is in no one place
REST = "rest of the picture"  # beside another place
# sRGB to CIE XYZ (IEC 61966-2-1), each row over the white of D65.
TO_XYZ = torch.tensor(
    [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
)
TO_XYZ = TO_XYZ / TO_XYZ.sum(1, keepdim=True)
ALSO = 0.5  # of the axis that changes most, from which on another one is told too
PART = 0.3  # of a change's squares, from which on a part of it is told
SEEN = 0.01  # mean absolute change along an axis, of [0, 1], from which on there is one
SEEN_DETAIL = 0.1  # the same of fine and of coarse structure, as a share of the picture's own
MOSTLY = 0.5  # of a picture's own change in the place that is named, where it counts as alike
MANY = 0.6  # of the pictures, in which what is told must be seen
ANSWERS = 0.1  # mean change of another question's probability, from which on it is told
MAX_OTHERS = 3  # questions that are told
MAX_PARTS = len(AXIS_KINDS)  # of a change, that are read from a file
MAX_TOLD = 64  # questions that are read from a file
LITTLE, RATHER = 0.4, 0.7  # absolute cosines of two directions: below, above
STANDS_OUT = 0.1  # between the absolute cosines with the nearest direction and with the next
MAX_WORD = 30  # letters of a domain's own word for a kind of change
FINE = 5  # pixels along the window of fine detail


@dataclass(frozen=True)
class Part:
    """One part of a change toward +alpha: how the picture becomes, and in which place, if in one.

    Attributes
    ----------
    kind : str
        One of `KINDS`; of one picture "different" too.
    place : str or None
        A place's name, of the domain's or of every picture's, or "rest of the picture"; None where
        no place holds 60 %: then three quarters of the whole change go that way.
    """

    kind: str
    place: str | None = None

    @property
    def phrase(self) -> str:
        """How and where, in words: "darker in both lungs", "brighter overall"."""
        return f"{self.kind} {in_the(self.place) if self.place else OVERALL}"


def told(parts: Sequence[Part], words: Mapping[str, str] | None = None) -> str:
    """Parts of a change in words, those of one place together.

    `words` are the domain's own for some of the kinds (`read_words`).
    """
    by_place: dict[str | None, list[str]] = {}
    for part in parts:
        by_place.setdefault(part.place, []).append((words or {}).get(part.kind, part.kind))
    return ", ".join(Part(enumerated(hows), place).phrase for place, hows in by_place.items())


@dataclass(frozen=True)
class Change:
    """What a direction changes toward +alpha, as it was measured on pictures.

    Attributes
    ----------
    parts : tuple of Part
        What is seen together in 60 % of the pictures or more; may be empty.
    alike : int
        Pictures in which all of it is seen.
    n : int
        Pictures that it was measured on.
    others : dict of str to float
        How far the probability of other questions moves, by label, on average; those that move by
        0.1 or more, the same way in 60 % of the pictures.
    """

    parts: tuple[Part, ...]
    alike: int
    n: int
    others: dict[str, float] = field(default_factory=dict)

    def sentence(
        self, names: Mapping[str, str] | None = None, words: Mapping[str, str] | None = None
    ) -> str:
        """The same for a person.

        `names` has the positive answer of each label that is told, `words` the domain's own words
        for kinds of change (`read_words`).
        """
        names = {label: label.capitalize() for label in self.others} if names is None else names
        seen = told(self.parts, words)
        alike = f"; alike in {self.alike} of {self.n} images" if seen else ""
        moved = [
            f"{names[label]} {'rises' if change > 0 else 'falls'}"
            for label, change in sorted(self.others.items(), key=lambda one: -abs(one[1]))
            if label in names
        ]
        also = f"; also {', '.join(moved[:MAX_OTHERS])}" if moved else ""
        return f"{seen or f'no common change in {self.n} images'}{alike}{also}"


def read_words(table: Mapping[str, object]) -> dict[str, str]:
    """Read a domain's own words for the kinds of change, such as "hazier" for "smoother".

    A word says how the picture becomes in a place: "... in both lungs".

    Raises
    ------
    GCDError
        Naming the first kind that there is not, or the first word that is none.
    """
    for kind, word in table.items():
        if kind not in (*KINDS, DIFFERENT):
            known = ", ".join((*KINDS, DIFFERENT))
            raise GCDError(f"There is no kind of change {kind[:MAX_WORD]!r}; there are {known}.")
        if not isinstance(word, str) or not 0 < len(word) <= MAX_WORD or not word.isprintable():
            raise GCDError(
                f"The word for {kind!r} is a text of 1 to {MAX_WORD} letters in one line."
            )
    return {kind: str(word) for kind, word in table.items()}


def detail_of(images: Tensor) -> Tensor:
    """How strong fine detail is (N, H, W) in images (N, C, H, W): deviation in 5 x 5 pixels."""
    return local_deviation(images.float().mean(1, keepdim=True), FINE)[:, 0]


def along_axes(before: Tensor, after: Tensor) -> dict[tuple[str, str], Tensor]:
    """Changes (N, 48, 48) of images (N, C, H, W), by what a gain and a loss is called.

    Of three channels along CIE L*, a* and -b*, each over 100: as strong as they look (CIE 1976).
    Of others the mean of the channels.
    """
    before, after = before.float().cpu(), after.float().cpu()
    if before.shape[1] != len(TO_XYZ):
        return {(BRIGHTER, DARKER): on_grid((after - before).mean(1))}
    change = _lab(after) - _lab(before)
    kinds = zip(AXIS_KINDS[::2], AXIS_KINDS[1::2], strict=True)
    return {kind: on_grid(change[:, i]) for i, kind in enumerate(kinds)}


def _lab(images: Tensor) -> Tensor:
    """L*, a* and -b* over 100 (N, 3, H, W) of sRGB images (N, 3, H, W) in [0, 1]."""
    images = images.clamp(0, 1)
    linear = torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("xc,nchw->xnhw", TO_XYZ, linear)
    x, y, z = torch.where(xyz > 216 / 24389, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (z - y)], dim=1)


def structure_kind(before: Tensor, after: Tensor, place: Tensor) -> str | None:
    """What became of the structure of one image (1, C, H, W) in a place (48, 48), bool.

    Higher or lower in contrast where fine detail and coarse structure changed by a tenth of the
    image's own, the same way. Sharper or smoother where fine detail alone did and the coarse image
    stayed as it was. None elsewhere.
    """
    coarse = [on_grid(image.float().mean(1).cpu()) for image in (before, after)]
    fine = [on_grid(detail_of(image).cpu())[0][place].mean() for image in (before, after)]
    wide = [_smooth(image)[0][place].std(correction=0) for image in coarse]
    fine_rise, wide_rise = (float(now / was.clamp(min=1e-6)) - 1 for was, now in (fine, wide))
    if min(abs(fine_rise), abs(wide_rise)) >= SEEN_DETAIL and fine_rise * wide_rise > 0:
        return MORE_CONTRAST if fine_rise > 0 else LESS_CONTRAST
    still = float((coarse[1] - coarse[0])[0][place].abs().mean()) < SEEN
    if still and abs(fine_rise) >= SEEN_DETAIL and abs(wide_rise) < SEEN_DETAIL:
        return SHARPER if fine_rise > 0 else SMOOTHER
    return None


def _smooth(maps: Tensor) -> Tensor:
    """Maps (N, 48, 48) without what is smaller than 5 squares."""
    return F.avg_pool2d(maps[:, None], 5, stride=1, padding=2, count_include_pad=False)[:, 0]


def measure_change(
    before: Tensor,
    after: Tensor,
    signs: Tensor,
    atlas: Atlas,
    answers: Mapping[str, Tensor] | None = None,
) -> Change:
    """Measure what a direction does to pictures.

    Parameters
    ----------
    before, after : Tensor (N, C, H, W)
        The pictures decoded at alpha 0 and somewhere along the direction, in [0, 1].
    signs : Tensor (N,)
        +1 or -1: which way each was walked. A walk to -alpha is taken with the opposite sign.
    atlas : mapping
        The domain's own places, as of `sure_place`.
    answers : mapping of str to Tensor (N,), optional
        By label, how far the probability of other questions moved on the walk.

    What becomes of the structure is told only where no brightness or colour is.
    """
    turned = signs.cpu().view(-1, 1, 1)
    axes = {kind: change * turned for kind, change in along_axes(before, after).items()}
    whole = torch.stack(list(axes.values())).square().sum((0, 2, 3)).clamp(min=1e-20)
    found = [one for hows, change in axes.items() for one in _parts(change, whole, hows, atlas)]
    found = found or _structure(before, after, signs)
    parts, n, together = list[Part](), len(signs), torch.ones(len(signs), dtype=torch.bool)
    for part, holds in found:
        if int((together & holds).sum()) >= MANY * n:
            parts.append(part)
            together &= holds
    moved = {label: values.cpu().float() * signs.cpu() for label, values in (answers or {}).items()}
    others = {
        label: round(float(values.mean()), 3)
        for label, values in moved.items()
        if abs(float(values.mean())) >= ANSWERS
        and int((values * values.mean() > 0).sum()) >= MANY * n
    }
    return Change(tuple(parts), int(together.sum()) if parts else 0, n, others)


def _parts(
    maps: Tensor, whole: Tensor, hows: tuple[str, str], atlas: Atlas
) -> list[tuple[Part, Tensor]]:
    """The rising and the falling part of changes (N, 48, 48), and the pictures (N,) with each.

    A part is told where it holds 30 % of all the change's squares, `whole` (N,), in 60 % of the
    pictures; its place, where that is sure on average and half of the part lies there in 60 % of
    the pictures. Three quarters of the change in what is told as its place go the part's way.
    """
    found: list[tuple[Part, Tensor]] = []
    seen = maps.abs().mean((1, 2)) >= SEEN
    for how, rising in zip(hows, (maps, -maps), strict=True):
        mass = rising.clamp(min=0).square()
        holds = seen & (mass.sum((1, 2)) / whole >= PART)
        if int(holds.sum()) < max(1, MANY * len(maps)):
            continue
        place = sure_place((mass / whole.view(-1, 1, 1))[holds].mean(0), atlas)
        if place is not None:
            boxes = _boxes(place, atlas)
            there = torch.tensor(
                [is_there(x, boxes, MOSTLY) for x in share_in(mass, boxes).tolist()]
            )
            there &= holds & (_lean_in(rising, mask_of(boxes)) >= MOSTLY)
            if int(there.sum()) >= MANY * len(maps):
                found.append((Part(how, place), there))
                continue
        found.append((Part(how), holds))
    return _whole_or_rest(found, maps, hows[0], atlas)


def _whole_or_rest(
    found: list[tuple[Part, Tensor]], maps: Tensor, rise: str, atlas: Atlas
) -> list[tuple[Part, Tensor]]:
    """The parts, those without a place only where three quarters of the change go their way.

    That is over the whole picture, or beside a part with a place over the rest of the picture.
    """
    named = [part.place for part, _ in found if part.place]
    mask = mask_of(_boxes(named[0], atlas)) if named else torch.zeros(GRID, GRID, dtype=torch.bool)
    kept: list[tuple[Part, Tensor]] = []
    for part, holds in found:
        if part.place is None:
            sign = 1 if part.kind == rise else -1
            holds = holds & (sign * _lean_in(maps, ~mask) >= MOSTLY)
            if int(holds.sum()) < max(1, MANY * len(maps)):
                continue
            part = Part(part.kind, REST if named else None)
        kept.append((part, holds))
    return kept


def _structure(before: Tensor, after: Tensor, signs: Tensor) -> list[tuple[Part, Tensor]]:
    """What became of the structure of 60 % of the pictures, toward +alpha; and of which (N,)."""
    everywhere = torch.ones(GRID, GRID, dtype=torch.bool)
    kinds: list[str | None] = []
    for sign, first, last in zip(signs.tolist(), before.split(1), after.split(1), strict=True):
        pair = (first, last) if sign > 0 else (last, first)
        kinds.append(structure_kind(*pair, everywhere))
    for kind in (MORE_CONTRAST, LESS_CONTRAST, SHARPER, SMOOTHER):
        holds = torch.tensor([one == kind for one in kinds])
        if int(holds.sum()) >= MANY * len(kinds):
            return [(Part(kind), holds)]
    return []


def _boxes(place: str, atlas: Atlas) -> tuple[Region, ...]:
    return {**FRAME, **atlas}[place]


def _lean_in(maps: Tensor, place: Tensor) -> Tensor:
    """How far maps (N, 48, 48) go one way in a place (48, 48), bool: (N,), -1 to 1.

    Their sum over that of their absolute values; 0.5 where three quarters rise and one falls.
    """
    inside = maps[:, place]
    return inside.sum(1) / inside.abs().sum(1).clamp(min=1e-12)


def parts_of(source: Tensor, changed: Tensor, atlas: Atlas) -> tuple[Part, ...]:
    """Where a picture changed most, and how it is there.

    Parameters
    ----------
    source, changed : Tensor (1, C, H, W)
        In [0, 1].
    atlas : mapping
        As of `sure_place`.

    Returns
    -------
    tuple of Part
        Of the one place where the change surely lies, if there is one. Else of the whole
        picture, where it changes one way; else one place and the rest of the picture, where these
        change opposite ways. It is named by the axes, luminance or colour, whose means change
        most, where three quarters of that go one way; else by the structure (`structure_kind`);
        else "different". Empty where nothing is seen, or nothing sure.
    """
    axes = {kind: maps[0] for kind, maps in along_axes(source, changed).items()}
    mass = torch.stack(list(axes.values())).square().sum(0)
    place = sure_place(mass, atlas) if bool(mass.any()) else None
    everywhere = torch.ones(GRID, GRID, dtype=torch.bool)
    mask = mask_of(_boxes(place, atlas)) if place else everywhere
    kinds = _leaning(axes, mask)
    if kinds:
        return tuple(Part(kind, place) for kind in kinds)
    opposite = _opposite(axes, float(mass.sum()), atlas) if place is None else ()
    if opposite:
        return opposite
    kind = structure_kind(source, changed, mask)
    seen = max(float(change[mask].abs().mean()) for change in axes.values()) >= SEEN
    if kind is None and place is not None and seen:
        kind = DIFFERENT
    return (Part(kind, place),) if kind else ()


def _leaning(axes: Mapping[tuple[str, str], Tensor], mask: Tensor) -> list[str]:
    """What the axis that changes most in a place is called, if three quarters of it go one way.

    Then those too that change half as much, likewise; the strongest first.
    """
    means = {kinds: float(change[mask].mean()) for kinds, change in axes.items()}
    least = max(SEEN, ALSO * max(map(abs, means.values())))
    found: list[str] = []
    for kinds, mean in sorted(means.items(), key=lambda one: -abs(one[1])):
        one_way = abs(float(_lean_in(axes[kinds][None], mask))) >= MOSTLY
        if abs(mean) < least or not one_way:
            break
        found.append(kinds[0] if mean > 0 else kinds[1])
    return found


def _opposite(
    axes: Mapping[tuple[str, str], Tensor], whole: float, atlas: Atlas
) -> tuple[Part, ...]:
    """A place and the rest of the picture that change opposite ways; empty where none do.

    Of all places and axes the one whose two means explain most of the change's squares, `whole`:
    30 % of them or more.
    """
    best, found = PART * whole, tuple[Part, ...]()
    for (rise, fall), change in axes.items():
        for place, boxes in {**FRAME, **atlas}.items():
            mask = mask_of(boxes)
            inside, outside = float(change[mask].mean()), float(change[~mask].mean())
            told = inside**2 * int(mask.sum()) + outside**2 * int((~mask).sum())
            if inside * outside < 0 and min(abs(inside), abs(outside)) >= SEEN and told >= best:
                hows = (rise, fall) if inside > 0 else (fall, rise)
                best, found = told, (Part(hows[0], place), Part(hows[1], REST))
    return found


def confined(source: Tensor, changed: Tensor, place: str, atlas: Atlas) -> Tensor:
    """An image with its change in one place alone, whose edges are soft: (1, C, H, W) in [0, 1]."""
    size = int(source.shape[-2]), int(source.shape[-1])
    mask = soft_mask(_boxes(place, atlas), size).to(source)
    return (source + mask * (changed.to(source) - source)).clamp(0, 1)


def nearest_direction(vectors: Tensor, names: Sequence[str], name: str) -> tuple[str, float] | None:
    """The other direction of a set that one resembles most, and their cosine; None without one.

    Parameters
    ----------
    vectors : Tensor (k, D)
        Of length 1.
    names : sequence of str
        k of them.
    name : str
        One of them.
    """
    at = names.index(name)
    cosines = (vectors @ vectors[at]).tolist()
    others = [(other, cosines[i]) for i, other in enumerate(names) if i != at]
    return max(others, key=lambda one: abs(one[1]), default=None)


def resembles_several(vectors: Tensor, names: Sequence[str], name: str) -> bool:
    """Whether a direction is like two others, and clearly more like neither.

    As of `nearest_direction`; both cosines are `LITTLE` or more, and differ by less than
    `STANDS_OUT`.
    """
    at = names.index(name)
    cosines = (vectors @ vectors[at]).abs()
    others = torch.cat([cosines[:at], cosines[at + 1 :]]).sort(descending=True).values
    if len(others) < 2:
        return False
    nearest, next_one = others[:2].tolist()
    return next_one >= LITTLE and nearest - next_one < STANDS_OUT


def likeness_word(cosine: float) -> str:
    """How alike two directions of a cosine are, in a word or two."""
    if abs(cosine) < LITTLE:
        return "little like"
    return "rather like" if abs(cosine) < RATHER else "much like"


# -- in a file ---------------------------------------------------------------------------------


def with_changes(metadata: dict[str, Any], changes: Mapping[str, Change]) -> dict[str, Any]:
    """Return a set's metadata with what its directions change; unchanged where that is unknown."""
    if not changes:
        return metadata
    return metadata | {FIGURE: {name: asdict(change) for name, change in changes.items()}}


def changes_of(metadata: Mapping[str, Any]) -> dict[str, Change]:
    """Return what a set's directions change, by name; without those of which a file tells nonsense.

    Places and labels are texts of the file, of at most 60 letters: they are escaped where they are
    shown.
    """
    told = metadata.get(FIGURE)
    found: dict[str, Change] = {}
    for name, one in (told if isinstance(told, dict) else {}).items():
        change = _read_change(one)
        if change is not None:
            found[str(name)] = change
    return found


def _read_change(told: object) -> Change | None:
    """One change of a file; None of nonsense."""
    if not isinstance(told, dict) or set(told) != {"parts", "alike", "n", "others"}:
        return None
    parts, others = told["parts"], told["others"]
    counts = told["alike"], told["n"]
    if not all(type(count) is int for count in counts) or not 0 <= counts[0] <= counts[1]:
        return None
    if not isinstance(parts, list | tuple) or not isinstance(others, dict):
        return None
    if len(parts) > MAX_PARTS or len(others) > MAX_TOLD or not all(map(_is_part, parts)):
        return None
    if not all(type(value) is float and math.isfinite(value) for value in others.values()):
        return None
    if not all(map(is_place_name, others)):
        return None
    return Change(tuple(Part(**part) for part in parts), *counts, others)


def _is_part(part: object) -> bool:
    """Whether this is one part of a change."""
    if not isinstance(part, dict) or set(part) != {"kind", "place"} or part["kind"] not in KINDS:
        return False
    return part["place"] is None or is_place_name(part["place"])
