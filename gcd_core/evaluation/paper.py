"""The paper's tables and figures on a domain, by their own numbers, by walks along directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import (
    ablations,
    appendix_ablations,
    baselines,
    combined,
    paper_maps,
)
from gcd_core.evaluation.paper_comparison import PAPER, PAPER_POINTS, FixedSampling
from gcd_core.evaluation.published import in_columns
from gcd_core.evaluation.trials import Rows, Trials
from gcd_core.method.composition import DECODED
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.settings import BALL

PAPER_ALPHA = 3.0
BASELINES = "baselines"  # the one table that is not the paper's


class Table(NamedTuple):
    """A table: what it is called, and what makes its rows."""

    title: str
    make: Callable[[Trials], Rows]


def in_papers_protocol(domain: Domain) -> Domain:
    """The domain by the paper's own settings.

    DDIM 100/250, 128 alphas in [0, 3], the counterfactual of the lowest loss, decoded images.
    """
    return replace(
        domain,
        generator=FixedSampling(domain.generator, PAPER),
        alpha_max=PAPER_ALPHA,
        walk_points=PAPER_POINTS,
        counterfactual=LOWEST_LOSS,
        detail=DECODED,
        search=domain.search.changed(boundary=False, antithetic=False, sampling=BALL),
        codes={},
    )


def g_of_faces(trials: Trials) -> Rows:
    """Table 1: g's counterfactuals, with the figures of faces."""
    about = {"dataset": trials.domain.name, "class": trials.label, "method": "GCD"}
    return [{**about, **in_columns("1", trials.of("g"))}]


def g_of_scans(trials: Trials) -> Rows:
    """Table 2: g's counterfactuals, with S3."""
    about = {"class": trials.label, "direction": "g"}
    return [{**about, **in_columns("2", trials.of("g"))}]


def best_h(trials: Trials) -> Rows:
    """Table 4: the three h-directions of highest flip rate, and the others combined."""
    best = combined.by_flip_rate(trials)[: combined.BEST]
    places = [f"h, {place} by FR" for place in ("1st", "2nd", "3rd")]
    named = [
        (f"{place} ({name})", trials.of(name)) for place, name in zip(places, best, strict=False)
    ]
    return _of_h("4", trials, named, combined.others(trials))


def first_h(table: str) -> Callable[[Trials], Rows]:
    """S-Tables 2 and 3: the h-direction of highest flip rate, and the others combined.

    Of sets of three h-directions or fewer, the others are all but the first.
    """

    def make(trials: Trials) -> Rows:
        ranked = combined.by_flip_rate(trials)
        named = [(f"1st ({name})", trials.of(name)) for name in ranked[:1]]
        return _of_h(table, trials, named, combined.others(trials) or ranked[1:])

    return make


def _of_h(
    table: str, trials: Trials, named: Sequence[tuple[str, dict[str, Any]]], others: Sequence[str]
) -> Rows:
    rows = list(named)
    if others:
        said = f"the other {len(others)} combined" if table == "4" else "others combined"
        rows.append((said, combined.figures(trials, others)))
    about = {"dataset": trials.domain.name, "class": trials.label}
    return [{**about, "direction": name, **in_columns(table, own)} for name, own in rows]


def every_direction(trials: Trials) -> Rows:
    """Fig. 3: the flip rate of every direction, and all other figures behind it."""
    rows = []
    for name in trials.directions.names:
        own = trials.of(name)
        rows.append({"direction": name, "FR": own["FR"], **own})
    return rows


TABLES = {
    "1": Table("Table 1: counterfactuals along g", g_of_faces),
    "2": Table("Table 2: counterfactuals along g, with S3", g_of_scans),
    "3": Table("Table 3: g from five source images, each of them", ablations.sources),
    "4": Table("Table 4: the three best h-directions, and the others combined", best_h),
    "S1": Table("S-Table 1: g from five source images, mean and deviation", ablations.spread),
    "S2": Table("S-Table 2: the first h-direction, and the others combined", first_h("S2")),
    "S3": Table("S-Table 3: the same, with S3", first_h("S3")),
    "S4": Table("S-Table 4: other generators", appendix_ablations.generators),
    "S5": Table("S-Table 5: BB-LIG against the absolute difference", paper_maps.simplicity),
    "S6": Table("S-Table 6: diversity, LPIPS between counterfactuals", combined.diversity),
    "S7": Table(
        "S-Table 7: pictures of another size than the generator's", appendix_ablations.sizes
    ),
    "F3": Table("Fig. 3: flip rate of each direction", every_direction),
    "F4": Table("Fig. 4: mean absolute difference along g", paper_maps.mean_maps_of_g),
    "SF1": Table("S-Fig. 1: mean absolute difference along each direction", paper_maps.mean_maps),
    "SF2": Table("S-Fig. 2: probability along g, of images that flip", paper_maps.curves),
    "SF3": Table("S-Fig. 3: share of a map's pixels that are not zero", paper_maps.lit_pixels),
    "SF4": Table("S-Fig. 4: CF loss against samples, lambda and radius", ablations.cf_losses),
    BASELINES: Table("Is one image enough? g beside other directions", baselines.compare),
}
# Names that this project gave before: what has them now.
FORMER = {
    "D1": "F4 (along g) or SF1 (along each direction)",
    "D2": "SF2",
    "D3": "S4",
    "D6": "S7",
    "F1": "SF4",
    "F2": "SF4",
}


def check_table(name: str) -> None:
    """Raise a GCDError if there is no such table; of a former name it gives the new one."""
    if name in FORMER:
        raise GCDError(f"The table {name} is now called {FORMER[name]}, by the paper's numbers.")
    if name not in TABLES:
        raise GCDError(f"There is no table {name!r}; there are {', '.join(TABLES)}.")


def make_table(name: str, trials: Trials) -> Rows:
    """Make one table's rows. Raises a GCDError if there is no such table."""
    check_table(name)
    return TABLES[name].make(trials)
