"""The pages of all domains in one server: the first at the root, the others when first opened."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gcd_core import __version__
from gcd_core.domains.finding import Entry
from gcd_core.domains.opening import Domain, load_domain
from gcd_core.environment import Environment
from gcd_core.errors import Cancelled, GCDError
from gcd_core.images.dataset import ImageFiles
from gcd_core.ui.gradio_workarounds import mount
from gcd_core.ui.page import ExplorerPage, launch_settings, page_script, page_settings, page_style
from gcd_core.ui.server.domain_menu import BELOW, DomainLink, domain_links, menu, opening
from gcd_core.ui.server.middleware import SecurityMiddleware, resident_bytes
from gcd_core.ui.session.registry import CLOSING, DiskCache, Job, LazyResource

PAGE_BELOW = re.compile(f"/{BELOW}/(?P<name>[^/]+)(?P<rest>/.*)?", re.DOTALL)
AGAIN = b"again"  # the query that tries to open a domain once more
TIDY_SECONDS = 60.0
NOT_KEPT = {"Cache-Control": "no-store"}


@dataclass(frozen=True, eq=False)
class Mounted:
    """A domain's page, and the application that serves it."""

    page: ExplorerPage
    app: FastAPI


class Site:
    """Serves the page of a loaded domain, and beside it those of others.

    Another domain is loaded when somebody first opens its page, once for all who do; until then
    only its domain.toml was read. The visitors of all domains share one set of limits.

    Parameters
    ----------
    first : Domain
        At the root. Where it is the only one, its page has no menu.
    load : callable
        Opens another domain by its `source`.
    stored : DiskCache, optional
        Where what was decoded of the examples is kept on disk; by default it is not.
    images : ImageFiles, optional
        Of the first domain, which its Globality walks in the place of the examples.
    settings : Environment, optional
        How the pages are guarded, and the limits of all visitors together.
    """

    def __init__(
        self,
        first: Domain,
        others: Sequence[Entry] = (),
        load: Callable[[str], Domain] = load_domain,
        stored: DiskCache | None = None,
        images: ImageFiles | None = None,
        settings: Environment | None = None,
    ) -> None:
        self._settings = settings or Environment()
        # Of all domains, the first one's first.
        self.places = [DomainLink(first.title, first.description), *domain_links(others)]
        self.root = ExplorerPage(
            first, None, menu(self.places, self.places[0]), stored, images, self._settings
        )
        self._load, self._closed = load, False
        context = self.root.visitors.service.context
        self._background, self._openings = context.background, context.openings
        # The other domains' pages, by their place's name.
        self.offers: dict[str, LazyResource[Mounted]] = {
            place.name: LazyResource(place.title, partial(self._open, entry, place), self._openings)
            for entry, place in zip(others, self.places[1:], strict=True)
        }
        self._running: AsyncExitStack
        self._started: set[Mounted] = set()
        self._starting: asyncio.Lock

    def launch(self, **settings: Any) -> None:
        """Serve the pages; `settings` are those of Gradio's `launch`."""
        gate = Middleware(SecurityMiddleware, settings=self._settings, state=self.state)
        settings["app_kwargs"] = {"middleware": [gate]}
        if self.offers:
            middleware = [gate, Middleware(DomainRouter, site=self)]
            settings["app_kwargs"] = {"middleware": middleware, "lifespan": self._lifespan}
        self.root.visitors.service.examples.prepare()
        self._background.submit(Job(self._keep_tidy, owner=self))
        self.root.launch(**launch_settings(), **settings)

    def state(self) -> dict[str, Any]:
        """How the server is, for `/health`: texts and numbers."""
        visitors = self.root.visitors
        searches = visitors.service.context.searches
        return {
            "ready": not self._closed,
            "version": __version__,
            "domain": visitors.service.domain.name,
            "domains": 1 + len(self.offers),
            "visitors": visitors.of_all_domains,
            "searches_running": searches.running,
            "searches_waiting": searches.waiting,
            "resident_bytes": resident_bytes(),
        }

    def close(self) -> None:
        """End the server and every session, and wait until no work is left."""
        self._closed = True
        self._background.stop(self)
        self._openings.close()
        pages = self.pages
        for page in pages:
            page.close(verbose=False)
        for page in pages:  # the root's is the last: the others share its threads
            page.visitors.close()

    @property
    def pages(self) -> list[ExplorerPage]:
        """Those that are open, the root's the last."""
        opened = [offer.opened for offer in self.offers.values()]
        return [*(mounted.page for mounted in opened if mounted is not None), self.root]

    def waiting_page(self, name: str) -> str:
        """What is seen of a domain that is not open, as HTML."""
        here = next(place for place in self.places if place.name == name)
        problem = self.offers[name].problem
        return opening(self.places, here, problem, page_style(), page_script())

    async def start(self, mounted: Mounted) -> None:
        """Begin what a page does beside answering, its queue and its tidying, unless it has."""
        async with self._starting:
            if mounted not in self._started:
                lifespan = mounted.app.router.lifespan_context(mounted.app)
                await self._running.enter_async_context(lifespan)
                self._started.add(mounted)

    def tidy(self) -> None:
        """End idle sessions, drop what is kept of visitors who left, and give memory back."""
        self.root.visitors.end_idle()
        for page in self.pages:
            page.forget_sessions(self._settings.idle_minutes)
        give_memory_back()

    def _keep_tidy(self, job: Job) -> None:
        """Tidy each minute; where that fails, it is tried again a minute later."""
        while not job.cancelled.wait(TIDY_SECONDS):
            self._background.submit(Job(lambda _: self.tidy(), failure="Tidying failed."))

    def _open(self, entry: Entry, place: DomainLink) -> Mounted:
        domain = self._load(entry.source)
        if self._closed:
            raise Cancelled
        page = ExplorerPage(domain, self.root.visitors, menu(self.places, place))
        page.visitors.service.examples.prepare()
        base = os.environ.get("GRADIO_ROOT_PATH", "").rstrip("/")
        root_path = f"{base}/{place.path}".rstrip("/")
        return Mounted(page, mount(page, root_path, **page_settings()))

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """The server's: what was started with it ends with it."""
        self._starting = asyncio.Lock()
        async with AsyncExitStack() as self._running:
            yield


def give_memory_back() -> None:
    """Return to the system what was freed: glibc keeps it for each thread that ever needed it."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)


class DomainRouter:
    """ASGI middleware of the root's page: answers for the pages below it.

    Who opens a domain's page first sees that it is being loaded; a client of its API waits.

    Parameters
    ----------
    app : ASGI application
        The root's.
    """

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app, self.site = app, site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        root_path = scope.get("root_path", "")
        asked = scope["path"].removeprefix(root_path) if scope["type"] == "http" else ""
        below = PAGE_BELOW.fullmatch(asked)
        if below is None or below["name"] not in self.site.offers:
            await self.app(scope, receive, send)
            return
        name, rest = below["name"], below["rest"]
        answer: Response | None = None
        if not rest:
            answer = RedirectResponse(f"{name}/")
        elif rest == "/":
            answer = self._without_domain(scope, name)
        if answer is None:
            try:
                mounted = await asyncio.wrap_future(self.site.offers[name].open().ended)
            except GCDError as error:
                answer = JSONResponse({"detail": str(error)}, 503, NOT_KEPT)
            except Cancelled:
                answer = JSONResponse({"detail": CLOSING}, 503, NOT_KEPT)
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self.site.start(mounted)
        place = f"{root_path}/{BELOW}/{name}"
        scope = {**scope, "root_path": place, "path": place + rest}
        await mounted.app(scope, receive, send)

    def _without_domain(self, scope: Scope, name: str) -> Response | None:
        """The answer to who opens a domain's page while it is not open; None where it is."""
        offer = self.site.offers[name]
        again = scope["query_string"] == AGAIN
        offer.open(again)
        if again:
            return RedirectResponse("./", 303)
        if offer.opened is not None:
            return None
        status = 503 if offer.problem else 200
        return HTMLResponse(self.site.waiting_page(name), status, NOT_KEPT)
