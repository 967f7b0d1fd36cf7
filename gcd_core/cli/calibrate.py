"""`calibrate`: set the score above which the page warns that an image is off distribution."""

import argparse
from pathlib import Path

import gcd_core
from gcd_core.cli.options import add_common, bar, check_writable, moving, write_json
from gcd_core.images.dataset import load_split
from gcd_core.method.off_distribution import calibrate


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


def main(args: argparse.Namespace) -> None:
    """Measure the splits `train` and `val`, and write the calibration."""
    check_writable(args.out, args.json)
    domain = gcd_core.load_domain(args.domain, device=args.device)
    form = domain.generator.image_size, domain.generator.channels, domain.fit
    train, _ = load_split(args.data, args.labels, "train", *form)
    validation, _ = load_split(args.data, args.labels, "val", *form)
    with bar(len(train) + len(validation), "images") as shown:
        off = calibrate(domain, train, validation, args.false_alarms, moving(shown))
    off.save(args.out)
    figures = {
        "n_train": len(train),
        "n_validation": len(validation),
        "false_alarms": args.false_alarms,
        "threshold": off.threshold,
        "centre": off.centre.tolist(),
        "spread": off.spread.tolist(),
    }
    write_json(args.json, figures)
    print(f"{args.out}: warn from a score of {off.threshold:.2f} on ({len(validation)} images)")
