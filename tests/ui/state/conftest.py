"""Sessions on the drawn domain."""

from __future__ import annotations

import pytest

from gcd_core.ui.state.session import Session
from gcd_core.ui.state.visitors import Visitors


@pytest.fixture
def session(visitors: Visitors) -> Session:
    """A session with an example."""
    session = visitors.session("somebody")
    session.open_example(0)
    return session


@pytest.fixture
def own(visitors: Visitors) -> Session:
    """A session with a picture of the visitor's own."""
    session = visitors.session("owner")
    domain = visitors.explorer.domain
    session.open_image(domain.load_image(domain.examples[1]).flip(-1), "mine.png")
    return session
