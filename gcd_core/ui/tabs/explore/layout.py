"""The components of the Explore tab, and the values that a session gives them."""

from __future__ import annotations

from typing import Any

import gradio as gr

from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.opening import Domain
from gcd_core.method.another import MAX_QUERIES
from gcd_core.method.composition import DETAILS
from gcd_core.method.loss import THRESHOLD
from gcd_core.ui.frames import MAX_H, SLIDERS
from gcd_core.ui.gradio_workarounds import without_temp_copy
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.display import SAME_TONE, Display
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.region import RegionPanel
from gcd_core.ui.tabs.handler import Answer, html
from gcd_core.ui.views.curve import curve_card
from gcd_core.ui.views.data_urls import thumbnail
from gcd_core.ui.views.direction_rows import (
    direction_titles,
    end_picture,
    fold_line,
    heading,
    is_quick,
    ways_line,
)
from gcd_core.ui.views.html import pictures, readout, tools
from gcd_core.ui.views.likeness import likeness_line
from gcd_core.ui.views.maps import map_panel
from gcd_core.ui.views.payload import label_names, payload_of, question_of
from gcd_core.wording import EXPERT

ACTIONS = (
    ("Reset", "reset"),
    ("Sweep", "sweep"),
    ("GIF", "gif"),
    ("Report", "report-pdf"),
    ("PNG", "report-png"),
    ("CSV", "path-csv"),
)
FIRST_FLIP = (  # only where asking the classifier costs nothing
    '<label class="gcd-first-flip"><input type="checkbox" data-first-flip checked> '
    "Show a flip when a picture opens</label>"
)
STEP = 0.01  # of alpha on a slider: what is typed to two decimals stays
ROW, FOLDED = "gcd-direction", "folded"  # classes of a direction's row


class DirectionRow:
    """The components of one direction.

    Parameters
    ----------
    name : str
    alpha_max : float
        The slider goes from -alpha_max to alpha_max.
    """

    def __init__(self, name: str, alpha_max: float) -> None:
        self.name = name
        with gr.Row(elem_classes=[ROW], elem_id=f"direction-{name}") as self.box:
            self.title = html(f"title_{name}", elem_id=None, elem_classes="gcd-title", min_width=44)
            self.low = html(f"low_{name}", elem_id=None, elem_classes="gcd-end", min_width=44)
            self.slider = gr.Slider(
                -alpha_max,
                alpha_max,
                0,
                step=STEP,
                label=name,
                container=False,
                buttons=[],
                elem_id=f"slider-{name}",
                min_width=120,
            )
            self.high = html(f"high_{name}", elem_id=None, elem_classes="gcd-end", min_width=44)
            self.flip = gr.Button("To flip", size="sm", elem_id=f"flip-{name}", min_width=48)
            self.film = html(
                f"film_{name}",
                elem_id=None,
                visible="hidden",
                html_template="<i></i>",  # its value is for the page's script
                js_on_load=f"gcd.film('{name}', props, watch)",
            )


OVERLAYS = {"cells": "Cells", "bb_lig": "BB-LIG", "difference": "Difference", "none": "None"}
VIEWS = [("Side by side", "side"), ("Before | after", "slide")]
ACCENT_COLOUR = "colour"  # class of the place to drop an image, where radiographs are not asked for
EXAMPLES = (
    '{{#each thumbs}}<button type="button" data-index="{{@index}}" title="{{this.name}}">'
    '<img src="{{this.picture}}" alt="{{this.name}}"></button>{{/each}}'
)


def targets(
    margin: float, question: Question = PLAIN, upwards: bool = True
) -> list[tuple[str, str]]:
    """How convincing a flip can be asked for, the domain's own margin among them: words, values.

    The words are how sure the classifier is to be of the new answer. Of a question with a
    threshold of its own they are what it is to answer, above the threshold (`upwards`) or below.
    """
    margins = sorted({0.0, 0.25, 0.45, margin})
    side = 1 if upwards or question.threshold is None else -1
    words = [question.number(THRESHOLD + side * m) if m else "just flipped" for m in margins]
    return [*zip(words, [f"{m:g}" for m in margins], strict=True), ("strongest", "strongest")]


def overlays(leading: str) -> list[tuple[str, str]]:
    """The maps to choose from, words and values, the leading one first."""
    kinds = sorted(OVERLAYS, key=lambda kind: kind != leading)
    return [(OVERLAYS[kind], kind) for kind in kinds]


def drawing_buttons() -> dict[str, gr.Button]:
    """The buttons that the page's script presses for what the changed picture shows."""
    return {
        detail: gr.Button(visible="hidden", elem_id=f"draw-{detail}")
        for detail in (*DETAILS, SAME_TONE)
    }


def action_buttons(free: bool) -> list[gr.Button]:
    """What to do with all directions, and another way; what that may cost, unless asking is free.

    Where it is free a box switches off that a picture which opens is flipped by itself.
    """
    buttons = [gr.Button(title, size="sm", elem_id=name) for title, name in ACTIONS]
    price = "" if free else f": up to {MAX_QUERIES} questions to the classifier"
    another = gr.Button(f"Another way{price}", size="sm", elem_id="flip-another", min_width=40)
    if free:
        html("first-flip", FIRST_FLIP, js_on_load="gcd.firstFlip(element)")
    return [*buttons, another]


def view_radio() -> gr.Radio:
    """Side by side, or one picture over the other."""
    value = Display().view
    return gr.Radio(
        VIEWS, value=value, label="View", show_label=False, container=False, elem_id="view"
    )


class ExploreLayout:
    """The components, laid out where this is made; groups of them, and the groups' values.

    Parameters
    ----------
    visitors : Visitors
        Of a domain whose examples, labels and `alpha_max` are laid out.
    """

    def __init__(self, visitors: Visitors) -> None:
        self.visitors, domain = visitors, visitors.service.domain
        self.alpha_max, self.margin = domain.alpha_max, domain.margin
        self.label_info, self.grey = domain.label_info, domain.generator.channels == 1
        questions = [label.question for label in self.label_info.values()]
        self.own_targets = any(question.threshold is not None for question in questions)
        self.numbers = gr.JSON(label="facts", visible=False, elem_id="facts")
        self.direction = gr.Textbox("g", label="direction", visible=False)
        self.address = gr.Textbox("", label="address", visible=False)
        sent = (gr.Button(visible="hidden", elem_id=name) for name in ("revisit", "moved"))
        self.revisit, self.moved = sent  # by the page's script
        self.detail = gr.Textbox(Display().detail, label="detail", visible=False)
        self.drawings = drawing_buttons()
        self.file_format = gr.Textbox("pdf", label="file_format", visible=False)
        self.words = gr.Textbox(EXPERT, label="words", visible=False)
        self.sweep_format = gr.Textbox("gif", label="file_format", visible=False)
        self._lay_out_strip(domain)
        with gr.Row(elem_id="work"):
            self.rows = self._lay_out_directions()  # the first that the Tab key reaches
            self._lay_out_stage()
        self.pictures_missing = gr.Button(visible="hidden", elem_id="pictures-missing")
        self.sliders = [row.slider for row in self.rows]
        self.films = [row.film for row in self.rows]

    def _lay_out_strip(self, domain: Domain) -> None:
        """What to open and to explain."""
        with gr.Row(elem_id="strip"):
            self.source = without_temp_copy(
                gr.File(
                    label="source",
                    show_label=False,
                    container=False,
                    buttons=[],
                    elem_id="source",
                    elem_classes=[] if self.grey else [ACCENT_COLOUR],
                    min_width=150,
                )
            )
            self.examples = gr.HTML(
                0,
                label="example",
                html_template=EXAMPLES,
                js_on_load="gcd.examples(element, props, trigger, watch)",
                thumbs=[
                    {
                        "name": f"Example {number}",
                        "picture": thumbnail(domain.load_image(path)),
                    }
                    for number, path in enumerate(domain.examples, start=1)
                ],
                elem_id="examples",
                min_width=300,
            )
            self.label = gr.Radio(
                [(domain.label_info[label].title, label) for label in domain.labels],
                value=domain.labels[0],
                label="Explain",
                container=False,
                elem_id="label",
                min_width=180,
            )

    def _lay_out_stage(self) -> None:
        """The pictures, how to see them, and what is measured of them."""
        leading = self.visitors.service.leading_map
        with gr.Column(elem_id="stage", min_width=480):
            with gr.Row(elem_id="toolbar"):
                self.view = view_radio()
                self.overlay = gr.Radio(
                    overlays(leading),
                    value=leading,
                    label="Map",
                    container=False,
                    elem_id="overlay",
                )
                self.opacity = gr.Slider(
                    0,
                    1,
                    Display().opacity,
                    step=0.05,
                    label="Opacity",
                    container=False,
                    buttons=[],
                    elem_id="opacity",
                )
                gr.HTML(
                    tools(self.grey),
                    elem_id="tools",
                    js_on_load="gcd.tools(element)",
                    apply_default_css=False,
                )
            self.pictures = html(
                "pictures",
                html_template="${gcd.filled(value)}",
                js_on_load="gcd.pictures(element, watch)",
            )
            self.region = RegionPanel(self.visitors)
            with gr.Row(elem_id="readout"):
                self.bars = html("bars", js_on_load="gcd.bars(watch)")
                self.curve = html("curve", js_on_load="gcd.dragCurve(element, watch)")

    def _lay_out_directions(self) -> list[DirectionRow]:
        """A row for each direction, those that hardly move folded away, and what to do with all."""
        rows: list[DirectionRow] = []
        with gr.Column(elem_id="directions", min_width=320):
            self.heading = html("heading")
            self.back = gr.Button(
                "Back to the bundled directions", size="sm", visible=False, elem_id="back"
            )
            self.target = gr.Radio(
                targets(self.margin),
                value=f"{self.margin:g}",
                label="To flip",
                container=False,
                elem_id="target",
            )
            rows += [DirectionRow(name, self.alpha_max) for name in SLIDERS[: 1 + MAX_H]]
            self.ways = html("ways")
            rows += [DirectionRow(name, self.alpha_max) for name in SLIDERS[1 + MAX_H :]]
            self.fold = html("fold", js_on_load="gcd.fold(element, watch)")
            with gr.Row(elem_id="actions"):
                buttons = action_buttons(self.visitors.service.classifier_is_free)
                self.reset, self.sweep, self.gif = buttons[:3]
                self.report_pdf, self.report_png, self.path_csv, self.another = buttons[3:]
            self.report_file = gr.DownloadButton("file", visible="hidden", elem_id="report-file")
        return rows

    # -- groups, in the order in which the API lists them ---------------------------------------

    @property
    def display(self) -> list[Any]:
        """The components that a `Display` is read from."""
        return [self.overlay, self.opacity, self.view]

    @property
    def shown(self) -> list[Any]:
        """The components that a move changes; the first is for machines."""
        return [self.numbers, self.pictures, self.bars, self.curve]

    @property
    def ends(self) -> list[Any]:
        """The components that a newly decoded path changes."""
        rows = self.rows
        titles, lows = [row.title for row in rows], [row.low for row in rows]
        return [self.heading, *titles, *lows, *(row.high for row in rows), self.fold]

    @property
    def everything(self) -> list[Any]:
        """The components that a new image, label or set of directions changes."""
        return [
            *self.shown,
            *self.ends,
            *self.sliders,
            *self.films,
            *(row.box for row in self.rows),
            self.region.cards,
            self.back,
            *([self.target] if self.own_targets else []),
            self.ways,
            self.label,
            self.examples,
            self.source,
        ]

    # -- answers --------------------------------------------------------------------------------

    def show(self, session: Session) -> Answer:
        """What a move changes."""
        image = session.image
        return {
            self.numbers: payload_of(session),
            self.pictures: pictures(session),
            self.bars: "" if image is None else readout(image),
            self.curve: "" if image is None else curve_card(image),
        }

    def show_map(self, session: Session, image: OpenImage) -> Answer:
        """What another map, or another opacity of it, changes."""
        panel = map_panel(image, session.display)
        more = {"map": panel.picture, "map_caption": panel.caption, **panel.numbers}
        return {
            self.numbers: payload_of(session, **more),
            self.pictures: pictures(session, panel),
        }

    def show_ends(self, session: Session) -> Answer:
        """What a newly decoded path changes, or the ends of all."""
        below = fold_line(session) + likeness_line(session)
        answer: Answer = {self.heading: heading(session), self.fold: below}
        names, question = label_names(session), question_of(session)
        titles, quick = direction_titles(session), is_quick(session)
        for row in self.rows:
            ends = None if session.image is None else session.image.paths.ends(row.name)
            answer[row.title] = titles.get(row.name, "")
            for side, place in enumerate((row.low, row.high)):
                answer[place] = end_picture(names, ends and ends[side], question, quick)
        return answer

    def show_everything(self, session: Session) -> Answer:
        """What a new image, label or set of directions changes."""
        answer, image = self.show(session) | self.show_ends(session), session.image
        alphas = {} if image is None else image.sliders.alphas
        for row in self.rows:
            answer[row.slider] = alphas.get(row.name, 0.0)
            answer[row.film] = ""
        if session.laid_out != (session.names, session.weak_directions):
            session.laid_out = session.names, session.weak_directions
            for row in self.rows:
                answer[row.box] = gr.update(
                    visible=row.name in session.names,
                    elem_classes=[ROW, FOLDED] if row.name in session.weak_directions else [ROW],
                )
        if self.own_targets:
            answer[self.target] = gr.update(choices=self.targets_of(session))
        return answer | {
            self.region.cards: "" if image is None else self.region.tried(image),
            self.back: gr.update(visible=session.sets.used(session.label) != BUNDLED),
            self.ways: ways_line(session),
            self.label: session.label,
            self.examples: -1 if image is None or image.example is None else image.example,
            self.source: None,
        }

    def targets_of(self, session: Session) -> list[tuple[str, str]]:
        """How convincing a flip of the open image can be asked for."""
        question, image = self.label_info[session.label].question, session.image
        upwards = image is None or image.opened.source.probabilities[image.index] < THRESHOLD
        return targets(self.margin, question, upwards)

    def show_films(self, image: OpenImage, sent: set[str]) -> Answer:
        """What newly decoded paths add: their films; their names are added to `sent`."""
        answer = Answer()
        for row in self.rows:
            film = image.paths.film(row.name)
            if film and row.name not in sent:
                sent.add(row.name)
                answer[row.film] = film
        return answer

    def positions(self, image: OpenImage) -> Answer:
        """Where the sliders stand."""
        rows = [row for row in self.rows if row.name in image.names]
        return {row.slider: image.sliders.alphas.get(row.name, 0.0) for row in rows}


def choices_of(layout: ExploreLayout) -> list[Any]:
    """The components of `show_choices`, but for those that a new image changes."""
    return [*layout.display, *([] if layout.own_targets else [layout.target])]


def show_choices(layout: ExploreLayout, session: Session) -> Answer:
    """How a visitor looks at the pictures, and how convincing a flip was last asked for."""
    display, target = session.display, session.target or f"{layout.margin:g}"
    wanted = gr.update(value=target)
    if layout.own_targets:
        wanted = gr.update(value=target, choices=layout.targets_of(session))
    return {
        layout.overlay: display.overlay,
        layout.opacity: display.opacity,
        layout.view: display.view,
        layout.target: wanted,
    }
