"""Make a domain's example images. They are synthetic: no patient's picture is published."""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from gcd_core.domains.opening import Domain, load_domain
from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.dataset import load_split
from gcd_core.images.drawing import to_pil


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train examples`."""
    parser.add_argument("--domain", required=True, help="folder of the domain")
    parser.add_argument("--data", required=True, help="zip file or folder of images")
    parser.add_argument("--labels", help="CSV with file, split, patient (default: beside the data)")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--candidates", type=int, default=240)
    parser.add_argument(
        "--between",
        type=float,
        nargs=2,
        default=(0.25, 0.75),
        metavar=("LOW", "HIGH"),
        help="where between two images' codes one lies, 0 to 1: from here to there",
    )
    parser.add_argument(
        "--sure",
        action="store_true",
        help="take those that the classifier is surest of, as many of each label as of none, "
        "instead of all shades of the first label",
    )
    parser.add_argument("--steps", type=int, default=50, help="solver steps to decode with")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="folder for the PNG files")
    parser.add_argument("--device", default="auto")


def main(args: argparse.Namespace) -> None:
    """Decode blends of two patients' codes, and keep lifelike pictures over all probabilities."""
    if not 1 <= args.count <= args.candidates:
        raise GCDError("--count must be at least 1 and at most --candidates.")
    low, high = args.between
    if not 0 <= low <= high <= 1:
        raise GCDError("--between takes two numbers from 0 to 1, the lower one first.")
    domain = load_domain(args.domain, args.device)
    generator = domain.generator
    size, channels = generator.image_size, generator.channels
    images, _ = load_split(args.data, args.labels, "train", size, channels, domain.fit)
    source = torch.Generator().manual_seed(args.seed)
    codes = blended_codes(domain, images, args.candidates, source, (low, high))
    shape = generator.encode(images[:1].float() / 255, steps=1).z_T.shape[1:]
    z_T = torch.randn(args.candidates, *shape, generator=source).to(codes.device)
    pictures = generator.decode(Latent(codes, z_T), solver="ddim", steps=args.steps)
    chosen = (choose_sure if args.sure else choose)(domain, pictures, args.count)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    for number, index in enumerate(chosen, 1):
        to_pil(pictures[index]).save(out / f"example-{number:02d}.png", optimize=True)
    logits = domain.classifier(pictures[chosen])
    for label in domain.labels:
        values = domain.classifier.probability(logits, label)
        print(label, [round(v, 2) for v in values.tolist()])


def blended_codes(
    domain: Domain,
    images: Tensor,
    count: int,
    source: torch.Generator,
    between: tuple[float, float],
) -> Tensor:
    """Return codes (count, D), each at a random place between the codes of two images."""
    pairs = torch.randint(len(images), (2, count), generator=source)
    first, second = (domain.generator.encode_semantic(images[p].float() / 255) for p in pairs)
    low, high = between
    place = low + (high - low) * torch.rand(count, 1, generator=source).to(first.device)
    return torch.lerp(first, second, place)


def choose(domain: Domain, pictures: Tensor, count: int) -> list[int]:
    """Choose lifelike pictures, spread over the first label's probability; return their indices.

    Lifelike means near its own reconstruction in LPIPS, as the images are that the generator was
    trained on. The range of the probability is cut into `count` bands (the middle ones hold the
    undecided); from each the best picture is taken, from an empty one the nearest left over.
    """
    spread = unlikeness(domain, pictures)
    logits = domain.classifier(pictures)
    probability = domain.classifier.probability(logits, domain.labels[0])
    left = set(range(len(pictures)))
    chosen = []
    for band in range(count):
        centre = (band + 0.5) / count
        # A band's width in probability costs as much as the whole spread of the distances.
        cost = spread + (probability - centre).abs() * count
        best = min(left, key=lambda index: cost[index].item())
        chosen.append(best)
        left.remove(best)
    return chosen


def choose_sure(domain: Domain, pictures: Tensor, count: int) -> list[int]:
    """Choose sure and lifelike pictures, of no label and of each in turn; return their indices.

    A picture is of the label whose probability is highest, of none where all are below 1/2.
    """
    logits = domain.classifier(pictures)
    columns = [domain.classifier.probability(logits, label) for label in domain.labels]
    highest, which = torch.stack(columns).max(0)
    group = torch.where(highest >= 0.5, which + 1, 0)
    doubt = torch.where(group > 0, 1 - highest, highest)
    cost = unlikeness(domain, pictures) + 2 * doubt
    order = cost.argsort().tolist()
    queues = [[i for i in order if group[i] == g] for g in range(len(columns) + 1)]
    chosen: list[int] = []
    while len(chosen) < count:
        chosen += [queue.pop(0) for queue in queues if queue][: count - len(chosen)]
    return chosen


def unlikeness(domain: Domain, pictures: Tensor) -> Tensor:
    """Return each picture's LPIPS to its own reconstruction (N,), scaled to [0, 1]."""
    again = domain.generator.decode(domain.generator.encode(pictures))
    distance = domain.perceptual(again, pictures)
    return (distance - distance.min()) / (distance.max() - distance.min()).clamp(min=1e-9)
