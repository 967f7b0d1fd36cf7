"""The Compare tab: every direction's counterfactual of one image, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.drawing import overlay
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.walk import Path
from gcd_core.perceptual import pairwise_distances
from gcd_core.ui import charts
from gcd_core.ui.addresses import drawn
from gcd_core.ui.html import image_tag
from gcd_core.ui.messages import polite
from gcd_core.ui.numbers import label_names
from gcd_core.ui.state.compute import Urgency
from gcd_core.ui.state.frames import Opened
from gcd_core.ui.state.visitors import Visitors
from gcd_core.wording import signed


def row(name: str, path: Path) -> dict[str, Any]:
    """One direction's numbers, for machines."""
    i = path.counterfactual
    return {
        "direction": name,
        "flipped": bool(path.flipped),
        "alpha": float(path.alphas[i]),
        "probability": float(path.probabilities[i]),
        "lpips": float(path.distances[i]),
    }


def card(
    opened: Opened, positive: str, numbers: dict[str, Any], path: Path, heat: Attribution
) -> str:
    """One direction's counterfactual, heat map and numbers; `positive` names the label's."""
    image = drawn(path.counterfactual_image)
    heated = drawn(overlay(opened.image, heat.map, 0.65))
    verdict = "flips" if numbers["flipped"] else "no flip: nearest point"
    return (
        f'<article class="gcd-card gcd-direction-card {"yes" if numbers["flipped"] else "no"}">'
        f"<header><b>{escape(numbers['direction'])}</b><em>{verdict}</em></header>"
        f'<div class="pair">{image_tag(image, "counterfactual")}'
        f"{image_tag(heated, 'BB-LIG heat map')}</div>"
        f"<dl><div><dt>{escape(positive)}</dt><dd>{charts.percent(numbers['probability'])}</dd></div>"
        f"<div><dt>&alpha;</dt><dd>{signed(numbers['alpha'])}</dd></div>"
        f"<div><dt>LPIPS</dt><dd>{numbers['lpips']:.3f}</dd></div></dl></article>"
    )


def waiting_card(name: str) -> str:
    """The place of a direction whose path is being decoded."""
    return (
        f'<article class="gcd-card gcd-direction-card"><header><b>{escape(name)}</b></header>'
        '<div class="gcd-wait"><span></span>following the direction</div></article>'
    )


def answer(
    label: str,
    opened: Opened,
    rows: list[dict[str, Any]],
    values: list[list[float]],
    cards: str,
    table: str,
) -> tuple[dict[str, Any], str, str]:
    """What the tab shows, after its numbers for machines; `values` are the matrix's rows."""
    numbers = {"label": label, "image_name": opened.name, "rows": rows, "lpips": values}
    return numbers, f'<div class="gcd-cards">{cards}</div>', table


class CompareTab:
    """The components of the tab and its one handler.

    Parameters
    ----------
    visitors : Visitors
    """

    def __init__(self, visitors: Visitors) -> None:
        self.visitors, self.explorer = visitors, visitors.explorer
        self.numbers = gr.JSON(visible=False)
        with gr.Row(elem_id="compare"):
            with gr.Column(elem_id="compare-cards", min_width=480):
                self.cards = gr.HTML(apply_default_css=False, elem_id="cards")
            with gr.Column(elem_id="compare-matrix", min_width=320):
                self.matrix = gr.HTML(apply_default_css=False, elem_id="matrix")
                self.again = gr.Button("Compare again", size="sm", elem_id="compare-again")

    def compare(self, request: gr.Request) -> Iterator[tuple]:
        """Every direction's counterfactual; the last answer holds all rows and the matrix."""
        session = self.visitors.session(request.session_hash)
        opened, names, paths = session.opened, session.names, session.paths
        if opened is None or session.directions is None:
            raise GCDError("There is nothing to compare yet: open an image with directions first.")
        label, positive = session.label, label_names(session)[1]
        rows: list[dict[str, Any]] = []
        cards: list[str] = []
        images: list[Tensor] = []
        for name in names:
            waiting = "".join(waiting_card(n) for n in names[len(cards) :])
            if session.path(name) is None:
                yield answer(label, opened, rows, [], "".join(cards) + waiting, "")
            try:
                path = session.path_now(name)
            except GCDError:
                if session.paths is paths:
                    raise
                return  # another image was opened meanwhile: nobody asks about this one any more
            if session.opened is not opened or session.paths is not paths:
                return
            rows.append(row(name, path))
            heat = explain_path(path, method="bb_lig")
            cards.append(card(opened, positive, rows[-1], path, heat))
            images.append(path.counterfactual_image)
        perceptual = self.explorer.domain.perceptual
        values = self.explorer.in_turn(
            Urgency.LIVE, pairwise_distances, torch.cat(images), perceptual
        ).tolist()
        table = (
            '<div class="gcd-card"><h3>Diversity<small>LPIPS between counterfactuals</small></h3>'
            f"{charts.matrix(names, values)}"
            '<p class="gcd-quiet">The deeper the colour, the more two directions change the '
            "picture differently.</p></div>"
        )
        yield answer(label, opened, rows, values, "".join(cards), table)

    def bind(self, tab: gr.Tab) -> None:
        """Connects the components: the tab compares when it is opened."""
        gr.on(
            [tab.select, self.again.click],
            polite(self.compare),
            None,
            [self.numbers, self.cards, self.matrix],
            api_name="compare",
            show_progress="hidden",
            concurrency_limit=None,
        )
