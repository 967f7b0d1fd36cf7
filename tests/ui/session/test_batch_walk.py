"""Many images walked along one direction in the background."""

from __future__ import annotations

import time

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.walk import walk
from gcd_core.ui.session.batch_walk import MAX_IMAGES, QUICK, BatchWalk, start_batch_walk
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.globality import progress_html
from tests.ui.fakes import own_picture


def walked(session: Session, count: int = 3, direction: str = "g") -> BatchWalk:
    domain = session.service.domain
    images = [domain.load_image(path) for path in domain.examples[:count]]
    names = [f"{i}" for i in range(count)]
    task = names, images, session.directions, direction, session.label
    return start_batch_walk(session.service, *task)


def finished(wall: BatchWalk) -> BatchWalk:
    assert wall.wait(60) and not wall.running
    return wall


def test_each_image_is_walked_as_the_library_walks_it(session: Session) -> None:
    wall = finished(walked(session, 3))
    assert wall.state == "done" and [p.name for p in wall.pieces] == ["0", "1", "2"]
    domain, directions = session.service.domain, session.directions
    for piece in wall.pieces:
        path = walk(domain, piece.source, directions["g"], session.label)
        assert piece.flipped == path.counterfactual_flips and piece.alpha == pytest.approx(
            path.alphas[path.counterfactual].item()
        )
        torch.testing.assert_close(piece.changed, path.counterfactual_image)
        own = path.source_probability >= 0.5
        first = path.probabilities[path.alphas.abs().argmin()].item()
        assert piece.curve[0] == pytest.approx((0, first if own else 1 - first))
        assert min(alpha for alpha, _ in piece.curve) == 0
        assert (piece.change >= 0).all() and piece.oracle is None and piece.opinion is None


def test_pictures_keep_their_own_size_up_to_a_limit(session: Session) -> None:
    domain = session.service.domain
    domain.detail, domain.walk_points = "source", 5
    domain.classifier.budget = 10_000  # no other direction is tried
    images = [own_picture((300, 200)), own_picture((700, 1000))]
    task = ["a", "b"], images, session.directions, "g", session.label
    wall = finished(start_batch_walk(session.service, *task))
    for image, piece, size in zip(images, wall.pieces, [(300, 200), (358, 512)], strict=True):
        original, changed = piece.pictures
        assert original.shape == changed.shape == (1, 1, *size)
        assert original.dtype == changed.dtype == torch.uint8
        path = walk(domain, image, session.directions["g"], session.label)
        assert piece.alpha == pytest.approx(float(path.alphas[path.counterfactual]))
        if size == image.size:
            assert torch.equal(original / 255, image.pixels)
            whole = path.picture(path.counterfactual)
            torch.testing.assert_close(changed / 255, whole, atol=0.6 / 255, rtol=0)
        assert piece.source.shape == piece.changed.shape == (1, 1, 128, 128)


def test_the_other_directions_are_tried_too(session: Session) -> None:
    wall = finished(walked(session, 2))
    assert set(wall.rates) == set(wall.directions.names)
    assert all(count == 2 for _, count in wall.rates.values())
    assert wall.rates["g"][0] == sum(piece.flipped for piece in wall.pieces)


def test_where_answers_cost_only_what_was_asked_for_is_walked(session: Session) -> None:
    classifier = session.service.domain.classifier
    if session.image.paths is not None:
        session.image.paths.cancel()
        assert session.image.paths.wait(30)
    classifier.budget = classifier.queries + 10
    queries = classifier.queries
    with pytest.raises(GCDError, match="budget"):
        walked(session, 3)
    assert classifier.queries == queries
    classifier.budget = classifier.queries + 1000
    wall = finished(walked(session, 2))
    assert wall.state == "done" and set(wall.rates) == {"g"}


def test_it_is_cancelled_and_the_visitors_leaving_cancels_it(session: Session) -> None:
    wall = walked(session, 3)
    wall.cancel()
    assert finished(wall).state == "cancelled"
    session.wall = walked(session, 3)
    session.close()
    assert finished(session.wall).state == "cancelled"


def test_a_visitor_has_one_walk_at_a_time(session: Session) -> None:
    domain = session.service.domain
    task = ["0"], [domain.load_image(domain.examples[0])], session.directions, "g", session.label
    first = start_batch_walk(session.service, *task, owner="somebody")
    with pytest.raises(GCDError, match="running already: cancel it first"):
        start_batch_walk(session.service, *task, owner="somebody")
    other = start_batch_walk(session.service, *task, owner="another")
    first.cancel()
    assert finished(other).state == "done" and finished(first).state == "cancelled"


def test_what_cannot_be_walked_is_refused(session: Session) -> None:
    directions = session.directions
    image = torch.rand(1, 1, 128, 128)
    for images, name, message in [
        ([], "g", "no images"),
        ([image] * (MAX_IMAGES + 1), "g", "too many"),
        ([image], "z9", "'z9'"),
    ]:
        with pytest.raises(GCDError, match=message):
            start_batch_walk(
                session.service, ["x"] * len(images), images, directions, name, session.label
            )


def test_a_failure_is_told_in_a_sentence(session: Session, monkeypatch) -> None:
    def fail(*_: object, **hooks: object) -> None:
        raise GCDError("The classifier is away.")

    monkeypatch.setattr(session.service, "toward", fail)
    wall = finished(walked(session, 2))
    assert wall.state == "failed" and wall.error == "The classifier is away."


def test_one_bar_and_one_time_are_of_all_walks(session: Session, monkeypatch) -> None:
    directions = session.directions  # g, and four others that are walked quickly
    images = [session.service.domain.load_image(path) for path in session.service.domain.examples]
    walk = BatchWalk(session.service, ["a", "b", "c"], images, directions, "g", "pneumonia")
    assert walk.fraction == 0 and walk.eta is None and walk.quick_total == 12
    monkeypatch.setattr(walk, "pieces", [object()])
    walk.began, walk.paced = time.monotonic() - 13, time.monotonic() - 3
    assert walk.fraction == pytest.approx(1 / (3 + 12 * QUICK))
    left = 10 * (2 + 12 * QUICK) - 3  # of the image under way three seconds are over
    assert walk.eta == pytest.approx(left, rel=0.02)
    walk.pieces, walk.rates = [object()] * 3, {"h1": (1, 3), "h2": (0, 1), "g": (3, 3)}
    walk.quick_began, walk.paced = time.monotonic() - 8, time.monotonic()
    assert walk.fraction == pytest.approx((3 + 4 * QUICK) / (3 + 12 * QUICK))
    assert walk.eta == pytest.approx(16, rel=0.02), "two seconds for each of the eight left"
    told = progress_html(walk)
    assert "4 of 12 quick walks" in told and "about 16 s left" in told
    walk.rates = {name: (0, 3) for name in directions.names}
    assert walk.fraction == 1 and walk.eta is None
    monkeypatch.setattr(session.service.domain.classifier, "budget", 100)
    assert walk.quick_total == 0, "what costs something is not asked for the bars"
