"""What one visitor has open: images, labels, and one search at a time."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.off_distribution import calibrate
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import Frame
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.display import Display
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.html import pictures, readout
from gcd_core.ui.views.payload import flipped, moves_alone, payload_of, premise_of
from gcd_core.ui.views.vocabulary import term
from gcd_core.wording import EXPERT, PLAIN, worded
from tests.ui.waiting import Held, wait_for, wait_for_paths

pytestmark = pytest.mark.slow


def test_opening_shows_the_reconstruction_at_rest(session: Session):
    image = session.image
    assert image.sliders.alphas == {}
    assert image.sliders.current.image.shape == (1, 1, 128, 128)
    assert torch.allclose(image.sliders.current.image, image.opened.image, atol=1e-4)
    assert image.sliders.current.distance == pytest.approx(0, abs=1e-4)


def test_examples_share_paths_and_own_images_do_not(visitors: Visitors, service: ModelService):
    one, two = visitors.session("one"), visitors.session("two")
    one.open_example(0), two.open_example(0)
    assert one.image.paths is two.image.paths and one.image.opened is two.image.opened
    image = service.domain.load_image(service.domain.examples[1])
    one.open_image(image, "a.png"), two.open_image(image, "a.png")
    assert one.image.paths is not two.image.paths


def test_leaving_an_own_image_stops_its_paths(own: Session):
    paths = own.image.paths
    own.open_example(0)
    assert paths.finished and paths.cancelled.is_set()


def test_back_at_the_bundled_directions_nothing_is_prepared_anew(own: Session):
    wait_for_paths(own)
    domain, bundled = own.service.domain, own.image.ready_paths()
    mine = replace(domain.ready_directions("pneumonia"), names=["g", "h1", "h2", "h3", "h4"])
    own.use("pneumonia", own.sets.keep("pneumonia", "mine", mine))
    assert not own.image.bundled and own.image.paths.total == 5
    wait_for_paths(own)
    evaluations = domain.generator.evaluations
    own.use("pneumonia", BUNDLED)
    assert own.image.bundled and own.image.paths.ready == own.image.paths.total == 5
    assert own.image.ready_paths() == bundled, "the very same"
    assert domain.generator.evaluations == evaluations
    paths = weakref.ref(own.image.paths)
    own.use("pneumonia", "mine")
    own.open_example(0)
    del bundled
    wait_for(lambda: gc.collect() is not None and paths() is None)  # another image: they go


def test_an_image_that_is_being_opened_is_waited_for(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
):
    session, service = visitors.session("somebody"), visitors.service
    session.open_example(0)
    held = Held(service.examples.open)
    monkeypatch.setattr(service.examples, "open", held)
    opening, _ = in_thread(session.open_example, 1)
    assert held.called.wait(30)
    waiting, answers = in_thread(session.open_next, "")
    assert session.open_now("").example == 0 and waiting.is_alive()
    held.go_on.set()
    opening.join(30), waiting.join(30)
    assert answers == [session.image] and session.image.example == 1
    monkeypatch.setattr(service.examples, "open", held := Held(service.open_upload))
    opening, failed = in_thread(session.open_example, 2)  # which is no upload
    assert held.called.wait(30)
    waiting, answers = in_thread(session.open_next, "")
    held.go_on.set()
    opening.join(30), waiting.join(30)
    assert isinstance(failed[0], TypeError) and "could not be opened" in str(answers[0])
    assert session.open_next("") is session.image and session.image.example == 1


def test_another_label_has_its_own_directions(session: Session):
    wait_for_paths(session)
    session.image.sliders.move({"g": 2.0})
    session.explain("bacterial")
    assert session.image.sliders.alphas == {} and session.directions.label == "bacterial"
    with pytest.raises(GCDError, match="no label 'fracture'"):
        session.explain("fracture")
    assert session.label == "bacterial"


def test_a_foreign_image_is_opened_with_a_warning_and_the_domains_own_without(
    visitors: Visitors,
    service: ModelService,
) -> None:
    domain = service.domain
    own = torch.cat([domain.load_image(file) for file in domain.examples]).repeat(10, 1, 1, 1)
    noise = torch.Generator().manual_seed(0)
    own = (own + 0.02 * torch.randn(own.shape, generator=noise)).clamp(0, 1)
    domain.off_distribution = calibrate(domain, own, own)
    session = visitors.session("a")
    session.open_image(own[:1], "own.png")
    assert (
        session.image.opened.notice == ""
        and session.image.opened.off_distribution_score <= domain.off_distribution.threshold
    )
    session.open_image(torch.rand(1, 1, 128, 128, generator=noise), "noise.png")
    assert session.image.opened.off_distribution_score > domain.off_distribution.threshold
    warned = session.image.opened.notice
    assert "off-distribution score" in warned and "off-distribution score" not in warned.plain
    session.open_image(session.image.opened.image, "scan.dcm", "Its window is beside its values.")
    assert session.image.opened.notice == f"{warned} Its window is beside its values."
    for words in (EXPERT, PLAIN):
        assert f"{worded(warned, words)} Its window is beside its values." in pictures(session)
    assert (
        session.image.sliders.move({"g": 1.0}) is not None
    )  # it still works if the visitor insists


def in_thread(function, *args) -> tuple[threading.Thread, list]:
    """Call a function in a thread; the list holds what it returned, or the error."""
    answers = []

    def call() -> None:
        try:
            answers.append(function(*args))
        except Exception as error:
            answers.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, answers


@pytest.mark.parametrize("step", ["open", "open_upload"])
def test_of_two_images_opened_at_once_the_later_is_shown(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch, step: str
):
    service = visitors.service
    domain, session = service.domain, visitors.session("somebody")
    images = [domain.load_image(file) for file in domain.examples]
    domain.off_distribution = calibrate(domain, torch.cat(images * 10), torch.cat(images * 10))
    held = Held(getattr(service, step))
    monkeypatch.setattr(service, step, held)
    thread, answers = in_thread(session.open_image, images[0], "first.png", "Of the first only.")
    assert held.called.wait(30)
    second = session.open_image(images[1], "second.png")
    held.go_on.set()
    thread.join(30)
    assert answers == [None]  # no error, and nothing to warn of
    assert (
        session.image is second
        and second.opened.name == "second.png"
        and second.opened.notice == ""
    )
    distance = torch.tensor([session.image.sliders.current.distance])
    assert second.opened.off_distribution_score == float(
        domain.off_distribution.score_of(distance, second.opened.latent)
    )
    assert torch.allclose(session.image.sliders.current.image, images[1], atol=1e-4)
    assert session.image.sliders.move({"g": 1.0}) is not None
    wait_for_paths(session)
    assert torch.allclose(session.image.paths.get("g").images[12], images[1][0], atol=1e-4)
    assert service.context.paths.idle, "nothing is decoded of the first one"


def test_another_label_meanwhile_keeps_the_upload_and_its_score(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
):
    service = visitors.service
    domain, session = service.domain, visitors.session("somebody")
    images = [domain.load_image(file) for file in domain.examples]
    domain.off_distribution = calibrate(domain, torch.cat(images * 10), torch.cat(images * 10))
    held = Held(service.open)
    monkeypatch.setattr(service, "open", held)
    thread, answers = in_thread(session.open_image, images[0], "mine.png")
    assert held.called.wait(30)
    session.explain("bacterial")
    held.go_on.set()
    thread.join(30)
    assert answers == [session.image] and session.image.opened.off_distribution_score is not None
    assert session.directions.label == "bacterial"


def test_an_image_that_comes_after_its_visitor_left_is_not_kept(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
):
    service, session = visitors.service, visitors.session("somebody")
    image = service.domain.load_image(service.domain.examples[1])
    held = Held(service.open)
    monkeypatch.setattr(service, "open", held)
    thread, answers = in_thread(session.open_image, image, "mine.png")
    assert held.called.wait(30)
    visitors.forget("somebody")
    held.go_on.set()
    thread.join(30)
    assert answers == [None] and session.image is None and not len(service.context.paths)


def test_a_flip_that_was_asked_for_another_image_does_not_move_this_one(
    visitors: Visitors, monkeypatch: pytest.MonkeyPatch
):
    service = visitors.service
    one, other = visitors.session("one"), visitors.session("other")
    held = Held(service.path_batches.walk_all)
    monkeypatch.setattr(service.path_batches, "walk_all", held)
    one.open_example(0), other.open_example(0)  # the other one keeps the paths going
    thread, answers = in_thread(one.image.flips.to_flip, "g", 0.25)
    assert held.called.wait(30)
    monkeypatch.setattr(service, "in_turn", lambda urgency, function, *args: function(*args))
    monkeypatch.setattr(service.compute, "run_alike", lambda _, function, item: function([item])[0])
    one.open_example(1)
    held.go_on.set()
    thread.join(30)
    (error,) = answers
    assert isinstance(error, GCDError) and "Another image" in str(error)
    assert one.image.sliders.alphas == {}


def test_there_is_one_search_at_a_time_and_it_goes_on_from_a_cancelled_one(session: Session):
    service = session.service
    generator, settings = service.domain.generator, service.domain.search
    generator.seconds_per_image = 0.01
    first = session.start_search(settings.changed(n_samples=4096))
    wait_for(lambda: first.sampled)
    with pytest.raises(GCDError, match="running already"):
        session.start_search(settings)
    first.cancel()
    assert first.wait(30) and first.samples is not None
    again = session.start_search(settings.changed(n_samples=64, lam=2.0))
    assert again.samples is first.samples
    again.cancel()
    assert again.wait(30)
    for other in (settings.changed(seed=1), settings.changed(radius=1.0)):
        search = session.start_search(other)
        assert search.samples is None or search.samples.question != first.samples.question
        search.cancel()
        assert search.wait(30)


def test_a_search_before_opening_is_refused(visitors: Visitors):
    session = visitors.session("early")
    with pytest.raises(GCDError, match="no picture to search around yet: open an image first"):
        session.start_search(visitors.service.domain.search)


def test_the_kind_of_a_disease_is_asked_where_there_is_one(session: Session):
    domain = session.service.domain
    kind = replace(domain.label_info["bacterial"], given="pneumonia", auroc=0.7)
    domain.label_info = {**domain.label_info, "bacterial": kind}
    assert payload_of(session)["cautions"] == []
    session.explain("bacterial")
    well = session.image.opened.source.probabilities[0] < 0.5
    told = payload_of(session)["cautions"]
    assert any("asked of Pneumonia only" in text for text in told) == well
    assert "AUROC 0.70" in told[-1]
    assert all(text in pictures(session) and text not in readout(session.image) for text in told)


def opened_with(session: Session, given: float) -> Frame:
    """Open a picture that is asked for its kind, of `given` pneumonia; what a flip made of it."""
    domain = session.service.domain
    kind = replace(domain.label_info["bacterial"], given="pneumonia")
    domain.label_info = {**domain.label_info, "bacterial": kind}
    session.explain("bacterial")
    image = session.image
    source = image.opened.source
    source = replace(source, probabilities=(given, *source.probabilities[1:]))
    image.opened = replace(image.opened, source=source)
    frame, flips = image.flips.to_flip("g", 0.0)
    assert flips
    return frame


@pytest.mark.parametrize("explained", ["pneumonia", "bacterial"])
def test_of_two_kinds_the_other_question_means_nothing_of_a_third(session: Session, explained: str):
    domain = session.service.domain
    names = {"pneumonia": ("Cat", "Dog"), "bacterial": ("Cat", "Bird")}
    domain.label_info = {
        label: replace(info, only_for="pets", negative=names[label][0], positive=names[label][1])
        for label, info in domain.label_info.items()
    }
    session.explain(explained)
    image = session.image
    other = next(label for label in names if label != explained)
    own = image.opened.source.probabilities[image.index]
    premise = premise_of(image, other)
    assert premise_of(image, explained) is None
    assert (premise.name, premise.negated) == ("Cat", True)
    assert premise.before == pytest.approx(1 - own)
    assert ("asked only if Cat" in readout(image)) == (own > 0.5)
    assert "data-given-not" in readout(image)


def test_an_answer_that_was_not_asked_of_the_original_is_never_called_a_flip(session: Session):
    frame = opened_with(session, given=0.01)
    told, answer, shown = payload_of(session), readout(session.image), pictures(session)
    holds = frame.probabilities[0] >= 0.5
    assert not told["flipped"] and told["premise_missing"] == "Pneumonia"
    assert told["sentence"] == "" and told["missed_target"] == ""
    assert ("now applies: " in answer) == holds
    assert ("asked only if Pneumonia" in answer) != holds
    assert 'chosen flipped"' not in answer and 'changed flipped"' not in shown
    assert term("counterfactual") not in shown and term("changed") not in shown
    assert term("unasked") in shown and "no flip, as there was no answer before" in shown
    assert "in the original the classifier sees none (1 %)" in shown


def test_a_second_opinion_that_changes_with_the_classifier_does_not_change_alone(session: Session):
    """Nor does it where the question means nothing of the original, so that nothing flips."""
    opened_with(session, given=0.01)
    image = session.image
    i, sliders = image.index, image.sliders
    before = image.opened.source.probabilities[i]
    sides = tuple(0.2 if (p < 0.5) else 0.8 for p in (before, 1 - before))
    source = replace(image.opened.source, oracle=(None,) * i + sides[:1])
    image.opened = replace(image.opened, source=source)
    sliders.current = replace(sliders.current, oracle=(None,) * i + sides[1:])
    assert not flipped(image) and not moves_alone(image)
    assert "changes sides alone" not in readout(image)


def test_an_answer_that_means_nothing_of_the_changed_picture_is_no_flip(session: Session):
    frame = opened_with(session, given=0.99)
    sliders = session.image.sliders
    sliders.current = replace(frame, probabilities=(0.8, *frame.probabilities[1:]))
    assert flipped(session.image)
    sliders.current = replace(frame, probabilities=(0.2, *frame.probabilities[1:]))
    shown, told = pictures(session), payload_of(session)
    assert not told["flipped"] and told["sentence"] == "" and told["premise_missing"] == ""
    assert term("voided") in shown and 'changed flipped"' not in shown
    assert term("counterfactual") not in shown and term("unasked") not in shown
    assert "the classifier sees no Pneumonia any more (99" in shown
    assert "asked only if Pneumonia" in readout(session.image)


def test_the_same_is_a_flip_where_the_original_had_the_premise(session: Session):
    frame = opened_with(session, given=0.99)
    session.image.sliders.current = replace(frame, probabilities=(0.8, *frame.probabilities[1:]))
    told = payload_of(session)
    assert told["flipped"] and told["premise_missing"] == ""
    assert term("counterfactual") in pictures(session)
    assert "in the original the classifier sees none" not in pictures(session)


def test_a_label_says_under_the_picture_of_what_it_means_something(session: Session):
    domain = session.service.domain
    asked = replace(domain.label_info["pneumonia"], only_for="children & <b>infants</b>")
    domain.label_info = {**domain.label_info, "pneumonia": asked}
    words = "Asked only of children &amp; &lt;b&gt;infants&lt;/b&gt;."
    assert f'<p class="only-for">{words}</p>' in pictures(session)
    session.explain("bacterial")
    assert "only-for" not in pictures(session)


def test_a_film_that_is_no_square_is_not_called_the_original(session: Session):
    image = session.image.opened.image
    session.open_image(image, "film.png", fitted="squeezed to a square from 300 by 260 pixels")
    session.display = Display("none")
    shown = pictures(session)
    assert "Original, <abbr" in shown and ">squeezed to a square</abbr>" in shown
    session.open_image(image, "film.png")
    assert "<b>Original</b>" in pictures(session)
    session.service.domain.synthetic_examples = True
    assert "<b>Original</b>" in pictures(session), "an own picture is not"
    session.open_example(0)
    assert "<b>Original, synthetic</b>" in pictures(session)
