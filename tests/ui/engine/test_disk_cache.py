"""Examples and their paths on disk: read as they were written, by what they were made from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from gcd_core.ui.engine import service
from gcd_core.ui.engine.disk_cache import DiskCache
from gcd_core.ui.session.registry import Visitors
from tests.ui.fakes import FakeDomain
from tests.ui.waiting import wait_for, wait_for_paths


def explore(domain: FakeDomain, stored: DiskCache, label: str = "pneumonia"):
    """The opened example and paths that a first visitor of a server meets."""
    visitors = Visitors(domain, stored=stored)
    try:
        session = visitors.session("somebody")
        session.open_example(0)
        session.explain(label)
        wait_for_paths(session)
        films = {name: session.image.paths.film(name) for name in session.names}
        return (
            session.image.opened,
            {name: session.image.paths.get(name) for name in session.names},
            films,
        )
    finally:
        visitors.close()


@pytest.fixture
def stored(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "kept")


def test_after_a_restart_nothing_is_decoded_again(domain: FakeDomain, stored: DiskCache) -> None:
    opened, paths, films = explore(domain, stored)
    evaluations, queries = domain.generator.evaluations, domain.classifier.queries
    again, paths_again, films_again = explore(domain, DiskCache(stored.folder))
    assert (domain.generator.evaluations, domain.classifier.queries) == (evaluations, queries)
    assert films_again == films and all(films.values())
    for latent in ("z_sem", "z_T"):
        torch.testing.assert_close(getattr(again.latent, latent), getattr(opened.latent, latent))
    assert torch.equal(again.image, opened.image)
    assert torch.equal(again.reconstruction.image, opened.reconstruction.image)
    assert again.source.probabilities == opened.source.probabilities
    for name, path in paths.items():
        other = paths_again[name]
        for field in dataclasses.fields(path):
            mine, its = getattr(path, field.name), getattr(other, field.name)
            if field.name == "images":  # in 8 bits, as they are shown
                assert (mine.clamp(0, 1) * 255).round().equal((its * 255).round())
            elif field.name == "composition":
                assert mine.detail == "decoded"
            elif isinstance(mine, torch.Tensor):
                assert torch.equal(mine, its), field.name
            else:
                assert mine == its, field.name


@pytest.mark.parametrize("change", ["generator", "classifier", "directions", "alpha_max", "margin"])
def test_what_was_made_otherwise_is_not_used(
    change: str, domain: FakeDomain, stored: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    explore(domain, stored)
    if change == "directions":
        ready = domain.ready_directions("bacterial")
        monkeypatch.setattr(domain, "ready_directions", lambda label: ready)
    elif change in ("generator", "classifier"):
        monkeypatch.setattr(getattr(domain, change), "identity", "another")
    else:
        monkeypatch.setattr(domain, change, getattr(domain, change) / 2)
    evaluations = domain.generator.evaluations
    explore(domain, stored)
    assert domain.generator.evaluations > evaluations


def test_a_damaged_file_is_made_anew(domain: FakeDomain, stored: DiskCache, caplog) -> None:
    _, paths, _ = explore(domain, stored)
    for file in stored.folder.iterdir():
        file.write_bytes(file.read_bytes()[:100])
    _, again, _ = explore(domain, stored)
    assert torch.equal(again["g"].alphas, paths["g"].alphas) and "made anew" in caplog.text


def test_the_oldest_make_room(domain: FakeDomain, tmp_path: Path) -> None:
    stored = DiskCache(tmp_path / "kept", most=1_500_000)
    explore(domain, stored)
    size = sum(file.stat().st_size for file in stored.folder.iterdir())
    assert 0 < size <= 1_500_000


def test_where_nothing_can_be_kept_it_is_told_once(domain: FakeDomain, tmp_path: Path, caplog):
    (tmp_path / "file").write_text("no folder")
    _, paths, films = explore(domain, DiskCache(tmp_path / "file" / "kept"))
    assert all(paths.values()) and all(films.values())
    assert caplog.text.count("cannot be kept") == 1


def test_examples_are_prepared_while_nobody_waits(
    domain: FakeDomain, stored: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "IDLE_SECONDS", 0.0)
    monkeypatch.setattr(service, "IDLE_CHECK_SECONDS", 0.01)
    visitors = Visitors(domain, stored=stored)
    try:
        visitors.service.examples.prepare()
        # 3 examples, each opened, and with 5 paths of one label and 9 of the other
        wait_for(lambda: len(list(stored.folder.glob("*.safetensors"))) == 3 * (1 + 5 + 9))
    finally:
        visitors.close()
    evaluations = domain.generator.evaluations
    explore(domain, stored, "bacterial")
    assert domain.generator.evaluations == evaluations


def test_the_networks_run_once_before_anybody_waits_for_them(
    domain: FakeDomain, stored: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "IDLE_SECONDS", float("inf"))  # and no example is prepared
    visitors = Visitors(domain, stored=stored)
    try:
        before = domain.generator.evaluations
        visitors.service.examples.prepare()
        wait_for(lambda: domain.generator.evaluations > before)
        assert not list(stored.folder.glob("*.safetensors"))
    finally:
        visitors.close()


def test_nothing_is_prepared_that_could_cost_money(domain: FakeDomain, stored: DiskCache) -> None:
    domain.classifier.remote = True
    visitors = Visitors(domain, stored=stored)
    try:
        visitors.service.examples.prepare()
        assert domain.classifier.queries == 0 and visitors.service.context.background.idle
    finally:
        visitors.close()
