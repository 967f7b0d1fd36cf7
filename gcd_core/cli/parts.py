"""`--parts`, `--shard` and `--ray`: work in parts that are kept, shared out, or spread."""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from gcd_core.checks import check_at_least
from gcd_core.distributed.cluster import AUTO, Cluster
from gcd_core.distributed.job import Job, Part, Share, in_this_process
from gcd_core.distributed.parts import PartsFolder
from gcd_core.errors import GCDError


def add_parts(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add the options of work in parts."""
    group = parser.add_argument_group(
        "many machines", "the same rows, wherever they are made; see `merge`"
    )
    group.add_argument(
        "--parts",
        type=Path,
        metavar="DIR",
        required=required,
        help="keep what is done here, as Parquet; the same command goes on from there",
    )
    group.add_argument(
        "--shard",
        metavar="I/N",
        help="do the share I of N only, from 0/N; a budget of queries is divided among them",
    )
    add_cluster(group)


def add_cluster(group: argparse._ArgumentGroup) -> None:
    """Add the options of a Ray cluster."""
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


def check_parts(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before any work."""
    check_at_least(1, workers=args.workers, threads=args.threads)
    if args.gpus < 0:
        raise GCDError("--gpus is 0 or more.")
    if (args.workers or args.gpus) and not args.ray:
        raise GCDError("--workers and --gpus belong to --ray.")
    if not args.shard:
        return
    Share.parse(args.shard)
    if args.ray:
        raise GCDError("--shard is for machines that do not know of each other; --ray spreads all.")
    if not args.parts:
        raise GCDError("A share is kept for `merge`: give --parts DIR with --shard.")
    if args.json:
        raise GCDError("A share has no figures of its own: give --json to `merge`.")


def cluster_of(args: argparse.Namespace) -> Cluster | None:
    """The cluster that the options name; None without one."""
    if not args.ray:
        return None
    return Cluster(args.ray, args.workers, args.threads or 1, args.gpus)


def carried_out(
    args: argparse.Namespace, job: Job, progress: Callable[[Part], object]
) -> Iterator[Part] | None:
    """Do what is not done yet, and return all parts in their order; None of a share."""
    share = Share.parse(args.shard) if args.shard else Share()
    folder = PartsFolder.of(args.parts, job) if args.parts else None
    done = folder.done() if folder else {}
    todo = [part for part in share.parts(job.parts) if part not in done]
    if done:
        print(f"{job.parts - len(todo)} of {job.parts} parts are there", file=sys.stderr)
    cluster = cluster_of(args)
    if args.threads and cluster is None:
        torch.set_num_threads(args.threads)
    made: dict[int, Part] = {}
    for number, part in cluster.run(job, todo) if cluster else in_this_process(job, todo, share):
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
