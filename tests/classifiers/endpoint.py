"""A real HTTP server on this machine that classifies pictures, and misbehaves as it is told to."""

import base64
import email.parser
import email.policy
import hashlib
import io
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

FAULTS = ("drop", "late", "cut", "429", "503", "no JSON", "NaN", "count", "labels")


def mean_and_top(pixels: np.ndarray) -> list[float]:
    """A model whose answers a test can work out: the mean and the maximum of a picture."""
    return [float(pixels.mean() / 255), float(pixels.max() / 255)]


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()


class Endpoint:
    """The server, as a context.

    It finds the pictures in a JSON, multipart or plain body, wherever they are, and answers
    `shape(rows)`, a row of scores per picture, as JSON. `faults` says of each request in turn what
    goes wrong: None, or one of `FAULTS`. `before` is called with the number of each request before
    it is answered, and may name another fault.

    `answered` counts, for each picture, the answers that went out whole and right.
    """

    def __init__(
        self,
        shape: Callable[[list[list[float]]], Any],
        model: Callable[[np.ndarray], list[float]] = mean_and_top,
        faults: Iterable[str | None] = (),
        before: Callable[[int], str | None] = lambda number: None,
    ) -> None:
        self.shape, self.model, self.before = shape, model, before
        self.faults: Iterator[str | None] = iter(faults)
        self.answered: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.pixels: list[np.ndarray] = []
        self.sizes: list[int] = []
        self.lock = threading.Lock()
        self.port = 0

    def __enter__(self) -> "Endpoint":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/predict"

    def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        self.closing = threading.Event()
        handler = type("Handler", (_Handler,), {"endpoint": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_port
        self.server.handle_error = lambda *_: None  # clients that hang up are no news here
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Hang up: whoever comes now is refused."""
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint

    def do_POST(self) -> None:
        end = self.endpoint
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        pixels = [np.array(Image.open(io.BytesIO(data))) for data in _pictures(headers, body)]
        with end.lock:
            end.requests.append((headers, body))
            end.pixels += pixels
            end.sizes.append(len(pixels))
            number = len(end.requests)
            fault = next(end.faults, None)
        fault = end.before(number) or fault
        with end.lock:
            end.failed.update([fault] if fault else [])
        rows = [end.model(picture) for picture in pixels]
        if fault == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "late":
            end.closing.wait()
        elif fault in ("429", "503", "400", "307"):
            self.reply(int(fault), b"slow down, \x1b[31mBearer secret-token\n please" + b"." * 999)
        elif fault == "cut":
            self.reply(200, json.dumps(end.shape(rows)).encode(), missing=5)
        elif fault == "no JSON":
            self.reply(200, json.dumps(end.shape(rows)).encode()[:-4])
        elif fault == "NaN":
            self.reply(200, json.dumps(end.shape([[float("nan")] * len(row) for row in rows])))
        elif fault == "count":
            self.reply(200, json.dumps(end.shape([*rows, rows[0]])))
        elif fault == "labels":
            self.reply(200, json.dumps(end.shape([row[:-1] for row in rows])))
        else:
            self.reply(200, json.dumps(end.shape(rows)))
            with end.lock:
                end.answered.update(digest(picture) for picture in pixels)

    def reply(self, status: int, body: bytes | str, missing: int = 0) -> None:
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + missing))
        if status in (429, 503):
            self.send_header("Retry-After", "7")
        if status == 307:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _pictures(headers: dict[str, str], body: bytes) -> list[bytes]:
    """The pictures that a request holds."""
    kind = headers.get("content-type", "")
    if kind == "application/json":
        return list(_decoded(json.loads(body)))
    if kind.startswith("multipart/form-data"):
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        parts = [part for part in message.iter_parts() if part.get_content_type() == "image/png"]
        return [part.get_payload(decode=True) for part in parts]
    return [body]


def _decoded(value: Any) -> Iterator[bytes]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _decoded(item)
    elif isinstance(value, str) and "iVBOR" in value[:40]:  # how a PNG file begins in base64
        yield base64.b64decode(value[value.index("iVBOR") :])
