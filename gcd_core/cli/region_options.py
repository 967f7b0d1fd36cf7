"""`--region` and `--method`: where a picture may change, and how."""

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from gcd_core.bridge.paths import NAME as RCSB
from gcd_core.bridge.rcsb import Steering
from gcd_core.cli.options import check_readable
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.images.mask import load_mask
from gcd_core.images.picture import Picture
from gcd_core.method.cells import QUERIES, check_budget
from gcd_core.method.directions import Direction
from gcd_core.method.region import (
    CELLS,
    QUANTILE,
    AutomaticRegion,
    FreeFormRegion,
    check_automatic,
    check_region,
)
from gcd_core.method.walk import walk

AUTOMATIC, FREE_FORM = "auto", "free"
GCD = "gcd"  # along a direction; the other method is the bridge's
METHODS = (GCD, RCSB)
Region = AutomaticRegion | FreeFormRegion
STEERING = {"steps": "bridge_steps", "tau": "tau", "strength": "strength"}  # and their options


def add_region(parser: argparse.ArgumentParser, automatic: bool = True) -> None:
    """Add the option that confines changes to a region."""
    how = (
        f"; or {AUTOMATIC}, {AUTOMATIC}:0.8, {AUTOMATIC}:0.8:16: the cells that matter most to an "
        f"unconfined change, from that quantile on (default {QUANTILE}), so many a side (default "
        f"{CELLS}), which asks the classifier {QUERIES} times more for each image; or "
        f"{FREE_FORM}:0.2, {FREE_FORM}:0.2:SEED: strokes, boxes or cells drawn at random over that "
        "share of the picture"
    )
    parser.add_argument(
        "--region",
        metavar="MASK",
        type=str if automatic else Path,
        help="change only what is white in this black and white picture of the image's size"
        + (how if automatic else ""),
    )


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose how a region is changed, and those of the bridge."""
    parser.add_argument(
        "--method",
        choices=METHODS,
        default=GCD,
        help="how the picture is changed: along a direction, black box (gcd, the default), or by "
        "the domain's bridge, steered by the classifier's gradient (rcsb; needs --region)",
    )
    parser.add_argument("--bridge-steps", type=int, help="of rcsb (default: the domain's)")
    parser.add_argument(
        "--tau", type=float, help="of rcsb: where on the bridge to begin, up to 1, which is noise"
    )
    parser.add_argument("--strength", type=float, help="of rcsb: how far the gradient leads a step")


def check_method(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before any work."""
    if args.method == RCSB:
        if not args.region:
            raise GCDError("--method rcsb changes a region; give --region.")
        steering_of(args, Steering())
        return
    given = [name for name in STEERING.values() if getattr(args, name) is not None]
    if given:
        raise GCDError(f"--{given[0].replace('_', '-')} belongs to --method rcsb.")


def steering_of(args: argparse.Namespace, default: Steering) -> Steering:
    """How the bridge is steered: the domain's way, but for what the options say."""
    given = {name: getattr(args, option) for name, option in STEERING.items()}
    return replace(default, **{k: v for k, v in given.items() if v is not None})


def read_region(text: str | None) -> Region | Path | None:
    """What `--region` says, checked as far as it can be without the domain."""
    if text is None:
        return None
    kind, *numbers = text.split(":")
    if kind not in (AUTOMATIC, FREE_FORM):
        check_readable(Path(text))
        return Path(text)
    try:
        if kind == FREE_FORM:
            share, seed = float(numbers[0]), int(numbers[1]) if len(numbers) > 1 else 0
        else:
            share = float(numbers[0]) if numbers else QUANTILE
            seed = int(numbers[1]) if len(numbers) > 1 else CELLS
        if len(numbers) > 2:
            raise ValueError
    except (ValueError, IndexError):
        raise GCDError(
            f"--region is a mask's file, {AUTOMATIC}:QUANTILE:CELLS, such as {AUTOMATIC}:0.7:16, "
            f"or {FREE_FORM}:SHARE:SEED, not {text!r}."
        ) from None
    return AutomaticRegion(share, seed) if kind == AUTOMATIC else FreeFormRegion(share, seed)


def painted_region(domain: Domain, file: Path, picture: tuple[int, int] | None = None) -> Tensor:
    """The mask (S, S), bool, of a file; refused where it is empty, full, or of another size."""
    mask = load_mask(file, domain.generator.image_size, picture, domain.fit)
    check_region(domain, mask)
    return mask


def prepared_region(
    domain: Domain, region: Region | Path | None, picture: tuple[int, int] | None = None
) -> Region | Tensor | None:
    """The region with its file read; refused, before any work, where it does not fit the domain."""
    if isinstance(region, Path):
        return painted_region(domain, region, picture)
    if isinstance(region, FreeFormRegion):
        region.mask(domain.generator.image_size)
    if isinstance(region, AutomaticRegion):
        check_automatic(region.quantile, region.cells, domain.generator.image_size)
        check_budget(domain.classifier, QUERIES)
    return region


def region_of(
    domain: Domain,
    region: Region | Tensor | None,
    image: Picture,
    direction: Direction | None,
    label: str,
    detail: str | None = None,
) -> Tensor | None:
    """The mask (S, S) of one picture, an automatic one by a walk along a direction."""
    side = domain.generator.image_size
    if isinstance(region, FreeFormRegion):
        return region.mask(side)
    if not isinstance(region, AutomaticRegion):
        return region
    if direction is None:
        raise GCDError(f"--region {AUTOMATIC} walks along a direction; give --directions FILE too.")
    path = walk(domain, image, direction, label, detail=detail)
    return region.mask(domain.classifier, label, *path.ends_for(domain.classifier), side)
