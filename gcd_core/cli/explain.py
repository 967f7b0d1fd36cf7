"""`explain`: walk one image along a saved direction; pictures, curve, sweep, report and numbers."""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor

import gcd_core
from gcd_core.bridge.paths import bridge_of, rcsb
from gcd_core.bridge.rcsb import Steering
from gcd_core.classifiers.questions import Question
from gcd_core.cli.options import (
    add_common,
    add_counterfactual,
    add_detail,
    bar,
    check_margin,
    check_readable,
    check_writable,
    moving,
    write_json,
)
from gcd_core.cli.region_options import (
    RCSB,
    add_method,
    add_region,
    check_method,
    prepared_region,
    read_region,
    region_of,
    steering_of,
)
from gcd_core.domains.cautions import cautions, found_otherwise, missing_premise, unreproduced
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.outcomes import oracle_probability
from gcd_core.images.drawing import BRIGHTNESS, difference, overlay, save_gif, save_png, to_pil
from gcd_core.images.notes import noting
from gcd_core.images.picture import Picture
from gcd_core.images.reading import (
    NOT_A_RADIOGRAPH,
    looks_like_photograph,
    picture_size,
    shown_name,
    small_words,
)
from gcd_core.method.attribution import Attribution, explain_path, map_agreement
from gcd_core.method.cells import QUERIES, check_budget
from gcd_core.method.counterfactual import WHOLE
from gcd_core.method.directions import Direction, DirectionSet, check_generator
from gcd_core.method.exposure import exposure_of, is_doubtful, without_exposure_for
from gcd_core.method.off_distribution import unlike_words
from gcd_core.method.orientation import turned
from gcd_core.method.path import Path
from gcd_core.method.perturbation import check_label
from gcd_core.method.region import AutomaticRegion
from gcd_core.method.repeatability import unrepeatable
from gcd_core.report.captions import (
    caption,
    captions_of,
    exposure_words,
    without_exposure_words,
)
from gcd_core.report.content import Report
from gcd_core.report.page import write_report
from gcd_core.wording import percent_of_all

SWEEP = 256  # pixels of the animation's longer side at least, so that its captions can be read
LARGEST_SWEEP = 512  # and at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `explain`."""
    add_common(parser)
    parser.add_argument("--image", type=FilePath, required=True, help="the image to explain")
    parser.add_argument(
        "--directions",
        type=FilePath,
        help="what `find` wrote (rcsb needs it for --region auto alone)",
    )
    parser.add_argument("--direction", default="g", help="g, h1, h2, ... (default: g)")
    parser.add_argument("--label", help="what to explain (default: what the directions are for)")
    add_counterfactual(parser)
    add_detail(parser)
    add_region(parser)
    add_method(parser)
    parser.add_argument(
        "--map",
        choices=("bb_lig", "cells"),
        help=f"what heatmap.png and the report show; cells asks the classifier {QUERIES} times "
        "more (default: what the domain's `sanity` found better, bb_lig where asking costs)",
    )
    parser.add_argument("--out", type=FilePath, required=True, help="folder for what is written")


def main(args: argparse.Namespace) -> None:
    """Write the pictures of the walk, the report as report.pdf and report.png, and result.json."""
    check_readable(args.image, *([args.directions] if args.directions else []))
    check_writable(args.json)
    check_margin(args.margin)
    check_method(args)
    wanted = read_region(args.region)
    if args.directions is None and (args.method != RCSB or isinstance(wanted, AutomaticRegion)):
        raise GCDError("Give --directions FILE, what `find` wrote.")
    found = gcd_core.load_directions(args.directions) if args.directions else None
    direction = None if found is None else found[args.direction]
    domain = gcd_core.load_domain(args.domain, device=args.device)
    label = args.label or (domain.labels[0] if direction is None else direction.label)
    if found is not None:
        check_generator(found, domain)
    check_label(domain, label)
    if args.method == RCSB:
        bridge_of(domain)
    shown = args.map or leading_map(domain)
    if shown == "cells":
        check_budget(domain.classifier, QUERIES)
    with noting() as notes:
        picture = domain.load_picture(args.image)
    prepared = prepared_region(domain, wanted, picture_size(args.image))
    region = region_of(domain, prepared, picture, direction, label, args.detail)
    args.out.mkdir(parents=True, exist_ok=True)

    steering = steering_of(args, domain.steering)
    path = changed(args, domain, picture, label, direction, region, steering)
    heat = explain_path(path, method="bb_lig")
    shown_heat, agreement = heat, None
    if shown == "cells":
        shown_heat = explain_path(path, method="cells", classifier=domain.classifier)
        agreement = map_agreement(explain_path(path, until=path.counterfactual).map, shown_heat.map)
    write_pictures(args.out, domain, path, shown_heat, picture.bits)
    warnings = notes + warnings_about(domain, args.image, picture.view)
    warnings += exposure_about(domain, path)
    warnings += cautions_about(domain, path) + unrepeatable(found)
    warnings += found_otherwise(found, path.detail)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    steered = str(steering) if args.method == RCSB else ""
    name = shown_name(args.image.name, args.image)
    report = walk_report(domain, found, path, shown_heat, warnings, steered, agreement, name)
    for file_format in ("pdf", "png"):
        write_report(args.out / f"report.{file_format}", report, file_format)
    result = {
        "domain": args.domain,
        "image": name,
        "warnings": warnings,
        "method": args.method,
        **({"steering": asdict(steering)} if args.method == RCSB else {}),
        **figures_of(domain, path, heat),
        **figures_of_map(shown_heat, agreement),
    }
    write_json(args.out / "result.json", result)
    write_json(args.json, result)
    print(f"{args.out}: {in_a_line(path, result, domain.label_info[path.label].question)}")


def changed(
    args: argparse.Namespace,
    domain: Domain,
    picture: Picture,
    label: str,
    direction: Direction | None,
    region: Tensor | None,
    steering: Steering,
) -> Path:
    """Return the path of the image, by a walk or by the bridge."""
    with bar(what="decode") as shown:
        if direction is None or args.method == RCSB:
            assert region is not None  # `check_method` saw to it
            return rcsb(
                domain,
                picture.view,
                label,
                region,
                steering,
                choice=args.counterfactual or WHOLE,
                margin=args.margin,
                progress=moving(shown),
            )
        return gcd_core.walk(
            domain,
            picture,
            direction,
            label=label,
            progress=moving(shown),
            choice=args.counterfactual,
            margin=args.margin,
            region=region,
            detail=args.detail,
        )


def in_a_line(path: Path, result: dict[str, Any], question: Question) -> str:
    """One line that says what was found."""
    outcome = "flips" if result["flipped"] else "does not flip"
    if path.region is not None:
        outcome += f" by changing {percent_of_all(result['region'])} of the picture alone"
    numbers = [path.source_probability, result["counterfactual_probability"]]
    before, after = (
        f"{n:.3f}" if question.threshold is None else question.shown(n) for n in numbers
    )
    if result["premise_missing"]:
        outcome += f" (the original shows no {result['premise_missing']}, which it is asked of)"
    return (
        f"{path.label!r} {outcome}, {before} to {after} at alpha {result['alpha']:+.2f} along "
        f"{path.direction_name} (LPIPS {result['lpips']:.3f})"
    )


def write_pictures(
    folder: FilePath, domain: Domain, path: Path, heat: Attribution, bits: int
) -> None:
    """Write what a walk shows, at the picture's own size.

    Source and counterfactual (in 16 bits too where the file had more than 8), difference, heat map,
    curve and sweep.
    """
    index, source = path.counterfactual, path.original
    counterfactual = path.picture(index)
    to_pil(source).save(folder / "source.png")
    place = [(path.direction_name, path.alphas[index].item())]
    lines = caption(domain, path.label, path.probabilities[index].item(), place)
    save_png(counterfactual, folder / "counterfactual.png", {"Description": ", ".join(lines)})
    about = {"Description": ", ".join(lines)}
    if bits > 8:
        save_png(counterfactual, folder / "counterfactual-16bit.png", about, bits)
    change = overlay(source, difference(counterfactual, source), palette=BRIGHTNESS)
    change.save(folder / "difference.png")
    overlay(source, heat.map).save(folder / "heatmap.png")
    frames = [path.picture(k) for k in path.is_walked.nonzero().flatten().tolist()]
    size = min(max(SWEEP, *source.shape[-2:]), LARGEST_SWEEP)
    save_gif(frames, folder / "sweep.gif", size=size, captions=captions_of(domain, path))
    save_curve(path, folder / "curve.png")
    if path.region is not None:
        to_pil(path.region[:1].float()).save(folder / "region.png")


def figures_of(domain: Domain, path: Path, heat: Attribution) -> dict[str, Any]:
    """The numbers of a walk, its counterfactual and its BB-LIG map; JSON can hold them.

    "premise_missing" is what the label is asked of only, where the original lacks it: then nothing
    counts as a flip.
    """
    index = path.counterfactual
    missing = missing_premise(domain.label_info, path.label, path.source_probabilities)
    return {
        "label": path.label,
        "direction": path.direction_name,
        "counterfactual": path.choice,
        "margin": path.margin,
        "detail": path.detail,
        "size": list(path.original.shape[-2:]),
        "flipped": path.counterfactual_flips and not missing,
        "premise_missing": missing,
        "alpha": path.alphas[index].item(),
        "probability": path.source_probability,
        "counterfactual_probability": path.probabilities[index].item(),
        "probabilities": dict(
            zip(path.labels, path.all_probabilities[index].tolist(), strict=True)
        ),
        "lpips": path.distances[index].item(),
        "exposure": exposure_of(path),
        "region": None if path.region is None else path.region.double().mean().item(),
        "bb_lig": {
            "baseline_alpha": path.alphas[heat.baseline_index].item(),
            "baseline_probability": heat.baseline_probability,
            "baseline_reached": heat.reached,
            "completeness_error": heat.completeness_error,
        },
        "path": {
            "alphas": path.alphas.tolist(),
            "probabilities": path.probabilities.tolist(),
            "lpips": path.distances.tolist(),
            "losses": path.losses.tolist(),
        },
    }


def leading_map(domain: Domain) -> str:
    """The map that is shown where none is named; it costs no query where queries cost anything."""
    return domain.better_map if asks_freely(domain) else "bb_lig"


def asks_freely(domain: Domain) -> bool:
    """Whether the classifier runs here and may be asked as often as one likes."""
    return not domain.classifier.remote and domain.classifier.budget is None


def figures_of_map(heat: Attribution, agreement: float | None) -> dict[str, Any]:
    """Which map heatmap.png shows; of cells, what it cost, what its sum lacks, and `agreement`.

    That is the rank correlation with BB-LIG of the same change, as of `map_agreement`.
    """
    if heat.method != "cells":
        return {"map": heat.method}
    cells = {"queries": heat.queries, "completeness_error": heat.completeness_error}
    return {"map": heat.method, heat.method: cells | {"rank_correlation": agreement}}


def warnings_about(domain: Domain, file: FilePath, image: Tensor) -> list[str]:
    """The sentences about the image that a reader of the results must know first."""
    if domain.generator.channels == 1 and looks_like_photograph(file):
        return [NOT_A_RADIOGRAPH]
    found = [small_words(picture_size(file), domain.generator.image_size)]
    off = domain.off_distribution
    if off is None:
        return list(filter(None, found))
    if domain.upright:
        found.append(turned(domain, off, image, domain.generator.encode_semantic(image)))
    score = off.score(domain, image).item()
    if score > off.threshold:
        found.append(unlike_words(score, off.threshold))
    return [told for told in found if told]


@torch.inference_mode()
def exposure_about(domain: Domain, path: Path) -> list[str]:
    """Say where brightness and contrast may be what made a flip, and what it is without them.

    The classifier is asked once, where that is free.
    """
    share, classifier, words, without = exposure_of(path), domain.classifier, "", None
    before, after = path.source_probability, path.probabilities[path.counterfactual].item()
    if asks_freely(domain) and path.counterfactual_flips:
        asked = classifier(without_exposure_for(path, classifier))
        without = classifier.probability(asked, path.label).item()
        question = domain.label_info[path.label].question
        words = without_exposure_words(
            domain.label_names[path.label][1], before, without, True, question
        )
    if not is_doubtful(share, before, after, without):
        return []
    return [exposure_words(share, path.source.shape[-3], words)]


@torch.inference_mode()
def cautions_about(domain: Domain, path: Path) -> list[str]:
    """Return the cautions about the label that a reader must know."""
    after = dict(
        zip(path.labels, path.all_probabilities[path.counterfactual].tolist(), strict=True)
    )
    before = path.source_probabilities
    found: list[str] = [*cautions(domain.label_info, path.label, before, after)]
    at_rest = (path.alphas == 0).nonzero().flatten()
    if len(at_rest):
        again = path.probabilities[at_rest[0]].item()
        question = domain.label_info[path.label].question
        told = unreproduced(path.source_probability, again, question)
        found = [told, *found] if told else found
    return found


@torch.inference_mode()
def walk_report(
    domain: Domain,
    found: DirectionSet | None,
    path: Path,
    heat: Attribution,
    warnings: list[str],
    steering: str = "",
    agreement: float | None = None,
    name: str = "",
) -> Report:
    """The page about a walk's counterfactual; classifier and oracle are asked about the source."""
    index, classifier = path.counterfactual, domain.classifier
    logits = classifier(path.source_for(classifier))
    after = dict(zip(path.labels, path.all_probabilities[index].tolist(), strict=True))
    was, now = (oracle_probability(domain, path, point) for point in (None, index))
    return Report.of(
        domain,
        found,
        path,
        heat.map,
        heat.completeness_error,
        source=path.original,
        changed=path.picture(index),
        before=[classifier.probability(logits, label).item() for label in domain.labels],
        after=[after[label] for label in domain.labels],
        distance=path.distances[index].item(),
        alphas=[(path.direction_name, path.alphas[index].item())],
        here=path.alphas[index].item(),
        warnings=warnings,
        oracle=None if was is None or now is None else (was, now),
        map_method=heat.method,
        agreement=agreement,
        exposure=exposure_of(path),
        steering=steering,
        name=name,
        margin=path.margin,
    )


def save_curve(path: Path, file: FilePath) -> None:
    """Draw the probability along the path, its threshold and its counterfactual, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.subplots()
    index = path.counterfactual
    axes.plot(path.alphas, path.probabilities, marker=".", label=f"probability of {path.label}")
    axes.axhline(path.threshold, color="grey", linestyle="--", linewidth=1, label="threshold")
    axes.plot(
        path.alphas[index], path.probabilities[index], "o", markersize=9, label="counterfactual"
    )
    axes.set(xlabel=f"alpha along {path.direction_name}", ylim=(-0.03, 1.03))
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)
