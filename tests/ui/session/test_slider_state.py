"""The moves of one image: what is decoded, what is kept, and what comes too late."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import GCDError
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import LINE_POINTS, Frame, alpha_grid, rounded
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.html import NOT_FLIPPED, pictures, readout
from gcd_core.ui.views.payload import moves_alone, payload_of
from tests.ui.fakes import FakeClassifier, FakeDomain
from tests.ui.waiting import wait_for, wait_for_paths

pytestmark = pytest.mark.slow


def test_a_single_move_comes_from_the_decoded_path(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    image = session.image
    monkeypatch.setattr(session.service.ahead, "follow", lambda *_: None)
    wait_for_paths(session)
    alpha = alpha_grid(6.0)[-3]
    before = session.service.domain.generator.evaluations
    frame = image.sliders.move({"g": alpha})
    assert session.service.domain.generator.evaluations == before
    vector = session.directions["g"].vector
    latent = image.opened.latent
    expected = session.service.domain.generator.decode(
        latent.with_z_sem(latent.z_sem + alpha * vector)
    )
    assert torch.allclose(frame.image, expected, atol=1e-5)
    assert image.sliders.moved == "g"


def test_a_combined_move_adds_the_directions_and_is_remembered(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    image = session.image
    monkeypatch.setattr(session.service.ahead, "follow", lambda *_: None)
    wait_for_paths(session)
    domain, latent = session.service.domain, image.opened.latent
    frame = image.sliders.move({"g": 1.0, "h2": -2.0, "h3": 0.0})
    z_sem = latent.z_sem + session.directions["g"].vector - 2 * session.directions["h2"].vector
    expected = domain.generator.decode(latent.with_z_sem(z_sem))
    assert torch.allclose(frame.image, expected, atol=1e-5)
    distance = domain.perceptual(expected, image.opened.image)
    assert frame.distance == pytest.approx(float(distance))
    image.sliders.move({"g": 1.0})
    before = domain.generator.evaluations
    assert image.sliders.move({"g": 1.0, "h2": -2.0}) is frame
    assert domain.generator.evaluations == before


def test_the_moved_direction_is_the_one_that_changed(session: Session):
    image = session.image
    image.sliders.move({"g": 1.0})
    image.sliders.move({"g": 1.0, "h3": 2.0})
    assert image.sliders.moved == "h3"


def test_a_stale_move_is_dropped(session: Session, monkeypatch: pytest.MonkeyPatch):
    image = session.image
    wait_for_paths(session)
    decode, started, go_on = session.service.decode_live, threading.Event(), threading.Event()

    def slow(*args):
        started.set()
        assert go_on.wait(30)
        return decode(*args)

    monkeypatch.setattr(session.service, "decode_live", slow)
    answers = {}

    def move(name: str, alphas: dict) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.update({name: image.sliders.move(alphas)}))
        thread.start()
        return thread

    threads = [move("first", {"g": 1.0, "h1": 1.0})]
    assert started.wait(30)
    threads.append(move("second", {"g": 1.0, "h1": 2.0}))
    wait_for(lambda: image.sliders.alphas == {"g": 1.0, "h1": 2.0})
    threads.append(move("third", {"g": 1.0, "h1": 3.0}))
    wait_for(lambda: image.sliders.alphas == {"g": 1.0, "h1": 3.0})
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert answers["first"] is None and answers["second"] is None
    assert answers["third"] is image.sliders.current


def test_the_neighbours_of_a_position_are_decoded_ahead(session: Session):
    image = session.image
    wait_for_paths(session)
    stop = alpha_grid(6.0)[-1] - alpha_grid(6.0)[-2]
    image.sliders.move({"g": 1.0, "h2": -6.0})
    near = [{"g": 1.0 + stop, "h2": -6.0}, {"g": 1.0, "h2": stop - 6.0}]
    near += [{"g": 1.0, "h2": -6.0, "h1": alpha} for alpha in (stop, -stop)]
    stops = [rounded(alphas, session.names) for alphas in near]
    wait_for(lambda: None not in map(image.sliders.known, stops))
    domain, kept = session.service.domain, image.sliders.known(stops[0])
    assert image.sliders.known({"g": 1.0, "h2": -6.0 - stop}) is None, "beyond the slider's end"
    frame = image.sliders.move(near[0])
    assert frame is kept
    z_sem = image.opened.latent.z_sem + near[0]["g"] * session.directions["g"].vector
    expected = domain.generator.decode(
        image.opened.latent.with_z_sem(z_sem - 6 * session.directions["h2"].vector)
    )
    assert torch.allclose(frame.image, expected, atol=1e-4)


def test_nothing_is_decoded_ahead_for_a_position_that_was_left(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    image = session.image
    wait_for_paths(session)
    works: list[Iterator[None]] = []
    monkeypatch.setattr(session.service.ahead, "follow", lambda _, work: works.append(work))
    image.sliders.move({"g": 1.0, "h1": 1.0})
    work = works[0]
    next(work)
    image.sliders.move({"g": 2.0, "h1": 1.0})
    with pytest.raises(StopIteration):
        next(work)


@pytest.mark.parametrize("name, value", [("budget", 1000), ("remote", True)])
def test_nothing_is_decoded_ahead_where_that_costs_queries(
    domain: FakeDomain, monkeypatch: pytest.MonkeyPatch, name: str, value: object
):
    setattr(domain.classifier, name, value)
    visitors = Visitors(domain)
    try:
        session, service = visitors.session("somebody"), visitors.service
        session.open_example(0)
        wait_for_paths(session)
        monkeypatch.setattr(
            service.ahead, "follow", lambda *_: pytest.fail("asked what nobody asked for")
        )
        queries = domain.classifier.queries
        session.image.sliders.move({"g": 1.0, "h1": 0.3})
        assert domain.classifier.queries == queries + 1
    finally:
        visitors.close()


def test_a_decoded_path_takes_the_place_of_what_was_drawn_live(
    visitors: Visitors, service: ModelService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service.domain.generator, "live_solver", "distilled", raising=False)
    session = visitors.session("somebody")
    hold, alpha = threading.Event(), alpha_grid(6.0)[-3]
    walk = service.walk
    monkeypatch.setattr(service, "walk", lambda *args, **by: hold.wait(30) and walk(*args, **by))
    monkeypatch.setattr(service, "in_turn", lambda urgency, function, *args: function(*args))
    session.open_example(0)
    assert session.image.sliders.move({"g": alpha}).live
    hold.set()
    wait_for_paths(session)
    assert (
        not session.image.sliders.draw_in_full().live
        and not session.image.sliders.move({"g": alpha}).live
    )
    assert not session.image.sliders.current.live


def test_a_frame_of_an_image_that_was_left_is_not_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    moves, decode = session.image.sliders, session.service.decode_live

    def leaving(*args: Any) -> Frame:
        session.open_example(1)
        return decode(*args)

    monkeypatch.setattr(session.service, "decode_live", leaving)
    assert moves.move({"g": 1.0, "h1": 1.0}) is None
    assert moves.known({"g": 1.0, "h1": 1.0}) is None
    assert moves.move({"g": 1.0}) is None and session.image.sliders.alphas == {}


def test_who_waits_gets_the_live_solver_and_who_looks_the_full_one(
    visitors: Visitors, service: ModelService, monkeypatch: pytest.MonkeyPatch
):
    generator, solvers = service.domain.generator, []
    decode = generator.decode

    def noting(latent, solver=None, *args, **options):
        solvers.append(solver)
        return decode(latent, solver, *args, **options)

    monkeypatch.setattr(generator, "decode", noting)
    monkeypatch.setattr(generator, "live_solver", "distilled", raising=False)
    session = visitors.session("somebody")
    session.open_example(0)
    wait_for_paths(session)
    assert solvers and set(solvers) == {None}
    solvers.clear()
    quick = session.image.sliders.move({"g": 1.0, "h1": 1.0})
    assert solvers[0] == "distilled" and quick.live
    full = session.image.sliders.draw_in_full()
    assert None in solvers and not full.live and session.image.sliders.current is full
    assert (
        session.image.sliders.move({"g": 1.0, "h1": 1.0}) is full
        and session.image.sliders.draw_in_full() is None
    )
    session.image.sliders.move({"g": 2.0, "h1": 1.0})
    assert session.image.sliders.still() == (session.image.sliders.current, {"g": 2.0, "h1": 1.0})
    assert not session.image.sliders.current.live


def test_a_position_that_was_left_is_not_decoded_in_full(
    visitors: Visitors, service: ModelService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(service.domain.generator, "live_solver", "distilled", raising=False)
    session = visitors.session("somebody")
    session.open_example(0)
    wait_for_paths(session)
    session.image.sliders.move({"g": 1.0, "h1": 1.0})
    later = service.decode_later

    def meanwhile(*args):
        session.image.sliders.move({"g": 2.0, "h1": 1.0})
        return later(*args)

    monkeypatch.setattr(service, "decode_later", meanwhile)
    assert session.image.sliders.draw_in_full() is None
    assert session.image.sliders.current.live and session.image.sliders.alphas == {
        "g": 2.0,
        "h1": 1.0,
    }


def test_to_flip_goes_to_the_counterfactual(session: Session):
    image = session.image
    frame, flipped = image.flips.to_flip("g", 0.25)
    path = image.paths.get("g")
    assert flipped == path.flipped
    assert image.sliders.alphas == {"g": pytest.approx(float(path.alphas[path.counterfactual]))}
    before = image.opened.source.probabilities[0]
    assert ((frame.probabilities[0] >= 0.5) != (before >= 0.5)) == flipped


def test_to_flip_lands_on_the_smallest_convincing_change_between_the_stops(session: Session):
    image = session.image
    frame, flipped = image.flips.to_flip("g", 0.25)
    path, stops = image.paths.get("g"), alpha_grid(6.0)
    assert torch.equal(path.alphas[path.is_walked], torch.tensor(stops)), "each stop is decoded"
    assert flipped and len(path.refined) == 4
    alpha, step = image.sliders.alphas["g"], 6.0 / 12
    assert min(abs(alpha - stop) for stop in stops) > 1e-3, "a place that no stop has"
    beyond = abs(frame.probabilities[0] - 0.5)
    before = path.alphas * path.sign < alpha * path.sign - 1e-3
    nearest = int((path.alphas * path.sign).masked_fill(~before, -torch.inf).argmax())
    assert beyond >= 0.25 > abs(float(path.probabilities[nearest]) - 0.5)
    assert abs(alpha - float(path.alphas[nearest])) == pytest.approx(step / 16, abs=1e-3)
    assert torch.equal(frame.image, path.counterfactual_image)


def test_a_typed_position_is_not_drawn_to_a_stop(session: Session):
    session.image.sliders.move({"g": 1.0321})
    assert session.image.sliders.alphas == {"g": 1.0321}


def test_moving_before_opening_is_refused(visitors: Visitors):
    session = visitors.session("early")
    for ask in (session.open_now, session.open_next):
        with pytest.raises(GCDError, match="nothing to move yet: open an image first"):
            ask("There is nothing to move yet")


def test_nothing_is_coloured_before_a_move(session: Session):
    image = session.image
    wait_for_paths(session)
    assert image.maps.get("none") is None
    assert image.maps.get("difference").map.abs().max() < 1e-3
    still = image.maps.get("bb_lig")
    assert not still.map.any() and still.completeness_error == 0
    assert image.maps.line() is None and image.maps.line_now() is None


def change(session: Session) -> float:
    """How far the classifier's logit fell from the reconstruction to the current picture."""
    classifier = session.service.domain.classifier
    images = torch.cat(
        [session.image.opened.reconstruction.image, session.image.sliders.current.image]
    )
    logits = classifier.logit(classifier(images), "pneumonia")
    return float(logits[0] - logits[1])


@pytest.mark.parametrize("alpha", [-4.0, -1.234, 2.5])
def test_the_map_explains_the_change_on_screen(session: Session, alpha: float):
    image = session.image
    wait_for_paths(session)
    image.sliders.move({"g": alpha})
    heat = image.maps.get("bb_lig")
    assert heat.map.sum().item() == pytest.approx(change(session), abs=0.05)
    assert abs(heat.completeness_error) < 0.05
    assert image.maps.get("bb_lig") is heat
    image.sliders.move({"g": alpha / 2})
    smaller = image.maps.get("bb_lig")
    assert smaller.map.abs().sum() < heat.map.abs().sum()
    image.sliders.move({"h3": 2.0})
    assert image.maps.get("bb_lig") is not heat


def test_several_directions_are_followed_together(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    image = session.image
    monkeypatch.setattr(session.service.ahead, "follow", lambda *_: None)
    wait_for_paths(session)
    image.sliders.move({"g": -3.0, "h1": 2.0})
    assert image.maps.line() is None and image.maps.get("bb_lig") is None, "it is followed at rest"
    queries = session.service.domain.classifier.queries
    path = image.maps.line_now()
    assert session.service.domain.classifier.queries == queries + LINE_POINTS + 1
    vectors = {name: session.directions[name].vector for name in ("g", "h1")}
    moved = -3 * vectors["g"] + 2 * vectors["h1"]
    # The line's end has the sign of the slider that moved farthest: g, at -3.
    assert float(path.alphas[-1]) == pytest.approx(-float(moved.norm()), abs=1e-5)
    latent, generator = image.opened.latent, session.service.domain.generator
    half = generator.decode(latent.with_z_sem(latent.z_sem + moved / 2))
    assert torch.allclose(path.images[LINE_POINTS // 2], half[0], atol=1e-5)
    assert torch.allclose(path.images[-1:], image.sliders.current.image, atol=1e-5)
    heat = image.maps.get("bb_lig")
    assert heat.map.sum().item() == pytest.approx(change(session), abs=0.05)
    queries = session.service.domain.classifier.queries
    assert image.maps.line_now() is path and image.maps.line()[0] is path
    assert session.service.domain.classifier.queries == queries


def test_a_line_beyond_the_budget_asks_nothing(session: Session, monkeypatch: pytest.MonkeyPatch):
    image = session.image
    monkeypatch.setattr(session.service.ahead, "follow", lambda *_: None)
    wait_for_paths(session)
    image.sliders.move({"g": -3.0, "h1": 2.0})
    classifier = session.service.domain.classifier
    classifier.budget = classifier.queries + LINE_POINTS
    queries = classifier.queries
    assert "asked about 10 images" in image.maps.price("bb_lig")
    with pytest.raises(BudgetExceeded, match="10 images"):
        image.maps.line_now()
    assert classifier.queries == queries and image.sliders.alphas == {"g": -3.0, "h1": 2.0}
    classifier.budget = None
    assert image.maps.price("bb_lig") == ""


def test_a_flip_is_as_convincing_as_was_asked_for(session: Session):
    image = session.image
    wait_for_paths(session)
    before = image.opened.source.probabilities[0]
    alphas, sides = [], []
    for margin in (0.0, 0.1, 0.35, None):
        frame, flips = image.flips.to_flip("g", margin)
        assert flips and (frame.probabilities[0] >= 0.5) != (before >= 0.5)
        beyond = abs(frame.probabilities[0] - 0.5)
        if margin is not None:
            assert beyond >= margin
        alphas.append(abs(image.sliders.alphas["g"]))
        sides.append(beyond)
    assert alphas == sorted(alphas) and sides == sorted(sides)
    path, step = image.paths.get("g"), alpha_grid(6.0)[1] - alpha_grid(6.0)[0]
    just = next(i for i in path.alphas.abs().argsort() if path.is_flipped[i])
    assert alphas[0] <= abs(float(path.alphas[just])) <= alphas[0] + step + 1e-6
    evaluations = session.service.domain.generator.evaluations
    image.flips.to_flip("g", 0.35)
    assert session.service.domain.generator.evaluations == evaluations, "it is known by now"


def test_a_target_that_was_missed_stays_told_until_the_sliders_move(session: Session):
    image = session.image
    before = image.opened.source.probabilities[0]
    frame, flips = image.flips.to_flip("g", 0.45)
    assert flips and abs(frame.probabilities[0] - 0.5) < 0.45
    told = payload_of(session)["missed_target"]

    assert told.startswith(f"Pneumonia {95 if before < 0.5 else 5} % was wanted; along g ")
    assert told in pictures(session) and " missed" in pictures(session)
    image.sliders.move(dict(image.sliders.alphas))
    assert payload_of(session)["missed_target"] == told, "the page may tell the same place again"
    image.flips.to_flip("g", 0.0)
    assert payload_of(session)["missed_target"] == "" and " missed" not in pictures(session)
    image.flips.to_flip("g", 0.45)
    image.sliders.move({"g": round(0.5 * image.sliders.alphas["g"], 1)})
    assert payload_of(session)["missed_target"] == ""


def test_a_map_says_what_its_colours_mean_for_the_flip(session: Session):
    image = session.image
    session.display = session.display._replace(overlay="bb_lig")
    told = "blue: toward Pneumonia, red: away from it"
    assert f"<span>{told}</span>" in pictures(session)
    image.flips.to_flip("g", 0.25)
    assert f"<span>{told}</span>" in pictures(session)
    session.display = session.display._replace(overlay="difference")
    assert "green: darker" in pictures(session) and "yellow: brighter" in pictures(session)


class Oracle(FakeClassifier):
    """An oracle that knows pneumonia alone: as the classifier, its reverse, or always the same."""

    labels = ("pneumonia",)

    def __init__(self, factor: float = 1.0, constant: float = 0.0):
        super().__init__()
        self.factor, self.constant = factor, constant

    def __call__(self, images):
        return self.factor * super().__call__(images)[:, :1] + self.constant


def flipped_beside(visitors: Visitors, oracle: Oracle) -> Session:
    """The first example's picture, opened as one's own and flipped, beside an oracle."""
    domain = visitors.service.domain
    domain.oracle = oracle
    session = visitors.session("somebody")
    session.open_image(domain.load_image(domain.examples[0]), "mine.png")
    wait_for_paths(session)
    session.image.flips.to_flip("g", 0.25)
    return session


def test_the_oracle_judges_what_is_decoded_in_full(visitors: Visitors):
    visitors.service.domain.oracle = Oracle(0.5)
    session = visitors.session("somebody")
    session.open_example(0)
    wait_for_paths(session)
    assert payload_of(session)["oracle"]["opinion"] is None, "nothing flipped yet"
    before = session.image.opened.source
    session = flipped_beside(visitors, Oracle(0.5))
    after, answer = session.image.sliders.current, payload_of(session)
    for frame in (before, after):  # half of the log-odds
        odds = frame.probabilities[0] / (1 - frame.probabilities[0])
        assert frame.oracle == (pytest.approx(odds**0.5 / (1 + odds**0.5), abs=1e-5), None)
    assert answer["oracle"]["opinion"] == "follows"
    assert answer["oracle"]["after"]["bacterial"] is None
    assert ">follows</em>" in readout(session.image)
    assert "disagree" not in pictures(session)


def test_an_oracle_that_stays_is_told_from_one_that_disagreed_from_the_start(visitors: Visitors):
    session = flipped_beside(visitors, Oracle(0.5))
    was = session.image.opened.source.probabilities[0] >= 0.5
    session = flipped_beside(visitors, Oracle(0.0, 3.0 if was else -3.0))
    assert payload_of(session)["oracle"]["opinion"] == "stays"
    assert ">stays</em>" in readout(session.image) and "disagree" not in pictures(session)
    session = flipped_beside(visitors, Oracle(0.0, -3.0 if was else 3.0))
    assert payload_of(session)["oracle"]["opinion"] == "disagreed"
    assert ">disagreed from the start</em>" in readout(session.image)
    told = f"disagrees about the original: Pneumonia {5 if was else 95} %."
    assert told in pictures(session)
    session.open_image(session.image.opened.image, "mine.png")
    assert told in pictures(session), "before anything is moved, too"
    session = flipped_beside(visitors, Oracle(-0.5))
    assert payload_of(session)["oracle"]["opinion"] == "disagreed", "though it flips, the other way"


def test_an_oracle_that_changes_sides_before_the_classifier_is_told(visitors: Visitors):
    """It agrees about the original, but is half as sure as where the classifier flips."""
    session = flipped_beside(visitors, Oracle())
    image, path = session.image, session.image.paths.get("g")
    rest = float(torch.logit(torch.tensor(image.opened.source.probabilities[0])))
    session = flipped_beside(visitors, Oracle(1.0, -0.8 * rest))
    image = session.image
    assert not moves_alone(image) and ">follows</em>" in readout(image)
    sides = path.probabilities >= 0.5
    before = [k for k in range(len(sides)) if sides[k] == (rest > 0)]
    k = min(before, key=lambda k: abs(float(path.probabilities[k]) - 0.5))
    image.sliders.move({"g": float(path.alphas[k])})
    image.sliders.draw_in_full()
    assert payload_of(session)["oracle"]["opinion"] is None
    assert moves_alone(image) and ">changes sides alone</em>" in readout(image)


def test_a_reconstruction_that_changes_the_answer_is_told(session: Session):
    assert "reconstruction" not in readout(session.image)
    opened = session.image.opened
    p = opened.source.probabilities
    turned = replace(opened.reconstruction, probabilities=(1 - p[0], *p[1:]))
    session.image.opened = replace(opened, reconstruction=turned)
    assert "The reconstruction alone already changes the answer" in readout(session.image)
    assert payload_of(session)["reconstruction_flips"] is True


def test_a_picture_that_is_far_from_all_says_why_it_does_not_flip(visitors: Visitors, monkeypatch):
    session = flipped_beside(visitors, Oracle())
    session.image.sliders.move({})
    assert NOT_FLIPPED not in pictures(session)
    monkeypatch.setattr(type(session.image), "is_far", True)
    assert NOT_FLIPPED in pictures(session) and "data-far" in pictures(session)
    session.image.flips.to_flip("g", 0.25)
    assert NOT_FLIPPED not in pictures(session), "it was asked for"
