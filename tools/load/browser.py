"""What a browser sends to the page and hears from it: Gradio's queue, heartbeat and uploads."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from gcd_core.errors import GCDError

ANSWER_SECONDS = 120.0  # seconds without a word of an event, after which it counts as lost
API = "/gradio_api"
Hear = Callable[[list[Any]], None]  # is told the first values of an event


@dataclass(frozen=True)
class Answer:
    """How an event ended.

    Attributes
    ----------
    seconds : float
        From the asking to the answer.
    outcome : {"done", "refused", "failed", "lost", "left"}
        Refused: the page said why in a sentence, or that it is too busy. Lost: no answer came.
        Left: the visitor went before it could.
    output : list
        The values of the last answer; empty unless it is done.
    sentence : str
        Of what was refused or failed.
    """

    seconds: float
    outcome: str
    output: list[Any]
    sentence: str = ""


@dataclass(frozen=True)
class PageConfig:
    """Which events a page has, what they are given by default, and what there is to choose.

    Attributes
    ----------
    events : dict of str to (int, list)
        By the name in the page's API: the event's number, and its inputs' first values.
    examples : int
        Images to open.
    alpha_max : float
        How far the sliders go.
    """

    events: dict[str, tuple[int, list[Any]]]
    examples: int
    alpha_max: float

    @classmethod
    async def read(cls, http: httpx2.AsyncClient) -> PageConfig:
        """Read it from the server.

        Raises
        ------
        GCDError
            If no page answers there.
        """
        try:
            answer = await http.get("/config")
            config = answer.raise_for_status().json()
            props = {part["id"]: part["props"] for part in config["components"]}
            named = {each.get("elem_id"): each for each in props.values()}
            examples = len(named["examples"]["props"]["thumbs"])
            alpha_max = float(named["slider-g"]["maximum"])
            events = {
                event["api_name"]: (event["id"], [props[i].get("value") for i in event["inputs"]])
                for event in config["dependencies"]
                if event["api_name"]
            }
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            told = f"No page answers at {http.base_url}: start it, or give another --url."
            raise GCDError(told) from error
        return cls(events, examples, alpha_max)


class Browser:
    """One visitor's browser, with a session of its own.

    Parameters
    ----------
    http : httpx2.AsyncClient
        Of the page's address; all browsers may share it.
    config : PageConfig
    """

    def __init__(self, http: httpx2.AsyncClient, config: PageConfig) -> None:
        self.http, self.config = http, config
        self.key = uuid.uuid4().hex
        self._ends: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._hears: dict[str, Hear] = {}
        self._heard: dict[str, float] = {}  # when there was last a word of an event
        self._early: dict[str, dict[str, Any]] = {}  # ends that came before the event's number did
        self._tasks: set[asyncio.Task] = set()
        self._listening: asyncio.Task | None = None

    async def enter(self) -> None:
        """Fetch the page, and let the server know from now on that somebody is here."""
        (await self.http.get("/")).raise_for_status()
        beating = asyncio.create_task(self._beat())
        self._tasks.add(beating)

    async def leave(self) -> None:
        """Close the page: the server learns it by the end of the heartbeat."""
        for task in [*self._tasks, *([self._listening] if self._listening else [])]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Send a file; return what an event names it by."""
        files = {"files": (name, content, "application/octet-stream")}
        answer = await self.http.post(f"{API}/upload", files=files)
        return {"path": answer.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}

    def defaults(self, event: str) -> list[Any]:
        """The values that an event's inputs have at first."""
        return list(self.config.events[event][1])

    async def ask(self, event: str, values: list[Any], hear: Hear | None = None) -> Answer:
        """Send an event and wait for its end.

        Parameters
        ----------
        event : str
            Its name in the page's API.
        values : list
            Of its inputs.
        hear : callable, optional
            Is told the first values of an event that answers several times.
        """
        began = time.perf_counter()
        body = {
            "data": values,
            "event_data": None,
            "fn_index": self.config.events[event][0],
            "trigger_id": None,
            "session_hash": self.key,
        }
        try:
            joined = await self.http.post(f"{API}/queue/join", json=body)
            content = joined.json()
        except (httpx2.HTTPError, ValueError) as error:
            told = str(error) or type(error).__name__
            return Answer(time.perf_counter() - began, "lost", [], told)
        if joined.status_code != 200:
            kind = "refused" if joined.status_code in (413, 429, 503) else "failed"
            return Answer(time.perf_counter() - began, kind, [], str(content.get("detail")))
        return await self._end_of(content["event_id"], began, hear)

    async def _end_of(self, number: str, began: float, hear: Hear | None) -> Answer:
        """Wait for an event's end, while there is a stream that can bring it."""
        end = self._ends[number] = asyncio.get_running_loop().create_future()
        if hear is not None:
            self._hears[number] = hear
        if number in self._early:
            end.set_result(self._early.pop(number))
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen())
        self._heard[number] = time.perf_counter()
        try:
            message = await self._patiently(end, number)
        except (TimeoutError, ConnectionError) as error:
            return Answer(time.perf_counter() - began, "lost", [], str(error) or "no word of it")
        finally:
            self._ends.pop(number, None)
            self._hears.pop(number, None)
            self._heard.pop(number, None)
        seconds, output = time.perf_counter() - began, message.get("output") or {}
        if message.get("success"):
            return Answer(seconds, "done", output.get("data") or [])
        sentence = str(output.get("error"))
        kind = "refused" if output.get("error") and "unexpected" not in sentence else "failed"
        return Answer(seconds, kind, [], sentence)

    async def _patiently(self, end: asyncio.Future, number: str) -> dict[str, Any]:
        """Wait for an event's end for as long as there are words of it."""
        while True:
            left = self._heard[number] + ANSWER_SECONDS - time.perf_counter()
            done, _ = await asyncio.wait([end], timeout=max(left, 0))
            if done:
                return end.result()
            if time.perf_counter() - self._heard[number] >= ANSWER_SECONDS:
                raise TimeoutError

    async def _beat(self) -> None:
        """Hold the connection by whose end the server learns that the visitor left."""
        with suppress(httpx2.HTTPError):
            async with self.http.stream("GET", f"{API}/heartbeat/{self.key}", timeout=None) as told:
                async for _ in told.aiter_bytes():
                    pass

    async def _listen(self) -> None:
        """Hear all events' answers, until none is open; then the server ends the stream."""
        while self._ends:
            before = set(self._ends)
            try:
                async for message in self._messages():
                    self._take(message)
            except httpx2.HTTPError as error:
                for number in before & set(self._ends):
                    self._lose(number, str(error))
            else:
                # An event that joined while the server closed the stream is heard on the next one.
                await asyncio.sleep(0.01)

    async def _messages(self) -> AsyncIterator[dict[str, Any]]:
        address = f"{API}/queue/data?session_hash={self.key}"
        async with self.http.stream("GET", address, timeout=None) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data:"):
                    yield json.loads(line[5:])

    def _take(self, message: dict[str, Any]) -> None:
        """Hand a message to whom it concerns."""
        kind, number = message.get("msg"), message.get("event_id") or ""
        if number in self._heard:
            self._heard[number] = time.perf_counter()
        if kind == "process_completed":
            if number not in self._ends:
                self._early[number] = message
            elif not self._ends[number].done():
                self._ends[number].set_result(message)
        elif kind == "process_generating" and number in self._hears:
            self._hears.pop(number)((message.get("output") or {}).get("data") or [])
        elif kind in ("unexpected_error", "server_stopped") and self._ends:
            for each in list(self._ends):
                self._lose(each, str(message.get("message")))

    def _lose(self, number: str, why: str) -> None:
        end = self._ends.get(number)
        if end is not None and not end.done():
            end.set_exception(ConnectionError(why))
