"""`describe`: measure what a domain's directions do to pictures; write it to their files."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.options import add_common, bar, check_writable, write_json
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.picture import Picture
from gcd_core.method.changes import FIGURE as CHANGES
from gcd_core.method.changes import Change, with_changes
from gcd_core.method.directions import DirectionSet
from gcd_core.method.verification import FIGURE as TRIED
from gcd_core.method.verification import MAX_EXAMPLES, Examples, Tried, with_tried


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `describe`."""
    add_common(parser)
    parser.add_argument("--label", help="only the directions of this label (default: all labels)")
    parser.add_argument(
        "--images", type=Path, help="folder or zip to measure on (default: the domain's examples)"
    )
    parser.add_argument("--labels", type=Path, help="CSV of those images that count: file, split")
    parser.add_argument("--split", help="only the images of this split of --labels")
    parser.add_argument(
        "--most",
        type=int,
        default=MAX_EXAMPLES,
        help=f"images to measure on, at most (default: {MAX_EXAMPLES}); each direction asks the "
        "classifier about each of them once, g twice",
    )


def main(args: argparse.Namespace) -> None:
    """Measure, write the files anew with nothing else changed, and tell."""
    check_at_least(1, most=args.most)
    if (args.labels or args.split) and args.images is None:
        raise GCDError("--labels and --split choose among --images; give those too.")
    check_writable(args.json)
    domain = gcd_core.load_domain(args.domain, device=args.device)
    sets = directions_of(domain, args.label)
    given: list[Tensor | Picture] = []
    if args.images:
        names = ImageFiles(args.images, args.labels, args.split, args.most)
        given = [image for _, image in names.load(domain.load_picture)]
    labels = [directions.label for directions in sets.values()]
    images = {label: given or [*domain.example_images(args.most, label)] for label in labels}
    for label, own in images.items():
        if not own:
            raise GCDError(f"{domain.name} has no examples of {label}; give --images.")
    positive = {label: words for label, (_, words) in domain.label_names.items()}
    changed: dict[str, Any] = {}
    flips: dict[str, Any] = {}
    for file, directions in sets.items():
        label = directions.label
        found = measured(domain, directions, images[label], args.most)
        changes = {name: change for name, (_, change) in found.items()}
        metadata = with_changes(directions.metadata, changes)
        if not given:  # of other images the page does not speak
            metadata = with_tried(metadata, {name: one for name, (one, _) in found.items()})
            flips[label] = metadata[TRIED]
        replace(directions, metadata=metadata).save(file)
        changed[label] = metadata[CHANGES]
        for name, change in changes.items():
            print(f"{label} {name}: {change.sentence(positive, domain.change_words)}")
    counts = {label: len(own) for label, own in images.items()}
    numbers = {"domain": domain.name, "n": counts, "changes": changed}
    write_json(args.json, numbers | ({"tried": flips} if flips else {}))


def directions_of(domain: Domain, label: str | None) -> dict[Path, DirectionSet]:
    """Ready-made directions by file, of one label or of all; a GCDError without any."""
    found = {}
    for name in domain.labels if label is None else [label]:
        directions = domain.ready_directions(name)
        if directions is not None:
            found[domain.folder / str(domain.label_info[name].directions)] = directions
    if not found:
        raise GCDError(f"{domain.name} has no ready-made directions to describe; find some first.")
    check_writable(*found)
    return found


def measured(
    domain: Domain, directions: DirectionSet, images: Sequence[Tensor | Picture], most: int
) -> dict[str, tuple[Tried, Change]]:
    """What each direction flips and changes, of up to `most` of the images, by the fast decoder."""
    label, search = directions.label, domain.search
    examples = Examples(domain, images, label, search.solver, search.steps, most=most)
    statistics, found = domain.code_statistics(label), {}
    with bar(len(directions), label) as shown:
        for one in directions:
            points = 2 if one.name == "g" else 1
            found[one.name] = examples.measured(one.vector, statistics, points)
            shown.update()
    return found
