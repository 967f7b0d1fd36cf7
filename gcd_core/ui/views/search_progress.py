"""A search under way, as HTML: its bar, the time that is left, what it has cost, what it found."""

from __future__ import annotations

import time
from html import escape

from gcd_core.classifiers import BlackBox
from gcd_core.classifiers.base import notice_of
from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.method.directions import DirectionSet
from gcd_core.method.prior_search import ANSWERS_FOR_H
from gcd_core.method.search_run import Progress
from gcd_core.method.settings import BALL, Settings
from gcd_core.method.verification import MAX_EXAMPLES
from gcd_core.ui.session.session import Search
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import thumbnail
from gcd_core.ui.views.direction_rows import told_of_g
from gcd_core.ui.views.html import caution, image_name
from gcd_core.ui.views.vocabulary import said, told
from gcd_core.wording import Worded, duration

DOT = " \N{MIDDLE DOT} "
FITTING = 0.1  # of the time that asking takes, for the networks that learn from the answers
SHOWN_AFTER = 0.02  # of the whole: before, nobody knows how long the rest takes
STAGE_TITLES = {
    "encode": "Reading pictures into the generator",
    "perturb": "Asking the classifier about new pictures",
    "proxy": "Learning to predict its answers",
    "carry": "Going to where the answer changes",
    "directions": "Reading the directions off the answers",
    "verify": "Trying what was found on examples",
}


def queries(progress: Progress, classifier: BlackBox) -> str:
    """How much a search asked of the classifier, and what may still be asked."""
    counts = [f"{progress.queries} new answer{'' if progress.queries == 1 else 's'}"]
    if progress.known:
        counts.append(f"{progress.known} known from before")
    if classifier.budget is not None:
        counts.append(f"{classifier.budget - classifier.queries} left of the budget")
    return DOT.join(counts)


def progress_html(
    search: Search | None, classifier: BlackBox, ahead: int = 0, wait: float | None = None
) -> str:
    """The bar, what the search is at, what it has cost, and what is to be known of the answers.

    `ahead` searches go first; they take about `wait` seconds, where that is known.
    """
    return _progress(search, classifier, ahead, wait) + caution(notice_of(classifier))


def _progress(search: Search | None, classifier: BlackBox, ahead: int, wait: float | None) -> str:
    if search is None:
        return charts.meter(0, "Ready", "no search is running")
    if search.state == "waiting":
        place = f"{ahead} search{'es' if ahead != 1 else ''} first" if ahead else "starting"
        if ahead and wait:
            place += f", about {duration(wait)}"
        return charts.meter(0, "Waiting for a free place", place)
    if search.state == "failed":
        return charts.meter(0, "The search stopped", search.error)
    progress = search.progress
    cost = queries(progress, classifier) if progress else ""
    if progress is not None and (tried := tries_examples(search)):
        cost += f"{DOT}{tried} of all by trying on examples"
    if search.state == "done":
        done = charts.meter(1, "Done: what was found is kept, use it when you like", cost)
        # The mark is for the page's script.
        return f"<div data-found>{done}{told_of_g(search.result)}{told_of_h(search)}</div>"
    if search.state == "cancelled":
        answered = 0 if search.samples is None else len(search.samples)
        kept = f"{DOT}answers to {answered} new pictures are kept" if answered else ""
        return charts.meter(fraction_done(search), f"Cancelled{kept}", cost) + so_far(search)
    if progress is None:
        return charts.meter(0, STAGE_TITLES["encode"], "")
    seconds = seconds_left(search)
    at_most = "up to" if may_end_early(search) else "about"
    left = "" if seconds is None else f"{DOT}{at_most} {duration(seconds)} left"
    asks = progress.directions is not None and search.sampled < search.settings.n_samples
    stage = "perturb" if asks else progress.stage
    count = f"{progress.done} of {progress.total}" if progress.total > 1 else ""
    if stage == "perturb":
        most = "at most " if may_end_early(search) else ""
        count = f"{search.sampled} of {most}{search.settings.n_samples}"
    title = STAGE_TITLES[stage] + (f"{DOT}{count}" if count else "")
    return charts.meter(fraction_done(search), title, cost + left) + so_far(search)


def tries_examples(search: Search) -> int:
    """How many answers beyond its samples it asked for: directions are tried on examples too."""
    progress = search.progress
    if progress is None or search.settings.sampling == BALL:
        return 0
    return max(0, progress.queries + progress.known - search.sampled)


def may_end_early(search: Search) -> bool:
    """Whether it stops asking once g has settled."""
    return search.settings.sampling != BALL or search.settings.settle is not None


def so_far(search: Search) -> str:
    """What is known of the g that can be used before the search has ended."""
    found = search.usable
    if found is None:
        return ""
    answers = found.metadata["settings"]["n_samples"]
    end = "; a better one may come" if search.running else ""
    g = said("main way", "g")
    offer = f'<p class="gcd-so-far">After {answers} answers there is a {g} to use{end}.</p>'
    return offer + told_of_g(found)


def told_of_h(search: Search) -> str:
    """Why a search that was to find h-directions found none, as HTML; else ""."""
    why = why_no_h(search.result) if search.result is not None and search.settings.n_h else ""
    return f'<p class="gcd-info">{told(why)}</p>' if why else ""


def fraction_done(search: Search) -> float:
    """How much of the whole search is done, in [0, 1].

    Pictures asked about, pictures that directions are tried on, and the learning of networks count
    by the time that they take. A search that settles early ends before 1.
    """
    progress, settings = search.progress, search.settings
    if progress is None:
        return 0.0
    around, n = settings.sampling == BALL, settings.n_samples
    total, fitting, tries = _work(settings)
    part = progress.done / max(progress.total, 1)
    in_turns = around and (settings.settle is not None or settings.boundary)
    done: float = search.sampled
    if progress.stage == "proxy" and not (in_turns and search.sampled < n):
        done = n + fitting * part
    elif progress.stage == "directions" and progress.directions is None:
        done = n + fitting
    elif progress.stage == "verify":
        done = n + fitting + tries * part
    return min(done / total, 1.0)


def _work(settings: Settings) -> tuple[float, float, int]:
    """The whole of a search in pictures asked about; of that the networks', and what is tried."""
    around = settings.sampling == BALL
    fitting = FITTING * settings.n_samples if around or settings.n_h else 0.0
    tries = 0 if around else MAX_EXAMPLES * (2 + settings.n_h + settings.n_ways)
    return settings.n_samples + fitting + tries, fitting, tries


def seconds_left(search: Search) -> float | None:
    """How long the whole search goes on, at the most; None where nobody knows.

    At the pace up to what it last told of, counted down since. Answers that it went on from took no
    time.
    """
    if search.began is None or search.progress is None:
        return None
    whole = fraction_done(search)
    done = whole - search.kept / _work(search.settings)[0]
    if done < SHOWN_AFTER:
        return None
    left = (search.told - search.began) * (1 - whole) / done - (time.monotonic() - search.told)
    return left if left > 0 else None


def gallery_html(search: Search | None, positive: str, question: Question = PLAIN) -> str:
    """The newest pictures asked about, with the classifier's probability."""
    if search is None or not search.newest:
        return '<p class="gcd-quiet">The newest pictures asked about appear here.</p>'
    cells = "".join(
        f'<figure><img src="{thumbnail(image[None], 96)}" alt="new {image_name(image)}">'
        f'<figcaption><i style="width:{100 * p:.0f}%"></i>'
        f"<span>{charts.percent(p, question)}</span></figcaption></figure>"
        for image, p in search.newest
    )
    return f'<div class="gcd-newest" title="{escape(positive)}">{cells}</div>'


def why_no_h(found: DirectionSet) -> str:
    """Why a set has no h-directions, in a sentence; "" where it has some."""
    if "h1" in found.names:
        return ""
    few = found.metadata["settings"]["n_samples"] < ANSWERS_FOR_H
    why = f"they take {ANSWERS_FOR_H} samples" if few else "no curvature was seen"
    plain = f"they take {ANSWERS_FOR_H} pictures" if few else "none was seen"
    return Worded(f"There are no h-directions: {why}.", f"There are no further ways: {plain}.")
