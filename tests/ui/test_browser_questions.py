"""Questions in a real browser: one class against another, and grades with a threshold of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from gcd_core.classifiers.output_check import PROBABILITIES
from gcd_core.classifiers.questions import Question, questioned
from gcd_core.domains.opening import Label
from gcd_core.method.directions import DirectionSet
from tests.ui.conftest import Served, serving
from tests.ui.fakes import FakeClassifier, FakeDomain, lungs
from tests.ui.test_browser import (
    ARTEFACTS,
    browser,
    drag,
    prepared,
    pytestmark,
    visit,
    wait_until,
)

__all__ = ["browser", "pytestmark", "visit"]  # what pytest finds here
GRADES = ("0", "1", "2", "3", "4")
QUESTIONS = (
    Question("grade", expected=True, threshold=1.5, spread=0.5, scale="grade"),
    Question("worst", ("4",), ("0",)),
    Question("severe", ("3:5",), threshold=0.2),
)


class Grades(FakeClassifier):
    """A softmax over five grades of haze, of which the nearest has the most."""

    labels, output, identity = GRADES, "softmax", "grades"
    notice = PROBABILITIES

    def __init__(self, gain: float = 60.0) -> None:
        super().__init__()
        self.gain = gain

    def __call__(self, images: Tensor) -> Tensor:
        self.queries += len(images)
        severity = 2 + self.gain * (lungs(images) - 0.36) / 4
        return -(severity[:, None] - torch.arange(5.0)).square()

    def logit(self, logits: Tensor, label: str) -> Tensor:
        raise AssertionError("only its questions are asked")


class Graded(FakeDomain):
    """The drawn domain, whose labels are questions about grades."""

    labels = tuple(question.name for question in QUESTIONS)
    label_info: ClassVar = {
        "grade": Label("grade", "Grade", "Slight", "Haze", asked=QUESTIONS[0]),
        "worst": Label("worst", "Best or worst", "Grade 0", "Grade 4", asked=QUESTIONS[1]),
        "severe": Label("severe", "Severe", "Not severe", "Severe", asked=QUESTIONS[2]),
    }
    label_names: ClassVar = {
        name: (label.negative, label.positive) for name, label in label_info.items()
    }

    def __init__(self, folder: Path, **options) -> None:
        super().__init__(folder, **options)
        self.classifier = questioned(Grades(), QUESTIONS)
        self.oracle = questioned(Grades(40.0), QUESTIONS)

    def ready_directions(self, label: str) -> DirectionSet:
        found = super().ready_directions("pneumonia")
        return DirectionSet(found.names, found.vectors, found.metadata | {"label": label})


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(Graded(tmp_path_factory.mktemp("graded"), examples=4)) as served:
        yield served


def bar(page, label: str) -> str:
    """The words of a label's bar."""
    return page.locator(f"#bars .gcd-bar[data-label={label}] .words").inner_text()


def ticks(page) -> list[str]:
    """The numbers beside the curve, from below."""
    return page.locator("#curve svg text.tick[text-anchor=end]").all_text_contents()


def is_whole(page, selector: str) -> bool:
    """Whether no text of these elements is cut off or runs into its neighbour."""
    return page.evaluate(
        """selector => [...document.querySelectorAll(selector)].every(
            element => element.scrollWidth <= element.clientWidth + 1)""",
        selector,
    )


def test_a_grade_is_told_in_its_own_scale(graded: Served, visit):
    page = visit(graded.address)
    prepared(page)
    (session,) = graded.visitors._sessions.values()
    before = session.image.opened.source.probabilities[0]
    own = QUESTIONS[0].number(before)
    page.screenshot(path=ARTEFACTS / "question-grade.png")
    assert bar(page, "grade") == f"Haze\n{own} \N{RIGHTWARDS ARROW} {own}\N{THIN SPACE}grade"
    assert f"Haze {own}\N{THIN SPACE}grade" in page.locator("#pictures").inner_text()
    assert {"0.95", "1.50", "2.05"} <= set(ticks(page))
    assert page.locator("#curve svg text.note").text_content() == "threshold 1.50 grade"
    opinion = page.locator("#bars .oracle b").inner_text()
    assert opinion.endswith("\N{THIN SPACE}grade") and opinion.count("grade") == 1
    assert is_whole(page, "#bars .words, .gcd-thumb b, #target label")
    # How far a flip goes is in the same scale, beyond the threshold from this image.
    below = [QUESTIONS[0].number(p) for p in (0.25, 0.05)]
    assert page.locator("#target label").all_inner_texts() == ["just flipped", *below, "strongest"]
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    probability = session.image.sliders.current.probabilities[0]
    assert 0.2 < probability <= 0.25
    after = QUESTIONS[0].shown(probability).replace(" ", "\N{THIN SPACE}")
    wait_until(page, lambda: f"Haze {after}" in page.locator("#pictures").inner_text())
    assert f"{own} \N{RIGHTWARDS ARROW} {after}" in bar(page, "grade")
    page.screenshot(path=ARTEFACTS / "question-grade-flipped.png")
    # A drag is drawn by the browser alone, and then by the server: both in the same scale.
    drag(page, "g", 0.95)
    wait_until(page, lambda: after not in bar(page, "grade"))
    assert bar(page, "grade").endswith("\N{THIN SPACE}grade")


def test_one_class_against_another_says_so(graded: Served, visit):
    page = visit(graded.address)
    prepared(page)
    page.get_by_text("Best or worst", exact=True).first.click()
    page.wait_for_selector("#bars .chosen[data-label=worst]")
    prepared(page)
    assert bar(page, "worst").startswith("Grade 4\nagainst Grade 0\n7\N{THIN SPACE}%")
    assert ticks(page)[:3] == ["0 %", "50 %", "100 %"]
    assert "75 %" in page.locator("#target").inner_text()
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    wait_until(page, lambda: "Grade 4 77" in page.locator("#pictures").inner_text())
    assert "follows" in page.locator("#bars").inner_text()
    page.screenshot(path=ARTEFACTS / "question-against.png")


def test_a_threshold_of_its_own_is_on_the_curve_and_in_a_flip(graded: Served, visit):
    page = visit(graded.address)
    prepared(page)
    page.get_by_text("Severe", exact=True).first.click()
    page.wait_for_selector("#bars .chosen[data-label=severe]")
    prepared(page)
    assert ticks(page)[:3] == ["0 %", "20 %", "100 %"]
    assert page.locator("#curve svg text.note").text_content() == "threshold 20 %"
    target = QUESTIONS[2].shown(0.75)
    wait_until(page, lambda: target in page.locator("#target").inner_text())
    page.locator("#flip-g").click()
    page.wait_for_selector("#pictures .flipped")
    thin = target.replace(" ", "\N{THIN SPACE}")
    wait_until(page, lambda: f"Severe {thin}" in page.locator("#pictures").inner_text())
    page.screenshot(path=ARTEFACTS / "question-threshold.png")


def test_probabilities_taken_for_logits_are_told_on_the_page(graded: Served, visit):
    page = visit(graded.address)
    prepared(page)
    assert PROBABILITIES in page.locator("#bars .gcd-caution").inner_text()
    page.screenshot(path=ARTEFACTS / "question-notice.png", full_page=True)
