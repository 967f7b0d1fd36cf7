"""Who is here: sessions are separate, and end."""

from __future__ import annotations

import pytest

from gcd_core.ui.state import visitors as module
from gcd_core.ui.state.session import Session
from gcd_core.ui.state.visitors import Visitors


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
