"""A flip that is found before its path is decoded, on the few pictures that this takes."""

from __future__ import annotations

from collections.abc import Callable

from gcd_core.method.bisection import BISECTION_STEPS
from gcd_core.method.loss import flip_sign
from gcd_core.ui.frames import Frame, alpha_grid, latent_at
from gcd_core.ui.session.slider_state import SliderState

STRIDE = 3  # slider stops between two pictures of the first look


def first_flip(sliders: SliderState, name: str, convinces: Callable[[Frame], bool]) -> float | None:
    """Find the smallest change along a direction that convinces, by the fast decoder.

    Toward the flip every third slider stop is drawn until one convinces, then those before it, and
    the last step is halved as `bisect` halves it. So the whole path has the same answer, wherever
    the probability does not turn back between two stops. Each picture is a task of its own: those
    of several visitors are drawn in turn, or together.

    Parameters
    ----------
    sliders : SliderState
        Of the image. A move that comes meanwhile ends the search.
    name : str
        The direction.
    convinces : callable
        Whether a picture flips as clearly as is wanted.

    Returns
    -------
    float or None
        The position; None where no picture convinces, or the sliders went on meanwhile.
    """
    service, wanted = sliders.service, sliders.still_wanted()
    labels, label = service.domain.labels, sliders.directions.label
    sign = flip_sign(sliders.opened.source.probabilities[labels.index(label)])
    stops = [
        0.0,
        *sorted((a for a in alpha_grid(service.domain.alpha_max) if a * sign > 0), key=abs),
    ]

    def met(alpha: float) -> bool:
        alphas = {name: round(alpha, 4)}
        frame = sliders.known(alphas)
        if frame is None and wanted():
            frame = service.decode_live(
                latent_at(sliders.opened, sliders.directions, alphas), sliders.opened
            )
            sliders.keep(alphas, frame)
        return frame is not None and convinces(frame)

    end = next((i for i in range(STRIDE, len(stops), STRIDE) if met(stops[i])), None)
    if end is None:
        return None
    end = next((i for i in range(end - STRIDE + 1, end) if met(stops[i])), end)
    near, far = stops[end - 1], stops[end]
    for _ in range(BISECTION_STEPS):
        middle = (near + far) / 2
        near, far = (near, middle) if met(middle) else (middle, far)
    return far if wanted() else None
