"""`push`: share directions, or a domain's folder, on the Hugging Face hub."""

import argparse
from pathlib import Path

from gcd_core.domains.sharing import push
from gcd_core.errors import GCDError
from gcd_core.hub import HubPath


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `push`."""
    parser.add_argument("source", type=Path, help="what `find` wrote, or a domain's folder")
    parser.add_argument("place", help="hf://owner/repo[@revision][/path]")


def main(args: argparse.Namespace) -> None:
    """Check what is to be shared, then send it."""
    place = HubPath.parse(args.place)
    if not args.source.exists():
        raise GCDError(f"{args.source} is neither a file nor a folder; give one that exists.")
    print(f"{args.source} is at {push(args.source, place)}")
