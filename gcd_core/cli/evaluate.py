"""`evaluate`: how well directions flip many images, or how well the generator gives them back."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.options import (
    add_common,
    add_counterfactual,
    add_detail,
    bar,
    check_margin,
    check_writable,
    write_json,
)
from gcd_core.cli.part_options import add_parts, carried_out, check_parts
from gcd_core.cli.region_options import (
    RCSB,
    add_method,
    add_region,
    check_method,
    prepared_region,
    read_region,
    steering_of,
)
from gcd_core.distributed.job import Part
from gcd_core.domains.cautions import found_otherwise
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.axes import MOVE, USABLE, measure_axes
from gcd_core.evaluation.markdown import markdown
from gcd_core.evaluation.outcomes import (
    Evaluation,
    Outcome,
    best_of,
    evaluate_reconstruction,
    summarise,
)
from gcd_core.evaluation.pairs import Pair, diversity_of_flips
from gcd_core.evaluation.part_jobs import EvaluateJob, comparison_of, evaluation_of
from gcd_core.evaluation.provenance import measured, networks_of
from gcd_core.generators.sampling import Sampling
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.directions import Direction, DirectionSet, check_generator
from gcd_core.training.classifier import Task, targets_of, uncounted
from gcd_core.training.measures import measure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `evaluate`."""
    add_common(parser)
    add_images(parser, required=True)
    parser.add_argument("--directions", type=Path, help="what `find` wrote")
    parser.add_argument(
        "--direction",
        default="g",
        help="g, h1, w1, ..., several with commas, ways (g and every w), or all (default: g)",
    )
    add_counterfactual(parser)
    add_detail(parser)
    add_region(parser)
    add_method(parser)
    parser.add_argument(
        "--label",
        help="what rcsb flips (default: what the directions are for, else the domain's first)",
    )
    parser.add_argument("--batch-size", type=int, default=8, help="images at a time (default: 8)")
    parser.add_argument("--cout", action="store_true", help="also measure COUT (51 more queries)")
    parser.add_argument(
        "--cells",
        action="store_true",
        help="also compare the maps of cells, BB-LIG and the difference (818 more queries)",
    )
    parser.add_argument(
        "--reconstruction", action="store_true", help="measure encoding and decoding alone"
    )
    parser.add_argument(
        "--off-distribution",
        action="store_true",
        help="measure which of the images the domain takes for none of its own",
    )
    parser.add_argument(
        "--axes",
        action="store_true",
        help="measure how much a move along each axis of z_sem changes the picture",
    )
    parser.add_argument(
        "--sampling",
        action="append",
        metavar="SOLVER:STEPS",
        help="with --reconstruction, repeatable; SOLVER:ENCODE/DECODE for unlike steps "
        "(default: the domain's)",
    )
    parser.add_argument(
        "--classifiers",
        action="store_true",
        help="measure the classifier and the oracle on images of known labels",
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="NAME=POSITIVES:NEGATIVES",
        help="with --classifiers, once per label: what of the table's column label it stands for",
    )
    parser.add_argument(
        "--summary", action="store_true", help="leave single images out of the JSON file"
    )
    add_parts(parser)


def add_images(parser: argparse.ArgumentParser, required: bool) -> None:
    """Add the options that choose images."""
    parser.add_argument("--images", type=Path, required=required, help="a folder or zip of images")
    parser.add_argument("--labels", type=Path, help="CSV with the columns file and split")
    parser.add_argument("--split", help="measure this split of the labels file only")
    parser.add_argument("--limit", type=int, help="at most so many images, evenly spread")


def main(args: argparse.Namespace) -> None:
    """Measure, print a table, and write everything to the JSON file."""
    check_request(args)
    samplings: list[Sampling | None] = [None]
    if args.sampling:
        samplings = [parse_sampling(text) for text in args.sampling]
    found = gcd_core.load_directions(args.directions) if args.directions else None
    chosen = [] if found is None else choose_directions(found, args.direction)
    files = ImageFiles(args.images, args.labels, args.split, args.limit)
    domain = gcd_core.load_domain(args.domain, device=args.device)
    if found is not None:
        check_generator(found, domain)
    for sentence in found_otherwise(found, args.detail or domain.detail):
        print(f"warning: {sentence}", file=sys.stderr)
    if found is not None or args.method == RCSB:
        evaluated = in_parts(args, domain, files, chosen)
        if evaluated is None:
            return
        result = evaluated
    elif args.reconstruction:
        result = reconstruction(args, domain, files, samplings)
    elif args.off_distribution:
        result = off_distribution(domain, files)
    elif args.classifiers:
        result = classifiers(args, domain, files)
    else:
        result = axes(domain, files)
    print_skipped(files.skipped, len(files.names))
    if args.summary:
        result.pop("images", None)
    result = {"domain": args.domain, "skipped": files.skipped, **result}
    result.setdefault("identity", networks_of(domain))
    write_json(args.json, result | {"measured": measured(domain, files)})


def check_request(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before any work."""
    check_at_least(1, limit=args.limit, batch_size=args.batch_size)
    check_writable(args.json)
    check_margin(args.margin)
    check_method(args)
    directed = bool(args.directions) or args.method == RCSB
    alone = [args.reconstruction, args.off_distribution, args.axes, args.classifiers]
    if sum([*alone, directed]) != 1:
        raise GCDError(
            "Give one of --directions FILE, --reconstruction, --off-distribution, --axes and "
            "--classifiers."
        )
    if args.classifiers != bool(args.target):
        raise GCDError("--classifiers needs what each label stands for: --target NAME=A:B.")
    if args.region and not directed:
        raise GCDError("--region confines directions; give --directions FILE with it.")
    if args.label and args.method != RCSB:
        raise GCDError("--label belongs to --method rcsb; directions have their own.")
    if not directed and (args.parts or args.ray or args.shard):
        raise GCDError("--parts, --shard and --ray belong to --directions, or --method rcsb.")
    check_parts(args)
    if args.sampling and not args.reconstruction:
        raise GCDError("--sampling belongs to --reconstruction; directions use the domain's.")


def choose_directions(found: DirectionSet, text: str) -> list[Direction]:
    """Return the directions that `--direction` names, each once, in its order.

    Names with commas between them; `ways` is g and every w, `all` is every one, whatever there is.
    Raises a GCDError if there is none of a name; it lists those there are.
    """
    groups = {"all": found.names, "ways": [n for n in found.names if n == "g" or n.startswith("w")]}
    parts = [part.strip() for part in text.split(",")]
    names = dict.fromkeys(name for part in parts for name in groups.get(part) or [part])
    return [found[name] for name in names]


def in_parts(
    args: argparse.Namespace, domain: Domain, files: ImageFiles, chosen: list[Direction]
) -> dict | None:
    """Evaluate directions, or the bridge on regions, a batch a part; a shard returns None."""
    steering = steering_of(args, domain.steering) if args.method == RCSB else None
    label = args.label or (chosen[0].label if chosen else domain.labels[0])
    job = EvaluateJob.of(
        args.domain,
        domain,
        files,
        label,
        chosen[:1] if steering else chosen,
        args.batch_size,
        device=args.device,
        with_cout=args.cout,
        choice=args.counterfactual,
        margin=args.margin,
        with_cells=args.cells,
        region=prepared_region(domain, read_region(args.region)),
        detail=args.detail,
        steering=steering,
    )
    ways = 1 if steering else len(chosen)
    what = "images x directions" if ways > 1 else "images"
    with bar(len(files.names) * ways, what) as shown:
        parts = carried_out(args, job, domain, lambda part: shown.update(len(part.rows)))
    if parts is None:
        return None
    if steering:
        print(f"rcsb: {steering}; region {args.region}")
    return summed_up(job.settings, parts)


def summed_up(settings: dict[str, Any], parts: Iterable[Part], _: Path | None = None) -> dict:
    """Print what all parts measured; return it with the figures of g (or the first) on top."""
    skipped: dict[str, str] = {}

    def noted() -> Iterator[Part]:
        for part in parts:
            skipped.update(part.about["skipped"])
            yield part

    evaluation = evaluation_of(noted())
    print_skipped(skipped, settings["named"])
    if not evaluation.outcomes:
        raise GCDError(f"No image of {settings['images']} could be read.")
    names = list(evaluation.outcomes)
    figures = {
        name: summarise(
            evaluation.outcomes[name], evaluation.costs[name], evaluation.features.get(name)
        )
        for name in names
    }
    first = "g" if "g" in names else names[0]
    best = {kind: best_of(figures, kind) for kind in "hw"}
    print(
        f"{settings['label']!r} on {figures[first]['n']} images of {settings['images']}; "
        f"counterfactual: {settings['counterfactual']}, margin {settings['margin']:g}, "
        f"detail: {settings['detail']}"
    )
    if missing := figures[first]["premise_missing"]:
        what = next(o.premise_missing for o in evaluation.outcomes[first] if o.premise_missing)
        print(f"left out: {missing} images show no {what}, which {settings['label']!r} is asked of")
    print_figures(settings, evaluation, figures)
    for kind, name in best.items():
        if name:
            print(f"best {kind}: {name}, flip rate {figures[name]['flip_rate']:.3f}")
    comparison = comparison_of(evaluation, settings)
    diversity, pairs = comparison.diversity, comparison.pairs()
    if diversity is not None:
        print(f"diversity (LPIPS between one image's counterfactuals): {diversity:.3f}")
        print_pairs(pairs)
    steering = settings["steering"]
    return {
        **({"steering": steering} if steering else {}),
        "label": settings["label"],
        "direction": first,
        "counterfactual": settings["counterfactual"],
        "margin": settings["margin"],
        "detail": settings["detail"],
        **figures[first],
        **{f"best_{kind}": name for kind, name in best.items()},
        "diversity": diversity,
        "diversity_of_flips": diversity_of_flips(pairs),
        "pairs": [asdict(pair) for pair in pairs],
        "directions": figures,
        "images": {name: [listed(o) for o in evaluation.outcomes[name]] for name in names},
        "skipped": skipped,
        "identity": {
            **{name: settings[name] for name in ("generator", "classifier", "oracle")},
            "directions": settings["vectors"],
        },
    }


def listed(outcome: Outcome) -> dict[str, Any]:
    """An outcome as the JSON file lists it, under its direction's name."""
    return {k: v for k, v in asdict(outcome).items() if k not in ("direction", "number")}


def print_skipped(skipped: dict[str, str], named: int) -> None:
    """Name the images that could not be read, and why."""
    if skipped:
        print(f"skipped {len(skipped)} of {named} images:", file=sys.stderr)
        for name, reason in skipped.items():
            print(f"  {name}: {reason}", file=sys.stderr)


def print_figures(
    settings: dict[str, Any], evaluation: Evaluation, figures: dict[str, dict]
) -> None:
    """Print each direction's figures, and those of the other counterfactual and of the maps."""
    columns = ["flip_rate", "oracle_flip_rate", "manifold_lpips", "manifold_ratio", "alpha"]
    columns += ["lpips", "l1", "exposure", "fine_power", "gini_bb_lig", "gini_difference"]
    columns += ["completeness_error", "fid_oracle"]
    columns += ["cout"] if settings["cout"] else []
    columns += ["region"] if settings["region"] else []
    asked = any(own["third_class"] is not None for own in figures.values())
    columns += ["third_class"] if asked else []
    rows = [{"direction": name, **own} for name, own in figures.items()]
    print(markdown(rows, ["direction", *columns, "evaluations", "queries", "seconds"]))
    other = evaluation.other.replace("-", "_")
    print(f"counterfactual on the same paths: {evaluation.other}")
    rows = [{"direction": name, **own[other]} for name, own in figures.items()]
    print(markdown(rows, ["direction", *columns[:2], "alpha", "lpips", "l1"]))
    if settings["cells"]:
        print("maps: cells, BB-LIG and the difference between source and counterfactual")
        rows = [
            {"direction": name, "map": method, **row}
            for name, own in figures.items()
            for method, row in own["maps"].items()
        ]
        columns = ["direction", "map", "completeness_error", "gini", "cout", "cout_back"]
        print(markdown(rows, columns))


def print_pairs(pairs: list[Pair]) -> None:
    """Print how different every two directions are, and what that comes to over all of them."""
    n, mean = sum(pair.n for pair in pairs), diversity_of_flips(pairs)
    print("pairs of directions, on the images that both flip")
    rows = [asdict(pair) | {"directions": ", ".join(pair.directions)} for pair in pairs]
    rows.append({"directions": "all pairs", "n": n, "lpips": mean})
    print(markdown(rows, ["directions", "abs_cosine", "n", "lpips", "rank_correlation"]))


def reconstruction(
    args: argparse.Namespace, domain: Domain, files: ImageFiles, samplings: list[Sampling | None]
) -> dict:
    """Evaluate encoding and decoding, in each way of sampling."""
    with bar(len(files.names) * len(samplings), "images x samplings") as shown:
        rows = evaluate_reconstruction(
            domain,
            files.load(domain.load_image),
            samplings,
            batch_size=args.batch_size,
            progress=shown.update,
        )
    flat = [row | {f"agreement {k}": v for k, v in row["agreement"].items()} for row in rows]
    columns = ["sampling", "evaluations", "mae", "ssim", "lpips"]
    columns += [f"agreement {label}" for label in domain.labels]
    print(f"{rows[0]['n']} images of {args.images}; evaluations and seconds per image")
    print(markdown(flat, [*columns, "seconds"]))
    return {"n": rows[0]["n"], "reconstruction": rows}


def classifiers(args: argparse.Namespace, domain: Domain, files: ImageFiles) -> dict:
    """Measure the classifier and the oracle on images whose labels a table tells."""
    tasks = [Task.parse(text) for text in args.target]
    with bar(len(files.names), "images") as shown:
        found = {}
        for name, image in files.load(domain.load_image):
            found[name] = (image * 255).round().to(torch.uint8)
            shown.update()
    images = torch.cat(list(found.values()))
    table = {"label": [files.labels.get(name, "") for name in found]}
    targets = targets_of(table, tasks)
    for told in uncounted(table, tasks):
        print(told, file=sys.stderr)
    networks = {"classifier": domain.classifier, "oracle": domain.oracle}
    figures = {
        name: measure(network, images, targets, [task.name for task in tasks])[0]
        for name, network in networks.items()
        if network is not None
    }
    rows = [
        {"network": name, "label": label, **row}
        for name, own in figures.items()
        for label, row in own.items()
    ]
    print(markdown(rows, list(rows[0])))
    return {"targets": args.target, "classifiers": figures}


def axes(domain: Domain, files: ImageFiles) -> dict:
    """Count the axes of z_sem along which a move changes the picture visibly."""
    with bar(len(files.names), "images") as shown:
        distances = measure_axes(domain, files.load(domain.load_image), progress=shown.update)
    usable = int((distances >= USABLE).sum())
    print(
        f"{usable} of {len(distances)} axes change the picture by LPIPS {USABLE} or more when "
        f"moved by {MOVE:g} (median {distances.median():.3f}, most {distances.max():.3f})"
    )
    return {"usable_axes": usable, "axes": len(distances), "lpips": distances.tolist()}


def off_distribution(domain: Domain, files: ImageFiles) -> dict:
    """Score every image, and count those that the page would warn of."""
    off = domain.off_distribution
    if off is None:
        raise GCDError(f"{domain.name} has no calibration; make one with `calibrate`.")
    scores = {}
    with bar(len(files.names), "images") as shown:
        for name, image in files.load(domain.load_image):
            scores[name] = off.score(domain, image).item()
            shown.update()
    flagged = [name for name, score in scores.items() if score > off.threshold]
    share = len(flagged) / len(scores)
    print(f"{len(flagged)} of {len(scores)} images ({share:.1%}) score above {off.threshold:.2f}")
    return {"n": len(scores), "flagged": share, "threshold": off.threshold, "scores": scores}


def parse_sampling(text: str) -> Sampling:
    """Read `solver:steps` or `solver:encode/decode`."""
    solver, _, steps = text.partition(":")
    encode, _, decode = steps.partition("/")
    try:
        counts = int(encode), int(decode or encode)
    except ValueError as error:
        raise GCDError(
            f"--sampling is SOLVER:STEPS or SOLVER:ENCODE/DECODE, not {text!r}."
        ) from error
    if not solver or min(counts) < 2:
        raise GCDError(f"--sampling needs a solver and 2 steps at least, not {text!r}.")
    return Sampling.from_config(
        {"solver": solver, "encode_steps": counts[0], "decode_steps": counts[1]}
    )
