"""The page served in this process on a drawn domain, and its clients."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from gcd_core.ui.page import build_page, launch_settings
from gcd_core.ui.state.explorer import Explorer
from gcd_core.ui.state.visitors import Visitors
from tests.ui.fakes import FakeDomain


@dataclass(frozen=True)
class Served:
    """Where the page is, and what stands behind it."""

    address: str
    visitors: Visitors


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def domain(tmp_path: Path) -> FakeDomain:
    return FakeDomain(tmp_path, examples=3)


@pytest.fixture
def visitors(domain: FakeDomain) -> Iterator[Visitors]:
    visitors = Visitors(domain)
    yield visitors
    visitors.close()


@pytest.fixture
def explorer(visitors: Visitors) -> Explorer:
    return visitors.explorer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    domain = FakeDomain(tmp_path_factory.mktemp("domain"), seconds_per_image=0.001)
    page = build_page(domain)
    port = free_port()
    page.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        **launch_settings(),
    )
    yield Served(f"http://127.0.0.1:{port}", page.visitors)
    page.close()
    page.visitors.close()
