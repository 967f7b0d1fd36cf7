"""The region tool: paint a part of the picture, and see whether it alone changes the answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from gcd_core.bridge.paths import bridge_of
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.images.drawing import BRIGHTNESS, at_most, difference, outlined, overlay, to_pil
from gcd_core.images.limits import ImageError
from gcd_core.method.region import check_region
from gcd_core.ui.frames import CARD_SIDE
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.regions import GCD, METHODS, RCSB, Tried
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.handler import Answer, Tab, connect, html, told_while_it_lasts
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.figures import figure, image_tag
from gcd_core.ui.views.maps import line_words
from gcd_core.ui.views.payload import (
    doubts_about,
    label_names,
    premise_missing,
    question_of,
    verdict,
    way_of,
)
from gcd_core.ui.views.vocabulary import opinion_words, said, term, told
from gcd_core.wording import Worded, percent_of_all, signed

MAX_MASK_LENGTH = 400_000  # letters of a mask's data address
PAINTER = (
    ("brush", "Brush", "Paint where the picture may change"),
    ("eraser", "Eraser", "Take away from what is painted"),
    ("box", "Box", "Draw a box"),
    ("invert", "Outside", "What is painted and what is not change places"),
    ("undo", "Undo", "Undo the last stroke"),
    ("clear", "Clear", "Start afresh"),
)


def painter() -> str:
    """The tools to paint with, as HTML; the page's script does the painting."""
    buttons = "".join(
        f'<button type="button" data-paint="{name}" title="{title}">{text}</button>'
        for name, text, title in PAINTER
    )
    return (
        f'<div class="gcd-painter"><b>Region</b>{buttons}<label>Size <input type="range" min="2" '
        'max="40" value="12" name="brush-size"></label><span class="share"></span></div>'
    )


def why_no_bridge(domain: Domain) -> str:
    """Why a region cannot be changed by a bridge here, in a sentence; nothing where it can."""
    try:
        bridge_of(domain)
    except GCDError as error:
        return Worded(
            f"A region is changed along the directions. {error}",
            "Paint on a picture above where it may change: the ways are tried in that place alone.",
        )
    return ""


def mask_file(address: object) -> bytes:
    """The file in a data address of a picture.

    Raises
    ------
    GCDError
        Where it is none.
    """
    text = address if isinstance(address, str) else ""
    if not text:
        raise GCDError("Nothing is painted yet: paint where the picture may change.")
    head, _, body = text.partition(";base64,")
    if len(text) > MAX_MASK_LENGTH or not head.startswith("data:image/"):
        raise ImageError("The mask is no picture: send it as a data address of a PNG.")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise ImageError("The mask's data address is damaged: paint it again.") from None


def mask_address(mask: Tensor) -> str:
    """The data address of a mask (S, S), bool, white where it marks."""
    return drawn(to_pil(mask[None].float()))


def card(image: OpenImage, tried: Tried) -> str:
    """One region as HTML: original and result with its outline, difference, verdict, curve."""
    opened, path = image.opened, tried.path
    question = question_of(image)
    positive, before = label_names(image)[1], opened.source.probabilities[image.index]
    original = at_most(opened.pixels, CARD_SIDE)
    changed = at_most(path.picture(path.counterfactual), CARD_SIDE)
    moved = difference(path.counterfactual_image, path.source)
    change = pil_to_tensor(overlay(original, moved, 0.8, BRIGHTNESS))[None] / 255
    points = list(zip(path.alphas.tolist(), path.probabilities.tolist(), strict=True))
    here = points[path.counterfactual]
    curve = charts.curve(
        points, [], here, float(path.alphas.abs().max()), label_names(image), "", question
    )
    doubts = doubts_about(tried, question, premise_missing(image))
    css = ("doubtful" if doubts else "yes") if path.counterfactual_flips else "no"
    shown_pictures = [
        (original, "Original", f"{positive} {question.shown(before)}"),
        (changed, "Changed", f"{positive} {question.shown(here[1])}"),
        (change, "What changed", "yellow brighter, green darker"),
    ]
    pictures = "".join(
        figure(title, escape(note), image_tag(drawn(outlined(one, tried.mask)), title))
        for one, title, note in shown_pictures
    )
    opinion = ""
    if tried.oracle is not None:
        shown = " &rarr; ".join(charts.percent(one, question) for one in tried.oracle)
        opinion = f"{term('oracle')} {opinion_words(tried.opinion)} <b>{shown}</b>"
    numbers = f"{term('lpips')} <b>{float(path.distances[path.counterfactual]):.3f}</b>"
    if path.direction_name != RCSB:  # more of one way than the whole picture may have needed
        numbers += f"</span><span>{said('strength', 'alpha')} <b>{signed(here[0])}</b>"
    below = f'<p class="numbers"><span>{numbers}</span><span>{opinion}</span></p>'
    warning = "".join(f'<p class="gcd-caution">{escape(doubt)}</p>' for doubt in doubts)
    about = f"{percent_of_all(tried.share)} of the picture, {chosen_way(image, tried)}"
    return (
        f'<article class="gcd-card gcd-region {css}"><h2><span>{escape(tried.name)}</span>'
        f"<small><span>{about}</span></small></h2>"
        f"<p>{escape(verdict(tried, before, positive, question))}</p>"
        f'{warning}<div class="trio gcd-pictures" style="--shape: {opened.aspect:.4f}">{pictures}'
        f"</div>{below}{curve}</article>"
    )


def chosen_way(image: OpenImage, tried: Tried) -> str:
    """Return what changed a region as HTML: the way that was taken, and why that one."""
    name, count = tried.path.direction_name, len(tried.asked)
    names = name.split(" + ")
    walked = line_words(names, image.directions) if len(names) > 1 else way_of(image, name)
    if name == RCSB:
        return walked
    if tried.path.any_flip and len(names) > 1:
        return f"{walked}, taken together"
    if tried.path.any_flip:
        return f"{walked}, the first {said('way', 'direction')} that flips it"
    if count == 1:
        return walked
    return f"{walked}, of {count} {said('ways', 'directions')} the one that goes farthest"


def region_numbers(image: OpenImage, tried: Tried) -> dict[str, Any]:
    """One region in numbers, for machines."""
    path, i = tried.path, tried.path.counterfactual
    return {
        "name": tried.name,
        "share": tried.share,
        "flipped": path.counterfactual_flips and not premise_missing(image),
        "method": RCSB if path.direction_name == RCSB else GCD,
        "direction": path.direction_name,
        "tried": tried.asked,
        "alpha": float(path.alphas[i]),
        "before": path.source_probability,
        "after": float(path.probabilities[i]),
        "lpips": float(path.distances[i]),
        "redrawing": tried.redrawing,
        "oracle": tried.oracle,
        "opinion": tried.opinion,
        "doubts": doubts_about(tried, question_of(image), premise_missing(image)),
        "label": image.label,
    }


class RegionPanel(Tab):
    """The tool's components and handlers.

    Parameters
    ----------
    visitors : Visitors
    """

    def __init__(self, visitors: Visitors) -> None:
        super().__init__(visitors)
        self.size = self.domain.generator.image_size
        self._reader = self.service.context.reader
        self.numbers = gr.JSON(label="facts", visible=False)
        self.mask = gr.Textbox("", label="mask", visible=False)
        black_box_only = why_no_bridge(self.domain)
        with gr.Column(elem_id="region"):
            with gr.Row(elem_id="region-tools"):
                gr.HTML(painter(), js_on_load="gcd.painter(element)", apply_default_css=False)
                self.method = gr.Radio(
                    list(METHODS),
                    value=GCD,
                    label="method",
                    show_label=False,
                    container=False,
                    visible=not black_box_only,
                    elem_id="region-method",
                )
                self.suggest = gr.Button("Suggest", size="sm", elem_id="suggest-region")
                self.attempt = gr.Button(
                    "Try this region", size="sm", variant="primary", elem_id="try-region"
                )
                self.cancel = gr.Button("Cancel", size="sm", elem_id="cancel-region")
                self.forget = gr.Button("Forget all", size="sm", elem_id="forget-regions")
            if black_box_only:
                gr.HTML(f'<p class="gcd-note">{told(black_box_only)}</p>', elem_id="region-note")
            self.suggested = gr.HTML(
                label="suggested",
                html_template="<i></i>",  # its value is for the page's script
                visible="hidden",
                js_on_load="gcd.suggested(props, watch)",
            )
            self.cards = html("regions")

    # -- handlers -------------------------------------------------------------------------------

    def _image(self, request: gr.Request) -> tuple[Session, OpenImage]:
        session = self.session(request)
        return session, session.open_now("There is nothing to paint on yet")

    def paint_region(self, mask: str, request: gr.Request) -> Answer:
        """Checks a mask: a PNG as data address, white where the picture may change."""
        self._image(request)
        marked = self._reader.mask(mask_file(mask), self.size)
        check_region(self.domain, marked)
        return {self.numbers: {"share": float(marked.double().mean())}}

    def suggest_region(self, request: gr.Request) -> Answer:
        """Answers with the cells that matter most to the change along the moved direction."""
        session, image = self._image(request)
        mask = image.regions.suggest(image.sliders.path_now(image.sliders.moved))
        address = mask_address(mask)
        numbers = {"share": float(mask.double().mean()), "mask": address}
        return {
            self.numbers: session.sent_pictures.without_pictures(numbers),
            self.suggested: address,
        }

    def try_region(self, mask: str, method: str, request: gr.Request) -> Iterator[Answer]:
        """Changes the picture inside the mask alone, by directions (gcd) or by the bridge (rcsb).

        The last answer holds what came of it.
        """
        session, image = self._image(request)
        yield from self.attempts(session, image, mask, method)

    def attempts(
        self, session: Session, image: OpenImage, mask: str, method: str
    ) -> Iterator[Answer]:
        """Answers of a region that is tried by a method; as of `Regions.start`."""
        marked = self._reader.mask(mask_file(mask), self.size)
        job, seen = image.regions.start(marked, method), 0
        while job.running:
            now = job.changed_since(seen, 1.0)
            if now != seen and job.running and job.progress is not None:
                done, total = job.progress
                detail = f"step {min(done + 1, total)} of {total} at most"
                bar = charts.meter(done / total, "Trying the region", detail)
                yield {self.cards: bar + self._cards(session, image)}
            seen = now
        if job.state != "done":
            yield {self.cards: self._cards(session, image)}
            if job.error:
                raise GCDError(job.error)
            return
        numbers = region_numbers(image, job.result)
        every = [region_numbers(image, tried) for tried in image.regions.kept]
        yield {
            self.numbers: numbers | {"regions": every},
            self.cards: self._cards(session, image),
        }

    def cancel_region(self, request: gr.Request) -> None:
        """Ends what is being tried."""
        self._image(request)[1].regions.cancel()

    def forget_regions(self, request: gr.Request) -> Answer:
        """Drops the regions that were tried of this image."""
        session, image = self._image(request)
        image.regions.forget()
        return {self.cards: self._cards(session, image)}

    def _cards(self, session: Session, image: OpenImage) -> str:
        """The regions that were tried of an image, side by side; "" once another one is open."""
        return self.tried(image) if session.image is image else ""

    @staticmethod
    def tried(image: OpenImage) -> str:
        """The region that was tried last of an image, and the others folded behind it."""
        cards = [card(image, tried) for tried in reversed(image.regions.kept)]
        if not cards:
            return ""
        earlier = "".join(cards[1:])
        if earlier:
            count = "The region" if len(cards) == 2 else f"{len(cards) - 1} regions"
            earlier = (
                f'<details class="gcd-earlier"><summary>{count} tried before</summary>'
                f'<div class="gcd-cards">{earlier}</div></details>'
            )
        return f'<div class="gcd-cards">{cards[0]}</div>{earlier}'

    def bind(self) -> None:
        """Connects the components."""
        connect(self.mask.input, self.paint_region, self.mask, self.numbers, "paint_region")
        suggested = [self.numbers, self.suggested]
        asked = connect(
            self.suggest.click,
            self.suggest_region,
            None,
            suggested,
            "suggest_region",
            js="gcd.begun('suggest-region')",
        )
        told_while_it_lasts(asked, "suggest-region")
        tried = connect(
            self.attempt.click,
            self.try_region,
            [self.mask, self.method],
            [self.numbers, self.cards],
            "try_region",
            js="gcd.triesRegion",
        )
        told_while_it_lasts(tried, "try-region")
        connect(self.cancel.click, self.cancel_region, None, None, "cancel_region")
        connect(self.forget.click, self.forget_regions, None, self.cards, "forget_regions")
