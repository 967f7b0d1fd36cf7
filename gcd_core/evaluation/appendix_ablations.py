"""The paper's S-Tables 4 and 7: other generators, and pictures of another size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from gcd_core.domains.opening import Domain
from gcd_core.evaluation import combined, metrics
from gcd_core.evaluation.published import in_columns
from gcd_core.evaluation.trials import Rows, Trials
from gcd_core.generators.resized import Resized, resized

SCALES = (0.25, 0.5, 1.0, 2.0)  # sides of pictures, times the generator's; the last is the paper's


def generators(trials: Trials) -> Rows:
    """S-Table 4: g, and all h combined, by this domain's generator and by others'.

    For one classifier. Each set is found anew from the same image, with its own domain's radius and
    length of walk, and has as many h-directions as the one that is tried. FR and the oracle's flip
    rate are fractions.
    """
    rows = []
    n_h = len(combined.h_of(trials))
    for name, domain in [(trials.domain.name, trials.domain), *_with_others(trials)]:
        own = trials.on(domain)
        found = own.search(own.source, n_h=n_h)
        own = trials.on(domain, directions=found.directions)
        again = domain.generator.decode(domain.generator.encode(own.images)).cpu()
        behind = {
            "z_sem": domain.generator.z_sem_size,
            "reconstruction LPIPS": domain.perceptual(again, own.images).mean().item(),
            "evaluations": found.evaluations,
        }
        about = {"model": name, "class": trials.label}
        rows.append({"direction": "g", **about, **in_columns("S4", own.of("g")), **behind})
        if h := combined.h_of(own):
            figures = in_columns("S4", combined.figures(own, h))
            rows.append({"direction": "h combined", **about, **figures, **behind})
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
def sizes(trials: Trials) -> Rows:
    """S-Table 7: pictures that are smaller or larger than the generator's.

    Larger ones are brought down to its size and back up, and classifier, LPIPS and all figures see
    them at their own; of twice the size, as in the paper, all h are combined too. Smaller ones are
    brought up to it. FR and the oracle's flip rate are fractions.
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
        behind: dict[str, Any] = {}
        if domain.off_distribution is not None:
            inward = resized(images, size).split(trials.batch_size)
            scores = torch.cat([domain.off_distribution.score(domain, part) for part in inward])
            behind["off_distribution"] = scores.mean().item()
            warned = scores > domain.off_distribution.threshold
            behind["warned"] = warned.double().mean().item()
        about = {"task": trials.label, "side": side}
        alphas = [abs(path.alphas[0].item()) for path in own.counterfactuals("g")]
        behind["alpha"] = metrics.mean(alphas)
        rows.append({"direction": "g", **about, **in_columns("S7", own.of("g")), **behind})
        if scale == SCALES[-1] and (h := combined.h_of(own)):
            figures = in_columns("S7", combined.figures(own, h))
            rows.append({"direction": "h combined", **about, **figures})
    return rows
