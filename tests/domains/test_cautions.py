"""What must be known of a label that has a condition, or a weak classifier."""

from dataclasses import replace

import pytest
import torch

from gcd_core.domains.cautions import (
    cautions,
    found_otherwise,
    missing_premise,
    of_another_age,
    of_another_kind,
    unreproduced,
)
from gcd_core.domains.file import Label
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.directions import DirectionSet
from gcd_core.method.other_kinds import OtherKinds

LABELS = {
    "ill": Label("ill", "Pneumonia", "Normal", "Pneumonia", auroc=0.99),
    "kind": Label("kind", "Kind of pneumonia", "Viral", "Bacterial", given="ill", auroc=0.776),
}
EYE = torch.eye(2)
WEAK = "The classifier is weak here: AUROC 0.78 on its test images."


def test_a_label_whose_condition_holds_is_only_weak():
    assert cautions(LABELS, "kind", {"ill": 0.5}) == [WEAK]
    assert cautions(LABELS, "kind", {"ill": 0.9}, {"ill": 0.6}) == [WEAK]
    assert cautions(LABELS, "ill", {"ill": 0.1}, {"ill": 0.9}) == []


def test_a_condition_that_does_not_hold_is_told():
    first, weak = cautions(LABELS, "kind", {"ill": 0.04}, {"ill": 0.9})
    assert "asked of Pneumonia only; in the original" in first and "none (4" in first
    assert weak == WEAK and (first.short, weak.short) == (
        "The classifier sees no Pneumonia here.",
        "AUROC 0.78.",
    )
    assert missing_premise(LABELS, "kind", {"ill": 0.04}) == "Pneumonia"
    assert missing_premise(LABELS, "kind", {"ill": 0.5}) == ""
    assert missing_premise(LABELS, "ill", {"ill": 0.04}) == "", "it needs no other"


def test_a_change_that_takes_the_condition_away_is_told():
    first, _ = cautions(LABELS, "kind", {"ill": 0.9}, {"ill": 0.2})
    assert "sees no Pneumonia any more (90" in first and "20" in first
    assert cautions(LABELS, "kind", {"ill": 0.9}, None) == [WEAK], "nothing moved yet"


@pytest.mark.parametrize(
    ("before", "again", "told"),
    [
        (0.59, 0.35, "changes the answer, 59 % to 35 %: "),
        (0.6, 0.7, ""),
        (0.95, 0.999, "log-odds by 4.0"),
        (0.001, 0.0001, "log-odds by 2.3"),
        (0.999, 0.9985, ""),
        (1.0, 1 - 1e-9, ""),
        (0.0, 1.0, "changes the answer"),
    ],
)
def test_what_a_reconstruction_loses_is_told(before, again, told):
    sentence = unreproduced(before, again)
    assert (told in sentence) if told else sentence == ""


@pytest.mark.parametrize(
    "settings, detail, said",
    [
        ({"detail": "decoded"}, "source", "The search asked about decoded images"),
        ({"detail": "source"}, "decoded", "here the classifier sees decoded images"),
        ({"detail": "source"}, "source", ""),
        ({"seed": 0}, "source", ""),
        (None, "source", ""),
    ],
)
def test_another_detail_than_the_searchs_is_said(settings, detail, said):
    directions = DirectionSet(["g"], torch.ones(1, 4), {"label": "ill", "settings": settings})
    found = found_otherwise(directions, detail)
    assert len(found) == bool(said) and said in " ".join(found)
    assert found_otherwise(None, detail) == []


@pytest.mark.parametrize(
    ("age", "ages", "told"),
    [
        (45.0, (1, 5), "45 years old; the models learned from people of 1 to 5 years"),
        (6.4, (1, 5), ""),
        (6.6, (1, 5), "7 years old"),
        (0.25, (18, 90), "3 months old"),
        (15.0, (18, 90), "15 years old"),
        (16.0, (18, 90), ""),
        (None, (1, 5), ""),
        (45.0, None, ""),
    ],
)
def test_a_patient_of_another_age_is_told(age, ages, told):
    said = of_another_age(age, ages)
    assert told in said and bool(said) == bool(told)


def test_a_picture_unlike_both_kinds_of_a_label_is_told():
    ends = torch.full((1, 4), 3.0), torch.full((1, 4), -3.0)
    kinds = [CodeStatistics(end[0], torch.eye(4)) for end in ends]  # distance: sqrt(mean square)
    known = replace(CodeStatistics.assumed(4, None), kinds=kinds)
    told = of_another_kind("cats and dogs", known, torch.zeros(1, 4))
    assert "unlike cats and dogs" in told and "3.00, usual up to 1.3" in told
    assert told.plain == "It looks unlike cats and dogs: this answer may mean nothing."
    for end in ends:
        assert of_another_kind("cats and dogs", known, end + 1.2) is None
        assert of_another_kind("cats and dogs", known, end + 1.4) is not None
    assert of_another_kind("", known, torch.zeros(1, 4)) is None, "it means something of all"
    unknown = CodeStatistics.assumed(4, None)
    assert of_another_kind("cats and dogs", unknown, torch.zeros(1, 4)) is None, "no kinds known"


def test_a_picture_of_a_known_other_kind_is_warned_of_though_it_is_near():
    means = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 6.0]])
    others = OtherKinds(("cat", "dog", "fox"), torch.tensor([True, True, False]), means, EYE)
    wide = tuple(CodeStatistics(mean, 25 * EYE) for mean in means[:2])
    known = CodeStatistics(torch.zeros(2), EYE, kinds=wide, others=others)
    told = of_another_kind("cats and dogs", known, torch.tensor([[0.0, 6.0]]))
    assert "rather 'fox'; " in told and "unlike cats and dogs" in told.plain
    assert of_another_kind("cats and dogs", known, torch.tensor([[2.0, 0.0]])) is None
    assert of_another_kind("", known, torch.tensor([[0.0, 6.0]])) is None
