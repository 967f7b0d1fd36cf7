"""Paths of the fast decoder: what is shown, reported and counted is drawn in full."""

from __future__ import annotations

import csv
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gcd_core.method.composition import SOURCE
from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.walk import walk
from gcd_core.ui.session.flips import most_convincing
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.exports import save_path
from tests.ui.fakes import FakeDomain, FakeGenerator, own_picture
from tests.ui.waiting import wait_for, wait_for_paths

pytestmark = pytest.mark.slow


class Hasty(FakeGenerator):
    """Its fast decoder changes the picture by a fifth more than the full one does."""

    live_solver = "quick"
    factor = 1.2

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[str | None] = []  # solvers, one for each picture

    def decode(self, latent, solver=None, *args, **kwargs):
        self.drawn += [solver] * len(latent)
        if solver == self.live_solver:
            latent = latent.with_z_sem(self.factor * latent.z_sem)
        return super().decode(latent, solver, *args, **kwargs)


def nothing(*_) -> None:
    """In the place of pictures that are drawn ahead, beside what a test counts."""


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    """Of a visitor's own picture, larger than the generator's."""
    domain = FakeDomain(tmp_path)
    domain.generator, domain.detail = Hasty(), SOURCE
    visitors = Visitors(domain)
    session = visitors.session("somebody")
    session.open_image(own_picture((256, 256)), "mine.png")
    session.service.ahead.follow = nothing
    wait_for_paths(session)
    yield session
    visitors.close()


def in_full(session: Session, name: str, alpha: float):
    """The same picture by the library, by the full decoder."""
    domain, opened = session.service.domain, session.image.opened
    at, vector = torch.tensor([alpha]), session.directions[name]
    return walk(domain, opened.walked, vector, session.label, alphas=at, latent=opened.latent)


def test_paths_are_drawn_fast_and_what_rests_in_full(session: Session) -> None:
    drawn = session.service.domain.generator.drawn
    paths = [session.image.paths.get(name) for name in session.image.names]
    count = sum(len(path.alphas) - 1 for path in paths)  # 0 is drawn once for all
    assert count < 24 * len(paths)
    assert drawn.count("quick") >= count and drawn.count(None) <= 2  # the reconstruction
    assert session.image.paths.played("g").fast
    alpha = float(session.image.paths.get("g").alphas[20])
    quick = session.image.sliders.move({"g": alpha})
    assert quick.live
    full = session.image.sliders.draw_in_full()
    expected = in_full(session, "g", alpha)
    assert not full.live and torch.allclose(full.picture, expected.picture(0), atol=1e-5)
    drawn.clear()
    assert session.image.sliders.move({"g": alpha}) is full and not drawn


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.25])
def test_a_flip_is_as_convincing_in_full_as_was_asked(session: Session, margin: float) -> None:
    image, threshold = session.image, 0.5
    wanted = replace(session.image.paths.get("g"), choice=SMALLEST, margin=margin)
    quick = session.service.narrowed(wanted, session.directions["g"], image.opened.latent, True)
    hasty = in_full(session, "g", float(quick.alphas[quick.smallest]))
    assert abs(float(hasty.probabilities[0]) - threshold) < margin or margin == 0.0
    frame, flips = image.flips.to_flip("g", margin)
    alpha = image.sliders.alphas["g"]
    expected = in_full(session, "g", alpha)
    assert flips and not frame.live
    assert frame.probabilities[0] == pytest.approx(float(expected.probabilities[0]), abs=1e-5)
    before = session.image.opened.source.probabilities[0]
    assert (frame.probabilities[0] >= threshold) != (before >= threshold)
    assert abs(frame.probabilities[0] - threshold) >= margin
    stop = session.service.domain.alpha_max / 12
    earlier = in_full(session, "g", alpha - alpha / abs(alpha) * stop / 4)
    assert abs(float(earlier.probabilities[0]) - threshold) < margin or margin == 0.0
    drawn = session.service.domain.generator.drawn
    drawn.clear()
    assert image.flips.to_flip("g", margin)[0] is frame and not drawn


def test_a_flip_is_no_farther_in_full_than_it_need_be(waiting) -> None:
    """The fast decoder changes the picture by a fifth less: in full the flip is nearer."""
    session, go = waiting
    session.service.domain.generator.factor = 0.8
    image, margin = session.image, 0.25
    drawn = session.service.domain.generator.drawn
    drawn.clear()
    frame, flips = image.flips.to_flip("g", margin)
    assert flips and abs(frame.probabilities[0] - 0.5) >= margin and drawn.count(None) <= 3
    alpha = image.sliders.alphas["g"]
    eighth = session.service.domain.alpha_max / 12 / 8
    before = in_full(session, "g", alpha - alpha / abs(alpha) * 3 * eighth)
    assert abs(float(before.probabilities[0]) - 0.5) < margin
    go.set()
    wait_for_paths(session)
    path = image.flips.path("g")  # what is compared is the same picture
    assert path.margin == margin
    assert float(path.alphas[path.counterfactual]) == pytest.approx(alpha, abs=1e-4)
    path, index = image.flips.found("g", margin)
    assert float(path.alphas[index]) == pytest.approx(alpha, abs=1e-4)


def test_the_strongest_point_stays_where_it_is(session: Session) -> None:
    """Whatever the full decoder says of it: nothing nearer is looked for."""
    path = session.image.paths.get("g")
    frame, flips = session.image.flips.to_flip("g", None)
    alpha = session.image.sliders.alphas["g"]
    assert flips and alpha == pytest.approx(float(path.alphas[most_convincing(path)]), abs=1e-4)
    expected = in_full(session, "g", alpha)
    assert frame.probabilities[0] == pytest.approx(float(expected.probabilities[0]), abs=1e-5)


def test_a_move_that_comes_while_a_flip_is_looked_for_stays(session: Session) -> None:
    image = session.image
    found, moved = image.flips.found, []

    def slowly(name, margin):
        answer = found(name, margin)
        moved.append(image.sliders.move({"h1": 0.5}))
        return answer

    image.flips.found = slowly
    assert image.flips.to_flip("g", 0.25)[0] is None
    assert image.sliders.alphas == {"h1": 0.5} and image.sliders.current is moved[0]


def test_a_target_that_only_the_fast_decoder_meets_is_missed(session: Session) -> None:
    frame, flips = session.image.flips.to_flip("g", 0.45)
    assert flips and not frame.live and abs(frame.probabilities[0] - 0.5) < 0.45
    assert abs(session.image.sliders.alphas["g"]) == session.service.domain.alpha_max


def test_what_is_compared_is_drawn_in_full(session: Session) -> None:
    path = session.image.flips.path("g")
    i = path.counterfactual
    expected = in_full(session, "g", float(path.alphas[i]))
    assert path.counterfactual_flips
    assert float(path.probabilities[i]) == pytest.approx(float(expected.probabilities[0]), abs=1e-4)
    assert float(path.distances[i]) == pytest.approx(float(expected.distances[0]), abs=1e-4)
    assert (path.picture(i) - expected.picture(0)).abs().max() <= 1 / 255
    assert torch.equal(path.alphas, path.alphas.sort().values)


def test_what_is_taken_home_is_drawn_in_full(session: Session) -> None:
    session.image.sliders.move({"g": 1.0})
    with open(save_path(session), newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:: len(rows) // 5]:
        expected = in_full(session, "g", float(row["alpha"]))
        assert float(row["pneumonia"]) == pytest.approx(float(expected.probabilities[0]), abs=1e-4)


def test_decoded_pictures_have_no_fast_paths(tmp_path: Path) -> None:
    """The fast decoder's error would stand in them."""
    domain = FakeDomain(tmp_path)
    domain.generator = Hasty()
    visitors = Visitors(domain)
    session = visitors.session("somebody")
    session.open_example(0)
    wait_for_paths(session)
    assert not session.image.paths.played("g").fast
    assert "quick" not in domain.generator.drawn
    visitors.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[Session, threading.Event]]:
    """Of a visitor's own picture whose paths are decoded only after the event."""
    domain, go = FakeDomain(tmp_path), threading.Event()
    domain.generator, domain.detail = Hasty(), SOURCE
    visitors = Visitors(domain)
    session = visitors.session("somebody")
    play = session.service.path_batches.play

    def held(*task, **options):
        assert go.wait(60)
        return play(*task, **options)

    session.service.path_batches.play = held
    session.service.ahead.follow = nothing
    session.open_image(own_picture((256, 256)), "mine.png")
    yield session, go
    go.set()
    visitors.close()


@pytest.mark.parametrize("margin", [0.0, 0.15, 0.25])
def test_a_flip_does_not_wait_for_its_path_and_is_the_same(waiting, margin: float) -> None:
    session, go = waiting
    image, drawn = session.image, session.service.domain.generator.drawn
    drawn.clear()
    frame, flips = image.flips.to_flip("g", margin)
    assert flips and not frame.live and image.paths.get("g") is None
    assert drawn.count("quick") <= 7  # of the 25 of a path, and four halvings
    alpha = image.sliders.alphas["g"]
    expected = in_full(session, "g", alpha)
    assert frame.probabilities[0] == pytest.approx(float(expected.probabilities[0]), abs=1e-5)
    go.set()
    wait_for_paths(session)
    path, index = image.flips.found("g", margin)
    assert alpha == pytest.approx(float(path.alphas[index]), abs=1e-4)
    wait_for(lambda: session.service.context.background.idle)
    drawn.clear()
    assert image.flips.to_flip("g", margin)[0] is frame and not drawn


def test_a_flip_that_was_looked_for_ahead_is_found_with_no_picture_more(waiting) -> None:
    session, go = waiting
    image, drawn = session.image, session.service.domain.generator.drawn
    drawn.clear()
    alone = image.flips.to_flip("g", 0.25)[0].probabilities
    pictures = len(drawn)
    image.flips.clear()
    image.sliders._frames.clear()
    image.sliders.move({})
    drawn.clear()
    image.flips.look_ahead(0.25)
    wait_for(lambda: drawn)
    frame, flips = image.flips.to_flip("g", 0.25)  # it ends the look ahead, and goes on with it
    assert flips and frame.probabilities == pytest.approx(alone) and len(drawn) == pictures
    drawn.clear()
    session.service.domain.classifier.budget = 10_000
    image.flips.clear()
    image.flips.look_ahead(0.25)
    assert not session.service.context.background.cancel(image.flips) and not drawn
    go.set()


def test_without_a_flip_on_the_first_look_the_path_is_waited_for(waiting) -> None:
    session, go = waiting
    threading.Timer(0.2, go.set).start()
    _, flips = session.image.flips.to_flip("g", 0.5)
    path = session.image.paths.get("g")
    assert path is not None and flips == path.any_flip


def test_a_move_ends_the_first_look(waiting) -> None:
    """What it found until then is no answer, and none that is kept."""
    session, go = waiting
    image, service = session.image, session.service
    decode, moved = service.decode_live, []

    def decode_and_move(latent, opened, *urgency):
        frame = decode(latent, opened, *urgency)
        if not moved:
            moved.append(None)
            moved[0] = image.sliders.move({"h1": 0.5})
            go.set()
        return frame

    service.decode_live = decode_and_move
    assert image.flips.to_flip("g", 0.25)[0] is None
    assert image.sliders.alphas == {"h1": 0.5} and image.sliders.current is moved[0]
    path, index = image.flips.found("g", 0.25)
    image.flips.to_flip("g", 0.25)
    assert image.sliders.alphas["g"] == pytest.approx(float(path.alphas[index]), abs=1e-4)


def test_where_queries_cost_a_flip_waits_for_its_path(waiting) -> None:
    session, go = waiting
    session.service.domain.classifier.budget = 10_000
    threading.Timer(0.2, go.set).start()
    session.image.flips.to_flip("g", 0.25)
    assert session.image.paths.get("g") is not None


def test_the_ends_of_all_ways_are_seen_before_their_paths(waiting) -> None:
    session, go = waiting
    service, image = session.service, session.image
    played, name = [], image.names[-1]
    play = service.path_batches.play

    def only_g(opened, directions, *rest, **options):
        played.extend(direction.name for direction in directions)
        if played[-1] != "g":
            assert shown.wait(60)
        return play(opened, directions, *rest, **options)

    shown = threading.Event()
    service.path_batches.play = only_g
    go.set()
    wait_for(lambda: image.paths.ends(name) is not None)
    assert image.paths.get(name) is None and image.paths.get("g") is not None
    ends = image.paths.ends(name)
    shown.set()
    wait_for_paths(session)
    path = image.paths.get(name)
    for end, i in zip(ends, (0, -1), strict=True):
        assert end.alpha == pytest.approx(float(path.alphas[i]))
        assert end.probability == pytest.approx(float(path.probabilities[i]), abs=1e-5)
        assert torch.allclose(end.image[0], path.images[i], atol=1e-5)
