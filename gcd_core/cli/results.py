"""`results`: the tables of the documents, written from what was measured."""

import argparse
from pathlib import Path

from gcd_core.domains.finding import BUNDLED
from gcd_core.errors import GCDError
from gcd_core.evaluation.result_tables import FOLDER, fill_in, stale_files
from gcd_core.files import atomic_write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `results`."""
    parser.add_argument(
        "documents",
        nargs="*",
        type=Path,
        help="Markdown files with marks for tables (default: README.md, docs and model cards)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; fail where a document differs from the files of its figures",
    )


def main(args: argparse.Namespace) -> None:
    """Write the tables, or say which differ; fail where a file is of other networks."""
    differing = []
    for document in args.documents or documents():
        text = document.read_text(encoding="utf-8")
        try:
            filled = fill_in(text, BUNDLED)
        except GCDError as error:
            raise GCDError(f"{document}: {error}") from error
        if filled == text:
            continue
        differing.append(str(document))
        if not args.check:
            with atomic_write(document) as place:
                place.write_text(filled, encoding="utf-8")
            print(f"{document}: written")
    problems = [sentence for folder in measured_domains() for sentence in stale_files(folder)]
    if args.check and differing:
        listed = ", ".join(differing)
        problems.insert(0, f"Tables differ from their files in {listed}: run `results`.")
    if problems:
        raise GCDError(" ".join(problems))


def documents() -> list[Path]:
    """The project's documents: README.md, docs and the model cards."""
    root = BUNDLED.parent
    return [
        file
        for pattern in ("README.md", "docs/*.md", f"{BUNDLED.name}/*/README.md")
        for file in sorted(root.glob(pattern))
    ]


def measured_domains() -> list[Path]:
    """The bundled domains' folders that keep results."""
    return [place.parent for place in sorted(BUNDLED.glob(f"*/{FOLDER}"))]
