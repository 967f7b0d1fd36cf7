"""The Find directions tab: a search in the background, its settings, and direction files."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr

from gcd_core.classifiers import BlackBox
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import DISTILLED
from gcd_core.method.directions import REPEATABILITY
from gcd_core.method.prior_search import ANSWERS_FOR_H
from gcd_core.method.settings import BALL, PRIOR, Settings
from gcd_core.method.verification import MAX_EXAMPLES
from gcd_core.ui.frames import MAX_H, MAX_W
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Search, Session
from gcd_core.ui.tabs.direction_sets import SetsPanel, chooser
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import Answer, Tab, connect, html
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.figures import SAVE, image_tag
from gcd_core.ui.views.payload import label_names, question_of
from gcd_core.ui.views.search_progress import gallery_html, progress_html, seconds_left
from gcd_core.ui.views.vocabulary import INFO, LABEL, WRITTEN, said

LAMBDA_OF_LPIPS, WAYS_LABEL = (WRITTEN[f"#{field} {LABEL}"][1] for field in ("lam", "n-ways"))
WHERE = [
    ("What the images are like", PRIOR),
    ("Around this picture, as in the paper", BALL),
]
TELL_ME = (
    '<label class="gcd-first-flip"><input type="checkbox"> Tell me by a message of the browser '
    "when a search ends while I look elsewhere</label>"
)
HOW = {  # a search asks, by where it looks
    PRIOR: said(
        "It asks about 32, 64, 128, &hellip; new pictures, at most as many as stand here, and "
        "stops once the main way has settled and flips the examples. Further ways take "
        f"{ANSWERS_FOR_H} pictures. Ways by place (0 to {MAX_W}) are looked for in one "
        f"quarter of the picture each. On top of that, every way is tried on up to {MAX_EXAMPLES} "
        "examples.",
        "It asks about 32, 64, 128, &hellip; new pictures, at most as many as <b>Samples</b>, and "
        f"stops once g has settled and flips the examples. h-directions take {ANSWERS_FOR_H} "
        f"samples. {WAYS_LABEL} (0 to {MAX_W}) are looked for in one quarter of the picture each; "
        f"they take no sample. The tries on up to {MAX_EXAMPLES} examples come on top.",
    ),
    BALL: said(
        "It asks about so many pictures like the open one; 1,024 are usual.",
        "It asks about <b>Samples</b> pictures close to the open one; 1,024 are usual. The radius "
        "says how close, in z_sem.",
    ),
}
USUAL_SAMPLES = {PRIOR: 256, BALL: 1024}  # where the domain's own search looks elsewhere
SETTLED_COSINE = 0.99  # cosine between one g and the next, of twice the samples


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


def number(
    value: float | None,
    label: str,
    elem_id: str,
    precision: int | None = None,
    visible: bool = True,
) -> gr.Number:
    """A small field for a setting; the library judges what is typed."""
    return gr.Number(
        value, label=label, elem_id=elem_id, precision=precision, min_width=100, visible=visible
    )


def losses_html(search: Search | None) -> str:
    """How well a search predicts the answers, as HTML."""
    train, validation = (search.train_losses, search.validation_losses) if search else ([], [])
    return (
        f'<div class="gcd-card"><h2>{said("How well the search guesses", "Loss of the proxy")}'
        f'<small><i class="proxy"></i>{said("learned", "training")}<i class="measured"></i>'
        f"{said('checked', 'validation')}</small>{SAVE if train else ''}</h2>"
        f"{charts.losses(train, validation) or no_curve(search)}</div>"
    )


def no_curve(search: Search | None) -> str:
    """Why there is no curve of losses, or not yet, as HTML."""
    if search is None or search.running:
        text = "A curve comes where networks learn from the answers, once all are there."
    elif search.state == "done":
        text = said(
            "There is no curve: this search read its ways straight off the answers.",
            "There is no curve: no proxy was trained; the directions are mean slopes of the logit.",
        )
    else:
        text = "There is no curve: the search ended before it learned."
    return f'<p class="gcd-quiet">{text}</p>'


def search_numbers(search: Search, classifier: BlackBox) -> dict[str, Any]:
    """How far a search is, for machines."""
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
        told = ("stage", "done", "total", "queries", "evaluations")
        answer |= {name: getattr(progress, name) for name in told}
        left = seconds_left(search) if search.running else None
        answer |= {"cache_hits": progress.known, "eta": left}
        answer["budget"] = classifier.budget
    return answer


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
                sampling = BALL if defaults.sampling == BALL else PRIOR
                self.subject = html("subject", SUBJECT_TO_COME)
                around = sampling == BALL
                self.sampling = gr.Radio(
                    WHERE, value=sampling, label="Where to search", elem_id="sampling"
                )
                with gr.Accordion("Settings", open=False, elem_id="settings"):
                    with gr.Row():
                        self.samples = number(defaults.n_samples, "Samples", "samples", 0)
                        self.radius = number(defaults.radius, "Radius", "radius", visible=around)
                        self.lam = number(defaults.lam, LAMBDA_OF_LPIPS, "lam")
                    with gr.Row():
                        self.k = number(min(defaults.n_h, MAX_H), "h-directions (k)", "k", 0)
                        self.ways = number(
                            defaults.n_ways, WAYS_LABEL, "n-ways", 0, visible=not around
                        )
                    self.how = html("how", how(sampling))
                    with gr.Row():
                        self.steps = number(defaults.steps, "Steps", "steps", 0)
                        self.seed = number(0, "Seed", "seed", 0)
                    self.boundary = gr.Checkbox(
                        defaults.boundary,
                        label="Search at the decision boundary",
                        info=WRITTEN[f"#boundary {INFO}"][1],
                        elem_id="boundary",
                        visible=around,
                    )
                    self.settle = gr.Checkbox(
                        False,
                        label="Stop early, once g has settled",
                        info=WRITTEN[f"#settle {INFO}"][1],
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
                html("tell-me", TELL_ME, js_on_load="gcd.tellMe(element)")
                self.use_so_far = gr.Button(
                    "Use this g now", size="md", visible=False, elem_id="use-so-far"
                )
                self.newest = html("newest", gallery_html(None, ""))
                self.losses = html("losses", losses_html(None))

    # -- handlers ---------------------------------------------------------------------------

    def show_subject(self, name: str, sampling: str, request: gr.Request) -> Answer:
        """What a search would look at, and the sets of directions that there are."""
        session = self.session(request)
        chosen = chooser(session, name)
        return {
            self.subject: subject(session, sampling),
            self.sets.chosen: chosen,
            **self.sets.about(session, chosen["value"]),
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
        yield from self._followed(session, session.start_search(settings), request)

    def go_on(self, request: gr.Request) -> Iterator[Answer]:
        """Shows a search that was begun before the page was loaded anew, to its end."""
        session = self.session(request)
        search = session.search
        if search is None:
            yield {}
        elif search.running:
            yield from self._followed(session, search, request)
        else:
            name = "" if search.result is None else session.keep_found(search, search.result)
            yield self._show(session, search) | {self.sets.chosen: chooser(session, name)}

    def _followed(self, session: Session, search: Search, request: gr.Request) -> Iterator[Answer]:
        """Shows a search until it ends, or the page has gone; what is found is kept."""
        taken = 0
        while search.running:
            if not self.visitors.holds(request.session_hash, session):
                return
            taken = self.taken(taken, session, request)
            yield self._show(session, search)
            search.wait(0.4)
        if search.result is None:
            yield self._show(session, search)
            if search.state == "failed":
                raise GCDError(search.error)
            return
        name = session.keep_found(search, search.result)
        numbers = {
            **search_numbers(search, self.domain.classifier),
            "directions": search.result.names,
            "set": name,
            "repeatability": search.result.metadata["figures"].get(REPEATABILITY),
        }
        gr.Info(f"Found, and kept as \u201c{name}\u201d. Use these, when you like.")
        new = {self.explore.layout.numbers: numbers, self.sets.chosen: chooser(session, name)}
        yield self._show(session, search) | new

    def stop(self, request: gr.Request) -> Answer:
        """Cancels the running search before its next batch; what was asked is kept."""
        session = self.session(request)
        if session.search is None or not session.search.running:
            raise GCDError("No search is running: there is nothing to cancel.")
        session.search.cancel()
        return {self.explore.layout.numbers: search_numbers(session.search, self.domain.classifier)}

    def use_g_so_far(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Opens, in Explore, the g that a search offers from 64 answers on, and keeps it."""
        session = self.session(request, overlay, opacity, view)
        session.use_so_far()
        return self.sets.show_everything(session)

    def _show(self, session: Session, search: Search) -> Answer:
        """All that the tab says of a search."""
        waiting = search.state == "waiting"
        ahead, wait = (search.place, search.seconds_ahead) if waiting else (0, None)
        positive, asked = label_names(session, search.label)[1], question_of(session, search.label)
        return {
            self.explore.layout.numbers: search_numbers(search, self.domain.classifier),
            self.progress: progress_html(search, self.domain.classifier, ahead, wait),
            self.newest: gallery_html(search, positive, asked),
            self.losses: losses_html(search),
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
            [self.subject, chosen, *self.sets.all_about],
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
            js="gcd.searches",
        )
        again = connect(
            self.explore.arrived.success,
            self.go_on,
            None,
            [numbers, *shown, chosen, self.use_so_far],
        )
        for ended in (found, again):
            ended.success(None, None, None, js="gcd.found", api_visibility="private")
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


# The place of the subject, before its first answer: nothing below it moves then.
SUBJECT_TO_COME = '<div class="gcd-subject"></div>'


def how(sampling: str) -> str:
    """How a search asks."""
    return f'<p class="gcd-info">{HOW[sampling]}</p>'


def subject(session: Session, sampling: str) -> str:
    """The label that a search is about, and the image that it looks at, if one is open.

    That of a search that runs, whatever is opened meanwhile; else that of the next one.
    """
    search, label = session.search, session.label
    opened = None if session.image is None else session.image.opened
    if search is not None and search.running:
        opened, label, sampling = search.opened, search.label, search.settings.sampling
    around = sampling == BALL
    if opened is None and around:
        return '<p class="gcd-quiet">Open an image in Explore first.</p>'
    positive = escape(label_names(session, label)[1])
    ways, of = said("Ways", "Directions"), said("the answer to", "the prediction of")
    if opened is None:
        return (
            f'<div class="gcd-subject"><p>{ways} that change {of} <b>{positive}</b>, learned '
            "by asking the classifier about new pictures, drawn as this domain's images are. No "
            "picture need be open.</p></div>"
        )
    index = session.service.domain.labels.index(label)
    probability = charts.percent(opened.source.probabilities[index], question_of(session, label))
    learned = (
        "learned from this one image by asking the classifier about pictures close to it."
        if around
        else "learned by asking the classifier about new pictures, drawn as this domain's images "
        "are, and tried on this one first."
    )
    return (
        f'<div class="gcd-subject">{image_tag(drawn(opened.pixels), "source image")}'
        f"<div><h2>{escape(opened.name)}</h2><p>{ways} that change {of} "
        f"<b>{positive}</b> (here {probability}), {learned}</p></div></div>"
    )
