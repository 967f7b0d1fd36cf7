"""`--region`: where a picture may change, by a file or by what matters most."""

import argparse
from pathlib import Path

from torch import Tensor

from gcd_core.cli.options import check_readable
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.images.mask import load_mask
from gcd_core.method.cells import QUERIES, check_budget
from gcd_core.method.directions import Direction
from gcd_core.method.region import (
    CELLS,
    QUANTILE,
    AutomaticRegion,
    check_automatic,
    check_region,
)
from gcd_core.method.walk import walk

AUTOMATIC = "auto"


def add_region(parser: argparse.ArgumentParser, automatic: bool = True) -> None:
    """Add the option that confines changes to a region."""
    how = (
        f"; or {AUTOMATIC}, {AUTOMATIC}:0.8, {AUTOMATIC}:0.8:16: the cells that matter most to an "
        f"unconfined change, from that quantile on (default {QUANTILE}), so many a side (default "
        f"{CELLS}), which asks the classifier {QUERIES} times more for each image"
    )
    parser.add_argument(
        "--region",
        metavar="MASK",
        type=str if automatic else Path,
        help="change only what is white in this black and white picture of the image's size"
        + (how if automatic else ""),
    )


def read_region(text: str | None) -> AutomaticRegion | Path | None:
    """What `--region` says, checked as far as it can be without the domain."""
    if text is None:
        return None
    kind, *numbers = text.split(":")
    if kind != AUTOMATIC:
        check_readable(Path(text))
        return Path(text)
    try:
        quantile = float(numbers[0]) if numbers else QUANTILE
        cells = int(numbers[1]) if len(numbers) > 1 else CELLS
        if len(numbers) > 2:
            raise ValueError
    except ValueError:
        raise GCDError(
            f"--region is a mask's file or {AUTOMATIC}:QUANTILE:CELLS, such as {AUTOMATIC}:0.7:16, "
            f"not {text!r}."
        ) from None
    return AutomaticRegion(quantile, cells)


def painted_region(domain: Domain, file: Path, picture: tuple[int, int] | None = None) -> Tensor:
    """The mask (S, S), bool, of a file; refused where it is empty, full, or of another size."""
    mask = load_mask(file, domain.generator.image_size, picture, domain.fit)
    check_region(domain, mask)
    return mask


def prepared_region(
    domain: Domain,
    region: AutomaticRegion | Path | None,
    picture: tuple[int, int] | None = None,
) -> AutomaticRegion | Tensor | None:
    """The region with its file read; refused, before any work, where it does not fit the domain."""
    if isinstance(region, Path):
        return painted_region(domain, region, picture)
    if region is not None:
        check_automatic(region.quantile, region.cells, domain.generator.image_size)
        check_budget(domain.classifier, QUERIES)
    return region


def region_of(
    domain: Domain,
    region: AutomaticRegion | Tensor | None,
    image: Tensor,
    direction: Direction,
    label: str,
) -> Tensor | None:
    """The mask (S, S) of one image (1, C, S, S), an automatic one by a walk along a direction."""
    if not isinstance(region, AutomaticRegion):
        return region
    path = walk(domain, image, direction, label)
    return region.mask(domain.classifier, label, path.source, path.counterfactual_image)
