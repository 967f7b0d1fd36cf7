"""`radius`: which radius of perturbations suits a domain, to be written in its domain.toml."""

import argparse
from pathlib import Path

import torch

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.evaluate import add_images
from gcd_core.cli.options import add_common, check_writable, write_json
from gcd_core.errors import GCDError
from gcd_core.evaluation.markdown import markdown
from gcd_core.evaluation.provenance import measured, networks_of
from gcd_core.evaluation.radius_sweep import measure_radii
from gcd_core.images.dataset import ImageFiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `radius`."""
    add_common(parser)
    add_images(parser, required=True)
    parser.add_argument("--image", type=Path, required=True, help="the image to search from")
    parser.add_argument("--label", required=True, help="the classifier's label to explain")
    parser.add_argument("--radii", type=float, nargs="+", required=True)
    parser.add_argument("--samples", type=int, help="perturbations (default: the domain's)")
    parser.add_argument("--seed", type=int, default=0, help="repeats a run (default: 0)")


def main(args: argparse.Namespace) -> None:
    """Measure each radius and print the table."""
    check_at_least(1, limit=args.limit, samples=args.samples)
    check_writable(args.json)
    if any(radius <= 0 for radius in args.radii):
        raise GCDError("Every radius must be positive.")
    files = ImageFiles(args.images, args.labels, args.split, args.limit)
    domain = gcd_core.load_domain(args.domain, device=args.device)
    images = torch.cat([image for _, image in files.load(domain.load_image)])
    source = domain.load_image(args.image)
    rows = measure_radii(domain, source, images, args.label, args.radii, args.samples, args.seed)
    print(markdown(rows, list(rows[0])))
    result = {"label": args.label, "n": len(images), "radii": rows}
    result |= {"identity": networks_of(domain), "measured": measured(domain, files)}
    write_json(args.json, result)
