"""`new-domain`: a domain of your own images and classifier, by one command."""

import argparse
import importlib
import shlex
import sys
from pathlib import Path

from gcd_core.errors import GCDError
from gcd_core.images.reading import FITS
from gcd_core.new_domain.classifier import Given
from gcd_core.new_domain.making import Request, make_domain
from gcd_core.new_domain.plan import SIZES
from gcd_core.new_domain.questions import Asked
from gcd_core.training import TRAININGS

PARTS = ("calibrate", "evaluate", "find", "sanity")  # commands that it runs beside the trainings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `new-domain`."""
    parser.add_argument("name", help="the domain's folder to be; its last part is the name")
    parser.add_argument("--data", type=Path, required=True, help="folder or zip of images")
    parser.add_argument(
        "--classifier",
        required=True,
        help=".onnx, .pt, .pt2, .safetensors; module:function; a hub repository; a .toml with the "
        "tables of domain.toml; or train",
    )
    parser.add_argument(
        "--minutes", type=float, required=True, help="in all; more for a finished domain"
    )
    parser.add_argument(
        "--question",
        action="append",
        default=[],
        metavar="NAME=OUTPUT",
        help="what is explained, repeatable: NAME=OUTPUT[,OUTPUT...] [against OUTPUT] "
        "[from THRESHOLD] (default: each output)",
    )
    parser.add_argument("--labels", type=Path, help="CSV with file, label, split, patient")
    parser.add_argument("--architecture", help="of a classifier's file that holds weights alone")
    parser.add_argument("--outputs", help="names of the classifier's outputs, or a range as 0:81")
    parser.add_argument(
        "--answers",
        choices=("sigmoid", "softmax", "probabilities", "numbers"),
        help="what the classifier answers (default: seen from its answers)",
    )
    parser.add_argument("--size", type=int, choices=SIZES, help="side of the generator's images")
    parser.add_argument("--fit", choices=FITS, default="stretch", help="of images no squares")
    parser.add_argument(
        "--mirror", action="store_true", help="left and right mean the same: learn from both"
    )
    parser.add_argument("--credit", default="", help="whose images these are, and their licence")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--dry-run", action="store_true", help="only print the plan")


def main(args: argparse.Namespace) -> None:
    """Plan, say the plan, keep to it, and end with a verdict."""
    request = request_of(args)
    found = make_domain(request, run_command, sys.stdout, dry=args.dry_run)
    if found:
        print("\nverdict:")
        for sentence in found:
            print(f"- {sentence}")
        print(f"\nopen it: python app.py --domain {shlex.quote(args.name)}")


def request_of(args: argparse.Namespace) -> Request:
    """What the options ask for."""
    outputs = args.outputs
    if outputs and ":" not in outputs:
        outputs = [name.strip() for name in outputs.split(",")]
    questions = tuple(Asked.parse(text) for text in args.question)
    given = Given(args.classifier, questions, args.architecture, outputs, args.answers)
    return Request(
        place=Path(args.name),
        data=args.data,
        given=given,
        minutes=args.minutes,
        labels=args.labels,
        size=args.size,
        fit=args.fit,
        mirror=args.mirror,
        credit=args.credit,
        device=args.device,
        command=command_line(args),
    )


def command_line(args: argparse.Namespace) -> str:
    """The command for the card; files stand by their names alone."""
    words = ["new-domain", Path(args.name).name, "--data", args.data.name]
    text = args.classifier
    words += ["--classifier", Path(text).name if Path(text).exists() else text]
    words += ["--minutes", f"{args.minutes:g}"]
    for question in args.question:
        words += ["--question", question]
    for name in ("architecture", "outputs", "answers", "size"):
        if getattr(args, name):
            words += [f"--{name}", str(getattr(args, name))]
    words += ["--fit", args.fit] if args.fit != "stretch" else []
    words += ["--mirror"] if args.mirror else []
    return f"python -m gcd_core {shlex.join(words)}"


def run_command(words: list[str]) -> None:
    """Run a command of this project within this process.

    Raises a GCDError if the command does not know its options, which would be a mistake here.
    """
    if words[0] == "train":
        name, module_name = " ".join(words[:2]), TRAININGS[words[1]][0]
    else:
        name, module_name = words[0], f"gcd_core.cli.{words[0]}"
    module = importlib.import_module(module_name)
    parser = argparse.ArgumentParser(name)
    module.add_arguments(parser)
    try:
        args = parser.parse_args(words[len(name.split()) :])
    except SystemExit:
        raise GCDError(f"{name} does not take {shlex.join(words)}.") from None
    module.main(args)
