"""Requests that no page sends, by raw HTTP, to a running server: refused, and nothing is shown."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import torch

from gcd_core.environment import Environment
from gcd_core.images.drawing import to_pil
from gcd_core.ui.server.app import Site
from gcd_core.ui.server.middleware import MAX_BODY_BYTES, refused
from tests.ui.conftest import free_port
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for

DISPLAY = ["bb_lig", 0.6, "side"]
FILE = {"_type": "gradio.FileData"}
HUGE, NONE = 1e308, None


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Site]]:
    site = Site(FakeDomain(tmp_path_factory.mktemp("domain"), examples=2))
    port = free_port()
    site.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}", site
    site.close()


@pytest.fixture(scope="module")
def server(site: tuple[str, Site]) -> str:
    return site[0]


def png(seed: int = 0) -> bytes:
    """A picture as a file."""
    pixels = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(seed))
    file = io.BytesIO()
    to_pil(pixels).save(file, "PNG")
    return file.getvalue()


def upload(server: str, name: str = "scan.png", seed: int = 0) -> str:
    """The place of an upload on the server."""
    files = {"files": (name, png(seed), "image/png")}
    return httpx.post(f"{server}/gradio_api/upload", files=files).json()[0]


def ask(server: str, event: str, data: list[Any], **more: Any) -> tuple[int, str]:
    """Status and text of what an event answers; NaN and infinity go as Python writes them."""
    body = json.dumps({"data": data, **more})
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server}/gradio_api/call/{event}", content=body, headers=headers)
    if answer.status_code != 200:
        return answer.status_code, answer.text
    address = f"{server}/gradio_api/call/{event}/{answer.json()['event_id']}"
    return 200, httpx.get(address, timeout=60).text


def failed(answer: tuple[int, str]) -> bool:
    """Whether an event was refused, with nothing of the server's inside in it."""
    status, text = answer
    inside = any(word in text for word in ("Traceback", "site-packages", 'File "', "root:x:"))
    return not inside and (status >= 400 or "event: error" in text)


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        "../../../../../../etc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/proc/self/environ",
        "file:///etc/passwd",
        str(Path(__file__).resolve()),
    ],
)
def test_files_of_the_server_are_neither_shown_nor_opened(server: str, place: str) -> None:
    for route in ("file=", "file/", "stream/", "proxy="):
        answer = httpx.get(f"{server}/gradio_api/{route}{place}")
        assert answer.status_code in (400, 403, 404, 405), route
        assert "root:" not in answer.text
    assert failed(ask(server, "open_image", [{"path": place, "meta": FILE}, *DISPLAY]))
    assert failed(ask(server, "load_directions", [{"path": place, "meta": FILE}, *DISPLAY]))


def test_the_domains_own_files_are_not_either(site: tuple[str, Site]) -> None:
    server, own = site
    example = str(own.root.service.domain.examples[0])
    assert httpx.get(f"{server}/gradio_api/file={example}").status_code == 403
    assert failed(ask(server, "open_image", [{"path": example, "meta": FILE}, *DISPLAY]))


class Listener:
    """A server that notes whether anybody asks it."""

    def __init__(self) -> None:
        import socket

        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(0.5)
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}/x.png"

    def was_asked(self) -> bool:
        try:
            self.socket.accept()[0].close()
        except TimeoutError:
            return False
        return True


def test_no_address_that_a_visitor_chose_is_fetched(server: str) -> None:
    own = Listener()
    for address in (own.address, own.address.upper(), "https://example.com/x.png", " http://a/b"):
        for event in ("open_image", "load_directions"):
            status, text = ask(server, event, [{"path": address, "meta": FILE}, *DISPLAY])
            assert status == 400 and "upload it instead" in text
        status, _ = ask(server, "walk_images", [[{"path": address, "meta": FILE}], "g"])
        assert status == 400
        joined = {"data": [{"path": address}], "fn_index": 0, "session_hash": "x"}
        for route in ("queue/join", "run/open_image"):
            assert httpx.post(f"{server}/gradio_api/{route}", json=joined).status_code == 400
    assert not own.was_asked()


def test_an_upload_is_gone_once_it_is_open(server: str) -> None:
    place = upload(server, seed=3)
    assert httpx.get(f"{server}/gradio_api/file={place}").status_code == 200
    status, text = ask(server, "open_image", [{"path": place, "meta": FILE}, *DISPLAY])
    assert status == 200 and "event: complete" in text
    assert httpx.get(f"{server}/gradio_api/file={place}").status_code in (403, 404)
    assert not Path(place).exists()


def test_an_uploads_name_leads_nowhere_and_its_place_is_not_to_be_guessed(server: str) -> None:
    for name in ("../../x.png", "..\\..\\x.png", "/etc/x.png", "a/../../b.png"):
        place = Path(upload(server, name, seed=4))
        assert ".." not in place.parts and place.parent.name == place.resolve().parent.name
        assert len(place.parent.name) == 64  # the content's hash: to guess it is to have it
        assert "etc" not in place.parts


@pytest.mark.parametrize("bad", ["x", NONE, [1] * 100, {"a": 1}, HUGE, -HUGE, float("nan"), True])
@pytest.mark.parametrize("event", ["open_example", "open_piece"])
def test_a_number_that_is_none_is_refused(server: str, event: str, bad: object) -> None:
    if bad is True and event == "open_example":
        pytest.skip("Python takes it for 1")
    answer = ask(server, event, [bad, *DISPLAY])
    assert failed(answer)
    assert len(answer[1]) < 400


@pytest.mark.parametrize("bad", ["x", HUGE, float("nan"), float("inf"), [1], {"g": 1}])
def test_moves_and_searches_by_no_numbers_are_refused(server: str, bad: object) -> None:
    assert failed(ask(server, "move", [bad] + [0] * 12 + DISPLAY))
    assert failed(ask(server, "go", [{"g": bad}]))
    fields = [bad, 3.0, 1.0, 2, 20, 0, *DISPLAY, False, 0, False]
    assert failed(ask(server, "find_directions", fields))


@pytest.mark.parametrize("data", [[], [1] * 500, {"a": 1}, "x", None])
def test_events_of_another_shape_are_refused(server: str, data: Any) -> None:
    assert failed(ask(server, "move", data))


@pytest.mark.parametrize("mask", ["x", "data:image/png;base64,AAAA", "data:text/html,<b>", None, 7])
def test_a_mask_that_is_none_is_refused(server: str, mask: object) -> None:
    assert failed(ask(server, "paint_region", [mask]))


def test_what_is_no_event_at_all_is_refused(server: str) -> None:
    header = {"Content-Type": "application/json"}
    address = f"{server}/gradio_api/call/open_example"
    for body, status in (
        (b"{", 422),
        (b"\xff\xfe", 422),
        (b"[" * 100_000, 400),
        (b'"' + b"x" * MAX_BODY_BYTES + b'"', 413),
    ):
        answer = httpx.post(address, content=body, headers=header)
        assert answer.status_code in (status, 400)
        assert "Traceback" not in answer.text
    assert (
        httpx.post(f"{server}/gradio_api/call/no_such_event", json={"data": []}).status_code >= 400
    )
    assert httpx.get(f"{server}/health").json()["ready"] is True


def test_one_visitor_cannot_ask_in_anothers_name_without_the_key(server: str) -> None:
    """Each call without a session key is a visitor of its own, with no image open."""
    ask(server, "open_example", [0, *DISPLAY])
    assert failed(ask(server, "report", ["pdf"]))
    assert failed(ask(server, "save_path", []))
    assert failed(ask(server, "save_comparison", ["csv"]))


def test_an_error_that_nobody_thought_of_is_logged_and_told_in_a_sentence(
    site: tuple[str, Site], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server, own = site

    def broken(*_: object) -> None:
        raise RuntimeError("a secret of the server")

    monkeypatch.setattr(own.root.service.examples, "open", broken)
    with caplog.at_level(logging.ERROR):
        answer = ask(server, "open_example", [0, *DISPLAY])
    assert failed(answer) and "failed unexpectedly" in answer[1]
    assert "secret" not in answer[1] and "a secret of the server" in caplog.text


def test_what_names_no_address_passes() -> None:
    for content in ({"path": "/tmp/a.png"}, {"data": ["http://a/b"]}, [1, None], "http://x"):
        assert refused(json.dumps(content).encode()) is None
    assert refused(b"") is None
    deep = {"data": [[{"a": {"path": "HTTPS://x"}}]]}
    answer = refused(json.dumps(deep).encode())
    assert answer is not None and answer.status_code == 400


def test_events_sent_again_after_leaving_are_refused(site: tuple[str, Site]) -> None:
    server, own = site
    with httpx.stream("GET", f"{server}/gradio_api/heartbeat/leaver", timeout=30) as here:
        beats = here.iter_bytes()
        next(beats)
        answer = ask(server, "open_example", [0, *DISPLAY], session_hash="leaver")
        assert answer[0] == 200 and "event: complete" in answer[1]
    visitors = own.root.visitors
    wait_for(lambda: visitors._who("leaver") not in visitors._sessions)
    for event, data in (
        ("open_example", [0, *DISPLAY]),
        ("move", [1.0] + [0] * 12 + DISPLAY),
        ("report", ["pdf", "expert"]),
    ):
        answer = ask(server, event, data, session_hash="leaver")
        assert failed(answer) and "visit has ended" in answer[1]
    assert visitors._who("leaver") not in visitors._sessions


def test_of_who_left_gradio_keeps_nothing_either(site: tuple[str, Site]) -> None:
    server, own = site
    with httpx.stream("GET", f"{server}/gradio_api/heartbeat/guest", timeout=30) as here:
        beats = here.iter_bytes()
        next(beats)
        ask(server, "open_example", [0, *DISPLAY], session_hash="guest")
    kept = own.root.app.state_holder.session_data
    assert "guest" in kept
    wait_for(lambda: kept["guest"].is_closed)
    own.root.forget_sessions(idle_minutes=60)
    assert "guest" not in kept


def test_files_that_nobody_opens_do_not_fill_the_disk(
    site: tuple[str, Site], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, _ = site
    monkeypatch.setattr("gcd_core.ui.server.middleware.get_upload_folder", lambda: str(tmp_path))
    (tmp_path / "a").mkdir()
    with open(tmp_path / "a/waits.png", "wb") as file:
        file.truncate(2**31)  # as many bytes as are kept, of which none is written
    files = {"files": ("scan.png", png(), "image/png")}
    answer = httpx.post(f"{server}/gradio_api/upload", files=files)
    assert answer.status_code == 503 and "no room" in answer.json()["detail"]
    (tmp_path / "a/waits.png").unlink()
    assert httpx.post(f"{server}/gradio_api/upload", files=files).status_code == 200


def test_a_visitor_opens_no_more_files_than_an_hour_allows(
    site: tuple[str, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, own = site
    session = own.root.visitors.session("greedy")
    monkeypatch.setattr(session.uploads, "_limits", Environment(uploads=2))
    answers = []
    for seed in range(3):
        file = {"path": upload(server, seed=100 + seed), "meta": FILE}
        answers.append(ask(server, "open_image", [file, *DISPLAY], session_hash="greedy"))
    assert "event: complete" in answers[1][1]
    assert failed(answers[2]) and "more than a visitor may open within an hour" in answers[2][1]
    assert not Path(file["path"]).exists()


def test_nobody_comes_back_to_anothers_visit(site: tuple[str, Site]) -> None:
    """By the address alone, a key that was guessed, one of another form, or one that is used up."""
    server, own = site
    key, guess = "0123456789abcdef" * 2, "0123456789abcdef" + 16 * "0"

    def arrive(who: str, end: str) -> str:
        ask(server, "arrive", [*DISPLAY, f"?own=1&label=pneumonia{end}"], session_hash=who)
        status, text = ask(server, "facts", [], session_hash=who)
        assert status == 200
        return json.loads(text.split("data: ", 1)[1].splitlines()[0])[0]["image_name"]

    arrive("first", f"#page:{key}")
    file = {"path": upload(server, seed=77), "meta": FILE}
    ask(server, "open_image", [file, *DISPLAY], session_hash="first")
    mine = arrive("first", f"#page:{key}")
    own.root.visitors.leave("first")
    for number, end in enumerate((f"#page:{guess}", "#page", "", "#page:", f"#page:{key}0")):
        assert arrive(f"stranger-{number}", end) == "Example 1" != mine
    assert arrive("second", f"#page:{key}") == mine
    ask(server, "forget", [], session_hash="second")
    assert arrive("third", f"#page:{key}") == "Example 1"
