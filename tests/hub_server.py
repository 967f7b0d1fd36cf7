"""A stand-in for the Hugging Face hub on this machine: the routes that our use of it needs.

Files whose names end in .safetensors or .pt are kept as the hub keeps large files: announced with
their SHA-256, and served from another address, to which the hub redirects.
"""

import base64
import hashlib
import json
import random
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".pt")
REPO = "someone/things"
PART = 1000  # bytes that the library takes at once, in tests


def content(size: int) -> bytes:
    """Bytes for a file, the same for one size each time."""
    return random.Random(size).randbytes(size)


@dataclass(frozen=True)
class Seen:
    """A request: its method, its path, and what it says of ranges and of who asks."""

    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class HubServer:
    """The stand-in: repositories in memory, faults on demand, and every request remembered.

    Attributes
    ----------
    repos : dict
        Name of a repository to its files: path to bytes.
    cut : dict
        Name of a file to the numbers of bytes after which the next answers with it break off.
    altered : set
        Names of files that are served with one byte wrong.
    fails : int
        While above 0, every request is answered with 503, and it is lowered by 1.
    """

    repos: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))
    cut: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    altered: set[str] = field(default_factory=set)
    fails: int = 0
    seen: list[Seen] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> "HubServer":
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away, as a network does."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def add_folder(self, repo: str, folder: Path, under: str = "") -> None:
        """Put a folder's files into a repository."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.repos[repo][under + path.relative_to(folder).as_posix()] = path.read_bytes()

    def commit(self, repo: str) -> str:
        """The commit that the repository is at: it changes when a file does."""
        files = sorted((name, _sha256(data)) for name, data in self.repos[repo].items())
        return hashlib.sha1(json.dumps(files).encode()).hexdigest()

    def asked(self, method: str, part: str) -> list[Seen]:
        """The requests whose path contains `part`."""
        return [seen for seen in self.seen if seen.method == method and part in seen.path]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Handler(BaseHTTPRequestHandler):  # HTTP/1.0: a connection for each request
    hub: HubServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = self.headers.get("Authorization")
        self.hub.seen.append(Seen(self.command, path, self.headers.get("Range"), token))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.hub.fails:
            self.hub.fails -= 1
            return self._answer(503, {"error": "the hub is being repaired"})
        parts = path.strip("/").split("/")
        if parts[0] == "elsewhere":
            return self._file(parts[1], self.hub.uploads[parts[1]], {})
        if parts[0] == "put":
            self.hub.uploads[parts[1]] = self.body
            return self._answer(200, {})
        if path == "/api/repos/create":
            wanted = json.loads(self.body)
            name = f"{wanted['organization']}/{wanted['name']}"
            if name in self.hub.repos:
                return self._answer(409, {"error": "You already created this model repo"})
            self.hub.repos[name] = {}
            return self._answer(200, {"url": f"{self.hub.url}/{name}", "name": name})
        if path == "/api/validate-yaml":
            return self._answer(200, {"errors": [], "warnings": []})
        if parts[0] == "api":
            return self._api("/".join(parts[2:4]), parts[4:])
        if path.endswith("/info/lfs/objects/batch"):
            return self._batch()
        return self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _repo(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """The files of a repository, or None once the refusal is sent."""
        if repo not in self.hub.repos:
            self._answer(401, {"error": "Invalid username or password."}, "RepoNotFound")
            return None
        if revision not in ("main", self.hub.commit(repo)):
            self._answer(404, {"error": "Invalid rev id"}, "RevisionNotFound")
            return None
        return self.hub.repos[repo]

    def _resolve(self, repo: str, revision: str, name: str) -> None:
        files = self._repo(repo, revision)
        if files is None:
            return
        if name not in files:
            return self._answer(404, {"error": "Entry not found"}, "EntryNotFound")
        data = files[name]
        about = {"X-Repo-Commit": self.hub.commit(repo)}
        if not name.endswith(LARGE):
            blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            return self._file(name, data, about | {"ETag": f'"{blob}"'})
        digest = _sha256(data)
        self.hub.uploads[digest] = data
        about |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        about |= {"Location": f"http://localhost:{self.hub.port}/elsewhere/{digest}/{name}"}
        self._send(302, b"", about)

    def _file(self, name: str, data: bytes, about: dict[str, str]) -> None:
        names = {name, *urlsplit(self.path).path.split("/")}
        if names & self.hub.altered:
            data = bytes([data[0] ^ 1]) + data[1:]
        start, status = 0, 200
        if self.headers.get("Range"):
            start, status = int(self.headers["Range"].removeprefix("bytes=").split("-")[0]), 206
            about = about | {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        cuts = next((self.hub.cut[n] for n in names if self.hub.cut.get(n)), None)
        if self.command == "GET" and cuts:
            return self._send(status, data[start:], about, only=cuts.pop(0))
        self._send(status, data[start:], about)

    def _api(self, repo: str, rest: list[str]) -> None:
        files = self._repo(repo, rest[1] if len(rest) > 1 else "main")
        if files is None:
            return
        if rest[0] == "tree":
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in files.items()
            ]
            return self._answer(200, rows)
        if rest[0] == "preupload":
            asked = json.loads(self.body)["files"]
            rows = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in asked
            ]
            return self._answer(200, {"files": rows})
        if rest[0] == "commit":
            for line in self.body.decode().splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    files[value["path"]] = self.hub.uploads[value["oid"]]
            commit = self.hub.commit(repo)
            made = {"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit}
            return self._answer(200, made)
        return self._answer(404, {"error": "no such route"})

    def _batch(self) -> None:
        wanted = json.loads(self.body)["objects"]
        objects = [
            {
                "oid": o["oid"],
                "size": o["size"],
                "actions": {"upload": {"href": f"{self.hub.url}/put/{o['oid']}"}},
            }
            for o in wanted
        ]
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _answer(self, status: int, content: object, code: str | None = None) -> None:
        about = {"Content-Type": "application/json"} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps(content).encode(), about)

    def _send(
        self, status: int, data: bytes, about: dict[str, str], only: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in about.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:only])
