"""What a reader must know of a label before its counterfactual means anything."""

from __future__ import annotations

from collections.abc import Mapping

from gcd_core.domains.file import Label
from gcd_core.method.loss import THRESHOLD
from gcd_core.wording import percent

STRONG = 0.9  # AUROC from which on nothing is said of it


def cautions(
    labels: Mapping[str, Label],
    label: str,
    before: Mapping[str, float],
    after: Mapping[str, float] | None = None,
) -> list[str]:
    """Sentences about a label of an image: its condition, and how good the classifier is at it.

    Parameters
    ----------
    labels : mapping
        The domain's, by name.
    label : str
        The explained one.
    before, after : mapping
        The classifier's probabilities of the image and of what became of it, by label; no `after`
        before a move.
    """
    info, found = labels[label], []
    if info.given is not None and info.given in before:
        condition = labels[info.given]
        was = before[info.given]
        if was < THRESHOLD:
            found.append(
                f"{info.title} is asked of {condition.positive} only, and the classifier sees none "
                f"here ({percent(was)})."
            )
        elif after is not None and after[info.given] < THRESHOLD:
            found.append(
                f"The change takes {condition.positive} away ({percent(was)} to "
                f"{percent(after[info.given])}), so it says nothing of {info.title}."
            )
    if info.auroc is not None and info.auroc < STRONG:
        found.append(f"The classifier is weak here: AUROC {info.auroc:.2f} on its test images.")
    return found
