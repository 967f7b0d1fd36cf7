"""Kind "http": an endpoint that the operator describes, URL, headers, request and answer.

In domain.toml::

    [classifier]
    kind = "http"
    url = "https://example.org/v1/predict"
    headers = { Authorization = "Bearer ${API_TOKEN}" }
    labels = ["pneumonia", "bacterial"]
    output = "probabilities"
    size = 224
    channels = 3
    batch_size = 8
    version = "2026-03"
    request = { body = "json", field = "instances.*.image.b64" }
    response = { scores = "predictions.*.scores" }

`${NAME}` in a header's value is the environment variable's value, which no message repeats.
`version` is the operator's word for the model behind the URL: change it with the model, or old
answers are taken for the new one's. `timeout` (30 s), `retries` (7) and `format` ("png") may be
left out, as may `size`, `channels`, `crop` and `resample` where the endpoint takes images as they
are.

The request's `body` is "json", with each picture in base64 at `field`, where `*` stands for a list
with one item per picture ("inputs" holds one picture, "inputs.*" a list of them), after `prefix`,
such as "data:image/png;base64,"; "multipart", with one file per picture named `field` ("file"); or
"raw", the bytes of one PNG file. `fields` are constants that go along, except in a raw body.

The response's `scores` is the way to the answers: names of keys or numbers of items, with the
first `*` for the list of one item per picture; "" is the whole answer. What lies there is a list
of numbers in the labels' order, a list of objects with a `label` and a `score` (or however these
two settings call them), an object of numbers by label, or one number where there is one label.
"""

import base64
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import httpx2
import torch

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys
from gcd_core.classifiers.preprocessing import PICTURE_KEYS
from gcd_core.classifiers.remote import RemoteClassifier
from gcd_core.classifiers.retry import Failure
from gcd_core.errors import GCDError

KEYS: Keys = {"url": str} | ANSWER_KEYS | {"request": dict, "response": dict}
OPTIONAL_KEYS: Keys = PICTURE_KEYS | {
    "headers": dict,
    "format": str,
    "batch_size": int,
    "timeout": int | float,
    "retries": int,
    "version": str,
}
BODIES: dict[str, Keys] = {
    "json": {"field": str, "prefix": str, "fields": dict},
    "multipart": {"field": str, "fields": dict},
    "raw": {},
}
FIELDS = {"json": "inputs", "multipart": "file", "raw": ""}
ANSWER_LIMIT = 16 * 2**20  # bytes
VARIABLE = re.compile(r"\$\{(\w+)\}")
HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110's token


class HttpClassifier(RemoteClassifier):
    """An endpoint that takes pictures by POST and answers in JSON; see the module's description.

    Parameters
    ----------
    table : dict
        The `[classifier]` table, as `load` checked it.

    Raises
    ------
    GCDError
        If an environment variable is missing (the message names it), or settings contradict each
        other.
    """

    def __init__(self, table: dict[str, Any]) -> None:
        secrets: list[str] = []
        _check_url(table["url"])
        headers = {
            name: _filled(name, value, secrets) for name, value in table.get("headers", {}).items()
        }
        super().__init__(table, table["url"], secrets)
        self._url = table["url"]
        request, response = table["request"], table["response"]
        self._body = request["body"]
        self._field = request.get("field", FIELDS[self._body])
        self._fields = request.get("fields", {})
        self._prefix = request.get("prefix", "")
        self._scores = response["scores"].split(".") if response["scores"] else []
        self._keys = response.get("label", "label"), response.get("score", "score")
        self._check_shape()
        self._client = httpx2.Client(headers=headers, timeout=self.timeout)

    def post(self, pictures: list[bytes]) -> list[list[Any]]:
        """Send one request and find the scores in its answer."""
        status, retry_after, text = self._exchange(self._content(pictures))
        if not 200 <= status < 300:
            raise self.refusal(status, retry_after, text)
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self.nonsense("it is no JSON", text) from error
        found = self._follow(answer, self._scores, text)
        each = found if "*" in self._scores else [found]
        return [self._row(item, text) for item in each]

    def _exchange(self, content: dict[str, Any]) -> tuple[int, str | None, str]:
        """Return status, Retry-After and text of the answer, if it arrives whole and in time."""
        end = time.monotonic() + self.timeout
        body = bytearray()
        try:
            with self._client.stream("POST", self._url, **content) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > ANSWER_LIMIT:
                        raise self.nonsense(f"more than {ANSWER_LIMIT} bytes")
                    if time.monotonic() > end:  # the client's own limit is per piece
                        raise Failure(f"did not answer within {self.timeout:g} s")
        except httpx2.TimeoutException as error:
            raise Failure(f"did not answer within {self.timeout:g} s") from error
        except httpx2.RequestError as error:
            raise self.unreachable(error) from error
        text = body.decode("utf-8", errors="replace")
        if response.is_redirect:
            text = f"it has moved to {response.headers.get('location')}; name that as the url"
        return response.status_code, response.headers.get("retry-after"), text

    def _content(self, pictures: list[bytes]) -> dict[str, Any]:
        """The body of a request, as keyword arguments of the client."""
        if self._body == "raw":
            return {"content": pictures[0], "headers": {"Content-Type": "image/png"}}
        if self._body == "multipart":
            files = [
                (self._field, (f"image-{index}.png", picture, "image/png"))
                for index, picture in enumerate(pictures)
            ]
            return {"files": files, "data": self._fields}
        texts = [self._prefix + base64.b64encode(picture).decode() for picture in pictures]
        body = _nested(self._field.split("."), texts)
        return {"json": {**self._fields, **body} if isinstance(body, dict) else body}

    def _follow(self, value: Any, way: list[str], text: str) -> Any:
        """Return what lies at the end of a path through lists and objects."""
        for index, step in enumerate(way):
            if step == "*":
                if not isinstance(value, list):
                    raise self.nonsense("no list where 'scores' has a '*'", text)
                return [self._follow(item, way[index + 1 :], text) for item in value]
            if isinstance(value, dict) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
                value = value[int(step)]
            else:
                raise self.nonsense(f"no {step!r} on the way that 'scores' describes", text)
        return value

    def _row(self, item: Any, text: str) -> list[Any]:
        """One image's scores in the labels' order."""
        label, score = self._keys
        if isinstance(item, dict):
            return self.by_label(list(item.items()))
        if isinstance(item, list) and item and isinstance(item[0], dict):
            if not all(isinstance(pair, dict) and {label, score} <= pair.keys() for pair in item):
                raise self.nonsense(f"a score without {label!r} or {score!r}", text)
            return self.by_label([(pair[label], pair[score]) for pair in item])
        if isinstance(item, list):
            return item
        return [item]

    def _check_shape(self) -> None:
        """Refuse settings that cannot send `batch_size` pictures in one request."""
        way = self._field.split(".") if self._body == "json" else []
        stars = way.count("*")
        if "" in way or "" in self._scores:
            raise GCDError("A 'field' or 'scores' of the classifier has a '.' without a name.")
        if stars > 1:
            raise GCDError(f"The request's field {self._field!r} has more than one '*'.")
        if self._fields and way[:1] == ["*"]:
            raise GCDError("The request's 'fields' have no place in a list; leave them out.")
        simple = str | int | float if self._body == "multipart" else object
        try:
            json.dumps(self._fields, allow_nan=False)
            fits = all(isinstance(value, simple) for value in self._fields.values())
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise GCDError("The request's 'fields' hold what its body cannot; use text or numbers.")
        one_only = self._body == "raw" or (self._body == "json" and not stars)
        if self.batch_size > 1 and (one_only or "*" not in self._scores):
            raise GCDError(
                f"A batch_size of {self.batch_size} needs a '*' in the response's 'scores', and a "
                "body that holds several pictures: multipart, or json with a '*' in its 'field'."
            )


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> HttpClassifier:
    """Describe the endpoint; nothing is asked yet. See `load_classifier`."""
    check_keys(table, KEYS, OPTIONAL_KEYS)
    request, response = table["request"], table["response"]
    check_keys(response, {"scores": str}, {"label": str, "score": str}, "response table")
    check_keys(
        {key: request[key] for key in request if key == "body"}, {"body": str}, {}, "request table"
    )
    if request["body"] not in BODIES:
        raise GCDError(f"A request's body is one of {list(BODIES)}, not {request['body']!r}.")
    check_keys(request, {"body": str}, BODIES[request["body"]], "request table")
    if table.get("format", "png") != "png":
        raise GCDError(f"Images are sent in the format 'png', not {table['format']!r}.")
    return HttpClassifier(table)


def _nested(way: list[str], texts: list[str]) -> Any:
    """Return nested objects and lists that hold the texts at the end of a path."""
    if not way:
        return texts[0]
    if way[0] == "*":
        return [_nested(way[1:], [text]) for text in texts]
    return {way[0]: _nested(way[1:], texts)}


def _filled(header: str, template: Any, secrets: list[str]) -> str:
    """Return a header's value, with `${NAME}` replaced by environment variables.

    Adds to `secrets` what could be one: the variables' values, and long words of the whole.
    """
    if not HEADER.fullmatch(header) or not isinstance(template, str):
        raise GCDError(f"The classifier's header {header!r} is no header with a text.")

    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = os.environ.get(name, "").strip()
        if not found:
            raise GCDError(
                f"The environment variable {name}, which the classifier's header {header!r} needs, "
                "is not set; set it and start again."
            )
        secrets.append(found)
        return found

    filled = VARIABLE.sub(value, template)
    if not (filled.isascii() and filled.isprintable()):
        raise GCDError(f"The classifier's header {header!r} holds what no header can carry.")
    secrets += [word for word in filled.split() if len(word) >= 8]
    return filled


def _check_url(url: str) -> None:
    """Refuse an invalid address, or one with secrets in it: logs and proxies would repeat them."""
    if VARIABLE.search(url):
        raise GCDError(
            "The classifier's url has no place for environment variables, as logs repeat it; put "
            "the secret into a header."
        )
    try:
        parsed = httpx2.URL(url)
        fits = parsed.scheme in ("http", "https") and bool(parsed.host)
    except httpx2.InvalidURL:
        fits = False
    if not fits:
        raise GCDError(f"The classifier's url {url!r} is no http:// or https:// address.")
