"""The Compare tab, where another image is opened while it compares."""

import csv
import hashlib
import io
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.errors import GCDError
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.directions import DirectionSet
from gcd_core.method.notes import Note
from gcd_core.ui.session.notes import note
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.tabs import compare
from gcd_core.ui.tabs.compare import CompareTab, how_far, tables, twins
from tests.ui.fakes import FakeClassifier
from tests.ui.waiting import wait_for_paths

SOMEBODY = SimpleNamespace(session_hash="somebody")


def test_another_image_ends_a_comparison_without_an_error(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)

    def left(name: str) -> None:
        session.open_example(1)
        raise GCDError(f"{name} was left")

    monkeypatch.setattr(session.image.sliders, "awaited", left)
    *_, last = tab.compare(SOMEBODY)
    assert last == {tab.cards: "", tab.matrix: ""}


def test_a_path_that_fails_is_told(visitors: Visitors, monkeypatch: pytest.MonkeyPatch) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)

    def failed(name: str) -> None:
        raise GCDError(f"{name} failed")

    monkeypatch.setattr(session.image.sliders, "awaited", failed)
    with pytest.raises(GCDError, match="g failed"):
        list(tab.compare(SOMEBODY))


def test_one_direction_alone_has_no_tables(visitors: Visitors) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    assert "come here" in tab.cards.value, "a page that waits for its picture says what comes"
    session = visitors.session("somebody")
    session.open_example(0)
    one = session.directions
    alone = DirectionSet(["g"], one.vectors[:1], one.metadata)
    session.use("pneumonia", session.sets.keep("pneumonia", "alone", alone))
    *_, last = tab.compare(SOMEBODY)
    assert "<table" not in last[tab.matrix] and "no two" in last[tab.matrix]
    assert [row["direction"] for row in last[tab.numbers]["rows"]] == ["g"]


def test_who_waits_is_told_how_many_go_first(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)
    first, *others = session.names
    words = {first: [(12, 40.0), (1, 3.0)]}
    monkeypatch.setattr(compare, "TELL_SECONDS", math.inf)
    monkeypatch.setattr(session.image.sliders, "awaited", lambda name: iter(words.get(name, [])))
    told = [answer[tab.cards] for answer in tab.compare(SOMEBODY)]
    assert len(told) == 3, "two words while it waits, and the answer"
    assert "12 of other visitors&rsquo; first, about 40 s" in told[0]
    assert "of other visitors" not in told[1] and "following the direction" in told[1]
    assert told[0].count("gcd-wait") == 1 + len(others) and "gcd-wait" not in told[2]


def test_cards_come_one_by_one_where_all_paths_are_there(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)
    wait_for_paths(session)
    monkeypatch.setattr(compare, "TELL_SECONDS", -1.0)
    waiting = [answer[tab.cards].count("gcd-wait") for answer in tab.compare(SOMEBODY)]
    assert waiting == [*range(len(session.names), -1, -1)]


def test_only_what_flips_is_held_against_each_other(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)
    session.explain("bacterial")
    *_, answer = tab.compare(SOMEBODY)
    numbers, cards, tables = answer[tab.numbers], answer[tab.cards], answer[tab.matrix]
    flips = [row["flipped"] for row in numbers["rows"]]
    assert any(flips) and not all(flips)
    for i, row in enumerate(numbers["lpips"]):
        for j, value in enumerate(row):
            assert (value is not None) == (flips[i] and flips[j])
    vectors = session.directions.vectors
    torch.testing.assert_close(
        torch.tensor(numbers["cosines"]), vectors @ vectors.T, atol=1e-5, rtol=0
    )
    assert tables.count("<table") == 2 and 'class="none"' in tables
    assert all(row["oracle"] is None for row in numbers["rows"]) and "Second opinion" not in cards


def test_how_sure_each_is_to_be_is_said_as_a_wish(visitors: Visitors) -> None:
    session = visitors.session("somebody")
    for example in (0, 1):
        session.open_example(example)
        image = session.image
        rises = image.opened.source.probabilities[image.index] < 0.5
        wanted = "75 % or more" if rises else "25 % or less"
        assert how_far(image) == f"Wanted of each: Pneumonia {wanted}. "
    session.service.domain.counterfactual = LOWEST_LOSS
    assert how_far(session.image) == ""


def test_twins_are_told() -> None:
    values = [[0.0, 0.02, 0.3], [0.02, 0.0, None], [0.3, None, None]]
    alike = twins(["g", "h1", "h2"], values, [0.2, 0.05, 0.3])
    assert alike == [("g", "h1", 0.02)]
    small = twins(["g", "h1", "h2"], values, [0.2, 0.03, 0.3])
    assert not small, "h1 hardly differs from the original either"
    found = DirectionSet(["g", "h1", "h2"], torch.eye(3), {"label": "a"})
    table = tables(found, found.names, values, torch.eye(3), alike)
    told = re.sub(r'<span class="plain">.*?</span>|<[^>]*>', "", table)
    assert "g and h1 change this picture alike (LPIPS 0.020)" in told and "h2 change" not in told


def test_the_oracle_judges_each_counterfactual(visitors: Visitors) -> None:
    visitors.service.domain.oracle = FakeClassifier()
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)
    *_, answer = tab.compare(SOMEBODY)
    numbers, cards = answer[tab.numbers], answer[tab.cards]
    for row in numbers["rows"]:
        assert row["oracle"] == pytest.approx(row["probability"], abs=1e-4)
        assert row["opinion"] == ("follows" if row["flipped"] else None)
    assert cards.count("Second opinion") == len(numbers["rows"]) and ">follows</em>" in cards


def test_a_comparison_is_taken_home(visitors: Visitors) -> None:
    with gr.Blocks():
        tab = CompareTab(visitors)
    session = visitors.session("somebody")
    session.open_example(0)
    with pytest.raises(GCDError, match="compare first"):
        tab.save("csv", SOMEBODY)
    note(session, "bundled", "h1", Note.of("wider heart", "", "no idea"))
    *_, answer = tab.compare(SOMEBODY)
    numbers = answer[tab.numbers]
    names = [row["direction"] for row in numbers["rows"]]
    file = tab.save("csv", SOMEBODY)[tab.saves.file]
    with open(file, encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["direction"] for row in rows] == names and rows[0]["oracle"] == ""
    assert [row["called"] for row in rows[:2]] == ["", "wider heart"]
    assert [float(row["alpha"]) for row in rows] == [row["alpha"] for row in numbers["rows"]]
    file = tab.save("json", SOMEBODY)[tab.saves.file]
    assert json.loads(Path(file).read_text()) == json.loads(json.dumps(numbers))
    kept, domain = json.loads(Path(file).read_text()), visitors.service.domain
    before = session.image.opened.source.probabilities[0]
    side = 1 if before < 0.5 else -1
    assert kept["target"]["probability"] == pytest.approx(0.5 + side * domain.margin)
    assert [row["met"] for row in kept["rows"]] == [
        row["flipped"] and side * (row["probability"] - 0.5) >= domain.margin
        for row in kept["rows"]
    ]
    told = kept["fingerprints"]
    assert told["classifier"] == domain.classifier.identity
    pixels = session.image.opened.image.contiguous().numpy()
    kind = f"{session.image.opened.image.dtype} {tuple(pixels.shape[1:])} ".encode()
    assert told["image"] == hashlib.sha256(kind + pixels.tobytes()).hexdigest()
    file = tab.save("zip", SOMEBODY)[tab.saves.file]
    with ZipFile(file) as archive:
        assert {f"{name}.png" for name in names} < set(archive.namelist())
        with Image.open(io.BytesIO(archive.read("g.png"))) as picture:
            pixels = torch.from_numpy(np.array(picture))
            assert picture.text["Description"].startswith("SYNTHETIC")
        shown = session.image.paths.get("g").counterfactual_image[0, 0]
        assert torch.equal(pixels, (shown * 255).round().to(torch.uint8))
        assert json.loads(archive.read("comparison.json"))["rows"] == numbers["rows"]
    with pytest.raises(GCDError, match="one of csv, json, zip"):
        tab.save("../x", SOMEBODY)
    session.open_example(1)
    with pytest.raises(GCDError, match="compare first"):
        tab.save("csv", SOMEBODY)


def test_what_is_said_of_an_unlike_picture_stands_over_its_ways(visitors: Visitors) -> None:
    session, domain = visitors.session("owner"), visitors.service.domain
    session.open_image(domain.load_image(domain.examples[1]).flip(-1), "mine.png", "Unlike all.")
    with gr.Blocks():
        tab = CompareTab(visitors)
    *_, last = tab.compare(SimpleNamespace(session_hash="owner"))
    assert '<p class="gcd-caution">Unlike all.</p>' in last[tab.cards]
