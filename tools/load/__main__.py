"""The command line: `python -m tools.load`, from the root of a checkout."""

import sys

from gcd_core.__main__ import run

SUMMARY = "let many visitors at once use a running page, and time them"


def main(arguments: list[str]) -> int:
    """Run the tool and return its exit code, as those of `python -m gcd_core`."""
    return run("tools.load.run", SUMMARY, "python -m tools.load", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
