"""Where the current picture changed most, and the answers to that place alone and to the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gcd_core.method.changes import Part, confined, parts_of
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import Frame
from gcd_core.ui.session.current_picture import AboutCurrentPicture, Probabilities
from gcd_core.ui.session.slider_state import SliderState


class _Known(NamedTuple):
    """What is known of one picture."""

    frame: Frame
    parts: tuple[Part, ...]
    alone: Probabilities | None = None
    rest: Probabilities | None = None

    @property
    def place(self) -> str | None:
        """The one place where it changed; None where it changed all over."""
        places = {part.place for part in self.parts}
        return places.pop() if len(places) == 1 else None


class ChangedPlace(AboutCurrentPicture):
    """In words where the current picture changed most; and whether that is what flips it."""

    def __init__(self, service: ModelService, sliders: SliderState) -> None:
        super().__init__(service, sliders)
        self._known: _Known | None = None  # of the newest picture

    @property
    def parts(self) -> tuple[Part, ...]:
        """Where it changed most and how, as of `parts_of`; worked out once a picture."""
        return self._of(self._sliders.current).parts

    @property
    def alone(self) -> Probabilities | None:
        """The classifier's answer to the change in that place alone; None if not asked."""
        return self._of(self._sliders.current).alone

    @property
    def rest(self) -> Probabilities | None:
        """The classifier's answer to the change everywhere but there; None if not asked."""
        return self._of(self._sliders.current).rest

    def ask(self) -> bool:
        """Ask the classifier about the change in that place alone, and about all but that.

        Two queries, once a picture: the place is what flips it only where the rest does not.

        Returns whether something new is known. Nothing is asked while the picture is not decoded in
        full, nor where it changed all over.

        Raises
        ------
        GCDError
            If the classifier does not answer.
        BudgetExceeded
            If its budget does not allow the queries.
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
            changed = frame.asked(domain.classifier).to(source)
            there = confined(source, changed, known.place, domain.places)
            alone, rest = self._answers(torch.cat([there, changed + source - there]).clamp(0, 1))
            self._known = known._replace(alone=alone, rest=rest)
            return True

    def _of(self, frame: Frame) -> _Known:
        """What is known of a picture."""
        known = self._known
        if known is None or known.frame is not frame:
            source, places = self._sliders.opened.image, self._service.domain.places
            known = self._known = _Known(frame, parts_of(source, frame.image, places))
        return known
