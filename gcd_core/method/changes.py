"""What a direction does to pictures, in words that are measured: where, how, in how many."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.method.composition import local_deviation
from gcd_core.method.places import (
    FRAME,
    Atlas,
    Region,
    is_place_name,
    is_there,
    mask_of,
    on_grid,
    share_in,
    sure_place,
)

FIGURE = "changes"  # among a set's metadata: what each direction changes, by its name
BRIGHTER, DARKER, SHARPER, SMOOTHER = HOW = ("brighter", "darker", "sharper", "smoother")
DIFFERENT = "different"  # of one picture, where it is none of them
PART = 0.3  # of a change's squares, from which on a part of it is told
SEEN = 0.01  # mean absolute change of brightness, of [0, 1], from which on there is one
SEEN_DETAIL = 0.1  # the same of fine detail, as a share of the picture's own
MOSTLY = 0.5  # of a picture's own change in the place that is named, where it counts as alike
MANY = 0.6  # of the pictures, in which what is told must be seen
ANSWERS = 0.1  # mean change of another question's probability, from which on it is told
MAX_OTHERS = 3  # questions that are told
MAX_TOLD = 64  # questions, and parts, that are read from a file
LITTLE, RATHER = 0.4, 0.7  # absolute cosines of two directions: below, above
MAX_WORD = 30  # letters of a domain's own word for a kind of change
FINE = 5  # pixels along the window of fine detail


@dataclass(frozen=True)
class Part:
    """One part of a change toward +alpha: how the picture becomes, and in which place, if in one.

    Attributes
    ----------
    how : {"brighter", "darker", "sharper", "smoother"}
        Of one picture "different" too.
    place : str or None
        A place's name, of the domain's or of every picture's; None where no place holds 60 %.
    """

    how: str
    place: str | None = None


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
        by_place: dict[str, list[str]] = {}
        for part in self.parts:
            where = f"in the {part.place}" if part.place else "in no one place"
            by_place.setdefault(where, []).append((words or {}).get(part.how, part.how))
        told = ", ".join(f"{' and '.join(hows)} {where}" for where, hows in by_place.items())
        alike = f"; alike in {self.alike} of {self.n} images" if told else ""
        moved = [
            f"{names[label]} {'rises' if change > 0 else 'falls'}"
            for label, change in sorted(self.others.items(), key=lambda one: -abs(one[1]))
            if label in names
        ]
        also = f"; also {', '.join(moved[:MAX_OTHERS])}" if moved else ""
        return f"{told or f'no one change in {self.n} images'}{alike}{also}"


def read_words(table: Mapping[str, object]) -> dict[str, str]:
    """Read a domain's own words for the kinds of change, such as "hazier" for "smoother".

    A word says how a picture is after the change: it ends "if the lung were ...".

    Raises
    ------
    GCDError
        Naming the first kind that there is not, or the first word that is none.
    """
    for kind, word in table.items():
        if kind not in (*HOW, DIFFERENT):
            known = ", ".join((*HOW, DIFFERENT))
            raise GCDError(f"There is no kind of change {kind[:MAX_WORD]!r}; there are {known}.")
        if not isinstance(word, str) or not 0 < len(word) <= MAX_WORD or not word.isprintable():
            raise GCDError(
                f"The word for {kind!r} is a text of 1 to {MAX_WORD} letters in one line."
            )
    return {kind: str(word) for kind, word in table.items()}


def detail_of(images: Tensor) -> Tensor:
    """How strong fine detail is (N, H, W) in images (N, C, H, W): deviation in 5 x 5 pixels."""
    return local_deviation(images.float().mean(1, keepdim=True), FINE)[:, 0]


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
    """
    turned = signs.cpu().view(-1, 1, 1)
    light = on_grid((after - before).float().mean(1).cpu()) * turned
    detail, own = (on_grid(detail_of(images).cpu()) for images in (after, before))
    fine = (detail - own) * turned
    seen_fine = fine.abs().mean((1, 2)) / own.mean((1, 2)).clamp(min=1e-6) >= SEEN_DETAIL
    found = _parts(light, light.abs().mean((1, 2)) >= SEEN, (BRIGHTER, DARKER), atlas)
    found += _parts(fine, seen_fine, (SHARPER, SMOOTHER), atlas)
    parts, n, together = list[Part](), len(light), torch.ones(len(light), dtype=torch.bool)
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
    maps: Tensor, seen: Tensor, hows: tuple[str, str], atlas: Atlas
) -> list[tuple[Part, Tensor]]:
    """The rising and the falling part of changes (N, 48, 48), and the pictures (N,) with each.

    A part is told where it holds 30 % of the change's squares in 60 % of the pictures; its place,
    where that is sure on average and half of the part lies there in 60 % of the pictures.
    """
    places, found = {**FRAME, **atlas}, []
    whole = maps.square().sum((1, 2)).clamp(min=1e-20)
    for how, part in zip(hows, (maps.clamp(min=0), (-maps).clamp(min=0)), strict=True):
        mass = part.square()
        holds = seen & (mass.sum((1, 2)) / whole >= PART)
        if int(holds.sum()) < max(1, MANY * len(maps)):
            continue
        mean = (mass / whole.view(-1, 1, 1))[holds].mean(0)
        place = sure_place(mean, atlas)
        if place is not None:
            boxes = places[place]
            shares = share_in(mass, boxes).tolist()
            there = holds & torch.tensor([is_there(share, boxes, MOSTLY) for share in shares])
            place = place if int(there.sum()) >= MANY * len(maps) else None
            holds = holds if place is None else there
        found.append((Part(how, place), holds))
    return found


def part_of(source: Tensor, changed: Tensor, heat: Tensor | None, atlas: Atlas) -> Part | None:
    """The one place where a picture changed, if there is one, and how it is there.

    Parameters
    ----------
    source, changed : Tensor (1, C, H, W)
        In [0, 1].
    heat : Tensor (h, w) or None
        A map of what mattered, signed. Where it has a sure place, that counts.
    atlas : mapping
        As of `sure_place`.

    Returns
    -------
    Part or None
        Brighter or darker where three quarters of the change go that way, else sharper or smoother
        where fine detail changed by a tenth, else "different". Where neither the map nor the
        difference has a sure place, it is of the whole picture; None where that is "different".
    """
    change = on_grid((changed - source).float().mean(1).cpu())[0]
    masses = [] if heat is None else [on_grid(heat[None].cpu())[0].abs()]
    found = (sure_place(mass, atlas) for mass in (*masses, change.square()) if bool(mass.any()))
    place = next(filter(None, found), None)
    mask = mask_of({**FRAME, **atlas}[place] if place else (Region(0, 1, 0, 1),))
    inside = change[mask]
    lean = float(inside.sum() / inside.abs().sum().clamp(min=1e-12))
    if abs(lean) >= MOSTLY:  # three quarters against one
        return Part(BRIGHTER if lean > 0 else DARKER, place)
    before, after = (on_grid(detail_of(image).cpu())[0][mask].mean() for image in (source, changed))
    rise = float((after - before) / before.clamp(min=1e-6))
    if abs(rise) >= SEEN_DETAIL:
        return Part(SHARPER if rise > 0 else SMOOTHER, place)
    return Part(DIFFERENT, place) if place else None


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


def likeness_word(cosine: float) -> str:
    """How alike two directions of a cosine are, in a word or two."""
    if abs(cosine) < LITTLE:
        return "little like"
    return "rather like" if abs(cosine) < RATHER else "nearly"


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
    if len(parts) > len(HOW) or len(others) > MAX_TOLD or not all(map(_is_part, parts)):
        return None
    if not all(type(value) is float and math.isfinite(value) for value in others.values()):
        return None
    if not all(map(is_place_name, others)):
        return None
    return Change(tuple(Part(**part) for part in parts), *counts, others)


def _is_part(part: object) -> bool:
    """Whether this is one part of a change."""
    if not isinstance(part, dict) or set(part) != {"how", "place"} or part["how"] not in HOW:
        return False
    return part["place"] is None or is_place_name(part["place"])
