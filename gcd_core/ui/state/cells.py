"""The maps of cells of one opened image: asked for when somebody looks, once for each position."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from gcd_core.errors import Cancel, Cancelled
from gcd_core.generators.base import BatchProgress
from gcd_core.method.cells import QUERIES, CellAttribution, check_budget, explain_cells
from gcd_core.ui.state.compute import Urgency
from gcd_core.ui.state.explorer import Explorer
from gcd_core.ui.state.frames import Key, key_of
from gcd_core.ui.state.hosting import CALLS_BACK, PATH, gpu
from gcd_core.ui.state.networks import BACKGROUND_BATCH
from gcd_core.ui.state.positions import Alphas

KEPT = 64  # maps of one image


class CellMaps:
    """Maps of the change from an opened image to the picture at a position, kept by position.

    Parameters
    ----------
    explorer : Explorer
    source : Tensor (1, C, H, W)
        The opened image.
    label : str
        The one that is explained.
    """

    def __init__(self, explorer: Explorer, source: Tensor, label: str) -> None:
        self.explorer, self.source, self.label = explorer, source, label
        self._kept: OrderedDict[Key, CellAttribution] = OrderedDict()
        self._nothing = nothing_moved(source)
        self._asking = threading.Lock()
        self._explain = gpu(self._explain_change, PATH)

    @property
    def price(self) -> str:
        """What a map costs, in a sentence, where the classifier is not asked before one agrees.

        Nothing is said of a classifier that runs here and may be asked as often as one likes.
        """
        if self.explorer.asks_freely:
            return ""
        return (
            f"The classifier is asked about {QUERIES} images for this map"
            f"{self.explorer.queries_left}. To ask it, choose another map and then this one."
        )

    def get(self, alphas: Alphas) -> CellAttribution | None:
        """Return the map at a position, or None where it is not made yet; at rest, an empty one."""
        return self._kept.get(key_of(alphas)) if alphas else self._nothing

    def make(
        self, image: Tensor, alphas: Alphas, wanted: Callable[[], bool]
    ) -> CellAttribution | None:
        """Return the map of the picture at a position; None where it is not wanted any more.

        Raises
        ------
        BudgetExceeded
            Where the classifier may not be asked as often; nothing is asked then.
        """
        with self._asking:
            found = self.get(alphas)
            if found is not None or not wanted():
                return found
            check_budget(self.explorer.domain.classifier, QUERIES)
            hooks = (self._give_way, Unwanted(wanted)) if CALLS_BACK else (None, None)
            try:
                found = self.explorer.in_turn(Urgency.NEXT, self._explain, image, *hooks)
            except Cancelled:
                return None
            self._kept[key_of(alphas)] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return found

    def clear(self) -> None:
        """Drop all maps."""
        self._kept.clear()

    def _give_way(self, *_: int) -> None:
        self.explorer.compute.give_way(Urgency.NEXT)

    def _explain_change(
        self, image: Tensor, progress: BatchProgress | None, cancel: Cancel | None
    ) -> CellAttribution:
        domain = self.explorer.domain
        on_cpu = self.explorer.one_thread and "cuda" not in str(domain.device)
        return explain_cells(
            domain.classifier,
            self.label,
            self.source,
            image,
            batch_size=2 * BACKGROUND_BATCH if on_cpu else None,
            progress=progress,
            cancel=cancel,
        )


class Unwanted:
    """Cancels work as soon as it is not wanted any more."""

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self._wanted = wanted

    def is_set(self) -> bool:
        """Whether to stop."""
        return not self._wanted()


def nothing_moved(source: Tensor) -> CellAttribution:
    """The map of an image (1, C, H, W) that did not change: there is nothing to ask."""
    return CellAttribution(
        map=torch.zeros(source.shape[-2:]),
        cells=torch.zeros(1),
        standard_errors=torch.zeros(1),
        lattice=torch.zeros(1, 1, dtype=torch.long),
        completeness_error=0.0,
        queries=0,
    )
