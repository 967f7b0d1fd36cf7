"""A counterfactual beside others: its numbers, for machines and to read."""

from __future__ import annotations

from html import escape
from typing import Any

from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.path import Path
from gcd_core.method.second_opinion import second_opinion
from gcd_core.ui.views import charts
from gcd_core.ui.views.charts import Premise
from gcd_core.ui.views.vocabulary import opinion_words, said, term
from gcd_core.wording import signed


def counterfactual_row(
    name: str,
    path: Path,
    before: float | None,
    after: float | None,
    premise: Premise | None = None,
) -> dict[str, Any]:
    """Return one direction's numbers, for machines; `before` and `after` are the oracle's.

    "met" says whether the flip is as sure as the target wants. Where the original lacks the
    label's `premise` nothing flips, and "applies" says whether the changed picture has it; else
    that is None.
    """
    i = path.counterfactual
    opinion, applies = None, None
    if premise is not None and premise.before < THRESHOLD:
        holds = path.all_probabilities[i][path.labels.index(premise.label)] >= THRESHOLD
        applies = bool(holds)
    flips = path.counterfactual_flips and applies is None
    if flips and before is not None and after is not None:
        opinion = second_opinion(path.source_probability, before, after)
    return {
        "direction": name,
        "flipped": flips,
        "applies": applies,
        "met": bool(path.is_convincing[i]) and applies is None,
        "alpha": float(path.alphas[i]),
        "probability": float(path.probabilities[i]),
        "lpips": float(path.distances[i]),
        "oracle": after,
        "opinion": opinion,
    }


def verdict_of(numbers: dict[str, Any]) -> tuple[str, str]:
    """Return the CSS class of a counterfactual's card, and in words what became of the answer."""
    if numbers.get("applies") is not None:
        return "no", "now applies" if numbers["applies"] else "not asked here"
    if not numbers["flipped"]:
        return "no", "no flip: nearest"
    return ("yes", "flips") if numbers["met"] else ("barely", "flips, less sure")


def numbers_list(numbers: dict[str, Any], positive: str, question: Question = PLAIN) -> str:
    """Return a counterfactual's numbers as an HTML list; `positive` is the label's name."""
    opinion = ""
    if numbers["oracle"] is not None:
        opinion = (
            f'<div class="oracle"><dt>{term("oracle")} {opinion_words(numbers["opinion"])}'
            f"</dt><dd>{charts.percent(numbers['oracle'], question)}</dd></div>"
        )
    told = charts.percent if numbers["met"] or not numbers["flipped"] else charts.missed
    return (
        f"<dl><div><dt>{escape(positive)}</dt>"
        f"<dd>{told(numbers['probability'], question)}</dd></div>"
        f"<div><dt>{said('strength', '&alpha;')}</dt><dd>{signed(numbers['alpha'])}</dd></div>"
        f"<div><dt>{said('change', 'LPIPS')}</dt><dd>{numbers['lpips']:.3f}</dd></div>"
        f"{opinion}</dl>"
    )
