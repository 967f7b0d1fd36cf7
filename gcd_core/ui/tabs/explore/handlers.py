"""What the Explore tab does: handlers between its components and a visitor's session.

Their names, parameters and docstrings are those of the page's API.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import gradio as gr

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.images.drawing import save_gif
from gcd_core.images.reading import NOT_A_RADIOGRAPH, fit_words
from gcd_core.method.counterfactual import SMALLEST, check_counterfactual
from gcd_core.report.captions import captions_of
from gcd_core.ui.frames import SLIDERS, Alphas
from gcd_core.ui.session.deep_link import visit
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.layout import ExploreLayout
from gcd_core.ui.views.data_urls import data_address
from gcd_core.ui.views.exports import save_path, save_report
from gcd_core.ui.views.html import Display, curve_card, heading, map_panel, pictures
from gcd_core.ui.views.payload import convincing, payload_of, state_payload


def read_alphas(given: object, names: list[str]) -> Alphas:
    """Alphas by direction, as a client sent them.

    Raises
    ------
    GCDError
        Where they are no numbers, or of directions that are not there.
    """
    if not isinstance(given, dict):
        raise GCDError('Give the alphas by direction, such as {"g": 1.5}.')
    for name, alpha in given.items():
        if name not in names:
            raise GCDError(f"There is no direction {name!r}: choose of {', '.join(names)}.")
        if type(alpha) not in (int, float) or not math.isfinite(alpha):
            raise GCDError(f"The alpha of {name} is {alpha!r:.40}: give a number.")
    return {name: float(alpha) for name, alpha in given.items()}


class ExploreAnswers:
    """Handlers that leave the page as it is; each finds its visitor by the request.

    Parameters
    ----------
    visitors : Visitors
    """

    def __init__(self, visitors: Visitors) -> None:
        self.visitors, self.domain = visitors, visitors.service.domain

    def _session(self, request: gr.Request) -> Session:
        return self.visitors.session(request.session_hash)

    # -- in numbers alone -------------------------------------------------------------------

    def facts(self, request: gr.Request) -> dict[str, Any]:
        """Answers with what is on screen, in numbers alone: no picture, no HTML."""
        return state_payload(self._session(request))

    def go(self, alphas: dict[str, float], request: gr.Request) -> dict[str, Any]:
        """Moves to alphas by direction, such as {"g": 1.5}, the others to 0; answers as `facts`."""
        session = self._session(request)
        session.move(read_alphas(alphas, session.names))
        return state_payload(session)

    # -- taking home ------------------------------------------------------------------------

    def make_sweep(self, request: gr.Request) -> tuple:
        """Writes the moved direction from end to end as an animation."""
        session = self._session(request)
        path = session.path_now(session.moved)
        file = session.folder / f"sweep-{session.label}-{session.moved}.gif"
        frames = path.images[path.is_walked]
        with atomic_write(file) as place:  # another click may be reading it
            save_gif(frames, place, size=256, captions=captions_of(self.domain, path))
        animation = data_address(file.read_bytes(), "gif")
        return payload_of(session, frames=len(frames), gif=animation), str(file)

    def report(self, file_format: str, request: gr.Request) -> tuple:
        """Writes what is on screen to a page to take home, as `pdf` or `png`."""
        session = self._session(request)
        file = save_report(session, file_format)
        return payload_of(session, report=file_format), str(file)

    def save_path(self, request: gr.Request) -> tuple:
        """Writes the path along the moved direction as CSV: alpha, probabilities, LPIPS, loss."""
        session = self._session(request)
        file = save_path(session)
        return payload_of(session), str(file)


TELL = 5.0  # seconds, after which who waits for paths is told anew how many go before
STRONGEST = "strongest"  # of the targets of a flip; the others are margins


def margin_of(target: str) -> float | None:
    """How far beyond the threshold a flip is to go, 0 to 0.5; None for as far as it goes.

    Raises
    ------
    GCDError
        Where the target is neither.
    """
    if target == STRONGEST:
        return None
    try:
        margin = float(target)
    except ValueError:
        raise GCDError(
            f"There is no target {target!r} of a flip: choose a margin from 0 to 0.5, or "
            f"{STRONGEST!r}."
        ) from None
    check_counterfactual(SMALLEST, margin)
    return margin


class ExploreHandlers:
    """A handler for each event of the tab; each finds its visitor by the request.

    Parameters
    ----------
    visitors : Visitors
    layout : ExploreLayout
        Says which values the handlers answer with.
    """

    def __init__(self, visitors: Visitors, layout: ExploreLayout) -> None:
        self.visitors, self.layout = visitors, layout
        self.domain = visitors.service.domain

    def _session(self, request: gr.Request) -> Session:
        return self.visitors.session(request.session_hash)

    # -- opening ----------------------------------------------------------------------------

    def open_image(
        self, image: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Opens an uploaded file; the answer's first value says what was found."""
        session = self._session(request)
        if image is None:
            raise GCDError("No image came with the request: choose a file to open.")
        path = FilePath(image)
        data = path.read_bytes()
        path.unlink(missing_ok=True)  # a visitor's picture lives in the session only
        session.uploads.take(len(data))
        picture = self.visitors.service.read(data)
        grey, shape = self.domain.generator.channels == 1, picture.shape
        notice = NOT_A_RADIOGRAPH if grey and picture.photograph else ""
        fitted = fit_words(shape, self.domain.fit)
        if fitted:
            fitted = f"{fitted} from {shape[0]} \N{MULTIPLICATION SIGN} {shape[1]} pixels"
        aspect = shape[0] / shape[1] if self.domain.fit == "stretch" else 1.0
        name = picture.name(path.name)
        opened = session.open_image(picture.image, name, notice, fitted, aspect)
        if opened is not None and opened.notice:
            gr.Warning(opened.notice, title="Unusual image")
        return self.layout.show_everything(session, Display(overlay, opacity, view))

    def open_example(
        self, example: int, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Opens one of the domain's examples, by its number from 0."""
        session = self._session(request)
        session.open_example(int(example))
        return self.layout.show_everything(session, Display(overlay, opacity, view))

    def explain(
        self, label: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> tuple:
        """Chooses the label to explain."""
        session = self._session(request)
        session.explain(label)
        return self.layout.show_everything(session, Display(overlay, opacity, view))

    def use_bundled(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Goes back from directions that were found or loaded to the domain's own."""
        session = self._session(request)
        session.use(session.label, BUNDLED)
        return self.layout.show_everything(session, Display(overlay, opacity, view))

    def arrive(
        self, overlay: str, opacity: float, view: str, address: str, request: gr.Request
    ) -> tuple:
        """Opens what the address of the page says, for a new visitor the first example."""
        session = self._session(request)
        for sentence in visit(session, address):
            gr.Warning(sentence, title="Not kept")
        return self.layout.show_everything(session, Display(overlay, opacity, view))

    def prepare(
        self, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Iterator[tuple]:
        """Fills in thumbnails, curve and map while the paths are decoded in the background.

        Each path comes with its film, by which the browser shows it without asking again.
        """
        session, display = self._session(request), Display(overlay, opacity, view)
        unchanged = tuple(gr.skip() for _ in self.layout.shown)
        sent: set[str] = set()
        paths, ready, drawn_for, told_at = session.paths, -1, None, 0.0
        unchanged_ends = tuple(gr.skip() for _ in [*self.layout.ends[1:], *self.layout.films])
        while paths is not None and paths is session.paths:
            finished, now = paths.finished, paths.ready
            if now != ready:
                ready, shown = now, unchanged
                if session.path(session.moved) is not None and drawn_for != session.moved:
                    drawn_for = session.moved
                    shown = self.layout.show(session, display)
                films = self.layout.show_films(session, sent)
                yield (*shown, *self.layout.show_ends(session), *films)
                told_at = time.monotonic()
            elif time.monotonic() - told_at > TELL:
                yield (*unchanged, heading(session), *unchanged_ends)
                told_at = time.monotonic()
            if finished:
                break
            paths.news(ready)
        if ready < 0:
            yield (*unchanged, gr.skip(), *unchanged_ends)

    # -- moving -----------------------------------------------------------------------------

    def move(
        self,
        g: float,
        h1: float,
        h2: float,
        h3: float,
        h4: float,
        h5: float,
        h6: float,
        h7: float,
        h8: float,
        w1: float,
        w2: float,
        w3: float,
        w4: float,
        overlay: str,
        opacity: float,
        view: str,
        request: gr.Request,
    ) -> tuple:
        """Moves along g, h1 to h8 and w1 to w4 together; the first value holds the numbers."""
        session, display = self._session(request), Display(overlay, opacity, view)
        session.display = display
        given = (g, h1, h2, h3, h4, h5, h6, h7, h8, w1, w2, w3, w4)
        alphas = dict(zip(SLIDERS, given, strict=True))
        if session.move(alphas) is None:  # a newer position came meanwhile
            return self._unmoved()
        return self.layout.show(session, display)

    def draw_in_full(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Draws the position in full, once no newer one comes, where a move drew it quickly."""
        session = self._session(request)
        session.display = session.display or (overlay, opacity, view)
        frame = session.draw_in_full()
        if frame is None:  # what was chosen meanwhile holds: another map or view
            return self._unmoved()
        return self.layout.show(session, Display(*session.display))

    def to_flip(
        self,
        direction: str,
        overlay: str,
        opacity: float,
        view: str,
        target: str,
        request: gr.Request,
    ) -> tuple:
        """Moves one direction to its counterfactual, the others to 0.

        `target` says how convincing it is to be: "0" (just flipped), "0.25" (75 %), "0.45" (95 %),
        any margin beyond the threshold up to "0.5", or "strongest".
        """
        session = self._session(request)
        frame, flips = session.to_flip(direction, margin_of(target))
        if frame is None:
            return self._unmoved(len(SLIDERS))
        if not flips:
            gr.Info(f"The prediction does not flip along {direction}: this is the nearest point.")
        elif target != STRONGEST and not convincing(session, float(target)):
            gr.Info(f"No picture along {direction} is as convincing: this is the one that is most.")
        shown = self.layout.show(session, Display(overlay, opacity, view))
        return (*shown, *self.layout.positions(session))

    def reset_all(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Puts every slider back to 0."""
        session = self._session(request)
        if session.move({}, session.moved) is None:
            return self._unmoved(len(SLIDERS))
        shown = self.layout.show(session, Display(overlay, opacity, view))
        return (*shown, *self.layout.positions(session))

    def _unmoved(self, others: int = 0) -> tuple:
        """Values that leave `shown`, and as many others, as they are."""
        return tuple(gr.skip() for _ in range(len(self.layout.shown) + others))

    # -- looking closer ---------------------------------------------------------------------

    def heatmap(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Draws the map: `bb_lig`, `cells`, `difference` or `none`, at an opacity in [0, 1].

        `cells` asks the classifier about 512 images, once for each position.
        """
        session, display = self._session(request), Display(overlay, opacity, view)
        if session.opened is None:
            raise GCDError("There is nothing to map yet: open an image first.")
        if overlay == "cells":
            session.cells_now()
        session.display = display
        if overlay == "bb_lig" and len(session.alphas) > 1:
            session.line_now()
        elif overlay == "bb_lig" and session.alphas:
            session.path_now(session.moved)
        return self._mapped(session, display)

    def fade(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Draws the map again at another opacity; what is not known yet is not asked for."""
        session, display = self._session(request), Display(overlay, opacity, view)
        if session.opened is None:
            return gr.skip(), gr.skip()
        session.display = display
        return self._mapped(session, display)

    def follow(self, overlay: str, opacity: float, view: str, request: gr.Request) -> tuple:
        """Draws what a move left open: the line along several directions, the map of cells.

        Only where asking the classifier is free, and of cells, where their map is chosen.
        """
        session = self._session(request)
        unchanged = gr.skip(), gr.skip(), gr.skip()
        session.display = session.display or (overlay, opacity, view)
        news = False
        if len(session.alphas) > 1 and session.line() is None and not session.price("bb_lig"):
            news = session.line_now() is not None
        if overlay == "cells" and session.heat("cells") is None and not session.price("cells"):
            news |= session.cells_now() is not None
        # What was chosen meanwhile holds: another map or view.
        if not news or session.display[0] != overlay:
            return unchanged
        return (*self._mapped(session, Display(*session.display)), curve_card(session))

    def _mapped(self, session: Session, display: Display) -> tuple:
        """The map's numbers, and all pictures."""
        panel = map_panel(session, display)
        answer = payload_of(session, map=panel.picture, map_caption=panel.caption, **panel.numbers)
        return answer, pictures(session, display)

    def change_view(self, overlay: str, opacity: float, view: str, request: gr.Request) -> str:
        """Side by side, or one picture over the other with a divider to drag."""
        session, display = self._session(request), Display(overlay, opacity, view)
        session.display = display
        return pictures(session, display)
