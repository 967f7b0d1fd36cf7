"""The Compare tab: every direction's counterfactual of one image, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import gradio as gr
import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.drawing import overlay
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.walk import Path
from gcd_core.ui import charts
from gcd_core.ui.compute import Urgency
from gcd_core.ui.explore import drawn, image_tag, polite, words
from gcd_core.ui.session import Explorer, Session


def counterfactual_image(path: Path) -> Tensor:
    """The picture (1, C, H, W) with the lowest CF loss on a path."""
    return path.images[path.counterfactual : path.counterfactual + 1]


def row(name: str, path: Path) -> dict:
    """One direction's numbers."""
    i = path.counterfactual
    return {
        "direction": name,
        "flipped": bool(path.flipped),
        "alpha": float(path.alphas[i]),
        "probability": float(path.probabilities[i]),
        "lpips": float(path.distances[i]),
    }


def card(session: Session, numbers: dict, path: Path, heat: Attribution) -> str:
    """One direction's counterfactual, heat map and numbers."""
    positive = words(session)[1]
    image = drawn(counterfactual_image(path))
    heated = drawn(overlay(session.opened.image, heat.map, 0.65))
    verdict = "flips" if numbers["flipped"] else "no flip: nearest point"
    return (
        f'<article class="gcd-card gcd-direction-card {"yes" if numbers["flipped"] else "no"}">'
        f"<header><b>{escape(numbers['direction'])}</b><em>{verdict}</em></header>"
        f'<div class="pair">{image_tag(image, "counterfactual")}'
        f"{image_tag(heated, 'BB-LIG heat map')}</div>"
        f"<dl><div><dt>{escape(positive)}</dt><dd>{charts.percent(numbers['probability'])}</dd></div>"
        f"<div><dt>&alpha;</dt><dd>{charts.signed(numbers['alpha'])}</dd></div>"
        f"<div><dt>LPIPS</dt><dd>{numbers['lpips']:.3f}</dd></div></dl></article>"
    )


def waiting_card(name: str) -> str:
    return (
        f'<article class="gcd-card gcd-direction-card"><header><b>{escape(name)}</b></header>'
        '<div class="gcd-wait"><span></span>following the direction</div></article>'
    )


@torch.inference_mode()
def distances(perceptual, images: Tensor) -> list[list[float]]:
    """LPIPS between every two of N pictures (N, C, H, W), as N rows."""
    count = len(images)
    values = [[0.0] * count for _ in range(count)]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    if pairs:
        left, right = (torch.tensor(side) for side in zip(*pairs, strict=True))
        for (i, j), d in zip(pairs, perceptual(images[left], images[right]).tolist(), strict=True):
            values[i][j] = values[j][i] = d
    return values


class CompareTab:
    """The components of the tab and its one handler."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.facts = gr.JSON(visible=False)
        with gr.Row(elem_id="compare"):
            with gr.Column(elem_id="compare-cards", min_width=480):
                self.cards = gr.HTML(apply_default_css=False, elem_id="cards")
            with gr.Column(elem_id="compare-matrix", min_width=320):
                self.matrix = gr.HTML(apply_default_css=False, elem_id="matrix")
                self.again = gr.Button("Compare again", size="sm", elem_id="compare-again")

    def compare(self, request: gr.Request) -> Iterator[tuple]:
        """Every direction's counterfactual; the last answer holds all rows and the matrix."""
        session = self.explorer.session(request.session_hash)
        if session.opened is None or session.directions is None:
            raise GCDError("There is nothing to compare yet: open an image with directions first.")
        names, opened, paths = session.names, session.opened, session.paths
        rows, cards, images = [], [], []
        for name in names:
            waiting = "".join(waiting_card(n) for n in names[len(cards) :])
            if session.path(name) is None:
                yield self._answer(session, rows, [], "".join(cards) + waiting, "")
            path = session.path_now(name)
            if session.opened is not opened or session.paths is not paths:
                return
            rows.append(row(name, path))
            heat = explain_path(path, method="bb_lig")
            cards.append(card(session, rows[-1], path, heat))
            images.append(counterfactual_image(path))
        perceptual = self.explorer.domain.perceptual
        values = self.explorer.in_turn(Urgency.LIVE, distances, perceptual, torch.cat(images))
        table = (
            '<div class="gcd-card"><h3>Diversity<small>LPIPS between counterfactuals</small></h3>'
            f"{charts.matrix(names, values)}"
            '<p class="gcd-quiet">The deeper the colour, the more two directions change the '
            "picture differently.</p></div>"
        )
        yield self._answer(session, rows, values, "".join(cards), table)

    @staticmethod
    def _answer(session: Session, rows: list, values: list, cards: str, table: str) -> tuple:
        answer = {
            "label": session.label,
            "image_name": session.opened.name,
            "rows": rows,
            "lpips": values,
        }
        return answer, f'<div class="gcd-cards">{cards}</div>', table

    def bind(self, tab: gr.Tab) -> None:
        """Connects the components: the tab compares when it is opened."""
        gr.on(
            [tab.select, self.again.click],
            polite(self.compare),
            None,
            [self.facts, self.cards, self.matrix],
            api_name="compare",
            show_progress="hidden",
            concurrency_limit=None,
        )
