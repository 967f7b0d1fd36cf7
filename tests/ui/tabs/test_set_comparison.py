"""Two sets of directions side by side: what is measured, asked, cancelled and taken home."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.directions import REPEATABILITY, DirectionSet
from gcd_core.method.prior_search import PLACED
from gcd_core.method.verification import Tried, with_tried
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.session.set_comparison import QUERIES_A_PATH
from gcd_core.ui.tabs.set_comparison import SetComparisonPanel
from tests.ui.fakes import FakeClassifier
from tests.ui.waiting import wait_for_paths

SOMEBODY = SimpleNamespace(session_hash="somebody")
NAMES = "bundled", "mine"


def other_set(session: Session, expected: float | None = None) -> DirectionSet:
    """Another g, the bundled h2 as its h1, and one that the bundled set lacks."""
    own = session.service.ready_directions("pneumonia")
    assert own is not None
    g = torch.nn.functional.normalize(own["g"].vector + 0.75 * own["h1"].vector, dim=0)
    vectors = torch.stack([g, own["h2"].vector, -own["h3"].vector])
    metadata = dict(own.metadata)
    if expected is not None:
        metadata["figures"] = {REPEATABILITY: expected}
    tried = Tried(6, 5, 2, 1, None, 0.1, 1.0)
    return DirectionSet(["g", "h1", "w1"], vectors, with_tried(metadata, {"g": tried}))


@pytest.fixture
def panel(visitors: Visitors) -> SetComparisonPanel:
    with gr.Blocks():
        panel = SetComparisonPanel(visitors)
    session = visitors.session("somebody")
    session.open_example(0)
    session.sets.keep("pneumonia", "mine", other_set(session))
    return panel


def read(html: str) -> str:
    """What is read in the field's words."""
    html = re.sub(r'<i class="sr">.*?</i>|<span class="plain">.*?</span>', "", html)
    return " ".join(re.sub(r"<[^>]*>", " ", html).split()).replace(" ,", ",")


def test_ways_of_one_place_go_together_whatever_they_are_called(
    visitors: Visitors, panel: SetComparisonPanel
) -> None:
    session = visitors.session("somebody")
    own = session.service.ready_directions("pneumonia")
    assert own is not None
    vectors = own.vectors[[0, 1, 2]]
    for name, places, order in (
        ("here", {"w1": "upper left", "w2": "lower left"}, [0, 1, 2]),
        ("there", {"w1": "lower left", "w2": "upper left"}, [0, 2, 1]),
    ):
        metadata = dict(own.metadata) | {PLACED: places}
        found = DirectionSet(["g", "w1", "w2"], vectors[order], metadata)
        session.sets.keep("pneumonia", name, found)
    *_, answer = panel.compare_sets("here", "there", SOMEBODY)
    rows = answer[panel.numbers]["rows"]
    assert [(row["direction"], row["partner"]) for row in rows] == [
        ("g", "g"),
        ("w1", "w2"),
        ("w2", "w1"),
    ]
    for row in rows:
        first, second = row["sides"]
        assert row["cosine"] == pytest.approx(1, abs=1e-6)
        assert first["alpha"] == pytest.approx(second["alpha"], abs=1e-4)
        assert first["probability"] == pytest.approx(second["probability"], abs=1e-4)
    assert "nearer to" not in read(answer[panel.result])


def test_both_sets_are_measured_on_the_open_picture(
    visitors: Visitors, panel: SetComparisonPanel
) -> None:
    session = visitors.session("somebody")
    *_, answer = panel.compare_sets(*NAMES, SOMEBODY)
    numbers, text = answer[panel.numbers], read(answer[panel.result])
    one, other = session.service.ready_directions("pneumonia"), other_set(session)
    rows = {row["direction"]: row for row in numbers["rows"]}
    assert numbers["state"] == "done" and numbers["sets"] == ["bundled", "mine"]
    assert next(iter(rows)) == "g" and {n for n, row in rows.items() if "sides" in row} == {
        "g",
        "h1",
    }
    for name in ("g", "h1"):
        expected = float(one[name].vector @ other[name].vector)
        assert rows[name]["cosine"] == pytest.approx(expected, abs=1e-6)
        for side, directions in zip(rows[name]["sides"], (one, other), strict=True):
            path = session.service.walk(session.image.opened, directions[name], "pneumonia")
            i = path.counterfactual
            assert side["alpha"] == pytest.approx(float(path.alphas[i]), abs=1e-4)
            assert side["lpips"] == pytest.approx(float(path.distances[i]), abs=1e-5)
            assert side["flipped"] == path.counterfactual_flips
    assert rows["h2"]["cosine"] is None and rows["h2"]["nearest"] == "h1"
    assert rows["h2"]["nearest_cosine"] == pytest.approx(1, abs=1e-6)
    (only,) = numbers["only_in_second"]
    assert (only["name"], only["nearest"]) == ("w1", "h3") and only["nearest_cosine"] < -0.999
    assert "w1, only in mine: nearest in bundled is h3" in text and "nearly the reverse" in text
    assert "6 of 8 examples flip." in text and "Not tried on other pictures." in text
    assert answer[panel.result].count("<img") == 1 + 4


def test_what_a_search_expected_of_another_is_held_against_what_is(
    visitors: Visitors, panel: SetComparisonPanel
) -> None:
    session = visitors.session("somebody")
    for name, expected in (("sure", 0.99), ("modest", 0.8)):
        session.sets.keep("pneumonia", name, other_set(session, expected))
    first, *_ = panel.compare_sets("bundled", "sure", SOMEBODY)
    assert "Confidence high" in read(first[panel.result])
    assert "below the 0.99 which sure expects" in read(first[panel.result])
    first, *_ = panel.compare_sets("bundled", "modest", SOMEBODY)
    assert first[panel.numbers]["expected_cosines"] == [None, 0.8]
    assert "Confidence fair" in read(first[panel.result])
    assert "below" not in read(first[panel.result])


def test_what_is_asked_is_said_and_the_set_in_use_costs_nothing(
    visitors: Visitors, panel: SetComparisonPanel
) -> None:
    session, classifier = visitors.session("somebody"), visitors.service.domain.classifier
    wait_for_paths(session)
    assert panel.tell_price(*NAMES, SOMEBODY)[panel.price] == ""
    before = classifier.queries
    list(panel.compare_sets(*NAMES, SOMEBODY))
    asked = classifier.queries - before
    assert 0 < asked <= 2 * QUERIES_A_PATH
    classifier.budget = classifier.queries + 2 * QUERIES_A_PATH
    told = read(panel.tell_price(*NAMES, SOMEBODY)[panel.price])
    assert f"up to {2 * QUERIES_A_PATH} pictures, and may be asked" in told
    classifier.budget, before = classifier.budget - 1, classifier.queries
    with pytest.raises(GCDError, match=f"about {2 * QUERIES_A_PATH} images; of its budget"):
        list(panel.compare_sets(*NAMES, SOMEBODY))
    assert classifier.queries == before


def test_a_cancelled_comparison_keeps_what_there_is(
    visitors: Visitors, panel: SetComparisonPanel
) -> None:
    session = visitors.session("somebody")
    answers = panel.compare_sets(*NAMES, SOMEBODY)
    while True:
        answer = next(answers)
        if len(session.image.compared_sets.walked) == 1:
            break
    stopped = panel.stop(SOMEBODY)[panel.numbers]
    assert stopped["state"] == "cancelled"
    *_, last = answers
    assert "not walked" in last[panel.result] and 'gcd-wait"><span>' not in last[panel.result]
    assert last[panel.result].count("<img") == 2 and answer[panel.numbers]["state"] == "running"
    with pytest.raises(GCDError, match="nothing to cancel"):
        panel.stop(SOMEBODY)
    assert next(iter(panel.come_back(SOMEBODY)))[panel.numbers] == last[panel.numbers]


def test_a_page_that_comes_back_goes_on_with_it(
    visitors: Visitors, panel: SetComparisonPanel
) -> None:
    session = visitors.session("somebody")
    offered = next(panel.come_back(SOMEBODY))
    assert offered[panel.first]["value"] == "bundled" and offered[panel.second]["value"] == "mine"
    assert offered[panel.result] == ""
    left = panel.compare_sets("mine", "bundled", SOMEBODY)
    next(left)
    session.set_away(True)
    session.set_away(False)
    first, *_, last = panel.come_back(SOMEBODY)
    assert first[panel.first]["value"] == "mine" and first[panel.box]["open"]
    assert last[panel.numbers]["state"] == "done"
    assert list(left) == [], "whoever followed it before has gone"
    (again,) = panel.come_back(SOMEBODY)
    assert again[panel.result] == last[panel.result]
    session.open_example(1)
    (other,) = panel.come_back(SOMEBODY)
    assert other[panel.result] == ""


def test_two_different_sets_are_needed(visitors: Visitors, panel: SetComparisonPanel) -> None:
    with pytest.raises(GCDError, match="one set: choose another"):
        list(panel.compare_sets("mine", "mine", SOMEBODY))
    with pytest.raises(GCDError, match="no two sets to compare yet"):
        list(panel.compare_sets("mine", None, SOMEBODY))
    with pytest.raises(GCDError, match="no directions named 'else'"):
        list(panel.compare_sets("mine", "else", SOMEBODY))
    nobody = SimpleNamespace(session_hash="nobody")
    with pytest.raises(GCDError, match="open an image first"):
        list(panel.compare_sets(*NAMES, nobody))
    assert "There is one set here" in next(panel.come_back(nobody))[panel.price]


def test_a_comparison_of_sets_is_taken_home(visitors: Visitors, panel: SetComparisonPanel) -> None:
    visitors.service.domain.oracle = FakeClassifier()
    session = visitors.session("somebody")
    session.open_example(1)
    with pytest.raises(GCDError, match="compare two sets first"):
        panel.save("csv", SOMEBODY)
    *_, answer = panel.compare_sets(*NAMES, SOMEBODY)
    numbers = answer[panel.numbers]
    file = Path(panel.save("json", SOMEBODY)[panel.saves.file])
    assert json.loads(file.read_text()) == json.loads(json.dumps(numbers))
    file = Path(panel.save("csv", SOMEBODY)[panel.saves.file])
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    pairs = [(row["direction"], row["set"]) for row in rows]
    assert pairs[:4] == [(name, side) for name in ("g", "h1") for side in NAMES]
    assert {row["set"] for row in rows[4:]} == {"bundled"} and rows[-1]["cosine"] == ""
    for row in numbers["rows"]:
        for side in row.get("sides", []):
            assert side["oracle"] == pytest.approx(side["probability"], abs=1e-4)
    assert next(row["tried_flips"] for row in rows if row["set"] == "mine") == "6"
    with pytest.raises(GCDError, match="csv or json"):
        panel.save("../x", SOMEBODY)
