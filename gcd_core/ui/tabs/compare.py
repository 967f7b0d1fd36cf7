"""The Compare tab: every direction's counterfactual of one image, and how they differ."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from functools import partial
from html import escape
from itertools import combinations
from typing import Any

import gradio as gr
import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.errors import GCDError
from gcd_core.images.drawing import overlay
from gcd_core.method.attribution import explain_path
from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.path import Path
from gcd_core.report.captions import map_meaning
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.tabs.handler import Answer, SaveButtons, Tab, connect, html
from gcd_core.ui.tabs.set_comparison import SetComparisonPanel
from gcd_core.ui.views import charts
from gcd_core.ui.views.compared import counterfactual_row, numbers_list, verdict_of
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.direction_rows import after_others
from gcd_core.ui.views.exports import COMPARISONS, save_comparison
from gcd_core.ui.views.figures import image_tag
from gcd_core.ui.views.html import caution, cautions_line
from gcd_core.ui.views.maps import completeness
from gcd_core.ui.views.payload import (
    fingerprints,
    label_names,
    premise_of,
    question_of,
    reconstruction_flips,
    target_of,
    way_of,
)
from gcd_core.ui.views.vocabulary import (
    TERMS,
    said,
    short_way,
    term,
)

FOLLOWING = said("following the way", "following the direction")
AWAITED = (
    '<p class="gcd-quiet gcd-wait-line">The ways of the open picture come here, one beside the '
    "other.</p>"
)
TELL_SECONDS = 1.0  # at least, between two answers while cards are made
# LPIPS between two counterfactuals, up to which they are called alike: this much, and half of what
# lies between either and the original, as small changes differ little however they differ.
MAX_TWIN_LPIPS, MAX_TWIN_SHARE = 0.02, 0.5


def card(
    source: Tensor,
    positive: str,
    numbers: dict[str, Any],
    path: Path,
    title: str,
    question: Question = PLAIN,
) -> str:
    """One direction's counterfactual, heat map and numbers.

    `positive` names the label's positive answer, `title` the direction, as HTML.
    """
    image = drawn(path.picture(path.counterfactual))
    heat = explain_path(path, until=path.counterfactual)
    heated = drawn(overlay(source, heat.map, 0.65))
    told = completeness(heat.completeness_error, float(heat.map.sum()))
    css, verdict = verdict_of(numbers)
    return (
        f'<article class="gcd-card gcd-direction-card {css}">'
        f"<header><b>{title}</b><em>{verdict}</em></header>"
        f'<div class="pair">{image_tag(image, "the changed picture")}'
        f"{image_tag(heated, TERMS['bb_lig'].plain)}</div>{told}"
        f"{numbers_list(numbers, positive, question)}</article>"
    )


def waiting_card(title: str, after: str = "") -> str:
    """The place of a direction whose path is being decoded, maybe after those of others."""
    return (
        '<article class="gcd-card gcd-direction-card">'
        f"<header><b>{title}</b></header>"
        f'<div class="gcd-wait"><span></span>{FOLLOWING}{after}</div></article>'
    )


def distances(rows: list[dict[str, Any]], lpips: Tensor) -> list[list[float | None]]:
    """LPIPS (k, k) between counterfactuals; None where one of the two did not flip."""
    flips = [row["flipped"] for row in rows]
    return [
        [value if flips[i] and flips[j] else None for j, value in enumerate(values)]
        for i, values in enumerate(lpips.tolist())
    ]


def twins(
    names: list[str], values: list[list[float | None]], changes: list[float]
) -> list[tuple[str, str, float]]:
    """Every two directions whose counterfactuals look alike, and the LPIPS between them.

    `changes` has the LPIPS of each to the original.
    """
    return [
        (names[i], names[j], value)
        for i, j in combinations(range(len(names)), 2)
        if (value := values[i][j]) is not None
        and value <= min(MAX_TWIN_LPIPS, MAX_TWIN_SHARE * min(changes[i], changes[j]))
    ]


def tables(
    directions: DirectionSet,
    names: list[str],
    values: list[list[float | None]],
    cosines: Tensor,
    alike: list[tuple[str, str, float]],
) -> str:
    """How different the directions are, in the pictures and in themselves, as HTML."""
    called = {name: short_way(name, directions) for name in names}
    heads, ways = list(called.values()), said("ways", "directions")
    told = "".join(
        f"<p>{called[a]} and {called[b]} change this picture alike "
        f"({said('', 'LPIPS ')}{value:.3f}).</p>"
        for a, b, value in alike
    )
    return (
        f'<div class="gcd-card"><h2>{term("diversity")}'
        f"<small>{said('', 'LPIPS between counterfactuals')}</small></h2>"
        f"{charts.matrix(heads, values)}"
        f'<p class="gcd-quiet">The deeper the colour, the more two {ways} change the '
        f"picture differently. &ndash;: one of the two does not flip it, or "
        f"the question means nothing of the original.</p>{told}</div>"
        f'<div class="gcd-card"><h2>{term("cosine")}<small>{said("", "between directions")}'
        f"</small></h2>{charts.matrix(heads, cosines.tolist(), digits=2)}"
        f'<p class="gcd-quiet">0: {said("nothing in common", "orthogonal")}. 1 or &minus;1: the '
        "same way, or its reverse.</p></div>"
    )


def one_alone() -> str:
    """Why there are no tables of one direction, as HTML."""
    ways, one = said("ways", "directions"), said("one way", "one direction")
    return (
        f'<p class="gcd-quiet">There is {one} here: no two {ways} to hold against each other.</p>'
    )


def how_far(image: OpenImage) -> str:
    """Say, as HTML, how sure each flip is to be, which no choice in Explore changes."""
    target = target_of(image)
    if target["counterfactual"] != SMALLEST:
        return ""
    wanted = escape(question_of(image).shown(target["probability"]))
    side = "more" if target["probability"] >= THRESHOLD else "less"
    return f"Wanted of each: {escape(label_names(image)[1])} {wanted} or {side}. "


def shown(head: str, cards: list[str]) -> str:
    """The cards under what must be known before them, as HTML."""
    return f'{head}<div class="gcd-cards">{"".join(cards)}</div>'


class CompareTab(Tab):
    """The components of the tab and its handlers."""

    def __init__(self, visitors: Visitors) -> None:
        super().__init__(visitors)
        self.numbers = gr.JSON(label="facts", visible=False)
        with gr.Row(elem_id="compare-do"):  # above what comes late, which pushes nothing then
            self.again = gr.Button("Compare again", size="sm", elem_id="compare-again")
            self.saves = SaveButtons("compare", COMPARISONS)
        self.sets = SetComparisonPanel(visitors)
        with gr.Row(elem_id="compare"):
            with gr.Column(elem_id="compare-cards", min_width=480):
                self.cards = html("cards", AWAITED)
            with gr.Column(elem_id="compare-matrix", min_width=320):
                self.matrix = html("matrix")

    def compare(self, request: gr.Request) -> Iterator[Answer]:
        """Every direction's counterfactual; the last answer holds all rows and the matrix."""
        session = self.session(request)
        problem, remedy = "There is nothing to compare yet", "open an image with directions first"
        image = session.open_next(problem, remedy)
        opened, sliders, names = image.opened, image.sliders, image.names
        if not names:
            raise GCDError(f"{problem}: {remedy}.")
        label, positive, i = image.label, label_names(image)[1], image.index
        before = opened.source.oracle[i] if opened.source.oracle else None
        numbers: dict[str, Any] = {"label": label, "image_name": opened.name, "rows": []}
        numbers["set"] = session.sets.used(label)
        numbers |= {"lpips": [], "reconstruction_flips": reconstruction_flips(image)}
        numbers |= {"target": target_of(image), "fingerprints": fingerprints(image)}
        known = {row["direction"]: row for row in image.compared.get("rows", [])}
        ways = said("Ways", "Directions")
        maps = f"Maps, {term('bb_lig')}: {escape(map_meaning(positive))}"
        head = f'<p class="gcd-quiet">{ways}: {escape(numbers["set"])}. {how_far(image)}{maps}.</p>'
        head += caution(opened.notice) + cautions_line(image)
        cards: list[str] = []
        images: list[Tensor] = []
        told_at = -math.inf
        for name in names:
            rest = [waiting_card(way_of(image, n)) for n in names[len(cards) :]]
            if time.monotonic() - told_at > TELL_SECONDS:  # each answer has all pictures so far
                yield self._shown(numbers, shown(head, [*cards, *rest]))
                told_at = time.monotonic()
            try:
                for first in sliders.awaited(name):
                    waiting = waiting_card(way_of(image, name), after_others(*first))
                    yield self._shown(numbers, shown(head, [*cards, waiting, *rest[1:]]))
                path = image.flips.path(name)
            except GCDError:
                if session.image is image:
                    raise
            if session.image is not image:  # another one was opened: this one's cards go
                yield {self.cards: "", self.matrix: ""}
                return
            if name not in known:
                opinion = self.service.second_opinion.of(path.counterfactual_image)
                after = opinion[i] if opinion else None
                known[name] = counterfactual_row(
                    name, path, before, after, premise_of(image, label)
                )
            numbers["rows"].append(known[name])
            told = numbers["rows"][-1], path, way_of(image, name), question_of(image)
            cards.append(card(opened.pixels, positive, *told))
            images.append(path.counterfactual_image)
        values = image.compared.get("lpips") or distances(
            numbers["rows"], self.service.distances_between(torch.cat(images))
        )
        vectors = torch.stack([image.directions[name].vector for name in names])
        cosines = F.cosine_similarity(vectors[:, None], vectors[None], dim=2)
        alike = twins(names, values, [row["lpips"] for row in numbers["rows"]])
        numbers |= {"lpips": values, "cosines": cosines.tolist(), "alike": alike}
        image.compared = numbers
        matrix = one_alone()
        if len(names) > 1:
            matrix = tables(image.directions, names, values, cosines, alike)
        yield self._shown(numbers, shown(head, cards), matrix)

    def _shown(self, numbers: dict[str, Any], cards: str, matrix: str = "") -> Answer:
        """All that the tab shows."""
        return {self.numbers: numbers, self.cards: cards, self.matrix: matrix}

    def save(self, file_format: str, request: gr.Request) -> Answer:
        """Writes the last comparison as `csv`, `json`, or with all its pictures as `zip`."""
        session = self.session(request)
        image = session.open_now("There is nothing to save yet", "compare first")
        file = save_comparison(session.folder, image, file_format)
        return {self.numbers: image.compared, self.saves.file: str(file)}

    def bind(self, tab: gr.Tab) -> None:
        """Connects the components: the tab compares when it is opened."""
        begins = partial(gr.on, [tab.select, self.again.click])
        connect(
            begins,
            self.compare,
            None,
            [self.numbers, self.cards, self.matrix],
            "compare",
            js="gcd.onceOpened",
        )
        self.saves.bind(self.save, self.numbers, "save_comparison")
        connect(tab.select, self.sets.come_back, None, self.sets.offered, js="gcd.onceOpened")
        self.sets.bind()
