"""Regions that are tried of an opened image: outside them nothing changes."""

from __future__ import annotations

import threading

import pytest
import torch

from gcd_core.errors import Cancelled, GCDError
from gcd_core.ui.session.session import Session
from tests.ui.fakes import SIZE
from tests.ui.waiting import wait_for_paths


def box(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


LUNGS = box(30, 104, 18, 112)
CORNER = box(0, 20, 0, 20)


def silent(done: int, total: int) -> None:
    pass


def test_a_region_that_the_classifier_reads_flips_and_one_that_it_does_not_cannot(
    session: Session,
) -> None:
    image = session.image
    told: list[tuple[int, int]] = []
    inside = image.regions.attempt(LUNGS, lambda *done: told.append(done))
    assert inside.path.flipped and told and told[-1][1] == len(session.names) + 1
    outside = image.regions.attempt(CORNER, silent)
    assert not outside.path.flipped and outside.asked == session.names
    assert [tried.name for tried in image.regions.kept] == ["Region 1", "Region 2"]
    for tried in image.regions.kept:
        kept = tried.path.images[:, :, ~tried.mask]
        source = image.opened.image[:, :, ~tried.mask].expand_as(kept)
        assert torch.equal(kept, source)
    assert inside.share == pytest.approx(74 * 94 / SIZE**2)


def test_the_suggested_region_holds_what_the_classifier_reads(session: Session) -> None:
    image = session.image
    mask = image.regions.suggest(image.sliders.path_now("g"))
    assert 0.2 < mask.float().mean() < 0.4
    assert (mask & LUNGS).sum() / mask.sum() > 0.8
    assert image.regions.attempt(mask, silent).path.flipped


@pytest.mark.parametrize(
    "mask", [torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE), torch.ones(8, 8)]
)
def test_a_mask_that_does_not_fit_costs_nothing(session: Session, mask: torch.Tensor) -> None:
    queries = session.service.domain.classifier.queries
    with pytest.raises(GCDError, match="region"):
        session.image.regions.attempt(mask, silent)
    assert session.service.domain.classifier.queries == queries and not session.image.regions.kept


def test_it_is_cancelled_and_another_image_ends_it(session: Session) -> None:
    regions = session.image.regions
    for end in (regions.cancel, lambda: session.open_example(1)):
        begun, go_on, outcome = threading.Event(), threading.Event(), []

        def progress(*_: int, begun=begun, go_on=go_on) -> None:
            begun.set()
            assert go_on.wait(30)

        def work(progress=progress, outcome=outcome) -> None:
            with pytest.raises(Cancelled):
                regions.attempt(CORNER, progress)
            outcome.append("cancelled")

        thread = threading.Thread(target=work)
        thread.start()
        assert begun.wait(30)
        with pytest.raises(GCDError, match="being tried already"):
            regions.attempt(LUNGS, silent)
        end()
        go_on.set()
        thread.join(30)
        assert outcome == ["cancelled"] and not regions.kept
    assert session.image.regions is not regions and session.image.regions.kept == []


def test_a_classifier_that_costs_is_asked_along_g_alone(session: Session) -> None:
    classifier = session.service.domain.classifier
    wait_for_paths(session)
    classifier.budget = classifier.queries + 5
    with pytest.raises(GCDError, match="budget"):
        session.image.regions.attempt(CORNER, silent)
    classifier.budget = classifier.queries + 1000
    before = classifier.queries
    tried = session.image.regions.attempt(CORNER, silent)
    assert tried.asked == ["g"] and classifier.queries - before <= 30


def test_the_bridge_changes_a_region_where_there_is_one(session: Session, monkeypatch) -> None:
    regions, domain = session.image.regions, session.service.domain
    with monkeypatch.context() as patch:
        patch.setattr(type(domain), "bridge", None)
        with pytest.raises(GCDError, match="has no bridge"):
            regions.attempt(LUNGS, silent, "rcsb")
    with pytest.raises(GCDError, match="not by 'paint'"):
        regions.attempt(LUNGS, silent, "paint")
    told: list[tuple[int, int]] = []
    inside = regions.attempt(LUNGS, lambda *done: told.append(done), "rcsb")
    assert inside.path.counterfactual_flips and inside.asked == ["rcsb"]
    assert told == [(i + 1, 6) for i in range(6)]
    assert not regions.attempt(CORNER, silent, "rcsb").path.counterfactual_flips
    for tried in regions.kept:
        kept = tried.path.images[:, :, ~tried.mask]
        assert torch.equal(kept, session.image.opened.image[:, :, ~tried.mask].expand_as(kept))
    classifier = domain.classifier
    wait_for_paths(session)
    classifier.budget = classifier.queries + 10
    with pytest.raises(GCDError, match="budget"):
        regions.attempt(LUNGS, silent, "rcsb")


def test_the_bridge_is_cancelled_between_two_steps(session: Session) -> None:
    regions = session.image.regions
    told: list[tuple[int, int]] = []

    def progress(*done: int) -> None:
        told.append(done)
        if done[0] == 3:
            regions.cancel()

    with pytest.raises(Cancelled):
        regions.attempt(LUNGS, progress, "rcsb")
    assert len(told) == 3 and not regions.kept
