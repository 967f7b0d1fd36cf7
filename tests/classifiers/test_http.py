"""Endpoints that the operator describes, against a real server: what is sent, read and refused."""

import json
import logging
import threading

import numpy as np
import pytest
import torch

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.base import NoAnswer
from gcd_core.classifiers.retry import Patience
from gcd_core.errors import GCDError
from tests.classifiers.endpoint import Endpoint

LIST = {"body": "json", "field": "inputs.*"}
TABLE = {
    "kind": "http",
    "url": "http://127.0.0.1:1/predict",
    "labels": ["mean", "top"],
    "output": "sigmoid",
    "cache": False,
    "request": LIST,
    "response": {"scores": "scores"},
}


def pairs(row: list[float]) -> list[dict]:
    """As many services answer: the best first, and labels that nobody asked about."""
    named = [*zip(("mean", "top"), row, strict=True), ("other", 0.5)]
    return [{"label": label, "score": score} for label, score in sorted(named, key=lambda x: -x[1])]


def ask(end: Endpoint, tmp_path, images=None, pauses=None, **changes):
    """The answer of a classifier of these settings, and the classifier."""
    box = load_classifier(TABLE | {"url": end.url} | changes, tmp_path)
    pauses = [] if pauses is None else pauses
    box.patience = Patience(tries=box.patience.tries, sleep=pauses.append, random=lambda: 0.0)
    return box(torch.rand(3, 1, 6, 6) if images is None else images), box


def eight_bits(images: torch.Tensor) -> torch.Tensor:
    return (images * 255).round() / 255


def expected(images: torch.Tensor) -> torch.Tensor:
    """The model's answers (tests/classifiers/endpoint.py), worked out here."""
    images = eight_bits(images)
    return torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3))], 1)


SHAPES = {
    "rows in the labels' order": (
        {"body": "json", "field": "instances.*.image.b64", "fields": {"model": "m"}},
        {"scores": "predictions.*.scores"},
        4,
        lambda rows: {"predictions": [{"scores": row} for row in rows]},
    ),
    "pairs": (LIST, {"scores": "*"}, 4, lambda rows: [pairs(row) for row in rows]),
    "pairs by other names": (
        {"body": "json", "field": "*.image"},
        {"scores": "data.0.*", "label": "name", "score": "p"},
        4,
        lambda rows: {
            "data": [[[{"name": x["label"], "p": x["score"]} for x in pairs(r)] for r in rows]]
        },
    ),
    "an object by label, files": (
        {"body": "multipart", "field": "images", "fields": {"model": "m", "top": 2}},
        {"scores": "*"},
        4,
        lambda rows: [{"top": row[1], "mean": row[0], "other": 0.5} for row in rows],
    ),
    "one image, one row": (
        {"body": "raw"},
        {"scores": "scores"},
        1,
        lambda rows: {"scores": rows[0]},
    ),
    "one image, scores one by one": (
        {"body": "json", "prefix": "data:image/png;base64,"},
        {"scores": "results.*.classes.*.score"},
        1,
        lambda rows: {"results": [{"classes": [{"score": x} for x in row]} for row in rows]},
    ),
    "one image, the whole answer": ({"body": "multipart"}, {"scores": ""}, 1, lambda r: pairs(*r)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("colours", [1, 3])
def test_shapes_of_requests_and_answers(name, colours, tmp_path):
    request, response, batch_size, shape = SHAPES[name]
    images = torch.rand(5, colours, 6, 6)
    with Endpoint(shape) as end:
        settings = {"request": request, "response": response, "batch_size": batch_size}
        logits, box = ask(end, tmp_path, images, **settings)
    assert torch.allclose(logits, expected(images), atol=1e-6)
    assert end.sizes == ([4, 1] if batch_size == 4 else [1] * 5)
    assert box.queries == 5
    sent = np.stack(end.pixels).reshape(5, 6, 6, colours).transpose(0, 3, 1, 2)
    assert np.array_equal(sent, (images * 255).round().numpy())
    if "fields" in request:
        assert b'"m"' in end.requests[0][1] or b"m\r\n" in end.requests[0][1]


def test_one_label_may_be_one_number(tmp_path):
    images = torch.rand(3, 1, 6, 6)
    with Endpoint(lambda rows: {"p": [row[0] for row in rows]}) as end:
        settings = {"labels": ["mean"], "response": {"scores": "p.*"}, "batch_size": 8}
        logits, box = ask(end, tmp_path, images, output="probabilities", **settings)
    probability = box.probability(logits, "mean")
    assert torch.allclose(probability, expected(images)[:, 0], atol=1e-6)


def first(rows):
    return {"scores": rows[0]}


def test_size_and_colour_are_what_the_operator_says(tmp_path):
    with Endpoint(first) as end:
        ask(end, tmp_path, torch.rand(1, 1, 6, 6), size=12, channels=3)
        ask(end, tmp_path, torch.rand(1, 3, 6, 6), channels=1)
    assert [pixels.shape for pixels in end.pixels] == [(12, 12, 3), (6, 6)]


@pytest.mark.parametrize(
    "fault, pause", [("drop", 0.25), ("cut", 0.25), ("late", 0.25), ("429", 7.0), ("503", 7.0)]
)
def test_what_may_pass_is_asked_again(fault, pause, tmp_path):
    images, pauses = torch.rand(2, 1, 6, 6), []
    with Endpoint(first, faults=[None, fault]) as end:
        logits, box = ask(end, tmp_path, images, pauses, timeout=0.5 if fault == "late" else 30)
    assert torch.allclose(logits, expected(images), atol=1e-6)
    assert pauses == [pause] and end.sizes == [1, 1, 1] and box.queries == 2


@pytest.mark.parametrize("fault", ["no JSON", "NaN", "labels"])
def test_nonsense_is_asked_again(fault, tmp_path):
    images = torch.rand(1, 1, 6, 6)
    with Endpoint(first, faults=[fault, fault]) as end:
        logits, _ = ask(end, tmp_path, images)
    assert torch.allclose(logits, expected(images), atol=1e-6) and len(end.requests) == 3


def test_a_wrong_number_of_rows_is_nonsense(tmp_path):
    images = torch.rand(3, 1, 6, 6)
    settings = {"response": {"scores": "*"}, "batch_size": 3}
    with Endpoint(lambda rows: rows, faults=["count"]) as end:
        logits, _ = ask(end, tmp_path, images, **settings)
        assert torch.allclose(logits, expected(images), atol=1e-6)
        end.faults = iter(["count"] * 9)
        with pytest.raises(NoAnswer, match=r"4 answers to 3 images.*after 6 tries"):
            ask(end, tmp_path, images, **settings)


@pytest.mark.parametrize(
    "answer, message",
    [
        ({"scores": [0.1, "0.2"]}, "no number but '0.2'"),
        ({"scores": [0.1, True]}, "no number but True"),
        ({"scores": [0.1, None]}, "no number"),
        ({"scores": [0.1, 1e40]}, "a score is 1e"),
        ({"scores": [0.1, float("inf")]}, "a score is inf"),
        ({"scores": [0.1]}, "1 scores for 2 labels"),
        ({"scores": {"mean": 0.1}}, "the label 'top' once"),
        ({"scores": [{"label": "mean", "score": 0.1}] * 2}, "the label 'mean' once"),
        ({"scores": [{"label": "mean", "p": 0.1}]}, "without 'label' or 'score'"),
        ({"scores": [{"label": ["mean"], "score": 0.1}]}, "the label 'mean' once"),
        ({"score": [0.1, 0.2]}, "no 'scores' on the way"),
        ([[0.1, 0.2]], "no 'scores' on the way"),
        ("busy", "no 'scores' on the way"),
        (None, "no 'scores' on the way"),
    ],
)
def test_nonsense_that_stays_is_explained(answer, message, tmp_path):
    with Endpoint(lambda rows: answer) as end, pytest.raises(NoAnswer) as caught:
        ask(end, tmp_path)
    assert message in str(caught.value) and len(end.requests) == 6


def test_percentages_are_no_probabilities(tmp_path):
    with Endpoint(lambda rows: {"scores": [97.3, 2.7]}) as end:
        with pytest.raises(NoAnswer, match=r"a probability is 97\.3"):
            ask(end, tmp_path, output="probabilities")
        logits, _ = ask(end, tmp_path, output="softmax")
    assert torch.allclose(logits, torch.tensor([97.3, 2.7]))


def test_an_endless_answer_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr("gcd_core.classifiers.http.ANSWER_LIMIT", 100)
    with (
        Endpoint(lambda rows: {"scores": rows[0], "rest": "x" * 100}) as end,
        pytest.raises(NoAnswer, match="more than 100 bytes"),
    ):
        ask(end, tmp_path)


def test_an_answer_by_drops_is_late(tmp_path):
    class Dripping(Endpoint):
        def start(self):
            super().start()
            end = self

            def reply(self, status, body, missing=0):
                self.send_response(200)
                self.send_header("Content-Length", "999999")
                self.end_headers()
                for _ in range(200):
                    self.wfile.write(b" ")
                    if end.closing.wait(0.02):
                        break

            self.server.RequestHandlerClass.reply = reply

    with Dripping(first) as end, pytest.raises(NoAnswer, match=r"did not answer within 0\.2 s"):
        ask(end, tmp_path, timeout=0.2, retries=0)


def test_a_server_that_is_not_there(tmp_path):
    with Endpoint(first) as end:
        pass
    pauses = []
    with pytest.raises(NoAnswer, match=r"http://127.*cannot be reached.*after 3 tries"):
        ask(end, tmp_path, pauses=pauses, retries=2)
    assert pauses == [0.25, 0.5]


def test_a_refusal_is_told_in_its_own_words_without_secrets(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("API_TOKEN", " secret-token\n")
    settings = {"headers": {"Authorization": "Bearer ${API_TOKEN}"}}
    with caplog.at_level(logging.DEBUG), Endpoint(first, faults=["400"]) as end:
        with pytest.raises(
            NoAnswer, match=r"refuses to answer \(status 400\): slow down,"
        ) as caught:
            ask(end, tmp_path, **settings)
        ask(end, tmp_path, **settings)
        end.faults = iter(["503"])
        ask(end, tmp_path, **settings)
    message = str(caught.value)
    assert "please..." in message and len(message) < 500
    assert message.isprintable()
    assert "secret-token" not in message and "secret-token" not in caplog.text
    assert len(end.requests) == 1 + 3 + 4
    assert {request[0]["authorization"] for request in end.requests} == {"Bearer secret-token"}


def test_a_redirection_is_not_followed(tmp_path):
    moved = r"moved to http://127\.0\.0\.1:1/elsewhere"
    with Endpoint(first, faults=["307"]) as end, pytest.raises(NoAnswer, match=moved):
        ask(end, tmp_path)


def test_addresses_in_messages_hide_what_they_may(tmp_path):
    url = "http://user:password@127.0.0.1:1/predict?key=abc"
    box = load_classifier(TABLE | {"url": url}, tmp_path)
    assert box.name == "http://127.0.0.1:1/predict"


def test_images_that_are_sent_alike_are_one_question(tmp_path, monkeypatch):
    monkeypatch.setenv("GCD_CACHE", str(tmp_path / "cache"))
    images = eight_bits(torch.rand(4, 1, 6, 6))
    noise = (torch.rand_like(images) - 0.5) * 0.9 / 255  # less than rounding takes away
    table = {name: value for name, value in TABLE.items() if name != "cache"}  # the default: kept
    with Endpoint(first) as end:
        box = load_classifier(table | {"url": end.url}, tmp_path)
        logits = box(images)
        assert torch.equal(box((images + noise).clamp(0, 1)), logits)
        again = load_classifier(table | {"url": end.url, "timeout": 9, "retries": 1}, tmp_path)
        assert torch.equal(again(images), logits)
    assert set(end.answered.values()) == {1} and len(end.answered) == 4
    assert (box.queries, box.cache_hits) == (4, 4)
    assert (again.queries, again.cache_hits) == (0, 4)


def test_threads_share_a_classifier(tmp_path, monkeypatch):
    monkeypatch.setenv("GCD_CACHE", str(tmp_path / "cache"))
    images, rows = torch.rand(12, 1, 6, 6), []
    with Endpoint(lambda rows: rows) as end:
        settings = {"url": end.url, "cache": True, "response": {"scores": "*"}, "batch_size": 5}
        box = load_classifier(TABLE | settings, tmp_path)
        threads = [
            threading.Thread(target=lambda: rows.append(box(images[:9].flip(0)))),
            threading.Thread(target=lambda: rows.append(box(images[:9].flip(0)))),
            threading.Thread(target=lambda: rows.append(box(images))),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(rows) == 3 and set(end.answered.values()) == {1} and len(end.answered) == 12
    assert box.queries == 12 and box.cache_hits == 18
    whole = next(row for row in rows if len(row) == 12)
    assert all(torch.equal(row, whole[:9].flip(0)) for row in rows if len(row) == 9)


def test_identity(tmp_path, monkeypatch):
    headers = {"headers": {"Authorization": "Bearer ${API_TOKEN}"}}
    monkeypatch.setenv("API_TOKEN", "secret-token")

    def identity(**changes):
        return load_classifier(TABLE | headers | changes, tmp_path).identity

    here = identity()
    assert len(here) == 16
    assert identity(timeout=3, retries=1, budget=5) == here
    monkeypatch.setenv("API_TOKEN", "another-token")
    assert identity() == here
    changes = (
        {"version": "2"},
        {"url": "http://127.0.0.1:1/other"},
        {"labels": ["top", "mean"]},
        {"output": "probabilities"},
        {"size": 9},
        {"request": LIST | {"fields": {"model": "b"}}},
        {"headers": {"X-Model": "b"}},
    )
    assert len({here, *(identity(**change) for change in changes)}) == 1 + len(changes)


@pytest.mark.parametrize("key", ["url", "labels", "output", "request", "response"])
def test_a_missing_key_is_named(key, tmp_path):
    with pytest.raises(GCDError, match=f"lacks the key '{key}'"):
        load_classifier({name: TABLE[name] for name in TABLE if name != key}, tmp_path)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"method": "GET"}, "'method'"),
        ({"url": "ftp://host/x"}, "'ftp://host/x' is no http"),
        ({"url": "predict"}, "is no http"),
        ({"url": "http://host/?key=${API_TOKEN}"}, "put the secret into a header"),
        ({"headers": {"Authorization": "Bearer ${NOT_SET_HERE}"}}, "variable NOT_SET_HERE"),
        ({"headers": {"X": 3}}, "header 'X'"),
        ({"headers": {"X y": "a"}}, "header 'X y'"),
        ({"headers": {"X": "a\nb"}}, "header 'X'"),
        ({"request": {}}, "request table lacks the key 'body'"),
        ({"request": {"body": "xml"}}, "'xml'"),
        ({"request": {"body": "raw", "field": "x"}}, "request table has no key 'field'"),
        ({"request": {"body": "multipart", "prefix": "x"}}, "no key 'prefix'"),
        ({"request": {"body": "json", "kind": "x"}}, "no key 'kind'"),
        ({"request": {"body": "json", "field": "a.*.*"}}, "more than one"),
        ({"request": {"body": "json", "field": "a..b"}}, "without a name"),
        ({"request": {"body": "json", "field": "*", "fields": {"a": 1}}}, "no place in a list"),
        ({"request": {"body": "multipart", "fields": {"a": {"b": 1}}}}, "what its body cannot"),
        ({"request": LIST | {"fields": {"a": float("nan")}}}, "what its body cannot"),
        ({"response": {"path": "x"}}, "response table lacks the key 'scores'"),
        ({"response": {"scores": "x", "top": 1}}, "response table has no key 'top'"),
        ({"response": {"scores": 3}}, "'scores' must be str"),
        ({"batch_size": 0}, "batch_size is 1 or more"),
        ({"batch_size": 2}, r"needs a '\*'"),
        ({"batch_size": 2, "request": {"body": "raw"}, "response": {"scores": "*"}}, "multipart"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "'timeout'"),
        ({"retries": -1}, "retries"),
        ({"size": 0}, "size"),
        ({"channels": 2}, "channels"),
        ({"format": "jpeg"}, "'jpeg'"),
        ({"output": "logits"}, "'logits'"),
        ({"labels": [["a"], ["b"]]}, "labels are names"),
        ({"version": 3}, "'version' must be str"),
    ],
)
def test_a_wrong_key_is_named(change, named, tmp_path):
    with pytest.raises(GCDError, match=named) as caught:
        load_classifier(TABLE | change, tmp_path)
    assert "\n" not in str(caught.value)


def test_base64_and_prefix_are_as_described(tmp_path):
    with Endpoint(first) as end:
        settings = {"request": {"body": "json", "field": "a.b", "prefix": "data:image/png;base64,"}}
        ask(end, tmp_path, torch.rand(1, 1, 6, 6), **settings)
    body = json.loads(end.requests[0][1])
    assert body["a"]["b"].startswith("data:image/png;base64,iVBOR")
