"""Options that the trainings share."""

import argparse

from gcd_core.images.reading import FITS


def add_data(parser: argparse.ArgumentParser, columns: str, written: str) -> None:
    """Add the options of what to learn from and where to write.

    Parameters
    ----------
    columns : str
        Of the table of labels.
    written : str
        What the folder holds in the end.
    """
    parser.add_argument("--data", required=True, help="zip file or folder of images")
    parser.add_argument("--labels", help=f"CSV with {columns} (default: beside the data)")
    parser.add_argument(
        "--fit",
        choices=FITS,
        default="stretch",
        help="how images that are no squares become so; the domain's `fit` is to be the same",
    )
    parser.add_argument("--out", required=True, help=f"folder for {written}")


def add_run(
    parser: argparse.ArgumentParser, minutes: float, batch: int, rate: float, steps: bool = True
) -> None:
    """Add the options of how long and how fast to learn, with these defaults."""
    parser.add_argument(
        "--minutes", type=float, default=minutes, help="training time, resumptions in"
    )
    if steps:
        parser.add_argument("--steps", type=int, help="stop after so many steps, if sooner")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--lr", type=float, default=rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")


def add_shape(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add the options of the images' shape."""
    parser.add_argument("--size", type=int, default=128, help=f"side of the images{note}")
    parser.add_argument(
        "--channels", type=int, default=1, choices=(1, 3), help=note.strip() or None
    )
