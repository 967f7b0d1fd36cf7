"""Who is here: sessions are separate, and end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gcd_core.environment import Environment
from gcd_core.errors import GCDError
from gcd_core.ui.session import registry as module
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for, wait_for_paths


def test_sessions_are_separate_and_end(visitors: Visitors, own: Session):
    other = visitors.session("other")
    assert other.image is None
    own.image.sliders.move({"g": 2.0})
    assert other.image is None
    folder = own.folder
    assert folder.is_dir()
    visitors.forget("owner")
    assert own.image is None
    assert not folder.exists()
    with pytest.raises(GCDError, match="visit has ended: load the page anew"):
        visitors.session("owner")  # an event that was sent again
    visitors.forget(None)
    assert visitors.session(None).image is None


def test_who_is_away_makes_room_and_else_nobody_does(tmp_path: Path) -> None:
    visitors = Visitors(FakeDomain(tmp_path, examples=1), limits=Environment(visitors=2))
    try:
        first, second = visitors.session("first"), visitors.session("second")
        with pytest.raises(GCDError, match="2 visitors are here already"):
            visitors.session("third")
        assert len(visitors) == 2 and first.folder.exists()
        second.last_used -= 2 * module.AWAY_SECONDS
        visitors.session("third")
        assert len(visitors) == 2 and not second.folder.exists() and first.folder.exists()
        assert visitors.session("first") is first
    finally:
        visitors.close()


def test_idle_sessions_end_and_those_in_use_do_not(visitors: Visitors) -> None:
    idle, used = visitors.session("idle"), visitors.session("used")
    idle.last_used -= 61 * 60
    used.last_used -= 59 * 60
    visitors.end_idle()
    assert not idle.folder.exists() and used.folder.exists() and len(visitors) == 1
    assert visitors.session("idle") is not idle  # its tab is open: it may begin anew


@pytest.fixture
def beside(visitors: Visitors, tmp_path: Path) -> Iterator[Visitors]:
    """The visitors of another domain in the same process."""
    folder = tmp_path / "other"
    folder.mkdir()
    others = Visitors(FakeDomain(folder, examples=1), visitors)
    yield others
    others.close()


def test_the_visitors_of_two_domains_share_the_limits(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    visitors = Visitors(FakeDomain(tmp_path / "one", examples=1), limits=Environment(visitors=2))
    beside = Visitors(FakeDomain(tmp_path / "two", examples=1), visitors)
    try:
        first, second = visitors.session("first"), beside.session("second")
        assert (len(visitors), len(beside), visitors.of_all_domains) == (1, 1, 2)
        with pytest.raises(GCDError, match="2 visitors are here"):
            beside.session("third")
        first.last_used -= 2 * module.AWAY_SECONDS
        beside.session("third")
        assert (len(visitors), len(beside)) == (0, 2) and not first.folder.exists()
        second.last_used -= 61 * 60
        visitors.end_idle()
        assert len(beside) == 1 and not second.folder.exists()
        ours, theirs = visitors.service, beside.service
        assert ours.compute is theirs.compute and ours.searches is theirs.searches
        assert ours.ahead is theirs.ahead
    finally:
        beside.close()
        visitors.close()


def test_one_key_at_two_domains_is_two_visitors(visitors: Visitors, beside: Visitors):
    ours, theirs = visitors.session("somebody"), beside.session("somebody")
    assert ours.service is visitors.service and theirs.service is beside.service
    beside.forget("somebody")
    assert visitors.session("somebody") is ours and ours.folder.exists()


def test_the_examples_of_two_domains_are_kept_apart(visitors: Visitors, beside: Visitors):
    ours, theirs = visitors.session("somebody"), beside.session("somebody")
    for session in (ours, theirs):
        session.open_example(0)
        wait_for_paths(session)
    assert ours.image.paths is not theirs.image.paths
    again = beside.session("another")
    again.open_example(0)
    assert again.image.paths is theirs.image.paths


def test_a_search_in_one_domain_waits_for_one_in_another(visitors: Visitors, beside: Visitors):
    ours, theirs = visitors.session("a"), beside.session("b")
    visitors.service.domain.generator.seconds_per_image = 0.01
    for session in (ours, theirs):
        session.open_example(0)
    settings = visitors.service.domain.search
    first = ours.start_search(settings.changed(n_samples=4096))
    wait_for(lambda: first.state == "running")
    second = theirs.start_search(settings.changed(n_samples=64))
    assert second.state == "waiting" and second.place == 1
    visitors.forget("a")
    wait_for(lambda: second.state != "waiting")
    second.cancel()
    assert second.wait(60)


def test_closing_one_domain_leaves_the_other_working(visitors: Visitors, tmp_path: Path):
    others = Visitors(FakeDomain(tmp_path, examples=1), visitors)
    others.session("somebody").open_example(0)
    session = visitors.session("somebody")
    others.close()
    assert len(others) == 0 and visitors.session("somebody") is session
    session.open_example(0)
    assert session.image.sliders.move({"g": 1.0}) is not None


KEY, OTHER = "0123456789abcdef" * 2, "f" * 32


@pytest.fixture
def left(visitors: Visitors) -> Session:
    """A session whose page has gone."""
    session = visitors.come_back("old", KEY)
    session.open_image(visitors.service.domain.load_image(examples(visitors)[1]), "mine.png")
    wait_for_paths(session)
    session.image.sliders.move({"g": 1.5})
    visitors.leave("old")
    return session


def examples(visitors: Visitors) -> list[Path]:
    return visitors.service.domain.examples


def test_the_same_tab_comes_back_to_its_visit(visitors: Visitors, left: Session) -> None:
    assert len(visitors) == 0 and left.folder.exists()
    image = left.image
    assert visitors.holds("old", left) and left.is_away
    assert visitors.come_back("new", KEY) is left and visitors.session("new") is left
    assert left.image is image and image.sliders.alphas == {"g": 1.5} and not left.is_away
    assert visitors.holds("new", left) and not visitors.holds("old", left)
    with pytest.raises(GCDError, match="visit has ended"):
        visitors.session("old")
    assert image.sliders.path_now("g") is not None


def test_another_key_gets_nothing_and_a_used_up_one_neither(
    visitors: Visitors, beside: Visitors, left: Session
) -> None:
    assert visitors.come_back("guess", OTHER).image is None
    assert beside.come_back("elsewhere", KEY).image is None
    visitors.come_back("new", KEY)
    visitors.forget("new")
    assert left.image is None and not left.folder.exists()
    assert visitors.come_back("again", KEY).image is None


def test_a_connection_that_was_cut_off_goes_on(visitors: Visitors, left: Session) -> None:
    assert visitors.session("old") is left and len(visitors) == 1


def test_a_page_that_has_not_been_noticed_to_go_hands_over(visitors: Visitors) -> None:
    session = visitors.come_back("old", KEY)
    session.open_example(0)
    visitors.session("new")
    assert visitors.come_back("new", KEY) is session and len(visitors) == 1
    visitors.leave("old")  # noticed now
    assert visitors.session("new") is session and session.image is not None


def test_a_visit_is_not_kept_for_ever(visitors: Visitors, left: Session) -> None:
    left.last_used -= 14 * 60
    visitors.end_idle()
    assert left.folder.exists()
    left.last_used -= 2 * 60
    visitors.end_idle()
    assert not left.folder.exists() and left.image is None
    assert visitors.come_back("new", KEY) is not left


def test_a_visit_without_a_key_and_one_that_is_not_to_be_kept_end(tmp_path: Path) -> None:
    visitors = Visitors(FakeDomain(tmp_path, examples=1), limits=Environment(keep_minutes=0))
    try:
        kept = visitors.come_back("old", KEY)
        visitors.leave("old")
        assert not kept.folder.exists()
        plain = visitors.session("program")
        visitors.leave("program")
        assert not plain.folder.exists()
    finally:
        visitors.close()


def test_who_is_away_makes_room_first(tmp_path: Path) -> None:
    visitors = Visitors(FakeDomain(tmp_path, examples=1), limits=Environment(visitors=2))
    try:
        kept, here = visitors.come_back("old", KEY), visitors.session("here")
        visitors.leave("old")
        visitors.session("third")
        assert not kept.folder.exists() and here.folder.exists() and len(visitors) == 2
    finally:
        visitors.close()


def test_no_path_is_decoded_for_who_is_away(visitors: Visitors) -> None:
    generator = visitors.service.domain.generator
    session = visitors.come_back("old", KEY)
    generator.seconds_per_image = 0.01
    own = visitors.service.domain.load_image(examples(visitors)[1]).flip(-1)
    session.open_image(own, "mine.png")
    paths = session.image.paths
    wait_for(lambda: paths.ready >= 1)
    visitors.leave("old")
    wait_for(lambda: paths.rank() is None)
    ready = paths.ready
    visitors.service.context.paths.dispatch()
    assert paths.ready <= ready + 1 < paths.total and not paths.cancelled.is_set()
    generator.seconds_per_image = 0.0
    visitors.come_back("new", KEY)
    wait_for_paths(session)


def test_a_picture_that_opens_while_its_visitor_is_away_waits(visitors: Visitors) -> None:
    generator = visitors.service.domain.generator
    session = visitors.come_back("old", KEY)
    visitors.leave("old")
    generator.seconds_per_image = 0.01
    own = visitors.service.domain.load_image(examples(visitors)[1]).flip(-1)
    session.open_image(own, "mine.png")
    paths = session.image.paths
    assert paths.rank() is None and not paths.ready
    visitors.come_back("new", KEY)
    assert paths.rank() is not None or paths.state == "running"
    session.open_example(0)
    wait_for(lambda: not paths.running)
    assert paths.state == "cancelled"
