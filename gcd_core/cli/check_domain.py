"""`check-domain`: everything that is wrong with a domain, before it is used."""

import argparse
from pathlib import Path

from gcd_core.cli.options import check_writable, write_json
from gcd_core.domains.check import inspect_domain
from gcd_core.errors import GCDError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `check-domain`."""
    parser.add_argument("path", help="a folder, a bundled domain's name, or hf://owner/repo")
    parser.add_argument("--device", default="cpu", help="auto, cpu or cuda (default: cpu)")
    parser.add_argument(
        "--download", action="store_true", help="fetch weights that are not here yet, to check them"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result here")


def main(args: argparse.Namespace) -> None:
    """Print what the domain is, or every problem that it has."""
    check_writable(args.json)
    inspection = inspect_domain(args.path, args.device, args.download)
    result = {"path": args.path, "problems": inspection.problems}
    write_json(args.json, result | {"unchecked": inspection.unchecked, "facts": inspection.summary})
    for line in inspection.problems or inspection.summary:
        print(f"- {line}")
    for line in inspection.unchecked:
        print(f"- not checked: {line}")
    if inspection.problems:
        count = len(inspection.problems)
        raise GCDError(f"{args.path} has {count} problem{'s' if count > 1 else ''}.")
    print(f"{args.path} is good.")
