"""How good a domain became, in plain words, and what would mend it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcd_core.evaluation.result_tables import FOLDER as RESULTS
from gcd_core.new_domain.domain_file import file_of
from gcd_core.wording import percent

SIDE = 0.97  # of test pictures whose reconstruction the classifier puts on their own side
LPIPS = {1: 0.05, 3: 0.08}  # of reconstructions, by channels: grey, colour
FLIPS = 0.95  # of test pictures that g flips
FOLLOWS = 0.6  # of flips that the second opinion follows
RANKS = 0.9  # AUROC of the classifier


@dataclass(frozen=True)
class Finding:
    """One sentence of a verdict.

    Attributes
    ----------
    good : bool
    told : str
        What was measured.
    mend : str
        What would make it better; "" where it is good.
    """

    good: bool
    told: str
    mend: str = ""

    @property
    def sentence(self) -> str:
        """The same for a person."""
        return f"{self.told} ({'good' if self.good else self.mend})."


def verdict_of(
    folder: Path, labels: Sequence[str], channels: int, unusable: int = 0
) -> list[Finding]:
    """Read what was measured of a domain, and judge it.

    Parameters
    ----------
    folder : Path
        Of the domain, with `results/`.
    labels : sequence of str
    channels : int
        1 or 3: coarse reconstructions are seen sooner in grey.
    unusable : int
        Files that were no pictures.
    """
    found = []
    row = read_results(folder, "reconstruction")["reconstruction"][0]
    for label in labels:
        found.append(_side(label, row["agreement"][label]))
    found.append(_likeness(row["lpips"], channels))
    for label in labels:
        figures = read_results(folder, f"{file_of(label, '')}-g")
        found.append(_flips(label, figures["flip_rate"], figures["n"]))
        if figures["flip_rate"] > 0:
            found.append(_follows(label, figures["oracle_flip_rate"]))
    found += _ranks(folder)
    if unusable:
        told = f"{unusable} files were no pictures"
        found.append(Finding(False, told, "they are listed in unusable.txt"))
    return found


def _side(label: str, share: float) -> Finding:
    told = f"Reconstructions keep {beside(share, SIDE)} of the classifier's answers to {label!r}"
    mend = (
        f"too few, wanted {percent(SIDE)}: more minutes, or the classifier reads what is smaller "
        "than the generator draws"
    )
    return Finding(share >= SIDE, told, mend)


def beside(share: float, wanted: float) -> str:
    """A share as a person reads it, finer where it would read as the one that it misses."""
    told = percent(share)
    return f"{100 * share:.1f} %" if share < wanted and told == percent(wanted) else told


def _likeness(lpips: float, channels: int) -> Finding:
    told = f"LPIPS of reconstructions is {lpips:.3f}"
    return Finding(
        lpips <= LPIPS[channels], told, f"coarse, wanted {LPIPS[channels]}: more minutes refine it"
    )


def _flips(label: str, share: float, count: int) -> Finding:
    told = f"g flips {beside(share, FLIPS)} of {count} test pictures for {label!r}"
    mend = (
        f"too few, wanted {percent(FLIPS)}: more minutes, more pictures of both sides, or a "
        "question that pictures show more of"
    )
    return Finding(share >= FLIPS, told, mend)


def _follows(label: str, share: float | None) -> Finding:
    if share is None:
        told = f"Nobody gives a second opinion on {label!r}"
        return Finding(False, told, "give labels of its classes, or an [oracle] in a TOML file")
    told = f"The second opinion on {label!r} follows in {beside(share, FOLLOWS)} of the flips"
    mend = (
        f"too few, wanted {percent(FOLLOWS)}: what the directions draw is read by this classifier "
        "alone; look at the pictures"
    )
    return Finding(share >= FOLLOWS, told, mend)


def _ranks(folder: Path) -> list[Finding]:
    """What the classifiers' AUROCs say, where labels were there to tell."""
    if not (folder / RESULTS / "classifiers.json").is_file():
        return []
    found = []
    for network, own in read_results(folder, "classifiers")["classifiers"].items():
        name = "classifier" if network == "classifier" else "second opinion"
        for label, figures in own.items():
            told = f"AUROC of the {name} for {label!r} is {figures['auroc']:.3f}"
            mend = f"low, wanted {RANKS}: what it explains is partly noise"
            found.append(Finding(figures["auroc"] >= RANKS, told, mend))
    return found


def read_results(folder: Path, name: str) -> dict[str, Any]:
    """What a command's --json left in a domain's results, such as `reconstruction`."""
    return json.loads((folder / RESULTS / f"{name}.json").read_text(encoding="utf-8"))
