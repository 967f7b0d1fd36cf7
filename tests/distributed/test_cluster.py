"""Parts on a Ray cluster of two nodes: the same rows, whoever dies, and no query paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from gcd_core import load_domain
from gcd_core.distributed.answers import AnswerServer, RemoteAnswers, RemoteBudget
from gcd_core.distributed.cluster import Cluster
from gcd_core.distributed.job import Part
from gcd_core.distributed.ray_searches import RaySearches
from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.method.search import find_directions
from gcd_core.ui.engine.jobs import Search
from gcd_core.ui.session.registry import Visitors
from tests.classifiers.endpoint import Endpoint
from tests.distributed.jobs import Square, Squares
from tests.distributed.test_evaluate import without_seconds
from tests.tiny_domain import CLASSIFIER, write_tiny_domain
from tests.ui.waiting import wait_for

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
EVERY_FIFTH = 5  # request fails


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two nodes of a core each, on this machine."""
    from ray.cluster_utils import Cluster as Nodes

    os.environ["PYTHONPATH"] = str(ROOT)
    nodes = Nodes()
    for _ in range(2):
        nodes.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    yield nodes.address
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture(scope="module")
def cluster(address: str) -> Cluster:
    return Cluster(address)


def test_a_worker_killed_in_mid_part_costs_that_part(cluster: Cluster, tmp_path: Path) -> None:
    job, wanted = Squares(9, tmp_path / "log", dies=3), [0, 2, 3, 4, 6, 8]
    done = dict(cluster.run(job, wanted))
    assert done == {
        n: Part([Square(n, n / 3 * n, f"number {n}")], {"seconds": 0.0}) for n in wanted
    }
    begun = job.begun()
    assert begun.count("worker") == 3, "each loads its networks once; one began again"
    parts = [int(entry) for entry in begun if entry != "worker"]
    assert parts.count(3) == 2 and set(parts) == set(wanted)
    assert len(parts) <= len(wanted) + 2, "less than a part a worker is repeated"


def test_what_is_refused_is_told_in_its_own_words(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(GCDError, match=r"^2 cannot be squared\.$"):
        list(cluster.run(Squares(4, tmp_path / "log", fails=2), [0, 1, 2, 3]))


@pytest.mark.parametrize("asked, told", [({"gpus": 1.5}, "--gpus 1.5"), ({"threads": 9}, "9")])
def test_what_no_node_has_is_not_waited_for(
    address: str, tmp_path: Path, asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(GCDError, match=f"{told} is more than a node of the cluster has"):
        list(Cluster(address, **asked).run(Squares(1, tmp_path / "log"), [0]))


def test_no_cluster_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def nobody(*args: Any, **kwargs: Any) -> None:
        raise ConnectionError("first line\nnobody listens there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", nobody)
    with pytest.raises(GCDError, match=r"No Ray cluster answers at 10\.0\.0\.1:1: nobody"):
        list(Cluster("10.0.0.1:1").run(Squares(1, tmp_path / "log"), [0]))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GCDError, match="pip install 'ray"):
        list(Cluster().run(Squares(1, tmp_path / "log"), [0]))


def test_a_budget_held_for_all_is_spent_once() -> None:
    held = AnswerServer()

    def ask(method: str, *args: Any) -> Any:
        return getattr(held, method)(*args)

    first, second = RemoteBudget(ask, "one", 10), RemoteBudget(ask, "one", 10)
    first.take(6)
    second.take(3)
    second.check(1)
    with pytest.raises(GCDError, match=r"asked about 10 images.*9 were asked, and 2 more"):
        first.take(2)
    RemoteBudget(ask, "one", 10)  # a worker that was started again
    first.give_back(1)
    second.take(2)
    with pytest.raises(GCDError, match="10 were asked"):
        first.check(1)
    RemoteBudget(ask, "other", 1).take(1)
    held = AnswerServer({"one": 9})  # the driver has asked nine times
    RemoteBudget(ask, "one", 10).take(1)
    with pytest.raises(GCDError, match="10 were asked"):
        RemoteBudget(ask, "one", 10).take(1)


def test_answers_held_for_all_are_the_same_numbers() -> None:
    held = AnswerServer()
    answers = RemoteAnswers(lambda method, *args: getattr(held, method)(*args), "one")
    wanted = {b"a" * 32: torch.tensor([1 / 3, -1e-30]), b"b" * 32: torch.tensor([0.1, 7e9])}
    with answers.claimed("model", list(wanted)):
        assert not held.claim("somebody", "model", [b"b" * 32])
        answers.put("model", wanted)
    assert held.claim("somebody", "model", [b"b" * 32])
    found = answers.get("model", [*wanted, b"c" * 32], 2)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert "Nothing that was answered already is lost" in answers.assurance


def test_a_page_hands_its_searches_to_the_cluster(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's own line of searches, with the cluster behind it: found, cancelled, resumed."""
    domain = load_domain(write_tiny_domain(tmp_path / "tiny"), device="cpu")
    monkeypatch.setenv("GCD_RAY_ADDRESS", address)
    visitors = Visitors(domain)
    service = visitors.service
    image = domain.load_image(domain.examples[0])

    def asked(n_samples: int, **more: Any) -> Search:
        settings = domain.search.changed(n_samples=n_samples, n_h=1, sampling="ball")
        return Search(image, "an example", "ill", settings, **more)

    try:
        first = asked(36)
        service.start_search(first)
        assert first.wait(240) and first.state == "done", first.error
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as a worker: rounding in bf16 differs by the number of threads
        own = find_directions(domain, image, "ill", n_samples=36, n_h=1, sampling="ball")
        torch.set_num_threads(threads)
        assert torch.equal(first.result.vectors, own.directions.vectors)
        assert first.sampled == 36 and first.newest and first.train_losses
        long = asked(4096)
        service.start_search(long)
        wait_for(lambda: long.sampled >= 16)
        long.cancel()
        assert long.wait(120) and long.state == "cancelled"
        known = len(long.samples)
        again = asked(known + 9, samples=long.samples)
        service.start_search(again)
        assert again.wait(120) and again.state == "done", again.error
        refused = asked(36)
        refused.label = "nothing"
        service.start_search(refused)
        assert refused.wait(120)
        assert refused.state == "failed" and "no label 'nothing'" in refused.error
    finally:
        visitors.close()
    monkeypatch.setenv("GCD_RAY_GPUS", "many")
    with pytest.raises(GCDError, match="GCD_RAY_GPUS is 'many'"):
        RaySearches.from_environment()


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Endpoint]]:
    """A domain whose classifier is an API that fails every fifth time, and images of it."""
    place = tmp_path_factory.mktemp("paid")
    number = iter(range(10**9))

    def faults() -> Iterator[str | None]:
        for each in number:
            yield "503" if each % EVERY_FIFTH == EVERY_FIFTH - 1 else None

    with Endpoint(lambda rows: {"scores": rows}, faults=faults()) as api:
        folder = write_tiny_domain(place / "tiny")
        text = (folder / "domain.toml").read_text()
        paying = (
            f'kind = "http"\nurl = "{api.url}"\nlabels = ["ill", "old"]\n'
            'output = "probabilities"\nbatch_size = 4\n'
            'request = { body = "json", field = "inputs.*" }\nresponse = { scores = "scores.*" }\n'
        )
        (folder / "domain.toml").write_text(text.replace(CLASSIFIER, paying, 1))
        domain = load_domain(folder)
        vectors = torch.nn.functional.normalize(torch.randn(1, domain.generator.z_sem_size), dim=1)
        metadata = {"label": "ill", "generator": domain.generator.identity}
        DirectionSet(["g"], vectors, metadata).save(place / "found.safetensors")
        (place / "images").mkdir()
        for i in range(6):
            noise = torch.randint(0, 256, (8, 8), dtype=torch.uint8).numpy()
            Image.fromarray(noise).resize((32, 32)).save(place / "images" / f"{i}.png")
        yield place, api


def command(place: Path, out: Path, *options: str) -> list[str]:
    own = [sys.executable, "-m", "gcd_core", "evaluate", "--domain", str(place / "tiny")]
    own += ["--images", str(place / "images"), "--directions", str(place / "found.safetensors")]
    own += ["--batch-size", "1", "--device", "cpu", "--threads", "1", "--json", str(out)]
    return [*own, *options]


@pytest.mark.nightly  # two minutes of starting processes
def test_the_driver_killed_and_an_api_that_fails_cost_nothing_twice(
    paid: tuple[Path, Endpoint], address: str, tmp_path: Path
) -> None:
    place, api = paid
    environment = os.environ | {"GCD_CACHE": str(tmp_path / "one"), "PYTHONPATH": str(ROOT)}
    held, go_on = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        """Answer some parts' worth, then let nobody on."""
        if len(list((tmp_path / "parts").glob("part-*"))) >= 2:
            held.set()
            go_on.wait(300)

    api.before = hold
    spread = command(place, tmp_path / "spread.json", "--parts", str(tmp_path / "parts"))
    spread += ["--ray", address]
    driver = subprocess.Popen(spread, env=environment, cwd=ROOT)
    assert held.wait(240)
    driver.send_signal(signal.SIGKILL)
    driver.wait(60)
    go_on.set()
    api.before = lambda number: None
    there = len(list((tmp_path / "parts").glob("part-*")))
    assert 2 <= there < 6 and not (tmp_path / "spread.json").exists()
    wait_for(lambda: not api.lock.locked())
    again = subprocess.run(spread, env=environment, cwd=ROOT, timeout=240, capture_output=True)
    assert again.returncode == 0, again.stderr.decode()[-2000:]
    assert f"{there} of 6 parts are there" in again.stderr.decode()
    # What was on its way when the driver died may be answered once more: a request a worker.
    twice = [digest for digest, count in api.answered.items() if count > 1]
    assert len(twice) <= 2 * 4, "no query that was answered is paid again"
    assert sum(api.failed.values()), "the API did fail"
    # One process without Ray, which asks anew: the same figures.
    environment["GCD_CACHE"] = str(tmp_path / "another")
    alone = command(place, tmp_path / "alone.json")
    subprocess.run(alone, env=environment, cwd=ROOT, timeout=240, check=True, capture_output=True)
    spread_figures, figures = (
        without_seconds(json.loads((tmp_path / f"{name}.json").read_text()))
        for name in ("spread", "alone")
    )
    for each in (spread_figures, figures):  # which of two batches asks for a picture may differ
        for own in (each, *each["directions"].values()):
            own.pop("queries")
    assert spread_figures == figures
