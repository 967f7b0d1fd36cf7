"""Where the current picture changed most, and the answer where it changes in that place alone."""

from __future__ import annotations

import threading
from typing import NamedTuple

from gcd_core.method.changes import Part, confined, parts_of
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import Frame
from gcd_core.ui.session.slider_state import SliderState

Probabilities = tuple[float, ...]  # the classifier's, one for each label, in the domain's order


class _Known(NamedTuple):
    """What is known of one picture."""

    frame: Frame
    parts: tuple[Part, ...]
    alone: Probabilities | None = None

    @property
    def place(self) -> str | None:
        """The one place where it changed; None where it changed all over."""
        places = {part.place for part in self.parts}
        return places.pop() if len(places) == 1 else None


class ChangedPlace:
    """In words where the current picture changed most; and whether that place alone flips it.

    Parameters
    ----------
    sliders : SliderState
        Says which picture is the current one.
    """

    def __init__(self, service: ModelService, sliders: SliderState) -> None:
        self._service, self._sliders = service, sliders
        self._known: _Known | None = None  # of the newest picture
        self._asking = threading.Lock()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Where it changed most and how, as of `parts_of`; worked out once a picture."""
        return self._of(self._sliders.current).parts

    @property
    def alone(self) -> Probabilities | None:
        """The classifier's answer to the change in that place alone; None if not asked."""
        return self._of(self._sliders.current).alone

    def ask(self) -> bool:
        """Ask the classifier about the change in that place alone, one query; once a picture.

        Returns whether something new is known. Nothing is asked while the picture is not decoded in
        full, nor where it changed all over.

        Raises
        ------
        GCDError
            If the classifier does not answer.
        BudgetExceeded
            If its budget does not allow the query.
        """
        frame, alphas, arrived = self._sliders.position()
        if not alphas or frame.live or not arrived:
            return False
        with self._asking:
            known = self._of(frame)
            if known.place is None or known.alone is not None:
                return False
            domain = self._service.domain
            source = self._sliders.opened.composition().source_for(domain.classifier)
            image = confined(source, frame.asked(domain.classifier), known.place, domain.places)
            alone = self._service.in_turn(Urgency.MAP, self._service.ask, image)[0]
            self._known = known._replace(alone=alone)
            return True

    def _of(self, frame: Frame) -> _Known:
        """What is known of a picture."""
        known = self._known
        if known is None or known.frame is not frame:
            source, places = self._sliders.opened.image, self._service.domain.places
            known = self._known = _Known(frame, parts_of(source, frame.image, places))
        return known
