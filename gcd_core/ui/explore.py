"""The Explore tab: one image, a slider for each direction, and what changes along it."""

from __future__ import annotations

import base64
import functools
import inspect
import io
from collections.abc import Iterator
from html import escape
from pathlib import Path as FilePath

import gradio as gr
import torch
from PIL import Image
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.drawing import encode_png, overlay, save_gif
from gcd_core.images.reading import NOT_A_RADIOGRAPH, looks_like_photograph, shown_name
from gcd_core.method.attribution import Attribution
from gcd_core.ui import charts
from gcd_core.ui.session import POINTS, SLIDERS, Explorer, Session, alpha_grid
from gcd_core.ui.take_home import save_report

OVERLAYS = [("BB-LIG", "bb_lig"), ("Difference", "difference"), ("None", "none")]
VIEWS = [("Side by side", "side"), ("Before | after", "slide")]


def polite(handler):
    """Turns the library's one-sentence errors into a message; everything on the page stays."""

    def said(error: GCDError) -> gr.Error:
        return gr.Error(str(error), title="That did not work", duration=8, print_exception=False)

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def streamed(*args, **kwargs):
            try:
                yield from handler(*args, **kwargs)
            except GCDError as error:
                raise said(error) from None

        return streamed

    @functools.wraps(handler)
    def answered(*args, **kwargs):
        try:
            return handler(*args, **kwargs)
        except GCDError as error:
            raise said(error) from None

    return answered


def data_address(png: bytes, kind: str = "png") -> str:
    """Bytes of a picture as an address that needs no second request."""
    return f"data:image/{kind};base64,{base64.b64encode(png).decode()}"


def drawn(image: Tensor | Image.Image) -> str:
    """A picture, tensor or PIL, as a data address."""
    if isinstance(image, Tensor):
        return data_address(encode_png(image))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return data_address(buffer.getvalue())


def thumbnail(image: Tensor, size: int = 64) -> str:
    """A small square version of a picture (1, C, H, W) as a data address."""
    small = torch.nn.functional.interpolate(image, size=(size, size), mode="area")
    return data_address(encode_png(small))


# -- what a session looks like -------------------------------------------------------------------


def words(session: Session, label: str | None = None) -> tuple[str, str]:
    """The label's negative and positive, as a doctor reads them."""
    return session.explorer.domain.label_names[label or session.label]


def facts(session: Session, **more: object) -> dict:
    """Everything that the page shows, for machines; the picture as a data address."""
    opened, current = session.opened, session.current
    answer: dict[str, object] = {"label": session.label, "directions": session.names}
    if opened is not None and current is not None:
        labels = session.explorer.domain.labels
        answer |= {
            "image_name": opened.name,
            "notice": opened.notice,
            "off_distribution": opened.foreign,
            "alphas": {n: session.alphas.get(n, 0.0) for n in session.names},
            "moved": session.moved,
            "before": dict(zip(labels, opened.source.probabilities, strict=True)),
            "after": dict(zip(labels, current.probabilities, strict=True)),
            "flipped": flipped(session),
            "lpips": current.distance,
            "in_full": not current.live,
            "image": drawn(current.image),
        }
    return answer | more


def flipped(session: Session) -> bool:
    """Whether a move took the prediction to the other side of the source's.

    A reconstruction alone may do so too, of an image that the generator does not know; that is no
    counterfactual.
    """
    if not session.alphas:
        return False
    i = session.index
    before, after = session.opened.source, session.current
    return (before.probabilities[i] >= 0.5) != (after.probabilities[i] >= 0.5)


def figure(title: str, note: str, body: str, css: str = "") -> str:
    return (
        f'<figure class="{css}"><div class="frame">{body}</div>'
        f"<figcaption><b>{title}</b><span>{note}</span></figcaption></figure>"
    )


def image_tag(address: str, alt: str) -> str:
    return f'<img src="{address}" alt="{escape(alt)}" decoding="sync" draggable="false">'


def map_of(session: Session, kind: str, opacity: float) -> tuple[str | None, str, dict]:
    """The map panel: its picture, its caption, and its numbers for machines."""
    heat = session.heat(kind)
    if heat is None:
        return None, "", {}
    if isinstance(heat, Attribution):
        numbers = {
            "baseline_probability": float(heat.baseline_probability),
            "reached": bool(heat.reached),
            "completeness_error": float(heat.completeness_error),
        }
        picture = drawn(overlay(session.opened.image, heat.map, opacity))
        return picture, f"along {session.moved}{'' if heat.reached else NEAREST}", numbers
    picture = drawn(overlay(session.opened.image, heat, opacity))
    return picture, "after minus before", {}


def pictures(
    session: Session, kind: str, opacity: float, view: str, sweep: str | None = None
) -> str:
    """Original, counterfactual and map: side by side, or the first two under a divider."""
    opened, current = session.opened, session.current
    if opened is None or current is None:
        return '<p class="gcd-quiet">Open a radiograph to begin.</p>'
    _, positive = words(session)
    i = session.index

    def verdict(probabilities: tuple[float, ...]) -> str:
        return f"{escape(positive)} {charts.percent(probabilities[i])}"

    moved = " + ".join(f"{charts.signed(a)} {n}" for n, a in session.alphas.items())
    after = "Sweep" if sweep else "Counterfactual" if flipped(session) else "Changed"
    title = after if moved or sweep else "Reconstruction"
    note = f"along {session.moved}" if sweep else verdict(current.probabilities)
    source = image_tag(drawn(opened.image), "the opened radiograph")
    changed = image_tag(sweep or drawn(current.image), "the changed radiograph")
    warning = f'<div class="notice">{escape(opened.notice)}</div>' if opened.notice else ""
    css = "flipped" if flipped(session) and not sweep else ""
    if view == "slide":
        body = f'{changed}<div class="before">{source}</div>{DIVIDER}{warning}'
        figures = [figure("Before | after", note, body, f"slide {css}")]
    else:
        figures = [
            figure("Original", verdict(opened.source.probabilities), source + warning),
            figure(title, note, changed, css),
        ]
    if kind != "none" and session.directions is not None:
        picture, caption, _ = map_of(session, kind, opacity)
        title = "BB-LIG heat map" if kind == "bb_lig" else "Difference"
        against_for = ("against", f"for {escape(positive)}")
        ends = against_for if kind == "bb_lig" else ("darker", "brighter")
        body = (
            image_tag(picture, title)
            + f'<div class="scale"><span>{ends[0]}</span><i></i><span>{ends[1]}</span></div>'
            if picture
            else '<div class="gcd-wait"><span></span>following the direction</div>'
        )
        figures.append(figure(title, caption, body, "map"))
    return f'<div class="gcd-pictures n{len(figures)}">{"".join(figures)}</div>'


def readout(session: Session) -> str:
    """Bars for every label, and how far the picture is from the source."""
    opened, current = session.opened, session.current
    if opened is None or current is None:
        return ""
    rows = [
        (
            *words(session, label),
            opened.source.probabilities[i],
            current.probabilities[i],
            label == session.label,
        )
        for i, label in enumerate(session.explorer.domain.labels)
    ]
    return (
        '<div class="gcd-card"><h3>Prediction <small>before &rarr; after</small></h3>'
        f"{charts.bars(rows, moved=bool(session.alphas))}"
        '<div class="gcd-number"><span>Perceptual change (LPIPS)</span>'
        f"<b>{current.distance:.3f}</b></div></div>"
    )


@torch.inference_mode()
def proxy_curve(session: Session) -> list[tuple[float, float]]:
    """The proxy's prediction along the moved direction, from where the other sliders stand."""
    directions, name = session.directions, session.moved
    if directions is None or session.opened is None or name not in session.names:
        return []
    others = session.opened.latent.z_sem
    for n, alpha in session.alphas.items():
        if n != name:
            others = others + alpha * directions[n].vector.to(others)
    alphas = alpha_grid(session.explorer.domain.alpha_max)
    steps = torch.tensor(alphas).to(others)[:, None]
    logits = directions.proxy_logit(others + steps * directions[name].vector.to(others))
    if logits is None:
        return []
    return list(zip(alphas, torch.sigmoid(logits.float()).tolist(), strict=True))


def curve(session: Session) -> str:
    """The probability along the moved direction."""
    if session.opened is None or session.current is None or session.directions is None:
        return ""
    name, i = session.moved, session.index
    path = session.path(name)
    measured = (
        []
        if path is None
        else list(zip(path.alphas.tolist(), path.probabilities.tolist(), strict=True))
    )
    here = (session.alphas.get(name, 0.0), session.current.probabilities[i])
    alone = all(n == name for n in session.alphas)
    plot = charts.curve(
        measured,
        proxy_curve(session),
        here,
        session.explorer.domain.alpha_max,
        words(session),
        alone,
    )
    positive = escape(words(session)[1])
    decoded = "classifier" if alone else f"classifier, {name} alone"
    return (
        f'<div class="gcd-card"><h3>{positive} along {name}'
        f'<small><i class="measured"></i>{decoded}<i class="proxy"></i>proxy</small></h3>'
        f"{plot}</div>"
    )


def end_picture(session: Session, name: str | None, end: int) -> str:
    """The thumbnail of one end of a direction."""
    path = None if name is None else session.path(name)
    if path is None:
        return '<span class="gcd-thumb waiting"></span>'
    side = words(session)[0 if end == 0 else 1]
    picture = thumbnail(path.images[end : end + 1] if end == 0 else path.images[-1:])
    probability = charts.percent(float(path.probabilities[0 if end == 0 else -1]))
    return (
        f'<span class="gcd-thumb"><img src="{picture}" alt="towards {escape(side)}" '
        f'title="towards {escape(side)}"><b>{probability}</b></span>'
    )


def direction_title(session: Session, name: str) -> str:
    """A slider's label: the direction's name, and where the prediction flips first."""
    path = session.path(name)
    if path is None:
        return name
    if not path.flipped:
        return f"{name} \N{MIDDLE DOT} no flip"
    first = path.alphas[path.is_flipped].abs().argmin()
    return f"{name} \N{MIDDLE DOT} flips from {charts.signed(path.alphas[path.is_flipped][first])}"


def heading(session: Session) -> str:
    """Words over the sliders: which way is which, and how many paths are ready."""
    negative, positive = words(session)
    if session.directions is None:
        return (
            '<div class="gcd-heading"><h3>Directions</h3><div class="gcd-quiet">There are none for '
            "this label yet: search for some in <b>Find directions</b>, or load a file there."
            "</div></div>"
        )
    paths = session.paths
    state = ""
    if paths is not None and paths.ready < paths.total:
        state = f'<small class="busy">preparing {paths.ready} of {paths.total}</small>'
    return (
        f'<div class="gcd-heading"><h3>Directions{state}</h3>'
        f"<p><span>&larr; {escape(negative)}</span><span>{escape(positive)} &rarr;</span></p></div>"
    )


def can_flip(session: Session, name: str) -> bool:
    """Whether the button has somewhere to go; True while that is unknown."""
    path = session.path(name)
    return path is None or bool(path.flipped)


def move_handler(tab: ExploreTab):
    """The `move` event with one named parameter for each slider, as clients pass them."""

    def move(
        g: float,
        h1: float,
        h2: float,
        h3: float,
        h4: float,
        h5: float,
        h6: float,
        h7: float,
        h8: float,
        overlay: str,
        opacity: float,
        view: str,
        request: gr.Request,
    ) -> tuple:
        """Moves along g and h1 to h8 together; the answer's first value holds the numbers."""
        alphas = [g, h1, h2, h3, h4, h5, h6, h7, h8]
        return tab.move(alphas, overlay, opacity, view, request)

    return move


DIVIDER = (
    '<input type="range" class="gcd-divider" min="0" max="100" value="50" '
    'aria-label="Divider between original and changed"><i></i>'
)
# The divider stays where it was put when the pictures under it change.
# The pictures fade while another image is on its way; the new ones arrive without that class.
FADE = "(...values) => (document.querySelector('.gcd-pictures')?.classList.add('busy'), values)"

KEEP_DIVIDER = """const place = at => element.style.setProperty('--at', at + '%');
let at = 50; place(at);
element.addEventListener('input', event => {
    if (event.target.matches('.gcd-divider')) { at = event.target.value; place(at); }
});
watch('value', () => {
    const divider = element.querySelector('.gcd-divider'); if (divider) divider.value = at;
});"""
DOWNLOAD = "() => setTimeout(() => document.querySelector('#report-file')?.click(), 300)"
NEAREST = (
    ' <abbr title="The walk ends before the classifier is fully convinced of the other answer: '
    'the map goes as far as its most convincing picture.">i</abbr>'
)


class ExploreTab:
    """The components of the tab and the handlers between them and a visitor's session."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self._build()

    # -- layout -----------------------------------------------------------------------------

    def _build(self) -> None:
        domain = self.explorer.domain
        thumbs = [thumbnail(domain.load_image(path)) for path in domain.examples]
        self.facts = gr.JSON(visible=False, elem_id="facts")
        self.direction = gr.Textbox("g", label="direction", visible=False)
        self.file_format = gr.Textbox("pdf", label="file_format", visible=False)
        with gr.Row(elem_id="strip"):
            self.source = gr.File(
                show_label=False, container=False, buttons=[], elem_id="source", min_width=150
            )
            self.examples = gr.HTML(
                0,
                html_template=(
                    '{{#each thumbs}}<button data-index="{{@index}}" '
                    'title="Example"><img src="{{this}}" alt="example"></button>{{/each}}'
                ),
                js_on_load=(
                    "const mark = () => element.querySelectorAll('button').forEach((b, i) => "
                    "b.classList.toggle('chosen', i === props.value));"
                    "element.addEventListener('click', e => {"
                    "const b = e.target.closest('button'); if (!b) return;"
                    "props.value = +b.dataset.index; mark(); trigger('select');});"
                    "watch('value', mark); mark();"
                ),
                thumbs=thumbs,
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
        with gr.Row(elem_id="work"):
            with gr.Column(elem_id="stage", min_width=480):
                with gr.Row(elem_id="toolbar"):
                    self.view = gr.Radio(
                        VIEWS, value="side", show_label=False, container=False, elem_id="view"
                    )
                    self.overlay = gr.Radio(
                        OVERLAYS, value="bb_lig", label="Map", container=False, elem_id="overlay"
                    )
                    self.opacity = gr.Slider(
                        0,
                        1,
                        0.6,
                        step=0.05,
                        label="Opacity",
                        container=False,
                        buttons=[],
                        elem_id="opacity",
                    )
                self.pictures = gr.HTML(
                    elem_id="pictures", js_on_load=KEEP_DIVIDER, apply_default_css=False
                )
                with gr.Row(elem_id="readout"):
                    self.bars = gr.HTML(elem_id="bars", apply_default_css=False)
                    self.curve = gr.HTML(elem_id="curve", apply_default_css=False)
            with gr.Column(elem_id="directions", min_width=320):
                self.heading = gr.HTML(elem_id="heading", apply_default_css=False)
                self.rows, self.lows, self.sliders, self.highs, self.flips = [], [], [], [], []
                for name in SLIDERS:
                    self._build_row(name)
                with gr.Row(elem_id="actions"):
                    self.reset = gr.Button("Reset", size="sm", elem_id="reset")
                    self.sweep = gr.Button("Sweep", size="sm", elem_id="sweep")
                    self.gif = gr.DownloadButton(
                        "Save GIF", size="sm", interactive=False, elem_id="gif"
                    )
                    self.report_pdf = gr.Button("Report PDF", size="sm", elem_id="report-pdf")
                    self.report_png = gr.Button("PNG", size="sm", elem_id="report-png")
                self.report_file = gr.DownloadButton(visible="hidden", elem_id="report-file")

    def _build_row(self, name: str) -> None:
        limit = self.explorer.domain.alpha_max
        with gr.Row(elem_classes="gcd-direction", elem_id=f"direction-{name}") as row:
            low = gr.HTML(elem_classes="gcd-end", apply_default_css=False, min_width=44)
            slider = gr.Slider(
                -limit,
                limit,
                0,
                step=limit / (POINTS // 2),
                label=name,
                container=False,
                buttons=[],
                elem_id=f"slider-{name}",
                min_width=120,
            )
            high = gr.HTML(elem_classes="gcd-end", apply_default_css=False, min_width=44)
            flip = gr.Button("To flip", size="sm", elem_id=f"flip-{name}", min_width=48)
        for items, item in zip(
            (self.rows, self.lows, self.sliders, self.highs, self.flips),
            (row, low, slider, high, flip),
            strict=True,
        ):
            items.append(item)

    # -- outputs ----------------------------------------------------------------------------

    @property
    def shown(self) -> list:
        """The components that a move changes; the first is for machines."""
        return [self.facts, self.pictures, self.bars, self.curve]

    @property
    def ends(self) -> list:
        """The components that a newly decoded path changes."""
        return [self.heading, *self.sliders, *self.lows, *self.highs, *self.flips]

    @property
    def everything(self) -> list:
        """The components that a new image, label or set of directions changes."""
        return [
            *self.shown,
            *self.ends,
            *self.rows,
            self.label,
            self.examples,
            self.source,
            self.gif,
        ]

    @property
    def looks(self) -> list:
        """The choices of how to look, that handlers take."""
        return [self.overlay, self.opacity, self.view]

    def show(self, session: Session, kind: str, opacity: float, view: str) -> tuple:
        """Values of `shown`."""
        return (
            facts(session),
            pictures(session, kind, opacity, view),
            readout(session),
            curve(session),
        )

    def show_ends(self, session: Session) -> tuple:
        """Values of `ends`; the sliders keep their positions."""
        names = [n if n in session.names else None for n in SLIDERS]
        sliders = [
            gr.skip() if n is None else gr.update(label=direction_title(session, n)) for n in names
        ]
        flips = [
            gr.skip() if n is None else gr.update(interactive=can_flip(session, n)) for n in names
        ]
        return (
            heading(session),
            *sliders,
            *[end_picture(session, n, 0) for n in names],
            *[end_picture(session, n, -1) for n in names],
            *flips,
        )

    def show_everything(self, session: Session, kind: str, opacity: float, view: str) -> tuple:
        """Values of `everything`, with the sliders at rest."""
        shown = list(self.show(session, kind, opacity, view))
        ends = list(self.show_ends(session))
        limit = self.explorer.domain.alpha_max
        for slot, name in enumerate(SLIDERS):
            if name not in session.names:
                continue
            ends[1 + slot] = gr.update(
                value=session.alphas.get(name, 0.0),
                minimum=-limit,
                maximum=limit,
                step=limit / (POINTS // 2),
                label=direction_title(session, name),
            )
        rows = [gr.update(visible=name in session.names) for name in SLIDERS]
        example = -1 if session.example is None else session.example
        no_gif = gr.update(value=None, interactive=False)
        return (*shown, *ends, *rows, session.label, example, None, no_gif)

    # -- handlers ---------------------------------------------------------------------------

    def open_image(
        self, image: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Opens an uploaded file; the answer's first value says what was found."""
        session = self.explorer.session(request.session_hash)
        if image is None:
            raise GCDError("No image came with the request: choose a file to open.")
        path = FilePath(image)
        data = path.read_bytes()
        path.unlink(missing_ok=True)  # a visitor's picture lives in the session only
        domain = self.explorer.domain
        tensor = domain.load_image(data)
        grey = domain.generator.channels == 1
        notice = NOT_A_RADIOGRAPH if grey and looks_like_photograph(data) else ""
        session.open_image(tensor, shown_name(path.name, data), notice)
        if session.opened.notice:
            gr.Warning(session.opened.notice, title="Unusual image")
        return self.show_everything(session, overlay, opacity, view)

    def open_example(
        self, example: int, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Opens one of the domain's examples, by its number from 0."""
        session = self.explorer.session(request.session_hash)
        session.open_example(int(example))
        return self.show_everything(session, overlay, opacity, view)

    def explain(
        self, label: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Chooses the label to explain."""
        session = self.explorer.session(request.session_hash)
        session.explain(label)
        return self.show_everything(session, overlay, opacity, view)

    def arrive(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Opens the first example for a new visitor."""
        session = self.explorer.session(request.session_hash)
        if session.opened is None and self.explorer.domain.examples:
            session.open_example(0)
        return self.show_everything(session, overlay, opacity, view)

    def prepare(
        self, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Iterator[tuple]:
        """Fills in thumbnails, curve and map while the paths are decoded in the background."""
        session = self.explorer.session(request.session_hash)
        paths, ready, drawn_for = session.paths, -1, None
        while paths is not None and paths is session.paths:
            finished, now = paths.finished, paths.ready
            if now != ready:
                ready = now
                shown = [gr.skip() for _ in self.shown]
                if session.path(session.moved) is not None and drawn_for != session.moved:
                    drawn_for = session.moved
                    shown = self.show(session, overlay, opacity, view)
                yield (*shown, *self.show_ends(session))
            if finished:
                break
            paths.news(ready)
        if ready < 0:
            yield tuple(gr.skip() for _ in (*self.shown, *self.ends))

    def move(
        self, alphas: list[float], overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Goes to a combination of directions; skips where a newer position came meanwhile."""
        session = self.explorer.session(request.session_hash)
        session.looks = (overlay, opacity, view)
        if session.move(dict(zip(SLIDERS, alphas, strict=True))) is None:
            return tuple(gr.skip() for _ in self.shown)
        return self.show(session, overlay, opacity, view)

    def draw_in_full(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Draws the position in full, once no newer one comes, where a move drew it quickly."""
        session = self.explorer.session(request.session_hash)
        session.looks = session.looks or (overlay, opacity, view)
        frame = session.draw_in_full()
        # What was chosen meanwhile holds: another map or view, or a sweep, which is not replaced.
        if frame is None or session.looks is None:
            return tuple(gr.skip() for _ in self.shown)
        return self.show(session, *session.looks)

    def to_flip(
        self, direction: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Moves one direction to its counterfactual, the others to 0."""
        session = self.explorer.session(request.session_hash)
        frame, flip = session.to_flip(direction)
        if frame is None:
            return tuple(gr.skip() for _ in (*self.shown, *self.sliders))
        if not flip:
            gr.Info(f"The prediction does not flip along {direction}: this is the nearest point.")
        return (*self.show(session, overlay, opacity, view), *self._positions(session))

    def reset_all(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Puts every slider back to 0."""
        session = self.explorer.session(request.session_hash)
        if session.move({}, session.moved) is None:
            return tuple(gr.skip() for _ in (*self.shown, *self.sliders))
        return (*self.show(session, overlay, opacity, view), *self._positions(session))

    def heatmap(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Draws the map: `bb_lig`, `difference` or `none`, at an opacity in [0, 1]."""
        session = self.explorer.session(request.session_hash)
        if session.opened is None:
            raise GCDError("There is nothing to map yet: open an image first.")
        session.looks = (overlay, opacity, view)
        if overlay == "bb_lig":
            session.path_now(session.moved)
        picture, caption, numbers = map_of(session, overlay, opacity)
        answer = facts(session, map=picture, map_caption=caption, **numbers)
        return answer, pictures(session, overlay, opacity, view)

    def make_sweep(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Plays the moved direction from end to end, and offers the animation as a file."""
        session = self.explorer.session(request.session_hash)
        path = session.path_now(session.moved)
        session.looks = None
        file = session.folder / f"sweep-{session.label}-{session.moved}.gif"
        save_gif(path.images, file, size=256)
        animation = data_address(file.read_bytes(), "gif")
        return (
            facts(session, frames=len(path.images), gif=animation),
            pictures(session, overlay, opacity, "side", animation),
            gr.update(value=str(file), interactive=True),
            "side",
        )

    def report(self, file_format: str, request: gr.Request) -> tuple:
        """Writes what is on screen to a page to take home, as `pdf` or `png`."""
        session = self.explorer.session(request.session_hash)
        file = save_report(session, proxy_curve(session), file_format)
        return facts(session, report=file_format), str(file)

    def change_view(self, overlay: str, opacity: float, view: str, request: gr.Request) -> str:
        """Side by side, or one picture over the other with a divider to drag."""
        session = self.explorer.session(request.session_hash)
        session.looks = (overlay, opacity, view)
        return pictures(session, overlay, opacity, view)

    def _positions(self, session: Session) -> list:
        return [session.alphas.get(n, 0.0) if n in session.names else gr.skip() for n in SLIDERS]

    # -- events -----------------------------------------------------------------------------

    def then_prepare(self, event, name: str) -> None:
        """Lets the paths' pictures appear after an event that opened something."""
        event.success(
            polite(self.prepare),
            self.looks,
            [*self.shown, *self.ends],
            api_name="prepare" if name == "open_image" else f"prepare_after_{name}",
            api_visibility="public" if name == "open_image" else "private",
            show_progress="hidden",
            concurrency_limit=None,
        )

    def bind(self, page: gr.Blocks) -> None:
        """Connects the components; every event has a name that clients may rely on."""
        quiet = {"show_progress": "hidden"}
        live = {**quiet, "concurrency_limit": None}

        opened = gr.on(
            [self.source.upload],
            polite(self.open_image),
            [self.source, *self.looks],
            self.everything,
            api_name="open_image",
            **live,
        )
        self.then_prepare(opened, "open_image")
        opened.failure(lambda: None, None, self.source, api_visibility="private", **live)
        self.then_prepare(
            self.examples.select(
                polite(self.open_example),
                [self.examples, *self.looks],
                self.everything,
                js=FADE,
                api_name="open_example",
                **live,
            ),
            "open_example",
        )
        self.then_prepare(
            self.label.input(
                polite(self.explain),
                [self.label, *self.looks],
                self.everything,
                js=FADE,
                api_name="explain",
                **live,
            ),
            "explain",
        )
        self.then_prepare(
            page.load(polite(self.arrive), self.looks, self.everything, api_name="arrive", **live),
            "arrive",
        )
        moved = gr.on(
            [slider.input for slider in self.sliders],
            polite(move_handler(self)),
            [*self.sliders, *self.looks],
            self.shown,
            api_name="move",
            trigger_mode="always_last",
            **live,
        )
        if self.explorer.domain.generator.live_solver is not None:
            moved.success(
                polite(self.draw_in_full),
                self.looks,
                self.shown,
                api_name="draw_in_full",
                trigger_mode="always_last",
                **live,
            )
        for name, flip in zip(SLIDERS, self.flips, strict=True):
            flip.click(
                polite(self.to_flip),
                [self.direction, *self.looks],
                [*self.shown, *self.sliders],
                js=f"(direction, ...looks) => ['{name}', ...looks]",
                api_name="to_flip" if name == "g" else f"to_flip_{name}",
                api_visibility="public" if name == "g" else "private",
                **live,
            )
        self.reset.click(
            polite(self.reset_all),
            self.looks,
            [*self.shown, *self.sliders],
            api_name="reset",
            **live,
        )
        gr.on(
            [self.overlay.input, self.opacity.input],
            polite(self.heatmap),
            self.looks,
            [self.facts, self.pictures],
            api_name="heatmap",
            trigger_mode="always_last",
            **live,
        )
        for file_format, button in (("pdf", self.report_pdf), ("png", self.report_png)):
            button.click(
                polite(self.report),
                self.file_format,
                [self.facts, self.report_file],
                js=f"() => '{file_format}'",
                api_name="report" if file_format == "pdf" else "report_png",
                api_visibility="public" if file_format == "pdf" else "private",
                **live,
            ).success(None, None, None, js=DOWNLOAD)
        self.view.input(
            polite(self.change_view),
            self.looks,
            self.pictures,
            api_name="view",
            **live,
        )
        self.sweep.click(
            polite(self.make_sweep),
            self.looks,
            [self.facts, self.pictures, self.gif, self.view],
            api_name="sweep",
            **live,
        )
