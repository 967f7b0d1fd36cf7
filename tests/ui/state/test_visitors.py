"""Who is here: sessions are separate, and end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gcd_core.ui.state import visitors as module
from gcd_core.ui.state.session import Session
from gcd_core.ui.state.visitors import Visitors
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for, wait_for_paths


def test_sessions_are_separate_and_end(visitors: Visitors, own: Session):
    other = visitors.session("other")
    assert other.opened is None and other.current is None
    own.move({"g": 2.0})
    assert other.alphas == {}
    folder = own.folder
    assert folder.is_dir()
    visitors.forget("owner")
    assert own.opened is None and own.current is None and not own.moves
    assert not folder.exists()
    assert visitors.session("owner") is not own


def test_old_and_idle_sessions_make_room(visitors: Visitors, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SESSIONS_KEPT", 2)
    first = visitors.session("first")
    for name in ("second", "third"):
        visitors.session(name)
    assert len(visitors) == 2 and not first.folder.exists()
    second = visitors.session("second")
    second.last_used -= 2 * module.IDLE_SECONDS
    visitors.session("third")
    assert len(visitors) == 1


@pytest.fixture
def beside(visitors: Visitors, tmp_path: Path) -> Iterator[Visitors]:
    """The visitors of another domain in the same process."""
    folder = tmp_path / "other"
    folder.mkdir()
    others = Visitors(FakeDomain(folder, examples=1), visitors)
    yield others
    others.close()


def test_the_visitors_of_two_domains_share_the_limits(
    visitors: Visitors, beside: Visitors, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "SESSIONS_KEPT", 2)
    first, second = visitors.session("first"), beside.session("second")
    assert (len(visitors), len(beside)) == (1, 1)
    beside.session("third")
    assert (len(visitors), len(beside)) == (0, 2) and not first.folder.exists()
    second.last_used -= 2 * module.IDLE_SECONDS
    visitors.session("fourth")
    assert (len(visitors), len(beside)) == (1, 1) and not second.folder.exists()
    ours, theirs = visitors.explorer, beside.explorer
    assert ours.compute is theirs.compute and ours.searches is theirs.searches
    assert ours.ahead is theirs.ahead


def test_one_key_at_two_domains_is_two_visitors(visitors: Visitors, beside: Visitors):
    ours, theirs = visitors.session("somebody"), beside.session("somebody")
    assert ours.explorer is visitors.explorer and theirs.explorer is beside.explorer
    beside.forget("somebody")
    assert visitors.session("somebody") is ours and ours.folder.exists()


def test_the_examples_of_two_domains_are_kept_apart(visitors: Visitors, beside: Visitors):
    ours, theirs = visitors.session("somebody"), beside.session("somebody")
    for session in (ours, theirs):
        session.open_example(0)
        wait_for_paths(session)
    assert ours.paths is not theirs.paths
    again = beside.session("another")
    again.open_example(0)
    assert again.paths is theirs.paths


def test_a_search_in_one_domain_waits_for_one_in_another(visitors: Visitors, beside: Visitors):
    ours, theirs = visitors.session("a"), beside.session("b")
    visitors.explorer.domain.generator.seconds_per_image = 0.01
    for session in (ours, theirs):
        session.open_example(0)
    settings = visitors.explorer.domain.search
    first = ours.start_search(settings.changed(n_samples=4096))
    wait_for(lambda: first.state == "running")
    second = theirs.start_search(settings.changed(n_samples=64))
    assert second.state == "waiting" and theirs.explorer.searches.place(second) == 1
    visitors.forget("a")
    wait_for(lambda: second.state != "waiting")
    theirs.explorer.searches.cancel(second)
    assert second.ended.wait(60)


def test_closing_one_domain_leaves_the_other_working(visitors: Visitors, tmp_path: Path):
    others = Visitors(FakeDomain(tmp_path, examples=1), visitors)
    others.session("somebody").open_example(0)
    session = visitors.session("somebody")
    others.close()
    assert len(others) == 0 and visitors.session("somebody") is session
    session.open_example(0)
    assert session.move({"g": 1.0}) is not None
