"""The Find directions tab: a search in the background, its progress, and direction files."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path as FilePath

import gradio as gr

from gcd_core.classifiers import BlackBox
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import DISTILLED
from gcd_core.method.directions import load_directions
from gcd_core.method.search import Progress
from gcd_core.ui import charts
from gcd_core.ui.explore import ExploreTab, drawn, facts, image_tag, polite, thumbnail, words
from gcd_core.ui.session import MAX_H, Explorer, Search, Session

STAGES = {
    "encode": "Encoding the image",
    "perturb": "Perturbing and asking the classifier",
    "proxy": "Fitting the proxy",
    "directions": "Reading the directions off the proxy",
}
SETTLED = 0.99  # cosine between one g and the next, of twice the samples
SHARE = {
    "encode": (0.0, 0.02),
    "perturb": (0.02, 0.9),
    "proxy": (0.9, 0.99),
    "directions": (0.99, 1),
}


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    seconds = round(seconds)
    return f"{seconds} s" if seconds < 90 else f"{seconds // 60} min {seconds % 60:02d} s"


def search_settings(
    domain, samples: int, radius: float, lam: float, k: int, steps: int, seed: int, settle: bool
) -> dict[str, object]:
    """The search's settings by the names that the library gives them.

    Where the domain's searches use its distilled decoder, other steps than that takes are the full
    decoder's.
    """
    other = domain.search.solver == DISTILLED and int(steps) != domain.search.steps
    return {
        "solver": domain.generator.sampling.solver if other else None,
        "settle": SETTLED if settle else None,
        "n_samples": int(samples),
        "radius": float(radius),
        "lam": float(lam),
        "n_h": int(k),
        "steps": int(steps),
        "seed": int(seed),
    }


def asked(progress: Progress, classifier: BlackBox) -> str:
    """What a search asked of the classifier, and what may still be asked."""
    words = f"{progress.queries} queries"
    if classifier.cache_hits:
        words += f" \N{MIDDLE DOT} {classifier.cache_hits} answers known from before"
    if classifier.budget is not None:
        words += f" \N{MIDDLE DOT} {classifier.budget - classifier.queries} left of the budget"
    return words


def progress_html(search: Search | None, classifier: BlackBox, ahead: int = 0) -> str:
    """The bar with its words."""
    if search is None:
        return charts.meter(0, "Ready", "nothing is running")
    progress = search.progress
    if search.state == "waiting":
        place = f"{ahead} search{'es' if ahead != 1 else ''} first" if ahead else "starting"
        return charts.meter(0, "Waiting for a free place", place)
    if search.state == "failed":
        return charts.meter(0, "The search stopped", search.message)
    low, high = SHARE.get(getattr(progress, "stage", "encode"), (0.0, 1.0))
    done, total = (progress.done, max(progress.total, 1)) if progress else (0, 1)
    fraction = low + (high - low) * done / total
    if search.settings.get("settle") and search.running:  # sampling and fitting take turns
        low, high = SHARE["perturb"]
        fraction = low + (high - low) * search.asked / search.settings["n_samples"]
    queries = asked(progress, classifier) if progress else ""
    if search.state == "done":
        return charts.meter(1, "Done: open in Explore", queries)
    if search.state == "cancelled":
        kept = " \N{MIDDLE DOT} what was asked is kept" if search.samples is not None else ""
        return charts.meter(fraction, f"Cancelled{kept}", queries)
    detail = [queries] if queries else []
    if progress is not None and progress.eta is not None:
        detail.append(f"about {duration(progress.eta)} left")
    stage = STAGES.get(getattr(progress, "stage", "encode"), "Working")
    count = f" \N{MIDDLE DOT} {done} of {total}" if total > 1 else ""
    return charts.meter(fraction, stage + count, " \N{MIDDLE DOT} ".join(detail))


def gallery_html(search: Search | None, positive: str) -> str:
    """The newest perturbed pictures with the classifier's probability."""
    if search is None or not search.gallery:
        return '<p class="gcd-quiet">The newest perturbed pictures appear here.</p>'
    cells = "".join(
        f'<figure><img src="{thumbnail(image[None], 96)}" alt="perturbed radiograph">'
        f'<figcaption><i style="width:{100 * p:.0f}%"></i><span>{charts.percent(p)}</span>'
        "</figcaption></figure>"
        for image, p in search.gallery
    )
    return f'<div class="gcd-newest" title="{escape(positive)}">{cells}</div>'


def number(value: float, label: str, precision: int | None = None) -> gr.Number:
    """A small field for a setting; the library judges what is typed."""
    return gr.Number(value, label=label, precision=precision, min_width=100)


class FindTab:
    """The components of the tab and the handlers between them and a visitor's session."""

    def __init__(self, explorer: Explorer, explore: ExploreTab) -> None:
        self.explorer, self.explore = explorer, explore
        self._build()

    def _build(self) -> None:
        defaults = self.explorer.domain.search
        with gr.Row(elem_id="find"):
            with gr.Column(elem_id="find-what", min_width=280):
                self.subject = gr.HTML(elem_id="subject", apply_default_css=False)
                with gr.Accordion("Settings", open=False, elem_id="settings"):
                    with gr.Row():
                        self.samples = number(defaults.n_samples, "Samples", precision=0)
                        self.radius = number(defaults.radius, "Radius")
                    with gr.Row():
                        self.k = number(min(defaults.n_h, MAX_H), "h-directions (k)", precision=0)
                        self.lam = number(defaults.lam, "\N{GREEK SMALL LETTER LAMDA} of LPIPS")
                    with gr.Row():
                        own = f" ({defaults.steps}: distilled)"
                        words = "Steps" + (own if defaults.solver == DISTILLED else "")
                        self.steps = number(defaults.steps, words, precision=0)
                        self.seed = number(0, "Seed", precision=0)
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
                with gr.Row(elem_id="files"):
                    self.save = gr.Button("Save directions", size="sm", elem_id="save")
                    self.load_button = gr.UploadButton(
                        "Load directions",
                        size="sm",
                        file_types=[".safetensors"],
                        elem_id="load",
                    )
                with gr.Column(visible=False) as self.file_box:
                    self.file = gr.File(label="Directions", interactive=False, elem_id="file")
            with gr.Column(elem_id="find-progress", min_width=420):
                self.progress = gr.HTML(
                    progress_html(None, self.explorer.domain.classifier),
                    elem_id="progress",
                    apply_default_css=False,
                )
                self.newest = gr.HTML(
                    gallery_html(None, ""), elem_id="newest", apply_default_css=False
                )
                self.losses = gr.HTML(self._losses(None), elem_id="losses", apply_default_css=False)

    @staticmethod
    def _losses(search: Search | None) -> str:
        train, validation = (search.train_losses, search.validation_losses) if search else ([], [])
        return (
            '<div class="gcd-card"><h3>Loss of the proxy<small><i class="proxy"></i>training'
            f'<i class="measured"></i>validation</small></h3>{charts.losses(train, validation)}'
            "</div>"
        )

    # -- handlers ---------------------------------------------------------------------------

    def subject_html(self, request: gr.Request) -> str:
        """What a search would start from."""
        return subject(self.explorer.session(request.session_hash))

    def find_directions(
        self,
        samples: int,
        radius: float,
        lam: float,
        k: int,
        steps: int,
        seed: int,
        overlay: str,
        opacity: float,
        view: str,
        settle: bool,
        request: gr.Request,
    ) -> Iterator[tuple]:
        """Searches in the background, streaming progress; the result opens in Explore."""
        session = self.explorer.session(request.session_hash)
        if session.opened is None:
            raise GCDError("There is nothing to search from yet: open an image first.")
        if session.search is not None and session.search.running:
            raise GCDError("A search is running already: cancel it or wait for it to end.")
        domain = self.explorer.domain
        settings = search_settings(domain, samples, radius, lam, k, steps, seed, settle)
        search = Search(session.opened.image, session.opened.name, session.label, settings)
        last = session.search
        if last is not None and last.samples is not None and same_question(last, search):
            search.samples = last.samples
        session.search = search
        self.explorer.start_search(search)
        unchanged = [gr.skip() for _ in (*self.explore.everything[1:], None)]
        while search.running:
            yield (self._facts(session, search), *self._show(session, search), *unchanged)
            search.thread.join(0.4)
        if search.state == "failed":
            raise GCDError(search.message)
        if search.state == "cancelled":
            yield (self._facts(session, search), *self._show(session, search), *unchanged)
            return
        session.use(search.directions, search.label)
        values = self.explore.show_everything(session, overlay, opacity, view)
        answer = {**values[0], **self._facts(session, search)}
        yield (answer, *self._show(session, search), *values[1:], gr.Tabs(selected="explore"))

    def stop(self, request: gr.Request) -> dict:
        """Cancels the running search before its next batch; what was asked is kept."""
        session = self.explorer.session(request.session_hash)
        if session.search is None or not session.search.running:
            raise GCDError("No search is running: there is nothing to cancel.")
        session.search.cancel.set()
        return self._facts(session, session.search)

    def save_directions(self, request: gr.Request) -> tuple:
        """Writes the current directions to a file that `load_directions` and the library read."""
        session = self.explorer.session(request.session_hash)
        if session.directions is None:
            raise GCDError("There are no directions to save yet: find or load some first.")
        file = session.folder / f"{self.explorer.domain.name}-{session.label}.safetensors"
        session.directions.save(file)
        return str(file), facts(session), gr.update(visible=True)

    def load_directions(
        self, file: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Opens a file of directions in Explore."""
        session = self.explorer.session(request.session_hash)
        path = FilePath(file)
        try:
            directions = load_directions(path, domain=self.explorer.domain)
        finally:
            path.unlink(missing_ok=True)
        session.use(directions, directions.label)
        values = self.explore.show_everything(session, overlay, opacity, view)
        return (*values, gr.Tabs(selected="explore"))

    def _facts(self, session: Session, search: Search) -> dict:
        progress = search.progress
        answer = {
            "state": search.state,
            "label": search.label,
            "image_name": search.name,
            "ahead": self.explorer.place_in_line(search) if search.state == "waiting" else 0,
        }
        if progress is not None:
            answer |= {
                "stage": progress.stage,
                "done": progress.done,
                "total": progress.total,
                "eta": progress.eta,
                "queries": progress.queries,
                "evaluations": progress.evaluations,
                "cache_hits": self.explorer.domain.classifier.cache_hits,
                "budget": self.explorer.domain.classifier.budget,
            }
        return answer

    def _show(self, session: Session, search: Search) -> tuple:
        ahead = self.explorer.place_in_line(search) if search.state == "waiting" else 0
        return (
            progress_html(search, self.explorer.domain.classifier, ahead),
            gallery_html(search, words(session, search.label)[1]),
            self._losses(search),
            gr.update(interactive=not search.running),
            gr.update(interactive=search.running),
        )

    def bind(self, page: gr.Blocks, tabs: gr.Tabs, tab: gr.Tab) -> None:
        """Connects the components."""
        quiet = {"show_progress": "hidden", "concurrency_limit": None}
        tab.select(self.subject_html, None, self.subject, api_visibility="private", **quiet)
        looks, shown = self.explore.looks, [self.progress, self.newest, self.losses]
        settings = [self.samples, self.radius, self.lam, self.k, self.steps, self.seed]
        found = self.start.click(
            polite(self.find_directions),
            [*settings, *looks, self.settle],
            [
                self.explore.facts,
                *shown,
                self.start,
                self.cancel,
                *self.explore.everything[1:],
                tabs,
            ],
            api_name="find_directions",
            **quiet,
        )
        self.explore.then_prepare(found, "find_directions")
        self.cancel.click(
            polite(self.stop), None, self.explore.facts, api_name="cancel_search", **quiet
        )
        self.save.click(
            polite(self.save_directions),
            None,
            [self.file, self.explore.facts, self.file_box],
            api_name="save_directions",
            **quiet,
        ).success(
            None,
            None,
            None,
            js="() => setTimeout(() => document.querySelector('#file a')?.click(), 300)",
        )
        loaded = self.load_button.upload(
            polite(self.load_directions),
            [self.load_button, *looks],
            [*self.explore.everything, tabs],
            api_name="load_directions",
            **quiet,
        )
        self.explore.then_prepare(loaded, "load_directions")


def subject(session: Session) -> str:
    """The image and label that a search starts from."""
    if session.opened is None:
        return '<p class="gcd-quiet">Open an image in Explore first.</p>'
    positive = words(session)[1]
    probability = charts.percent(session.opened.source.probabilities[session.index])
    return (
        f'<div class="gcd-subject">{image_tag(drawn(session.opened.image), "source image")}'
        f"<div><h3>{escape(session.opened.name)}</h3><p>Directions that change the prediction of "
        f"<b>{escape(positive)}</b> (here {probability}), learned from this one image by asking "
        "the classifier about pictures close to it.</p></div></div>"
    )


def same_question(last: Search, new: Search) -> bool:
    """Whether a cancelled search's samples answer a new one's question."""
    keys = ("radius", "steps", "seed")
    same = all(last.settings[k] == new.settings[k] for k in keys)
    return same and last.label == new.label and last.image is new.image
