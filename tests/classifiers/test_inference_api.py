"""The hub's inference API, played by a local server that the hub's own client talks to."""

import json

import pytest
import torch

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.base import NoAnswer
from gcd_core.classifiers.retry import Patience
from gcd_core.errors import GCDError
from tests.classifiers.endpoint import Endpoint

TABLE = {
    "kind": "hf-inference",
    "labels": ["mean", "top"],
    "output": "probabilities",
    "cache": False,
}


def answer(rows):
    """The best first, as the API does."""
    named = zip(("mean", "top"), rows[0], strict=False)
    return [{"label": label, "score": score} for label, score in sorted(named, key=lambda x: -x[1])]


def ask(end: Endpoint, tmp_path, images, pauses=None, **changes):
    box = load_classifier(TABLE | {"model": end.url} | changes, tmp_path)
    pauses = [] if pauses is None else pauses
    box.patience = Patience(tries=box.patience.tries, sleep=pauses.append, random=lambda: 0.0)
    return box(images), box


def expected(images):
    images = (images * 255).round() / 255
    return torch.stack([images.mean((1, 2, 3)), images.amax((1, 2, 3))], 1)


def test_probabilities(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    images = torch.rand(3, 3, 6, 6)
    with Endpoint(answer) as end:
        logits, box = ask(end, tmp_path, images)
    assert torch.allclose(logits.sigmoid(), expected(images), atol=1e-6)
    assert end.sizes == [1, 1, 1] and box.queries == 3
    headers, body = end.requests[0]
    assert headers["authorization"] == "Bearer hf_secret"
    assert json.loads(body)["parameters"] == {"top_k": 2}


def test_logits(tmp_path):
    images = torch.rand(2, 1, 6, 6)
    with Endpoint(answer, model=lambda pixels: [3.0, -float(pixels.max())]) as end:
        logits, box = ask(end, tmp_path, images, output="softmax", top_k=9, size=12, channels=3)
    assert torch.equal(logits[:, 0], torch.tensor([3.0, 3.0])) and (logits[:, 1] < -100).all()
    assert box.probability(logits, "mean").min() > 0.99
    parameters = json.loads(end.requests[0][1])["parameters"]
    assert parameters == {"top_k": 9, "function_to_apply": "none"}
    assert end.pixels[0].shape == (12, 12, 3)


@pytest.mark.parametrize(
    "fault, pause",
    [("drop", 0.25), ("late", 0.25), ("429", 7.0), ("503", 7.0), ("NaN", 0.25), ("no JSON", 0.25)],
)
def test_what_may_pass_is_asked_again(fault, pause, tmp_path):
    images, pauses = torch.rand(2, 1, 6, 6), []
    with Endpoint(answer, faults=[None, fault]) as end:
        timeout = 0.5 if fault == "late" else 30
        logits, box = ask(end, tmp_path, images, pauses, timeout=timeout)
    assert torch.allclose(logits.sigmoid(), expected(images), atol=1e-6)
    assert pauses == [pause] and end.sizes == [1, 1, 1] and box.queries == 2


@pytest.mark.parametrize(
    "wrong", [{"error": "busy"}, [{"label": "mean"}], [3], "busy", [{"label": "mean", "score": 1}]]
)
def test_nonsense_and_missing_labels_are_explained(wrong, tmp_path):
    with Endpoint(lambda rows: wrong) as end, pytest.raises(NoAnswer, match=r"nonsense|be used"):
        ask(end, tmp_path, torch.rand(1, 1, 6, 6))
    assert len(end.requests) == 6


def test_a_label_that_top_k_left_out_is_an_error(tmp_path):
    missing = r"the label 'top' once; it has \['mean'\]"
    one = [{"label": "mean", "score": 0.9}]
    with Endpoint(lambda rows: one) as end, pytest.raises(NoAnswer, match=missing):
        ask(end, tmp_path, torch.rand(1, 1, 6, 6))


def test_what_the_client_itself_refuses_is_explained(tmp_path):
    box = load_classifier(TABLE | {"model": "owner/name", "provider": "nobody"}, tmp_path)
    box.patience = Patience(sleep=lambda seconds: None)
    with pytest.raises(
        NoAnswer, match=r"owner/name gives nothing.*Provider 'nobody' not supported"
    ):
        box(torch.rand(1, 1, 6, 6))


def test_a_refusal_is_told_without_the_token(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    with Endpoint(answer, faults=["400"]) as end, pytest.raises(NoAnswer) as caught:
        ask(end, tmp_path, torch.rand(1, 1, 6, 6))
    assert "refuses to answer (status 400)" in str(caught.value)
    assert "secret-token" not in str(caught.value) and str(caught.value).isprintable()
    assert len(end.requests) == 1


def test_answers_are_kept_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("GCD_CACHE", str(tmp_path / "cache"))
    images = torch.rand(3, 1, 6, 6)
    with Endpoint(answer) as end:
        table = {name: value for name, value in TABLE.items() if name != "cache"}
        first = load_classifier(table | {"model": end.url}, tmp_path)
        second = load_classifier(table | {"model": end.url, "timeout": 3}, tmp_path)
        newer = load_classifier(table | {"model": end.url, "version": "2"}, tmp_path)
        assert torch.equal(first(images), second(images))
        newer(images)
    assert (first.queries, second.queries, second.cache_hits, newer.queries) == (3, 0, 3, 3)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"revision": "main"}, "'revision'"),
        ({"model": 3}, "'model' must be str"),
        ({"top_k": 1}, "leaves out some of 2 labels"),
    ],
)
def test_a_wrong_key_is_named(change, named, tmp_path):
    with pytest.raises(GCDError, match=named):
        load_classifier(TABLE | {"model": "owner/name"} | change, tmp_path)


def test_the_model_is_required(tmp_path):
    with pytest.raises(GCDError, match="lacks the key 'model'"):
        load_classifier(TABLE, tmp_path)
