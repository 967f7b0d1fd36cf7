"""Several h-directions combined: of each image's counterfactuals, the one of the lowest CF loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gcd_core.evaluation.outcomes import batches_of, counterfactuals_of
from gcd_core.evaluation.pairs import Comparison, diversity_of_flips, see
from gcd_core.evaluation.trials import Rows, Trials
from gcd_core.method.path import Path

BEST = 3  # h-directions that Table 4 has by themselves


def h_of(trials: Trials) -> list[str]:
    """The names of the h-directions."""
    return [name for name in trials.directions.names if name.startswith("h")]


def by_flip_rate(trials: Trials) -> list[str]:
    """The h-directions, that of the highest flip rate first."""
    return sorted(h_of(trials), key=lambda name: -trials.of(name)["FR"])


def others(trials: Trials) -> list[str]:
    """The h-directions that the paper combines: all but the three of highest flip rate.

    Its S-Table 2 has the same figures for "others combined" as Table 4 for "the other 12 combined".
    """
    return by_flip_rate(trials)[BEST:]


def lowest(trials: Trials, names: Sequence[str]) -> list[Path]:
    """Of each image's counterfactuals along some directions, the one of the lowest CF loss."""
    each = zip(*(trials.counterfactuals(name) for name in names), strict=True)
    return [min(paths, key=lambda path: path.losses[0].item()) for paths in each]


def figures(trials: Trials, names: Sequence[str]) -> dict[str, Any]:
    """The figures of some directions combined; made once."""
    return trials.once(("combined", *names), lambda: trials.figures(lowest(trials, names)))


def diversity(trials: Trials) -> Rows:
    """S-Table 6: S1 between g and the h combined, S2 between the h, and ours of all directions.

    Ours is the mean over all pairs of directions: flipped or not, and where both flip.
    """
    h, column = h_of(trials), f"{trials.domain.name} {trials.label}"
    first = second = None
    if h:
        pair = [
            counterfactuals_of(trials.counterfactuals("g")),
            counterfactuals_of(lowest(trials, h)),
        ]
        parts = zip(*(images.split(trials.batch_size) for images in pair), strict=True)
        apart = torch.cat([trials.domain.perceptual(one, other).cpu() for one, other in parts])
        first = apart.mean().item()
        second = _compared(trials, h).diversity
    every = _compared(trials, trials.directions.names)
    return [
        {"case": "S1 (g against h combined)", column: first},
        {"case": "S2 (between h, mean over pairs)", column: second},
        {"case": "between all directions", column: every.diversity},
        {"case": "the same, where both flip", column: diversity_of_flips(every.pairs())},
    ]


def _compared(trials: Trials, names: Sequence[str]) -> Comparison:
    """Every two of some directions, on all images."""
    directions = [trials.directions[name] for name in names]
    comparison, first = Comparison.of(directions), 0
    paths = [trials.counterfactuals(name) for name in names]
    for _, batch in batches_of(trials.named(), trials.batch_size):
        own = [each[first : first + len(batch)] for each in paths]
        made = torch.stack([counterfactuals_of(each) for each in own], dim=1)
        flips = torch.tensor([[path.counterfactual_flips for path in each] for each in own]).T
        comparison.add(see(batch, made, flips, trials.domain.perceptual))
        first += len(batch)
    return comparison
