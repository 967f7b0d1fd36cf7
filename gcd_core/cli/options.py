"""What the commands share: common options, checks before any work, progress bars, JSON files."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gcd_core import files
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.method.composition import DETAILS
from gcd_core.method.counterfactual import CHOICES, SMALLEST, check_counterfactual
from gcd_core.method.search_run import Progress


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command on a domain has."""
    parser.add_argument(
        "--domain", required=True, help="a bundled domain's name, a folder, or hf://owner/repo"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Add the options of the sampler; left out, the domain's fast settings hold."""
    parser.add_argument("--solver", help="ddim, dpm++2m or distilled (default: the domain's)")
    parser.add_argument("--steps", type=int, help="network evaluations per image decoded")


def add_counterfactual(parser: argparse.ArgumentParser) -> None:
    """Add the options of the counterfactual on a walk; left out, the domain's hold."""
    parser.add_argument(
        "--counterfactual",
        choices=CHOICES,
        help="the smallest convincing change, or the paper's lowest loss (default: the domain's)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        help="how far beyond the threshold a convincing probability lies, 0 to 0.5",
    )


def add_detail(parser: argparse.ArgumentParser) -> None:
    """Add the option of what is shown and asked about; left out, the domain's holds."""
    parser.add_argument(
        "--detail",
        choices=DETAILS,
        help="show the picture itself with the generator's change put in (source), or what the "
        "generator decodes, as in the paper (decoded); default: the domain's",
    )


def in_detail(domain: Domain, detail: str | None) -> Domain:
    """The domain with another `detail`; None leaves its own."""
    return domain if detail is None else replace(domain, detail=detail)


def check_margin(margin: float | None) -> None:
    """Refuse a margin outside [0, 0.5]; None stands for the domain's."""
    if margin is not None:
        check_counterfactual(SMALLEST, margin)


def check_readable(*paths: Path) -> None:
    """Refuse files that are not there."""
    for path in paths:
        if not path.is_file():
            raise GCDError(f"{path} is not a file; give one that exists.")


def check_writable(*paths: Path | None) -> None:
    """Refuse files that could not be written once the work is done."""
    for path in paths:
        if path is None:
            continue
        folder = path.absolute().parent
        if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise GCDError(f"{path} cannot be written; name a file in a folder that exists.")


def write_json(path: Path | None, result: dict[str, Any]) -> None:
    """Write `result` to a file that appears whole or not at all; None is no file."""
    if path is not None:
        files.write_json(path, result, indent=2)


def bar(total: int | None = None, what: str = "") -> tqdm:
    """A progress bar on stderr, shown only if a person is looking at it."""
    return tqdm(
        total=total, desc=what, file=sys.stderr, disable=not sys.stderr.isatty(), leave=False
    )


def moving(shown: tqdm) -> Callable[[int, int], None]:
    """Return a `progress(done, total)` that moves a bar."""

    def progress(done: int, total: int) -> None:
        shown.total = total
        shown.update(done - shown.n)

    return progress


class StageBars:
    """Turns the stages of a search into progress bars, one after the other.

    Use it as a context, and its `update` as the search's `progress`.
    """

    def __init__(self) -> None:
        self._stage: str | None = None
        self._bar = bar(total=0)

    def __enter__(self) -> "StageBars":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self, progress: Progress) -> None:
        """Show the stage that a search is in, and how much of it is done."""
        if progress.stage != self._stage:
            self._bar.close()
            self._stage = progress.stage
            self._bar = bar(progress.total, progress.stage)
        self._bar.update(progress.done - self._bar.n)
