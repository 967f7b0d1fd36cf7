"""The command line: `python -m tools.face_api COMMAND`, from the root of a checkout."""

import sys

from gcd_core.__main__ import run

PROGRAM = "python -m tools.face_api"
COMMANDS = {
    "convert": "write the three ONNX files",
    "pictures": "write the pictures that the original's answers are compared on",
    "measure": "measure the ONNX files and write the figures into their document",
}


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code, as those of `python -m gcd_core`."""
    name, *rest = arguments or [""]
    if name not in COMMANDS:
        print(f"usage: {PROGRAM} {' | '.join(COMMANDS)} ...", file=sys.stderr)
        return 2
    return run(f"tools.face_api.{name}", COMMANDS[name], f"{PROGRAM} {name}", rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
