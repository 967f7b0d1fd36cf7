"""The paper's protocol and the domain's fast settings: what each costs, and whether they agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.evaluation import metrics
from gcd_core.evaluation.outcomes import Cost
from gcd_core.evaluation.speed import peak_memory
from gcd_core.generators.base import Generator, Latent
from gcd_core.generators.sampling import Sampling
from gcd_core.method.attribution import explain_path
from gcd_core.method.composition import DECODED
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.directions import Direction
from gcd_core.method.path import Path
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import Found
from gcd_core.method.settings import BALL, PRIOR
from gcd_core.method.walk import walk, walk_many

PAPER = Sampling("ddim", 100, 250)
PAPER_POINTS = 128
FEW = 64  # pictures that the domain's own search asks about, where the paper's asks 1,024

Announce = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How much of each side is run."""

    samples: int = 1024  # perturbations of our search; the paper's cost is scaled to as many
    # Perturbations that are really decoded in the paper's way, and in ours for comparison.
    paper_samples: int = 128
    paper_images: int = 2  # images that are walked in the paper's way
    paper_points: int = PAPER_POINTS  # points on those walks that are really decoded, of 128
    growth: tuple[int, ...] = (256, 512, 1024, 2048)  # numbers of samples to time our search with
    live_images: int = 32  # images walked to compare the decoder for live moves with the full one


SHORT = Size(samples=32, paper_samples=9, paper_images=1, paper_points=5, growth=(), live_images=2)


class FixedSampling:
    """A generator that samples in one way, whatever solver and steps it is asked for."""

    def __init__(self, generator: Generator, sampling: Sampling) -> None:
        self._generator, self._sampling = generator, sampling

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)

    def encode(
        self,
        images: Tensor,
        solver: str | None = None,
        steps: int | None = None,
        z_sem: Tensor | None = None,
    ) -> Latent:
        """Encode as `Generator` says, in the one way."""
        return self._generator.encode(
            images, self._sampling.solver, self._sampling.encode_steps, z_sem
        )

    def decode(
        self,
        latent: Latent,
        solver: str | None = None,
        steps: int | None = None,
        *how: Any,
        **settings: Any,
    ) -> Tensor:
        """Decode as `Generator` says, in the one way."""
        solver, steps = self._sampling.solver, self._sampling.decode_steps
        return self._generator.decode(latent, solver, steps, *how, **settings)


@torch.inference_mode()
def compare(
    domain: Domain,
    images: Tensor,
    label: str,
    size: Size,
    seed: int = 0,
    announce: Announce = lambda text: None,
) -> dict:
    """Find, transfer and explain in the paper's way and in ours.

    The first image is searched around. Our g is what both sides walk along, so that what differs
    is the walk; g's own agreement is measured between searches with the same perturbations,
    decoded in the two ways. The paper's side shows decoded images, ours what `domain.detail` says.

    Parameters
    ----------
    images : Tensor (N, C, S, S)
        In [0, 1]; all of them are walked along g with our settings.
    announce : callable
        Told what is going on.

    Returns
    -------
    dict
        `find`, `transfer` and `bb_lig`, each with the costs of the `paper` and of `ours` and their
        `ratio`; `transfer` and `bb_lig` are per image. Where a cost is `scaled`, `measured_on` says
        what was run. `agreement` compares the answers; `peak_memory_mib` is this process's, after
        our search. `few` is the domain's own search over drawn codes, of 64 queries and those that
        try its g, beside the paper's; it is not there where the domain searches as the paper does.
    """
    few = _few_queries(domain, label, seed, announce)
    plain = domain.search.changed(boundary=False, sampling=BALL)  # the paper's
    domain = replace(domain, search=plain)
    slow = replace(domain, generator=FixedSampling(domain.generator, PAPER), detail=DECODED)
    searches = _searches(domain, slow, images[:1], label, size, seed, announce)
    inversion = _inversion(slow, images[:1])
    g = searches.ours.directions["g"]
    walks = _both_walks(domain, slow, images[: size.paper_images], g, label, size, announce)
    costs = _costs(size, searches, walks, inversion)
    found = _agreement_of_searches(domain, images, label, searches, announce)
    if few is not None:
        costs["few"] = {
            "samples": len(few.samples),
            **_side_by_side(Cost(**costs["find"]["paper"]), _cost(few)),
            "scaled": costs["find"]["scaled"],
            "measured_on": costs["find"]["measured_on"],
        }
        found["flip_rate_few"] = _flip_rate(domain, images, few.directions["g"], label)
    return {
        **costs,
        "agreement": {
            "find": found,
            "transfer": _agreement_of_paths(domain, walks),
            "live": _agreement_of_decoders(domain, images[: size.live_images], g, label),
            "bb_lig": _agreement_of_maps(walks),
        },
        "peak_memory_mib": searches.peak_memory_mib,
    }


@dataclass(frozen=True)
class _Searches:
    """The same search in both ways.

    `paper` and `alike` have the same perturbations, decoded in the two ways; `ours` has all of our
    search's, and is `alike` where those are as many.
    """

    paper: Found
    alike: Found
    ours: Found
    peak_memory_mib: float | None


@dataclass(frozen=True)
class _Walks:
    """The same images walked along the same direction in both ways, and explained."""

    paper: list[Path]
    ours: list[Path]
    paper_cost: Cost
    ours_cost: Cost
    paper_maps: list[Tensor]
    ours_maps: list[Tensor]
    ours_maps_cost: Cost


def _searches(
    domain: Domain,
    slow: Domain,
    source: Tensor,
    label: str,
    size: Size,
    seed: int,
    announce: Announce,
) -> _Searches:
    """Search around the source in both ways; memory is read before the paper's begins."""
    announce(f"find, our settings, {size.samples} samples")
    ours = find_directions(domain, source, label, n_samples=size.samples, seed=seed)
    peak = peak_memory()
    announce(f"find, the paper's sampling, {size.paper_samples} samples")
    paper = find_directions(slow, source, label, n_samples=size.paper_samples, seed=seed)
    alike = ours
    if size.paper_samples != size.samples:
        announce(f"find, our settings, the same {size.paper_samples} samples")
        alike = find_directions(domain, source, label, n_samples=size.paper_samples, seed=seed)
    return _Searches(paper, alike, ours, peak)


def _few_queries(domain: Domain, label: str, seed: int, announce: Announce) -> Found | None:
    """The domain's own search with few queries; None where it searches as the paper does."""
    if domain.search.sampling == BALL:
        return None
    announce(f"find, the domain's own search, {FEW} samples")
    return find_directions(
        domain, None, label, sampling=PRIOR, n_samples=FEW, n_h=0, n_ways=0, seed=seed
    )


def _inversion(slow: Domain, source: Tensor) -> Cost:
    """What a search or a walk spends on its source alone, whatever its length."""
    cost = Cost()
    with cost.measure(slow):
        slow.generator.encode(source)
    return replace(cost, queries=1)


def _both_walks(
    domain: Domain,
    slow: Domain,
    images: Tensor,
    g: Direction,
    label: str,
    size: Size,
    announce: Announce,
) -> _Walks:
    """Walk each image along g and explain it, in both ways."""
    announce(f"walk {len(images)} images, {size.paper_points} points each, the paper's sampling")
    paper, paper_cost = _walks(slow, images, g, label, size.paper_points, LOWEST_LOSS)
    announce(f"walk {len(images)} images, our settings")
    ours, ours_cost = _walks(domain, images, g, label, domain.walk_points)
    paper_maps = [explain_path(path).map for path in paper]
    ours_maps_cost = Cost()
    with ours_maps_cost.measure(domain):
        ours_maps = [explain_path(path).map for path in ours]
    return _Walks(paper, ours, paper_cost, ours_cost, paper_maps, ours_maps, ours_maps_cost)


def _costs(size: Size, searches: _Searches, walks: _Walks, inversion: Cost) -> dict[str, dict]:
    """The costs of `find`, `transfer` and `bb_lig`, the paper's scaled to its own length."""
    count = len(walks.paper)
    find = _lengthened(_cost(searches.paper), inversion, size.samples / size.paper_samples)
    walk_cost = _lengthened(
        _scaled(walks.paper_cost, 1 / count), inversion, PAPER_POINTS / size.paper_points
    )
    decoding = _lengthened(walk_cost, inversion, 1, keep=False)
    return {
        "find": {
            "samples": size.samples,
            **_side_by_side(find, _cost(searches.ours)),
            "scaled": size.paper_samples != size.samples,
            "measured_on": f"{size.paper_samples} samples",
        },
        "transfer": {
            **_side_by_side(walk_cost, _scaled(walks.ours_cost, 1 / count)),
            "scaled": size.paper_points != PAPER_POINTS,
            "measured_on": f"{count} images, {size.paper_points} of {PAPER_POINTS} points",
        },
        "bb_lig": {
            **_side_by_side(decoding, _scaled(walks.ours_maps_cost, 1 / count)),
            "scaled": True,
            "measured_on": "the decoding of the transfer, which the paper does once more",
        },
    }


def _walks(
    domain: Domain, images: Tensor, g: Direction, label: str, points: int, choice: str | None = None
) -> tuple[list[Path], Cost]:
    """Each image's path, one after the other as a visitor would ask, and their cost."""
    cost = Cost()
    with cost.measure(domain):
        paths = [walk(domain, image[None], g, label, n=points, choice=choice) for image in images]
    return paths, cost


def _agreement_of_searches(
    domain: Domain, images: Tensor, label: str, searches: _Searches, announce: Announce
) -> dict:
    """The same perturbations decoded in two ways: what the classifier says, and where g points."""
    paper, alike, ours = searches.paper, searches.alike, searches.ours
    announce(f"transfer three directions to {len(images)} images, our settings")
    rates = {
        name: _flip_rate(domain, images, found.directions["g"], label)
        for name, found in (("paper", paper), ("ours_same_samples", alike), ("ours", ours))
        if name != "ours_same_samples" or alike is not ours
    }
    a, b = (found.directions["g"].vector for found in (paper, alike))
    return {
        "samples": len(paper.samples.logits),
        "cosine_g": torch.dot(a, b).item(),
        "logit_rank_correlation": metrics.rank_correlation(
            paper.samples.logits, alike.samples.logits
        ),
        "lpips_rank_correlation": metrics.rank_correlation(
            paper.samples.distances, alike.samples.distances
        ),
        "images": len(images),
        "flip_rate_of_g": rates,
    }


def _agreement_of_paths(domain: Domain, walks: _Walks) -> dict:
    """Which of the images flip, and how far apart the counterfactuals of the lowest loss are."""
    pairs = list(zip(walks.paper, walks.ours, strict=True))
    paper, ours = (
        torch.stack([path.images[path.lowest_loss] for path in paths])
        for paths in (walks.paper, walks.ours)
    )
    distances = domain.perceptual(paper, ours)
    apart = [a.alphas[a.lowest_loss] - b.alphas[b.lowest_loss] for a, b in pairs]
    return {
        "images": len(pairs),
        "flip_rate_paper": metrics.mean(float(a.any_flip) for a, _ in pairs),
        "flip_rate_ours": metrics.mean(float(b.any_flip) for _, b in pairs),
        "lpips_between_counterfactuals": metrics.mean(distances.tolist()),
        "alpha_difference": metrics.mean(abs(difference.item()) for difference in apart),
    }


def _agreement_of_maps(walks: _Walks) -> dict:
    """Whether the heat maps of the same images light up in the same places."""
    pairs = zip(walks.paper_maps, walks.ours_maps, strict=True)
    return {
        "images": len(walks.paper_maps),
        "rank_correlation": metrics.mean(metrics.rank_correlation(a, b) for a, b in pairs),
    }


def _agreement_of_decoders(domain: Domain, images: Tensor, g: Direction, label: str) -> dict | None:
    """The decoder for live moves against the full one, at the same points of walks along g.

    `p95` are over the points; `same_side` is the share of points on the same side of the
    classifier's threshold.
    """
    generator = domain.generator
    if generator.live_solver is None:
        return None
    latent = generator.encode(images)
    alphas = torch.linspace(-domain.alpha_max, domain.alpha_max, domain.walk_points)
    away = (alphas[:, None] * g.vector).repeat(len(images), 1).to(latent.z_sem)
    points = latent[torch.arange(len(images)).repeat_interleave(len(alphas))]
    points = points.with_z_sem(points.z_sem + away)
    frames, evaluations, logits = {}, {}, {}
    for name, solver in (("full", None), ("live", generator.live_solver)):
        before = generator.evaluations
        frames[name] = generator.decode(points, solver)
        evaluations[name] = (generator.evaluations - before) / len(points)
        logits[name] = domain.classifier.logit(domain.classifier(frames[name]), label)
    full, live = frames["full"].split(32), frames["live"].split(32)
    distances = torch.cat([domain.perceptual(a, b) for a, b in zip(live, full, strict=True)])
    changes = (logits["live"] - logits["full"]).abs()
    sides = [values >= 0 for values in logits.values()]
    return {
        "images": len(images),
        "points": len(points),
        "evaluations_full": evaluations["full"],
        "evaluations_live": evaluations["live"],
        "mae": (frames["live"] - frames["full"]).abs().mean().item(),
        "lpips": distances.mean().item(),
        "lpips_p95": distances.quantile(0.95).item(),
        "logit_difference": changes.mean().item(),
        "logit_difference_p95": changes.quantile(0.95).item(),
        "logit_rank_correlation": metrics.rank_correlation(logits["live"], logits["full"]),
        "same_side": (sides[0] == sides[1]).float().mean().item(),
    }


def _flip_rate(domain: Domain, images: Tensor, g: Direction, label: str) -> float:
    flipped = [
        path.counterfactual_flips
        for batch in images.split(8)
        for path in walk_many(domain, batch, g, label, choice=LOWEST_LOSS)
    ]
    return metrics.flip_rate(torch.tensor(flipped))


def _cost(found: Found) -> Cost:
    return Cost(found.evaluations, found.queries, found.seconds)


def _scaled(cost: Cost, factor: float) -> Cost:
    return Cost(cost.evaluations * factor, cost.queries * factor, cost.seconds * factor)


def _lengthened(cost: Cost, fixed: Cost, factor: float, keep: bool = True) -> Cost:
    """`cost` with everything but its `fixed` part multiplied; that part kept or left out."""
    return Cost(
        *(
            (whole - part) * factor + (part if keep else 0)
            for whole, part in zip(asdict(cost).values(), asdict(fixed).values(), strict=True)
        )
    )


def _side_by_side(paper: Cost, ours: Cost) -> dict:
    ratios = {
        name: value / asdict(ours)[name] if asdict(ours)[name] else None
        for name, value in asdict(paper).items()
    }
    return {"paper": asdict(paper), "ours": asdict(ours), "ratio": ratios}


@torch.inference_mode()
def growth(
    domain: Domain, image: Tensor, label: str, sizes: Sequence[int], seed: int = 0
) -> list[dict]:
    """Cost of our search for each number of samples."""
    return [
        {
            "samples": n,
            **asdict(_cost(find_directions(domain, image, label, n_samples=n, seed=seed))),
        }
        for n in sizes
    ]
