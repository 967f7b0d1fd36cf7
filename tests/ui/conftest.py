"""The page served in this process on a drawn domain, and its clients."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

from gcd_core.domains.finding import list_domain
from gcd_core.domains.opening import Domain, load_domain
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.page import ExplorerPage, launch_settings
from gcd_core.ui.server.app import Site
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from tests.tiny_domain import write_tiny_domain
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
def service(visitors: Visitors) -> ModelService:
    return visitors.service


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
    domain = visitors.service.domain
    session.open_image(domain.load_image(domain.examples[1]).flip(-1), "mine.png")
    return session


@contextmanager
def serving(domain: FakeDomain) -> Iterator[Served]:
    """A domain's page, served until the block ends."""
    page = ExplorerPage(domain)
    port = free_port()
    page.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        **launch_settings(),
    )
    try:
        yield Served(f"http://127.0.0.1:{port}", page.visitors)
    finally:
        page.close()
        page.visitors.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("domain")
    with serving(FakeDomain(folder, seconds_per_image=0.001)) as served:
        yield served


@dataclass
class Loader:
    """Loads domains as the page does, when it may, and notes which."""

    loaded: list[str] = field(default_factory=list)
    may: threading.Event = field(default_factory=threading.Event)

    def __call__(self, source: str) -> Domain:
        self.loaded.append(Path(source).name)
        assert self.may.wait(60)
        return load_domain(source, device="cpu")


@dataclass(frozen=True)
class Hosted:
    """Where the pages are, and what stands behind them."""

    address: str
    site: Site
    loader: Loader
    folder: Path

    @property
    def cells(self) -> str:
        return f"{self.address}/domains/cells/"

    def visitors(self) -> Visitors:
        """The second domain's, once it is open."""
        return self.site.offers["cells"].opened.page.visitors


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    """A drawn domain at the root, and one of colour images beside it, not loaded yet."""
    drawings = tmp_path / "drawings"
    drawings.mkdir()
    folder = write_tiny_domain(tmp_path / "cells", channels=3)
    text = (folder / "domain.toml").read_text()
    text = text.replace('"tiny"', '"Cells"').replace("Drawn squares", "Blood cells")
    (folder / "domain.toml").write_text(text)
    loader = Loader()
    first = FakeDomain(drawings, seconds_per_image=0.001, examples=2)
    site = Site(first, [list_domain(str(folder))], loader)
    port = free_port()
    place = {"server_name": "127.0.0.1", "server_port": port}
    site.launch(**place, prevent_thread_lock=True, quiet=True)
    yield Hosted(f"http://127.0.0.1:{port}", site, loader, folder)
    loader.may.set()
    site.close()
