"""The paper's S-Tables 4 and 7: other generators, and pictures of another size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.evaluation import combined, metrics
from gcd_core.evaluation.published import in_columns
from gcd_core.evaluation.trials import MIN_IMAGES, Rows, Trials
from gcd_core.generators.resized import Resized, resized
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.search import find_directions

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
            z_sem_statistics=other.z_sem_statistics,
            codes=dict(other.codes),
            off_distribution=None,
            bridge=None,
        )
        found.append((other.name, changed))
    return found


def sizes(trials: Trials) -> Rows:
    """S-Table 7: pictures that are smaller or larger than the generator's, and pairs of classes.

    Larger ones are brought down to its size and back up, and classifier, LPIPS and all figures see
    them at their own; of twice the size, as in the paper, all h are combined too. Smaller ones are
    brought up to it. The domain's other labels that ask for one class against another follow at
    twice the size (`_pair`). FR and the oracle's flip rate are fractions.
    """
    rows = []
    for scale in SCALES:
        own = _at_size(trials, scale)
        with_h = scale == SCALES[-1]
        side = round(scale * trials.domain.generator.image_size)
        rows += _of_size(own, trials.domain, side, with_h)
    for label, info in trials.domain.label_info.items():
        if info.question.against and label != trials.label:
            rows += _pair(trials, label)
    return rows


def _at_size(trials: Trials, scale: float, rows: Tensor | None = None) -> Trials:
    """The trials on pictures (of these numbers) of the generator's size times a scale."""
    domain, size = trials.domain, trials.domain.generator.image_size
    side = round(scale * size)
    images = resized(trials.images if rows is None else trials.images[rows], side)
    if side <= size:
        return trials.on(domain, resized(images, size))
    return trials.on(
        replace(domain, generator=Resized(domain.generator, side), bridge=None), images
    )


def _pair(trials: Trials, label: str) -> Rows:
    """The rows of a label that asks for one class against another, by a search of its own.

    Of the images that no third class wins; no row where these are fewer than four.
    """
    classifier, question = trials.domain.classifier, trials.domain.label_info[label].question
    logits = classifier(trials.images)
    of_either = torch.ones(len(trials.images), dtype=torch.bool)
    if question.third in classifier.labels:
        of_either = classifier.probability(logits, question.third).cpu() < THRESHOLD
    rows = of_either.nonzero().flatten()
    if len(rows) < MIN_IMAGES:
        return []
    own = _at_size(trials, SCALES[-1], rows)
    least_sure = (classifier.probability(logits, label).cpu()[rows] - THRESHOLD).abs().argmin()
    settings = trials.settings.changed(n_h=len(combined.h_of(trials)))
    source = own.images[least_sure][None]
    found = find_directions(own.domain, source, label, settings=settings)
    own = own.on(own.domain, own.images, found.directions)
    return _of_size(own, trials.domain, own.images.shape[-1], True)


def _of_size(trials: Trials, domain: Domain, side: int, with_h: bool) -> Rows:
    """The rows of one label at one size; `domain` has the generator at its own size."""
    about = {"task": task_of(domain, trials.label), "side": side}
    behind: dict[str, Any] = {}
    if domain.off_distribution is not None:
        inward = resized(trials.images, domain.generator.image_size).split(trials.batch_size)
        with torch.inference_mode():
            each = [domain.off_distribution.score(domain, part) for part in inward]
        scores = torch.cat(each)
        behind["off_distribution"] = scores.mean().item()
        behind["warned"] = (scores > domain.off_distribution.threshold).double().mean().item()
    alphas = [abs(path.alphas[0].item()) for path in trials.counterfactuals("g")]
    behind["alpha"] = metrics.mean(alphas)
    rows = [{"direction": "g", **about, **in_columns("S7", trials.of("g")), **behind}]
    if with_h and (h := combined.h_of(trials)):
        figures = in_columns("S7", combined.figures(trials, h))
        rows.append({"direction": "h combined", **about, **figures})
    return rows


def task_of(domain: Domain, label: str) -> str:
    """What a label's flip leads from and to: "banjo to acoustic guitar"; else the label."""
    question = domain.label_info[label].question
    if not question.against:
        return label
    return f"{', '.join(question.against)} to {', '.join(question.of or (label,))}"
