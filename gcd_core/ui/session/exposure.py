"""How much of the current change is brightness and contrast, and the answer without that."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.method.exposure import ToneCurve, exposure_share, fit_tone_curve
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import Frame
from gcd_core.ui.session.current_picture import AboutCurrentPicture, Probabilities
from gcd_core.ui.session.slider_state import SliderState


class SameTone(NamedTuple):
    """The current picture with the source's brightness and contrast kept.

    Attributes
    ----------
    picture : Tensor (1, C, H, W)
        In [0, 1], at the opened picture's own size.
    probabilities : tuple of float
        The classifier's, one for each label, in the domain's order.
    """

    picture: Tensor
    probabilities: Probabilities


class Exposure(AboutCurrentPicture):
    """What brightness and contrast of the whole picture have to do with the current change."""

    def __init__(self, service: ModelService, sliders: SliderState) -> None:
        super().__init__(service, sliders)
        self._fitted: tuple[Frame, ToneCurve, float] | None = None  # of the newest picture
        self._asked: tuple[Frame, SameTone] | None = None  # likewise

    @property
    def share(self) -> float:
        """The share of the change that they explain, 0 to 1; see `exposure_share`."""
        return self._fit(self._sliders.current)[1]

    def get(self) -> SameTone | None:
        """The picture without them, as far as the classifier was asked about it."""
        asked = self._asked
        return asked[1] if asked is not None and asked[0] is self._sliders.current else None

    def ask(self) -> SameTone | None:
        """Ask the classifier about the current picture without them, one query; or return `get`.

        The picture is decoded in full first. None if a newer move came meanwhile.

        Raises
        ------
        GCDError
            If nothing moved yet, or the classifier does not answer.
        BudgetExceeded
            If its budget does not allow the query.
        """
        self._sliders.draw_in_full()
        frame, alphas, arrived = self._sliders.position()
        if not alphas:
            raise GCDError("Nothing is changed yet: move a slider first.")
        if frame.live or not arrived:
            return None
        with self._asking:
            found = self.get()
            if found is not None:
                return found
            opened, classifier = self._sliders.opened, self._service.domain.classifier
            curve, _ = self._fit(frame)
            source = opened.composition().source_for(classifier)
            image = curve.without(source, frame.asked(classifier))
            found = SameTone(curve.without(opened.pixels, frame.picture), self._answers(image)[0])
            self._asked = frame, found
            return found

    def _fit(self, frame: Frame) -> tuple[ToneCurve, float]:
        """The curve of a picture, and its share."""
        fitted = self._fitted
        if fitted is None or fitted[0] is not frame:
            image = self._sliders.opened.image
            curve = fit_tone_curve(image, frame.image)
            fitted = self._fitted = frame, curve, exposure_share(image, frame.image, curve)
        return fitted[1], fitted[2]
