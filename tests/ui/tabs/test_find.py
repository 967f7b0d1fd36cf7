"""The Find tab: settings, one search after the other, and what the page says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import DISTILLED
from gcd_core.generators.sampling import Sampling
from gcd_core.images.drawing import to_pil
from gcd_core.method.settings import Settings
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.tabs.direction_sets import to_explore
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.find import STAGE_SHARES, STAGE_TITLES, FindTab, search_settings
from gcd_core.ui.tabs.handler import Answer
from gcd_core.ui.views.payload import cautions_of
from tests.ui.conftest import Served
from tests.ui.fakes import FakeDomain, draw
from tests.ui.waiting import wait_for

FIELDS = {"samples": 64, "radius": 3.0, "lam": 1.0, "k": 2, "steps": 20, "seed": 0}
FIELDS |= {"ways": 0, "boundary": False}
DISPLAY = {"overlay": "bb_lig", "opacity": 0.6, "view": "side"}
SOMEBODY = SimpleNamespace(session_hash="somebody")


@pytest.fixture
def find(visitors: Visitors) -> FindTab:
    with gr.Blocks():
        return FindTab(visitors, ExploreTab(visitors))


def test_going_to_explore_lays_nothing_out_on_a_page_being_made_meanwhile() -> None:
    with gr.Blocks() as page:
        before = dict(page.blocks)
        assert to_explore()["selected"] == "explore"
        assert page.blocks == before


def test_every_stage_of_a_search_has_a_title_and_a_share() -> None:
    stages = {"encode", "perturb", "proxy", "carry", "directions"}
    assert STAGE_TITLES.keys() == STAGE_SHARES.keys() == stages


@pytest.fixture
def clients(served: Served) -> Iterator[list[Client]]:
    """Three visitors, each with an example open."""
    clients = [Client(served.address, verbose=False) for _ in range(3)]
    for client in clients:
        client.predict(example=0, api_name="/open_example")
    yield clients
    for client in clients:
        client.close()


def answers(find: FindTab, **fields: object) -> tuple[list[Answer], GCDError | None]:
    """All that the handler answers with, and the error at its end."""
    found = []
    try:
        for answer in find.find_directions(
            **FIELDS | fields, **DISPLAY, settle=False, request=SOMEBODY
        ):
            found.append(answer)
    except GCDError as error:
        return found, error
    return found, None


def says_how_it_ended(find: FindTab, answer: Answer, message: str) -> bool:
    """Whether the bar has a message, Find can be pressed and Cancel cannot."""
    start, cancel = answer[find.start], answer[find.cancel]
    return message in answer[find.progress] and start["interactive"] and not cancel["interactive"]


def test_settings_of_the_fields(domain: FakeDomain):
    settings = search_settings(domain, **FIELDS, settle=True)
    own = domain.search
    assert settings == Settings(
        radius=3.0, n_samples=64, n_h=2, settle=0.99, antithetic=own.antithetic
    )
    fields = FIELDS | {"samples": 72, "ways": 3, "boundary": True}
    wanted = search_settings(domain, **fields, settle=False)
    assert (wanted.n_ways, wanted.boundary) == (3, True)
    domain.search = Settings(radius=3.0, n_ways=2, boundary=True)  # the fields hold, not these
    wanted = search_settings(domain, **FIELDS, settle=False)
    assert (wanted.n_ways, wanted.boundary) == (0, False)
    domain.search = Settings(radius=3.0, solver=None, steps=None)  # a generator without steps
    assert search_settings(domain, **FIELDS | {"steps": None}, settle=False).steps is None


def test_the_fields_begin_with_the_domains_own(visitors: Visitors, domain: FakeDomain):
    domain.search = Settings(radius=3.0, n_ways=7, boundary=True)
    with gr.Blocks():
        find = FindTab(visitors, ExploreTab(visitors))
    assert (find.ways.value, find.boundary.value) == (4, True)  # no more than there is room for
    domain.search = Settings(radius=3.0, n_ways=2)
    with gr.Blocks():
        find = FindTab(visitors, ExploreTab(visitors))
    assert (find.ways.value, find.boundary.value) == (2, False)


def test_the_ways_wanted_reach_the_search(
    visitors: Visitors, find: FindTab, monkeypatch: pytest.MonkeyPatch
):
    visitors.session("somebody").open_example(0)
    asked = []

    def note(image: torch.Tensor, label: str, settings: Settings, **_: object):
        asked.append(settings)
        raise GCDError("Enough.")

    monkeypatch.setattr(visitors.service, "_find", note)
    answers(find, samples=72, ways=3, boundary=True)
    assert [(settings.n_ways, settings.boundary) for settings in asked] == [(3, True)]


def test_other_steps_than_the_distilled_decoders_are_the_full_ones(domain: FakeDomain):
    domain.search = Settings(radius=3.0, solver=DISTILLED, steps=4)
    domain.generator.sampling = Sampling("ddim", 20, 20)
    for steps, solver in ((4, DISTILLED), (20, "ddim")):
        settings = search_settings(domain, **FIELDS | {"steps": steps}, settle=False)
        assert (settings.solver, settings.steps) == (solver, steps)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("samples", -5, "-5 samples cannot train"),
        ("samples", None, "Samples is empty"),
        ("radius", 0, "radius 0"),
        ("lam", -1, "lam"),
        ("k", 11, "11 h-directions"),
        ("steps", 1, "1 solver step"),
        ("steps", None, "Steps is empty"),
        ("seed", -1, "seed -1"),
        ("ways", 5, "5 independent ways"),
        ("ways", -1, "-1 ways"),
        ("ways", None, "Independent ways is empty"),
    ],
)
def test_a_bad_setting_leaves_the_page_as_it_was(
    visitors: Visitors, find: FindTab, field: str, value: float | None, message: str
):
    session = visitors.session("somebody")
    session.open_example(0)
    found, error = answers(find, **{field: value})
    assert message in str(error)
    (answer,) = found
    assert says_how_it_ended(find, answer, str(error).split(";")[0])
    assert session.search is None and session.image is not None


@pytest.mark.slow
def test_a_search_that_fails_on_its_way_gives_the_page_back(
    visitors: Visitors, find: FindTab, monkeypatch: pytest.MonkeyPatch
):
    session, service = visitors.session("somebody"), visitors.service
    session.open_example(0)

    def broken(*_, **__):
        raise GCDError("The budget of queries is spent.")

    monkeypatch.setattr(service, "_find", broken)
    found, error = answers(find)
    assert str(error) == "The budget of queries is spent."
    assert says_how_it_ended(find, found[-1], "The budget of queries is spent.")
    numbers = find.explore.layout.numbers
    assert found[-1][numbers]["state"] == "failed" and session.search.state == "failed"
    monkeypatch.undo()
    found, error = answers(find)
    assert error is None and found[-1][numbers]["state"] == "done"


@pytest.mark.slow
def test_on_the_page_a_bad_setting_is_said_and_the_upload_stays(served: Served, tmp_path: Path):
    picture = tmp_path / "mine.png"
    to_pil(draw(torch.tensor([[1.0, 0.5, 0.2, 1.0, 0, 0, 0, 0]]))).save(picture)
    client = Client(served.address, verbose=False)
    client.predict(handle_file(picture), api_name="/open_image")
    job = client.submit(samples=-5, api_name="/find_directions")
    with pytest.raises(AppError, match="-5 samples"):
        job.result(timeout=60)
    _, bar, *_ = job.outputs()[-1]
    assert "The search did not start" in bar and "-5 samples" in bar
    answer = client.submit(samples=64, k=2, api_name="/find_directions").result(timeout=300)[0]
    assert answer["state"] == "done" and answer["image_name"] == "mine.png"
    client.close()


@pytest.mark.slow
def test_on_the_page_three_visitors_search_one_after_the_other(
    served: Served, clients: list[Client]
):
    generator = served.visitors.service.domain.generator
    a, b, c = clients
    generator.seconds_per_image = 0.02
    try:
        first = a.submit(samples=4096, k=2, api_name="/find_directions")
        wait_for(lambda: any(output[0]["state"] == "running" for output in first.outputs()))
        second = b.submit(samples=64, k=2, api_name="/find_directions")
        wait_for(second.outputs)
        numbers, bar, *_ = second.outputs()[-1]
        assert numbers["state"] == "waiting" and numbers["ahead"] == 1
        assert "Waiting for a free place" in bar and "1 search first" in bar
        served.visitors.forget(b.session_hash)
        assert second.result(timeout=60)[0]["state"] == "cancelled"
        a.predict(api_name="/cancel_search")
        assert first.result(timeout=60)[0]["state"] == "cancelled"
    finally:
        generator.seconds_per_image = 0.001
    third = c.submit(samples=64, k=2, api_name="/find_directions")
    numbers, bar, *_ = third.result(timeout=300)
    assert numbers["state"] == "done"
    assert 0 <= numbers["repeatability"] <= 1
    assert "another search " in bar


def test_directions_of_low_confidence_are_a_caution_wherever_they_are_used(
    visitors: Visitors, domain: FakeDomain
):
    session = visitors.session("somebody")
    session.open_example(0)
    own = session.service.ready_directions("pneumonia")
    assert own is not None and not cautions_of(session.image)
    for cosine, told in ((0.95, 0), (0.75, 0), (0.3, 1)):
        figures = own.metadata.get("figures", {}) | {"repeatability": cosine}
        found = replace(own, metadata=own.metadata | {"figures": figures})
        session.use("pneumonia", session.sets.keep("pneumonia", f"{cosine}", found))
        assert (
            len([text for text in cautions_of(session.image) if "Confidence low" in text]) == told
        )
