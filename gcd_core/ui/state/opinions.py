"""The oracle's opinion of pictures, where a domain has an oracle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.method.walk import Path
from gcd_core.ui.state.compute import Urgency
from gcd_core.ui.state.frames import Frame, Opinion

AT_A_TIME = 8  # pictures of a path


class SecondOpinion:
    """Asks an oracle when its turn has come.

    Parameters
    ----------
    domain : Domain
        Whose oracle, where it has one, is asked.
    ask : callable
        Takes pictures (N, C, H, W) and returns the oracle's opinion of each.
    in_turn : callable
        Runs a function with arguments at an urgency.
    """

    def __init__(
        self,
        domain: Domain,
        ask: Callable[[Tensor], list[Opinion]],
        in_turn: Callable[..., Any],
    ) -> None:
        self._domain, self._ask, self._in_turn = domain, ask, in_turn

    def of(self, image: Tensor) -> Opinion | None:
        """The opinion of an image (1, C, H, W), for who waits for it; None without an oracle."""
        if self._domain.oracle is None:
            return None
        return self._in_turn(Urgency.LIVE, self._ask, image)[0]

    def of_path(self, path: Path) -> list[Opinion]:
        """Those of all pictures of a path; none without an oracle, or where it may cost."""
        oracle = self._domain.oracle
        if oracle is None or oracle.remote or oracle.budget is not None:
            return []
        found: list[Opinion] = []
        for part in path.images.split(AT_A_TIME):
            found += self._in_turn(Urgency.PATH, self._ask, part)
        return found

    def on(self, frame: Frame) -> Frame:
        """Add the opinion to a picture that was decoded in full, unless it has one."""
        if frame.live or frame.oracle is not None or self._domain.oracle is None:
            return frame
        return replace(frame, oracle=self.of(frame.image))
