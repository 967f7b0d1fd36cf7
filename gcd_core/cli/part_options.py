"""`--parts`, `--shard` and `--ray`: work in parts that are kept, shared out, or spread."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from gcd_core.checks import check_at_least
from gcd_core.distributed.cluster import AUTO, Cluster
from gcd_core.distributed.job import Part, PartsJob, Share, in_this_process
from gcd_core.distributed.parts import PartsFolder
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError


def add_parts(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add the options of work in parts."""
    group = add_cluster(parser)
    group.add_argument(
        "--parts",
        type=Path,
        metavar="DIR",
        required=required,
        help="keep what is done here, as Parquet; the same command goes on from there",
    )


def add_cluster(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add the options of shares and of a Ray cluster."""
    group = parser.add_argument_group(
        "many machines", "the same rows, wherever they are made; see `merge`"
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="do the share I of N only, from 0/N; a budget of queries is divided among them",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help=f"spread the work over a Ray cluster; {AUTO}: the one that runs, or this machine's",
    )
    group.add_argument(
        "--workers", type=int, help="on the cluster (default: one a core, or a GPU's share)"
    )
    group.add_argument(
        "--threads", type=int, help="of each worker (default: 1 with --ray, else all cores)"
    )
    group.add_argument(
        "--gpus", type=float, default=0.0, help="of each worker on the cluster, such as 0.5"
    )
    return group


def check_parts(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before any work."""
    check_cluster(args)
    if not args.shard:
        return
    if not args.parts:
        raise GCDError("A share is kept for `merge`: give --parts DIR with --shard.")
    if args.json:
        raise GCDError("A share has no figures of its own: give --json to `merge`.")


def check_cluster(args: argparse.Namespace) -> None:
    """Refuse a share and a cluster that do not go together."""
    check_at_least(1, workers=args.workers, threads=args.threads)
    if args.gpus < 0:
        raise GCDError("--gpus is 0 or more.")
    if (args.workers or args.gpus) and not args.ray:
        raise GCDError("--workers and --gpus belong to --ray.")
    share_of(args)
    if args.shard and args.ray:
        raise GCDError("--shard is for machines that do not know of each other; --ray spreads all.")


def cluster_of(args: argparse.Namespace) -> Cluster | None:
    """The cluster that the options name; None without one."""
    if not args.ray:
        return None
    return Cluster(args.ray, args.workers, args.threads or 1, args.gpus)


def done_by(
    args: argparse.Namespace, job: PartsJob, domain: Domain, todo: list[int]
) -> Iterator[tuple[int, Part]]:
    """Do parts here or on the cluster; each comes as soon as it is done."""
    cluster = cluster_of(args)
    if cluster is not None:
        return cluster.run(job, todo, {domain.classifier.identity: domain.classifier.queries})
    if args.threads:
        torch.set_num_threads(args.threads)
    return in_this_process(job, todo, share_of(args), domain)


def share_of(args: argparse.Namespace) -> Share:
    """The share that the options name; all without one."""
    return Share.parse(args.shard) if args.shard else Share()


def carried_out(
    args: argparse.Namespace, job: PartsJob, domain: Domain, progress: Callable[[Part], object]
) -> Iterator[Part] | None:
    """Do the missing parts, and return all parts in order; None where only a share is done."""
    folder = PartsFolder.of(args.parts, job) if args.parts else None
    done = folder.done() if folder else {}
    todo = [part for part in share_of(args).parts(job.parts) if part not in done]
    if done:
        print(f"{len(done)} of {job.parts} parts are there", file=sys.stderr)
    made: dict[int, Part] = {}
    for number, part in done_by(args, job, domain, todo):
        if folder:
            folder.keep(number, part)
        else:
            made[number] = part
        progress(part)
    if args.shard:
        print(f"{args.parts}: share {args.shard} is done; put the shares together with `merge`")
        return None
    if folder is None:
        return (made[number] for number in range(job.parts))
    return (folder.read(file) for file in folder.done().values())
