"""`tables`: the paper's tables and figures on a domain, each kept as soon as it is made."""

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.evaluate import add_images
from gcd_core.cli.options import (
    add_common,
    add_detail,
    check_readable,
    check_writable,
    in_detail,
    write_json,
)
from gcd_core.cli.part_options import add_cluster, check_cluster, done_by, share_of
from gcd_core.distributed.job import Part, PartsJob, Shared
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import judges as networks
from gcd_core.evaluation.baselines import MIN_QUERIES, QUERIES, RUNS
from gcd_core.evaluation.faces import attribute_correlations
from gcd_core.evaluation.judges import Judges
from gcd_core.evaluation.kept_answers import KeptAnswers
from gcd_core.evaluation.markdown import markdown
from gcd_core.evaluation.paper import (
    BASELINES,
    TABLES,
    check_table,
    in_papers_protocol,
    make_table,
)
from gcd_core.evaluation.plots import DRAWN, draw_table
from gcd_core.evaluation.provenance import identity_of_directions, measured, networks_of
from gcd_core.evaluation.published import published, published_of
from gcd_core.evaluation.trials import BaselineSettings, Rows, Trials
from gcd_core.files import atomic_write
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.directions import DirectionSet, check_generator

POOL = "pool.safetensors"  # the ablations' samples
ANSWERS = "baselines.json"  # what the table of baselines has asked
PAPER = "paper"  # of --beside: all of the paper's rows
OURS = "ours"
NO_ROWS = "No row: there is no h-direction, or no image flips."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `tables`."""
    add_common(parser)
    add_images(parser, required=True)
    parser.add_argument("--directions", type=Path, required=True, help="what `find` wrote")
    listed = "; ".join(f"{name}: {table.title}" for name, table in TABLES.items())
    parser.add_argument(
        "--table",
        nargs="+",
        metavar="T",
        default=[name for name in TABLES if name != BASELINES],
        help=f"{listed} (default: all of the paper's)",
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
        help="paper: DDIM 100/250, 128 alphas in [0, 3], the counterfactual of the lowest loss, "
        "decoded images",
    )
    add_detail(parser)
    parser.add_argument(
        "--others", nargs="+", default=[], metavar="DOMAIN", help="generators to compare in S4"
    )
    parser.add_argument(
        "--beside",
        metavar="paper|FILE",
        help="paper: all of the paper's rows beside ours (those of a domain of the paper's are "
        "always there); or JSON of rows: {table: [row, ...]}",
    )
    add_cluster(parser)
    add_baselines(parser)
    group = parser.add_argument_group(
        "networks of figures", "FILE or hf://OWNER/REPOSITORY/FILE, with #SHA256 behind it"
    )
    for name, where in networks.WHERE.items():
        group.add_argument(f"--{name}", metavar="FILE", help=where)
    group.add_argument("--annotations", type=Path, help="list_attr_celeba.csv, of CD")
    group.add_argument("--partition", type=Path, help="list_eval_partition.csv, of CD")


def add_baselines(parser: argparse.ArgumentParser) -> None:
    """Describe the options of the table of baselines."""
    group = parser.add_argument_group(f"--table {BASELINES}")
    group.add_argument(
        "--queries",
        nargs="+",
        type=int,
        default=list(QUERIES),
        metavar="N",
        help="of each direction (default: 64 256 1024)",
    )
    group.add_argument(
        "--search-split",
        default="train",
        help="the split of the labels file whose images are asked about (default: train)",
    )
    group.add_argument(
        "--reasons",
        type=int,
        default=2,
        metavar="N",
        help="images that are walked for each of four classifiers of a known reason (default: 2)",
    )


def main(args: argparse.Namespace) -> None:
    """Make the tables that are not in the folder yet, and print all of them."""
    for name in args.table:
        check_table(name)
    check_at_least(64, samples=args.samples)
    check_at_least(1, limit=args.limit, batch_size=args.batch_size)
    check_at_least(0, reasons=args.reasons)
    check_at_least(MIN_QUERIES, queries=min(args.queries))
    check_cluster(args)
    check_readable(args.directions)
    check_writable(args.json)
    beside = rows_beside(args.beside)
    found = gcd_core.load_directions(args.directions)
    domain = opened(args)
    check_generator(found, domain)
    args.out.mkdir(parents=True, exist_ok=True)
    settings = settings_of(args, domain, found)
    hangs_on = {name: settings | own_settings(args, name) for name in args.table}
    made = {name: kept(args.out / f"table-{name}.json", hangs_on[name]) for name in args.table}
    names = tuple(name for name, rows in made.items() if rows is None)
    mine = list(share_of(args).parts(len(args.table)))
    todo = [i for i, name in enumerate(names) if args.table.index(name) in mine]
    job = TablesJob(args, names, settings)
    for number, part in done_by(args, job, domain, todo):
        name = names[number]
        for file, content in part.files.items():
            with atomic_write(args.out / file) as place:
                place.write_bytes(content)
        made[name] = part.about["rows"]
        keep(args.out, name, part.about["rows"], hangs_on[name])
        print(f"{TABLES[name].title}: made", file=sys.stderr)
    if args.shard:
        print(f"{args.out}: share {args.shard} is done; without --shard all are printed")
        return
    for name, rows in made.items():
        assert rows is not None  # it was made
        by_paper = (
            published(name)
            if args.beside == PAPER
            else published_of(name, domain.name, found.label)
        )
        shown = laid_out(rows, by_paper, beside.get(name, []))
        print(f"{TABLES[name].title}\n{shown}\n")
    for sentence in networks.missing(settings["networks"]):
        print(sentence, file=sys.stderr)
    vectors = identity_of_directions(found)  # the table of baselines has its own
    of_vectors = {} if [*made] == [BASELINES] else {"directions": vectors}
    write_json(
        args.json,
        {
            "label": found.label,
            "tables": made,
            "settings": {name: without_path(own) for name, own in hangs_on.items()},
            "identity": networks_of(domain) | of_vectors,
            "measured": measured(domain, images_of(args)),
        },
    )


def without_path(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings for a file that leaves this machine; `measured` says which images they were."""
    return {key: value for key, value in settings.items() if key != "images"}


def settings_of(args: argparse.Namespace, domain: Domain, found: DirectionSet) -> dict[str, Any]:
    """All that the tables hang on; JSON can hold it."""
    return {
        "numbers": "the paper's",  # tables of older runs had others
        "domain": args.domain,
        "generator": domain.generator.identity,
        "classifier": domain.classifier.identity,
        "directions": found.names,
        "images": str(args.images),
        "split": args.split,
        "limit": args.limit,
        "samples": args.samples,
        "protocol": args.protocol,
        "detail": domain.detail,
        "others": args.others,
        "networks": {name: getattr(args, name) for name in networks.WHERE},
    }


def own_settings(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """What a single table hangs on besides."""
    if name != BASELINES:
        return {}
    return {
        "queries": args.queries,
        "reasons": args.reasons,
        "search_split": args.search_split,
    }


def images_of(args: argparse.Namespace) -> ImageFiles:
    """The images that are walked."""
    return ImageFiles(args.images, args.labels, args.split, args.limit)


def opened(args: argparse.Namespace) -> Domain:
    """The domain, by the protocol that is asked for."""
    domain = gcd_core.load_domain(args.domain, device=args.device)
    if args.protocol == "paper":
        domain = in_papers_protocol(domain)
    return in_detail(domain, args.detail)


@dataclass(frozen=True)
class TablesJob(PartsJob):
    """Tables, one in each part."""

    args: argparse.Namespace  # of `tables`
    names: tuple[str, ...]  # of the tables to make
    made_with: dict[str, Any]  # what the tables hang on

    kind = "tables"
    row: type = dict  # tables have columns of their own: rows lie in what is told about a part

    @property
    def parts(self) -> int:
        """Tables."""
        return len(self.names)

    @property
    def settings(self) -> dict[str, Any]:
        """All that the tables hang on."""
        return self.made_with

    def trials(self, domain: Domain) -> Trials:
        """Read the images and the directions, and open the networks of figures."""
        args = self.args
        directions = gcd_core.load_directions(args.directions)
        return Trials(
            domain,
            list(images_of(args).load(domain.load_image)),
            directions,
            args.samples,
            args.batch_size,
            judges_of(args, domain),
            [gcd_core.load_domain(other, device=args.device) for other in args.others],
            args.out / POOL,
            self.baselines(domain, directions.label) if BASELINES in self.names else None,
        )

    def baselines(self, domain: Domain, label: str) -> BaselineSettings:
        """What the table of baselines is made with."""
        args, most = self.args, RUNS * max(*QUERIES, *self.args.queries)

        def real() -> list[Tensor]:
            files = ImageFiles(args.images, args.labels, args.search_split, most)
            return [image for _, image in files.load(domain.load_image)]

        # Answers are of one image each: neither the number of images nor of queries counts.
        names = ("domain", "generator", "classifier", "images", "protocol", "detail")
        settings = {name: self.made_with[name] for name in names}
        settings |= {"label": label, "search_split": args.search_split, "asked": most}
        kept = KeptAnswers(args.out / ANSWERS, settings)
        return BaselineSettings(real, sorted(args.queries), args.reasons, kept)

    def worker(
        self, shared: Shared | None = None, domain: Domain | None = None
    ) -> Callable[[int, None], Part]:
        """Open everything, and return what makes a table."""
        domain = domain or opened(self.args)
        if shared is not None:
            shared.join(domain.classifier)
        trials = self.trials(domain)

        def of_part(part: int, read: None) -> Part:
            name, files = self.names[part], {}
            rows = make_table(name, trials)
            for which, picture in trials.pictures.items():
                content = io.BytesIO()
                picture.save(content, "PNG")
                files[f"table-{name}-{which}.png"] = content.getvalue()
            trials.pictures.clear()
            return Part([], {"rows": rows}, files)

        return of_part


def judges_of(args: argparse.Namespace, domain: Domain) -> Judges:
    """The networks that the command line names, and the one that the domain does."""
    annotations = args.annotations
    return Judges(
        fidelity=networks.inception(args.inception) if args.inception else None,
        likeness=networks.simsiam(args.simsiam) if args.simsiam else None,
        faces=networks.vggface2(args.vggface2) if args.vggface2 else None,
        recognition=networks.face_api(domain.face_api, domain.device) if domain.face_api else None,
        attributes=networks.celeba_oracle(args.attributes) if args.attributes else None,
        correlations=attribute_correlations(annotations, args.partition) if annotations else None,
    )


def rows_beside(given: str | None) -> dict[str, Rows]:
    """Rows of others, by table, from the JSON file that --beside names; none without one.

    Raises a GCDError if the file is no such table.
    """
    if given is None or given == PAPER:
        return {}
    file = Path(given)
    check_readable(file)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    good = isinstance(found, dict) and all(
        isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
        for rows in found.values()
    )
    if not good:
        raise GCDError(f"{file.name} holds no rows; give JSON of the form {{table: [row, ...]}}.")
    return found


def laid_out(rows: Rows, by_paper: Sequence[dict] = (), others: Sequence[dict] = ()) -> str:
    """Rows as Markdown; where others stand beside them, each row says whose it is."""
    if not rows and not by_paper and not others:
        return NO_ROWS
    names = columns([*by_paper, *rows, *others])  # the paper's columns first, in its order
    if not by_paper and not others:
        return markdown(rows, names)
    told = ((OURS, rows), (PAPER, by_paper), ("others", others))
    shown = [{"of": of, **row} for of, each in told for row in each]
    return markdown(shown, ["of", *names])


def columns(rows: Sequence[dict]) -> list[str]:
    """All that any row has, in the order in which it first comes."""
    return list(dict.fromkeys(name for row in rows for name in row))


def kept(file: Path, settings: dict[str, Any]) -> Rows | None:
    """A table's rows that an earlier run made, or None.

    Raises a GCDError if the file was made with other settings, or is none of a table.
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
    text = f"# {TABLES[name].title}\n\n{laid_out(rows)}\n"
    (folder / f"table-{name}.md").write_text(text, encoding="utf-8")
    if name in DRAWN and rows:
        draw_table(folder / f"table-{name}.png", name, TABLES[name].title, rows)
    write_json(folder / f"table-{name}.json", {"settings": settings, "rows": rows})
