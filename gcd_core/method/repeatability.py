"""Whether another search would find the same: the confidence of a direction, without a query."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.method.directions import REPEATABILITY, DirectionSet, derive_directions
from gcd_core.method.loss import flip_sign
from gcd_core.method.proxy import fit_proxy
from gcd_core.method.samples import Samples
from gcd_core.method.search_run import Found, SearchCancelled
from gcd_core.method.settings import VALIDATION_PART
from gcd_core.wording import Worded

MIN_SAMPLES = 4 * VALIDATION_PART  # samples, of whose halves a proxy can be learned
HIGH, FAIR = 0.9, 0.7


@dataclass(frozen=True)
class Repeatability:
    """How much a search with another seed would agree with one."""

    # Expected between its g and that of another search of the same image with as many samples.
    cosine: float

    @property
    def level(self) -> str:
        """In a word: "high" from 0.9 on, "fair" from 0.7 on, else "low"."""
        return "high" if self.cosine >= HIGH else "fair" if self.cosine >= FAIR else "low"

    @property
    def sentence(self) -> str:
        """What it means, for a person."""
        expected, main = f"g (expected cosine {self.cosine:.2f})", "main way"
        if self.level == "high":
            start = "Confidence high: another search is expected to find nearly the same"
            return Worded(f"{start} {expected}.", f"{start} {main}.")
        if self.level == "fair":
            start = "Confidence fair: another search is expected to find a similar"
            return Worded(
                f"{start} {expected}; more samples settle it.",
                f"{start} {main}; asking about more pictures settles it.",
            )
        start = "Confidence low: another search may find another"
        return Worded(
            f"{start} {expected}; take more samples before you rest on it.",
            f"{start} {main}; ask about more pictures before you rest on it.",
        )


def measure_repeatability(
    samples: Samples, lam: float = 1.0, cancel: Cancel | None = None
) -> Repeatability | None:
    """Learn g from each half of a search's samples, and tell from the two what another would find.

    With c the cosine between them, searches of all samples are expected at 2c / (1 + c): each
    half's g is the true one and an error whose square halves when the samples double (Spearman and
    Brown, 1910). Against searches with other seeds on the bundled domains: 0.99 expected where 0.99
    was found (chest-xray), 0.94 where 0.96 was (blood-cells, 1,024 samples). Raises Cancelled if
    `cancel` is set.

    Parameters
    ----------
    samples : Samples
        Samples that mirror each other stay together in one half.
    lam : float
        Weight of LPIPS, as in the search.
    cancel : optional
        Its `is_set()` is asked before each epoch.

    Returns
    -------
    Repeatability or None
        None of fewer than 36 samples. A half from which no direction can be learned agrees in
        nothing.
    """
    if len(samples) < MIN_SAMPLES:
        return None
    first = torch.arange(len(samples)) // 2 % 2 == 0
    try:
        one, other = (_g(samples, rows, lam, cancel) for rows in (first, ~first))
    except GCDError:
        return Repeatability(0.0)
    cosine = max(0.0, F.cosine_similarity(one, other, dim=0).item())
    return Repeatability(2 * cosine / (1 + cosine))


def with_repeatability(found: Found, lam: float, cancel: Cancel | None = None) -> DirectionSet:
    """Return what a search found, with its repeatability among the figures.

    A search that measured it itself is left as it is.

    Raises SearchCancelled, with the search's samples, if `cancel` is set.
    """
    if repeatability_of(found.directions) is not None:
        return found.directions
    try:
        measured = measure_repeatability(found.samples, lam, cancel)
    except Cancelled as stopped:
        raise SearchCancelled("The search was cancelled.", found.samples) from stopped
    if measured is None:
        return found.directions
    metadata = found.directions.metadata
    figures = metadata.get("figures", {}) | {REPEATABILITY: measured.cosine}
    return replace(found.directions, metadata=metadata | {"figures": figures})


def repeatability_of(directions: DirectionSet) -> Repeatability | None:
    """Return what a set says of its repeatability; None where it says nothing."""
    value = directions.metadata.get("figures", {}).get(REPEATABILITY)
    return None if value is None else Repeatability(float(value))


def unrepeatable(directions: DirectionSet | None) -> list[str]:
    """What must be known of directions that another search would find otherwise; else nothing."""
    confidence = None if directions is None else repeatability_of(directions)
    return [confidence.sentence] if confidence is not None and confidence.level == "low" else []


def _g(samples: Samples, rows: Tensor, lam: float, cancel: Cancel | None) -> Tensor:
    """G (D,) as one network learns it from some of the samples."""
    radius = samples.question.radius
    fitted = fit_proxy(
        samples.z_sem[rows],
        samples.logits[rows],
        samples.distances[rows],
        samples.centre,
        radius,
        lam,
        samples.question.seed,
        cancel=cancel,
        networks=1,
    )
    assert samples.source_probability is not None
    sign = flip_sign(samples.source_probability)
    _, (g,), _ = derive_directions(fitted.proxy, samples.centre, sign, lam, 0, radius)
    return g
