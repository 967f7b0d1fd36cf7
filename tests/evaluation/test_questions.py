"""Questions downstream: flips, loss, COUT and third classes of a linear domain, in closed form."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gcd_core.classifiers.questions import Question, questioned
from gcd_core.domains.file import Label
from gcd_core.evaluation.outcomes import DirectionsOnBatches, summarise
from gcd_core.method.directions import Direction
from gcd_core.method.walk import walk
from tests.evaluation.domain import WAY, linear_domain, source_image
from tests.fakes import CodeClassifier

ALONG = Direction("g", WAY, 1.0)


class Classes(CodeClassifier):
    """Softmax logits (3 z.way, -1, `ant`), or the same as numbers."""

    labels = ("a", "b", "ant")

    def __init__(self, generator, output: str, ant: float) -> None:
        super().__init__(generator, lambda z: 3 * z @ WAY)
        self.output, self.ant = output, ant

    def __call__(self, images):
        own = super().__call__(images)
        return torch.cat([own, torch.full_like(own[:, :1], self.ant)], 1)


def asked(tmp_path, question: Question, output: str = "softmax", ant: float = -9.0):
    domain = linear_domain(tmp_path)
    classifier = questioned(Classes(domain.generator, output, ant), [question])
    info = {question.name: Label(question.name, "Asked", "no", "yes", asked=question)}
    return replace(domain, classifier=classifier, oracle=None, label_info=info)


OTHERS = math.log(math.exp(-1) + math.exp(-9))  # the other classes' weight together
CASES = [  # the question, the outputs, and the log-odds of an image whose 3 z.way is x
    (Question("asked", ("a",), ("b",)), "softmax", lambda x: x + 1),
    (Question("asked", ("a",), threshold=0.2), "softmax", lambda x: x - OTHERS + math.log(4)),
    (Question("asked", ("b", "ant")), "softmax", lambda x: OTHERS - x),
    (
        Question("asked", ("a",), threshold=0.9, spread=0.25, scale="grade"),
        "numbers",
        lambda x: (x - 0.9) / 0.25,
    ),
]


@pytest.mark.parametrize(("question", "output", "log_odds"), CASES)
def test_a_walk_flips_where_the_answer_changes(tmp_path, question, output, log_odds):
    domain = asked(tmp_path, question, output)
    image = source_image(domain.generator, 3)
    path = walk(domain, image, ALONG, "asked", both=True, margin=0.0)
    expected = log_odds(3 * domain.generator.encode_semantic(path.images) @ WAY)
    torch.testing.assert_close(path.logits, expected, atol=1e-3, rtol=1e-3)
    start = log_odds((3 * domain.generator.encode_semantic(image) @ WAY).item())
    sign = -1 if start >= 0 else 1
    assert path.sign == sign and path.counterfactual_flips
    assert 0 <= sign * expected[path.counterfactual].item() + 1e-4 < 2
    torch.testing.assert_close(path.losses, path.distances - sign * expected, atol=1e-3, rtol=1e-3)


def test_the_proxys_target_is_the_standardised_number(tmp_path):
    domain = asked(tmp_path, CASES[-1][0], "numbers")
    path = walk(domain, source_image(domain.generator, 3), ALONG, "asked")
    values = 3 * domain.generator.encode_semantic(path.images) @ WAY
    torch.testing.assert_close(path.logits, (values - 0.9) / 0.25, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("ant", "share"), [(-9.0, 0.0), (9.0, 1.0)])
def test_evaluate_says_how_often_a_third_class_wins(tmp_path, ant, share):
    domain = asked(tmp_path, Question("asked", ("a",), ("b",)), ant=ant)
    images = torch.cat([source_image(domain.generator, seed) for seed in range(4)])
    measure = DirectionsOnBatches(domain, [ALONG], "asked", with_cout=True)
    found = measure([f"{i}" for i in range(4)], images)
    row = summarise(found.outcomes["g"], found.costs["g"])
    assert row["flip_rate"] == 1 and row["third_class"] == share
    assert -1 <= row["cout"] <= 1
    plain = asked(tmp_path, Question("asked", ("a",), threshold=0.3))
    found = DirectionsOnBatches(plain, [ALONG], "asked")(["0"], images[:1])
    assert summarise(found.outcomes["g"], found.costs["g"])["third_class"] is None
