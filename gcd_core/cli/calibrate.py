"""`calibrate`: measure what the images of a domain and their codes are like."""

import argparse
from pathlib import Path

import gcd_core
from gcd_core.cli.options import add_common, bar, check_writable, moving, write_json
from gcd_core.errors import GCDError
from gcd_core.images.dataset import load_split
from gcd_core.method.code_statistics import save_code_statistics
from gcd_core.method.off_distribution import calibrate, measure_codes
from gcd_core.training.classifier import Task, targets_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `calibrate`."""
    add_common(parser)
    parser.add_argument("--data", required=True, help="zip file or folder of the domain's images")
    parser.add_argument("--labels", help="CSV with file, split, patient (default: beside the data)")
    parser.add_argument(
        "--false-alarms",
        type=float,
        default=0.03,
        help="share of the validation images to warn of (default: 0.03)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="the file that domain.toml's off_distribution names"
    )
    parser.add_argument(
        "--codes", type=Path, help="also write what codes are like, for domain.toml's codes"
    )
    parser.add_argument(
        "--label",
        action="append",
        default=[],
        metavar="NAME=POSITIVES:NEGATIVES",
        help="which images a label's question makes sense for, as of `train classifier` (default: "
        "all images)",
    )


def main(args: argparse.Namespace) -> None:
    """Measure the splits `train` and `val`, and write the calibration."""
    check_writable(args.out, args.codes, args.json)
    questions = [Task.parse(text) for text in args.label]
    domain = gcd_core.load_domain(args.domain, device=args.device)
    form = domain.generator.image_size, domain.generator.channels, domain.fit
    train, table = load_split(args.data, args.labels, "train", *form)
    targets = {task.name: targets_of(table, [task])[:, 0] for task in questions}
    if unknown := sorted(set(targets) - set(domain.labels)):
        known = ", ".join(domain.labels)
        raise GCDError(f"The domain has no label {unknown[0]!r}; it has {known}.")
    validation, _ = load_split(args.data, args.labels, "val", *form)
    with bar(len(train) + len(validation), "images") as shown:
        off = calibrate(domain, train, validation, args.false_alarms, moving(shown))
    off.save(args.out)
    counts = {}
    if args.codes:
        measured = measure_codes(domain, train, targets, table.get("label"))
        save_code_statistics(args.codes, measured, domain.generator.identity)
        counts = {label: statistics.n_images for label, statistics in measured.items()}
    figures = {
        "n_train": len(train),
        "n_validation": len(validation),
        "false_alarms": args.false_alarms,
        "threshold": off.threshold,
        "centre": off.centre.tolist(),
        "spread": off.spread.tolist(),
        "codes": counts,
    }
    write_json(args.json, figures)
    print(f"{args.out}: warn from a score of {off.threshold:.2f} on ({len(validation)} images)")
