"""`pull`: bring shared directions, or a domain's folder, from the Hugging Face hub."""

import argparse
from pathlib import Path

from gcd_core.domains.sharing import pull
from gcd_core.errors import GCDError
from gcd_core.hub import HubPath


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `pull`."""
    parser.add_argument("place", help="hf://owner/repo[@revision][/path]")
    parser.add_argument("--out", type=Path, required=True, help="the file or new folder to write")


def main(args: argparse.Namespace) -> None:
    """Fetch it, check it, and put it in its place."""
    place = HubPath.parse(args.place)
    if not args.out.absolute().parent.is_dir():
        raise GCDError(f"{args.out} cannot be written; name one in a folder that exists.")
    pull(place, args.out)
    print(f"{args.out}: from {place}")
