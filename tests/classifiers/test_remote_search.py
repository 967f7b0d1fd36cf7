"""Searches with a classifier across a network that fails, goes away, or costs more than it may."""

import json
import os
import random
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from gcd_core.__main__ import main
from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.base import BudgetExceeded, NoAnswer
from gcd_core.classifiers.retry import Patience
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import SearchFailed
from tests.classifiers.endpoint import FAULTS, Endpoint
from tests.fakes import LinearDomain, unit
from tests.tiny_domain import CLASSIFIER, write_tiny_domain

pytestmark = pytest.mark.slow

SAMPLES = 48
SLOPE = unit(8)


@pytest.fixture(autouse=True, scope="module")
def _short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gcd_core.method.proxy.MAX_EPOCHS", 3)
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GCD_CACHE", str(tmp_path / "cache"))


def logit(z_sem):
    return 2 * z_sem @ SLOPE


def model(pixels: np.ndarray) -> list[float]:
    """What `LinearDomain(logit)` answers, of the 8 bits that are sent."""
    image = torch.from_numpy(pixels).float()[None, None] / 255
    z_sem = LinearDomain(logit).generator.encode_semantic(image)
    return [logit(z_sem).item(), -1.0]


def scores(rows):
    return {"scores": rows}


def domain_at(
    end: Endpoint, tmp_path, batch_size: int, timeout: float = 30, **changes
) -> LinearDomain:
    table = {
        "kind": "http",
        "url": end.url,
        "labels": ["a", "b"],
        "output": "sigmoid",
        "batch_size": batch_size,
        "timeout": timeout,
        "request": {"body": "multipart"},
        "response": {"scores": "scores.*"},
    }
    domain = LinearDomain(logit)
    domain.classifier = load_classifier(table | changes, tmp_path)
    domain.classifier.patience = Patience(tries=8, sleep=lambda seconds: None)
    return domain


def endpoint(kinds=(), share: float = 0.0, **settings) -> Endpoint:
    """An endpoint that fails in some of the requests, in ways drawn from `kinds`."""
    draw = random.Random(1)
    faults = (draw.choice(kinds) if draw.random() < share else None for _ in range(10**6))
    return Endpoint(scores, model, faults, **settings)


def search(domain: LinearDomain):
    return find_directions(domain, domain.image(), "a", n_samples=SAMPLES, batch_size=16)


def same(a, b) -> bool:
    return torch.equal(a.samples.logits, b.samples.logits) and torch.equal(
        a.directions.vectors, b.directions.vectors
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a search finds when nothing fails."""
    with endpoint() as end:
        domain = domain_at(end, tmp_path_factory.mktemp("undisturbed"), 8, cache=False)
        return search(domain)


def test_the_endpoint_is_the_classifier(undisturbed):
    exact = search(LinearDomain(logit))
    assert torch.allclose(undisturbed.samples.logits, exact.samples.logits, atol=0.1)
    assert undisturbed.queries == SAMPLES + 1


@pytest.mark.parametrize("kinds", [FAULTS, ["drop"], ["NaN", "count"]], ids=str)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_search_survives_failures(undisturbed, kinds, batch_size, tmp_path):
    """One request in five fails, and yet each image is answered, and only once."""
    with endpoint(kinds, share=0.2) as end:
        timeout = 0.5 if "late" in kinds else 30
        domain = domain_at(end, tmp_path, batch_size, timeout)
        found = search(domain)
    assert same(found, undisturbed)
    assert len(end.answered) == SAMPLES + 1 and set(end.answered.values()) == {1}
    assert found.queries == SAMPLES + 1 and domain.classifier.cache_hits == 0
    failed = sum(end.failed.values())
    assert set(end.failed) <= set(kinds) and 0.1 < failed / len(end.requests) < 0.35


def test_a_search_goes_on_after_the_endpoint_was_away(undisturbed, tmp_path):
    with endpoint(before=lambda number: "drop" if number > 30 else None) as end:
        lost = r"after 8 tries.*the same command or search goes on"
        with pytest.raises(SearchFailed, match=lost) as failed:
            search(domain_at(end, tmp_path, 1))
        assert isinstance(failed.value.__cause__, NoAnswer)
        end.stop()
        with pytest.raises(SearchFailed, match="cannot be reached"):
            search(domain_at(end, tmp_path, 1))
        assert len(end.answered) == 30
        end.before = lambda number: None
        end.start()
        domain = domain_at(end, tmp_path, 1)
        found = search(domain)
    assert same(found, undisturbed)
    assert len(end.answered) == SAMPLES + 1 and set(end.answered.values()) == {1}
    assert domain.classifier.cache_hits == 30 and found.queries == SAMPLES + 1 - 30


def test_a_search_stops_at_its_budget_and_goes_on_with_another(undisturbed, tmp_path):
    with endpoint() as end:
        with pytest.raises(SearchFailed, match=r"about 40 images.*33 were asked.*goes on") as ended:
            search(domain_at(end, tmp_path, 8, budget=40))
        assert isinstance(ended.value.__cause__, BudgetExceeded)
        assert sum(end.answered.values()) == 33  # the source and two batches of 16
        domain = domain_at(end, tmp_path, 8, budget=40)
        found = search(domain)
        assert same(found, undisturbed) and found.queries == 16
        assert same(search(domain_at(end, tmp_path, 8, budget=0)), undisturbed)
    assert set(end.answered.values()) == {1}


ILLNESS = re.compile(r"\[classifier\].*?\[oracle\]", re.DOTALL)


def write_remote_domain(folder, end: Endpoint, more: str = "") -> None:
    write_tiny_domain(folder)
    text = (folder / "domain.toml").read_text()
    table = f"""[classifier]
kind = "http"
url = "{end.url}"
labels = ["ill", "old"]
output = "sigmoid"
batch_size = 3
request = {{ body = "multipart" }}
response = {{ scores = "scores.*" }}
{more}
[oracle]"""
    assert CLASSIFIER in text
    (folder / "domain.toml").write_text(ILLNESS.sub(table, text, count=1))


def brightness(pixels: np.ndarray) -> list[float]:
    return [float(pixels.mean() / 25.5 - 5), 0.0]


def find(folder, out) -> list[str]:
    image = next((folder / "examples").glob("*.png"))
    options = {"--domain": folder, "--image": image, "--label": "ill", "--samples": 24}
    options |= {"--batch-size": 8, "--device": "cpu", "--out": out, "--json": f"{out}.json"}
    return [
        "find",
        "--sampling",
        "ball",
        *(str(part) for option in options.items() for part in option),
    ]


def test_a_command_that_was_killed_goes_on_where_it_was(tmp_path, capsys):
    def kill(number: int) -> str | None:
        if number != 6:
            return None
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
        return "drop"

    with Endpoint(scores, brightness, before=kill) as end:
        write_remote_domain(tmp_path / "domain", end, "budget = 40")
        arguments = find(tmp_path / "domain", tmp_path / "d.safetensors")
        victim = subprocess.Popen([sys.executable, "-m", "gcd_core", *arguments])
        assert victim.wait(timeout=120) == -signal.SIGKILL
        assert not (tmp_path / "d.safetensors").exists()
        assert len(end.answered) == 1 + 8 + 3  # the source, a batch, and a part of the next
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert main(arguments) == 0
    assert len(end.answered) == 25 and set(end.answered.values()) == {1}
    result = json.loads((tmp_path / "d.safetensors.json").read_text())
    assert (result["queries"], result["cache_hits"], result["budget"]) == (0, 25, 40)
    assert "13 queries and 12 answers known from before, 27 left of the budget" in printed


def test_a_command_without_budget_says_how_to_go_on(tmp_path, capsys):
    with Endpoint(scores, brightness) as end:
        write_remote_domain(tmp_path / "domain", end, "budget = 10")
        arguments = find(tmp_path / "domain", tmp_path / "d.safetensors")
        assert main(arguments) == 1
        printed = capsys.readouterr().err
        assert "budget" in printed and "the same command or search goes on from there" in printed
        assert printed.count("\n") == 1 and "Traceback" not in printed
        assert not (tmp_path / "d.safetensors").exists()
        assert main(arguments) == 1  # the next 8
        assert main(arguments) == 0
    assert len(end.answered) == 25 and set(end.answered.values()) == {1}
