"""Plots and numbers, checked against what they must say."""

from __future__ import annotations

import math
import re
from html import unescape
from xml.etree import ElementTree

import pytest

from gcd_core import wording
from gcd_core.classifiers.questions import Question
from gcd_core.ui.views import charts


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.0, "0&thinsp;%"),
        (0.001, "&lt;&thinsp;1&thinsp;%"),
        (0.124, "12&thinsp;%"),
        (0.999, "&gt;&thinsp;99&thinsp;%"),
        (1.0, "100&thinsp;%"),
    ],
)
def test_percent_never_claims_certainty(probability: float, text: str):
    assert charts.percent(probability) == text


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0240, "2.4&thinsp;%"), (0.745, "74.5&thinsp;%"), (0.001, "&lt;&thinsp;1&thinsp;%")],
)
def test_what_misses_a_target_has_a_digit_more(probability: float, text: str):
    assert charts.missed(probability) == text
    scaled = Question("age", threshold=50.0, spread=10.0, scale="years")
    assert charts.missed(0.6, scaled) == charts.percent(0.6, scaled)


@pytest.mark.parametrize("probability", [0.001, 0.3, 0.999])
def test_a_bound_is_not_told_as_about_so(probability: float):
    told = charts.percent(probability)
    assert charts.roughly(probability) == (told if told[0] == "&" else charts.ABOUT + told)


def test_a_probability_reads_as_elsewhere_but_for_its_spaces():
    for probability in (0.0, 0.004, 0.005, 0.5, 0.994, 0.996, 1.0):
        plain = unescape(charts.percent(probability)).replace("\N{THIN SPACE}", " ")
        assert plain == wording.percent(probability)


@pytest.mark.parametrize("threshold", [0.3, 0.5])
def test_there_is_one_threshold(monkeypatch: pytest.MonkeyPatch, threshold: float):
    monkeypatch.setattr(charts, "THRESHOLD", threshold)
    plot = drawn_curve(current=(0.0, threshold))
    (line,) = (e for e in plot.iter("line") if e.get("class") == "threshold")
    assert float(line.get("y1")) == pytest.approx(float(plot.find("circle").get("cy")), abs=0.1)
    assert f"{100 * threshold:.0f} %" in [e.text for e in plot.iter("text")]
    html = charts.bars([("Normal", "Pneumonia", 0.2, 0.4, True)], ["pneumonia"])
    assert ("chosen flipped" in html) == (threshold == 0.3)


def drawn_curve(**changes) -> ElementTree.Element:
    settings = {
        "measured": [(-2, 0.0), (0, 0.5), (2, 1.0)],
        "proxy": [(-2, 0.1), (2, 0.9)],
        "current": (0.0, 0.5),
        "alpha_max": 2.0,
        "ends": ("Normal", "<b>"),
    } | changes
    return ElementTree.fromstring(charts.curve(**settings))


@pytest.mark.parametrize(("turns_at", "anchor"), [(1.9, "start"), (-1.9, "end"), (0.0, "end")])
def test_the_thresholds_words_lie_where_the_curve_does_not_cross_it(turns_at: float, anchor: str):
    plot = drawn_curve(
        measured=[(-2, 0.0 if turns_at > -1 else 0.45), (turns_at, 0.5), (2, 1.0)],
        proxy=[],
        current=(turns_at, 0.5),
    )
    (words,) = (e for e in plot.iter("text") if "threshold" in (e.text or ""))
    assert words.get("text-anchor") == anchor
    assert abs(float(words.get("x")) - float(plot.find("circle").get("cx"))) > charts.WORDS_WIDTH


def test_the_marker_lies_on_the_threshold_in_the_middle():
    plot = drawn_curve()
    marker = plot.find("circle")
    threshold = next(e for e in plot.iter("line") if e.get("class") == "threshold")
    assert float(marker.get("cy")) == pytest.approx(float(threshold.get("y1")), abs=0.1)
    line = next(e for e in plot.iter("polyline") if e.get("class") == "measured")
    points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
    assert (float(marker.get("cx")), float(marker.get("cy"))) == pytest.approx(points[1], abs=0.1)
    assert points[0][1] > points[1][1] > points[2][1]  # up is more probable


def test_a_curve_says_which_slider_a_click_on_it_moves():
    plot = drawn_curve(direction="h1")
    marks = [float(plot.get(f"data-{name}")) for name in ("left", "right", "most")]
    width, height = map(float, plot.get("viewBox").split()[2:])
    at = {e.text: float(e.get("x")) / width for e in plot.iter("text")}
    assert plot.get("data-direction") == "h1" and marks[2] == 2.0
    assert marks[:2] == pytest.approx([at["\N{MINUS SIGN}2.00"], at["+2.00"]])
    ends = [float(e.get("y1")) / height for e in plot.iter("line") if e.get("class") == "grid"]
    assert [float(plot.get(f"data-{name}")) for name in ("bottom", "top")] == pytest.approx(
        [max(ends), min(ends)]
    )
    assert drawn_curve().get("data-direction") is None, "several directions have no one slider"


def test_bars_tell_a_flip():
    rows = [("Normal", "Pneumonia", 0.12, 0.87, True), ("Viral", "Bacterial", 0.6, 0.7, False)]
    html = charts.bars(rows, ["pneumonia", "bacterial"])
    assert html.count('chosen flipped" data-label="pneumonia"') == html.count('flipped"') == 1
    assert re.search(r"12&thinsp;%.*87&thinsp;%", html)


def bar_of_kind(before: float, after: float, premise: tuple[float, float], moved=True) -> str:
    """The bar of Bacterial, whose premise Pneumonia has two probabilities."""
    rows = [("Normal", "Pneumonia", *premise, True), ("Viral", "Bacterial", before, after, False)]
    given = charts.Premise("pneumonia", "Pneumonia", *premise)
    html = charts.bars(rows, ["pneumonia", "bacterial"], moved, None, [None, given])
    first, second = html.split('data-label="bacterial"')
    assert "asked only if" not in first
    return first.rpartition("<div class=")[2] + second


def test_an_answer_whose_premise_does_not_hold_is_grey_and_says_of_what_it_is_asked():
    bar = bar_of_kind(0.3, 0.9, (0.1, 0.1))
    assert "unfounded" in bar and "flipped" not in bar
    assert "<em>asked only if Pneumonia</em>" in bar
    assert 'data-given="pneumonia" data-given-name="Pneumonia"' in bar
    taken_away = bar_of_kind(0.3, 0.9, (0.9, 0.1))
    assert "unfounded" in taken_away and "flipped" not in taken_away
    rows = [("Normal", "Pneumonia", 0.1, 0.1, True)]
    assert "unfounded" not in charts.bars(rows, ["pneumonia"])


def test_an_answer_that_meant_nothing_before_now_applies_and_never_flips():
    bar = bar_of_kind(0.34, 0.51, (0.1, 0.9))
    assert '"gcd-bar applies"' in bar and "flipped" not in bar
    assert "<em>now applies: Bacterial</em>" in bar
    assert "<em>now applies: Viral</em>" in bar_of_kind(0.34, 0.48, (0.1, 0.9))
    assert "applies" not in bar_of_kind(0.34, 0.51, (0.1, 0.9), moved=False)
    held = bar_of_kind(0.34, 0.51, (0.8, 0.9))
    assert '"gcd-bar flipped"' in held and "<em>changes sides</em>" in held
    rows = [("Normal", "Pneumonia", 0.1, 0.9, True)]
    assert "<em>prediction flipped</em>" in charts.bars(rows, ["pneumonia"])


def test_losses_need_two_points():
    assert charts.losses([1.0], []) == ""
    plot = ElementTree.fromstring(charts.losses([4.0, 2.0, 1.0], [4.0, 3.0, 2.5]))
    assert len(list(plot.iter("polyline"))) == 2


def test_the_matrix_is_deepest_where_it_is_largest():
    table = charts.matrix(["g", "h1"], [[0, 0.2], [0.2, 0]])
    assert table.count("--heat:100%") == 2 and table.count("self") == 2


def test_what_is_typed_is_shown_and_not_run():
    assert "<script>" not in charts.meter(0.5, "<script>", "<script>")


def test_a_matrix_of_all_thirteen_directions_is_drawn_smaller():
    def matrix(n: int) -> str:
        return charts.matrix(["g"] * n, [[0.1] * n] * n)

    assert 'class="gcd-matrix"' in matrix(9) and 'class="gcd-matrix many"' in matrix(13)


def test_a_question_is_told_in_its_own_scale():
    years = Question("age", threshold=50, spread=10, scale="years")
    curve = charts.curve([(0.0, 0.5)], [], None, 2.0, ("young", "old"), question=years)
    low, high = 50 - 10 * math.log(3), 50 + 10 * math.log(3)  # where the probability is a quarter
    ticks = re.findall(r'text-anchor="end">([^<]+)</text>', curve)
    assert [f"{high:.0f}", "50", f"{low:.0f}"] == sorted(ticks[:3], reverse=True)
    assert "threshold 50 years" in curve
    tuned = Question("ill", threshold=0.3)
    curve = charts.curve([(0.0, 0.5)], [], None, 2.0, ("well", "ill"), question=tuned)
    assert "threshold 30 %" in curve and ">30 %</text>" in curve and ">100 %</text>" in curve
    rows = [("young", "old", 0.5, 0.75, True), ("well", "ill", 0.5, 0.1, False)]
    bars = charts.bars(rows, ["age", "ill"], True, [years, tuned])
    assert "50 <i>&rarr;</i> <strong>61&thinsp;years</strong>" in bars
    own = 0.3 / 0.7 / 9
    assert f"<strong>{100 * own / (1 + own):.0f}&thinsp;%</strong>" in bars
    assert 'data-threshold="50" data-spread="10" data-digits="0" data-scale="years"' in bars
    plain = charts.bars(rows[1:], ["ill"])
    assert "data-threshold" not in plain and "<strong>10&thinsp;%</strong>" in plain
