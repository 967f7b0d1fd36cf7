"""Which directions change the picture alike, from what is decoded already."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import gcd_core.ui.views.likeness as module
from gcd_core.method.directions import DirectionSet
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.likeness import alike_and_elsewhere, changes_of, likeness_line, listed
from tests.ui.waiting import wait_for_paths


def blob(x: float, y: float) -> torch.Tensor:
    """A smooth spot (64, 64) around a place in [-1, 1]."""
    line = torch.linspace(-1, 1, 64)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    return torch.exp(-8 * ((rows - y) ** 2 + (columns - x) ** 2))


def test_changes_are_alike_or_elsewhere_only_where_that_is_clear() -> None:
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    own = blob(-0.5, -0.5)
    changes = {
        "g": own,
        "h1": 3 * own + 0.02 * noise,
        "h2": -own,  # the same place, the other way
        "h3": blob(0.5, 0.5),
        "h4": blob(-0.2, -0.3),  # beside it
    }
    assert alike_and_elsewhere(changes) == (["h1"], ["h3"])
    assert alike_and_elsewhere({"g": own}) == ([], [])


def test_names_are_listed_as_one_says_them() -> None:
    metadata = {"label": "pneumonia", "places": {"w1": "upper left"}}
    directions = DirectionSet(["g", "h1", "w1"], torch.eye(3), metadata)
    domain = SimpleNamespace(label_names={}, change_words={})
    shown = SimpleNamespace(directions=directions, service=SimpleNamespace(domain=domain))
    assert listed(["g"], shown).count('data-tip="') == 1
    assert " and " not in listed(["g"], shown).split('class="sr"')[0]
    words = listed(["g", "h1", "w1"], shown)
    assert "Upper left" in words
    assert words.count('data-tip="') == 3 and words.count("</span> and <span") == 1


@pytest.mark.slow
def test_it_is_said_of_decoded_paths_and_asks_nothing(session: Session) -> None:
    session.image.paths.cancel()
    assert likeness_line(session) == "" or session.image.paths.ready > 1
    session.open_example(1)
    wait_for_paths(session)
    before = session.service.domain.classifier.queries
    changes = changes_of(session.image.ready_paths())
    line = likeness_line(session)
    assert session.service.domain.classifier.queries == before
    alike, elsewhere = alike_and_elsewhere(changes) if len(changes) > 1 else ([], [])
    assert bool(line) == bool(alike or elsewhere)
    assert ("change this picture alike" in line) == bool(alike)
    assert ("other places than" in line) == bool(elsewhere)


def test_a_direction_that_is_folded_out_of_sight_is_not_named(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    own, other = torch.randn(2, 16, 16, generator=generator)
    changes = {"g": own, "h1": own, "h2": other.abs() * (own.abs() < 0.2)}
    monkeypatch.setattr(module, "changes_of", lambda paths: dict(changes))
    directions = DirectionSet(list(changes), torch.eye(3), {"label": "pneumonia"})
    domain = SimpleNamespace(label_names={}, change_words={})
    session = SimpleNamespace(
        directions=directions,
        service=SimpleNamespace(domain=domain),
        image=SimpleNamespace(ready_paths=dict),
        weak_directions=[],
    )
    assert "Way 1" in likeness_line(session) and "Way 2" in likeness_line(session)
    session.weak_directions = ["h2"]
    assert "Way 1" in likeness_line(session) and "Way 2" not in likeness_line(session)
    session.weak_directions = ["h1", "h2"]
    assert likeness_line(session) == ""
