"""What is asked about the current picture, once for each."""

from __future__ import annotations

import threading

from torch import Tensor

from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.session.slider_state import SliderState

Probabilities = tuple[float, ...]  # the classifier's, one for each label, in the domain's order


class AboutCurrentPicture:
    """Knows which picture is the current one, and asks the classifier about what is made of it.

    Parameters
    ----------
    service : ModelService
    sliders : SliderState
        Says which picture is the current one.
    """

    def __init__(self, service: ModelService, sliders: SliderState) -> None:
        self._service, self._sliders = service, sliders
        self._asking = threading.Lock()  # held while something is asked, which is asked once

    def _answers(self, images: Tensor) -> list[Probabilities]:
        """Ask about images (N, C, h, w) in [0, 1]: N queries.

        Raises a GCDError if the classifier does not answer, BudgetExceeded if it may not.
        """
        return self._service.in_turn(Urgency.MAP, self._service.ask, images)
