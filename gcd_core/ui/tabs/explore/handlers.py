"""What the Explore tab does: handlers between its components and a visitor's session.

Their names, parameters and docstrings are those of the page's API.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

import gradio as gr

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.images.drawing import save_gif
from gcd_core.method.composition import check_detail
from gcd_core.method.counterfactual import SMALLEST, check_counterfactual
from gcd_core.report.captions import captions_of
from gcd_core.ui.frames import SLIDERS, Alphas, Frame
from gcd_core.ui.session.deep_link import restore
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.display import FROM_PAGE, SAME_TONE
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.layout import ExploreLayout, show_choices
from gcd_core.ui.tabs.handler import Answer, Tab, unless_left
from gcd_core.ui.views.data_urls import data_address
from gcd_core.ui.views.direction_rows import heading
from gcd_core.ui.views.exports import save_path, save_report
from gcd_core.ui.views.html import pictures
from gcd_core.ui.views.payload import payload_of, state_payload
from gcd_core.ui.views.vocabulary import told


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


def came_back(visitors: Visitors, page: re.Match[str] | None, request: gr.Request) -> bool:
    """Whether a page, as `FROM_PAGE` found it, is of a browser tab that had a picture open."""
    if page is None or not page["key"]:
        return False
    return visitors.come_back(request.session_hash, page["key"]).image is not None


class ExploreAnswers(Tab):
    """Handlers that leave what is shown as it is.

    Parameters
    ----------
    visitors : Visitors
    layout : ExploreLayout
    """

    def __init__(self, visitors: Visitors, layout: ExploreLayout) -> None:
        super().__init__(visitors)
        self.layout = layout

    # -- in numbers alone -------------------------------------------------------------------

    def facts(self, request: gr.Request) -> dict[str, Any]:
        """Answers with what is on screen, in numbers alone: no picture, no HTML."""
        return state_payload(self.session(request))

    def go(self, alphas: dict[str, float], request: gr.Request) -> dict[str, Any]:
        """Moves to alphas by direction, such as {"g": 1.5}, the others to 0; answers as `facts`."""
        session = self.session(request)
        image = session.open_now("There is nothing to move yet")
        image.sliders.move(read_alphas(alphas, image.names))
        return state_payload(session)

    # -- taking home ------------------------------------------------------------------------

    def make_sweep(self, file_format: str, words: str, request: gr.Request) -> Answer:
        """Writes the moved direction from end to end as an animation, a `gif`.

        `words` are "plain" or "expert", as of `report`.
        """
        if file_format != "gif":
            raise GCDError(f"A sweep is written as gif, not as {file_format!r}.")
        session = self.session(request)
        image = session.open_next("There is no direction to follow yet")
        path = image.flips.line_in_full({image.sliders.moved: 1.0})
        file = session.folder / f"sweep-{image.label}-{path.direction_name}.gif"
        frames = [path.picture(k) for k in path.is_walked.nonzero().flatten().tolist()]
        captions = captions_of(self.domain, path, words, image.directions)
        side = min(max(256, *frames[0].shape[-2:]), 512)
        with atomic_write(file) as place:  # another click may be reading it
            save_gif(frames, place, size=side, captions=captions)
        animation = data_address(file.read_bytes(), "gif")
        return self._file(session, file, frames=len(frames), gif=animation)

    def report(self, file_format: str, words: str, request: gr.Request) -> Answer:
        """Writes what is on screen to pages to take home, as `pdf` or `png`.

        `words` are "plain" for a reader who knows no word of the field, or "expert".
        """
        session = self.session(request)
        return self._file(session, save_report(session, file_format, words), report=file_format)

    def save_path(self, request: gr.Request) -> Answer:
        """Writes the line through the picture as CSV: alpha, probabilities, LPIPS, loss."""
        session = self.session(request)
        return self._file(session, save_path(session))

    def _file(self, session: Session, file: FilePath, **more: object) -> Answer:
        """A file to take home, and numbers."""
        layout = self.layout
        return {layout.numbers: payload_of(session, **more), layout.report_file: str(file)}


TELL_SECONDS = 5.0  # after which who waits for paths is told anew how many go before
STRONGEST = "strongest"  # of the targets of a flip; the others are margins


def go_to_flip(image: OpenImage, direction: str, margin: float | None) -> Frame | None:
    """Go to a flip as `Flips.to_flip` does, and say so where the picture is there already."""
    before = dict(image.sliders.alphas)
    frame, _ = image.flips.to_flip(direction, margin)
    if frame is not None and before == image.sliders.alphas:
        gr.Info("The picture is there already.", duration=4)
    return frame


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


class ExploreHandlers(Tab):
    """Handlers that change what is shown.

    An event sends overlay, opacity and view with it, which the session keeps. An event that the
    page sends by itself after another one does not change them: the visitor may have chosen others
    meanwhile.

    Parameters
    ----------
    visitors : Visitors
    layout : ExploreLayout
        Whose components the handlers answer with.
    """

    def __init__(self, visitors: Visitors, layout: ExploreLayout) -> None:
        super().__init__(visitors)
        self.layout = layout

    # -- opening ----------------------------------------------------------------------------

    def open_image(
        self, image: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Opens an uploaded file; the answer's first value says what was found."""
        session = self.session(request, overlay, opacity, view)
        if image is None:
            raise GCDError("No image came with the request: choose a file to open.")
        shown = session.open_file(FilePath(image))
        if shown is not None and shown.opened.notice:
            gr.Warning(told(shown.opened.notice), title="Unusual image")
        return self.layout.show_everything(session)

    def open_example(
        self, example: int, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Opens one of the domain's examples, by its number from 0."""
        session = self.session(request, overlay, opacity, view)
        session.open_example(int(example))
        return self.layout.show_everything(session)

    def explain(
        self, label: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Chooses the label to explain."""
        session = self.session(request, overlay, opacity, view)
        session.explain(label)
        return self.layout.show_everything(session)

    def use_bundled(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Goes back from directions that were found or loaded to the domain's own."""
        session = self.session(request, overlay, opacity, view)
        session.use(session.label, BUNDLED)
        return self.layout.show_everything(session)

    def arrive(
        self, overlay: str, opacity: float, view: str, address: str, request: gr.Request
    ) -> Answer:
        """Opens what the address of the page says, for a new visitor the first example.

        The page ends the address with `#page:` and the key of its browser tab: whoever comes back
        with it finds what was open, and how it was looked at.
        """
        page = FROM_PAGE.search(address)
        chosen = () if came_back(self.visitors, page, request) else (overlay, opacity, view)
        session = self.session(request, *chosen)
        if page is not None:
            session.sent_pictures.begin()
        for sentence in restore(session, FROM_PAGE.sub("", address)):
            gr.Warning(sentence, title="Not kept")
        return self.layout.show_everything(session) | show_choices(self.layout, session)

    def prepare(
        self, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Iterator[Answer]:
        """Fills in thumbnails, curve and map while the paths are decoded in the background.

        Each path comes with its film, by which the browser shows it without asking again. A page
        that takes answers after its heartbeat was cut off is there, and its paths are decoded on.
        """
        session, layout = self.session(request, overlay, opacity, view), self.layout
        sent: set[str] = set()
        image, ready, drawn_for, told_at, taken = session.image, -1, None, 0.0, 0
        while image is not None and self.shows(image, session, request):
            taken = self.taken(taken, session, request)
            paths, moved, answer = image.paths, image.sliders.moved, Answer()
            finished, now = paths.finished, paths.arrivals
            if now != ready:
                ready, answer = now, layout.show_ends(session) | layout.show_films(image, sent)
                if paths.get(moved) is not None and drawn_for != moved:
                    drawn_for = moved
                    answer |= layout.show(session)
            elif finished or taken or time.monotonic() - told_at > TELL_SECONDS:
                answer[layout.heading] = heading(session)
            if not self.shows(image, session, request):
                break  # nothing is said of this one
            if answer:
                yield answer
                told_at = time.monotonic()
            if finished:
                break
            paths.news(ready)
        if not told_at or session.image is not image:
            yield {}  # Gradio sends the last answer once more: it must not be of another image

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
    ) -> Answer:
        """Moves along g, h1 to h8 and w1 to w4 together; the first value holds the numbers."""
        session = self.session(request, overlay, opacity, view)
        image = session.open_now("There is nothing to move yet")
        given = (g, h1, h2, h3, h4, h5, h6, h7, h8, w1, w2, w3, w4)
        if image.sliders.move(dict(zip(SLIDERS, given, strict=True))) is None:
            return {}  # a newer position came meanwhile
        return self.layout.show(session)

    def draw_in_full(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Draws the position in full, once no newer one comes, where a move drew it quickly."""
        session = self.session(request)
        image = session.image
        if image is None or image.sliders.draw_in_full() is None:
            return {}
        return self.layout.show(session)

    def to_flip(
        self,
        direction: str,
        overlay: str,
        opacity: float,
        view: str,
        target: str,
        request: gr.Request,
    ) -> Answer:
        """Moves one direction to its counterfactual, the others to 0.

        `target` says how convincing it is to be: "0" (just flipped), "0.25" (75 %), "0.45" (95 %),
        any margin beyond the threshold up to "0.5", or "strongest".
        """
        session = self.session(request, overlay, opacity, view)
        image, margin = session.open_next("There is no direction to follow yet"), margin_of(target)
        session.target = target
        with unless_left(session, image):
            frame = go_to_flip(image, direction, margin)
        if session.image is not image or frame is None:
            return {}
        return self.layout.show(session) | self.layout.positions(image)

    def reset_all(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Puts every slider back to 0."""
        session = self.session(request, overlay, opacity, view)
        image = session.open_now("There is nothing to move yet")
        image.others.clear()
        if image.sliders.move({}, image.sliders.moved) is None:
            return {}
        return self.layout.show(session) | self.layout.positions(image)

    # -- looking closer ---------------------------------------------------------------------

    def heatmap(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Draws the map: `bb_lig`, `cells`, `difference` or `none`, at an opacity in [0, 1].

        `cells` asks the classifier about 512 images, once for each position.
        """
        session = self.session(request)
        image = session.open_next("There is nothing to map yet")
        if overlay == "cells":
            image.maps.cells_now()  # where that is refused, the map before stays chosen
        session = self.session(request, overlay, opacity, view)
        with unless_left(session, image):
            if overlay == "bb_lig" and len(image.sliders.alphas) > 1:
                image.maps.line_now()
            elif overlay == "bb_lig" and image.sliders.alphas:
                image.sliders.path_now(image.sliders.moved)
        return self.layout.show_map(session, image) if session.image is image else {}

    def fade(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Draws the map again at another opacity; what is not known yet is not asked for."""
        session = self.session(request, overlay, opacity, view)
        return {} if session.image is None else self.layout.show_map(session, session.image)

    def change_view(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Side by side, or one picture over the other with a divider to drag."""
        session = self.session(request, overlay, opacity, view)
        return {self.layout.pictures: pictures(session)}

    def change_drawing(self, detail: str, request: gr.Request) -> Answer:
        """Shows the change in the picture itself (`source`), as it was `decoded`, or `same-tone`.

        The last keeps the picture's brightness and contrast, and asks the classifier once what it
        says of that.
        """
        session = self.session(request)
        if detail == SAME_TONE:
            session.open_now("There is nothing to change yet").exposure.ask()
        else:
            check_detail(detail)
        session.display = session.display._replace(detail=detail)
        return self.layout.show(session)

    def send_pictures(self, request: gr.Request) -> Answer:
        """Sends all pictures anew to a page that lacks one."""
        session = self.session(request)
        session.sent_pictures.begin()
        return {self.layout.pictures: pictures(session)}
