"""The Find directions tab: a search in the background, its progress, and direction files."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import gradio as gr

from gcd_core.classifiers import BlackBox
from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import DISTILLED
from gcd_core.method.directions import REPEATABILITY
from gcd_core.method.repeatability import repeatability_of
from gcd_core.method.search_run import Progress
from gcd_core.method.settings import Settings
from gcd_core.ui.frames import MAX_H, MAX_W
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Search, Session
from gcd_core.ui.tabs.direction_sets import SetsPanel, chooser
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import Answer, Tab, connect, html
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn, thumbnail
from gcd_core.ui.views.html import SAVE, image_name, image_tag
from gcd_core.ui.views.payload import label_names, question_of
from gcd_core.wording import duration

STAGE_TITLES = {
    "encode": "Encoding the image",
    "perturb": "Perturbing and asking the classifier",
    "proxy": "Fitting the proxy",
    "carry": "Going to the decision boundary",
    "directions": "Reading the directions off the proxy",
}
LAMBDA_OF_LPIPS = "\N{GREEK SMALL LETTER LAMDA} of LPIPS"
WAYS_LABEL = "Independent ways"
DOT = " \N{MIDDLE DOT} "
SETTLED_COSINE = 0.99  # cosine between one g and the next, of twice the samples
STAGE_SHARES = {
    "encode": (0.0, 0.02),
    "perturb": (0.02, 0.9),
    "proxy": (0.9, 0.99),
    "carry": (0.2, 0.21),
    "directions": (0.99, 1),
}


def search_settings(
    domain: Domain,
    samples: int | None,
    radius: float | None,
    lam: float | None,
    k: int | None,
    steps: int | None,
    seed: int | None,
    settle: bool,
    ways: int | None,
    boundary: bool,
) -> Settings:
    """The domain's settings with what stands in the fields, None where one is empty.

    Where the domain's searches use its distilled decoder, other steps than that takes are the full
    decoder's. Only where the domain names no steps may their field be empty. Raises a GCDError if a
    field is empty, or what stands in one fits no search.
    """
    own, sampling = domain.search, domain.generator.sampling
    if steps is not None or own.steps is not None:
        steps = int(given("Steps", steps))
    solver = None
    if sampling is not None and own.solver == DISTILLED and steps != own.steps:
        solver = sampling.solver
    settings = own.changed(
        solver=solver,
        settle=SETTLED_COSINE if settle else None,
        n_samples=int(given("Samples", samples)),
        radius=float(given("Radius", radius)),
        lam=float(given(LAMBDA_OF_LPIPS, lam)),
        n_h=int(given("h-directions (k)", k)),
        steps=steps,
        seed=int(given("Seed", seed)),
        n_ways=int(given(WAYS_LABEL, ways)),
        boundary=boundary,
    )
    if settings.n_ways > MAX_W:
        raise GCDError(f"{settings.n_ways} independent ways have no room here; take 0 to {MAX_W}.")
    settings.check(domain.generator.z_sem_size)
    return settings


def given(field: str, value: float | None) -> float:
    """What stands in a field. Raises a GCDError if nothing does."""
    if value is None:
        raise GCDError(f"The field {field} is empty: give a number.")
    return value


def queries(progress: Progress, classifier: BlackBox) -> str:
    """How much a search asked of the classifier, and what may still be asked."""
    counts = [f"{progress.queries} queries"]
    if classifier.cache_hits:
        counts.append(f"{classifier.cache_hits} answers known from before")
    if classifier.budget is not None:
        counts.append(f"{classifier.budget - classifier.queries} left of the budget")
    return DOT.join(counts)


def progress_html(
    search: Search | None, classifier: BlackBox, ahead: int = 0, wait: float | None = None
) -> str:
    """The bar, what the search is at, and what it has cost; `ahead` searches go first.

    They take about `wait` seconds, where that is known.
    """
    if search is None:
        return charts.meter(0, "Ready", "nothing is running")
    if search.state == "waiting":
        place = f"{ahead} search{'es' if ahead != 1 else ''} first" if ahead else "starting"
        if ahead and wait:
            place += f", about {duration(wait)}"
        return charts.meter(0, "Waiting for a free place", place)
    if search.state == "failed":
        return charts.meter(0, "The search stopped", search.error)
    progress = search.progress
    cost = queries(progress, classifier) if progress else ""
    if search.state == "done":
        return charts.meter(
            1, "Done: the directions are kept, use them when you like", cost
        ) + confidence_html(search)
    if search.state == "cancelled":
        kept = f"{DOT}what was asked is kept" if search.samples is not None else ""
        return charts.meter(fraction_done(search), f"Cancelled{kept}", cost)
    if progress is None:
        return charts.meter(0, STAGE_TITLES["encode"], "")
    left = "" if progress.eta is None else f"{DOT}about {duration(progress.eta)} left"
    count = f"{DOT}{progress.done} of {progress.total}" if progress.total > 1 else ""
    return charts.meter(fraction_done(search), STAGE_TITLES[progress.stage] + count, cost + left)


def confidence_html(search: Search) -> str:
    """How much another search would agree, in a sentence."""
    found = search.result and repeatability_of(search.result)
    if not found:
        return ""
    return f'<p class="gcd-confidence {found.level}">{escape(found.sentence)}</p>'


def fraction_done(search: Search) -> float:
    """How much of a search is done, in [0, 1]."""
    progress, settings = search.progress, search.settings
    if progress is None:
        return 0.0
    low, high = STAGE_SHARES[progress.stage]
    part = progress.done / max(progress.total, 1)
    in_turns = (
        settings.settle is not None or settings.boundary or settings.n_ways > 0
    )  # sampling and fitting take turns
    if in_turns and search.running:
        low, high = STAGE_SHARES["perturb"]
        part = search.sampled / settings.n_samples
    return low + (high - low) * part


def gallery_html(search: Search | None, positive: str, question: Question = PLAIN) -> str:
    """The newest perturbed pictures with the classifier's probability."""
    if search is None or not search.newest:
        return '<p class="gcd-quiet">The newest perturbed pictures appear here.</p>'
    cells = "".join(
        f'<figure><img src="{thumbnail(image[None], 96)}" alt="perturbed {image_name(image)}">'
        f'<figcaption><i style="width:{100 * p:.0f}%"></i>'
        f"<span>{charts.percent(p, question)}</span></figcaption></figure>"
        for image, p in search.newest
    )
    return f'<div class="gcd-newest" title="{escape(positive)}">{cells}</div>'


def number(value: float | None, label: str, precision: int | None = None) -> gr.Number:
    """A small field for a setting; the library judges what is typed."""
    return gr.Number(value, label=label, precision=precision, min_width=100)


class FindTab(Tab):
    """The components of the tab and the handlers between them and a visitor's session."""

    def __init__(self, visitors: Visitors, explore: ExploreTab) -> None:
        super().__init__(visitors)
        self.explore = explore
        self._build()

    def _build(self) -> None:
        defaults = self.domain.search
        with gr.Row(elem_id="find"):
            with gr.Column(elem_id="find-what", min_width=280):
                self.subject = html("subject")
                with gr.Accordion("Settings", open=False, elem_id="settings"):
                    with gr.Row():
                        self.samples = number(defaults.n_samples, "Samples", precision=0)
                        self.radius = number(defaults.radius, "Radius")
                        self.lam = number(defaults.lam, LAMBDA_OF_LPIPS)
                    with gr.Row():
                        self.k = number(min(defaults.n_h, MAX_H), "h-directions (k)", precision=0)
                        self.ways = number(min(defaults.n_ways, MAX_W), WAYS_LABEL, precision=0)
                    gr.HTML(
                        f'<p class="gcd-info">{WAYS_LABEL} (0 to {MAX_W}) are directions beside g '
                        "that flip the prediction on their own, by what neither g nor another way "
                        "has. They take no further samples, but three in four of them: g is "
                        "learned from the fourth.</p>",
                        apply_default_css=False,
                    )
                    with gr.Row():
                        own = f" ({defaults.steps}: distilled)"
                        title = "Steps" + (own if defaults.solver == DISTILLED else "")
                        self.steps = number(defaults.steps, title, precision=0)
                        self.seed = number(0, "Seed", precision=0)
                    self.boundary = gr.Checkbox(
                        defaults.boundary,
                        label="Search at the decision boundary",
                        info="For an image that the classifier is sure of: a first g leads to the "
                        "boundary, and the directions are looked for there.",
                        elem_id="boundary",
                    )
                    self.settle = gr.Checkbox(
                        False,
                        label="Stop early, once g has settled",
                        info="Spares queries; the h-directions take longer to settle than g.",
                        elem_id="settle",
                    )
                with gr.Row():
                    self.start = gr.Button(
                        "Find directions", variant="primary", size="md", elem_id="start"
                    )
                    self.cancel = gr.Button(
                        "Cancel", interactive=False, size="md", elem_id="cancel"
                    )
                self.sets = SetsPanel(self.visitors, self.explore)
            with gr.Column(elem_id="find-progress", min_width=420):
                self.progress = html("progress", progress_html(None, self.domain.classifier))
                self.newest = html("newest", gallery_html(None, ""))
                self.losses = html("losses", self._losses(None))

    @staticmethod
    def _losses(search: Search | None) -> str:
        train, validation = (search.train_losses, search.validation_losses) if search else ([], [])
        return (
            '<div class="gcd-card"><h2>Loss of the proxy<small><i class="proxy"></i>training'
            f'<i class="measured"></i>validation</small>{SAVE if train else ""}</h2>'
            f"{charts.losses(train, validation)}</div>"
        )

    # -- handlers ---------------------------------------------------------------------------

    def subject_html(self, name: str, request: gr.Request) -> Answer:
        """What a search would start from, and the sets of directions that there are."""
        session = self.session(request)
        return {self.subject: subject(session), self.sets.chosen: chooser(session, name)}

    def find_directions(
        self,
        samples: int | None,
        radius: float | None,
        lam: float | None,
        k: int | None,
        steps: int | None,
        seed: int | None,
        overlay: str,
        opacity: float,
        view: str,
        settle: bool,
        ways: int | None,
        boundary: bool,
        request: gr.Request,
    ) -> Iterator[Answer]:
        """Searches in the background, streaming progress; what is found is kept under a name.

        `use_directions` takes that name.
        """
        session, domain = self.session(request), self.domain
        session.searchable()
        label = session.label
        try:
            settings = search_settings(
                domain, samples, radius, lam, k, steps, seed, settle, ways, boundary
            )
        except GCDError as error:
            yield {
                self.progress: charts.meter(0, "The search did not start", str(error)),
                self.start: gr.update(interactive=True),
                self.cancel: gr.update(interactive=False),
            }
            raise
        search = session.start_search(settings)
        while search.running:
            yield self._show(session, search)
            search.wait(0.4)
        if search.result is None:
            yield self._show(session, search)
            if search.state == "failed":
                raise GCDError(search.error)
            return
        name = session.sets.keep(label, f"from {search.name}, seed {settings.seed}", search.result)
        numbers = {
            **self._numbers(search),
            "directions": search.result.names,
            "set": name,
            "repeatability": search.result.metadata["figures"].get(REPEATABILITY),
        }
        gr.Info(f"Directions found, and kept as \u201c{name}\u201d. Use these, when you like.")
        new = {self.explore.layout.numbers: numbers, self.sets.chosen: chooser(session, name)}
        yield self._show(session, search) | new

    def stop(self, request: gr.Request) -> Answer:
        """Cancels the running search before its next batch; what was asked is kept."""
        session = self.session(request)
        if session.search is None or not session.search.running:
            raise GCDError("No search is running: there is nothing to cancel.")
        session.search.cancel()
        return {self.explore.layout.numbers: self._numbers(session.search)}

    def _numbers(self, search: Search) -> dict:
        progress = search.progress
        answer = {
            "state": search.state,
            "label": search.label,
            "image_name": search.name,
            "ahead": search.place if search.state == "waiting" else 0,
        }
        if progress is not None:
            answer |= {
                "stage": progress.stage,
                "done": progress.done,
                "total": progress.total,
                "eta": progress.eta,
                "queries": progress.queries,
                "evaluations": progress.evaluations,
                "cache_hits": self.domain.classifier.cache_hits,
                "budget": self.domain.classifier.budget,
            }
        return answer

    def _show(self, session: Session, search: Search) -> Answer:
        """All that the tab says of a search."""
        waiting = search.state == "waiting"
        ahead, wait = (search.place, search.seconds_ahead) if waiting else (0, None)
        return {
            self.explore.layout.numbers: self._numbers(search),
            self.progress: progress_html(search, self.domain.classifier, ahead, wait),
            self.newest: gallery_html(
                search, label_names(session, search.label)[1], question_of(session, search.label)
            ),
            self.losses: self._losses(search),
            self.start: gr.update(interactive=not search.running),
            self.cancel: gr.update(interactive=search.running),
        }

    def bind(self, tabs: gr.Tabs, tab: gr.Tab) -> None:
        """Connects the components."""
        numbers, chosen = self.explore.layout.numbers, self.sets.chosen
        connect(tab.select, self.subject_html, chosen, [self.subject, chosen])
        settings = [self.samples, self.radius, self.lam, self.k, self.steps, self.seed]
        others = [self.settle, self.ways, self.boundary]
        shown = [self.progress, self.newest, self.losses, self.start, self.cancel]
        connect(
            self.start.click,
            self.find_directions,
            [*settings, *self.explore.layout.display, *others],
            [numbers, *shown, chosen],
            "find_directions",
        )
        connect(self.cancel.click, self.stop, None, numbers, "cancel_search")
        self.sets.bind(tabs)


def subject(session: Session) -> str:
    """The image and label that a search starts from."""
    image = session.image
    if image is None:
        return '<p class="gcd-quiet">Open an image in Explore first.</p>'
    opened, positive = image.opened, label_names(image)[1]
    probability = charts.percent(opened.source.probabilities[image.index], question_of(image))
    return (
        f'<div class="gcd-subject">{image_tag(drawn(opened.pixels), "source image")}'
        f"<div><h2>{escape(opened.name)}</h2><p>Directions that change the prediction of "
        f"<b>{escape(positive)}</b> (here {probability}), learned from this one image by asking "
        "the classifier about pictures close to it.</p></div></div>"
    )
