"""What stands before the page: health, metrics, headers and a password, asked by raw HTTP."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest
from gradio_client import Client
from prometheus_client.parser import text_string_to_metric_families

import gcd_core
from gcd_core.environment import Environment
from gcd_core.ui import metrics
from gcd_core.ui.metrics import Events, as_prometheus, visitor_id
from gcd_core.ui.server.app import Site
from gcd_core.ui.server.middleware import resident_bytes
from tests.ui.conftest import free_port
from tests.ui.fakes import FakeDomain

PASSWORD = "doctor:a:secret"


def serve(folder: Path, settings: Environment) -> Iterator[str]:
    site, port = Site(FakeDomain(folder, examples=2), settings=settings), free_port()
    site.launch(server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}"
    site.close()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("open"), Environment(metrics=True))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("guarded"), Environment(auth=PASSWORD))


def test_health_tells_how_the_server_is(opened: str) -> None:
    answer = httpx.get(f"{opened}/health")
    state = answer.json()
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    assert state["ready"] is True and state["domain"] == "drawn-chest"
    assert state["version"] == gcd_core.__version__
    assert state["searches_running"] == state["searches_waiting"] == 0
    assert 2**26 < state["resident_bytes"] < 2**35


def test_visitors_are_counted_and_their_events_too(opened: str) -> None:
    def counted() -> dict[str, float]:
        told = httpx.get(f"{opened}/metrics").text
        return {
            sample.labels["event"]: sample.value
            for family in text_string_to_metric_families(told)
            for sample in family.samples
            if sample.name == "gcd_event_duration_seconds_count"
        }

    before, client = counted(), Client(opened, verbose=False)
    client.predict(example=0, api_name="/open_example")
    with pytest.raises(Exception, match="nothing to cancel"):
        client.predict(api_name="/cancel_search")
    assert httpx.get(f"{opened}/health").json()["visitors"] >= 1
    answer = httpx.get(f"{opened}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = answer.text
    assert re.search(r'^gcd_events_total{event="open_example",outcome="done"} [1-9]', told, re.M)
    assert re.search(r'^gcd_events_total{event="stop",outcome="refused"} [1-9]', told, re.M)
    assert re.search(r"^gcd_visitors [1-9]", told, re.M)
    for event in ("open_example", "stop"):
        assert counted()[event] == before.get(event, 0) + 1
    kinds = {family.name: family.type for family in text_string_to_metric_families(told)}
    assert kinds["gcd_events"] == kinds["gcd_event_seconds"] == "counter"
    assert kinds["gcd_visitors"] == kinds["gcd_resident_bytes"] == kinds["gcd_ready"] == "gauge"
    assert kinds["gcd_event_duration_seconds"] == "histogram"
    client.close()


def test_browsers_are_told_what_the_page_needs_and_no_more(opened: str) -> None:
    for path in ("/", "/health", "/config", "/nothing-here"):
        headers = httpx.get(opened + path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "default-src 'self';" in policy and "object-src 'none'" in policy
        assert "frame-ancestors 'self' https://huggingface.co" in policy


def test_metrics_answer_only_where_they_are_asked_for(guarded: str) -> None:
    answer = httpx.get(f"{guarded}/metrics", auth=httpx.BasicAuth("doctor", "a:secret"))
    assert "gcd_events_total" not in answer.text


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/metrics", "/domains/x/"])
def test_without_the_password_nothing_is_shown(guarded: str, path: str) -> None:
    for auth in (None, httpx.BasicAuth("doctor", "wrong"), httpx.BasicAuth("", "")):
        answer = httpx.get(guarded + path, auth=auth)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "drawn" not in answer.text.lower()


def test_what_is_no_password_at_all_is_refused(guarded: str) -> None:
    for header in ("Basic", "Basic !!!", "Bearer ZG9jdG9yOmE6c2VjcmV0", "Basic " + "A" * 9999):
        answer = httpx.get(guarded, headers={"Authorization": header})
        assert answer.status_code == 401


def test_with_the_password_the_page_works_and_health_needs_none(guarded: str) -> None:
    header = {"Authorization": "Basic ZG9jdG9yOmE6c2VjcmV0"}
    assert "GCD Explorer" in httpx.get(guarded, headers=header).text
    assert httpx.get(f"{guarded}/health").json()["ready"] is True
    client = Client(guarded, headers=header, verbose=False)
    assert client.predict(example=0, api_name="/open_example")
    client.close()


def test_the_log_has_no_key_and_the_same_id_for_one_visitor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted, key = Events(), "a-session-key"
    with caplog.at_level(logging.INFO, "gcd_core.events"):
        counted.note("move", 0.0123, "done", key)
        counted.note("move", 0.5, "failed", key)
        counted.note("move", 0.5, "done", "another")
    lines = [json.loads(record.getMessage()) for record in caplog.records]
    assert [line["ms"] for line in lines] == [12.3, 500, 500]
    assert set(lines[0]) == {"event", "ms", "outcome", "visitor"}
    assert lines[0]["visitor"] == lines[1]["visitor"] != lines[2]["visitor"]
    assert key not in caplog.text and visitor_id(key) == lines[0]["visitor"]
    told = counted.registry.get_sample_value
    assert told("gcd_events_total", {"event": "move", "outcome": "done"}) == 2
    assert told("gcd_event_seconds_total", {"event": "move"}) == pytest.approx(1.0123)


def test_how_long_events_took_is_a_histogram_of_its_own_counts() -> None:
    counted, other = Events(), Events()
    for seconds in (0.02, 0.03, 0.5, 1e6):
        counted.note('an "event"', seconds, "done", None)
    told = as_prometheus({}, counted).decode()
    bucket = 'gcd_event_duration_seconds_bucket{event="an \\"event\\"",le="%s"} %s\n'
    for bound, count in (("0.01", 0), ("0.03", 2), ("1.0", 3), ("300.0", 3), ("+Inf", 4)):
        assert bucket % (bound, float(count)) in told
    assert "an " not in as_prometheus({}, other).decode().replace("an event took", "")


def test_another_process_gives_a_visitor_another_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = visitor_id("key")
    monkeypatch.setattr(metrics, "SECRET", b"another")
    assert visitor_id("key") != before


def test_numbers_alone_are_metrics() -> None:
    state = {"domain": "x", "visitors": 3, "ready": True, "resident_bytes": None}
    told = as_prometheus(state, Events()).decode()
    assert "gcd_visitors 3.0\n" in told and "gcd_ready 1.0\n" in told
    assert "domain" not in told and "resident" not in told
    assert resident_bytes() is None or resident_bytes() > 2**20
