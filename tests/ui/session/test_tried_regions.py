"""Regions that are tried of an opened image: outside them nothing changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from html import escape

import pytest
import torch

from gcd_core.errors import Cancelled, GCDError
from gcd_core.ui.engine.jobs import Job
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.session.regions import Regions, Tried
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.region import card, region_numbers
from gcd_core.ui.views.payload import doubts_about
from tests.ui.fakes import SIZE, FakeClassifier, FakeDistance
from tests.ui.waiting import Held as HeldOnce
from tests.ui.waiting import wait_for, wait_for_paths


def box(top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


LUNGS = box(30, 104, 18, 112)
CORNER = box(0, 20, 0, 20)


def attempt(regions: Regions, mask: torch.Tensor, method: str = "gcd") -> Tried:
    """What comes of a region, waited for."""
    return regions.start(mask, method).ended.result(30)


def followed(job: Job) -> list[tuple[int, int]]:
    """What is told of a job until it ends, as far as one is quick enough to hear it."""
    told, seen = [], 0
    while job.running:
        seen = job.changed_since(seen, 30)
        told.append(job.progress)
    return told


@pytest.fixture
def held(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Walks inside a region that wait until they may go on."""
    held = Held(session.service.in_batches)
    monkeypatch.setattr(session.service, "in_batches", held)
    yield held
    held.go_on.set()


class Held:
    """A function that waits until it may go on, where it is about a region."""

    def __init__(self, function: Callable) -> None:
        self.function, self.called, self.go_on = function, threading.Event(), threading.Event()

    def __call__(self, *args: object, **options: object) -> object:
        if "region" in options:  # the paths of the image go on
            self.called.set()
            assert self.go_on.wait(30)
        return self.function(*args, **options)


def test_a_region_that_the_classifier_reads_flips_and_one_that_it_does_not_cannot(
    session: Session,
) -> None:
    job = session.image.regions.start(LUNGS)
    told = followed(job)
    inside = job.ended.result(30)
    assert inside.path.flipped and told == sorted(told)
    assert told[-1][1] == len(session.names) + 1
    outside = attempt(session.image.regions, CORNER)
    assert not outside.path.flipped and outside.asked == session.names
    assert [tried.name for tried in session.image.regions.kept] == ["Region 1", "Region 2"]
    for tried in session.image.regions.kept:
        kept = tried.path.images[:, :, ~tried.mask]
        source = session.image.opened.image[:, :, ~tried.mask].expand_as(kept)
        assert torch.equal(kept, source)
    assert inside.share == pytest.approx(74 * 94 / SIZE**2)


class Reluctant(FakeClassifier):
    """An oracle that says of a label what it is told to, of every picture."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit_of_all = logit

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.full((len(images), 2), self.logit_of_all)


class Local(FakeDistance):
    """That distance inside a mask, too; the second picture is redrawn so many times worse."""

    def __init__(self, times: float) -> None:
        self.times = times

    def inside(self, a: torch.Tensor, b: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.1, 0.1 * self.times])


@pytest.mark.parametrize(
    ("same_side", "times", "doubts"),
    [
        (None, 1.0, []),
        (True, 1.0, ["The second opinion does not follow."]),
        (False, 1.0, ["The second opinion disagreed from the start."]),
        (None, 3.0, ["redraws it 3.0 times worse"]),
        (True, 3.0, ["redraws it 3.0 times worse", "does not follow"]),
    ],
)
def test_a_flip_within_a_region_is_doubted_for_what_was_measured(
    session: Session, same_side: bool | None, times: float, doubts: list[str]
) -> None:
    domain, image = session.service.domain, session.image
    domain.perceptual = Local(times)
    side = 1 if image.opened.source.probabilities[0] >= 0.5 else -1
    if same_side is not None:
        domain.oracle = Reluctant(4.0 * (side if same_side else -side))
    tried = attempt(image.regions, LUNGS)
    assert tried.path.counterfactual_flips and tried.redrawing == pytest.approx(times)
    told = region_numbers(image, tried)["doubts"]
    assert len(told) == len(doubts)
    for sentence, part in zip(told, doubts, strict=True):
        assert part in sentence
    html = card(image, tried)
    assert ("gcd-region doubtful" in html) == bool(doubts)
    assert ("gcd-region yes" in html) == (not doubts)
    assert all(escape(sentence) in html for sentence in told) and html.count("data-save") == 3


def test_a_flip_within_a_region_that_misses_the_wanted_certainty_is_doubted(
    session: Session,
) -> None:
    tried = attempt(session.image.regions, LUNGS)
    unsure = tried._replace(path=replace(tried.path, choice="smallest", margin=0.4999))
    assert tried.convincing and not unsure.convincing
    assert any("certainty that was wanted" in doubt for doubt in doubts_about(unsure))


def test_the_suggested_region_holds_what_the_classifier_reads(session: Session) -> None:
    image = session.image
    mask = image.regions.suggest(image.sliders.path_now("g"))
    assert 0.2 < mask.float().mean() < 0.4
    assert (mask & LUNGS).sum() / mask.sum() > 0.8
    assert attempt(session.image.regions, mask).path.flipped


@pytest.mark.parametrize(
    "mask", [torch.zeros(SIZE, SIZE), torch.ones(SIZE, SIZE), torch.ones(8, 8)]
)
def test_a_mask_that_does_not_fit_costs_nothing(session: Session, mask: torch.Tensor) -> None:
    queries = session.service.domain.classifier.queries
    with pytest.raises(GCDError, match="region"):
        attempt(session.image.regions, mask)
    assert session.service.domain.classifier.queries == queries and not session.image.regions.kept


def test_it_is_cancelled_and_another_image_ends_it(session: Session, held: Held) -> None:
    regions = session.image.regions
    for end in (regions.cancel, lambda: session.open_example(1)):
        held.called.clear(), held.go_on.clear()
        job = regions.start(CORNER)
        assert held.called.wait(30)
        with pytest.raises(GCDError, match="being tried already"):
            regions.start(LUNGS)
        ending = threading.Thread(target=end)
        ending.start()
        if end == regions.cancel:
            ending.join(30)
        held.go_on.set()  # the image that is opened needs the thread that computes
        with pytest.raises(Cancelled):
            job.ended.result(30)
        ending.join(30)
        assert job.state == "cancelled" and not regions.kept
    assert session.image.regions is not regions and session.image.regions.kept == []


def test_what_another_visitor_waits_for_comes_between_a_regions_pictures(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for_paths(session)
    service, order = session.service, []
    held = HeldOnce(service.try_walk)

    def walk(*args: object, **options: object) -> object:
        path = held(*args, **options)
        order.append("region")
        return path

    monkeypatch.setattr(service, "try_walk", walk)
    job = session.image.regions.start(CORNER)
    assert held.called.wait(30)
    turn = threading.Thread(target=service.in_turn, args=(Urgency.NEXT, order.append, "flip"))
    turn.start()
    wait_for(lambda: service.compute._waiting[Urgency.NEXT])
    held.go_on.set()
    turn.join(30)
    assert job.wait(120) and order[:2] == ["flip", "region"]


def test_a_classifier_that_costs_is_asked_along_g_alone(session: Session) -> None:
    classifier = session.service.domain.classifier
    wait_for_paths(session)
    classifier.budget = classifier.queries + 5
    with pytest.raises(GCDError, match="budget"):
        attempt(session.image.regions, CORNER)
    classifier.budget = classifier.queries + 1000
    before = classifier.queries
    tried = attempt(session.image.regions, CORNER)
    assert tried.asked == ["g"] and classifier.queries - before <= 30


def test_the_bridge_changes_a_region_where_there_is_one(session: Session, monkeypatch) -> None:
    regions, domain = session.image.regions, session.service.domain
    with monkeypatch.context() as patch:
        patch.setattr(type(domain), "bridge", None)
        with pytest.raises(GCDError, match="has no bridge"):
            regions.start(LUNGS, "rcsb")
    with pytest.raises(GCDError, match="not by 'paint'"):
        regions.start(LUNGS, "paint")
    job = regions.start(LUNGS, "rcsb")
    told, inside = followed(job), job.ended.result(30)
    assert inside.path.counterfactual_flips and inside.asked == ["rcsb"]
    assert told == sorted(told) and told[-1] == (6, 6)
    assert not attempt(regions, CORNER, "rcsb").path.counterfactual_flips
    for tried in regions.kept:
        kept = tried.path.images[:, :, ~tried.mask]
        assert torch.equal(kept, session.image.opened.image[:, :, ~tried.mask].expand_as(kept))
    classifier = domain.classifier
    wait_for_paths(session)
    classifier.budget = classifier.queries + 10
    with pytest.raises(GCDError, match="budget"):
        regions.start(LUNGS, "rcsb")


def test_the_bridge_is_cancelled_between_two_steps(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions, told, report = session.image.regions, [], Job.report

    def noted(job: Job, done: tuple[int, int]) -> None:
        report(job, done)
        told.append(done)
        if done[0] == 3:
            regions.cancel()

    monkeypatch.setattr(Job, "report", noted)
    with pytest.raises(Cancelled):
        attempt(regions, LUNGS, "rcsb")
    assert told == [(1, 6), (2, 6), (3, 6)] and not regions.kept
