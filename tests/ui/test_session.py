"""A visitor's session: moves, paths, separation, searches."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.off_distribution import calibrate
from gcd_core.ui import session as module
from gcd_core.ui.compute import Urgency
from gcd_core.ui.session import POINTS, Explorer, Search, Session, alpha_grid


def wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def session(explorer: Explorer) -> Session:
    session = explorer.session("somebody")
    session.open_example(0)
    return session


@pytest.fixture
def own(explorer: Explorer) -> Session:
    """A session with a picture of the visitor's own."""
    session = explorer.session("owner")
    image = explorer.domain.load_image(explorer.domain.examples[1])
    session.open_image(image.flip(-1), "mine.png")
    return session


def finished(session: Session) -> None:
    wait_for(lambda: session.paths.finished)


def test_alpha_grid_is_even_and_has_rest_and_ends():
    grid = alpha_grid(6.0)
    assert len(grid) == POINTS
    assert grid[0] == -6.0 and grid[POINTS // 2] == 0.0 and grid[-1] == 6.0
    assert torch.tensor(grid).diff().std() < 1e-4


def test_opening_shows_the_reconstruction_at_rest(session: Session):
    assert session.alphas == {}
    assert session.current.image.shape == (1, 1, 128, 128)
    assert torch.allclose(session.current.image, session.opened.image, atol=1e-4)
    assert session.current.distance == pytest.approx(0, abs=1e-4)


def test_a_single_move_comes_from_the_decoded_path(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session.explorer.ahead, "follow", lambda *_: None)
    finished(session)
    alpha = alpha_grid(6.0)[-3]
    before = session.explorer.domain.generator.evaluations
    frame = session.move({"g": alpha})
    assert session.explorer.domain.generator.evaluations == before
    vector = session.directions["g"].vector
    latent = session.opened.latent
    expected = session.explorer.domain.generator.decode(
        latent.with_z_sem(latent.z_sem + alpha * vector)
    )
    assert torch.allclose(frame.image, expected, atol=1e-5)
    assert session.moved == "g"


def test_a_combined_move_adds_the_directions_and_is_remembered(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(session.explorer.ahead, "follow", lambda *_: None)
    finished(session)
    domain, latent = session.explorer.domain, session.opened.latent
    frame = session.move({"g": 1.0, "h2": -2.0, "h3": 0.0})
    z_sem = latent.z_sem + session.directions["g"].vector - 2 * session.directions["h2"].vector
    expected = domain.generator.decode(latent.with_z_sem(z_sem))
    assert torch.allclose(frame.image, expected, atol=1e-5)
    distance = domain.perceptual(expected, session.opened.image)
    assert frame.distance == pytest.approx(float(distance))
    session.move({"g": 1.0})
    before = domain.generator.evaluations
    assert session.move({"g": 1.0, "h2": -2.0}) is frame
    assert domain.generator.evaluations == before


def test_the_moved_direction_is_the_one_that_changed(session: Session):
    session.move({"g": 1.0})
    session.move({"g": 1.0, "h3": 2.0})
    assert session.moved == "h3"


def test_a_stale_move_is_dropped(session: Session, monkeypatch: pytest.MonkeyPatch):
    finished(session)
    decode, started, go_on = session.explorer.decode_live, threading.Event(), threading.Event()

    def slow(*args):
        started.set()
        assert go_on.wait(30)
        return decode(*args)

    monkeypatch.setattr(session.explorer, "decode_live", slow)
    answers = {}

    def move(name: str, alphas: dict) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.update({name: session.move(alphas)}))
        thread.start()
        return thread

    threads = [move("first", {"g": 1.0, "h1": 1.0})]
    assert started.wait(30)
    threads.append(move("second", {"g": 1.0, "h1": 2.0}))
    wait_for(lambda: session.alphas == {"g": 1.0, "h1": 2.0})
    threads.append(move("third", {"g": 1.0, "h1": 3.0}))
    wait_for(lambda: session.alphas == {"g": 1.0, "h1": 3.0})
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert answers["first"] is None and answers["second"] is None
    assert answers["third"] is session.current


def test_only_so_many_frames_are_kept(session: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FRAMES_KEPT", 3)
    for i in range(1, 8):
        session.move({"g": 0.1 * i, "h1": 1.0})
    assert len(session._frames) == 3


def test_the_neighbours_of_a_position_are_decoded_ahead(session: Session):
    finished(session)
    stop = alpha_grid(6.0)[-1] - alpha_grid(6.0)[-2]
    session.move({"g": 1.0, "h2": -6.0})
    near = [{"g": 1.0 + stop, "h2": -6.0}, {"g": 1.0, "h2": stop - 6.0}]
    near += [{"g": 1.0, "h2": -6.0, "h1": alpha} for alpha in (stop, -stop)]
    keys = [tuple(sorted(module.rounded(alphas, session.names).items())) for alphas in near]
    wait_for(lambda: all(key in session._frames for key in keys))
    domain, kept = session.explorer.domain, session._frames[keys[0]]
    assert max(abs(alpha) for key in list(session._frames) for _, alpha in key) <= 6.0
    frame = session.move(near[0])
    assert frame is kept
    z_sem = session.opened.latent.z_sem + near[0]["g"] * session.directions["g"].vector
    expected = domain.generator.decode(
        session.opened.latent.with_z_sem(z_sem - 6 * session.directions["h2"].vector)
    )
    assert torch.allclose(frame.image, expected, atol=1e-4)


def test_nothing_is_decoded_ahead_for_a_position_that_was_left(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    finished(session)
    monkeypatch.setattr(session.explorer.ahead, "follow", lambda *_: None)
    session.move({"g": 1.0, "h1": 1.0})
    here = session.opened, session.directions, session.alphas
    work = session._neighbours(*here, session._newest)
    next(work)
    session.move({"g": 2.0, "h1": 1.0})
    with pytest.raises(StopIteration):
        next(work)


def test_nothing_is_decoded_ahead_where_that_costs_queries(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    finished(session)
    explorer, classifier = session.explorer, session.explorer.domain.classifier
    assert explorer.looks_ahead
    monkeypatch.setattr(
        explorer.ahead, "follow", lambda *_: pytest.fail("asked what nobody asked for")
    )
    for name, value, alpha in (("budget", 1000, 0.3), ("remote", True, 0.7)):
        with monkeypatch.context() as patch:
            patch.setattr(classifier, name, value)
            queries = classifier.queries
            session.move({"g": 1.0, "h1": alpha})
            assert classifier.queries == queries + 1


def test_a_remote_classifier_holds_nobody_else_up(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(explorer.domain.classifier, "remote", True)
    held, release = threading.Event(), threading.Event()

    def wait() -> None:
        held.set()
        assert release.wait(30)

    slow = threading.Thread(target=explorer.in_turn, args=(Urgency.LIVE, wait))
    slow.start()
    assert held.wait(30)
    session = explorer.session("somebody")
    session.open_example(0)
    assert session.move({"g": 1.0, "h1": 1.0}) is not None
    release.set()
    slow.join(30)


def test_the_picture_at_rest_is_kept_and_full(session: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "FRAMES_KEPT", 4)
    rest = session.current
    for i in range(1, 8):
        session.move({"g": 0.1 * i, "h1": 1.0})
    assert session.move({}) is rest


def test_large_pictures_are_kept_by_their_size(session: Session, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(session.explorer.ahead, "follow", lambda *_: None)
    monkeypatch.setattr(module, "FRAME_BYTES_KEPT", 3 * 128 * 128 * 4)
    for i in range(1, 8):
        session.move({"g": 0.1 * i, "h1": 1.0})
    assert len(session._frames) == 3


def test_a_decoded_path_takes_the_place_of_what_was_drawn_live(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(explorer.domain.generator, "live_solver", "distilled", raising=False)
    session = explorer.session("somebody")
    hold, alpha = threading.Event(), alpha_grid(6.0)[-3]
    walk = explorer._walk
    monkeypatch.setattr(explorer, "_walk", lambda *args: hold.wait(30) and walk(*args))
    monkeypatch.setattr(explorer, "in_turn", lambda urgency, function, *args: function(*args))
    session.open_example(0)
    assert session.move({"g": alpha}).live
    hold.set()
    finished(session)
    assert not session.draw_in_full().live and not session.move({"g": alpha}).live
    assert not session.current.live


def test_a_frame_of_an_image_that_was_left_is_not_kept(session: Session):
    ticket, frame = session._newest, session.current
    session.open_example(1)
    assert not session._keep((("g", 1.0),), frame, ticket)
    assert (("g", 1.0),) not in session._frames


def test_who_waits_gets_the_live_solver_and_who_looks_the_full_one(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
):
    generator, solvers = explorer.domain.generator, []
    decode = generator.decode

    def noting(latent, solver=None, *args, **options):
        solvers.append(solver)
        return decode(latent, solver, *args, **options)

    monkeypatch.setattr(generator, "decode", noting)
    monkeypatch.setattr(generator, "live_solver", "distilled", raising=False)
    session = explorer.session("somebody")
    session.open_example(0)
    finished(session)
    assert solvers and set(solvers) == {None}
    solvers.clear()
    quick = session.move({"g": 1.0, "h1": 1.0})
    assert solvers[0] == "distilled" and quick.live
    full = session.draw_in_full()
    assert None in solvers and not full.live and session.current is full
    assert session.move({"g": 1.0, "h1": 1.0}) is full and session.draw_in_full() is None
    session.move({"g": 2.0, "h1": 1.0})
    assert session.still() == (session.current, {"g": 2.0, "h1": 1.0})
    assert not session.current.live


def test_a_position_that_was_left_is_not_decoded_in_full(
    explorer: Explorer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(explorer.domain.generator, "live_solver", "distilled", raising=False)
    session = explorer.session("somebody")
    session.open_example(0)
    finished(session)
    session.move({"g": 1.0, "h1": 1.0})
    later = explorer.decode_later

    def meanwhile(*args):
        session.move({"g": 2.0, "h1": 1.0})
        return later(*args)

    monkeypatch.setattr(explorer, "decode_later", meanwhile)
    assert session.draw_in_full() is None
    assert session.current.live and session.alphas == {"g": 2.0, "h1": 1.0}


def test_to_flip_goes_to_the_counterfactual(session: Session):
    frame, flipped = session.to_flip("g")
    path = session.path("g")
    assert flipped == path.flipped
    assert session.alphas == {"g": pytest.approx(float(path.alphas[path.counterfactual]))}
    before = session.opened.source.probabilities[0]
    assert ((frame.probabilities[0] >= 0.5) != (before >= 0.5)) == flipped


def test_a_wanted_path_jumps_the_line(explorer: Explorer, session: Session):
    order, go_on = [], threading.Event()

    def make(name, cancel):
        order.append(name)
        assert go_on.wait(30)
        return name

    paths = module.Paths(make, ["g", "h1", "h2", "h3"], threading.Lock()).join()
    wait_for(lambda: order == ["g"])
    waiting = threading.Thread(target=paths.wanted, args=("h3",))
    waiting.start()
    wait_for(lambda: paths._waiting[0] == "h3")
    go_on.set()
    waiting.join(30)
    wait_for(lambda: paths.finished)
    assert order[:2] == ["g", "h3"] and sorted(order[2:]) == ["h1", "h2"]


def test_a_path_that_fails_says_so_to_those_who_wait():
    def make(name, cancel):
        raise ZeroDivisionError

    paths = module.Paths(make, ["g"], threading.Lock()).join()
    with pytest.raises(GCDError, match="could not be decoded"):
        paths.wanted("g")
    assert paths.finished


def test_examples_share_paths_and_own_images_do_not(explorer: Explorer):
    one, two = explorer.session("one"), explorer.session("two")
    one.open_example(0), two.open_example(0)
    assert one.paths is two.paths and one.opened is two.opened
    image = explorer.domain.load_image(explorer.domain.examples[1])
    one.open_image(image, "a.png"), two.open_image(image, "a.png")
    assert one.paths is not two.paths


def test_leaving_an_own_image_stops_its_paths(own: Session):
    paths = own.paths
    own.open_example(0)
    assert paths._cancel.is_set()


def test_another_label_has_its_own_directions(session: Session):
    finished(session)
    session.move({"g": 2.0})
    session.explain("bacterial")
    assert session.alphas == {} and session.directions.label == "bacterial"
    with pytest.raises(GCDError, match="no label 'fracture'"):
        session.explain("fracture")
    assert session.label == "bacterial"


def test_sessions_are_separate_and_end(explorer: Explorer, own: Session):
    other = explorer.session("other")
    assert other.opened is None and other.current is None
    own.move({"g": 2.0})
    assert other.alphas == {}
    folder = own.folder
    assert folder.is_dir()
    explorer.forget("owner")
    assert own.opened is None and own.current is None and not own._frames
    assert not folder.exists()
    assert explorer.session("owner") is not own


def test_old_and_idle_sessions_make_room(explorer: Explorer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "SESSIONS_KEPT", 2)
    first = explorer.session("first")
    for name in ("second", "third"):
        explorer.session(name)
    assert explorer.visitors == 2 and not first.folder.exists()
    second = explorer.session("second")
    second.last_used -= 2 * module.IDLE_SECONDS
    explorer.session("third")
    assert explorer.visitors == 1


def test_moving_before_opening_is_refused(explorer: Explorer):
    session = explorer.session("early")
    with pytest.raises(GCDError, match="open an image first"):
        session.move({"g": 1.0})
    with pytest.raises(GCDError, match="open an image first"):
        session.to_flip("g")


def test_the_maps_follow_the_moved_direction(session: Session):
    finished(session)
    assert session.heat("none") is None
    assert session.heat("difference").abs().max() < 1e-3
    along_g = session.heat("bb_lig")
    session.move({"h3": 2.0})
    assert session.heat("bb_lig") is not along_g
    assert session.heat("difference").abs().max() > 0.01
    session.move({"g": 1.0})
    assert session.heat("bb_lig") is along_g


def search_for(session: Session, n_samples: int, seed: int = 0) -> Search:
    settings = {"n_samples": n_samples, "radius": 3.0, "lam": 1.0, "n_h": 3, "steps": 20}
    settings["seed"] = seed
    return Search(session.opened.image, session.opened.name, session.label, settings)


def test_a_search_finds_what_the_classifier_looks_at(session: Session):
    search = search_for(session, 192)
    session.explorer.start_search(search)
    search.thread.join(120)
    assert search.state == "done", search.message
    assert search.directions.names == ["g", "h1", "h2", "h3"]
    assert search.directions["g"].vector[0] > 0.5  # more haze, more pneumonia
    assert search.gallery and search.train_losses and search.validation_losses


def test_a_cancelled_search_keeps_its_samples(session: Session):
    generator = session.explorer.domain.generator
    generator.seconds_per_image = 0.01
    search = search_for(session, 4096)
    session.explorer.start_search(search)
    wait_for(lambda: search.progress is not None and search.progress.done >= 16)
    began = time.monotonic()
    search.cancel.set()
    search.thread.join(30)
    assert search.state == "cancelled" and not search.running
    assert time.monotonic() - began < 10
    asked = len(search.samples)
    assert asked >= 16
    generator.seconds_per_image = 0
    again = search_for(session, asked + 16)
    again.samples = search.samples
    finished(session)
    queries = session.explorer.domain.classifier.queries
    session.explorer.start_search(again)
    again.thread.join(120)
    assert again.state == "done", again.message
    assert session.explorer.domain.classifier.queries - queries == 16


def test_searches_wait_in_line(session: Session):
    session.explorer.domain.generator.seconds_per_image = 0.01
    first, second = search_for(session, 4096), search_for(session, 64, seed=1)
    session.explorer.start_search(first)
    wait_for(lambda: first.state == "running")
    session.explorer.start_search(second)
    time.sleep(0.3)
    assert second.state == "waiting" and session.explorer.place_in_line(second) == 1
    first.cancel.set()
    wait_for(lambda: second.state == "running")
    assert session.explorer.place_in_line(second) == 0
    second.cancel.set()
    second.thread.join(30)


def test_a_search_that_breaks_ends(session: Session, monkeypatch: pytest.MonkeyPatch):
    def broken(*args, **kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr(module, "find_directions", broken)
    search = search_for(session, 64)
    session.explorer.start_search(search)
    search.thread.join(30)
    assert search.state == "failed" and "unexpectedly" in search.message


def test_bad_settings_end_a_search_with_a_sentence(session: Session):
    search = search_for(session, 1)
    session.explorer.start_search(search)
    search.thread.join(30)
    assert search.state == "failed" and "samples" in search.message


def test_a_foreign_image_is_opened_with_a_warning_and_the_domains_own_without(
    explorer: Explorer,
) -> None:
    domain = explorer.domain
    own = torch.cat([domain.load_image(file) for file in domain.examples]).repeat(10, 1, 1, 1)
    noise = torch.Generator().manual_seed(0)
    own = (own + 0.02 * torch.randn(own.shape, generator=noise)).clamp(0, 1)
    domain.off_distribution = calibrate(domain, own, own)
    session = explorer.session("a")
    session.open_image(own[:1], "own.png")
    assert (
        session.opened.notice == "" and session.opened.foreign <= domain.off_distribution.threshold
    )
    session.open_image(torch.rand(1, 1, 128, 128, generator=noise), "noise.png")
    assert session.opened.foreign > domain.off_distribution.threshold
    assert "off-distribution score" in session.opened.notice
    assert session.move({"g": 1.0}) is not None  # it still works if the visitor insists
