"""One rest of a slider, as a page asks for it: each picture is drawn once, and sent once."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from torch import Tensor

from gcd_core.ui.frames import SLIDERS
from gcd_core.ui.page import ExplorerPage, launch_settings
from gcd_core.ui.views import data_urls
from tests.ui.conftest import free_port
from tests.ui.fakes import FakeDomain, FakeGenerator
from tools.load.browser import Browser, PageConfig

PAGE = "#page"  # ends the address with which the page's script arrives
ADDRESS = re.compile(r"data:image/png;base64,[\w+/=]+")
RESTS = ({"g": 2.0}, {"g": 2.0, "h1": 1.25})  # on a decoded path, and between several


class QuickGenerator(FakeGenerator):
    """Whose fast decoder draws darker pictures than the full one."""

    live_solver = "quick"

    def decode(self, latent: Any, solver: str | None = None, *others: Any, **more: Any) -> Tensor:
        images = super().decode(latent, solver, *others, **more)
        return 0.9 * images if solver == self.live_solver else images


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    domain = FakeDomain(tmp_path, examples=1)
    domain.generator = QuickGenerator()
    page, port = ExplorerPage(domain), free_port()
    place = {"server_name": "127.0.0.1", "server_port": port}
    page.launch(**place, prevent_thread_lock=True, quiet=True, **launch_settings())
    yield f"http://127.0.0.1:{port}"
    page.close()
    page.visitors.close()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures that were written as data addresses, in order."""
    made: list[str] = []
    original = data_urls.data_address

    def noted(data: bytes, kind: str = "png") -> str:
        made.append(original(data, kind))
        return made[-1]

    monkeypatch.setattr(data_urls, "data_address", noted)
    return made


async def ask(browser: Browser, event: str, values: list[Any]) -> list[str]:
    """The pictures in an event's last answer."""
    answer = await browser.ask(event, values)
    assert answer.outcome == "done", answer.sentence
    return ADDRESS.findall(json.dumps(answer.output))


async def rest(browser: Browser, alphas: dict[str, float], display: list[Any]) -> list[str]:
    """The pictures in all answers that a page asks for once its slider rests."""
    sent = await ask(browser, "move", [*(alphas.get(n, 0.0) for n in SLIDERS), *display])
    sent += await ask(browser, "draw_in_full", display)
    return sent + await ask(browser, "follow", display)


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["bb_lig", "difference", "cells", "none"])
def test_a_rest_draws_and_sends_each_picture_once(
    address: str, drawn: list[str], overlay: str
) -> None:
    display = [overlay, 0.6, "side"]

    async def visit() -> None:
        async with httpx2.AsyncClient(base_url=address, timeout=60) as http:
            browser = Browser(http, await PageConfig.read(http))
            await browser.enter()
            known = set(await ask(browser, "arrive", [*display, PAGE]))
            assert known, "the original, at least"
            known |= set(await ask(browser, "prepare", display))
            for alphas in RESTS:
                drawn.clear()
                sent = await rest(browser, alphas, display)
                pictures = len(alphas)  # between several directions: drawn quickly, and in full
                maps = {"bb_lig": 1, "cells": 1, "difference": pictures, "none": 0}[overlay]
                assert len(sent) == pictures + maps
                assert max(Counter(sent).values()) == 1 and not known & set(sent)
                assert sorted(drawn) == sorted(sent)
                known |= set(sent)
            assert not await ask(browser, "view", [overlay, 0.6, "slide"])
            await browser.leave()

    asyncio.run(visit())


@pytest.mark.slow
def test_who_is_not_the_page_gets_every_answer_whole(address: str) -> None:
    display = ["difference", 0.6, "side"]

    async def visit() -> None:
        async with httpx2.AsyncClient(base_url=address, timeout=60) as http:
            browser = Browser(http, await PageConfig.read(http))
            await browser.enter()
            await ask(browser, "arrive", [*display, "?example=1"])
            answer = await browser.ask("move", [2.0] + [0.0] * 12 + display)
            numbers, pictures, *_ = answer.output
            original, changed, _ = ADDRESS.findall(pictures)
            assert numbers["image"] == changed
            answer = await browser.ask("heatmap", display)
            numbers, pictures = answer.output
            assert ADDRESS.findall(pictures)[:2] == [original, changed]
            assert ADDRESS.findall(pictures)[2] == numbers["map"]
            await browser.leave()

    asyncio.run(visit())
