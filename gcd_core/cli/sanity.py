"""`sanity`: whether a domain's explanations can be trusted, by checks of a known answer."""

import argparse
import sys

import torch

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.evaluate import add_images
from gcd_core.cli.options import add_common, check_writable, write_json
from gcd_core.evaluation.sanity import CHECKS, LEAST, Sanity
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


def main(args: argparse.Namespace) -> None:
    """Make the checks, print their verdicts, and write them to the JSON file."""
    check_at_least(9, samples=args.samples)
    check_at_least(1, walks=args.walks, limit=args.limit)
    check_writable(args.json)
    files = ImageFiles(args.images, args.labels, args.split, args.limit or 4 * LEAST)
    domain = gcd_core.load_domain(args.domain, device=args.device)
    images = torch.cat([image for _, image in files.load(domain.load_image)])
    label = args.label or domain.labels[0]
    sanity = Sanity(domain, images, label, args.samples, args.walks)
    verdicts = sanity.run(args.only, lambda name: print(f"{name} ...", file=sys.stderr))
    for verdict in verdicts:
        print(f"{'passes' if verdict.passed else 'FAILS '}  {verdict.name}: {verdict.sentence}")
    passed = sum(verdict.passed for verdict in verdicts)
    print(f"{passed} of {len(verdicts)} checks pass")
    result = {"domain": args.domain, "label": label, "images": len(images)}
    write_json(args.json, result | {"checks": [verdict.as_dict() for verdict in verdicts]})
