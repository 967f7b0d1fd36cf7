"""The Find tab: settings, one search after the other, and what the page says of them."""

from __future__ import annotations

import re
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
from gcd_core.method.prior_search import PLACES, places_of
from gcd_core.method.settings import BALL, PRIOR, Settings
from gcd_core.method.verification import tried_of
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.direction_sets import to_explore
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.find import FindTab, losses_html, search_settings, subject
from gcd_core.ui.tabs.handler import Answer
from gcd_core.ui.views.payload import cautions_of
from gcd_core.ui.views.search_progress import progress_html
from tests.ui.conftest import Served
from tests.ui.fakes import FakeDomain, PriorDomain, WithoutExamples, draw
from tests.ui.waiting import wait_for

FIELDS = {"samples": 64, "radius": 3.0, "lam": 1.0, "k": 2, "steps": 20, "seed": 0}
FIELDS |= {"ways": 0, "boundary": False, "sampling": BALL}
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


def test_what_is_to_be_known_of_the_answers_is_told(session: Session) -> None:
    classifier = session.service.domain.classifier
    assert "gcd-caution" not in progress_html(None, classifier)
    classifier.notice = "All answers lie between 0 & 1."
    told = '<p class="gcd-caution">All answers lie between 0 &amp; 1.</p>'
    assert progress_html(None, classifier).endswith(told)
    assert classifier.notice in cautions_of(session.image)


def test_settings_of_the_fields(domain: FakeDomain):
    settings = search_settings(domain, **FIELDS, settle=True)
    own = domain.search
    assert settings == Settings(
        radius=3.0, n_samples=64, n_h=2, settle=0.99, antithetic=own.antithetic, sampling=BALL
    )
    domain.search = Settings(radius=3.0, n_ways=2, boundary=True)  # the fields hold, not these
    fields = FIELDS | {"samples": 72, "ways": 3, "sampling": PRIOR}
    wanted = search_settings(domain, **fields, settle=False)
    assert (wanted.sampling, wanted.n_ways, wanted.boundary) == (PRIOR, 3, False)
    wanted = search_settings(domain, **FIELDS | {"boundary": True}, settle=False)
    assert (wanted.sampling, wanted.n_ways, wanted.boundary) == (BALL, 0, True)
    domain.search = Settings(radius=3.0, solver=None, steps=None)  # a generator without steps
    assert search_settings(domain, **FIELDS | {"steps": None}, settle=False).steps is None


@pytest.mark.parametrize("field, value", [("radius", None), ("settle", True), ("boundary", True)])
def test_fields_that_mean_nothing_to_drawn_codes_are_passed_over(
    domain: FakeDomain, field: str, value: object
):
    fields = FIELDS | {"sampling": PRIOR, "settle": False}
    assert search_settings(domain, **fields | {field: value}) == search_settings(domain, **fields)
    assert search_settings(domain, **FIELDS | {"ways": None}, settle=False).n_ways == 0


def test_the_fields_begin_with_the_domains_own(visitors: Visitors, domain: FakeDomain):
    for sampling, own, around in ((PRIOR, 2, False), (BALL, 0, True)):
        domain.search = Settings(radius=3.0, n_ways=own, boundary=around, sampling=sampling)
        with gr.Blocks():
            find = FindTab(visitors, ExploreTab(visitors))
        assert (find.sampling.value, find.ways.value) == (sampling, own)
        assert find.boundary.value == around
        for field in (find.radius, find.boundary, find.settle):
            assert field.visible == around
        assert find.ways.visible != around
    domain.search = Settings(radius=3.0, sampling="images")  # is for the command line
    with gr.Blocks():
        assert FindTab(visitors, ExploreTab(visitors)).sampling.value == PRIOR


def test_where_to_search_shows_its_own_fields(visitors: Visitors, find: FindTab):
    around = find.choose_sampling(BALL, SOMEBODY)
    assert "Open an image" in around[find.subject] and around[find.samples] == 192
    drawn = find.choose_sampling(PRIOR, SOMEBODY)
    assert "No picture need be open" in drawn[find.subject] and drawn[find.samples] == 256
    assert "h-directions take 512 samples" in drawn[find.how]
    for field in (find.radius, find.boundary, find.settle):
        assert around[field]["visible"] and not drawn[field]["visible"]
    assert drawn[find.ways]["visible"] and not around[find.ways]["visible"]
    visitors.session("somebody").open_example(0)
    assert "this one image" in find.choose_sampling(BALL, SOMEBODY)[find.subject]
    assert "tried on this one first" in find.choose_sampling(PRIOR, SOMEBODY)[find.subject]


def test_the_ways_wanted_reach_the_search(
    visitors: Visitors, find: FindTab, monkeypatch: pytest.MonkeyPatch
):
    visitors.session("somebody").open_example(0)
    asked = []

    def note(image: torch.Tensor, label: str, settings: Settings, **_: object):
        asked.append(settings)
        raise GCDError("Enough.")

    monkeypatch.setattr(visitors.service, "_find", note)
    answers(find, samples=72, boundary=True)
    answers(find, samples=72, ways=3, sampling=PRIOR)
    told = [(settings.sampling, settings.n_ways, settings.boundary) for settings in asked]
    assert told == [(BALL, 0, True), (PRIOR, 3, False)]


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
        ("ways", 5, "5 directions by place"),
        ("ways", -1, "-1 directions by place"),
        ("ways", None, "Directions by place is empty"),
    ],
)
def test_a_bad_setting_leaves_the_page_as_it_was(
    visitors: Visitors, find: FindTab, field: str, value: float | None, message: str
):
    session = visitors.session("somebody")
    session.open_example(0)
    sampling = PRIOR if field == "ways" else BALL
    found, error = answers(find, **{"sampling": sampling, field: value})
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


@pytest.fixture
def drawing(tmp_path: Path) -> Iterator[FindTab]:
    """The tab of a domain whose searches need no picture."""
    visitors = Visitors(PriorDomain(tmp_path, examples=8))
    with gr.Blocks():
        find = FindTab(visitors, ExploreTab(visitors))
    find.sets.tabs = gr.Tabs()
    yield find
    visitors.close()


def test_around_a_picture_there_must_be_one(visitors: Visitors, find: FindTab):
    found, error = answers(find)
    assert found == [] and "open an image first, or search what the images" in str(error)


@pytest.mark.slow
def test_without_a_picture_directions_are_found_tried_and_told(drawing: FindTab):
    session = drawing.visitors.session("somebody")
    found, error = answers(drawing, samples=128, k=2, ways=4, sampling=PRIOR)
    assert error is None and session.image is None
    numbers = found[-1][drawing.explore.layout.numbers]
    assert numbers["state"] == "done" and numbers["image_name"] == ""
    assert numbers["directions"] == ["g", "w1", "w2", "w3", "w4"]
    kept = session.sets.get("pneumonia", numbers["set"])
    assert numbers["set"] == f"{kept.metadata['settings']['n_samples']} answers, seed 0"
    assert places_of(kept.metadata).keys() == {"w1", "w2", "w3", "w4"}
    tried = tried_of(kept.metadata)
    assert tried["g"].n == 8 and tried["g"].works
    read = re.sub(r'<span class="plain">.*?</span>|<[^>]*>', "", found[-1][drawing.progress])
    assert f"{tried['g'].sentence}. Confidence" in read
    assert "There are no h-directions: they take 512 samples." in read
    assert not found[-1][drawing.use_so_far]["visible"]
    told = drawing.sets.show_about(numbers["set"], SOMEBODY)[drawing.sets.tried]
    assert told.count("<tr>") == 6 and any(place in told for place in PLACES)
    assert drawing.sets.show_about("bundled", SOMEBODY)[drawing.sets.tried] == ""


@pytest.mark.slow
def test_an_open_picture_is_tried_first(drawing: FindTab):
    session = drawing.visitors.session("somebody")
    session.open_example(3)
    found, error = answers(drawing, samples=64, k=0, sampling=PRIOR)
    assert error is None and found[-1][drawing.explore.layout.numbers]["image_name"] == "Example 4"
    probability = session.search.result.metadata["source_probability"]
    assert probability == pytest.approx(session.image.opened.source.probabilities[0], abs=1e-3)


@pytest.mark.slow
def test_a_g_can_be_used_before_the_search_has_ended(drawing: FindTab):
    session, domain = drawing.visitors.session("somebody"), drawing.domain
    with pytest.raises(GCDError, match="after 64 answers"):
        drawing.use_g_so_far(**DISPLAY, request=SOMEBODY)
    session.open_example(0)
    domain.generator.seconds_per_image = 0.02
    settings = domain.search.changed(n_samples=512, n_h=1)
    search = session.start_search(settings)
    wait_for(lambda: search.usable is not None)
    shown = drawing._show(session, search)
    assert shown[drawing.use_so_far]["visible"]
    read = re.sub(r'<span class="plain">.*?</span>|<[^>]*>', "", shown[drawing.progress])
    assert "After 64 answers there is a g to use; a better one may come" in read
    assert "examples flip" in shown[drawing.progress] and "Confidence" in shown[drawing.progress]
    assert shown[drawing.explore.layout.numbers]["usable"] == 64
    for _ in range(2):  # once more changes nothing
        drawing.use_g_so_far(**DISPLAY, request=SOMEBODY)
        assert session.names == ["g"] and session.sets.used("pneumonia") == "64 answers, seed 0"
    assert session.sets.names("pneumonia") == ["64 answers, seed 0"] and search.running
    search.cancel()
    assert search.wait(60)
    domain.generator.seconds_per_image = 0.0
    shown = drawing._show(session, search)
    assert shown[drawing.use_so_far]["visible"] and "may come" not in shown[drawing.progress]
    session.open_example(1)  # what was asked holds whatever is open
    again = session.start_search(settings)
    assert again.samples is search.samples
    again.cancel()
    assert again.wait(60)


@pytest.mark.slow
def test_a_domain_with_nothing_to_open_is_searched(tmp_path: Path):
    visitors = Visitors(WithoutExamples(tmp_path, examples=8))
    search = visitors.session("somebody").start_search(visitors.service.domain.search)
    assert search.wait(120) and search.state == "done", search.error
    assert tried_of(search.result.metadata)["g"].n == 8
    visitors.close()


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


def test_a_person_notes_something_on_a_direction(find: FindTab, visitors: Visitors) -> None:
    sets, session = find.sets, visitors.session("somebody")
    shown = find.show_subject(BUNDLED, PRIOR, SOMEBODY)
    assert shown[sets.noted]["value"] == "g" and shown[sets.called] == shown[sets.mark] == ""
    kept = sets.note_direction(BUNDLED, "h1", "<i>wide</i>", "a\nb", "shortcut", SOMEBODY)
    title = kept[find.explore.layout.rows[1].title]
    assert "&lt;i&gt;wide" in title and "<i>wide" not in title
    assert "Marked as shortcut. a b" in kept[sets.tried] and "#noted input" in kept[sets.tried]
    assert sets.show_note(BUNDLED, "h1", SOMEBODY) == {
        sets.called: "<i>wide</i>",
        sets.remark: "a b",
        sets.mark: "shortcut",
    }
    assert sets.show_about("", SOMEBODY)[sets.called] == "", "the first is g"
    assert session.directions.metadata["notes"]["h1"]["mark"] == "shortcut"
    for wrong in ((None, ""), ("h9", ""), ("g", "sure")):
        with pytest.raises(GCDError):
            sets.note_direction(BUNDLED, wrong[0], "", "", wrong[1], SOMEBODY)


def test_a_running_search_keeps_its_card_whatever_is_opened_meanwhile(
    find: FindTab, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session.service, "start_search", lambda search: None)  # it waits
    session.start_search(Settings(radius=3.0, n_samples=64, sampling=PRIOR))
    session.open_example(1)
    told = subject(session, BALL)
    assert "Example 1" in told and "tried on this one first" in told
    assert "A curve comes" in losses_html(session.search)
    session.search.state = "done"
    assert "Example 2" in subject(session, BALL)
    assert "There is no curve: no proxy was trained" in losses_html(session.search)


@pytest.fixture
def running(visitors: Visitors, session: Session, find: FindTab) -> Iterator[Answer]:
    """What a page is told of a search that has begun; its tab can come back."""
    visitors.come_back("somebody", "0" * 32)
    answers = find.find_directions(**FIELDS, **DISPLAY, settle=False, request=SOMEBODY)
    next(answers)
    return answers


def test_a_search_is_shown_to_its_end_where_only_the_heartbeat_was_cut_off(
    visitors: Visitors, session: Session, find: FindTab, running: Iterator[Answer]
) -> None:
    visitors.leave("somebody")
    last = list(running)[-1]
    assert session.search is not None and session.search.result is not None
    assert last[find.explore.layout.numbers]["set"] and last[find.start]["interactive"]
    assert not session.is_away and visitors.session("somebody") is session


def test_a_page_that_another_one_replaced_hears_no_more_of_a_search(
    visitors: Visitors, session: Session, find: FindTab, running: Iterator[Answer]
) -> None:
    assert visitors.come_back("again", "0" * 32) is session
    assert list(running) == [] and session.search is not None
    *_, last = find.go_on(SimpleNamespace(session_hash="again"))
    assert last[find.start]["interactive"] and session.search.result is not None
