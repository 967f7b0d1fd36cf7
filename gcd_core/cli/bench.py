"""`bench`: what the paper's protocol costs, what ours costs, and whether they say the same."""

import argparse
from dataclasses import asdict, replace

import torch
from tqdm import tqdm

import gcd_core
from gcd_core.checks import check_at_least
from gcd_core.cli.evaluate import add_images
from gcd_core.cli.options import (
    add_common,
    add_detail,
    bar,
    check_writable,
    in_detail,
    write_json,
)
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import paper_comparison, speed
from gcd_core.evaluation.cuda import check_device
from gcd_core.evaluation.markdown import markdown
from gcd_core.evaluation.provenance import measured, networks_of
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.perturbation import check_label
from gcd_core.method.settings import VALIDATION_PART

# What is compared, by its name in the JSON file; the domain's own search may be missing.
PARTS = {
    "find": "find, {} samples",
    "few": "find over drawn codes, {} samples",
    "transfer": "transfer, an image",
    "bb_lig": "BB-LIG, an image",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `bench`."""
    add_common(parser)
    add_images(parser, required=False)
    parser.add_argument("--label", help="what to explain (default: the domain's first)")
    parser.add_argument("--seed", type=int, default=0, help="repeats a run (default: 0)")
    add_detail(parser)
    parser.add_argument("--samples", type=int, help="of our search (default: 1024)")
    parser.add_argument("--paper-samples", type=int, help="really run, then scaled (default: 128)")
    parser.add_argument("--paper-images", type=int, help="really walked (default: 2)")
    parser.add_argument(
        "--short", action="store_true", help="counts and agreement alone, in small: no seconds"
    )
    parser.add_argument(
        "--cuda",
        action="store_true",
        help="what to check on a GPU instead: share of bf16 products, torch.compile and CUDA "
        "graphs, agreement with the CPU, halving of batches too large for the memory",
    )


def main(args: argparse.Namespace) -> None:
    """Run both sides, print tables, and write everything to the JSON file."""
    check_at_least(1, limit=args.limit, paper_images=args.paper_images)
    check_at_least(VALIDATION_PART, samples=args.samples, paper_samples=args.paper_samples)
    check_at_least(0, seed=args.seed)
    check_writable(args.json)
    size = paper_comparison.SHORT if args.short else paper_comparison.Size()
    asked = {name: getattr(args, name) for name in ("samples", "paper_samples", "paper_images")}
    size = replace(size, **{name: value for name, value in asked.items() if value is not None})
    if size.paper_samples > size.samples:
        raise GCDError("--paper-samples is a part of --samples; it cannot be more.")
    if args.images is None and (args.labels or args.split):
        raise GCDError("--labels and --split choose among --images; give those too.")
    files = None
    if args.images is not None:
        files = ImageFiles(args.images, args.labels, args.split, args.limit or 128)
    if args.cuda and not torch.cuda.is_available():
        raise GCDError("--cuda checks a GPU, and none is at hand: run it where one is.")
    domain = in_detail(gcd_core.load_domain(args.domain, device=args.device), args.detail)
    if args.cuda:
        write_json(args.json, on_gpu(args.domain, domain))
        return
    label = args.label or domain.labels[0]
    check_label(domain, label)
    images = read_images(domain, files, args.limit, 2 if args.short else None)

    with bar(what="bench") as shown:
        result = {
            "domain": args.domain,
            "label": label,
            "short": args.short,
            "seed": args.seed,
            "detail": domain.detail,
            "device": describe(domain),
            "identity": networks_of(domain),
            "measured": measured(domain, files),
            **paper_comparison.compare(
                domain, images, label, size, args.seed, shown.set_description
            ),
            "speed": None if args.short else waiting(args, domain, images, label, size, shown),
        }
    if args.short:
        del result["peak_memory_mib"]
        for part in filter(result.get, PARTS):
            for side in ("paper", "ours", "ratio"):
                del result[part][side]["seconds"]
    show(result)
    write_json(args.json, result)


def on_gpu(name: str, domain: Domain) -> dict:
    """Try what no test could try without a GPU, and print what was found."""
    image = domain.load_image(domain.examples[0]) if domain.examples else None
    if image is None:
        raise GCDError(f"{domain.name} has no example to try; add some to its folder.")
    device = describe(domain)
    print(f"{device['name']}, torch {device['torch']}")
    findings = []
    for finding in check_device(domain, image):
        verdict = {True: "good", False: "BAD ", None: "?   "}[finding.good]
        print(f"{verdict}  {finding.name}: {finding.sentence}")
        findings.append(asdict(finding))
    return {"domain": name, "device": device, "findings": findings}


def read_images(
    domain: Domain, files: ImageFiles | None, limit: int | None, most: int | None
) -> torch.Tensor:
    """The images (N, C, S, S) to measure with: those given, or else the domain's examples."""
    if files is not None:
        images = [image for _, image in files.load(domain.load_image)]
    else:
        images = [domain.load_image(path) for path in domain.examples[:limit]]
        if not images:
            raise GCDError(f"{domain.name} has no example images; give --images.")
    return torch.cat(images[:most])


def waiting(
    args: argparse.Namespace,
    domain: Domain,
    images: torch.Tensor,
    label: str,
    size: paper_comparison.Size,
    shown: tqdm,
) -> dict:
    """What has no counterpart in the paper: latency, growth, start, use of the machine."""
    source = images[:1]
    shown.set_description("growth with samples")
    grown = paper_comparison.growth(domain, source, label, size.growth, args.seed)
    shown.set_description("slider moves")
    slider = speed.slider_latency(domain, source)
    shown.set_description("matrix products")
    share = speed.matmul_share(domain, source)
    shown.set_description("start of the page")
    return {
        "growth": grown,
        "slider": slider,
        "matmul": share,
        "start_up": speed.start_up(domain) if speed.APP.is_file() else None,
    }


def describe(domain: Domain) -> dict:
    """The machine that was measured."""
    kind = torch.device(domain.device).type
    return {
        "kind": kind,
        "name": torch.cuda.get_device_name(domain.device) if kind == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def show(result: dict) -> None:
    """Print the tables."""
    measures = ["evaluations", "queries"] + ([] if result["short"] else ["seconds"])
    rows = [
        {
            "work": name.format(result[key].get("samples")),
            **{f"{m}, paper": result[key]["paper"][m] for m in measures},
            **{f"{m}, ours": result[key]["ours"][m] for m in measures},
            **{f"{m}, ratio": result[key]["ratio"][m] for m in measures},
        }
        for key, name in PARTS.items()
        if key in result
    ]
    columns = [f"{m}, {side}" for m in measures for side in ("paper", "ours", "ratio")]
    print(
        f"{result['label']!r} on {result['device']['name']}, {result['device']['threads']} threads"
    )
    print(markdown(rows, ["work", *columns]))
    for key in filter(result.get, PARTS):
        if result[key]["scaled"]:
            print(f"the paper's {key} is scaled by count: run on {result[key]['measured_on']}")
    print("\nagreement, paper against ours")
    for key, values in result["agreement"].items():
        print(f"  {key}: {values}")
    if result["speed"]:
        print(f"\npeak memory after our search: {result['peak_memory_mib']:.0f} MiB")
        for key, values in result["speed"].items():
            print(f"  {key}: {values}")
