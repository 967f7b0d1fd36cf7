"""`find`: search for directions, try them, save them."""

import argparse
import sys
from pathlib import Path
from typing import Any

import gcd_core
from gcd_core.checks import check_at_least, check_positive
from gcd_core.classifiers import BlackBox
from gcd_core.cli.options import (
    StageBars,
    add_common,
    add_detail,
    add_sampling,
    check_readable,
    check_writable,
    write_json,
)
from gcd_core.cli.region_options import add_region, painted_region
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import check_solver
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.reading import picture_size, shown_name
from gcd_core.method.directions import DirectionSet
from gcd_core.method.repeatability import repeatability_of, with_repeatability
from gcd_core.method.search_run import Found
from gcd_core.method.settings import SAMPLINGS, VALIDATION_PART
from gcd_core.method.verification import FIGURE as TRIED
from gcd_core.method.verification import tried_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `find`."""
    add_common(parser)
    parser.add_argument(
        "--image", type=Path, help="the one source image; needed for --sampling ball"
    )
    parser.add_argument("--label", required=True, help="the classifier's label to explain")
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument(
        "--samples",
        "--queries",
        type=int,
        help="pictures to ask about, at most (default: the domain's)",
    )
    parser.add_argument("--seed", type=int, default=0, help="repeats a run (default: 0)")
    parser.add_argument("--n-h", type=int, help="how many h-directions (default: the domain's)")
    parser.add_argument("--radius", type=float, help="of the ball of perturbations")
    parser.add_argument("--lam", type=float, help="weight of LPIPS in the CF loss")
    parser.add_argument(
        "--boundary",
        action=argparse.BooleanOptionalAction,
        help="look for the directions at the decision boundary, where a first g carries the source "
        "(default: the domain's)",
    )
    parser.add_argument(
        "--sampling",
        choices=SAMPLINGS,
        help="codes as the domain's images have them (prior), those of your --images, or a ball "
        "around --image, as in the paper (default: the domain's)",
    )
    parser.add_argument("--images", type=Path, help="folder or zip of 16 images or more to ask")
    parser.add_argument("--labels", type=Path, help="CSV of those images that count: file, split")
    parser.add_argument("--split", help="only the images of this split of --labels")
    parser.add_argument(
        "--n-ways", type=int, help="directions by place to add, 0 to 4 (default: the domain's)"
    )
    parser.add_argument("--batch-size", type=int, help="perturbations decoded at a time")
    parser.add_argument(
        "--settle",
        type=float,
        metavar="COSINE",
        help="stop before --samples once g turns no more (such as 0.99): fewer queries",
    )
    add_region(parser, automatic=False)
    add_sampling(parser)
    add_detail(parser)


def main(args: argparse.Namespace) -> None:
    """Find the directions, save them, and tell what they are and what they cost."""
    check_at_least(VALIDATION_PART, samples=args.samples)
    check_at_least(2, steps=args.steps)
    check_at_least(1, batch_size=args.batch_size)
    check_at_least(0, n_h=args.n_h, lam=args.lam, seed=args.seed, n_ways=args.n_ways)
    check_positive(radius=args.radius)
    if args.solver:
        check_solver(args.solver)
    if args.region is not None and args.image is None:
        raise GCDError("--region is of one picture: give that as --image.")
    if (args.labels or args.split) and args.images is None:
        raise GCDError("--labels and --split choose among --images; give those too.")
    given = (args.image, args.images, args.labels, args.region)
    check_readable(*[path for path in given if path is not None])
    check_writable(args.out, args.json)

    domain = gcd_core.load_domain(args.domain, device=args.device)
    image = domain.load_picture(args.image) if args.image else None
    images = None
    if args.images:
        most = args.samples or domain.search.n_samples
        names = ImageFiles(args.images, args.labels, args.split, most)
        images = [image for _, image in names.load(domain.load_picture)]
    region = args.region and painted_region(domain, args.region, picture_size(args.image))
    with StageBars() as bars:
        found = gcd_core.find_directions(
            domain,
            image,
            label=args.label,
            n_samples=args.samples,
            n_h=args.n_h,
            radius=args.radius,
            lam=args.lam,
            boundary=args.boundary,
            n_ways=args.n_ways,
            sampling=args.sampling,
            images=images,
            seed=args.seed,
            solver=args.solver,
            steps=args.steps,
            batch_size=args.batch_size,
            settle=args.settle,
            region=region,
            detail=args.detail,
            progress=bars.update,
        )
    lam = domain.search.lam if args.lam is None else args.lam
    directions = with_repeatability(found, lam)
    directions.save(args.out)
    confidence = repeatability_of(directions)
    result = result_of(args, domain.classifier, found)
    result["repeatability"] = confidence and {
        "cosine": confidence.cosine,
        "level": confidence.level,
    }
    write_json(args.json, result)
    print(f"{args.out}: {summary_of(args.label, domain.classifier, found)}")
    tell(directions)


def tell(directions: DirectionSet) -> None:
    """Print how far directions can be relied on, and what each did to the examples."""
    if directions.metadata["settings"].get("codes_of") == 0:
        print(
            "warning: nobody measured what the domain's codes are like (calibrate --codes); they "
            "were taken to be normal",
            file=sys.stderr,
        )
    confidence = repeatability_of(directions)
    if confidence is not None:
        print(confidence.sentence)
    for name, tried in tried_of(directions.metadata).items():
        print(f"{name}: {tried.sentence}")


def result_of(args: argparse.Namespace, classifier: BlackBox, found: Found) -> dict[str, Any]:
    """What the JSON file holds: what was found, how, and what it cost."""
    directions, proxy = found.directions, found.proxy
    return {
        "domain": args.domain,
        "image": args.image and shown_name(args.image.name, args.image),
        "label": args.label,
        "seed": args.seed,
        "probability": found.samples.source_probability,
        "directions": {
            name: {"eigenvalue": directions[name].eigenvalue} for name in directions.names
        },
        "samples": len(found.samples),
        "sampling": found.samples.question.sampling,
        "tried": directions.metadata.get(TRIED, {}),
        "region": args.region and shown_name(args.region.name, args.region),
        "proxy": {
            "epochs": len(proxy.train_losses),
            "train_loss": proxy.train_losses[-1],
            "validation_loss": proxy.validation_losses[-1],
        },
        "evaluations": found.evaluations,
        "queries": found.queries,
        "cache_hits": classifier.cache_hits,
        "budget": classifier.budget,
        "seconds": found.seconds,
    }


def summary_of(label: str, classifier: BlackBox, found: Found) -> str:
    """The same in one line."""
    queries = f"{found.queries} queries"
    if classifier.cache_hits:
        queries += f" and {classifier.cache_hits} answers known from before"
    if classifier.budget is not None:
        queries += f", {classifier.budget - classifier.queries} left of the budget"
    return (
        f"{', '.join(found.directions.names)} for {label!r}, from {len(found.samples)} samples "
        f"({found.evaluations} network evaluations, {queries}, {found.seconds:.1f} s)"
    )
