"""The Find directions tab: a search in the background, its progress, and direction files."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import gradio as gr

from gcd_core.classifiers import BlackBox
from gcd_core.classifiers.base import notice_of
from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import DISTILLED
from gcd_core.method.directions import REPEATABILITY, DirectionSet
from gcd_core.method.prior_search import ANSWERS_FOR_H
from gcd_core.method.search_run import Progress
from gcd_core.method.settings import BALL, PRIOR, Settings
from gcd_core.ui.frames import MAX_H, MAX_W
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Search, Session
from gcd_core.ui.tabs.direction_sets import SetsPanel, chooser, named
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import Answer, Tab, connect, html
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn, thumbnail
from gcd_core.ui.views.figures import SAVE, image_tag
from gcd_core.ui.views.html import caution, image_name, told_of_g, tried_list
from gcd_core.ui.views.payload import label_names, question_of
from gcd_core.wording import duration

STAGE_TITLES = {
    "encode": "Reading pictures into the generator",
    "perturb": "Asking the classifier about new pictures",
    "proxy": "Learning to predict its answers",
    "carry": "Going to where the answer changes",
    "directions": "Reading the directions off the answers",
    "verify": "Trying the directions on examples",
}
LAMBDA_OF_LPIPS = "\N{GREEK SMALL LETTER LAMDA} of LPIPS"
WAYS_LABEL = "Directions by place"
WHERE = [
    ("What the images are like", PRIOR),
    ("Around this picture, as in the paper", BALL),
]
HOW = {  # a search asks, by where it looks
    PRIOR: "It asks about 32, 64, 128, &hellip; new pictures, at most as many as <b>Samples</b>, "
    "and stops once g has settled and flips the examples. h-directions take 512 samples. "
    f"{WAYS_LABEL} (0 to {MAX_W}) change one quarter of the picture each; they take no sample.",
    BALL: "It asks about <b>Samples</b> pictures close to the open one; 1,024 are usual. The "
    "radius says how close.",
}
DOT = " \N{MIDDLE DOT} "
USUAL_SAMPLES = {PRIOR: 256, BALL: 1024}  # where the domain's own search looks elsewhere
SETTLED_COSINE = 0.99  # cosine between one g and the next, of twice the samples
STAGE_SHARES = {
    "encode": (0.0, 0.02),
    "perturb": (0.02, 0.9),
    "proxy": (0.9, 0.95),
    "carry": (0.2, 0.21),
    "directions": (0.95, 0.96),
    "verify": (0.96, 1),
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
    sampling: str,
) -> Settings:
    """The domain's settings with what stands in the fields, None where one is empty.

    Fields that mean nothing to the sampling are passed over. Where the domain's searches use its
    distilled decoder, other steps than that takes are the full decoder's. Only where the domain
    names no steps may their field be empty. Raises a GCDError if a field is empty, or what stands
    in one fits no search.
    """
    own, full = domain.search, domain.generator.sampling
    if steps is not None or own.steps is not None:
        steps = int(given("Steps", steps))
    solver = None
    if full is not None and own.solver == DISTILLED and steps != own.steps:
        solver = full.solver
    around = sampling == BALL
    settings = own.changed(
        sampling=sampling,
        solver=solver,
        settle=SETTLED_COSINE if around and settle else None,
        n_samples=int(given("Samples", samples)),
        radius=float(given("Radius", radius)) if around else None,
        lam=float(given(LAMBDA_OF_LPIPS, lam)),
        n_h=int(given("h-directions (k)", k)),
        steps=steps,
        seed=int(given("Seed", seed)),
        n_ways=0 if around else int(given(WAYS_LABEL, ways)),
        boundary=around and boundary,
    )
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
    """The bar, what the search is at, what it has cost, and what is to be known of the answers.

    `ahead` searches go first; they take about `wait` seconds, where that is known.
    """
    return _progress(search, classifier, ahead, wait) + caution(notice_of(classifier))


def _progress(search: Search | None, classifier: BlackBox, ahead: int, wait: float | None) -> str:
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
        done = charts.meter(1, "Done: the directions are kept, use them when you like", cost)
        return done + told_of_g(search.result)
    if search.state == "cancelled":
        kept = f"{DOT}what was asked is kept" if search.samples is not None else ""
        return charts.meter(fraction_done(search), f"Cancelled{kept}", cost) + so_far(search)
    if progress is None:
        return charts.meter(0, STAGE_TITLES["encode"], "")
    left = "" if progress.eta is None else f"{DOT}about {duration(progress.eta)} left"
    count = f"{DOT}{progress.done} of {progress.total}" if progress.total > 1 else ""
    stage = progress.stage if progress.directions is None else "perturb"  # it goes on asking
    title = STAGE_TITLES[stage] + count
    return charts.meter(fraction_done(search), title, cost + left) + so_far(search)


def so_far(search: Search) -> str:
    """What is known of the g that can be used before the search has ended."""
    found = search.usable
    if found is None:
        return ""
    answers = found.metadata["settings"]["n_samples"]
    end = "; a better one may come" if search.running else ""
    offer = f'<p class="gcd-so-far">After {answers} answers there is a g to use{end}.</p>'
    return offer + told_of_g(found)


def fraction_done(search: Search) -> float:
    """How much of a search is done, in [0, 1]."""
    progress, settings = search.progress, search.settings
    if progress is None:
        return 0.0
    low, high = STAGE_SHARES[progress.stage]
    part = progress.done / max(progress.total, 1)
    # Sampling and fitting take turns.
    in_turns = settings.sampling != BALL or settings.settle is not None or settings.boundary
    if in_turns and search.running and progress.stage != "verify":
        low, high = STAGE_SHARES["perturb"]
        part = search.sampled / settings.n_samples
    return low + (high - low) * part


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


def number(
    value: float | None, label: str, precision: int | None = None, visible: bool = True
) -> gr.Number:
    """A small field for a setting; the library judges what is typed."""
    return gr.Number(value, label=label, precision=precision, min_width=100, visible=visible)


def why_no_h(found: DirectionSet) -> str:
    """Why a set has no h-directions, in a sentence behind others; "" where it has some."""
    if "h1" in found.names:
        return ""
    few = found.metadata["settings"]["n_samples"] < ANSWERS_FOR_H
    why = f"they take {ANSWERS_FOR_H} samples" if few else "no curvature was seen"
    return f" There are no h-directions: {why}."


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
                sampling = BALL if defaults.sampling == BALL else PRIOR
                around = sampling == BALL
                self.sampling = gr.Radio(
                    WHERE, value=sampling, label="Where to search", elem_id="sampling"
                )
                with gr.Accordion("Settings", open=False, elem_id="settings"):
                    with gr.Row():
                        self.samples = number(defaults.n_samples, "Samples", precision=0)
                        self.radius = number(defaults.radius, "Radius", visible=around)
                        self.lam = number(defaults.lam, LAMBDA_OF_LPIPS)
                    with gr.Row():
                        self.k = number(min(defaults.n_h, MAX_H), "h-directions (k)", precision=0)
                        self.ways = number(
                            defaults.n_ways, WAYS_LABEL, precision=0, visible=not around
                        )
                    self.how = html("how", how(sampling))
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
                        visible=around,
                    )
                    self.settle = gr.Checkbox(
                        False,
                        label="Stop early, once g has settled",
                        info="Spares queries; the h-directions take longer to settle than g.",
                        elem_id="settle",
                        visible=around,
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
                self.use_so_far = gr.Button(
                    "Use this g now", size="md", visible=False, elem_id="use-so-far"
                )
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

    def show_subject(self, name: str, sampling: str, request: gr.Request) -> Answer:
        """What a search would look at, and the sets of directions that there are."""
        session = self.session(request)
        chosen = chooser(session, name)
        return {
            self.subject: subject(session, sampling),
            self.sets.chosen: chosen,
            self.sets.tried: tried_list(named(session, chosen["value"])),
        }

    def choose_sampling(self, sampling: str, request: gr.Request) -> Answer:
        """Shows the fields that mean something where a search looks, and what it looks at."""
        own, around = self.domain.search, sampling == BALL
        return {
            self.subject: subject(self.session(request), sampling),
            self.how: how(sampling),
            self.samples: own.n_samples if own.sampling == sampling else USUAL_SAMPLES[sampling],
            self.ways: gr.update(visible=not around),
            **{
                field: gr.update(visible=around)
                for field in (self.radius, self.boundary, self.settle)
            },
        }

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
        sampling: str,
        request: gr.Request,
    ) -> Iterator[Answer]:
        """Searches in the background, streaming progress; what is found is kept under a name.

        `use_directions` takes that name. Of an earlier g, `use_so_far` need not wait for the end.
        `sampling` is "prior" (codes as the domain's images have them; no image need be open) or
        "ball" (around the open image, as in the paper).
        """
        session, domain = self.session(request), self.domain
        session.check_searchable(sampling)
        try:
            settings = search_settings(
                domain, samples, radius, lam, k, steps, seed, settle, ways, boundary, sampling
            )
        except GCDError as error:
            yield {
                self.progress: charts.meter(0, "The search did not start", str(error)),
                self.start: gr.update(interactive=True),
                self.cancel: gr.update(interactive=False),
            }
            raise
        yield from self._followed(session, session.start_search(settings))

    def go_on(self, request: gr.Request) -> Iterator[Answer]:
        """Shows a search that was begun before the page was loaded anew, to its end."""
        session = self.session(request)
        search = session.search
        if search is None:
            yield {}
        elif search.running:
            yield from self._followed(session, search)
        else:
            name = "" if search.result is None else session.keep_found(search, search.result)
            yield self._show(session, search) | {self.sets.chosen: chooser(session, name)}

    def _followed(self, session: Session, search: Search) -> Iterator[Answer]:
        """Shows a search until it ends, or the page has gone; what is found is kept."""
        visit = session.visits
        while search.running:
            if session.visits != visit:
                return
            yield self._show(session, search)
            search.wait(0.4)
        if search.result is None:
            yield self._show(session, search)
            if search.state == "failed":
                raise GCDError(search.error)
            return
        name = session.keep_found(search, search.result)
        numbers = {
            **self._numbers(search),
            "directions": search.result.names,
            "set": name,
            "repeatability": search.result.metadata["figures"].get(REPEATABILITY),
        }
        told = f"Directions found, and kept as \u201c{name}\u201d. Use these, when you like."
        gr.Info(told + (why_no_h(search.result) if search.settings.n_h else ""))
        new = {self.explore.layout.numbers: numbers, self.sets.chosen: chooser(session, name)}
        yield self._show(session, search) | new

    def stop(self, request: gr.Request) -> Answer:
        """Cancels the running search before its next batch; what was asked is kept."""
        session = self.session(request)
        if session.search is None or not session.search.running:
            raise GCDError("No search is running: there is nothing to cancel.")
        session.search.cancel()
        return {self.explore.layout.numbers: self._numbers(session.search)}

    def use_g_so_far(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Opens, in Explore, the g that a search offers from 64 answers on, and keeps it."""
        session = self.session(request, overlay, opacity, view)
        session.use_so_far()
        return self.sets.show_everything(session)

    def _numbers(self, search: Search) -> dict:
        progress = search.progress
        answer = {
            "state": search.state,
            "label": search.label,
            "image_name": search.name,
            "ahead": search.place if search.state == "waiting" else 0,
        }
        if search.usable is not None:
            answer["usable"] = search.usable.metadata["settings"]["n_samples"]
        if progress is not None:
            told = ("stage", "done", "total", "eta", "queries", "evaluations")
            answer |= {name: getattr(progress, name) for name in told}
            classifier = self.domain.classifier
            answer |= {"cache_hits": classifier.cache_hits, "budget": classifier.budget}
        return answer

    def _show(self, session: Session, search: Search) -> Answer:
        """All that the tab says of a search."""
        waiting = search.state == "waiting"
        ahead, wait = (search.place, search.seconds_ahead) if waiting else (0, None)
        positive, asked = label_names(session, search.label)[1], question_of(session, search.label)
        return {
            self.explore.layout.numbers: self._numbers(search),
            self.progress: progress_html(search, self.domain.classifier, ahead, wait),
            self.newest: gallery_html(search, positive, asked),
            self.losses: self._losses(search),
            self.start: gr.update(interactive=not search.running),
            self.cancel: gr.update(interactive=search.running),
            self.use_so_far: gr.update(visible=search.usable is not None and search.result is None),
        }

    def bind(self, tabs: gr.Tabs, tab: gr.Tab) -> None:
        """Connects the components."""
        layout, chosen = self.explore.layout, self.sets.chosen
        numbers = layout.numbers
        connect(
            tab.select,
            self.show_subject,
            [chosen, self.sampling],
            [self.subject, chosen, self.sets.tried],
        )
        connect(
            self.sampling.input,
            self.choose_sampling,
            self.sampling,
            [
                self.subject,
                self.how,
                self.samples,
                self.ways,
                self.radius,
                self.boundary,
                self.settle,
            ],
        )
        settings = [self.samples, self.radius, self.lam, self.k, self.steps, self.seed]
        others = [self.settle, self.ways, self.boundary, self.sampling]
        shown = [self.progress, self.newest, self.losses, self.start, self.cancel]
        found = connect(
            self.start.click,
            self.find_directions,
            [*settings, *layout.display, *others],
            [numbers, *shown, chosen, self.use_so_far],
            "find_directions",
        )
        found.success(None, None, None, js="gcd.found", api_visibility="private")
        connect(
            self.explore.arrived.success,
            self.go_on,
            None,
            [numbers, *shown, chosen, self.use_so_far],
        )
        connect(self.cancel.click, self.stop, None, numbers, "cancel_search")
        self.sets.bind(tabs)
        used = connect(
            self.use_so_far.click,
            self.use_g_so_far,
            layout.display,
            [*layout.everything, chosen, tabs],
            "use_so_far",
        )
        self.explore.then_prepare(used, "use_so_far")


def how(sampling: str) -> str:
    """How a search asks."""
    return f'<p class="gcd-info">{HOW[sampling]}</p>'


def subject(session: Session, sampling: str) -> str:
    """The label that a search is about, and the image that it looks at, if one is open."""
    image, around = session.image, sampling == BALL
    if image is None and around:
        return '<p class="gcd-quiet">Open an image in Explore first.</p>'
    positive = escape(label_names(session)[1])
    of = "the prediction of"
    if image is None:
        return (
            f'<div class="gcd-subject"><p>Directions that change {of} <b>{positive}</b>, learned '
            "by asking the classifier about new pictures, drawn as this domain's images are. No "
            "picture need be open.</p></div>"
        )
    opened = image.opened
    probability = charts.percent(opened.source.probabilities[image.index], question_of(image))
    learned = (
        "learned from this one image by asking the classifier about pictures close to it."
        if around
        else "learned by asking the classifier about new pictures, drawn as this domain's images "
        "are, and tried on this one first."
    )
    return (
        f'<div class="gcd-subject">{image_tag(drawn(opened.pixels), "source image")}'
        f"<div><h2>{escape(opened.name)}</h2><p>Directions that change {of} "
        f"<b>{positive}</b> (here {probability}), {learned}</p></div></div>"
    )
