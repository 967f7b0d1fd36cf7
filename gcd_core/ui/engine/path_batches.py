"""The paths that visitors wait for, decoded in common batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from gcd_core.errors import Cancel, Cancelled
from gcd_core.method.directions import Direction
from gcd_core.method.path import Path
from gcd_core.ui.engine.decoded_paths import DecodedPath
from gcd_core.ui.engine.models import PathsRequest, SecondOpinion
from gcd_core.ui.engine.sprite_sheets import path_to_sprites
from gcd_core.ui.engine.worker import Runner, Urgency
from gcd_core.ui.frames import Opened


class Awaited(NamedTuple):
    """Paths that a visitor waits for, and whether that is over."""

    request: PathsRequest
    cancel: Cancel


class AllCancelled:
    """Is set once nobody waits for any of several things."""

    def __init__(self, cancels: Sequence[Cancel]) -> None:
        self._cancels = cancels

    def is_set(self) -> bool:
        """Whether all of them are set."""
        return all(cancel.is_set() for cancel in self._cancels)


class PathBatches:
    """Decodes paths in the background; those of several visitors that wait, in common batches.

    Parameters
    ----------
    runner : Runner
        Where and when the models run.
    walk_all : callable
        `Networks.walk_all`, maybe elsewhere.
    second_opinion : SecondOpinion
        Asked about what the full decoder draws.
    """

    def __init__(
        self,
        runner: Runner,
        walk_all: Callable[..., list[list[Path]]],
        second_opinion: SecondOpinion,
    ) -> None:
        self._runner, self.walk_all, self._opinion = runner, walk_all, second_opinion
        self._works = [partial(self._decode, fast) for fast in (False, True)]

    def play(
        self,
        opened: Opened,
        directions: Sequence[Direction],
        label: str,
        cancel: Cancel,
        fast: bool = False,
    ) -> Iterator[DecodedPath]:
        """Decode the paths along directions, and yield each with what the browser plays of it.

        The oracle is not asked about what the fast decoder draws. Raises Cancelled if `cancel` is
        set meanwhile.
        """
        awaited = Awaited(PathsRequest(opened, directions, label), cancel)
        paths = self._runner.run_alike(Urgency.PATH, self._works[fast], awaited)
        if paths is None:
            raise Cancelled
        for path in paths:
            opinions = [] if fast else self._opinion.of_path(path)
            yield DecodedPath(path, path_to_sprites(path), opinions, fast)

    def _decode(self, fast: bool, awaited: list[Awaited]) -> list[list[Path] | None]:
        """Return the paths of each request; None for one that nobody waits for any more."""
        wanted = [not one.cancel.is_set() for one in awaited]
        chosen = [one for one, yes in zip(awaited, wanted, strict=True) if yes]
        if not chosen:
            return [None] * len(awaited)
        hooks = self._runner.hooks(Urgency.PATH, AllCancelled([one.cancel for one in chosen]))
        try:
            found = iter(self.walk_all([one.request for one in chosen], fast, **hooks))
        except Cancelled:
            return [None] * len(awaited)
        return [next(found) if yes else None for yes in wanted]
