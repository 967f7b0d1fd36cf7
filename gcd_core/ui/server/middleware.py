"""What stands before the page: who may enter, what browsers must keep to, and how the server is."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from anyio import to_thread
from gradio.utils import get_upload_folder
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gcd_core.environment import Environment
from gcd_core.ui.metrics import as_prometheus

HEALTH, METRICS = "/health", "/metrics"
STARTUP = "/gradio_api/startup-events"  # Gradio asks itself for it, and brings no password
# Gradio's page runs scripts that stand in it and that it makes, and draws from data and blobs.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)
MAX_BODY_BYTES = 16 * 2**20  # bytes of an event: a painted mask takes a few hundred thousand
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
CHALLENGE = {"WWW-Authenticate": 'Basic realm="GCD Explorer", charset="UTF-8"'}


class SecurityMiddleware:
    """ASGI middleware: a password, security headers, `/health`, `/metrics`; no foreign address.

    Gradio fetches a file that an event names by a web address. Here no address that a visitor chose
    is fetched: such an event is refused, as is one of more than 16 MiB. Uploads pass as they are.

    Parameters
    ----------
    app : ASGI application
        The page.
    settings : Environment
        The password, who may frame the page, whether `/metrics` answers, and how many bytes of
        uploads that nobody has opened yet are kept.
    state : callable
        What `/health` tells, as a flat table of texts and numbers.
    """

    def __init__(
        self, app: ASGIApp, settings: Environment, state: Callable[[], dict[str, Any]]
    ) -> None:
        self.app, self.settings, self.state = app, settings, state
        policy = POLICY.format(frames=settings.frame_ancestors)
        self._headers = HEADERS | {"Content-Security-Policy": policy}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] == "websocket" and not self._may_enter(scope):
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._answer(scope)
        if answer is None and scope["method"] == "POST":
            if _is_upload(scope):
                answer = await to_thread.run_sync(self._full)
            else:
                body = await _body(receive)
                answer = refused(body)
                receive = _again(body, receive)
        if answer is not None:
            await answer(scope, receive, guarded)
        else:
            await self.app(scope, receive, guarded)

    def _answer(self, scope: Scope) -> Response | None:
        """The gate's own answer to a request; None where the page answers."""
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == HEALTH:
            return JSONResponse(self.state(), headers={"Cache-Control": "no-store"})
        if path != STARTUP and not self._may_enter(scope):
            return PlainTextResponse("A name and a password are needed.", 401, CHALLENGE)
        if path == METRICS and self.settings.metrics:
            return Response(as_prometheus(self.state()), media_type=CONTENT_TYPE_PLAIN_0_0_4)
        return None

    def _full(self) -> Response | None:
        """The answer to an upload where others' fill the room that there is for them."""
        if bytes_below(Path(get_upload_folder())) < self.settings.uploads_kept_mb * 2**20:
            return None
        told = "There is no room for another file right now: try again in a few minutes."
        return JSONResponse({"detail": told}, 503)

    def _may_enter(self, scope: Scope) -> bool:
        """Whether a request brings the password, where there is one."""
        if self.settings.auth is None:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, content = given.partition(b" ")
        try:
            found = base64.b64decode(content, validate=True)
        except binascii.Error:
            return False
        own = self.settings.auth.encode()
        return kind.lower() == b"basic" and hmac.compare_digest(found, own)


def refused(body: bytes | None) -> Response | None:
    """The answer to an event that may not be; None of one that may.

    Parameters
    ----------
    body : bytes or None
        What was sent; None where that was too much.
    """
    if body is None:
        return JSONResponse({"detail": "An event of more than 16 MiB is not taken."}, 413)
    try:
        content = json.loads(body) if body else None
    except RecursionError:
        return JSONResponse({"detail": "An event as deep as that is not taken."}, 400)
    except ValueError:  # no JSON: the page will say so
        return None
    left = [content]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            path = part.get("path")
            if isinstance(path, str) and path.lower().lstrip().startswith(("http:", "https:")):
                told = "No file is fetched from an address: upload it instead."
                return JSONResponse({"detail": told}, 400)
            left += part.values()
        elif isinstance(part, list):
            left += part
    return None


def _is_upload(scope: Scope) -> bool:
    """Whether a request brings files, in parts."""
    kind = dict(scope["headers"]).get(b"content-type", b"")
    return kind.lower().startswith(b"multipart/")


async def _body(receive: Receive) -> bytes | None:
    """All that a request sends; None where that is too much."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":  # the visitor is gone
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _again(body: bytes | None, receive: Receive) -> Receive:
    """What receives a request's body once more, and then what comes after it."""
    told = False

    async def receive_again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body or b"", "more_body": False}

    return receive_again


def bytes_below(folder: Path) -> int:
    """What the files in a folder and below take."""
    total = 0
    for place, _, files in os.walk(folder):
        for file in files:
            with suppress(OSError):  # it was opened meanwhile, and is gone
                total += os.stat(os.path.join(place, file)).st_size
    return total


def resident_bytes() -> int | None:
    """The memory that this process holds, where the system tells."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
