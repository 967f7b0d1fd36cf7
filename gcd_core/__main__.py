"""The command line: `python -m gcd_core find | explain | evaluate | bench | train`."""

import argparse
import importlib
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gcd_core.errors import Cancelled, GCDError, GCDWarning
from gcd_core.training import TRAININGS

PROGRAM = "python -m gcd_core"
# A command's module is imported only when it is asked for, so that --help does not wait for torch.
# Each has add_arguments(parser) and main(args).
COMMANDS = {
    "new-domain": ("gcd_core.cli.new_domain", "make a domain of your images and classifier"),
    "find": ("gcd_core.cli.find", "find directions from one image"),
    "find-many": ("gcd_core.cli.find_many", "search for labels x sources x classifiers of a plan"),
    "describe": ("gcd_core.cli.describe", "measure what a domain's directions do to pictures"),
    "explain": ("gcd_core.cli.explain", "explain one image with directions found before"),
    "evaluate": ("gcd_core.cli.evaluate", "measure directions, or reconstruction, on many images"),
    "merge": ("gcd_core.cli.merge", "put the parts of evaluate, or of others, together"),
    "plan": ("gcd_core.cli.plan", "forecast what a cluster would take for a job in parts"),
    "radius": ("gcd_core.cli.radius", "measure the CF loss against the radius of perturbations"),
    "calibrate": ("gcd_core.cli.calibrate", "set from where on to warn of a foreign image"),
    "tables": ("gcd_core.cli.tables", "make the paper's tables and ablations on a domain"),
    "sanity": ("gcd_core.cli.sanity", "check whether a domain's explanations can be trusted"),
    "bench": ("gcd_core.cli.bench", "compare the paper's protocol with the domain's fast settings"),
    "results": ("gcd_core.cli.results", "write the tables of documents from what was measured"),
    "check-domain": ("gcd_core.cli.check_domain", "list everything that is wrong with a domain"),
    "classifier": ("gcd_core.cli.classifier", "show what a classifier is given, and answers"),
    "push": ("gcd_core.cli.push", "share directions or a domain on the Hugging Face hub"),
    "pull": ("gcd_core.cli.pull", "bring directions or a domain from the Hugging Face hub"),
}
COMMANDS |= {f"train {name}": training for name, training in TRAININGS.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0: done. 1: something given cannot be used, told in one line. 2: wrong usage. 130: interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console may know fewer letters than we print
            stream.reconfigure(errors="backslashreplace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = " ".join(arguments[:2]) if arguments[:1] == ["train"] else "".join(arguments[:1])
    if name not in COMMANDS:
        return _overview(arguments)
    return run(*COMMANDS[name], f"{PROGRAM} {name}", arguments[len(name.split()) :])


def run(module_name: str, summary: str, program: str, arguments: Sequence[str]) -> int:
    """Run a command's module and return the exit code, as `main` does.

    Parameters
    ----------
    module_name : str
        It has `add_arguments(parser)` and `main(args)`.
    summary : str
        What it does, for its help.
    program : str
        How it is called, for its help.
    arguments : sequence of str
        What follows that.
    """
    try:
        module = importlib.import_module(module_name)
        description = f"{summary[0].upper()}{summary[1:]}."
        parser = argparse.ArgumentParser(program, description=description)
        module.add_arguments(parser)
        with warnings.catch_warnings():
            warnings.simplefilter("always", GCDWarning)
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            module.main(parser.parse_args(arguments))
    except (GCDError, OSError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Cancelled):
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _show_warning(
    usual: Callable[..., None], message: Warning | str, category: type[Warning], *where: Any
) -> None:
    """Print a warning of ours as one line, others as usual."""
    if issubclass(category, GCDWarning):
        print("warning:", message, file=sys.stderr)
    else:
        usual(message, category, *where)


def _overview(arguments: list[str]) -> int:
    """Print what the commands are; an error unless that is what was asked for."""
    lines = [f"usage: {PROGRAM} COMMAND ...", "", "commands (each has its own --help):"]
    lines += [f"  {name:18} {summary}" for name, (_, summary) in COMMANDS.items()]
    asked = arguments[-1:] in (["-h"], ["--help"]) and arguments[:-1] in ([], ["train"])
    print("\n".join(lines), file=sys.stdout if asked else sys.stderr)
    if asked:
        return 0
    if arguments == ["train"]:
        *names, last = TRAININGS
        found = f"train needs what to train: {', '.join(names)} or {last}"
    else:
        found = f"unknown command {' '.join(arguments)!r}" if arguments else "a command is needed"
    print(f"{PROGRAM}: {found}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
