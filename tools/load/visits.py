"""What a visitor does: opens an image, drags a slider, combines two, compares, searches."""

from __future__ import annotations

import asyncio
import io
import random
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image

from gcd_core.ui.frames import SLIDERS
from tools.load.browser import Answer, Browser, Hear
from tools.load.times import Times

DISPLAY = ["bb_lig", 0.6, "side"]
IMAGE_SIDE = 256  # pixels of an uploaded picture
STOPS = 12  # of a slider, to either side
# Events of one drag. Along one direction whose path is there the page plays it by itself, and tells
# where the slider was let go; else it sends a position whenever the last one was answered.
PLAYED, ASKED = 1, 4
# What a visitor does next, and how often of a hundred times: of ten acts a minute one opens another
# example, and one in five minutes a file of its own.
HABITS = {"example": 10, "upload": 2, "drag": 46, "combine": 28, "flip": 10, "compare": 4}


@dataclass(frozen=True)
class Habits:
    """How visitors behave.

    Attributes
    ----------
    pause : float
        Seconds between two things that they do, on average; half to one and a half of it.
    samples : int
        Of a search.
    """

    pause: float = 4.0
    samples: int = 256


class Visitor:
    """One visitor, who comes, does things until it is over, and leaves.

    Parameters
    ----------
    browser : Browser
    habits : Habits
    times : Times
        Where every answer is noted.
    seed : int
        Of what it does.
    searches : bool
        Whether it searches for directions beside what the others do.
    """

    def __init__(
        self, browser: Browser, habits: Habits, times: Times, seed: int, searches: bool
    ) -> None:
        self.browser, self.habits, self.times, self.searches = browser, habits, times, searches
        self.random = random.Random(seed)
        self.directions: list[str] = []
        self._behind: dict[str, asyncio.Task[None]] = {}  # what goes on while the visitor does too

    async def stay(self, until: float) -> None:
        """Visit the page until a moment of the monotonic clock, and leave whatever is under way."""
        await self.browser.enter()
        try:
            await self._open("arrive", [*DISPLAY, "#page"])
            if self.searches:
                self._behind["search"] = asyncio.create_task(self._search())
            await asyncio.wait_for(self._act(), max(until - time.monotonic(), 0))
        except TimeoutError:  # it is time to go
            pass
        finally:
            for task in self._behind.values():
                task.cancel()
            await asyncio.gather(*self._behind.values(), return_exceptions=True)
            await self.browser.leave()

    async def _act(self) -> None:
        """Do one thing after another."""
        while True:
            await asyncio.sleep(self.habits.pause * self.random.uniform(0.5, 1.5))
            what = self.random.choices(list(HABITS), list(HABITS.values()))[0]
            await getattr(self, f"_{what}")()

    async def _ask(self, kind: str, event: str, values: list, *hear: Hear) -> Answer:
        began = time.perf_counter()
        try:
            answer = await self.browser.ask(event, values, *hear)
        except asyncio.CancelledError:  # the visitor leaves before the answer
            self.times.note(kind, Answer(time.perf_counter() - began, "left", []))
            raise
        self.times.note(kind, answer)
        return answer

    async def _meanwhile(self, *events: tuple[str, str]) -> None:
        """Let events follow each other while the visitor goes on; the page sends them so."""
        for kind, event in events:
            if (await self._ask(kind, event, DISPLAY)).outcome != "done":
                return

    def _follow(self, name: str, *events: tuple[str, str]) -> None:
        """Begin with such events, unless the same are under way: the page sends no second ones."""
        task = self._behind.get(name)
        if task is None or task.done():
            self._behind[name] = asyncio.create_task(self._meanwhile(*events))

    async def _open(self, event: str, values: list) -> None:
        """Open an image, and let its paths be prepared."""
        answer = await self._ask("open", event, values)
        if answer.outcome != "done":
            return
        facts = answer.output[0]
        self.directions = facts["directions"] if isinstance(facts, dict) else []
        before = self._behind.pop("prepare", None)  # which the server ends, as its image is gone
        self._follow("prepare", ("prepare", "prepare"))
        if before is not None:
            await before

    @property
    def _prepared(self) -> bool:
        """Whether the server has said that every path of the image is there."""
        return self._behind["prepare"].done()

    async def _example(self) -> None:
        chosen = self.random.randrange(self.browser.config.examples)
        await self._open("open_example", [chosen, *DISPLAY])

    async def _upload(self) -> None:
        file = await self.browser.upload("picture.png", self._picture())
        await self._open("open_image", [file, *DISPLAY])

    async def _drag(self) -> None:
        if self.directions:
            kind, moves = ("move", PLAYED) if self._prepared else ("early move", ASKED)
            await self._move(kind, [self.random.choice(self.directions)], moves)

    async def _combine(self) -> None:
        if len(self.directions) > 1:
            await self._move("combined move", self.random.sample(self.directions, 2), ASKED)

    async def _move(self, kind: str, names: list[str], moves: int) -> None:
        """Drag a slider, another standing elsewhere or not, and let the page draw it in full."""
        alphas = {name: self._stop() for name in names[1:]}
        for _ in range(moves):
            alphas[names[0]] = self._stop()
            await self._ask(kind, "move", [alphas.get(name, 0.0) for name in SLIDERS] + DISPLAY)
        in_full = [("in full", name) for name in ("draw_in_full",) if name in self._events]
        self._follow("follow", *in_full, ("follow", "follow"))

    def _stop(self) -> float:
        """A stop of a slider, not the middle one."""
        stop = self.random.randint(1, STOPS) * self.random.choice([-1, 1])
        return round(stop * self.browser.config.alpha_max / STOPS, 4)

    async def _flip(self) -> None:
        if self.directions:
            target = self.browser.defaults("to_flip")[-1]
            await self._ask("flip", "to_flip", ["g", *DISPLAY, target])

    async def _compare(self) -> None:
        if self.directions:
            await self._ask("compare", "compare", [])

    @property
    def _events(self) -> dict:
        return self.browser.config.events

    async def _search(self) -> None:
        """Search again and again; the first answer says how many searches go before."""
        while True:
            values = self.browser.defaults("find_directions")
            values[0] = self.habits.samples
            await self._ask("search", "find_directions", values, self._note_place)
            await asyncio.sleep(self.habits.pause * self.random.uniform(0.5, 1.5))

    def _note_place(self, values: list) -> None:
        facts = values[0] if values else None
        if isinstance(facts, dict):
            self.times.places.append(int(facts.get("ahead", 0)))

    def _picture(self) -> bytes:
        """A picture that nobody uploaded before: smooth noise."""
        numbers = np.random.default_rng(self.random.getrandbits(32))
        noise = numbers.integers(0, 256, (8, 8), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC).save(
            file, "PNG"
        )
        return file.getvalue()
