"""Other counterfactuals of one opened image: each does without what was shown before."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import torch

from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.another import Another, check_budget, queries_at_most
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import crosses
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import Alphas, Frame, rounded
from gcd_core.ui.session.flips import DECIMALS
from gcd_core.ui.session.slider_state import SliderState

FARTHER = (1.0, 1.1, 1.2, 1.35)  # times as far, until the full decoder's picture convinces too


@dataclass(frozen=True)
class Other:
    """What a search for another counterfactual came to, drawn in full.

    Attributes
    ----------
    avoided : tuple of str
        The directions that are held at 0.
    alphas : dict of str to float
        Where the sliders went.
    queries : int
        Images that the classifier was asked about.
    flips : bool
        Whether the prediction changes there.
    """

    avoided: tuple[str, ...]
    alphas: Alphas
    queries: int
    flips: bool


class Others:
    """The search for other counterfactuals of an image.

    Parameters
    ----------
    sliders : SliderState
        They move to what is found.
    label : str
        The label that is explained.
    names : list of str
        The directions that may change.
    """

    def __init__(self, sliders: SliderState, label: str, names: list[str]) -> None:
        self._sliders, self._label, self._names = sliders, label, names
        self._avoided: list[str] = []  # the directions that were avoided so far
        self._last: Other | None = None

    def clear(self) -> None:
        """Nothing is avoided any more."""
        self._avoided, self._last = [], None

    @property
    def here(self) -> Other | None:
        """What was found last, where the sliders still stand there."""
        _, alphas, _ = self._sliders.position()
        return self._last if self._last is not None and alphas == self._last.alphas else None

    @property
    def queries(self) -> int:
        """How many images the next search asks the classifier about at most."""
        directions, avoid = self._task()
        return queries_at_most(directions, avoid) + len(FARTHER)

    def go_on(self, margin: float | None) -> Frame | None:
        """Find another counterfactual than what is shown, and move the sliders there.

        The direction that moved most is held at 0, and those that were for the others before.

        Parameters
        ----------
        margin : float or None
            How far the probability must lie beyond the threshold, 0 to 0.5; None is the domain's.

        Returns
        -------
        Frame or None
            The picture there, flipped or nearest to it; None if the sliders went on meanwhile.

        Raises
        ------
        GCDError
            If nothing is changed, or no direction is left.
        BudgetExceeded
            If the classifier's budget does not allow `queries`; nothing is asked then.
        """
        sliders, service = self._sliders, self._sliders.service
        if not sliders.position()[1]:
            raise GCDError("There is no change yet to do without: press *To flip* first.")
        directions, avoid = self._task()
        check_budget(service.domain.classifier, self.queries)
        intended, wanted = sliders.intend(), sliders.still_wanted()
        cancel = SimpleNamespace(is_set=lambda: not wanted())
        task = sliders.opened, directions, self._label, avoid
        try:
            found: Another = service.in_batches(
                Urgency.NEXT, service.another, *task, margin=margin, cancel=cancel
            )
            frame, alphas, drawn = self._in_full(found)
        except Cancelled:
            return None
        at = service.domain.labels.index(self._label)
        flips = crosses(sliders.opened.source.probabilities[at], frame.probabilities[at])
        other = Other(tuple(avoid), alphas, found.queries + drawn, flips)
        moved = sliders.move(alphas, strongest(alphas), intended=intended)
        if moved is not None:
            self._avoided, self._last = avoid, other
        return moved

    def _task(self) -> tuple[DirectionSet, list[str]]:
        """The directions that may be moved or avoided, and the names of the latter."""
        sliders, avoid = self._sliders, list(self._avoided)
        _, alphas, _ = sliders.position()
        if alphas and strongest(alphas) not in avoid:
            avoid.append(strongest(alphas))
        return only(sliders.directions, [*self._names, *avoid]), avoid

    def _in_full(self, found: Another) -> tuple[Frame, Alphas, int]:
        """Draw what was found in full; where it does not convince as it did, a little farther.

        Also returns where, and how many pictures were drawn.
        """
        path, drawn = found.path, 0
        convincing = bool(path.is_convincing[path.counterfactual])
        index = self._sliders.service.domain.labels.index(self._label)
        for times in FARTHER:
            alphas = self._held({name: times * alpha for name, alpha in found.alphas.items()})
            frame = self._sliders.frame_in_full(alphas)
            drawn += 1
            beyond = (frame.probabilities[index] - path.threshold) * path.sign
            if not convincing or beyond >= path.margin:
                break
        return frame, alphas, drawn

    def _held(self, alphas: Alphas) -> Alphas:
        """A position that the sliders can take."""
        most = self._sliders.service.domain.alpha_max
        held = {
            name: round(max(-most, min(most, alpha)), DECIMALS) for name, alpha in alphas.items()
        }
        return rounded(held, self._sliders.names)


def strongest(alphas: Alphas) -> str:
    """The direction that moved most; there must be one."""
    return max(alphas, key=lambda name: abs(alphas[name]))


def only(directions: DirectionSet, names: list[str]) -> DirectionSet:
    """The directions of a set that are named, in its order."""
    rows = [i for i, name in enumerate(directions.names) if name in names]
    vectors = directions.vectors[rows] if rows else torch.empty(0, 0)
    return DirectionSet([directions.names[i] for i in rows], vectors, directions.metadata)
