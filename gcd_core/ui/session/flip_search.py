"""Where a flip lies along a direction, found on a few pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gcd_core.method.bisection import BISECTION_STEPS
from gcd_core.method.loss import THRESHOLD, flip_sign
from gcd_core.ui.frames import POINTS, Frame, latent_at
from gcd_core.ui.session.slider_state import SliderState

FIRST_STOPS = 3  # where the first picture is drawn, in slider stops
BEYOND = 1.1  # times the distance at which the answer is expected to suffice
FARTHER = 0.5  # at most, of the distance so far, at a time
STAYS = 3  # times that one end of a bracket stays, after which its middle is asked about
LEAST = 1e-6  # a probability nearer to 0 or 1 counts as this far from it


@dataclass(frozen=True)
class Target:
    """How convincing a flip is wanted: the probability, and on which side it was.

    Attributes
    ----------
    index : int
        Of the label among a frame's probabilities.
    above : bool
        Whether the original lies above the threshold.
    margin : float
        How far beyond the threshold the answer must lie, 0 to 0.5.
    """

    index: int
    above: bool
    margin: float

    def met(self, frame: Frame) -> bool:
        """Whether a picture's answer lies on the other side, by the margin."""
        answer = frame.probabilities[self.index]
        beyond = abs(answer - THRESHOLD) >= self.margin
        return (answer >= THRESHOLD) != self.above and beyond

    def missing(self, frame: Frame) -> float:
        """How much of log-odds a picture's answer lacks; 0 or less where the target is met."""
        side = -1 if self.above else 1
        wanted = _log_odds(THRESHOLD + side * self.margin)
        lacks = side * (wanted - _log_odds(frame.probabilities[self.index]))
        return min(lacks, 0.0) if self.met(frame) else max(lacks, LEAST)


def _up(distance: float) -> int:
    """Whole places, not one more for what is lost in rounding."""
    return max(math.ceil(distance - 1e-6), 1)


def _log_odds(probability: float) -> float:
    p = min(max(probability, LEAST), 1 - LEAST)
    return math.log(p / (1 - p))


def smallest_met(
    missing: Callable[[int], float | None],
    at_start: float,
    guess: int,
    end: int,
    within: int = 1,
) -> int | None:
    """Find the smallest of the places 1 to `end` at which nothing is missing.

    By false position, as Illinois' method has it: where the same end of the bracket stays twice,
    half of what was told there counts; where it stays longer, the middle is asked about. What is
    missing must not come back behind the first place where it suffices.

    Parameters
    ----------
    missing : callable
        Takes a place, and returns how much is missing there, 0 or less where nothing is; None ends
        the search.
    at_start : float
        What is missing at place 0, above 0.
    guess : int
        The first place to ask about.
    end : int
        The last one.
    within : int
        How many places farther the answer may lie.

    Returns
    -------
    int or None
        None where something is missing at the end too, or the search was ended.
    """
    near, lacks, far, spare = 0, at_start, None, 0.0
    place, stayed = guess, 0  # how often in turn the nearer end stayed (above 0), or the farther
    while far is None or far - near > within:
        place = min(max(place, near + 1), end if far is None else far - 1)
        here = missing(place)
        if here is None or (here > 0 and place == end):
            return None
        if here <= 0:
            stayed = max(stayed, 0) + 1
            far, spare = place, here
        else:
            stayed = min(stayed, 0) - 1
            falls = (lacks - here) / (place - near)
            near, lacks = place, here
        if far is None:
            ahead = BEYOND * lacks / falls if falls > 0 else math.inf
            place += _up(min(ahead, place * FARTHER))
        elif abs(stayed) > STAYS:
            place = (near + far) // 2
        else:
            ours = lacks * 0.5 ** max(stayed - 1, 0)
            place = near + _up((far - near) * ours / (ours - spare * 0.5 ** max(-stayed - 1, 0)))
    return far


def met_before(
    missing: Callable[[int], float],
    spare: float,
    before: tuple[float, float],
    least: int,
    tries: int = 2,
) -> int:
    """Find a place before 0 at which nothing is missing, by false position.

    Parameters
    ----------
    missing : callable
        As of `smallest_met`.
    spare : float
        What is missing at place 0: 0 or less.
    before : (float, float)
        A place below 0, and what is missing there, above 0.
    least : int
        A place that is expected to be nearer by less than this is not asked about.
    tries : int
        How many places are asked about at most.

    Returns
    -------
    int
        The lowest place that was found, 0 where there is none.
    """
    (near, lacks), far = before, 0
    for _ in range(tries):
        place = math.ceil(near + (far - near) * lacks / (lacks - spare))
        if far - place < least:
            break
        here = missing(place)
        if here > 0:
            near, lacks = place, here
        else:
            far, spare = place, here
    return far


def first_flip(sliders: SliderState, name: str, target: Target) -> float | None:
    """Find the smallest change along a direction that meets a target, by the fast decoder.

    To a sixteenth of a slider stop, as `bisect` finds it on a path: the whole path has the same
    answer, wherever the probability does not turn back. Each picture is a task of its own: those of
    several visitors are drawn in turn, or together.

    Parameters
    ----------
    sliders : SliderState
        Of the image. A move that comes meanwhile ends the search.
    name : str
        The direction.
    target : Target

    Returns
    -------
    float or None
        The position; None where no picture meets the target, or the sliders went on meanwhile.
    """
    service, wanted = sliders.service, sliders.still_wanted()
    source = sliders.opened.source
    stops, parts = POINTS // 2, 2**BISECTION_STEPS
    part = flip_sign(source.probabilities[target.index]) * service.domain.alpha_max / stops / parts

    def missing(place: int) -> float | None:
        alphas = {name: round(place * part, 4)}
        frame = sliders.known(alphas)
        if frame is None and wanted():
            latent = latent_at(sliders.opened, sliders.directions, alphas)
            frame = service.decode_live(latent, sliders.opened)
            sliders.keep(alphas, frame)
        return None if frame is None else target.missing(frame)

    found = smallest_met(missing, target.missing(source), FIRST_STOPS * parts, stops * parts)
    return found * part if found is not None and wanted() else None
