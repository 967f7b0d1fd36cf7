"""Many visitors on a running page: what is counted, and that it is what happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from gcd_core.environment import Environment
from gcd_core.ui.server.app import Site
from tests.ui.conftest import free_port
from tests.ui.fakes import FakeDomain
from tools.load.__main__ import main
from tools.load.browser import Answer, Browser, PageConfig
from tools.load.times import Times
from tools.load.visits import DISPLAY


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Site]]:
    domain = FakeDomain(tmp_path_factory.mktemp("domain"), examples=2)
    site, port = Site(domain, settings=Environment(auth="a:b")), free_port()
    site.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}", site
    site.close()


def done(seconds: float) -> Answer:
    return Answer(seconds, "done", [])


def test_what_is_counted_is_what_was_noted() -> None:
    times = Times()
    for i in range(1, 101):
        times.note("move", done(i / 1000))
    times.note("move", Answer(9.0, "refused", [], "Too many."))
    times.note("move", Answer(9.0, "refused", [], "Too many."))
    times.note("open", Answer(9.0, "lost", [], "no word of it"))
    move, opened = times.rows()
    assert (move["n"], move["refused"], move["failed"], move["lost"]) == (102, 2, 0, 0)
    assert move["p50"] == pytest.approx(0.0505) and move["max"] == 0.1
    assert opened["lost"] == 1 and opened["p50"] is None
    assert times.sentences == ["Too many.", "no word of it"]
    goals = times.goals(60)
    assert goals["p95 of moves at most 0.1 s"] and goals["no event failed"]
    assert not goals["none was lost"] and "p95 of combined moves at most 2 s" not in goals


def test_memory_is_flat_where_the_least_of_each_minute_is() -> None:
    times = Times()
    rising = [2**30 + i * 2**20 for i in range(61)]  # 1 MiB each 10 s
    times.memory = [(float(10 * i), size) for i, size in enumerate(rising)]
    least = rising[31:61:6]  # of five minutes
    assert times.growth(290) == pytest.approx(24 * 2**20 / (sum(least) / 5), rel=1e-6)
    assert not times.goals(290)["memory flat at the end"]
    saw = [(float(10 * i), 2**30 + ((i + 4) % 6) * 2**26) for i in range(28, 61)]  # each 60 s
    times.memory = saw
    assert times.growth(300) == pytest.approx(0) and times.goals(300)["memory flat at the end"]
    times.memory = [(0.0, 5 * 2**30)]
    assert times.growth(300) is None and not times.goals(300)["memory at most 4 GiB"]


def test_a_browser_hears_what_it_asks_and_its_leaving_ends_the_session(
    site: tuple[str, Site],
) -> None:
    address, own = site

    async def visit() -> tuple[Answer, Answer, int]:
        async with httpx2.AsyncClient(base_url=address, auth=("a", "b"), timeout=30) as http:
            config = await PageConfig.read(http)
            assert (config.examples, config.alpha_max) == (2, own.root.service.domain.alpha_max)
            browser = Browser(http, config)
            await browser.enter()
            opened = browser.ask("open_example", [1, *DISPLAY])
            refused = browser.ask("cancel_search", [])  # on the same stream
            answers = await asyncio.gather(opened, refused)
            here = len(own.root.visitors)
            await browser.leave()
            return *answers, here

    opened, refused, here = asyncio.run(visit())
    assert opened.outcome == "done" and opened.output[0]["image_name"] == "Example 2"
    assert refused.outcome == "refused" and "nothing to cancel" in refused.sentence
    assert here == 1


def test_the_command_prints_what_happened_and_fails_where_it_did_not_hold(
    site: tuple[str, Site], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
) -> None:
    monkeypatch.setenv("GCD_AUTH", "a:b")
    numbers = tmp_path / "numbers.json"
    command = ["--url", site[0], "--visitors", "4", "--minutes", "0.15", "--pause", "0.1"]
    code = main([*command, "--samples", "128", "--json", str(numbers)])
    told = json.loads(numbers.read_text())
    events = {row["event"]: row for row in told["events"]}
    assert {"open", "prepare", "follow", "combined move"} <= events.keys()
    assert all(row["failed"] == row["lost"] == 0 for row in events.values())
    assert sum(row["n"] - row["refused"] for row in events.values()) > 30
    assert told["server"]["domain"] == "drawn-chest" and told["memory"]
    assert code == (0 if all(told["goals"].values()) else 1)
    assert told["goals"]["none was lost"]
    assert "| event " in capsys.readouterr().out


def test_where_no_page_answers_it_is_said(capsys: pytest.CaptureFixture) -> None:
    assert main(["--url", f"http://127.0.0.1:{free_port()}", "--minutes", "0.01"]) == 1
    assert "No page answers at" in capsys.readouterr().err
    assert main(["--minutes", "0"]) == 1
