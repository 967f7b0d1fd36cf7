"""One direction's row on the page: its slider between its ends, and the way to its flip."""

from __future__ import annotations

import gradio as gr

STEP = 0.01  # of alpha on a slider: what is typed to two decimals stays
ROW, FOLDED = "gcd-direction", "folded"  # classes of a direction's row


class DirectionRow:
    """The components of a direction, laid out where this is made.

    Parameters
    ----------
    name : str
    alpha_max : float
        How far its slider goes, either way.
    """

    def __init__(self, name: str, alpha_max: float) -> None:
        with gr.Row(elem_classes=[ROW], elem_id=f"direction-{name}") as self.row:
            self.title = _html(f"title_{name}", "gcd-title")
            self.low = _html(f"low_{name}", "gcd-end")
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
            self.high = _html(f"high_{name}", "gcd-end")
            self.flip = gr.Button("To flip", size="sm", elem_id=f"flip-{name}", min_width=48)
            self.film = gr.HTML(
                label=f"film_{name}",
                visible="hidden",
                html_template="<i></i>",  # its value is for the page's script
                js_on_load=f"gcd.film('{name}', props, watch)",
                apply_default_css=False,
            )


def _html(label: str, css: str) -> gr.HTML:
    return gr.HTML(label=label, elem_classes=css, apply_default_css=False, min_width=44)
