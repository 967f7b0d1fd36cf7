"""What the Explore tab answers beside pictures: numbers alone, and files to take home."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr

from gcd_core.errors import GCDError
from gcd_core.files import written_whole
from gcd_core.images.drawing import save_gif
from gcd_core.report.captions import captions_of
from gcd_core.ui.addresses import data_address
from gcd_core.ui.numbers import facts_of, numbers_of
from gcd_core.ui.state.positions import Alphas
from gcd_core.ui.state.session import Session
from gcd_core.ui.state.visitors import Visitors
from gcd_core.ui.take_home import save_path, save_report


def read_alphas(given: object, names: list[str]) -> Alphas:
    """Alphas by direction, as a client sent them.

    Raises
    ------
    GCDError
        Where they are no numbers, or of directions that are not there.
    """
    if not isinstance(given, dict):
        raise GCDError('Give the alphas by direction, such as {"g": 1.5}.')
    for name, alpha in given.items():
        if name not in names:
            raise GCDError(f"There is no direction {name!r}: choose of {', '.join(names)}.")
        if type(alpha) not in (int, float) or not math.isfinite(alpha):
            raise GCDError(f"The alpha of {name} is {alpha!r:.40}: give a number.")
    return {name: float(alpha) for name, alpha in given.items()}


class ExploreAnswers:
    """Handlers that leave the page as it is; each finds its visitor by the request.

    Parameters
    ----------
    visitors : Visitors
    """

    def __init__(self, visitors: Visitors) -> None:
        self.visitors, self.domain = visitors, visitors.explorer.domain

    def _session(self, request: gr.Request) -> Session:
        return self.visitors.session(request.session_hash)

    # -- in numbers alone -------------------------------------------------------------------

    def facts(self, request: gr.Request) -> dict[str, Any]:
        """Answers with what is on screen, in numbers alone: no picture, no HTML."""
        return facts_of(self._session(request))

    def go(self, alphas: dict[str, float], request: gr.Request) -> dict[str, Any]:
        """Moves to alphas by direction, such as {"g": 1.5}, the others to 0; answers as `facts`."""
        session = self._session(request)
        session.move(read_alphas(alphas, session.names))
        return facts_of(session)

    # -- taking home ------------------------------------------------------------------------

    def make_sweep(self, request: gr.Request) -> tuple:
        """Writes the moved direction from end to end as an animation."""
        session = self._session(request)
        path = session.path_now(session.moved)
        file = session.folder / f"sweep-{session.label}-{session.moved}.gif"
        frames = path.images[path.is_walked]
        with written_whole(file) as place:  # another click may be reading it
            save_gif(frames, place, size=256, captions=captions_of(self.domain, path))
        animation = data_address(file.read_bytes(), "gif")
        return numbers_of(session, frames=len(frames), gif=animation), str(file)

    def report(self, file_format: str, request: gr.Request) -> tuple:
        """Writes what is on screen to a page to take home, as `pdf` or `png`."""
        session = self._session(request)
        file = save_report(session, file_format)
        return numbers_of(session, report=file_format), str(file)

    def save_path(self, request: gr.Request) -> tuple:
        """Writes the path along the moved direction as CSV: alpha, probabilities, LPIPS, loss."""
        session = self._session(request)
        file = save_path(session)
        return numbers_of(session), str(file)
