"""`find-many`: a search for each label, source and classifier of a plan."""

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gcd_core
from gcd_core.cli.options import bar, check_writable, write_json
from gcd_core.cli.part_options import add_parts, carried_out, check_parts
from gcd_core.distributed.job import Part
from gcd_core.distributed.searches import FindManyJob, SearchPlan
from gcd_core.evaluation.markdown import markdown
from gcd_core.files import atomic_write

PLAN = """The plan is a TOML file:
  domain = "chest-xray"            # a bundled name, a folder, or hf://owner/repo
  labels = ["pneumonia"]           # default: all of the domain
  sources = "radiographs/"         # a folder or zip; or ["a.png", "b.dcm"]
  [search]                         # default: the domain's; n_samples, seed, n_h, ...
  n_samples = 512
  [[classifiers]]                  # default: the domain's; each as [classifier] of a domain.toml
  name = "resnet"
  kind = "onnx"
  ...
Names of files are relative to it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `find-many`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = PLAN
    parser.add_argument("plan", type=Path, help="TOML file: see below")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")
    add_parts(parser, required=True)


def main(args: argparse.Namespace) -> None:
    """Make the searches that are not made yet, and print all of them."""
    check_parts(args)
    check_writable(args.json)
    plan = SearchPlan.read(args.plan)
    domain = gcd_core.load_domain(plan.domain_name, device=args.device)
    job = FindManyJob.of(plan, domain, args.device)
    with bar(job.parts, "searches") as shown:

        def found(part: Part) -> None:
            shown.update()
            write_files(part, args.parts)

        parts = carried_out(args, job, domain, found)
    if parts is not None:
        result = summed_up(job.settings, parts, args.parts)
        write_json(args.json, {"domain": plan.domain, **result})


def summed_up(settings: dict[str, Any], parts: Iterable[Part], folder: Path) -> dict:
    """Print what all searches found, and write their directions to the folder."""
    rows = []
    for part in parts:
        write_files(part, folder)
        rows += part.rows
    columns = ["classifier", "label", "source", "probability", "samples", "queries"]
    columns += ["repeatability", "seconds", "file", "problem"]
    print(markdown([asdict(row) for row in rows], columns))
    failed = sum(bool(row.problem) for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} searches found directions")
    return {"search": settings["search"], "searches": [asdict(row) for row in rows]}


def write_files(part: Part, folder: Path) -> None:
    """Write the directions of a part, unless they lie there."""
    for name, content in part.files.items():
        if not (folder / name).is_file():
            with atomic_write(folder / name, make_folder=True) as place:
                place.write_bytes(content)
