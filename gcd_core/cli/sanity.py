"""`sanity`: whether a domain's explanations can be trusted, by checks of a known answer."""

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.evaluate import add_images
from gcd_core.cli.options import (
    add_common,
    add_detail,
    bar,
    check_writable,
    in_detail,
    write_json,
)
from gcd_core.cli.part_options import add_parts, carried_out, check_parts
from gcd_core.distributed.job import Part
from gcd_core.evaluation.part_jobs import SanityJob, verdicts_of
from gcd_core.evaluation.provenance import measured
from gcd_core.evaluation.sanity_checks import CHECKS, MIN_IMAGES
from gcd_core.images.dataset import ImageFiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `sanity`."""
    add_common(parser)
    add_images(parser, required=True)
    parser.add_argument("--label", help="what is explained (default: the domain's first)")
    parser.add_argument("--samples", type=int, default=256, help="of each search (default: 256)")
    parser.add_argument(
        "--walks", type=int, default=8, help="images to try a direction on (default: 8)"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=CHECKS,
        default=CHECKS,
        help="some of the checks (default: all)",
    )
    add_detail(parser)
    add_parts(parser)


def main(args: argparse.Namespace) -> None:
    """Make the checks, print their verdicts, and write them to the JSON file."""
    check_at_least(9, samples=args.samples)
    check_at_least(1, walks=args.walks, limit=args.limit)
    check_parts(args)
    check_writable(args.json)
    files = ImageFiles(args.images, args.labels, args.split, args.limit or 4 * MIN_IMAGES)
    domain = in_detail(gcd_core.load_domain(args.domain, device=args.device), args.detail)
    names = tuple(name for name in CHECKS if name in args.only)
    label = args.label or domain.labels[0]
    domain.classifier.index(label)
    identities = domain.generator.identity, domain.classifier.identity
    job = SanityJob(
        args.domain,
        args.device,
        files.source,
        tuple(files.names),
        label,
        args.samples,
        args.walks,
        names,
        domain.detail,
        identities,
    )
    with bar(len(names), "checks") as shown:
        parts = carried_out(args, job, domain, lambda part: shown.update())
    if parts is not None:
        result = {"domain": args.domain, **summed_up(job.settings, parts)}
        write_json(args.json, result | {"measured": measured(domain, files)})


def summed_up(settings: dict[str, Any], parts: Iterable[Part], _: Path | None = None) -> dict:
    """Print the verdicts of all checks."""
    done = list(parts)
    verdicts = [verdict for part in done for verdict in verdicts_of(part)]
    for verdict in verdicts:
        print(f"{'passes' if verdict.passed else 'FAILS '}  {verdict.name}: {verdict.sentence}")
    passed = sum(verdict.passed for verdict in verdicts)
    print(f"{passed} of {len(verdicts)} checks pass")
    return {
        "label": settings["label"],
        "detail": settings["detail"],
        "images": done[0].about["images"],
        "checks": [asdict(verdict) for verdict in verdicts],
        "identity": dict(zip(("generator", "classifier"), settings["identities"], strict=True)),
    }
