"""What follows a move by itself, where asking the classifier is free."""

from __future__ import annotations

import gradio as gr

from gcd_core.ui.session.display import SAME_TONE
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.tabs.explore.layout import ExploreLayout
from gcd_core.ui.tabs.handler import Answer, Tab
from gcd_core.ui.views.curve import curve_card, misses_picture
from gcd_core.ui.views.payload import flipped


class AfterMoves(Tab):
    """Handlers of what a picture at rest leaves to be asked and drawn.

    Parameters
    ----------
    visitors : Visitors
    layout : ExploreLayout
        Whose components they answer with.
    """

    def __init__(self, visitors: Visitors, layout: ExploreLayout) -> None:
        super().__init__(visitors)
        self.layout = layout

    def follow(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Draws what a move left open: the line along several directions, the map of cells.

        Only where asking the classifier is free, and of cells, where their map is chosen.
        """
        session, answer, new_maps = self.session(request), Answer(), []
        image = session.image
        if image is None:
            return answer
        maps = image.maps
        line = len(image.sliders.alphas) > 1 and maps.line() is None
        if line and not maps.price("bb_lig") and maps.line_now() is not None:
            answer[self.layout.curve] = curve_card(image)
            new_maps.append("bb_lig")
        cells = session.display.overlay == "cells" and maps.get("cells") is None
        if cells and not maps.price("cells") and maps.cells_now() is not None:
            new_maps.append("cells")
        if session.image is not image:  # another one is open: nothing is said of this one
            return {}
        if session.display.overlay in new_maps:  # another map may have been chosen meanwhile
            answer |= self.layout.show_map(session, image)
        return answer

    def keep_tone(self, overlay: str, opacity: float, view: str, request: gr.Request) -> Answer:
        """Asks about a flip without its brightness, in its place alone and in all but that.

        Only where that is free.

        About what does not flip only without its brightness, where the visitor chose to see it so.
        """
        session = self.session(request)
        image = session.image
        if image is None or not image.sliders.alphas or not self.service.classifier_is_free:
            return {}
        if image.sliders.current.live:
            return {}
        new = flipped(image) and image.changed_place.ask()
        wanted = flipped(image) or session.display.detail == SAME_TONE
        if wanted and image.exposure.get() is None:
            new = image.exposure.ask() is not None or new
        return self.layout.show(session) if new and session.image is image else {}

    def follow_in_full(
        self, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Draws the curve in full where that of quick drawings misses the picture, when idle.

        Only where asking the classifier is free.
        """
        session = self.session(request)
        image = session.image
        if image is None or not self.service.classifier_is_free or not misses_picture(image):
            return {}
        drawn = image.flips.line_here_in_full() is not None and session.image is image
        return {self.layout.curve: curve_card(image)} if drawn else {}
