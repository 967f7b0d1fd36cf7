"""Directions tried on pictures, on a domain where every flip can be reckoned."""

import pytest
import torch

from gcd_core.method.changes import BRIGHTER, Change, Part
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.verification import FIGURE, Examples, Tried, tried_of, with_tried
from tests.fakes import CodeClassifier, LinearDomain

WAY = torch.eye(4)[0]
STATISTICS = CodeStatistics.assumed(4, None)


class Oracle(CodeClassifier):
    """Reads the first number too, but takes it for "a" from 1.5 on."""

    def __init__(self, generator):
        super().__init__(generator, lambda z: z @ WAY - 1.5)


def domain(oracle=False):
    """A classifier whose boundary lies at 0.5 along the first number of the code."""
    made = LinearDomain(lambda z: z @ WAY - 0.5, 4)
    if oracle:
        made.oracle = Oracle(made.generator)
    return made


def pictures(made, *along):
    """Pictures of codes that are 0 but for their first number."""
    return [made.generator.draw(torch.tensor([[value, 0.0, 0.0, 0.0]])) for value in along]


def examples(made, *along):
    return Examples(made, pictures(made, *along), "a", "ddim", 5)


def test_flips_are_counted_by_side():
    made = domain()
    # alpha_max is 3: from -2.4 on up, and from 3.4 down, the boundary is within reach.
    tried = examples(made, -4.0, -2.6, -2.4, 0.0, 1.0, 3.4, 3.6).tried(WAY, STATISTICS)
    assert (tried.negatives, tried.negatives_flipped) == (4, 2)
    assert (tried.positives, tried.positives_flipped) == (3, 2)
    assert (tried.n, tried.flipped) == (7, 4)
    assert tried.agreed is None and tried.sentence == "4 of 7 examples flip"
    assert made.classifier.queries == 7 + 7


def test_a_direction_the_other_way_round_flips_nothing():
    tried = examples(domain(), -1.0, 2.0).tried(-WAY, STATISTICS)
    assert tried.flipped == 0 and not tried.works and tried.lpips == tried.distance == 0
    assert tried.agreed is None
    assert tried.sentence == "0 of 2 examples flip"


def test_half_of_the_way_is_enough_for_some_and_they_are_asked_no_more():
    made = domain()
    tried = examples(made, -0.5, -2.0).tried(WAY, STATISTICS, points=2)
    assert tried.flipped == 2
    assert made.classifier.queries == 2 + 2 + 1
    # The first flips at alpha 1.5, the second at 3: both are at 1 along the code's first number.
    assert tried.distance == pytest.approx(0.5, abs=1e-4), "Mahalanobis' 1 over the root of 4"
    moved = torch.tensor([1.5, 3.0])
    assert tried.lpips == pytest.approx(float((0.2 * moved / 8).mean()), rel=1e-4)


def test_the_second_opinion_is_counted_where_the_first_flips():
    # From -2.4 and -1 the end of the walk is at 0.6 and 2; the oracle's boundary is 1.5. The one
    # at 3 ends at 0, where both say no.
    tried = examples(domain(oracle=True), -2.4, -1.0, 3.0, -5.0).tried(WAY, STATISTICS)
    assert (tried.flipped, tried.agreed) == (3, 2)
    assert tried.sentence == "3 of 4 examples flip, the second opinion follows in 2"


def test_pictures_about_which_the_second_opinion_disagreed_count_neither_way():
    # At 1 and 1.4 the classifier says yes and the oracle no, before and after.
    tried = examples(domain(oracle=True), -1.0, 1.0, 1.4).tried(WAY, STATISTICS)
    assert (tried.flipped, tried.agreed, tried.disagreed) == (3, 1, 2)
    told = "the second opinion follows in 1 of 1; it disagreed about 2 from the start"
    assert tried.sentence == f"3 of 3 examples flip, {told}"


def test_an_oracle_that_does_not_know_the_label_has_no_opinion():
    made = domain(oracle=True)
    made.oracle.labels = ("c",)
    assert examples(made, -1.0).tried(WAY, STATISTICS).agreed is None


def test_without_a_flip_an_oracle_agreed_in_none():
    tried = examples(domain(oracle=True), -9.0).tried(WAY, STATISTICS)
    assert tried.agreed == 0 and tried.sentence == "0 of 1 examples flip"


def test_eight_pictures_are_enough():
    made = domain()
    tried = examples(made, *[0.1 * k for k in range(12)]).tried(WAY, STATISTICS)
    assert tried.n == 8 and made.classifier.queries == 16


@pytest.mark.parametrize(
    ("positives", "negatives", "works"),
    [
        ((5, 3), (3, 0), True),
        ((5, 2), (5, 3), True),
        ((5, 2), (5, 2), False),
        ((0, 0), (5, 3), True),
        ((0, 0), (0, 0), False),
        ((8, 4), (0, 0), False),
    ],
)
def test_it_works_where_three_in_five_of_a_side_flip(positives, negatives, works):
    assert Tried(*positives, *negatives, None, 0.1, 1.0).works is works


def test_what_was_tried_survives_the_metadata_and_damage_is_left_out():
    tried = {"g": Tried(5, 4, 3, 3, 6, 0.12, 1.1), "w1": Tried(5, 0, 3, 0, None, 0.0, 0.0)}
    about = {"label": "a"}
    told = with_tried(about, tried)
    assert tried_of(told) == tried and about == {"label": "a"}
    assert tried_of(about) == {}
    sound = told[FIGURE]["g"]
    for damaged in (None, 7, "all", [], {"g": None}, {"g": 3}, {"g": {}}, {"g": sound | {"x": 1}}):
        assert tried_of({FIGURE: damaged}) == {}
    for change in (
        {"positives": "5"},
        {"positives_flipped": None},
        {"negatives": 2.5},
        {"negatives_flipped": 99},
        {"positives": -1},
        {"agreed": "all"},
        {"lpips": "far"},
        {"lpips": None},
        {"distance": [1]},
        {"distance": float("nan")},
        {"negatives": True},
    ):
        assert tried_of({FIGURE: {"g": sound | change, "w1": told[FIGURE]["w1"]}}) == {
            "w1": tried["w1"]
        }, change


def test_what_changes_is_measured_on_the_same_walks_without_a_query_more():
    made = domain()
    square = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    square[:, 0] = 1
    basis = torch.linalg.qr(square)[0]
    basis[:, 0] = basis[:, 0].abs()  # the first number of the code is the brightness of all pixels
    made.generator.basis = made.generator.size_of_step * basis
    tried, change = examples(made, -0.5, -2.0).measured(WAY, STATISTICS, points=2)
    assert tried.flipped == 2 and made.classifier.queries == 2 + 2 + 1
    assert change == Change((Part(BRIGHTER),), alike=2, n=2, others={}), "b stays where it is"
