"""What one visitor has: an open image, the label to explain, sets of directions, a search."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath

import torch
from torch import Tensor

from gcd_core.domains.cautions import of_another_age
from gcd_core.errors import GCDError
from gcd_core.images.picture import Picture
from gcd_core.images.reading import NOT_A_RADIOGRAPH, fit_words, small_words
from gcd_core.method.directions import DirectionSet
from gcd_core.method.perturbation import check_label
from gcd_core.method.samples import Question
from gcd_core.method.settings import BALL, Settings
from gcd_core.ui.engine.jobs import Search
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import SLIDERS, Opened, shown_names, weak_direction_names
from gcd_core.ui.session.batch_walk import BatchWalk
from gcd_core.ui.session.direction_sets import BUNDLED, Sets
from gcd_core.ui.session.display import Display, SentPictures
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.uploads import UploadTally

__all__ = ["Search", "Session"]  # the tabs import both from here


class Session:
    """The state of one visitor. Nothing of it is shared, and all of it goes with the visitor."""

    label: str  # the label to explain
    directions: DirectionSet  # the set in use for it; without names where there is none
    weak_directions: list[str]  # those that hardly move the classifier, as their proxy knows it

    def __init__(self, service: ModelService) -> None:
        self.service = service
        self.sets = Sets()  # of directions, which the visitor found or loaded
        self.image: OpenImage | None = None  # what is open
        self.search: Search | None = None  # the visitor's last search
        self.wall: BatchWalk | None = None  # the visitor's last walk of many images
        self.display = Display(service.leading_map)  # how the visitor looks at the pictures
        self.target = ""  # of the last flip, as the page names it; "" before
        self.sent_pictures = SentPictures()  # what the visitor's page has
        # The directions that the page shows rows for, and which of these rows are folded away.
        self.laid_out: tuple[list[str], list[str]] = (list(SLIDERS), [])
        self.last_used = time.monotonic()
        self.return_key: str | None = None  # which only the browser's tab knows, to come back by
        self.is_away = False
        self.uploads = UploadTally(service.context.limits)  # counts the files that were sent
        # Holds the files to download.
        self.folder = FilePath(tempfile.mkdtemp(prefix="gcd-", dir=service.context.folder))
        self._tickets = itertools.count(1)
        self._newest = self._shown = 0  # tickets: of what was asked for, and of what is open
        self._under_way: set[int] = set()
        self._news = threading.Condition()
        self._choose(service.domain.labels[0])

    # -- opening ----------------------------------------------------------------------------

    def open_file(self, file: FilePath) -> OpenImage | None:
        """Open a file that the visitor sent, and delete it. Return as `open_image` does.

        Raises a GCDError if the visitor sent too much, or the file is not an image.
        """
        with self._opening() as ticket:
            data = file.read_bytes()
            file.unlink(missing_ok=True)  # a visitor's image is kept in the session only
            self.uploads.take(len(data))
            picture, domain = self.service.read(data), self.service.domain
            own, shape = domain.generator, picture.shape
            told = [NOT_A_RADIOGRAPH] if own.channels == 1 and picture.photograph else []
            told += [of_another_age(picture.age, domain.ages), small_words(shape, own.image_size)]
            notice = " ".join(filter(None, [*told, *picture.notes]))
            if fitted := fit_words(shape, domain.fit):
                fitted += f" from {shape[0]} \N{MULTIPLICATION SIGN} {shape[1]} pixels"
            aspect = shape[0] / shape[1] if domain.fit == "stretch" else 1.0
            name = picture.name(file.name)
            opened = self.service.open_upload(picture.picture, name, notice, fitted, aspect)
            if (shown := self._show(opened, None, ticket)) is not None and not shown.is_far:
                shown.flips.look_ahead(domain.margin)  # most often it is asked for at once
            return shown

    def open_image(
        self,
        image: Tensor | Picture,
        name: str,
        notice: str = "",
        fitted: str = "",
        aspect: float = 1.0,
    ) -> OpenImage | None:
        """Open a visitor's own image; notice, fitted and aspect are those of `Opened`.

        Returns
        -------
        OpenImage or None
            None if another image was asked for meanwhile: that one is shown instead.
        """
        with self._opening() as ticket:
            opened = self.service.open_upload(image, name, notice, fitted, aspect)
            return self._show(opened, None, ticket)

    def open_example(self, index: int) -> OpenImage | None:
        """Open one of the domain's examples, by its number from 0. Return as `open_image` does."""
        with self._opening() as ticket:
            return self._show(self.service.examples.open(index), index, ticket)

    def explain(self, label: str) -> None:
        """Choose the label to explain. Raises a GCDError if the domain has no such label."""
        check_label(self.service.domain, label)
        with self._news:
            self._choose(label)

    def use(self, label: str, name: str) -> None:
        """Choose a label and the set of directions for it; "bundled" is the domain's own.

        Raises a GCDError if the domain has no such label, or no set has this name.
        """
        check_label(self.service.domain, label)
        with self._news:
            self.sets.use(label, name)
            self._choose(label)

    def show_noted(self, name: str, directions: DirectionSet) -> None:
        """Put a set with another note in the place of itself; what was decoded along it stays."""
        with self._news:
            self.sets.note(directions.label, name, directions)
            if (self.label, self.sets.used(self.label)) == (directions.label, name):
                self.directions = directions
                if self.image is not None:
                    self.image.directions = directions

    def set_away(self, away: bool) -> None:
        """The page has gone, or one comes that has nothing yet of what there is.

        Meanwhile what was asked for goes on, and no more paths are decoded.
        """
        with self._news:
            self.is_away, self.last_used = away, time.monotonic()
            self.sent_pictures, self.laid_out = SentPictures(), (list(SLIDERS), [])
            if self.image is not None:
                self.image.set_away(away)

    def close(self) -> None:
        """Stop the visitor's work, and drop everything that was theirs."""
        with self._news:
            if self.search is not None:
                self.search.cancel()
            if self.wall is not None:
                self.wall.cancel()
            self._newest = next(self._tickets)  # what is still being opened is not shown
            if self.image is not None:
                self.image.leave(self.is_away)
                self.image.drop_paths()
            self.image = None
            self.sets.clear()
            self._news.notify_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _opening(self) -> Iterator[int]:
        """Draw a ticket for an image, which counts as being opened inside."""
        with self._news:
            ticket = self._newest = next(self._tickets)
            self._under_way.add(ticket)
        try:
            yield ticket
        finally:
            with self._news:
                self._under_way.remove(ticket)
                self._news.notify_all()

    def _show(self, opened: Opened, example: int | None, ticket: int) -> OpenImage | None:
        """Make an opened image the open one, unless its ticket is not the newest."""
        with self._news:
            if ticket != self._newest:
                return None
            self._shown, self.display = ticket, self.display.for_another_image()
            return self._begin(opened, example)

    def _choose(self, label: str) -> None:
        """Explain a label along its set in use; an open image begins anew. The lock is held."""
        own = self.sets.in_use(label) or self.service.ready_directions(label)
        none = DirectionSet([], torch.empty(0, 0), {"label": label})
        self.label, self.directions = label, own or none
        alpha_max = self.service.domain.alpha_max
        self.weak_directions = weak_direction_names(self.directions, alpha_max)
        if self.image is not None:
            self._begin(self.image.opened, self.image.example)

    def _begin(self, opened: Opened, example: int | None) -> OpenImage:
        """Put a new open image in the place of the one before. The lock is held."""
        before = self.image
        if before is not None:
            before.leave(self.is_away)
        self.image = OpenImage(
            self.service,
            opened,
            self.label,
            self.directions,
            self.weak_directions,
            self.sets.used(self.label) == BUNDLED,
            example,
            before,
            self.is_away,
        )
        return self.image

    # -- what is open -----------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """The directions that have a slider."""
        return shown_names(self.directions)

    def open_now(self, problem: str, remedy: str = "open an image first") -> OpenImage:
        """Return the open image.

        Raises a GCDError if there is none: the problem and the remedy are its sentence.
        """
        if self.image is None:
            raise GCDError(f"{problem}: {remedy}.")
        return self.image

    def open_next(self, problem: str, remedy: str = "open an image first") -> OpenImage:
        """Return the open image; if another one is being opened, wait for it and return that.

        Raises a GCDError as `open_now`, or if the image that is waited for cannot be opened.
        """
        with self._news:
            waits = self._newest in self._under_way
            self._news.wait_for(lambda: self._newest not in self._under_way)
            if waits and self._shown != self._newest:
                raise GCDError("The image that this was meant for could not be opened.")
            return self.open_now(problem, remedy)

    # -- searching --------------------------------------------------------------------------

    def start_search(self, settings: Settings) -> Search:
        """Search; go on from a cancelled search of the same question.

        The ball lies around the open image. Otherwise directions are tried on that one first, if
        one is open. Raises a GCDError as `check_searchable`, or if too many searches wait.
        """
        with self._news:
            self.check_searchable(settings.sampling)
            opened, last = None if self.image is None else self.image.opened, self.search
            image, name = (None, "") if opened is None else (opened.walked, opened.name)
            search = Search(image, name, self.label, settings, opened=opened)
            question = Question.of(self.service.domain, self.label, settings)
            if last is not None and last.answers(image, question):
                search.samples = last.samples
            self.service.start_search(search)
            self.search = search
        return search

    def check_searchable(self, sampling: str) -> None:
        """Raise a GCDError if a ball has no image, or a search of this visitor runs already."""
        if sampling == BALL:
            self.open_now(
                "There is no picture to search around yet",
                "open an image first, or search what the images are like",
            )
        if self.search is not None and self.search.running:
            raise GCDError(Search.busy)

    def keep_found(self, search: Search, directions: DirectionSet) -> str:
        """Keep a set that a search found, once, and return its name."""
        return self.sets.keep_once(search.label, search.set_name(directions), directions)

    def use_so_far(self) -> None:
        """Use the g that the last search offers so far, and keep it; a GCDError without one."""
        search = self.search
        if search is None or search.usable is None:
            raise GCDError(
                "There is no g to use yet: a search offers one after 64 answers, unless it looks "
                "around one picture."
            )
        self.use(search.label, self.keep_found(search, search.usable))
