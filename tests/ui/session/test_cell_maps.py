"""The map of cells on the page: asked for once, only of a move, and only where that is agreed."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from types import SimpleNamespace

import gradio as gr
import pytest

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.evaluation.known_reasons import LUNG_FIELDS
from gcd_core.method.attribution import map_agreement
from gcd_core.method.cells import QUERIES
from gcd_core.ui.engine.worker import Runner
from gcd_core.ui.session import heatmaps as module
from gcd_core.ui.session.display import Display
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.after_moves import AfterMoves
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.explore.handlers import ExploreHandlers
from gcd_core.ui.tabs.handler import Answer
from gcd_core.wording import percent, signed
from tests.ui.fakes import LargerClassifier, own_picture
from tests.ui.waiting import wait_for_paths

pytestmark = pytest.mark.slow

SHOWN = ("cells", 0.6, "side")
REQUEST = SimpleNamespace(session_hash="somebody")


@pytest.fixture
def handlers(visitors: Visitors) -> ExploreHandlers:
    with gr.Blocks():
        return ExploreTab(visitors).handlers


def after(handlers: ExploreHandlers) -> AfterMoves:
    """What follows a move by itself."""
    return AfterMoves(handlers.visitors, handlers.layout)


@pytest.fixture
def session(session: Session, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(session.service.ahead, "follow", lambda *_: None)
    wait_for_paths(session)
    return session


def asked(session: Session) -> int:
    return session.service.domain.classifier.queries


def map_of(handlers: ExploreHandlers, answer: Answer) -> tuple[dict, str]:
    """The numbers of an answer, and its pictures as HTML."""
    return answer[handlers.layout.numbers], answer[handlers.layout.pictures]


def test_nothing_is_coloured_or_asked_before_a_move(session: Session, handlers: ExploreHandlers):
    before = asked(session)
    numbers, pictures = map_of(handlers, handlers.heatmap(*SHOWN, REQUEST))
    assert asked(session) == before
    assert numbers["queries"] == 0 and "nothing moved" in pictures
    assert not session.image.maps.get("cells").map.any()
    assert not after(handlers).follow(*SHOWN, REQUEST)


def test_a_map_is_asked_once_for_each_position(session: Session, handlers: ExploreHandlers):
    session.image.sliders.move({"g": -5.0})
    _, pictures = map_of(handlers, handlers.fade(*SHOWN, REQUEST))
    assert "asking the classifier" in pictures, "another opacity asks nothing"
    before, evaluations = asked(session), session.service.domain.generator.evaluations
    numbers, pictures = map_of(handlers, handlers.heatmap(*SHOWN, REQUEST))
    assert asked(session) - before == numbers["queries"] == QUERIES
    assert session.service.domain.generator.evaluations == evaluations
    assert numbers["map"].startswith("data:image/png") and "512 queries" in pictures
    assert abs(numbers["completeness_error"]) < 1e-3
    domain, classifier = session.service.domain, session.service.domain.classifier
    logits = [
        classifier.logit(classifier(image), "pneumonia")
        for image in (session.image.opened.image, session.image.sliders.current.image)
    ]
    found = session.image.maps.get("cells")
    assert found.map.sum().item() == pytest.approx((logits[0] - logits[1]).item(), abs=1e-3)
    lungs = sum(region.mask(128, 128) for region in LUNG_FIELDS.values()).bool()
    assert found.map[lungs].abs().sum() > 0.8 * found.map.abs().sum()
    before = asked(session)
    session.image.sliders.move({"g": -4.5})
    assert after(handlers).follow(*SHOWN, REQUEST), "it follows the move"
    session.image.sliders.move({"g": -5.0})
    assert not after(handlers).follow(*SHOWN, REQUEST) and session.image.maps.get("cells") is found
    assert asked(session) - before == QUERIES
    assert domain.labels[0] == session.label


def test_a_larger_classifier_is_asked_about_the_pictures_own_pixels(visitors: Visitors):
    domain, session = visitors.service.domain, visitors.session("owner")
    domain.classifier, domain.detail = LargerClassifier(), "source"
    session.open_image(own_picture((300, 200)), "mine.png")
    wait_for_paths(session)
    session.image.sliders.move({"g": -5.0})
    domain.classifier.sizes.clear()  # the reconstruction, which opening asks about, has no other
    found = session.image.maps.cells_now()
    mask = session.image.regions.suggest(session.image.paths.get("g"))
    assert domain.classifier.sizes == {(256, 256)}
    assert found.map.shape == mask.shape == (128, 128)
    before, now = session.image.opened.source, session.image.sliders.current
    logits = [domain.classifier(frame.asked(domain.classifier))[0, 0] for frame in (before, now)]
    assert found.map.sum().item() == pytest.approx((logits[0] - logits[1]).item(), abs=1e-3)
    lungs = sum(region.mask(128, 128) for region in LUNG_FIELDS.values()).bool()
    assert mask[lungs].sum() > 0.8 * mask.sum()


def test_another_map_is_not_followed(session: Session, handlers: ExploreHandlers):
    session.image.sliders.move({"g": -5.0})
    before = asked(session)
    assert not after(handlers).follow(*SHOWN, REQUEST)
    assert asked(session) == before


def test_a_newer_position_ends_the_asking(session: Session, monkeypatch: pytest.MonkeyPatch):
    session.image.sliders.move({"g": -5.0})
    original, moves = module.explain_cells, []

    def overtaken(*args, progress, **settings):
        def moved(done, total):
            progress(done, total)
            if not moves:
                moves.append(session.image.sliders.move({"g": 2.0}))

        return original(*args, progress=moved, **settings)

    monkeypatch.setattr(module, "explain_cells", overtaken)
    before = asked(session)
    assert session.image.maps.cells_now() is None and moves[0] is session.image.sliders.current
    assert asked(session) - before < 60 and session.image.maps.get("cells") is None
    assert session.image.maps.cells_now() is session.image.maps.get("cells") is not None


@pytest.mark.parametrize("left", [QUERIES - 1, QUERIES])
def test_with_a_budget_it_is_asked_only_when_chosen(
    session: Session, handlers: ExploreHandlers, left: int
):
    session.image.sliders.move({"g": -5.0})
    before = asked(session)
    session.service.domain.classifier.budget = before + left
    _, pictures = map_of(handlers, handlers.fade(*SHOWN, REQUEST))
    assert not after(handlers).follow(*SHOWN, REQUEST)
    assert f"asked about 512 images for this map, and may be asked {left} more times" in pictures
    session.display = Display()
    if left < QUERIES:
        with pytest.raises(BudgetExceeded, match="512 images"):
            handlers.heatmap(*SHOWN, REQUEST)
        assert asked(session) == before and session.image.maps.get("cells") is None
        assert session.display == Display() and session.image.sliders.alphas == {"g": -5.0}
    else:
        numbers, _ = map_of(handlers, handlers.heatmap(*SHOWN, REQUEST))
        assert asked(session) - before == numbers["queries"] == QUERIES


def test_a_remote_classifier_is_not_asked_unless_chosen(
    session: Session, handlers: ExploreHandlers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session.service, "runner", Runner())  # as of a remote classifier
    session.image.sliders.move({"g": -5.0})
    before, session.display = asked(session), Display("cells")
    assert not after(handlers).follow(*SHOWN, REQUEST) and asked(session) == before
    assert session.image.maps.price("cells").startswith("The classifier is asked about 512 images")
    assert map_of(handlers, handlers.heatmap(*SHOWN, REQUEST))[0]["queries"] == QUERIES


def test_another_label_has_maps_of_its_own(session: Session):
    session.image.sliders.move({"g": -5.0})
    session.image.maps.cells_now()
    session.explain("bacterial")
    wait_for_paths(session)
    session.image.sliders.move({"g": -5.0})
    assert session.image.maps.get("cells") is None
    session.image.maps.cells_now()
    right = LUNG_FIELDS["right lower"].mask(128, 128)
    heat = session.image.maps.get("cells").map.abs()
    assert heat[right].sum() > 0.9 * heat.sum()


def test_the_better_map_leads_where_asking_is_free(
    visitors: Visitors, handlers: ExploreHandlers, monkeypatch: pytest.MonkeyPatch
):
    domain = visitors.service.domain
    assert visitors.session("first").display.overlay == "bb_lig", "nothing was measured"
    monkeypatch.setattr(domain, "better_map", "cells")
    with gr.Blocks():
        layout = ExploreTab(visitors).layout
    assert layout.overlay.value == layout.overlay.choices[0][1] == "cells"
    session = visitors.session("somebody")
    assert session.display.overlay == "cells"
    assert after(handlers).follow(*SHOWN, REQUEST) == {}, "nothing is open yet"
    session.open_example(0)
    wait_for_paths(session)
    session.image.sliders.move({"g": -5.0})
    assert after(handlers).follow(*SHOWN, REQUEST) and session.image.maps.get("cells") is not None
    domain.classifier.budget = asked(session) + 10_000
    with gr.Blocks():
        layout = ExploreTab(visitors).layout
    assert layout.overlay.value == layout.overlay.choices[0][1] == "bb_lig"
    assert visitors.session("another").display.overlay == "bb_lig"


def test_maps_that_point_to_different_places_are_told(
    session: Session, handlers: ExploreHandlers, monkeypatch: pytest.MonkeyPatch
):
    maps = session.image.maps
    session.image.sliders.move({"g": -5.0})
    before = asked(session)
    numbers, pictures = map_of(handlers, handlers.fade("bb_lig", 0.6, "side", REQUEST))
    assert numbers["rank_correlation"] is None and "different places" not in pictures
    assert asked(session) == before, "nothing is asked to compare"
    numbers, pictures = map_of(handlers, handlers.heatmap(*SHOWN, REQUEST))
    known = map_agreement(maps.get("cells").map, maps.get("bb_lig").map)
    assert numbers["rank_correlation"] == pytest.approx(known) and known > 0.3
    assert "different places" not in pictures, "both lie on the lungs"
    elsewhere = replace(maps.get("cells"), map=maps.get("cells").map.flip(0, 1).roll(40, 0))
    get = maps.get
    monkeypatch.setattr(maps, "get", lambda kind: elsewhere if kind == "cells" else get(kind))
    for kind in ("cells", "bb_lig"):
        numbers, pictures = map_of(handlers, handlers.fade(kind, 0.6, "side", REQUEST))
        assert numbers["rank_correlation"] < 0.3
        assert "point to different places" in pictures and "Look at both." in pictures
    _, pictures = map_of(handlers, handlers.fade("difference", 0.6, "side", REQUEST))
    assert "different places" not in pictures


def test_how_well_a_map_finds_reasons_stands_with_its_name(
    session: Session, handlers: ExploreHandlers, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session.service.domain, "map_mass", {"cells": 0.912}, raising=False)
    _, pictures = map_of(handlers, handlers.fade(*SHOWN, REQUEST))
    assert "91 % of this map lay in that part" in pictures
    _, pictures = map_of(handlers, handlers.fade("bb_lig", 0.6, "side", REQUEST))
    assert "lay in that part" not in pictures


def test_the_completeness_error_stands_beside_each_map_that_has_one(
    session: Session, handlers: ExploreHandlers
):
    _, pictures = map_of(handlers, handlers.fade("bb_lig", 0.6, "side", REQUEST))
    assert "completeness" not in pictures, "nothing moved yet"
    session.image.sliders.move({"g": -5.0})
    for kind in ("bb_lig", "cells"):
        numbers, pictures = map_of(handlers, handlers.heatmap(kind, 0.6, "side", REQUEST))
        error = numbers["completeness_error"]
        assert error == session.image.maps.get(kind).completeness_error
        change = session.image.maps.get(kind).map.sum().item() - error
        shown = "below 0.01" if 0 < abs(error) < 0.005 else signed(error)
        assert ">completeness error<" in pictures and f">{shown}<" in pictures
        assert ">not explained<" in pictures
        assert f">{escape(percent(abs(error / change)))}<" in pictures
    _, pictures = map_of(handlers, handlers.heatmap("difference", 0.6, "side", REQUEST))
    assert "completeness" not in pictures
