"""Questions about outputs, each against its closed form in NumPy or SciPy, in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import logit, softmax

from gcd_core.classifiers.base import Classifier, WhiteBox
from gcd_core.classifiers.questions import (
    Question,
    Questioned,
    as_far_as_it_can,
    network_of,
    questioned,
    reading_of,
)
from gcd_core.errors import GCDError

CLASSES = ("cat", "dog", "hen", "cow", "ant")
ROWS = np.random.default_rng(3).normal(0, 3, (200, 5))
IMAGES = torch.zeros(200, 1, 2, 2)


class Fixed(Classifier):
    """Answers these rows, and remembers nothing."""

    def __init__(self, rows: np.ndarray, output: str, labels: tuple[str, ...] = CLASSES) -> None:
        super().__init__(labels, output, "fixed")
        self.rows = torch.from_numpy(rows).float()

    def answer(self, images):
        return self.rows[: len(images)]


class White(Fixed):
    def differentiable(self, images):
        return self.rows[: len(images)] * images.mean((1, 2, 3))[:, None]


def fixed(output: str, labels: tuple[str, ...] = CLASSES) -> Fixed:
    rows = {"probabilities": softmax(ROWS, axis=1)}.get(output, ROWS)
    return Fixed(rows, output, labels)


def log_odds(classifier, **keys) -> np.ndarray:
    box = questioned(classifier, [Question.read("asked", keys)])
    logits = box(IMAGES)
    torch.testing.assert_close(
        box.probability(logits, "asked"), box.logit(logits, "asked").sigmoid()
    )
    return box.logit(logits, "asked").double().numpy()


P = softmax(ROWS, axis=1)


@pytest.mark.parametrize("output", ["softmax", "probabilities"])
@pytest.mark.parametrize(
    ("of", "columns"),
    [
        ("hen", [2]),
        (["hen"], [2]),
        ("1:3", [1, 2]),
        (":2", [0, 1]),
        ("3:", [3, 4]),
        (["cat", "ant"], [0, 4]),
        (["0:2", "dog", "cow"], [0, 1, 3]),
    ],
)
def test_several_outputs_are_summed(output, of, columns):
    expected = logit(P[:, columns].sum(1).clip(1e-6, 1 - 1e-6))
    found = log_odds(fixed(output), of=of)
    if output == "softmax":
        expected = logit(P[:, columns].sum(1))
    sure = np.abs(expected) < (6 if output == "probabilities" else 9)  # these are clamped
    np.testing.assert_allclose(found[sure], expected[sure], atol=2e-3)
    np.testing.assert_array_equal(found > 0, expected > 0)


@pytest.mark.parametrize("output", ["softmax", "probabilities", "sigmoid"])
def test_one_class_against_another(output):
    found = log_odds(fixed(output), of="cat", against="dog")
    expected = ROWS[:, 0] - ROWS[:, 1]
    sure = (P[:, :2] > 1e-5).all(1) if output == "probabilities" else np.ones(200, bool)
    np.testing.assert_allclose(found[sure], expected[sure], atol=1e-3)


@pytest.mark.parametrize("output", ["softmax", "probabilities"])
def test_groups_against_each_other(output):
    found = log_odds(fixed(output), of=["cat", "dog"], against="3:5")
    expected = np.log(P[:, :2].sum(1)) - np.log(P[:, 3:].sum(1))
    np.testing.assert_allclose(found, expected, atol=0.2 if output == "probabilities" else 1e-4)


@pytest.mark.parametrize("output", ["softmax", "probabilities", "sigmoid"])
def test_a_third_class_wins_where_it_has_the_most(output):
    question = Question("asked", ("cat",), ("dog",))
    box = questioned(fixed(output), [question])
    assert box.labels == ("asked", "asked: a third class")
    wins = box.probability(box(IMAGES), question.third) >= 0.5
    np.testing.assert_array_equal(wins.numpy(), ~np.isin(ROWS.argmax(1), [0, 1]))
    two = questioned(Fixed(ROWS[:, :2], output, CLASSES[:2]), [question])
    assert two.labels == ("asked",)  # there is no third


@pytest.mark.parametrize("output", ["softmax", "probabilities", "sigmoid"])
@pytest.mark.parametrize("threshold", [0.02, 0.3, 0.9])
def test_a_threshold_moves_the_log_odds(output, threshold):
    probability = 1 / (1 + np.exp(-ROWS[:, 1])) if output == "sigmoid" else P[:, 1]
    found = log_odds(fixed(output), of="dog", threshold=threshold)
    np.testing.assert_array_equal(found >= 0, probability >= threshold)
    sure = (probability > 1e-5) & (probability < 1 - 1e-5)
    expected = logit(probability) - logit(threshold)
    np.testing.assert_allclose(found[sure], expected[sure], atol=2e-2)


def test_a_number_is_standardised():
    found = log_odds(fixed("numbers"), of="cow", threshold=1.5, spread=2.5)
    np.testing.assert_allclose(found, (ROWS[:, 3] - 1.5) / 2.5, atol=1e-5)


@pytest.mark.parametrize("output", ["softmax", "probabilities"])
def test_the_expected_number(output):
    grades = ("0", "1", "2", "3", "4")
    found = log_odds(fixed(output, grades), expected=True, threshold=1.5, spread=0.5, scale="grade")
    np.testing.assert_allclose(found, (P @ np.arange(5) - 1.5) / 0.5, atol=1e-3)


def test_a_range_is_of_names_where_these_are_numbers():
    ages = ("18", "19", "20", "21", "22")
    found = log_odds(fixed("softmax", ages), of="20:23")
    np.testing.assert_allclose(found, logit(P[:, 2:].sum(1)), atol=1e-4)
    with pytest.raises(GCDError, match="'2:4' is not within the outputs 18:23"):
        log_odds(fixed("softmax", ages), of="2:4")


def test_several_questions_on_one_output():
    box = questioned(fixed("softmax"), [Question("cat"), Question("sure", ("cat",), threshold=0.9)])
    logits = box(IMAGES)
    np.testing.assert_allclose(logits[:, 0] - logits[:, 1], math.log(9), atol=1e-4)
    assert box.queries == 200 == box.asked.queries


def test_what_is_shown_is_in_the_outputs_own_scale():
    assert Question("a").shown(0.42) == "42 %"
    assert Question("a", threshold=0.3).shown(0.5) == "30 %"
    odds = 0.8 / 0.2 / (0.3 / 0.7)
    assert Question("a", threshold=0.3).shown(odds / (1 + odds)) == "80 %"
    assert Question("a", threshold=0.3).shown(1.0) == "100 %"
    years = Question("a", threshold=50, spread=10, scale="years")
    assert years.shown(0.5) == "50 years"
    assert years.shown(1 / (1 + math.exp(-1.3))) == "63 years"
    assert years.shown(0.0) == "-111 years"
    grade = Question("a", threshold=1.5, spread=0.5)
    assert grade.shown(1 / (1 + math.exp(2))) == "0.50"


def test_plain_questions_leave_the_classifier_as_it_is():
    box = fixed("softmax")
    assert questioned(box, [Question("cat"), Question("dog")]) is box
    assert network_of(box) is box
    asked = questioned(box, [Question("dog", threshold=0.2)])
    assert network_of(asked) is box and asked.identity != box.identity
    again = questioned(box, [Question("dog", threshold=0.2)])
    other = questioned(box, [Question("dog", threshold=0.3)])
    assert again.identity == asked.identity != other.identity


def test_budget_and_count_are_those_of_the_classifier():
    box = fixed("softmax")
    asked = questioned(box, [Question("dog", threshold=0.2)])
    asked.budget = 250
    asked(IMAGES)
    assert (box.budget, asked.queries) == (250, 200)
    with pytest.raises(GCDError, match="250 images"):
        asked(IMAGES)


def test_a_gradient_flows_through_a_question():
    keys = {"of": ["cat", "dog"], "threshold": 0.2}
    assert not isinstance(questioned(fixed("softmax"), [Question.read("a", keys)]), WhiteBox)
    box = questioned(White(ROWS, "softmax"), [Question.read("a", keys)])
    assert isinstance(box, WhiteBox)
    images = torch.full((200, 1, 2, 2), 0.7, requires_grad=True)
    box.logit(box.differentiable(images), "a").sum().backward()

    def total(scale: float) -> float:
        return logit(softmax(scale * ROWS, axis=1)[:, :2].sum(1)).sum()

    slope = (total(0.7 + 1e-5) - total(0.7 - 1e-5)) / 2e-5
    assert images.grad.sum().item() == pytest.approx(slope, rel=1e-3)


def test_a_second_opinion_is_asked_what_it_can_be():
    questions = [Question("cat", ("3:5",)), Question("hen", ("lion",)), Question("fox")]
    asked = as_far_as_it_can(fixed("softmax"), questions)
    assert asked.labels == ("cat", "hen")
    found = asked(IMAGES).double().numpy()
    np.testing.assert_allclose(found[:, 0], logit(P[:, 3:].sum(1)), atol=1e-3)
    np.testing.assert_allclose(found[:, 1], logit(P[:, 2]), atol=1e-3)
    box = fixed("softmax")
    assert as_far_as_it_can(box, [Question("fox")]) is box


@pytest.mark.parametrize(
    ("output", "keys", "message"),
    [
        ("softmax", {"of": "lion"}, "no label 'lion'"),
        ("softmax", {"of": "3:9"}, "not within the outputs 0:5"),
        ("softmax", {"of": "3:3"}, "not within"),
        ("softmax", {"of": "0:5"}, "all of the classifier's outputs"),
        ("softmax", {"of": []}, "'of' is a name"),
        ("softmax", {"of": [1]}, "'of' is a name"),
        ("softmax", {"of": "cat", "against": ["dog", "cat"]}, "'cat' is on both sides"),
        ("softmax", {"of": "cat", "threshold": 1.0}, "no probability between 0 and 1"),
        ("softmax", {"of": "cat", "threshold": 50.0}, "needs a spread"),
        ("softmax", {"of": "cat", "threshold": float("nan")}, "no probability"),
        ("softmax", {"of": "cat", "threshold": 5.0, "spread": 1.0}, 'output = "numbers"'),
        ("softmax", {"of": "cat", "spread": 1.0}, "with a threshold"),
        ("softmax", {"of": "cat", "scale": "years"}, "needs a threshold and a spread"),
        ("softmax", {"of": "cat", "expected": True}, "needs a threshold and a spread"),
        ("softmax", {"expected": True, "threshold": 2.0, "spread": 1.0}, "names are numbers"),
        ("sigmoid", {"of": "0:2"}, "exclude each other"),
        ("sigmoid", {"of": "0:2", "against": "ant"}, "exclude each other"),
        ("numbers", {"of": "cat"}, "answers numbers: write the threshold"),
        ("numbers", {"of": "cat", "threshold": 0.5}, "answers numbers"),
        ("numbers", {"of": "cat", "threshold": 2.0, "spread": 0.0}, "above 0"),
        ("numbers", {"of": "0:2", "threshold": 2.0, "spread": 1.0}, "ask for one"),
        (
            "numbers",
            {"of": "cat", "against": "dog", "threshold": 2.0, "spread": 1.0},
            "not of one class against",
        ),
    ],
)
def test_what_cannot_be_asked_is_told(output, keys, message):
    with pytest.raises(GCDError, match=message):
        reading_of(Question.read("asked", keys), fixed(output))


def test_probabilities_that_do_not_exclude_each_other_are_not_summed():
    rows = np.full((200, 5), 0.6)
    with pytest.raises(GCDError, match=r"sum to 1\.20"):
        log_odds(Fixed(rows, "probabilities"), of="0:2")


def test_it_is_what_stands_in_its_protocol():
    box = questioned(fixed("softmax"), [Question("cat", threshold=0.3)])
    assert isinstance(box, Questioned) and (box.remote, box.cache_hits) == (False, 0)
    with pytest.raises(GCDError, match=r"no label 'hen'; it has \['cat'\]"):
        box.index("hen")
