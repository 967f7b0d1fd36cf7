"""`explain`: walk one image along a saved direction; pictures, curve, sweep and numbers."""

import argparse
from pathlib import Path as FilePath

import gcd_core
from gcd_core.attribution import explain_path
from gcd_core.cli.options import add_common, bar, check_readable, check_writable, write_json
from gcd_core.counterfactual import Path
from gcd_core.directions import check_generator
from gcd_core.imaging import difference, overlay, save_gif, to_pil
from gcd_core.perturbation import check_label


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `explain`."""
    add_common(parser)
    parser.add_argument("--image", type=FilePath, required=True, help="the image to explain")
    parser.add_argument("--directions", type=FilePath, required=True, help="what `find` wrote")
    parser.add_argument("--direction", default="g", help="g, h1, h2, ... (default: g)")
    parser.add_argument("--label", help="what to explain (default: what the directions are for)")
    parser.add_argument("--out", type=FilePath, required=True, help="folder for what is written")


def main(args: argparse.Namespace) -> None:
    """Write source.png, counterfactual.png, difference.png, heatmap.png, curve.png, sweep.gif and
    result.json."""
    check_readable(args.image, args.directions)
    check_writable(args.json)
    found = gcd_core.load_directions(args.directions)
    direction = found[args.direction]
    label = args.label or direction.label
    domain = gcd_core.load_domain(args.domain, device=args.device)
    check_generator(found, domain)
    check_label(domain, label)
    image = domain.load_image(args.image)
    args.out.mkdir(parents=True, exist_ok=True)

    with bar(what="decode") as shown:

        def progress(done: int, total: int) -> None:
            shown.total = total
            shown.update(done - shown.n)

        path = gcd_core.walk(domain, image, direction, label=label, progress=progress)
    heat = explain_path(path, method="bb_lig")
    counterfactual = path.images[path.counterfactual][None]

    to_pil(path.source).save(args.out / "source.png")
    to_pil(counterfactual).save(args.out / "counterfactual.png")
    change = difference(counterfactual, path.source)
    overlay(path.source, change).save(args.out / "difference.png")
    overlay(path.source, heat.map).save(args.out / "heatmap.png")
    save_gif(path.images, args.out / "sweep.gif")
    save_curve(path, args.out / "curve.png")

    index = path.counterfactual
    result = {
        "domain": args.domain,
        "image": args.image.name,
        "label": label,
        "direction": direction.name,
        "flipped": bool(path.flipped),
        "alpha": path.alphas[index].item(),
        "probability": path.source_probability,
        "counterfactual_probability": path.probabilities[index].item(),
        "probabilities": dict(
            zip(path.labels, path.all_probabilities[index].tolist(), strict=True)
        ),
        "lpips": path.distances[index].item(),
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
    write_json(args.out / "result.json", result)
    write_json(args.json, result)
    outcome = "flips" if path.flipped else "does not flip"
    print(
        f"{args.out}: {label!r} {outcome}, {path.source_probability:.3f} to "
        f"{result['counterfactual_probability']:.3f} at alpha {result['alpha']:+.2f} along "
        f"{direction.name} (LPIPS {result['lpips']:.3f})"
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
