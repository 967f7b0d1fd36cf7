"""What one visitor has open: the image, the label to explain, the directions, a search."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from pathlib import Path as FilePath
from typing import Any

from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.method.attribution import Attribution
from gcd_core.method.cells import CellAttribution
from gcd_core.method.directions import DirectionSet
from gcd_core.method.perturbation import check_label
from gcd_core.method.search import Question
from gcd_core.method.settings import Settings
from gcd_core.method.walk import Path
from gcd_core.ui.engine.decoded_paths import Paths
from gcd_core.ui.engine.jobs import Search
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import Alphas, Frame, Opened, shown_names, weak_direction_names
from gcd_core.ui.session.batch_walk import BatchWalk
from gcd_core.ui.session.direction_sets import Sets
from gcd_core.ui.session.heatmaps import Maps
from gcd_core.ui.session.regions import Regions
from gcd_core.ui.session.slider_state import Moves
from gcd_core.ui.settings import UploadTally


class Session:
    """One visitor's state; nothing of it is shared, and all of it goes with the visitor.

    Each image, label and set of directions has `moves` of its own, which are put in place at once,
    when everything they begin with is there.

    Attributes
    ----------
    label : str
        The one to explain.
    directions : DirectionSet or None
        Those of the label: found, loaded, or the domain's own.
    folded : list of str
        Those of them that hardly move the classifier, as far as their proxy knows.
    example : int or None
        The number of the opened example.
    sets : Sets
        Those found or loaded.
    regions : Regions or None
        Those that were tried of the opened image.
    search : Search or None
        The visitor's last.
    compared : dict or None
        What Compare showed last, in numbers.
    wall : BatchWalk or None
        Of many images, walked last.
    display : tuple or None
        Overlay, opacity and view last chosen.
    laid_out : tuple or None
        The names and the folded ones that the page's rows were laid out for.
    folder : pathlib.Path
        For files to take home.
    uploads : UploadTally
        Of the files that were opened.
    """

    def __init__(self, service: ModelService) -> None:
        self.service = service
        self.label: str = service.domain.labels[0]
        self.directions: DirectionSet | None = None
        self.folded: list[str] = []
        self.example: int | None = None
        self.sets = Sets()
        self.moves: Moves | None = None
        self.maps: Maps | None = None
        self.regions: Regions | None = None
        self.search: Search | None = None
        self.compared: dict[str, Any] | None = None
        self.wall: BatchWalk | None = None
        self.display: tuple[str, float, str] | None = None
        self.laid_out: tuple[list[str], list[str]] | None = None
        self.last_used = time.monotonic()
        self.uploads = UploadTally(service.context.limits)
        self.folder = FilePath(tempfile.mkdtemp(prefix="gcd-", dir=service.context.folder))
        self._tickets = itertools.count(1)
        self._opening = 0
        self._lock = threading.Lock()

    # -- opening ----------------------------------------------------------------------------

    def open_image(
        self, image: Tensor, name: str, notice: str = "", fitted: str = "", aspect: float = 1.0
    ) -> Opened | None:
        """Open a visitor's own image (1, C, H, W), with a word of warning where there is one.

        `fitted` says how it was brought to a square, where it was none, and `aspect` in which shape
        it is to be seen.

        An image that is unlike the domain's own is opened too, and has a notice that says so.
        Returns None where another image was asked for meanwhile: that one is shown instead.
        """
        ticket = self._begin_opening()
        opened = self.service.open_upload(image, name, notice, fitted, aspect)
        return self._show(opened, None, ticket)

    def open_example(self, index: int) -> Opened | None:
        """Open one of the domain's examples; None where another image was asked for meanwhile."""
        ticket = self._begin_opening()
        return self._show(self.service.open_example(index), index, ticket)

    def explain(self, label: str) -> None:
        """Choose the label to explain.

        Raises
        ------
        GCDError
            Where the domain has no such label.
        """
        check_label(self.service.domain, label)
        with self._lock:
            self.label = label
            self._start_afresh(self.opened)

    def use(self, label: str, name: str) -> None:
        """Explore a set of directions: a kept one, or the domain's own by the name "bundled".

        Raises
        ------
        GCDError
            Where the domain has no such label, or no set has the name.
        """
        check_label(self.service.domain, label)
        with self._lock:
            self.sets.use(label, name)
            self.label = label
            self._start_afresh(self.opened)

    def close(self) -> None:
        """Stop this visitor's work and drop what was theirs."""
        with self._lock:
            if self.search is not None:
                self.search.cancel()
            if self.wall is not None:
                self.wall.cancel()
            self._opening = next(self._tickets)  # what is being opened comes too late
            self._leave()
            self.directions = None
            self.sets.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _begin_opening(self) -> int:
        with self._lock:
            self._opening = next(self._tickets)
            return self._opening

    def _show(self, opened: Opened, example: int | None, ticket: int) -> Opened | None:
        """Show an opened image, unless another was asked for since the ticket was drawn."""
        with self._lock:
            if ticket != self._opening:
                return None
            self.example = example
            self._start_afresh(opened)
        return opened

    def _start_afresh(self, opened: Opened | None) -> None:
        """Begin at rest with an image and the current label; the lock is held."""
        self._leave()
        self.compared = None
        found = self.sets.in_use(self.label)
        self.directions = found or self.service.ready_directions(self.label)
        self.folded = []
        if self.directions is not None:
            self.folded = weak_direction_names(self.directions, self.service.domain.alpha_max)
        if opened is None:
            return
        paths = None
        if self.directions is not None:
            if self.example is not None and found is None:
                paths = self.service.example_paths(self.example, self.label, self.directions)
            else:
                paths = self.service.paths(opened, self.directions, self.label)
        self.moves = Moves(self.service, opened, self.directions, paths)
        self.maps = Maps(self.moves, self.label)
        tried = [name for name in self.names if name not in self.folded]
        self.regions = Regions(self.service, opened, self.directions, tried, self.label)

    def _leave(self) -> None:
        if self.moves is not None and self.maps is not None:
            self.moves.leave()
            self.maps.clear()
        if self.regions is not None:
            self.regions.cancel()
        self.moves = self.maps = self.regions = None

    # -- searching --------------------------------------------------------------------------

    def start_search(self, settings: Settings) -> Search:
        """Search from the opened image, going on from a cancelled search of the same question.

        Raises
        ------
        GCDError
            Where no image is open, a search runs already, or too many wait.
        """
        with self._lock:
            opened, last = self.searchable(), self.search
            search = Search(opened.image, opened.name, self.label, settings)
            question = Question.of(self.service.domain, self.label, settings)
            if last is not None and last.answers(opened.image, question):
                search.samples = last.samples
            self.service.start_search(search)
            self.search = search
        return search

    def searchable(self) -> Opened:
        """Return the image that a search could start from; refuse as `start_search` does."""
        opened = self.opened
        if opened is None:
            raise GCDError("There is nothing to search from yet: open an image first.")
        if self.search is not None and self.search.running:
            raise GCDError("A search is running already: cancel it or wait for it to end.")
        return opened

    # -- what is open -----------------------------------------------------------------------

    @property
    def opened(self) -> Opened | None:
        """The opened image."""
        moves = self.moves
        return None if moves is None else moves.opened

    @property
    def current(self) -> Frame | None:
        """The picture where the sliders stand."""
        moves = self.moves
        return None if moves is None else moves.current

    @property
    def alphas(self) -> Alphas:
        """Where the sliders stand."""
        moves = self.moves
        return {} if moves is None else moves.alphas

    @property
    def moved(self) -> str:
        """The direction that was moved last."""
        moves = self.moves
        return next(iter(self.names), "g") if moves is None else moves.moved

    @property
    def paths(self) -> Paths | None:
        """The decoded paths of the image along the directions."""
        moves = self.moves
        return None if moves is None else moves.paths

    @property
    def names(self) -> list[str]:
        """The directions that have a slider."""
        directions = self.directions
        return [] if directions is None else shown_names(directions)

    @property
    def index(self) -> int:
        """The explained label's place among the domain's labels."""
        return self.service.domain.labels.index(self.label)

    # -- moving: see `Moves` ----------------------------------------------------------------

    def path(self, name: str) -> Path | None:
        """Return the path along a direction, or None where it is not decoded yet."""
        moves = self.moves
        return None if moves is None else moves.path(name)

    def path_now(self, name: str) -> Path:
        """Return the path along a direction, waited for."""
        return opened_moves(self, "There is no direction to follow yet").path_now(name)

    def move(self, alphas: Alphas, moved: str | None = None) -> Frame | None:
        """Go to z_sem + sum of alpha_i v_i; None where a newer position came meanwhile."""
        return opened_moves(self, "There is nothing to move yet").move(alphas, moved)

    def to_flip(self, name: str, margin: float | None) -> tuple[Frame | None, bool]:
        """Go to a direction's counterfactual; say whether the prediction flipped there."""
        return opened_moves(self, "There is no direction to follow yet").to_flip(name, margin)

    def draw_in_full(self) -> Frame | None:
        """Decode the current picture in full in a pause of moves; None where that is not needed."""
        moves = self.moves
        return None if moves is None else moves.draw_in_full()

    def heat(self, kind: str) -> Attribution | CellAttribution | Tensor | None:
        """Return the map over the picture: none, the difference (H, W), or an attribution."""
        maps = self.maps
        return None if maps is None else maps.heat(kind)

    def cells_now(self) -> CellAttribution | None:
        """Return the map of cells of the current picture; None where a newer position came."""
        maps = self.maps
        return None if maps is None else maps.cells_now()

    def line(self) -> tuple[Path, int] | None:
        """Return what is decoded of the line to the current picture, and its index on it."""
        maps = self.maps
        return None if maps is None else maps.line()

    def line_now(self) -> Path | None:
        """Return the line along several directions; None where there is none to decode."""
        maps = self.maps
        return None if maps is None else maps.line_now()

    def price(self, kind: str) -> str:
        """What a map costs, where the classifier is not asked before one agrees."""
        maps = self.maps
        return "" if maps is None else maps.price(kind)


def opened_moves(session: Session, problem: str) -> Moves:
    """The moves of a session's image; a GCDError that begins with the problem where none is."""
    if session.moves is None:
        raise GCDError(f"{problem}: open an image first.")
    return session.moves
