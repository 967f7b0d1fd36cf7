"""`plan`: what a cluster would take for a job, by the times of parts that are done."""

import argparse
from dataclasses import asdict
from pathlib import Path

from gcd_core.checks import check_at_least
from gcd_core.cli.merge import KINDS, find, parts_of
from gcd_core.cli.options import check_writable, write_json
from gcd_core.distributed.estimate import forecast, measured
from gcd_core.distributed.parts import PartsFolder
from gcd_core.evaluation.markdown import markdown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `plan`."""
    parser.add_argument("parts", nargs="+", type=Path, help="folders that --parts named")
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 8, 64], help="(default: 1 8 64)"
    )
    parser.add_argument("--count", type=int, help="parts to do (default: the job's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers here")


def main(args: argparse.Namespace) -> None:
    """Print how long so many workers would take, and which stage limits them."""
    check_at_least(1, workers=min(args.workers), count=args.count)
    check_writable(args.json)
    kind, settings, files = find(args.parts)
    row = KINDS[kind][0]
    parts = list(parts_of(files, row))
    service = measured(parts, PartsFolder(args.parts[0], kind, settings, row))
    count = args.count or settings["parts"]
    rows = []
    for workers in args.workers:
        found = forecast(service, workers, count)
        busy = {f"{stage} busy": share for stage, share in found.busy.items()}
        rows.append({"workers": workers, **asdict(found), **busy, "bottleneck": found.bottleneck})
        del rows[-1]["busy"]
    print(f"{count} parts, by the times of {len(parts)} that are done")
    print(markdown(rows, list(rows[0])))
    write_json(args.json, {"kind": kind, "parts": count, "measured": len(parts), "plans": rows})
