"""All paths of an opened picture end ready, and the page hears it, whatever its visitor does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace

import gradio as gr
import pytest

from gcd_core.ui.engine.jobs import Job
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.explore.handlers import ExploreHandlers
from tests.ui.session.test_tried_regions import CORNER
from tests.ui.waiting import wait_for

SHOWN = ("bb_lig", 0.6, "side")
KEY = "0123456789abcdef0123456789abcdef"
SLOW = 600.0  # seconds, on a machine that has more to do


@pytest.fixture
def handlers(visitors: Visitors) -> ExploreHandlers:
    visitors.service.domain.generator.seconds_per_image = 0.002
    with gr.Blocks():
        return ExploreTab(visitors).handlers


class Page:
    """A visitor's page with an own picture: it takes what `prepare` tells, until that ends."""

    def __init__(self, handlers: ExploreHandlers, name: str) -> None:
        self.name, self.handlers = name, handlers
        self.session: Session = handlers.visitors.come_back(name, KEY + name)
        self.heading = ""
        self.open(1)

    def open(self, example: int) -> None:
        domain = self.handlers.domain
        picture = domain.load_image(domain.examples[example]).flip(-1)
        self.session.open_image(picture, f"{self.name}-{example}.png")
        self.told = threading.Thread(target=self._hear, daemon=True)
        self.told.start()

    def _hear(self) -> None:
        request = SimpleNamespace(session_hash=self.name)
        for answer in self.handlers.prepare(*SHOWN, request):
            self.heading = answer.get(self.handlers.layout.heading, self.heading)

    def try_region(self) -> Job:
        """Try a region along every direction, of which none flips."""
        return self.session.image.regions.start(CORNER)

    def all_there(self) -> None:
        """Wait until every path is ready, and the page was told so."""
        image = self.session.image
        wait_for(lambda: image.paths.finished, SLOW)
        assert image.paths.state in ("running", "done") and not image.paths.error
        assert list(image.ready_paths()) == image.names
        self.told.join(30)
        assert not self.told.is_alive() and "g" in image.names
        assert "<h2>" in self.heading and "preparing" not in self.heading


Act = Callable[[Page, Job], None]


def nothing(page: Page, job: Job) -> None:
    """Nothing more is done."""


def cancel(page: Page, job: Job) -> None:
    page.session.image.regions.cancel()


def forget(page: Page, job: Job) -> None:
    page.session.image.regions.forget()


def again(page: Page, job: Job) -> None:
    page.session.image.regions.cancel()
    job.wait(30)
    page.try_region()


def flip(page: Page, job: Job) -> None:
    page.session.image.flips.to_flip(page.session.image.names[-1], 0.25)


def another_picture(page: Page, job: Job) -> None:
    page.open(2)


def another_label_and_back(page: Page, job: Job) -> None:
    for label in ("bacterial", "pneumonia"):
        page.session.explain(label)
    page.told.join(30)
    page.told = threading.Thread(target=page._hear, daemon=True)
    page.told.start()


@pytest.mark.parametrize(
    ("ready", "act"),
    [
        (0, nothing),
        (5, nothing),
        (2, cancel),
        (2, forget),
        (0, again),
        (2, flip),
        (2, another_picture),
        (2, another_label_and_back),
    ],
)
def test_a_region_is_tried(handlers: ExploreHandlers, ready: int, act: Act) -> None:
    page = Page(handlers, "one")
    wait_for(lambda: page.session.image.paths.ready >= ready, SLOW)
    job = page.try_region()
    act(page, job)
    page.all_there()


def test_two_visitors_try_regions_at_once(handlers: ExploreHandlers) -> None:
    pages = [Page(handlers, "one"), Page(handlers, "other")]
    jobs = [page.try_region() for page in pages]
    for page in pages:
        page.all_there()
    for job in jobs:
        assert job.wait(30) and job.state == "done"


def test_a_heartbeat_that_was_cut_off_is_not_a_page_that_has_gone(
    visitors: Visitors, handlers: ExploreHandlers
) -> None:
    page = Page(handlers, "one")
    wait_for(lambda: "1 of 5" in page.heading)
    page.try_region()
    visitors.leave("one")
    page.all_there()
    assert not page.session.is_away


def test_a_page_that_another_one_replaced_is_told_nothing_more(
    visitors: Visitors, handlers: ExploreHandlers
) -> None:
    page = Page(handlers, "one")
    wait_for(lambda: page.heading)
    visitors.leave("one")
    assert visitors.come_back("new", KEY + "one") is page.session
    page.told.join(30)
    assert not page.told.is_alive() and not page.session.is_away
    assert not visitors.holds("one", page.session) and visitors.holds("new", page.session)


def test_a_page_that_has_gone_takes_nothing_and_stays_away(
    visitors: Visitors, handlers: ExploreHandlers
) -> None:
    request = SimpleNamespace(session_hash="one")
    session = visitors.come_back("one", KEY)
    session.open_image(visitors.service.domain.load_image(handlers.domain.examples[1]), "mine.png")
    preparing = handlers.prepare(*SHOWN, request)
    next(preparing)
    visitors.leave("one")
    next(preparing)  # Gradio notices by this answer that nobody hears it
    preparing.close()
    assert session.is_away and not session.image.paths.finished
    wait_for(lambda: session.image.paths.rank() is None)
