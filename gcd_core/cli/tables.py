"""`tables`: the paper's tables and ablations on a domain, each kept as soon as it is made."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.evaluate import add_images
from gcd_core.cli.options import add_common, check_readable, check_writable, write_json
from gcd_core.errors import GCDError
from gcd_core.evaluation.paper import TABLES, TITLES, Rows, Tables, in_papers_protocol
from gcd_core.evaluation.tables import markdown
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.directions import check_generator

# What is drawn of a table: its x, and its curves.
PLOTS = {
    "D2": ("alpha", ("lower", "median", "upper")),
    "F1": ("lambda", ("flip_rate", "lpips", "cosine")),
    "F2": ("samples", ("cosine_to_last", "flip_rate")),
    "F3": ("radius", ("flip_rate", "lpips")),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `tables`."""
    add_common(parser)
    add_images(parser, required=True)
    parser.add_argument("--directions", type=Path, required=True, help="what `find` wrote")
    listed = "; ".join(f"{name}: {TITLES[name]}" for name in TABLES)
    parser.add_argument(
        "--table", nargs="+", choices=TABLES, default=TABLES, help=f"{listed} (default: all)"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the tables")
    parser.add_argument(
        "--samples", type=int, default=256, help="of the searches of ablations (default: 256)"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="images at a time (default: 8)")
    parser.add_argument(
        "--protocol",
        choices=("domain", "paper"),
        default="domain",
        help="paper: DDIM 100/250, 128 alphas in [0, 3], the counterfactual of the lowest loss",
    )


def main(args: argparse.Namespace) -> None:
    """Make the tables that are not in the folder yet, and print all of them."""
    check_at_least(64, samples=args.samples)
    check_at_least(1, limit=args.limit, batch_size=args.batch_size)
    check_readable(args.directions)
    check_writable(args.json)
    found = gcd_core.load_directions(args.directions)
    files = ImageFiles(args.images, args.labels, args.split, args.limit)
    domain = gcd_core.load_domain(args.domain, device=args.device)
    check_generator(found, domain)
    if args.protocol == "paper":
        domain = in_papers_protocol(domain)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = {
        "domain": args.domain,
        "generator": domain.generator.identity,
        "classifier": domain.classifier.identity,
        "directions": found.names,
        "images": str(args.images),
        "split": args.split,
        "limit": args.limit,
        "samples": args.samples,
        "protocol": args.protocol,
    }
    tables = None
    made: dict[str, Rows] = {}
    for name in args.table:
        rows = kept(args.out / f"table-{name}.json", settings)
        if rows is None:
            if tables is None:
                images = list(files.load(domain.load_image))
                tables = Tables(domain, images, found, args.samples, args.batch_size)
            print(f"{TITLES[name]} ...", file=sys.stderr)
            rows = tables.make(name)
            keep(args.out, name, rows, settings)
        made[name] = rows
        print(f"{TITLES[name]}\n{markdown(rows, columns(rows))}\n")
    write_json(args.json, {**settings, "tables": made})


def columns(rows: Rows) -> list[str]:
    """All that any row has, in the order in which it first comes."""
    return list(dict.fromkeys(name for row in rows for name in row))


def kept(file: Path, settings: dict[str, Any]) -> Rows | None:
    """A table's rows that an earlier run made, or None.

    Raises
    ------
    GCDError
        If the file was made with other settings, or is none of a table.
    """
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        then, rows = found["settings"], found["rows"]
    except (ValueError, KeyError, TypeError):
        raise GCDError(f"{file} is no table of `tables`; move it, or name another --out.") from None
    if then != settings:
        changed = sorted(key for key in settings if then.get(key) != settings[key])
        raise GCDError(
            f"{file} was made with other settings ({', '.join(changed)}); name another --out, or "
            "delete it to make it anew."
        )
    return rows


def keep(folder: Path, name: str, rows: Rows, settings: dict[str, Any]) -> None:
    """Write a table as JSON, as Markdown and, where there is one, as a plot; the JSON last."""
    text = f"# {TITLES[name]}\n\n{markdown(rows, columns(rows))}\n"
    (folder / f"table-{name}.md").write_text(text, encoding="utf-8")
    if name in PLOTS:
        plot(folder / f"table-{name}.png", name, rows)
    write_json(folder / f"table-{name}.json", {"settings": settings, "rows": rows})


def plot(file: Path, name: str, rows: Rows) -> None:
    """Draw a table's curves as a PNG."""
    from matplotlib.figure import Figure

    x, curves = PLOTS[name]
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for curve in curves:
        axes.plot([row[x] for row in rows], [row[curve] for row in rows], marker=".", label=curve)
    if name != "D2":
        axes.set_xscale("log", base=2)
    axes.set(xlabel=x, title=TITLES[name])
    axes.legend(frameon=False)
    figure.savefig(file, dpi=130)
