"""The paper's appendices on other generators (D.3) and on other resolutions (D.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from gcd_core.domains.opening import Domain
from gcd_core.evaluation import metrics
from gcd_core.evaluation.trials import Rows, Trials, light
from gcd_core.generators.resized import Resized, resized

SCALES = (0.25, 0.5, 1.0, 2.0)  # sides of pictures, times the generator's


def generators(trials: Trials) -> Rows:
    """The same figures for g by this domain's generator and by others', for one classifier.

    Each g is found anew from the same image, with its own domain's radius and length of walk.
    """
    rows = []
    for name, domain in [(trials.domain.name, trials.domain), *_with_others(trials)]:
        own = trials.on(domain)
        found = own.search(own.source)
        again = domain.generator.decode(domain.generator.encode(own.images)).cpu()
        rows.append(
            {
                "generator": name,
                "z_sem": domain.generator.z_sem_size,
                "reconstruction_lpips": domain.perceptual(again, own.images).mean().item(),
                "evaluations": found.evaluations,
                **own.figures([light(path) for path in own.walked(found.directions["g"])]),
            }
        )
    return rows


def _with_others(trials: Trials) -> list[tuple[str, Domain]]:
    """The domain with the generators of others, at its own pictures' size."""
    domain, found = trials.domain, []
    for other in trials.others:
        generator: Any = other.generator
        if generator.image_size != domain.generator.image_size:
            generator = Resized(generator, domain.generator.image_size)
        changed = replace(
            domain,
            generator=generator,
            search=other.search,
            alpha_max=other.alpha_max,
            walk_points=other.walk_points,
            off_distribution=None,
            bridge=None,
        )
        found.append((other.name, changed))
    return found


@torch.inference_mode()
def resolutions(trials: Trials) -> Rows:
    """G on pictures of other resolutions than the generator's: of less detail, or larger.

    Smaller ones are brought up to the generator's size; larger ones down to it and back up, and
    classifier, LPIPS and all figures see them at their own size.
    """
    domain, rows = trials.domain, []
    size = domain.generator.image_size
    for scale in SCALES:
        side = round(scale * size)
        images = resized(trials.images, side)
        if side <= size:
            there, images = domain, resized(images, size)
        else:
            there = replace(domain, generator=Resized(domain.generator, side), bridge=None)
        own = trials.on(there, images)
        row: dict[str, Any] = {"resolution": side}
        if domain.off_distribution is not None:
            inward = resized(images, size).split(trials.batch_size)
            scores = torch.cat([domain.off_distribution.score(domain, part) for part in inward])
            row["off_distribution"] = scores.mean().item()
            row["warned"] = (scores > domain.off_distribution.threshold).double().mean().item()
        paths = [light(path) for path in own.walked(trials.directions["g"])]
        figures = own.figures(paths)
        few = ("n", "flip_rate", "oracle_flip_rate", "cout", "lpips")
        row["alpha"] = metrics.mean([abs(path.alphas[0].item()) for path in paths])
        rows.append(row | {name: figures[name] for name in few})
    return rows
