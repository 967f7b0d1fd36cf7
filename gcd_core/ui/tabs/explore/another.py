"""What the button for another counterfactual does."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from gcd_core.method.another import NothingLeft
from gcd_core.ui.session.regions import WITHOUT
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.tabs.explore.handlers import margin_of
from gcd_core.ui.tabs.explore.layout import ExploreLayout
from gcd_core.ui.tabs.handler import Answer, Tab, unless_left
from gcd_core.ui.views.payload import other_payload, payload_of

NONE_LEFT = (
    "What the other ways change beside what was shown already hardly moves the answer. The picture "
    "stays as it is; Undo all begins anew."
)
READ_WITHIN = 15  # seconds that this is seen; asked again it does not pile up


class AnotherWay(Tab):
    """The handler.

    Parameters
    ----------
    visitors : Visitors
    layout : ExploreLayout
        Whose components it answers with.
    """

    def __init__(self, visitors: Visitors, layout: ExploreLayout) -> None:
        super().__init__(visitors)
        self.layout = layout

    def another_way(
        self,
        mask: str,
        overlay: str,
        opacity: float,
        view: str,
        target: str,
        request: gr.Request,
    ) -> Iterator[Answer]:
        """Shows another counterfactual, without what moved most in the one that is shown.

        Asked again it does without that one too. With a mask, as of `paint_region`, the picture
        stays as it is there, and what comes of that is told as of `try_region`. `target` is as of
        `to_flip`. At most 64 images are asked about. An image that is being opened is waited for.
        Where nothing is changed yet, what is shown is another than the flip along one direction.
        """
        session, layout = self.session(request, overlay, opacity, view), self.layout
        image = session.open_next("There is nothing to change yet")
        if mask:
            for answer in layout.region.attempts(session, image, mask, WITHOUT):
                facts = answer.pop(layout.region.numbers, None)
                yield answer | ({} if facts is None else {layout.numbers: facts})
            return
        frame = None
        with unless_left(session, image):
            if not image.sliders.alphas:
                image.flips.to_flip(image.sliders.moved, margin_of(target))
            try:
                frame = image.others.go_on(margin_of(target))
            except NothingLeft:  # an answer, no fault
                gr.Info(NONE_LEFT, title="No other way", duration=READ_WITHIN)
        if frame is None or session.image is not image:
            yield {}
            return
        numbers = {layout.numbers: payload_of(session, another=other_payload(image))}
        yield layout.show(session) | layout.positions(image) | numbers
