"""Visitors who come, do what visitors do, and leave: nothing of theirs is left behind."""

from __future__ import annotations

import asyncio
import gc
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from PIL import Image

from gcd_core.ui.server.app import Site
from gcd_core.ui.server.middleware import resident_bytes
from tests.ui.conftest import free_port
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for
from tools.load.browser import Browser, PageConfig
from tools.load.visits import DISPLAY

pytestmark = pytest.mark.slow
AT_ONCE = 8


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Site, Path]]:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    domain = tmp_path / "domain"
    domain.mkdir()
    site, port = Site(FakeDomain(domain, examples=2)), free_port()
    site.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}", site, temporary
    site.close()


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


async def visit(http: httpx2.AsyncClient, config: PageConfig, seed: int) -> None:
    """Open an example and a file, move, take a report and the path's numbers home, and leave."""
    browser = Browser(http, config)
    await browser.enter()
    asked = [("open_example", [seed % 2, *DISPLAY]), ("prepare", DISPLAY)]
    file = await browser.upload("mine.png", picture(seed))
    asked += [("open_image", [file, *DISPLAY]), ("to_flip", ["g", *DISPLAY, "0.25"])]
    asked += [("report_png", ["png"]), ("save_path", [])]
    for event, values in asked:
        answer = await browser.ask(event, values)
        assert answer.outcome == "done", (event, answer)
    saved = (await browser.ask("save_path", [])).output[1]
    assert (await http.get(f"/gradio_api/file={saved['path']}")).status_code == 200
    await browser.leave()


async def visits(address: str, seeds: range) -> None:
    async with httpx2.AsyncClient(base_url=address, timeout=60) as http:
        config = await PageConfig.read(http)
        doors = asyncio.Semaphore(AT_ONCE)

        async def one(seed: int) -> None:
            async with doors:
                await visit(http, config, seed)

        await asyncio.gather(*(one(seed) for seed in seeds))


@pytest.mark.parametrize("count", [24, pytest.param(1000, marks=pytest.mark.nightly)])
def test_nothing_is_left_of_visitors_who_left(site: tuple[str, Site, Path], count: int) -> None:
    address, own, temporary = site
    warm = max(count // 5, 8)
    before = 0

    def forget() -> int:
        wait_for(lambda: own.root.visitors.of_all_domains == 0)
        wait_for(lambda: all(s.is_closed for s in own.root.app.state_holder.session_data.values()))
        gc.collect()
        own.tidy()
        return resident_bytes() or 0

    asyncio.run(visits(address, range(warm)))
    before = forget()
    asyncio.run(visits(address, range(warm, count)))
    after = forget()
    assert not own.root.app.state_holder.session_data
    assert not own.root._queue.pending_messages_per_session
    assert not own.root._queue.pending_event_ids_session
    left = [file for _, _, files in os.walk(temporary) for file in files]
    assert not left, [(f, (temporary / f).stat().st_size) for f in left if (temporary / f).exists()]
    assert not own.root.service._paths or all(p.finished for p in own.root.service._paths)
    # What is kept of all visitors together does not grow with their number: 100 KiB each would.
    assert after - before < max(0.1 * before, (count - warm) * 100 * 1024)
    print(f"{count} visits: {before / 2**20:.0f} MiB after {warm}, {after / 2**20:.0f} at last")
